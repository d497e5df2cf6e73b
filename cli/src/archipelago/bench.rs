//! `archipelago bench`: load on a volume, a store or a role, from inside the segment.

use std::{process::ExitCode, time::Duration};

use bench::{Job, Measured, Pattern, Report, Target};
use clap::{ArgGroup, Args, ValueEnum};

use crate::{
    arguments::Output,
    config::Configuration,
    failure::Failed,
    output::{self, Cell, Table},
    size,
    supervision::reach,
};

/// `archipelago bench`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").args(["volume", "store", "ping"]).required(true))]
pub(crate) struct Bench {
    /// A volume, as its endpoints would use it; what it holds is overwritten if there are writes
    volume: Option<String>,
    /// A role that is a store, as in blockerb: objects of its own, without volumes
    #[arg(long, value_name = "ROLE", requires = "span")]
    store: Option<String>,
    /// Any role: round trips without I/O, each of which counts as one block
    #[arg(long, value_name = "ROLE")]
    ping: Option<String>,
    /// Writes among a hundred requests; the others read
    #[arg(short, long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    write_percent: u8,
    /// In which order blocks are used: one after the other, or each once in random order
    #[arg(short, long, default_value = "rand")]
    pattern: Order,
    /// Size of a request
    #[arg(short, long, value_name = "SIZE", default_value = "4K", value_parser = size::parse)]
    block_size: u64,
    /// Requests under way at a time
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    depth: u32,
    /// How much of the target is used, from its start; a volume's whole size if not given
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    span: Option<u64>,
    /// Stop when so much was moved; without this and a time, each block is used once
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    amount: Option<u64>,
    /// Stop after so many seconds
    #[arg(short = 't', long, value_name = "SECONDS")]
    seconds: Option<u32>,
    /// At most so many requests a second
    #[arg(short, long, value_name = "N")]
    rate: Option<u64>,
    /// Every write is durable when it is answered
    #[arg(long)]
    fua: bool,
    /// Write what can be recognized, compare what is read, read everything back at the end
    #[arg(long)]
    verify: bool,
    /// What order and content derive from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Seq,
    Rand,
}

/// Size of the objects in a store, in bytes.
const OBJECT_BYTES: u64 = 4 << 20;

/// Does the job and tells how it went; 1 if a request failed or content was wrong.
pub(super) fn run(configuration: &Configuration, wanted: &Bench) -> anyhow::Result<ExitCode> {
    let job = wanted.job(configuration)?;
    let stack = reach::join(configuration)?;
    let report = bench::run(&stack, &job).map_err(|failure| Failed::by_peer("measure", &failure))?;
    if wanted.output.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Bench {
    fn job(&self, configuration: &Configuration) -> anyhow::Result<Job> {
        let port = |name: &str| match configuration.role(name) {
            Some(role) => Ok(*role.outline.ports.start()),
            None => Err(Failed::new("measure", format!("the configuration has no role {name}"))),
        };
        let target = match (&self.volume, &self.store, &self.ping) {
            (Some(name), _, _) => Target::Volume { name: name.clone() },
            (None, Some(store), _) => {
                let prefix = "bench".to_owned();
                Target::Objects { port: port(store)?, prefix, object_bytes: OBJECT_BYTES }
            }
            (None, None, role) => Target::Ping { port: port(role.as_deref().unwrap_or_default())? },
        };
        Ok(Job {
            target,
            pattern: match self.pattern {
                Order::Seq => Pattern::Sequential,
                Order::Rand => Pattern::Random,
            },
            write_percent: self.write_percent,
            io_bytes: self.block_size,
            span_bytes: self.span,
            depth: self.depth,
            amount_bytes: self.amount,
            duration: self.seconds.map(|seconds| Duration::from_secs(seconds.into())),
            rate_per_second: self.rate,
            is_durable: self.fua,
            is_verified: self.verify,
            seed: self.seed,
        })
    }
}

/// The report for people.
fn text(report: &Report) -> String {
    let mut table =
        Table::new(&["", "REQUESTS", "PER SECOND", "RATE", "MEAN", "P50", "P99", "P99.9", "MAX µs"]);
    for (name, measured) in &report.operations {
        table.row(row(name, measured));
    }
    let mut text = table.render();
    if let Some(first) = &report.first_failure {
        text += &format!("{} requests failed, the first one: {first}\n", report.failed);
    }
    if let Some(faults) = &report.faults {
        text += &format!(
            "{} blocks compared: {} lost, {} stale, {} misplaced, {} torn\n",
            faults.checked_blocks, faults.lost, faults.stale, faults.misplaced, faults.torn
        );
        if let Some(first) = &faults.first {
            text += &format!("the first one, {}, at byte {}\n", first.what, first.offset);
        }
    }
    text
}

fn row(name: &str, measured: &Measured) -> Vec<Cell> {
    let latency = &measured.latency;
    let mib = measured.bytes_per_second / f64::from(1_u32 << 20);
    let times = [latency.mean_us, latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us];
    let mut cells = vec![
        Cell::from(name),
        Cell::from(measured.count),
        Cell::from(format!("{:.0}", measured.per_second)),
        Cell::from(format!("{mib:.1} MiB/s")),
    ];
    cells.extend(times.map(|micros| Cell::from(format!("{micros:.1}"))));
    cells
}
