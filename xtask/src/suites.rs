//! `cargo xtask test`: every check, then every test, the slow ones apart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::{End, cargo, shown, target, watch};
use crate::setup::{self, Task};
use crate::tally::{Run, SKIPS, Tally};
use crate::{checks, process};

/// What to run.
pub(crate) enum Selection {
    Everything,
    /// Checks, and tests but the slow ones.
    Fast,
    /// Slow tests and models alone.
    Slow,
    /// Tests whose names contain this.
    Named(String),
}

/// The module name that marks slow tests, as the test framework's filter sees it.
const SLOW: &str = "slow::";

/// One run of the test framework.
struct Suite {
    name: &'static str,
    command: Command,
    /// After this long the run has failed. Building is part of it.
    limit: Duration,
}

/// Runs the selection and prints the counts; true when nothing failed.
pub(crate) fn run(selection: &Selection) -> Result<bool> {
    setup::prepare(Task::Test);
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let mut tally = Tally::default();
    if matches!(selection, Selection::Everything | Selection::Fast) {
        checks::run(&mut tally);
    }
    let skips = Skips::new()?;
    for mut suite in suites(selection) {
        let run = run_suite(&mut suite, &skips.0)?;
        tally.add(run, &skips.take(), is_ci);
    }
    print!("{}", tally.report());
    Ok(tally.is_good())
}

fn suites(selection: &Selection) -> Vec<Suite> {
    match selection {
        Selection::Everything => vec![fast(), slow(), models()],
        Selection::Fast => vec![fast()],
        Selection::Slow => vec![slow(), models()],
        Selection::Named(filter) => vec![named(filter)],
    }
}

fn fast() -> Suite {
    let mut command = tests();
    command.args(["--", "--skip", SLOW]);
    Suite { name: "tests", command, limit: Duration::from_secs(30 * 60) }
}

fn slow() -> Suite {
    let mut command = tests();
    command.args(["--lib", "--bins", "--tests", "--", SLOW]);
    Suite { name: "slow tests", command, limit: Duration::from_secs(30 * 60) }
}

fn named(filter: &str) -> Suite {
    let mut command = tests();
    command.args(["--", filter]);
    Suite { name: "tests", command, limit: Duration::from_secs(60 * 60) }
}

fn tests() -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    command
}

/// The segment's queues and locks, with every interleaving that loom can think of. They are built apart,
/// because the flag that puts loom's atomics in place of the real ones would build everything again.
fn models() -> Suite {
    let mut command = cargo();
    command.args(["test", "--package", "xseg", "--lib", "--release", "--locked", "--no-fail-fast"]);
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target("loom"));
    Suite { name: "models", command, limit: Duration::from_secs(30 * 60) }
}

fn run_suite(suite: &mut Suite, skips: &Path) -> Result<Run> {
    println!("\n== {}: {}", suite.name, shown(&suite.command));
    let begun = Instant::now();
    let mut run = Run::default();
    suite.command.env(SKIPS, skips).env("PATH", process::search_path());
    let end = watch(&mut suite.command, suite.limit, |line| {
        println!("{line}");
        run.line(line);
    })?;
    println!("== {} took {} s", suite.name, begun.elapsed().as_secs());
    Ok(match end {
        End::Exited(is_good) => run.end(suite.name, is_good),
        End::OutOfTime => run.out_of_time(suite.name, suite.limit.as_secs() / 60),
    })
}

/// The file to which tests append what they skip; removed at the end.
struct Skips(PathBuf);

impl Skips {
    fn new() -> Result<Self> {
        let folder = target("xtask");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder.join(format!("skips-{}", std::process::id()))))
    }

    /// What was appended since the last time.
    fn take(&self) -> String {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        drop(std::fs::remove_file(&self.0));
        text
    }
}

impl Drop for Skips {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
