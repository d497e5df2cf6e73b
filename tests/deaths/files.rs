//! Files on ext4 on a loop device over a volume's file: written, read back past the cache, renamed, removed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{Advice, fadvise};
use tests::{Dice, Supervised, run};

use crate::{SEED, clock::Clock};

/// How many files there are at most.
const SLOTS: usize = 64;
/// The longest of them, in bytes.
const MAX_BYTES: u64 = 400_000;

/// A mounted ext4 on a mapped volume.
pub(crate) struct Mounted<'a> {
    stack: &'a Supervised,
    device: String,
    folder: PathBuf,
}

/// What must be in each file: seed and length.
pub(crate) type Model = BTreeMap<PathBuf, (u32, usize)>;

impl Mounted<'_> {
    pub(crate) fn new<'a>(stack: &'a Supervised, volume: &str) -> Mounted<'a> {
        let device = stack.vlmc(&["map", volume, "--via", "fuse"]).done();
        assert!(device.starts_with("/dev/loop"), "{device}");
        run(Command::new("mkfs.ext4").args(["-q", "-F", &device])).done();
        let folder = stack.path("mounted");
        fs::create_dir(&folder).unwrap();
        let mounted = Mounted { stack, device, folder };
        mounted.mount();
        mounted
    }

    fn mount(&self) {
        // An error of the device below must show, and not turn the mount read-only.
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "errors=panic,discard", &self.device])
            .arg(&self.folder))
        .done();
    }

    /// Works on files until the time is over; what must be in them then.
    pub(crate) fn work(&self, clock: &Clock) -> Model {
        let mut dice = Dice::told(SEED, 2);
        let (mut model, mut serial) = (Model::new(), 0);
        while !clock.is_over() {
            serial += 1;
            let path = self.folder.join(format!("file-{}", dice.index(SLOTS)));
            match dice.below(10) {
                0..5 => {
                    let length = usize::try_from(dice.below(MAX_BYTES)).unwrap();
                    write(&path, serial, length, dice.below(3) == 0);
                    model.insert(path, (serial, length));
                }
                5..8 => model.get(&path).into_iter().for_each(|told| verify(&path, *told)),
                8 => {
                    if let Some(told) = model.remove(&path) {
                        let other = self.folder.join(format!("file-{}", dice.index(SLOTS)));
                        fs::rename(&path, &other).unwrap();
                        model.insert(other, told);
                    }
                }
                _ => {
                    if model.remove(&path).is_some() {
                        fs::remove_file(&path).unwrap();
                    }
                }
            }
        }
        model
    }

    /// Unmounts, checks the file system, mounts and reads everything, and takes it all away.
    pub(crate) fn finish(self, model: &Model) {
        let unmount = || run(Command::new("umount").arg(&self.folder)).done();
        unmount();
        run(Command::new("e2fsck").args(["-f", "-n", &self.device])).done();
        self.mount();
        model.iter().for_each(|(path, told)| verify(path, *told));
        let count = fs::read_dir(&self.folder).unwrap().count();
        assert_eq!(count, model.len() + 1, "all files, and lost+found");
        unmount();
        self.stack.vlmc(&["unmap", &self.device]).done();
    }
}

fn write(path: &Path, seed: u32, length: usize, is_synced: bool) {
    let mut file = File::create(path).unwrap();
    file.write_all(&tests::pattern(seed, length)).unwrap();
    if is_synced {
        file.sync_all().unwrap();
    }
}

fn verify(path: &Path, (seed, length): (u32, usize)) {
    let file = File::open(path).unwrap();
    // What is on the device, and not what the cache remembers.
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    assert!(fs::read(path).unwrap() == tests::pattern(seed, length), "{}", path.display());
}
