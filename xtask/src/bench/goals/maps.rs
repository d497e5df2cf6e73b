//! What a volume's size costs, and what a snapshot costs the next write.

use std::path::Path;

use anyhow::Result;

use super::goal::{Board, Wanted};
use super::processes::Processes;
use super::{is_there, must};
use crate::bench::Effort;
use crate::bench::series::{Figure, Series};
use crate::bench::stack::{Inside, Stack};
use crate::process::program;

/// The size that others are compared with, and those others. The first two have every block written to.
const SMALL: (&str, &str) = ("goals-small", "1G");
const LARGE: (&str, &str) = ("goals-large", "1T");
const SPARSE: (&str, &str) = ("goals-sparse", "1P");
/// Blocks of 4 MiB in 1 TiB.
const LARGE_BLOCKS: u64 = 1 << 18;
/// What the original's mapper needs for a block.
const ORIGINAL_BYTES: u64 = 290;

/// Requests by the size of their volume, and the mapper's memory.
pub(super) fn measure(board: &mut Board, programs: &Path, folder: &Path, effort: Effort) -> Result<()> {
    if !is_there("fio") {
        return Ok(());
    }
    let stack = Processes::prepare(programs, folder)?;
    stack.run("archipelago", &["start"])?;
    let empty = stack.private_bytes("mapperd")?;
    for (name, size) in [SMALL, LARGE] {
        stack.run("vlmc", &["create", name, "--size", size])?;
        touch_every_block(&stack, name)?;
    }
    memory(board, stack.private_bytes("mapperd")?.saturating_sub(empty));
    stack.run("vlmc", &["create", SPARSE.0, "--size", SPARSE.1])?;
    board.section("Requests about maps, by the size of the volume");
    for (name, size) in [LARGE, SPARSE] {
        let kind = if name == LARGE.0 { "full" } else { "sparse" };
        for ask in [snapshot, clone, open, info] {
            let what = ask(&stack, SMALL.0, 0)?.0;
            let (mut round, mut other) = (1, 1);
            let mut times = Series::default();
            board.compare(
                (&format!("{what} of {size}, {kind}"), "the same of 1 GiB, full"),
                Wanted::AtMost(1.2),
                effort.rounds,
                || {
                    round += 1;
                    let figure = ask(&stack, name, round)?.1;
                    times.add(figure);
                    Ok(figure)
                },
                || {
                    other += 1;
                    ask(&stack, SMALL.0, other).map(|(_, figure)| figure)
                },
            )?;
            let shown = times.to_string();
            board.line(
                &format!("{what} of {size}, {kind}"),
                &shown,
                "5 ms",
                "",
                times.time_us() / 5e3,
                Wanted::AtMost(1.0),
            );
        }
    }
    Ok(())
}

type Asked = Result<(&'static str, Figure)>;

fn snapshot(stack: &Processes, volume: &str, round: u32) -> Asked {
    let name = format!("{volume}-s{round}");
    Ok(("snapshot", stack.requests_of("snapshot", &["snapshot", volume, &name])?))
}

fn clone(stack: &Processes, volume: &str, round: u32) -> Asked {
    let (frozen, copy) = (format!("{volume}-f{round}"), format!("{volume}-c{round}"));
    stack.run("vlmc", &["snapshot", volume, &frozen])?;
    Ok(("clone", stack.requests_of("clone", &["create", &copy, "--snap", &frozen])?))
}

fn open(stack: &Processes, volume: &str, _round: u32) -> Asked {
    // It may be closed already.
    crate::process::succeeds(&mut stack.command("vlmc", &["close", volume]));
    Ok(("open", stack.requests_of("open", &["open", volume])?))
}

fn info(stack: &Processes, volume: &str, _round: u32) -> Asked {
    Ok(("info", stack.requests_of("info", &["info", volume])?))
}

/// 4 KiB into each block of 4 MiB.
fn touch_every_block(stack: &Processes, volume: &str) -> Result<()> {
    println!("writing to every block of {volume}");
    let uri = stack.run("vlmc", &["map", volume, "--via", "nbd"])?;
    let mut fio = program("fio");
    fio.args(["--name=touch", "--ioengine=nbd", "--rw=write:4092k", "--bs=4k", "--iodepth=32"]);
    must(fio.arg(format!("--uri={uri}")))?;
    stack.run("vlmc", &["unmap", volume]).map(drop)
}

fn memory(board: &mut Board, bytes: u64) {
    let shown = |bytes: u64| format!("{} B a block", bytes / LARGE_BLOCKS);
    #[expect(clippy::cast_precision_loss, reason = "a ratio is shown with two digits")]
    let ratio = bytes as f64 / (ORIGINAL_BYTES * LARGE_BLOCKS) as f64;
    board.section("Memory");
    let original = format!("{ORIGINAL_BYTES} B a block, elsewhere");
    board.line(
        "mapper, 1 TiB written to",
        &shown(bytes),
        "the original",
        &original,
        ratio,
        Wanted::AtMost(0.1),
    );
}

/// The first write to a block that a snapshot shares, and one that it does not.
pub(super) fn first_writes(board: &mut Board, stack: &Stack, effort: Effort) -> Result<()> {
    const VOLUME: &str = "goals-shared";
    stack.vlmc(&["create", VOLUME, "--size", "256M"])?;
    stack.fill(Inside::Volume(VOLUME))?;
    board.section("The first write after a snapshot");
    let (mut seed, mut other) = (0_u32, 1000_u32);
    let mut shared = Vec::new();
    let mut alone = Vec::new();
    for round in 0..effort.rounds {
        other += 1;
        alone.push(stack.few_writes(VOLUME, other)?);
        stack.vlmc(&["snapshot", VOLUME, &format!("{VOLUME}-{round}")])?;
        seed += 1;
        shared.push(stack.few_writes(VOLUME, seed)?);
        // So that the next round's writes find blocks of their own again.
        stack.fill(Inside::Volume(VOLUME))?;
    }
    let (mut shared, mut alone) = (shared.into_iter(), alone.into_iter());
    let next = |figures: &mut std::vec::IntoIter<Figure>| {
        figures.next().ok_or_else(|| anyhow::anyhow!("one a round"))
    };
    board.compare(
        ("4 KiB write to a block that a snapshot shares", "to one of its own"),
        Wanted::AtMost(1.5),
        effort.rounds,
        || next(&mut shared),
        || next(&mut alone),
    )
}
