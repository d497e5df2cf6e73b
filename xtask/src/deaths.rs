//! `cargo xtask deaths`: roles and clients that are killed, for as long as one likes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::{
    checks, long_run,
    process::{cargo, search_path},
    setup::{self, Task},
    tally::Run,
};

/// Building, and what comes before and after the killing.
const GRACE: Duration = Duration::from_secs(60 * 60);
/// What seeds the killing.
const SEED: &str = "ARCHIPELAGO_DEATHS_SEED";

/// Runs each test for so many minutes, one after the other; true if all hold.
pub(crate) fn run(minutes: u32) -> Result<bool> {
    setup::prepare(Task::Test);
    if !checks::commands_build(&["--release"])? {
        return Ok(false);
    }
    let seed = std::env::var(SEED).unwrap_or_else(|_| fresh());
    let mut command = cargo();
    command.args(["test", "--release", "--locked", "--package", "tests", "--test", "deaths"]);
    command.args(["--", "--nocapture", "--test-threads=1"]).env("PATH", search_path());
    let time = Duration::from_secs(60) * minutes;
    command.env("ARCHIPELAGO_DEATHS_SECONDS", time.as_secs().to_string()).env(SEED, &seed);
    let mut tests = Run::default();
    let ended = long_run::run(&mut command, 2 * time + GRACE, |line| tests.line(line))?;
    let early = if ended.is_early { ", ended early" } else { "" };
    println!("\n== {} in {} s{early}", tests.counts(), ended.seconds);
    if !ended.is_good && !ended.is_early {
        println!("== again with the same dice: {SEED}={seed} cargo xtask deaths --minutes {minutes}");
    }
    Ok(ended.is_good)
}

fn fresh() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_millis() | 1).to_string()
}
