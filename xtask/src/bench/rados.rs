//! A store in RADOS, beside what Ceph's own tools get out of the same cluster: `rados bench` and RBD.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Effort;
use super::fio::{self, AREA_BYTES, Load, Pattern, Target};
use super::hand_over;
use super::series::{Figure, Series};
use super::stack::{Inside, Stack};
use super::table::Table;
use crate::process::{cargo, find, output, program};

const VOLUME: &str = "bench-volume";
const IMAGE: &str = "bench-image";
const LOADS: [Load; 8] = [
    load(false, 4 << 10, 1),
    load(true, 4 << 10, 1),
    load(false, 4 << 10, 32),
    load(true, 4 << 10, 32),
    load(false, 4 << 20, 1),
    load(true, 4 << 20, 1),
    load(false, 4 << 20, 32),
    load(true, 4 << 20, 32),
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
        command.args(["blocks", "maps", "raw", "rbd"]).stdin(Stdio::piped()).stdout(Stdio::piped());
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

/// Measures, and prints tables.
pub(super) fn measure(programs: &Path, folder: &Path, effort: Effort) -> Result<()> {
    if find("ceph-osd").is_none() {
        println!("skipped: stores in RADOS: missing tool: ceph-osd");
        return Ok(());
    }
    let cluster = Cluster::start()?;
    let stack = Stack::start_with(programs, &folder.join("rados"), |text| in_rados(&text, &cluster.conf))?;
    loads(&cluster, &stack, effort)?;
    snapshots(&cluster, &stack, effort)?;
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

fn loads(cluster: &Cluster, stack: &Stack, effort: Effort) -> Result<()> {
    let size = format!("{}M", AREA_BYTES >> 20);
    stack.vlmc(&["create", VOLUME, "--size", &size])?;
    cluster.rbd(&["create", "--size", &size, IMAGE])?;
    let image = Target::Rbd { conf: &cluster.conf, image: IMAGE };
    for inside in [Inside::Store("blockerb"), Inside::Volume(VOLUME)] {
        stack.fill(inside)?;
    }
    let has_fio = find("fio").is_some();
    if has_fio {
        fio::fill(&image)?;
    } else {
        println!("skipped: fio on RBD: missing tool: fio");
    }
    let head =
        ["load", "store, in the segment", "volume, in the segment", "rados bench, whole objects", "RBD, fio"];
    let title = "Random reads and writes in RADOS, one OSD in memory: operations a second, time of one (median; \
                 rados bench: mean)";
    let mut table = Table::new(title, &head);
    for load in LOADS {
        let mut all = vec![Series::default(); head.len() - 1];
        for _ in 0..effort.rounds {
            all[0].add(stack.load(Inside::Store("blockerb"), load, effort.seconds)?);
            all[1].add(stack.load(Inside::Volume(VOLUME), load, effort.seconds)?);
            all[2].add(rados_bench(cluster, load, effort.seconds)?);
            if has_fio {
                all[3].add(fio::run(&image, load, effort.seconds)?);
            }
        }
        let cells = std::iter::once(load.name()).chain(all.iter().map(Series::to_string));
        table.row(cells.collect());
    }
    print!("{}", table.text());
    Ok(())
}

/// Writes new objects of the load's size, or reads such ones at random.
fn rados_bench(cluster: &Cluster, load: Load, seconds: u32) -> Result<Figure> {
    let run = |words: &[&str]| output(cluster.command("rados").args(["-p", "raw"]).args(words));
    let (seconds, bytes, depth) = (seconds.to_string(), load.block_bytes.to_string(), load.depth.to_string());
    let mut told = run(&["bench", &seconds, "write", "-b", &bytes, "-t", &depth, "--no-cleanup"])?;
    if !load.is_write {
        told = run(&["bench", &seconds, "rand", "-t", &depth])?;
    }
    run(&["cleanup"])?;
    parse(&told)
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

fn snapshots(cluster: &Cluster, stack: &Stack, effort: Effort) -> Result<()> {
    let mut all = vec![Series::default(); 4];
    for round in 0..effort.rounds {
        let (frozen, copy) = (format!("frozen-{round}"), format!("copy-{round}"));
        let snapshot = format!("{IMAGE}@{frozen}");
        all[0].add(stack.time_vlmc(&["snapshot", VOLUME, &frozen])?);
        all[1].add(cluster.time_rbd(&["snap", "create", "--no-progress", &snapshot])?);
        all[2].add(stack.time_vlmc(&["create", &copy, "--snap", &frozen])?);
        all[3].add(cluster.time_rbd(&["clone", "--rbd-default-clone-format", "2", &snapshot, &copy])?);
    }
    let title = "Snapshots and clones in RADOS: the whole command, its process included";
    let mut table = Table::new(title, &["operation", "ours", "RBD"]);
    for (name, series) in ["snapshot", "clone"].into_iter().zip(all.chunks(2)) {
        table.row(
            [&[name.to_owned()], &series.iter().map(Series::to_string).collect::<Vec<_>>()[..]].concat(),
        );
    }
    print!("{}", table.text());
    Ok(())
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
