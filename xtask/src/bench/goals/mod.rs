//! What we want to reach, each line as a ratio of two that take turns in one run.

mod goal;
mod life;
mod maps;
mod processes;
mod served;
mod stores;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub(in crate::bench) use self::goal::{Board, Wanted};
use self::processes::Processes;
use super::stack::Stack;
use super::{Effort, Folder, build, ipc, machine};
use crate::process::{root, shown};
use crate::setup::{self, Task};

/// Where the tables stand, each between a line that names its option and this one.
const PAGE: &str = "docs/performance.md";
const END: &str = "<!-- end -->";

/// Fewest rounds of which a median says something.
pub(crate) const ROUNDS: u32 = 5;
/// Seconds of a turn, if nobody says how many: all takes a quarter of an hour.
pub(crate) const SECONDS: u32 = 1;

/// What is measured together, by the word that picks it.
const SECTIONS: [(&str, Section); 7] = [
    ("segment", |board, _| ipc::goals(board)),
    ("store", stores::measure),
    ("nbd", served::over_nbd),
    ("fuse", served::through_fuse),
    ("snapshot", maps::first_writes),
    ("maps", maps::measure),
    ("life", life::measure),
];

type Section = fn(&mut Board, &Place<'_>) -> Result<()>;

/// Where a section measures, and how long.
struct Place<'a> {
    programs: &'a Path,
    /// Its own.
    folder: PathBuf,
    effort: Effort,
}

impl Place<'_> {
    /// A stack of one process, whose blocks go past the page cache or through it.
    fn stack(&self, is_direct: bool) -> Result<Stack> {
        Stack::start(self.programs, &self.folder.join("stack"), is_direct)
    }

    /// A stack with a process for each role, not started yet.
    fn processes(&self) -> Result<Processes> {
        Processes::prepare(self.programs, &self.folder.join("stack"))
    }
}

/// Measures every goal, or one section of them; prints the table, and writes it into its page if that is wanted.
pub(crate) fn run(effort: Effort, only: Option<&str>, is_written: bool) -> Result<()> {
    setup::prepare(Task::Bench);
    let programs = build()?;
    let folder = Folder::new()?;
    let mut board = Board::default();
    let mut failed = Vec::new();
    for (name, section) in SECTIONS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        let place = Place { programs: &programs, folder: folder.0.join(name), effort };
        std::fs::create_dir_all(&place.folder)?;
        // The others are worth knowing all the same.
        if let Err(error) = section(&mut board, &place) {
            println!("{name}: {error:#}");
            failed.push(*name);
        }
    }
    show(&board, effort, is_written.then_some("--goals"))?;
    ensure!(failed.is_empty(), "not measured whole: {}; why stands above", failed.join(", "));
    Ok(())
}

/// Whether there is a section of this name.
pub(crate) fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == name)
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
