//! `cargo xtask deaths`: roles and clients that are killed, for as long as one likes.

use std::time::Duration;

use anyhow::Result;

use crate::process::{End, cargo, search_path, shown, watch};

/// Building, and what comes before and after the killing.
const GRACE: Duration = Duration::from_secs(30 * 60);

/// Runs each test for so many minutes, one after the other; true if all hold.
pub(crate) fn run(minutes: u32) -> Result<bool> {
    let mut command = cargo();
    command.args(["test", "--release", "--locked", "--package", "tests", "--test", "deaths"]);
    command.args(["--", "--nocapture", "--test-threads=1"]).env("PATH", search_path());
    let time = Duration::from_secs(60) * minutes;
    command.env("ARCHIPELAGO_DEATHS_SECONDS", time.as_secs().to_string());
    println!("== {}", shown(&command));
    let end = watch(&mut command, 2 * time + GRACE, |line| println!("{line}"))?;
    Ok(matches!(end, End::Exited(true)))
}
