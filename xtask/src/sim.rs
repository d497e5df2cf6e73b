//! `cargo xtask sim`: the simulation for as long as one likes, from seeds that nobody ran before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::process::{End, cargo, shown, watch};

/// What is to be run.
#[derive(Debug, PartialEq)]
pub(crate) enum Seeds {
    /// This one, told in full.
    One(u64),
    /// For so many hours, from this seed on; from one of the clock's if none is given.
    For { hours: f64, from: Option<u64> },
}

/// Building the simulation and shortening a plan that fails take time of their own.
const GRACE: Duration = Duration::from_secs(30 * 60);

/// Runs the seeds; true if all hold.
pub(crate) fn run(seeds: &Seeds) -> Result<bool> {
    let mut command = cargo();
    command.args(["test", "--release", "--locked", "--package", "tests", "--test", "simulation"]);
    command.args(["seeds_hold", "--", "--nocapture"]);
    let limit = match seeds {
        Seeds::One(seed) => {
            command.env("SEED", seed.to_string()).env("TELL", "1");
            GRACE
        }
        Seeds::For { hours, from } => {
            let time = Duration::from_secs_f64(hours * 3600.0);
            let from = from.unwrap_or_else(fresh);
            println!("from seed {from} on; the first that fails is shortened and can be replayed");
            command.env("SECONDS", time.as_secs().to_string()).env("FROM", from.to_string());
            time + GRACE
        }
    };
    println!("== {}", shown(&command));
    let end = watch(&mut command, limit, |line| println!("{line}"))?;
    Ok(matches!(end, End::Exited(true)))
}

/// Far from the seeds of the usual test run, and from those of another day.
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() << 20
}
