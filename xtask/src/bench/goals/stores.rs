//! A store against the kernel on the same kind of files; a volume against its store.

use std::path::Path;

use anyhow::Result;

use super::Place;
use super::goal::{Board, Wanted};
use crate::bench::Effort;
use crate::bench::fio::{self, AREA_BYTES, Load, Pattern, Target};
use crate::bench::series::Figure;
use crate::bench::stack::{Inside, Stack};

const VOLUME: &str = "goals-volume";
const STORE: Inside<'_> = Inside::Store("blockerb");

const fn random(is_write: bool, depth: u32) -> Load {
    Load { is_write, block_bytes: 4 << 10, depth, pattern: Pattern::Random }
}

/// Everybody goes past the page cache.
pub(super) fn measure(board: &mut Board, place: &Place<'_>) -> Result<()> {
    let (stack, folder, effort) = (&place.stack(true)?, &place.folder, place.effort);
    stack.vlmc(&["create", VOLUME, "--size", &format!("{}M", AREA_BYTES >> 20)])?;
    let volume = Inside::Volume(VOLUME);
    [volume, STORE].into_iter().try_for_each(|on| stack.fill(on))?;
    board.section("Store and volume, from inside the segment, past the page cache");
    if super::is_there("fio") {
        let objects = folder.join("objects");
        std::fs::create_dir_all(&objects)?;
        let files = Target::Objects { folder: &objects };
        fio::fill(&files)?;
        for load in [random(false, 1), random(true, 1), random(false, 32), random(true, 32)] {
            let names = (&*format!("filed, {}", load.name()), "fio, io_uring, as many files");
            board.compare(
                names,
                Wanted::AtLeast(0.9),
                effort.rounds,
                || stack.load(STORE, load, effort.seconds),
                || fio::run(&files, load, effort.seconds),
            )?;
        }
        sequential(board, stack, folder, effort)?;
    }
    for load in [random(false, 32), random(true, 32)] {
        board.compare(
            (&format!("volume, {}", load.name()), "filed alone"),
            Wanted::AtLeast(0.8),
            effort.rounds,
            || stack.load(volume, load, effort.seconds),
            || stack.load(STORE, load, effort.seconds),
        )?;
    }
    hops(board, stack, effort)
}

fn sequential(board: &mut Board, stack: &Stack, folder: &Path, effort: Effort) -> Result<()> {
    let path = folder.join("goals.img");
    std::fs::File::create(&path)?.set_len(AREA_BYTES)?;
    let file = Target::File { path: &path, is_direct: true };
    fio::fill(&file)?;
    for is_write in [false, true] {
        let load = Load { is_write, block_bytes: 1 << 20, depth: 8, pattern: Pattern::Sequential };
        board.compare(
            (&format!("volume, {}", load.name()), "fio on a file"),
            Wanted::AtLeast(0.95),
            effort.rounds,
            || stack.load(Inside::Volume(VOLUME), load, effort.seconds),
            || fio::run(&file, load, effort.seconds),
        )?;
    }
    Ok(())
}

/// What a volume adds to its store, in round trips of a request that does nothing.
fn hops(board: &mut Board, stack: &Stack, effort: Effort) -> Result<()> {
    for load in [random(false, 1), random(true, 1)] {
        let more = || -> Result<Figure> {
            let whole = stack.load(Inside::Volume(VOLUME), load, effort.seconds)?;
            let alone = stack.load(STORE, load, effort.seconds)?;
            Ok(Figure { per_second: 0.0, median_us: (whole.median_us - alone.median_us).max(0.0) })
        };
        board.compare(
            (&format!("what a volume adds to filed, {}", load.name()), "a request that does nothing"),
            Wanted::AtMost(1.5),
            effort.rounds,
            more,
            || stack.load(Inside::Ping("vlmcd"), load, effort.seconds),
        )?;
    }
    Ok(())
}
