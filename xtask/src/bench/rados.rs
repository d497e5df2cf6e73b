//! A store in RADOS, beside what Ceph's own tools get out of the same cluster: `rados bench` and RBD.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Effort;
use super::fio::{self, AREA_BYTES, Load, Pattern, Target};
use super::goals::{Board, Wanted};
use super::hand_over;
use super::series::Figure;
use super::stack::{Inside, Stack};
use crate::process::{cargo, find, output, program};

const VOLUME: &str = "bench-volume";
const IMAGE: &str = "bench-image";
const STORE: Inside<'_> = Inside::Store("blockerb");
/// What is asked for: next to nothing may be lost between Ceph's library and who asks us.
const WANTED: Wanted = Wanted::AtLeast(0.95);
const SMALL_BYTES: u32 = 4 << 10;
const OBJECT_BYTES: u32 = 4 << 20;
/// How long objects are written that are then read.
const FILL_SECONDS: u32 = 1;
const LOADS: [Load; 8] = [
    load(false, SMALL_BYTES, 1),
    load(true, SMALL_BYTES, 1),
    load(false, SMALL_BYTES, 32),
    load(true, SMALL_BYTES, 32),
    load(false, OBJECT_BYTES, 1),
    load(true, OBJECT_BYTES, 1),
    load(false, OBJECT_BYTES, 32),
    load(true, OBJECT_BYTES, 32),
];

const fn load(is_write: bool, block_bytes: u32, depth: u32) -> Load {
    Load { is_write, block_bytes, depth, pattern: Pattern::Random }
}

/// A running cluster; ends when its standard input does.
struct Cluster {
    conf: PathBuf,
    child: Child,
    input: Option<ChildStdin>,
}

impl Cluster {
    fn start() -> Result<Self> {
        let mut command = cargo();
        command.args(["run", "--quiet", "--locked", "--package", "tests", "--bin", "ceph-cluster", "--"]);
        command.args(["blocks", "maps", "rbd"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a Ceph cluster")?;
        let mut line = String::new();
        if let Some(told) = child.stdout.take() {
            BufReader::new(told).read_line(&mut line)?;
        }
        ensure!(!line.is_empty(), "no Ceph cluster; what it said stands above");
        let input = child.stdin.take();
        Ok(Self { conf: PathBuf::from(line.trim()), child, input })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = program(name);
        command.env("CEPH_CONF", &self.conf);
        command
    }

    fn rbd(&self, words: &[&str]) -> Result<String> {
        output(self.command("rbd").args(words))
    }

    /// Writes new objects of 4 MiB in steps of the load's size, and keeps them for reads of this size if `kept`; or reads such
    /// steps at random.
    fn rados_bench(&self, load: Load, seconds: u32, kept: Option<u32>) -> Result<Figure> {
        let run = |words: &[&str]| output(self.command("rados").args(["-p", "blocks"]).args(words));
        let (seconds, depth) = (seconds.to_string(), load.depth.to_string());
        let (bytes, object) = (load.block_bytes.to_string(), OBJECT_BYTES.to_string());
        let for_reads = format!("kept-{}", kept.unwrap_or(load.block_bytes));
        let write = ["bench", &seconds, "write", "-t", &depth, "-b", &bytes, "-O", &object];
        parse(&match (load.is_write, kept) {
            (false, _) => run(&["bench", &seconds, "rand", "-t", &depth, "--run-name", &for_reads])?,
            (true, Some(_)) => run(&[&write[..], &["--no-cleanup", "--run-name", &for_reads]].concat())?,
            (true, None) => run(&write)?,
        })
    }

    fn time_rbd(&self, words: &[&str]) -> Result<Figure> {
        let begun = Instant::now();
        self.rbd(words)?;
        Ok(Figure { per_second: 0.0, median_us: begun.elapsed().as_secs_f64() * 1e6 })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.input = None;
        // It ends its daemons first.
        let _ended = self.child.wait();
    }
}

/// Compares a store with `rados bench`, a volume with RBD.
pub(super) fn measure(board: &mut Board, programs: &Path, folder: &Path, effort: Effort) -> Result<()> {
    let cluster = Cluster::start()?;
    let stack = Stack::start_with(programs, &folder.join("rados"), |text| in_rados(&text, &cluster.conf))?;
    stores(board, &cluster, &stack, effort)?;
    volumes(board, &cluster, &stack, effort)?;
    snapshots(board, &cluster, &stack, effort)?;
    hand_over::measure()
}

/// The embedded default with both stores in pools.
fn in_rados(text: &str, conf: &Path) -> String {
    let store = |pool: &str| {
        format!("type = \"radosd\"\nceph_conf = {:?}\npool = \"{pool}\"", conf.display().to_string())
    };
    let mut section = "";
    let lines = text.lines().filter_map(|line| {
        if line.starts_with('[') {
            section = line;
        }
        match (section, line) {
            ("[blockerb]", "type = \"filed\"") => Some(format!("{}\nlock_pool = \"maps\"", store("blocks"))),
            ("[blockerm]", "type = \"filed\"") => Some(store("maps")),
            ("[blockerb]" | "[blockerm]", line) if line.contains("_dir =") => None,
            (_, line) => Some(line.to_owned()),
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// Reads and writes of objects of 4 MiB in one pool: reads at random places.
fn stores(board: &mut Board, cluster: &Cluster, stack: &Stack, effort: Effort) -> Result<()> {
    board.section("Store in RADOS, from inside the segment; one OSD in memory, objects of 4 MiB");
    stack.fill(STORE)?;
    for bytes in [SMALL_BYTES, OBJECT_BYTES] {
        cluster.rados_bench(load(true, bytes, 32), FILL_SECONDS, Some(bytes))?;
    }
    for load in LOADS {
        // As it writes itself.
        let pattern = if load.is_write { Pattern::Sequential } else { Pattern::Random };
        let load = Load { pattern, ..load };
        board.compare(
            (&load.name(), "rados bench"),
            WANTED,
            effort.rounds,
            || stack.load(STORE, load, effort.seconds),
            || cluster.rados_bench(load, effort.seconds, None),
        )?;
    }
    Ok(())
}

/// A volume and an image of as many objects, both written in full before.
fn volumes(board: &mut Board, cluster: &Cluster, stack: &Stack, effort: Effort) -> Result<()> {
    let size = format!("{}M", AREA_BYTES >> 20);
    stack.vlmc(&["create", VOLUME, "--size", &size])?;
    cluster.rbd(&["create", "--size", &size, IMAGE])?;
    if find("fio").is_none() {
        println!("skipped: fio on RBD: missing tool: fio");
        return Ok(());
    }
    board.section("Volume in RADOS, from inside the segment; RBD without its cache");
    let image = Target::Rbd { conf: &cluster.conf, image: IMAGE };
    stack.fill(Inside::Volume(VOLUME))?;
    fio::fill(&image)?;
    for load in LOADS {
        board.compare(
            (&load.name(), "RBD, fio"),
            WANTED,
            effort.rounds,
            || stack.load(Inside::Volume(VOLUME), load, effort.seconds),
            || fio::run(&image, load, effort.seconds),
        )?;
    }
    Ok(())
}

fn parse(told: &str) -> Result<Figure> {
    let value = |key: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.trim_start_matches(':').trim().parse::<f64>().ok())
    };
    let per_second = value("Average IOPS").context("rados bench printed no rate")?;
    let latency_s = value("Average Latency(s)").context("rados bench printed no latency")?;
    Ok(Figure { per_second, median_us: latency_s * 1e6 })
}

/// The whole commands, their processes included.
fn snapshots(board: &mut Board, cluster: &Cluster, stack: &Stack, effort: Effort) -> Result<()> {
    board.section("Snapshot and clone: the whole command, its process included");
    let image = |round: u32| format!("{IMAGE}@frozen-{round}");
    let (mut ours, mut theirs) = (0..effort.rounds, 0..effort.rounds);
    board.compare(
        ("snapshot", "rbd snap create"),
        Wanted::AtMost(1.0),
        effort.rounds,
        || stack.time_vlmc(&["snapshot", VOLUME, &format!("frozen-{}", ours.next().unwrap_or(0))]),
        || cluster.time_rbd(&["snap", "create", "--no-progress", &image(theirs.next().unwrap_or(0))]),
    )?;
    let (mut ours, mut theirs) = (0..effort.rounds, 0..effort.rounds);
    board.compare(
        ("clone", "rbd clone"),
        Wanted::AtMost(1.0),
        effort.rounds,
        || {
            let round = ours.next().unwrap_or(0);
            stack.time_vlmc(&["create", &format!("copy-{round}"), "--snap", &format!("frozen-{round}")])
        },
        || {
            let round = theirs.next().unwrap_or(0);
            let copy = format!("copy-{round}");
            cluster.time_rbd(&["clone", "--rbd-default-clone-format", "2", &image(round), &copy])
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_rados_bench_are_found() {
        let told = "Total time run:         2.0\nAverage IOPS:           1234\nStddev IOPS: 3\nAverage Latency(s):     0.0005\n";
        assert_eq!(parse(told).unwrap(), Figure { per_second: 1234.0, median_us: 500.0 });
        assert!(parse("error").is_err());
    }

    #[test]
    fn both_stores_move_to_pools_and_share_their_locks() {
        let text = "roles = []\n\n[blockerb]\ntype = \"filed\"\narchip_dir = \"/a\"\nlock_dir = \"/b\"\n\n[blockerm]\n\
                    type = \"filed\"\narchip_dir = \"/b\"\n\n[nbd]\nrun_dir = \"/c\"\n";
        let moved = in_rados(text, Path::new("/x/ceph.conf"));
        assert!(!moved.contains("archip_dir") && !moved.contains("lock_dir") && moved.contains("run_dir"));
        assert_eq!((moved.matches("radosd").count(), moved.matches("\"maps\"").count()), (2, 2));
    }
}
