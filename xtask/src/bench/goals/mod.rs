//! What we want to reach, each line as a ratio of two that take turns in one run.

mod goal;
mod life;
mod maps;
mod processes;
mod served;
mod stores;

use std::path::Path;

use anyhow::{Context, Result};

pub(in crate::bench) use self::goal::{Board, Wanted};
use super::stack::Stack;
use super::{Effort, Folder, build, ipc, machine};
use crate::process::{root, shown};
use crate::setup::{self, Task};

/// Where the tables stand, each between a line that names its option and this one.
const PAGE: &str = "docs/performance.md";
const END: &str = "<!-- end -->";

/// Fewest rounds of which a median says something.
pub(crate) const ROUNDS: u32 = 5;

/// Measures every goal, prints the table, and writes it into its page if that is wanted.
pub(crate) fn run(effort: Effort, is_written: bool) -> Result<()> {
    setup::prepare(Task::Bench);
    let programs = build()?;
    let folder = Folder::new()?;
    let mut board = Board::default();
    let measured = measure(&mut board, &programs, &folder.0, effort);
    show(&board, effort, is_written.then_some("--goals"))?;
    // What was measured before something failed is worth showing.
    measured
}

fn measure(board: &mut Board, programs: &Path, folder: &Path, effort: Effort) -> Result<()> {
    board.section("Requests without data");
    ipc::goals(board)?;
    {
        let stack = Stack::start(programs, &folder.join("stack"), true)?;
        stores::measure(board, &stack, folder, effort)?;
    }
    {
        let stack = Stack::start(programs, &folder.join("served"), false)?;
        served::measure(board, &stack, folder, effort)?;
        maps::first_writes(board, &stack, effort)?;
    }
    maps::measure(board, programs, &folder.join("maps"), effort)?;
    life::measure(board, programs, &folder.join("life"), effort)
}

/// Prints the table; `written_by` names the part of the page that it is put into, if that is wanted.
pub(in crate::bench) fn show(board: &Board, effort: Effort, written_by: Option<&str>) -> Result<()> {
    let text = format!(
        "{}\n\nMedians of {} rounds of {} s each, ours and theirs in turns.\n{}",
        machine(),
        effort.rounds,
        effort.seconds,
        board.text()
    );
    println!("\n{text}");
    written_by.map_or(Ok(()), |option| write(&root().join(PAGE), option, &text))
}

/// Puts the table in the place of the one before.
fn write(page: &Path, option: &str, table: &str) -> Result<()> {
    let begin = format!("<!-- begin: cargo xtask bench {option} --write -->");
    let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (head, rest) = text.split_once(&begin).with_context(|| format!("{PAGE} has no line {begin}"))?;
    let (_, tail) = rest.split_once(END).with_context(|| format!("{PAGE} has no line {END}"))?;
    std::fs::write(page, format!("{head}{begin}\n{table}\n{END}{tail}"))
        .with_context(|| format!("cannot write {}", page.display()))?;
    println!("written: {PAGE}");
    Ok(())
}

/// A program that is missing leaves its lines out, and says so.
fn is_there(name: &str) -> bool {
    let found = crate::process::find(name);
    if found.is_none() {
        println!("skipped: what {name} gives: missing tool: {name}");
    }
    found.is_some()
}

/// Runs a command that must succeed.
fn must(command: &mut std::process::Command) -> Result<String> {
    let line = shown(command);
    crate::process::output(command).with_context(|| format!("cannot go on without: {line}"))
}
