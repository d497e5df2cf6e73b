//! Reads and writes: a store and a volume from inside the segment, a volume over NBD, and beside them QEMU's server
//! over NBD and a plain file.

use std::path::Path;

use anyhow::{Context, Result};

use super::fio::{self, AREA_BYTES, LOADS, Load, Target};
use super::series::{Figure, Series};
use super::server::QemuStorageDaemon;
use super::stack::{Inside, Stack};
use super::table::Table;
use super::{Effort, is_in_memory, original};
use crate::process::find;

const INSIDE: &str = "bench-inside";
const OUTSIDE: &str = "bench-outside";
/// The role of the embedded default that keeps blocks.
const STORE: &str = "blockerb";

/// Somebody who is measured.
struct Subject<'a> {
    name: &'static str,
    way: Way<'a>,
}

/// How.
enum Way<'a> {
    Inside(&'a Stack, Inside<'a>),
    Fio(Target<'a>),
}

impl Subject<'_> {
    fn fill(&self) -> Result<()> {
        match &self.way {
            Way::Inside(stack, on) => stack.fill(*on),
            Way::Fio(target) => fio::fill(target),
        }
        .with_context(|| format!("cannot fill: {}", self.name))
    }

    fn load(&self, load: Load, seconds: u32) -> Result<Figure> {
        match &self.way {
            Way::Inside(stack, on) => stack.load(*on, load, seconds),
            Way::Fio(target) => fio::run(target, load, seconds),
        }
        .with_context(|| format!("{}: {}", self.name, load.name()))
    }
}

pub(super) fn measure(stack: &Stack, folder: &Path, effort: Effort) -> Result<()> {
    let size = format!("{}M", AREA_BYTES >> 20);
    stack.vlmc(&["create", INSIDE, "--size", &size])?;
    let mut subjects = vec![
        Subject { name: "store, in the segment", way: Way::Inside(stack, Inside::Store(STORE)) },
        Subject { name: "volume, in the segment", way: Way::Inside(stack, Inside::Volume(INSIDE)) },
    ];
    if find("fio").is_none() {
        println!("skipped: what fio measures: missing tool: fio");
        return show(&subjects, folder, effort);
    }
    stack.vlmc(&["create", OUTSIDE, "--size", &size])?;
    let uri = stack.vlmc(&["map", OUTSIDE, "--via", "nbd"]).context("cannot map a volume over NBD")?;
    let qemu = QemuStorageDaemon::start(folder, &image(folder, "qemu.img")?, effort.is_direct)?;
    let plain = image(folder, "plain.img")?;
    subjects.push(Subject { name: "volume, NBD", way: Way::Fio(Target::Nbd(&uri)) });
    match &qemu {
        Some(qemu) => {
            subjects.push(Subject { name: "qemu-storage-daemon, NBD", way: Way::Fio(Target::Nbd(&qemu.uri)) })
        }
        None => println!("skipped: qemu-storage-daemon: missing tool: qemu-storage-daemon"),
    }
    subjects.push(Subject {
        name: "plain file",
        way: Way::Fio(Target::File { path: &plain, is_direct: effort.is_direct }),
    });
    show(&subjects, folder, effort)?;
    stack.vlmc(&["unmap", OUTSIDE]).map(drop)
}

/// A sparse file as large as the area.
fn image(folder: &Path, name: &str) -> Result<std::path::PathBuf> {
    let path = folder.join(name);
    std::fs::File::create(&path)?.set_len(AREA_BYTES)?;
    Ok(path)
}

fn show(subjects: &[Subject<'_>], folder: &Path, effort: Effort) -> Result<()> {
    subjects.iter().try_for_each(Subject::fill)?;
    let place = if is_in_memory(folder) { "in memory" } else { "on disk" };
    let cache = if effort.is_direct { "past the page cache" } else { "through the page cache" };
    let title = format!(
        "Random reads and writes {place}, {cache}, not synced (the original's always were): operations a second, \
         median time of one"
    );
    let mut head = vec!["load"];
    head.extend(subjects.iter().map(|subject| subject.name));
    head.extend(["original's store, elsewhere", "original's volume, elsewhere"]);
    let mut table = Table::new(title, &head);
    for load in LOADS {
        let mut cells = vec![load.name()];
        cells.extend(taking_turns(subjects, load, effort)?.iter().map(Series::to_string));
        cells.extend(
            [original::store(load, effort.is_direct), original::volume(load, effort.is_direct)]
                .map(str::to_owned),
        );
        table.row(cells);
    }
    print!("{}", table.text());
    Ok(())
}

/// Every subject once a round, so that a slow minute of the machine hits all of them.
fn taking_turns(subjects: &[Subject<'_>], load: Load, effort: Effort) -> Result<Vec<Series>> {
    let mut all = vec![Series::default(); subjects.len()];
    for _ in 0..effort.rounds {
        for (subject, series) in subjects.iter().zip(&mut all) {
            series.add(subject.load(load, effort.seconds)?);
        }
    }
    Ok(all)
}
