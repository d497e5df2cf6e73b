//! What a volume's size costs, and what a snapshot costs the next write.

use std::cell::Cell;

use anyhow::Result;

use super::goal::{Board, Wanted};
use super::processes::Processes;
use super::{Place, is_there, must};
use crate::bench::series::{Figure, Series};
use crate::bench::stack::Inside;
use crate::process::program;

/// The size that others are compared with, and those others. The first two have every block written to, so often.
const SMALL: (&str, &str) = ("goals-small", "1G");
const SMALL_BLOCKS: u64 = 1 << 8;
const LARGE: (&str, &str) = ("goals-large", "1T");
const LARGE_BLOCKS: u64 = 1 << 18;
const SPARSE: (&str, &str) = ("goals-sparse", "1P");
/// What the original's mapper needs for a block.
const ORIGINAL_BYTES: u64 = 290;

/// Requests by the size of their volume, and the mapper's memory.
pub(super) fn measure(board: &mut Board, place: &Place<'_>) -> Result<()> {
    if !is_there("fio") {
        return Ok(());
    }
    let stack = place.processes()?;
    stack.run("archipelago", &["start"])?;
    let empty = stack.private_bytes("mapperd")?;
    for ((name, size), blocks) in [(SMALL, SMALL_BLOCKS), (LARGE, LARGE_BLOCKS)] {
        stack.run("vlmc", &["create", name, "--size", size])?;
        touch(&stack, name, blocks)?;
    }
    memory(board, stack.private_bytes("mapperd")?.saturating_sub(empty));
    stack.run("vlmc", &["create", SPARSE.0, "--size", SPARSE.1])?;
    board.section("Requests about maps, by the size of the volume");
    let asked = Cell::new(0);
    for (name, size) in [LARGE, SPARSE] {
        let kind = if name == LARGE.0 { "full" } else { "sparse" };
        // What is open already takes fewer steps: both begin closed.
        close(&stack, SMALL.0);
        for (what, ask) in ASKS {
            let what = format!("{what} of {size}, {kind}");
            let ask = |volume| {
                asked.set(asked.get() + 1);
                ask(&stack, volume, asked.get())
            };
            let mut times = Series::default();
            board.compare(
                (&what, "the same of 1 GiB, full"),
                Wanted::AtMost(1.2),
                place.effort.rounds,
                || ask(name).inspect(|figure| times.add(*figure)),
                || ask(SMALL.0),
            )?;
            let shown = times.to_string();
            board.line(&what, &shown, "5 ms", "", times.time_us() / 5e3, Wanted::AtMost(1.0));
        }
    }
    Ok(())
}

/// What is asked of a volume; the number makes new names.
type Ask = fn(&Processes, &str, u32) -> Result<Figure>;

const ASKS: [(&str, Ask); 4] = [("snapshot", snapshot), ("clone", clone), ("open", open), ("info", info)];

fn snapshot(stack: &Processes, volume: &str, number: u32) -> Result<Figure> {
    stack.requests_of("snapshot", &["snapshot", volume, &format!("{volume}-s{number}")])
}

fn clone(stack: &Processes, volume: &str, number: u32) -> Result<Figure> {
    let (frozen, copy) = (format!("{volume}-f{number}"), format!("{volume}-c{number}"));
    stack.run("vlmc", &["snapshot", volume, &frozen])?;
    stack.requests_of("clone", &["create", &copy, "--snap", &frozen])
}

fn open(stack: &Processes, volume: &str, _number: u32) -> Result<Figure> {
    close(stack, volume);
    stack.requests_of("open", &["open", volume])
}

/// It may be closed already.
fn close(stack: &Processes, volume: &str) {
    crate::process::succeeds(&mut stack.command("vlmc", &["close", volume]));
}

fn info(stack: &Processes, volume: &str, _number: u32) -> Result<Figure> {
    stack.requests_of("info", &["info", volume])
}

/// 4 KiB into each block of 4 MiB.
fn touch(stack: &Processes, volume: &str, blocks: u64) -> Result<()> {
    println!("writing to all {blocks} blocks of {volume}");
    let uri = stack.run("vlmc", &["map", volume, "--via", "nbd"])?;
    let mut fio = program("fio");
    fio.args(["--name=touch", "--ioengine=nbd", "--rw=write:4092k", "--bs=4k", "--iodepth=32"]);
    must(fio.arg(format!("--io_size={}", blocks << 12)).arg(format!("--uri={uri}")))?;
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
pub(super) fn first_writes(board: &mut Board, place: &Place<'_>) -> Result<()> {
    const VOLUME: &str = "goals-shared";
    let (stack, effort) = (place.stack(false)?, place.effort);
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
