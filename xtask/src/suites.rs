//! `cargo xtask test`: every check, then every test, the slow ones apart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::{End, cargo, shown, target, watch};
use crate::setup::{self, Task};
use crate::tally::{Run, SKIPS, Tally};
use crate::{checks, metadata, process};

/// What to run.
pub(crate) enum Selection {
    Everything,
    /// Checks, and tests but the slow programs and the models.
    Fast,
    /// Slow programs and models alone.
    Slow,
    /// Tests whose names contain this.
    Named(String),
}

/// Time for one run, what it builds included.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// Test programs that are slow as a whole: real file systems, Ganeti and other people's programs, disks that fail, processes that
/// die, hosts that share a directory.
const SLOW_PROGRAMS: &[&str] =
    &["real", "crash", "deaths", "ganeti", "shared", "nfs", CLUSTERS[0], CLUSTERS[1], KILLS];
/// Those that start Ceph clusters: for one host, and for several.
const CLUSTERS: [&str; 2] = ["cluster", "hosts"];
/// The one that kills processes: at every step when the segment is built to name its steps.
const KILLS: &str = "kill";

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
    checks::build_commands(&mut tally);
    let skips = Skips::new()?;
    for mut suite in suites(selection)? {
        let run = run_suite(&mut suite, &skips.0)?;
        tally.add(run, &skips.take(), is_ci);
    }
    print!("{}", tally.report());
    Ok(tally.is_good())
}

fn suites(selection: &Selection) -> Result<Vec<Suite>> {
    Ok(match selection {
        Selection::Everything => fast()?.into_iter().chain(slow()?).collect(),
        Selection::Fast => fast()?,
        Selection::Slow => slow()?,
        Selection::Named(filter) => vec![Suite::of_workspace("tests", &[], &[filter])],
    })
}

fn fast() -> Result<Vec<Suite>> {
    let mut targets = vec!["--lib".to_owned(), "--bins".to_owned()];
    targets.extend(test_programs(|name| !SLOW_PROGRAMS.contains(&name))?);
    Ok(vec![
        Suite::of_workspace("tests", &targets, &[]),
        Suite::of_workspace("examples in the documentation", &["--doc".to_owned()], &[]),
    ])
}

fn slow() -> Result<Vec<Suite>> {
    let mut kills = vec!["--features=xseg/killpoints".to_owned()];
    kills.extend(test_programs(|name| name == KILLS)?);
    let is_apart = |name: &str| name == KILLS || CLUSTERS.contains(&name);
    let others = test_programs(|name| SLOW_PROGRAMS.contains(&name) && !is_apart(name))?;
    let clusters = test_programs(|name| CLUSTERS.contains(&name))?;
    Ok(vec![
        Suite::of_workspace("Ceph clusters", &clusters, &[]),
        Suite::of_workspace("real file systems and clients", &others, &[]),
        Suite::of_workspace("processes that die", &kills, &[]),
        models(),
    ])
}

/// The workspace's test programs that are wanted, as cargo is told them.
fn test_programs(is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let ours = metadata::packages()?.into_iter().filter(|package| package.is_ours);
    let programs = ours.flat_map(|package| package.test_programs);
    Ok(programs.filter(|name| is_wanted(name)).map(|name| format!("--test={name}")).collect())
}

impl Suite {
    /// Tests of the whole workspace, whichever are chosen: so the crates are built once, with the same features.
    fn of_workspace(name: &'static str, targets: &[String], filters: &[&str]) -> Self {
        let mut command = cargo();
        command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
        command.args(targets).arg("--").args(filters);
        Self { name, command, limit: LIMIT }
    }
}

/// The segment's queues and locks, with every interleaving that loom can think of. They are built apart,
/// because the flag that puts loom's atomics in place of the real ones would build everything again.
fn models() -> Suite {
    let mut command = cargo();
    command.args(["test", "--package", "xseg", "--lib", "--release", "--locked", "--no-fail-fast"]);
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target("loom"));
    Suite { name: "models", command, limit: LIMIT }
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
        End::OutOfTime | End::Stopped => run.out_of_time(suite.name, suite.limit.as_secs() / 60),
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
