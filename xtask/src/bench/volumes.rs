//! Reads and writes: our stack over NBD, QEMU's server over NBD, and the plain file beneath both.

use std::path::Path;

use anyhow::{Context, Result};

use super::fio::{self, AREA_BYTES, LOADS, Load, Target};
use super::series::{Figure, Series};
use super::server::QemuStorageDaemon;
use super::stack::Stack;
use super::table::Table;
use super::{Effort, is_in_memory, original};
use crate::process::find;

const VOLUME: &str = "bench-volume";

/// Somebody who is measured.
struct Subject<'a> {
    name: &'static str,
    target: Target<'a>,
}

pub(super) fn measure(stack: &Stack, folder: &Path, effort: Effort) -> Result<()> {
    if find("fio").is_none() {
        println!("skipped: volumes: missing tool: fio");
        return Ok(());
    }
    stack.vlmc(&["create", VOLUME, "--size", &format!("{}M", AREA_BYTES >> 20)])?;
    let uri = stack.vlmc(&["map", VOLUME, "--via", "nbd"]).context("cannot map a volume over NBD")?;
    let image = folder.join("plain.img");
    std::fs::File::create(&image)?.set_len(AREA_BYTES)?;
    let qemu_image = folder.join("qemu.img");
    std::fs::File::create(&qemu_image)?.set_len(AREA_BYTES)?;
    let qemu = QemuStorageDaemon::start(folder, &qemu_image)?;
    let mut subjects = vec![Subject { name: "volume over NBD", target: Target::Nbd(&uri) }];
    match &qemu {
        Some(qemu) => {
            subjects.push(Subject { name: "qemu-storage-daemon over NBD", target: Target::Nbd(&qemu.uri) })
        }
        None => println!("skipped: qemu-storage-daemon: missing tool: qemu-storage-daemon"),
    }
    subjects.push(Subject { name: "plain file, no server", target: Target::File(&image) });
    for subject in &subjects {
        fio::fill(&subject.target).with_context(|| format!("cannot fill: {}", subject.name))?;
    }
    print!("{}", table(&subjects, folder, effort)?.text());
    stack.vlmc(&["unmap", VOLUME]).map(drop)
}

fn table(subjects: &[Subject<'_>], folder: &Path, effort: Effort) -> Result<Table> {
    let place =
        if is_in_memory(folder) { "in memory" } else { "on disk, past the page cache where the server can" };
    let title = format!("Random reads and writes {place}: operations a second, median time of one (fio)");
    let mut head = vec!["load"];
    head.extend(subjects.iter().map(|subject| subject.name));
    head.push("original's stack, without NBD, elsewhere");
    let mut table = Table::new(title, &head);
    for load in LOADS {
        let mut cells = vec![load.name()];
        cells.extend(taking_turns(subjects, load, effort)?.iter().map(Series::to_string));
        cells.push(original::volume(load).to_owned());
        table.row(cells);
    }
    Ok(table)
}

/// Every subject once a round, so that a slow minute of the machine hits all of them.
fn taking_turns(subjects: &[Subject<'_>], load: Load, effort: Effort) -> Result<Vec<Series>> {
    let mut all = vec![Series::default(); subjects.len()];
    for _ in 0..effort.rounds {
        for (subject, series) in subjects.iter().zip(&mut all) {
            let figure: Figure = fio::run(&subject.target, load, effort.seconds)
                .with_context(|| format!("{}: {}", subject.name, load.name()))?;
            series.add(figure);
        }
    }
    Ok(all)
}
