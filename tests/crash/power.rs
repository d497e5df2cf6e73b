//! A stack whose power goes at any moment: what a flush had acknowledged is there, all else is old or new.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use client::Client;
use protocol::{Finding, Severity};

use crate::{
    disk::Disk,
    model::{Event, Note},
    node::Node,
    wreck::{Dice, wreck},
};

const VOLUME: &str = "volume1";
const BLOCK: u32 = 65_536;
const PAGE: usize = 4096;
const PAGES: usize = 256;
const PAGES_OF_BLOCK: usize = BLOCK as usize / PAGE;
/// What is done before the power goes.
const STEPS: usize = 240;
/// Moments at which it does.
const CUTS: usize = 300;
/// Whoever is slower than this has a machine on which fewer moments must do.
const PATIENCE: Duration = Duration::from_secs(100);

/// A page's bytes tell which write they are of; 0 is a page that was never written.
fn page_of(stamp: u64) -> Vec<u8> {
    std::iter::repeat_n(stamp.to_le_bytes(), PAGE / 8).flatten().collect()
}

/// Writes, discards, flushes, snapshots, scrubs and restarts, and all that this did to the disk.
fn record(disk: &Disk) -> Vec<Event> {
    let mut dice = Dice::new(11);
    let mut snapshots = 0;
    let mut node = Node::start(disk.path());
    let mut client = node.client();
    client.create(VOLUME, Some((PAGES * PAGE) as u64), None, Some(BLOCK)).unwrap();
    client.flush(VOLUME).unwrap();
    disk.note(Note::Flushed);
    for step in 1..=STEPS {
        match dice.below(40) {
            0 => {
                snapshots += 1;
                let name = format!("{VOLUME}-snap{snapshots}");
                client.snapshot(VOLUME, &name).unwrap();
                disk.note(Note::Snapshot { name });
            }
            1..=6 => {
                client.flush(VOLUME).unwrap();
                disk.note(Note::Flushed);
            }
            7 => {
                client.flush(VOLUME).unwrap();
                disk.note(Note::Flushed);
                drop(client);
                drop(node);
                node = Node::start(disk.path());
                client = node.client();
            }
            8 => {
                disk.ages();
                scrub(&mut client).unwrap();
            }
            9 | 10 => {
                let block = dice.below(PAGES / PAGES_OF_BLOCK);
                for page in block * PAGES_OF_BLOCK..(block + 1) * PAGES_OF_BLOCK {
                    disk.note(Note::Writing { page, stamp: 0 });
                }
                client.discard(VOLUME, block as u64 * u64::from(BLOCK), u64::from(BLOCK)).unwrap();
            }
            _ => {
                let (page, stamp) = (dice.below(PAGES), step as u64);
                disk.note(Note::Writing { page, stamp });
                client.write(VOLUME, (page * PAGE) as u64, &page_of(stamp)).unwrap();
            }
        }
    }
    drop(client);
    drop(node);
    std::mem::take(&mut disk.model().events)
}

/// What must be readable after the power went.
#[derive(Default)]
struct Expected {
    is_made: bool,
    /// By page: what was there at the last flush, and what was written since.
    pages: BTreeMap<usize, Vec<u64>>,
    /// By snapshot: what each page holds.
    snapshots: BTreeMap<String, BTreeMap<usize, u64>>,
}

impl Expected {
    fn after(events: &[Event]) -> Expected {
        let mut expected = Expected::default();
        for event in events {
            match event {
                Event::Noted(Note::Writing { page, stamp }) => {
                    expected.pages.entry(*page).or_insert_with(|| vec![0]).push(*stamp);
                }
                Event::Noted(Note::Flushed) => expected.flushed(),
                Event::Noted(Note::Snapshot { name }) => {
                    expected.flushed();
                    let pages = expected.pages.iter().map(|(page, stamps)| (*page, stamps[0])).collect();
                    expected.snapshots.insert(name.clone(), pages);
                }
                _ => {}
            }
        }
        expected
    }

    fn flushed(&mut self) {
        self.is_made = true;
        self.pages.values_mut().for_each(|stamps| drop(stamps.drain(..stamps.len() - 1)));
    }

    fn check(&self, client: &mut Client) -> Result<(), String> {
        let mut bytes = vec![0; PAGES * PAGE];
        if self.is_made {
            client.read(VOLUME, 0, &mut bytes).map_err(|failure| failure.to_string())?;
            for (page, found) in bytes.chunks(PAGE).enumerate() {
                let allowed = self.pages.get(&page).map_or(&[0_u64][..], Vec::as_slice);
                if !allowed.iter().any(|stamp| page_of(*stamp) == found) {
                    return Err(format!("page {page} is none of {allowed:?} but {:?}", &found[..8]));
                }
            }
        }
        for (name, pages) in &self.snapshots {
            client.read(name, 0, &mut bytes).map_err(|failure| failure.to_string())?;
            for (page, found) in bytes.chunks(PAGE).enumerate() {
                let stamp = pages.get(&page).copied().unwrap_or(0);
                if page_of(stamp) != found {
                    return Err(format!("page {page} of {name} is not {stamp} but {:?}", &found[..8]));
                }
            }
        }
        Ok(())
    }
}

/// Looks at all that is at rest; what needs checksums gets them.
fn scrub(client: &mut Client) -> Result<(), String> {
    for port in Node::STORES {
        let mut is_restart = true;
        loop {
            let state = client.scrub(port, is_restart, u64::MAX).map_err(|failure| failure.to_string())?;
            is_restart = false;
            if state.damaged > 0 {
                return Err(format!("a scrub finds damage: {:?}", state.damages));
            }
            if state.progress == 65_536 {
                break;
            }
        }
    }
    Ok(())
}

/// What a check of all maps finds.
fn fsck(client: &mut Client, mends: bool) -> Result<Vec<Finding>, String> {
    let (mut resume, mut found) = (Vec::new(), Vec::new());
    loop {
        let step = client.check("*", &resume, mends).map_err(|failure| failure.to_string())?;
        found.extend(step.findings);
        match step.resume {
            Some(next) => resume = next,
            None => return Ok(found),
        }
    }
}

/// A check finds no more than sessions that ended badly, and none of those once they are mended.
fn is_whole(client: &mut Client) -> Result<(), String> {
    let found = fsck(client, false)?;
    if found.iter().any(|one| one.severity != Severity::Notice) {
        return Err(format!("a check finds {found:?}"));
    }
    fsck(client, true)?;
    match fsck(client, false)? {
        found if found.is_empty() => Ok(()),
        found => Err(format!("a check that was to mend leaves {found:?}")),
    }
}

/// How many objects a collection removes.
fn collect(client: &mut Client, is_dry: bool) -> Result<u64, String> {
    let (mut resume, mut removed) = (Vec::new(), 0);
    loop {
        let step = client.collect(&resume, is_dry).map_err(|failure| failure.to_string())?;
        removed += step.removed;
        match step.resume {
            Some(next) => resume = next,
            None => return Ok(removed),
        }
    }
}

/// What a stack makes of what the disk holds now.
fn survives(folder: &Path, expected: &Expected, seed: u64) -> Result<(), String> {
    let told = |failure: client::Failure| failure.to_string();
    let node = Node::start(folder);
    let mut client = node.client();
    scrub(&mut client)?;
    if seed.is_multiple_of(2) {
        // Replays logs before anything is asked for; else the first write does.
        is_whole(&mut client)?;
    }
    expected.check(&mut client)?;
    if expected.is_made {
        // It goes on as if nothing had happened.
        client.write(VOLUME, 0, &page_of(u64::MAX)).map_err(told)?;
        client.flush(VOLUME).map_err(told)?;
    }
    is_whole(&mut client)?;
    collect(&mut client, false)?;
    if collect(&mut client, true)? != 0 {
        return Err("a second collection finds more to remove".to_owned());
    }
    // Of volumes that are gone nothing is left.
    for volume in client.list().map_err(told)? {
        client.remove(&volume.name).map_err(|failure| format!("remove: {failure}"))?;
    }
    collect(&mut client, false)?;
    drop(client);
    drop(node);
    match blocks_in(folder) {
        names if names.is_empty() => Ok(()),
        names => Err(format!("blocks that nobody uses: {names:?}")),
    }
}

fn blocks_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            names.extend(blocks_in(&entry.path()));
        } else if name.starts_with("b.") {
            names.push(name);
        }
    }
    names
}

/// Broken on purpose, each of these was found within ten moments: filed that syncs no file; no directory; no replacement
/// before its rename; that unlinks checksums before a write without ending them; that ends them without a sync.
#[test]
fn what_was_flushed_survives_a_loss_of_power_at_any_moment() {
    let Some(disk) = Disk::mount_cached("what_was_flushed_survives_a_loss_of_power_at_any_moment") else {
        return;
    };
    disk.directory("blocks");
    disk.directory("maps");
    let first = disk.model().events.len();
    let events = record(&disk);
    drop(disk);
    let begun = Instant::now();
    let mut done = 0;
    for cut in 0..CUTS {
        // Spread over all that happened, in an order in which the first ones are spread, too.
        let place = cut * 7919 % CUTS;
        let end = first + (events.len() - first) * (place + 1) / CUTS;
        let seed = cut as u64 + 1;
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut before = events[..first].to_vec();
        before.push(Event::SyncedDirectory { inode: crate::model::ROOT });
        before.extend_from_slice(&events[first..end]);
        wreck(&before, folder.path(), &mut Dice::new(seed));
        if let Err(what) = survives(folder.path(), &Expected::after(&events[..end]), seed) {
            let kept = folder.keep();
            panic!(
                "power lost after event {end} of {}, seed {seed}, kept in {}: {what}",
                events.len(),
                kept.display()
            );
        }
        done += 1;
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    assert!(done > CUTS / 10, "only {done} moments in {PATIENCE:?}");
    eprintln!("{done} losses of power among {} events survived", events.len());
}
