//! What a disk may hold after the power went.
//!
//! All that was synced is there. Of what was not, each page and the size of each file, and each name of each directory, is as
//! it was at a moment of its own since its last sync: pages are written back in any order, and so are names.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::model::{Event, ROOT, write_into};

/// What a loss of power leaves whole in a file of blocks: a page of the page cache.
const BLOCK_PAGE: usize = 4096;
/// Maps and locks carry checksums, so they must bear any tearing.
const MAP_PAGE: usize = 512;

/// A source of numbers that a seed determines.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }

    /// The oldest, the newest, or one between: a number from 0 to `newest`.
    fn moment(&mut self, newest: usize, taste: Taste) -> usize {
        match taste {
            Taste::Oldest => 0,
            Taste::Newest => newest,
            Taste::Any => self.below(newest + 1),
        }
    }
}

/// Which moments a loss of power prefers.
#[derive(Clone, Copy, Debug)]
enum Taste {
    Oldest,
    Newest,
    Any,
}

/// What was done to one file.
enum Done {
    Write(usize, Vec<u8>),
    Resize(usize),
}

#[derive(Default)]
struct History {
    files: HashMap<u64, (Vec<u8>, Vec<Done>)>,
    /// By directory and name: where it leads for certain, and where it led since.
    names: BTreeMap<u64, BTreeMap<Vec<u8>, Vec<Option<u64>>>>,
    parents: HashMap<u64, u64>,
    /// The first name of each.
    first_names: HashMap<u64, Vec<u8>>,
}

/// Writes to `folder` what these events may have left on the disk.
pub(crate) fn wreck(events: &[Event], folder: &Path, dice: &mut Dice) {
    let taste = [Taste::Oldest, Taste::Newest, Taste::Any, Taste::Any][dice.below(4)];
    let mut history = History::default();
    events.iter().for_each(|event| history.take(event));
    let mut made = HashMap::new();
    history.directory(ROOT, folder, &mut made, &mut |newest| dice.moment(newest, taste));
    made.values().for_each(|path| sums_of_this_file(path));
}

impl History {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Made { inode, is_directory: true } => drop(self.names.entry(*inode).or_default()),
            Event::Made { inode, is_directory: false } => drop(self.files.entry(*inode).or_default()),
            Event::Wrote { inode, at, bytes } => {
                self.files.entry(*inode).or_default().1.push(Done::Write(*at, bytes.clone()));
            }
            Event::Resized { inode, size } => {
                self.files.entry(*inode).or_default().1.push(Done::Resize(*size));
            }
            Event::Named { parent, name, inode } => {
                let names = self.names.entry(*parent).or_default();
                names.entry(name.clone()).or_insert_with(|| vec![None]).push(*inode);
                if let Some(inode) = inode {
                    self.parents.entry(*inode).or_insert(*parent);
                    self.first_names.entry(*inode).or_insert_with(|| name.clone());
                }
            }
            Event::SyncedFile { inode } => {
                let (synced, done) = self.files.entry(*inode).or_default();
                done.drain(..).for_each(|done| done.apply(synced));
            }
            Event::SyncedDirectory { inode } => {
                for moments in self.names.entry(*inode).or_default().values_mut() {
                    moments.drain(..moments.len() - 1);
                }
            }
            Event::Noted(_) => {}
        }
    }

    fn directory(
        &self,
        inode: u64,
        path: &Path,
        made: &mut HashMap<u64, PathBuf>,
        moment: &mut dyn FnMut(usize) -> usize,
    ) {
        fs::create_dir_all(path).unwrap();
        for (name, moments) in self.names.get(&inode).into_iter().flatten() {
            let Some(child) = moments[moment(moments.len() - 1)] else { continue };
            let path = path.join(OsStr::from_bytes(name));
            if self.names.contains_key(&child) {
                self.directory(child, &path, made, moment);
            } else if let Some(first) = made.get(&child) {
                fs::hard_link(first, &path).unwrap();
            } else {
                let mut bytes = self.file(child, moment);
                of_another_boot(&mut bytes);
                fs::write(&path, bytes).unwrap();
                made.insert(child, path);
            }
        }
    }

    fn file(&self, inode: u64, moment: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
        let Some((synced, done)) = self.files.get(&inode) else { return Vec::new() };
        let page_bytes = if self.is_of_maps(inode) { MAP_PAGE } else { BLOCK_PAGE };
        let size_moment = moment(done.len());
        let touched: BTreeSet<usize> = done.iter().flat_map(|done| done.pages(page_bytes)).collect();
        let pages: Vec<(usize, usize)> = touched.into_iter().map(|page| (page, moment(done.len()))).collect();
        let (mut now, mut result, mut size) = (synced.clone(), synced.clone(), synced.len());
        for position in 0..=done.len() {
            if position > 0 {
                done[position - 1].apply(&mut now);
            }
            if position == size_moment {
                size = now.len();
            }
            for (page, _) in pages.iter().filter(|(_, moment)| *moment == position) {
                let from = (page * page_bytes).min(now.len());
                let to = (from + page_bytes).min(now.len());
                write_into(&mut result, page * page_bytes, &vec![0; page_bytes]);
                write_into(&mut result, from, &now[from..to]);
            }
        }
        result.resize(size, 0);
        result
    }

    fn is_of_maps(&self, inode: u64) -> bool {
        let mut top = inode;
        while let Some(parent) = self.parents.get(&top).filter(|parent| **parent != ROOT) {
            top = *parent;
        }
        self.first_names.get(&top).is_some_and(|name| name == b"maps")
    }
}

/// After a loss of power the machine has another boot id than the one in the logs of maps, by which they tell it from the
/// death of a process: docs/formats.md, map log.
fn of_another_boot(file: &mut [u8]) {
    const CHECKSUM: std::ops::Range<usize> = 8..12;
    const CHECKED: std::ops::Range<usize> = 12..64;
    const BOOT_ID: std::ops::Range<usize> = 32..48;
    let is_log = file.starts_with(b"AML3") && file.len() >= CHECKED.end;
    if is_log && file[CHECKSUM] == crc32c::crc32c(&file[CHECKED]).to_le_bytes() {
        file[BOOT_ID].iter_mut().for_each(|byte| *byte = !*byte);
        let checksum = crc32c::crc32c(&file[CHECKED]).to_le_bytes();
        file[CHECKSUM].copy_from_slice(&checksum);
    }
}

/// Checksums name the file that they are of by its inode and birth, which are others in this folder.
fn sums_of_this_file(path: &Path) {
    const CHECKSUM: std::ops::Range<usize> = 16..20;
    const CHECKED_FROM: usize = 20;
    const INODE: std::ops::Range<usize> = 32..40;
    const BORN: std::ops::Range<usize> = 40..48;
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let Some(object) = name.strip_prefix("%s").map(|object| path.with_file_name(object)) else { return };
    let (Ok(mut sums), Ok(found)) = (fs::read(path), fs::metadata(object)) else { return };
    if name.starts_with("%sl.") {
        // Of a log that `of_another_boot` changed.
        return fs::remove_file(path).unwrap();
    }
    let is_whole = sums.starts_with(b"ARCHSUMS")
        && sums[CHECKSUM] == crc32c::crc32c(&sums[CHECKED_FROM..]).to_le_bytes();
    if is_whole {
        let born = found.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|born| u64::try_from(born.as_nanos()).ok()).unwrap_or(0);
        sums[INODE].copy_from_slice(&found.ino().to_le_bytes());
        sums[BORN].copy_from_slice(&born_ns.to_le_bytes());
        let checksum = crc32c::crc32c(&sums[CHECKED_FROM..]).to_le_bytes();
        sums[CHECKSUM].copy_from_slice(&checksum);
        fs::write(path, sums).unwrap();
    }
}

impl Done {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Done::Write(at, bytes) => write_into(file, *at, bytes),
            Done::Resize(size) => file.resize(*size, 0),
        }
    }

    fn pages(&self, page_bytes: usize) -> std::ops::Range<usize> {
        match self {
            Done::Write(at, bytes) => at / page_bytes..(at + bytes.len()).div_ceil(page_bytes),
            Done::Resize(_) => 0..0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(synced: bool) -> Vec<Event> {
        let mut events = vec![
            Event::Made { inode: 2, is_directory: false },
            Event::Named { parent: ROOT, name: b"file".to_vec(), inode: Some(2) },
            Event::Wrote { inode: 2, at: 0, bytes: vec![1; 8192] },
        ];
        if synced {
            events.push(Event::SyncedFile { inode: 2 });
            events.push(Event::SyncedDirectory { inode: ROOT });
        }
        events.push(Event::Wrote { inode: 2, at: 0, bytes: vec![2; 8192] });
        events
    }

    #[test]
    fn what_was_synced_is_there_and_pages_are_old_or_new() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let folder = tempfile::tempdir().unwrap();
            wreck(&events(true), folder.path(), &mut Dice::new(seed));
            let bytes = fs::read(folder.path().join("file")).unwrap();
            assert_eq!(bytes.len(), 8192);
            assert!(bytes.chunks(4096).all(|page| page == [1; 4096] || page == [2; 4096]));
            seen.insert((bytes[0], bytes[4096]));
        }
        assert_eq!(seen.len(), 4, "every mixture occurs");
    }

    #[test]
    fn what_was_not_synced_may_be_lost_name_and_all() {
        let is_there = |seed| {
            let folder = tempfile::tempdir().unwrap();
            wreck(&events(false), folder.path(), &mut Dice::new(seed));
            folder.path().join("file").exists()
        };
        assert!((0..100).any(is_there) && !(0..100).all(is_there));
    }
}
