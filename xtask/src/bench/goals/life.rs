//! Starting, stopping, and doing nothing.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Place;
use super::goal::{Board, Wanted};
use super::processes::{Processes, figure};
use crate::bench::series::{Figure, Series};

/// How long an idle stack is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// Clock ticks a second, as the kernel shows times to user space on every machine of today.
const TICKS: u64 = 100;

pub(super) fn measure(board: &mut Board, place: &Place<'_>) -> Result<()> {
    let stack = place.processes()?;
    board.section("A stack's life");
    let (mut start, mut stop) = (Series::default(), Series::default());
    for _ in 0..place.effort.rounds {
        start.add(stack.time("archipelago", &["start"])?);
        stop.add(stack.time("archipelago", &["stop"])?);
    }
    for (what, times) in [("start", start), ("stop", stop)] {
        let shown = times.to_string();
        board.line(what, &shown, "one second", "", times.time_us() / 1e6, Wanted::AtMost(1.0));
    }
    stack.run("archipelago", &["start"])?;
    let busy = idle(&stack)?;
    let share = busy.median_us / WATCHED.as_secs_f64() / 1e6;
    let shown = format!("{:.2} % of a core", share * 100.0);
    board.line(
        "an idle stack, all roles",
        &shown,
        "a thousandth of a core",
        "",
        share / 1e-3,
        Wanted::AtMost(1.0),
    );
    Ok(())
}

/// Processor time that all roles take while nobody asks them anything.
fn idle(stack: &Processes) -> Result<Figure> {
    let pids = stack.pids()?;
    let ticks = || pids.iter().map(|(_, pid)| used(*pid)).sum::<Result<u64>>();
    let before = ticks()?;
    std::thread::sleep(WATCHED);
    Ok(figure(Duration::from_millis((ticks()? - before) * 1000 / TICKS)))
}

fn used(pid: u64) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    // Behind the name, which may hold anything: state, then eleven more, then user and system time.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(number(11) + number(12))
}
