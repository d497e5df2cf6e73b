//! `cargo xtask bench`: our figures, beside those of others on this machine in the same run, and beside what the
//! original gave elsewhere.
//!
//! Whoever is compared takes turns: each load is run on one after the other, several rounds, and medians count.

mod fio;
pub(crate) mod goals;
mod hand_over;
mod ipc;
mod maps;
mod original;
mod rados;
mod series;
mod server;
mod stack;
mod table;
mod volumes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, End, cargo, shown, target, watch};
use crate::setup::{self, Task};
use stack::Stack;

/// Time for the release build.
const BUILD_LIMIT: Duration = Duration::from_secs(45 * 60);

/// How long and how often to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Each load takes its turn so often.
    pub(crate) rounds: u32,
    /// Each turn takes so long.
    pub(crate) seconds: u32,
    /// Everybody goes past the page cache; otherwise everybody uses it, as is everybody's default.
    pub(crate) is_direct: bool,
}

impl Default for Effort {
    fn default() -> Self {
        Self { rounds: 3, seconds: 2, is_direct: false }
    }
}

/// Measures, and prints tables.
pub(crate) fn run(effort: Effort) -> Result<()> {
    setup::prepare(Task::Bench);
    let programs = build()?;
    let folder = Folder::new()?;
    println!("\nMedians of {} rounds of {} s, on {}", effort.rounds, effort.seconds, machine());
    ipc::measure()?;
    let stack = Stack::start(&programs, &folder.0.join("stack"), effort.is_direct)?;
    volumes::measure(&stack, &folder.0, effort)?;
    maps::measure(&stack, effort)
}

/// Measures stores in RADOS alone, prints a table, and writes it into its page if that is wanted.
pub(crate) fn run_rados(effort: Effort, is_written: bool) -> Result<()> {
    setup::prepare(Task::Bench);
    if process::find("ceph-osd").is_none() {
        println!("skipped: stores in RADOS: missing tool: ceph-osd");
        return Ok(());
    }
    let programs = build()?;
    let folder = Folder::new()?;
    let mut board = goals::Board::default();
    let measured = rados::measure(&mut board, &programs, &folder.0, effort);
    // What was measured before something failed is worth knowing.
    goals::show(&board, effort, is_written.then_some("--rados"))?;
    measured
}

fn build() -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--release", "--package", "cli", "--bins", "--locked"]);
    println!("Building: {}", shown(&command));
    let end = watch(&mut command, BUILD_LIMIT, |line| println!("{line}"))?;
    ensure!(matches!(end, End::Exited(true)), "the stack does not build; what cargo said stands above");
    Ok(target("release"))
}

/// Where everything that is measured lies, on the disk that the project is built on; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = target("xtask").join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(path.join("stack"))
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What figures depend on first.
fn machine() -> String {
    let of = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = of("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let load = of("/proc/loadavg");
    let busy = load.split_whitespace().next().unwrap_or("?");
    let kernel = of("/proc/sys/kernel/osrelease");
    format!("{count} × {}, Linux {}, load {busy} before", model.unwrap_or("unknown processor"), kernel.trim())
}

/// True if a path is on a file system in memory, where figures say nothing about disks.
fn is_in_memory(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holds = |line: &&str| line.split(' ').nth(1).is_some_and(|mount| path.starts_with(mount));
    let nearest = mounts.lines().filter(holds).max_by_key(|line| line.split(' ').nth(1).map(str::len));
    nearest.is_some_and(|line| line.split(' ').nth(2) == Some("tmpfs"))
}
