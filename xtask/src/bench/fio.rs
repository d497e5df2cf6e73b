//! fio as the one measure of everything that it can reach.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::series::Figure;
use crate::process::{output, program};

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) is_write: bool,
    pub(super) block_bytes: u32,
    pub(super) depth: u32,
    pub(super) pattern: Pattern,
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Random,
    Sequential,
}

/// The loads of every table of volumes.
pub(super) const LOADS: [Load; 8] = [
    load(false, 4 << 10, 1),
    load(true, 4 << 10, 1),
    load(false, 4 << 10, 32),
    load(true, 4 << 10, 32),
    load(false, 1 << 20, 1),
    load(true, 1 << 20, 1),
    load(false, 1 << 20, 32),
    load(true, 1 << 20, 32),
];

const fn load(is_write: bool, block_bytes: u32, depth: u32) -> Load {
    Load { is_write, block_bytes, depth, pattern: Pattern::Random }
}

impl Load {
    /// As rows of tables are headed.
    pub(super) fn name(self) -> String {
        let size = match self.block_bytes >> 20 {
            0 => format!("{} KiB", self.block_bytes >> 10),
            mib => format!("{mib} MiB"),
        };
        let order = if self.pattern == Pattern::Sequential { "sequential " } else { "" };
        format!("{size} {order}{}, depth {}", self.kind(), self.depth)
    }

    pub(super) fn kind(self) -> &'static str {
        if self.is_write { "write" } else { "read" }
    }
}

/// What fio is pointed at.
pub(super) enum Target<'a> {
    /// A file, past the page cache or not.
    File { path: &'a Path, is_direct: bool },
    /// As many files as a store has objects for the same amount, past the page cache.
    Objects { folder: &'a Path },
    /// An NBD export.
    Nbd(&'a str),
    /// An image in the pool `rbd`.
    Rbd { conf: &'a Path, image: &'a str },
}

/// Bytes that a load moves about in.
pub(super) const AREA_BYTES: u64 = 256 << 20;

/// Bytes of an object of a store.
const OBJECT_BYTES: u64 = 4 << 20;

/// Runs one load for some seconds.
pub(super) fn run(target: &Target<'_>, load: Load, seconds: u32) -> Result<Figure> {
    let mut command = program("fio");
    command.args(["--name=load", "--output-format=json", "--time_based", "--randrepeat=1", "--norandommap"]);
    // From the submission on: what the page cache answers at once is complete when it is submitted.
    command.args(["--lat_percentiles=1", "--clat_percentiles=0"]);
    let order = if load.pattern == Pattern::Random { "rand" } else { "" };
    command.arg(format!("--rw={order}{}", load.kind()));
    command.arg(format!("--bs={}", load.block_bytes)).arg(format!("--iodepth={}", load.depth));
    command.arg(format!("--runtime={seconds}")).arg(format!("--size={AREA_BYTES}"));
    aim(&mut command, target);
    parse(&output(&mut command)?, load)
}

/// Writes the whole area once, so that reads find data and writes find it allocated.
pub(super) fn fill(target: &Target<'_>) -> Result<()> {
    let mut command = program("fio");
    command.args(["--name=fill", "--rw=write", "--bs=1M", "--iodepth=4", "--refill_buffers=1"]);
    command.arg(format!("--size={AREA_BYTES}"));
    aim(&mut command, target);
    output(&mut command).map(drop)
}

fn aim(command: &mut Command, target: &Target<'_>) {
    match target {
        Target::File { path, is_direct } => {
            command.arg("--ioengine=io_uring").arg(format!("--direct={}", u8::from(*is_direct)));
            command.arg("--filename").arg(path);
        }
        Target::Objects { folder } => {
            command.args(["--ioengine=io_uring", "--direct=1", "--file_service_type=random:1"]);
            command.arg("--directory").arg(folder);
            command.arg(format!("--nrfiles={}", AREA_BYTES / OBJECT_BYTES));
        }
        Target::Nbd(uri) => {
            command.arg("--ioengine=nbd").arg(format!("--uri={uri}"));
        }
        Target::Rbd { conf, image } => {
            command.args(["--ioengine=rbd", "--clientname=admin", "--pool=rbd"]);
            command.arg(format!("--rbdname={image}")).env("CEPH_CONF", conf);
        }
    }
}

/// fio may print warnings before its JSON.
fn parse(text: &str, load: Load) -> Result<Figure> {
    let json = text.find('{').map(|at| &text[at..]).context("fio printed no JSON")?;
    let report: Value = serde_json::from_str(json).context("fio's report is not JSON")?;
    let job = &report["jobs"][0];
    ensure!(job["error"].as_u64() == Some(0), "fio's job ended with error {}", job["error"]);
    let side = &job[load.kind()];
    let per_second = side["iops"].as_f64().context("fio's report has no rate")?;
    let median_ns =
        side["lat_ns"]["percentile"]["50.000000"].as_f64().context("fio's report has no median")?;
    Ok(Figure { per_second, median_us: median_ns / 1e3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"note: something
        {"jobs": [{"error": 0, "read": {"iops": 1000.5, "lat_ns": {"percentile": {"50.000000": 81000}}},
                   "write": {"iops": 0.0, "lat_ns": {}}}]}"#;

    #[test]
    fn the_side_that_was_loaded_is_read() {
        let figure = parse(REPORT, load(false, 4096, 1)).unwrap();
        assert_eq!(figure, Figure { per_second: 1000.5, median_us: 81.0 });
        assert!(parse(REPORT, load(true, 4096, 1)).is_err());
    }

    #[test]
    fn a_failed_job_gives_no_figure() {
        assert!(parse(&REPORT.replace("\"error\": 0", "\"error\": 5"), load(false, 4096, 1)).is_err());
        assert!(parse("fio: no such engine", load(false, 4096, 1)).is_err());
    }
}
