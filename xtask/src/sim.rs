//! `cargo xtask sim`: the simulation for as long as one likes, from seeds that nobody ran before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::{
    long_run::{self, Ended},
    process::cargo,
};

/// What is to be run.
#[derive(Debug, PartialEq)]
pub(crate) enum Seeds {
    /// This one, told in full.
    One(u64),
    /// For so many hours, from this seed on; from one of the clock's if none is given.
    For { hours: f64, from: Option<u64> },
}

/// Building the simulation and shortening a plan that fails take time of their own.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// Runs the seeds; true if all hold.
pub(crate) fn run(seeds: &Seeds) -> Result<bool> {
    match seeds {
        Seeds::One(seed) => run_one(*seed),
        Seeds::For { hours, from } => {
            run_many(Duration::from_secs_f64(hours * 3600.0), from.unwrap_or_else(fresh))
        }
    }
}

fn run_one(seed: u64) -> Result<bool> {
    let mut command = simulation("seeds_hold_in_lane_0");
    command.env("SEED", seed.to_string()).env("TELL", "1");
    let ended = long_run::run(&mut command, GRACE, |_| {})?;
    println!("\n== seed {seed} {}", if ended.is_good { "holds" } else { "fails" });
    Ok(ended.is_good)
}

fn run_many(time: Duration, from: u64) -> Result<bool> {
    let mut command = simulation("seeds_hold");
    command.env("SECONDS", time.as_secs().max(1).to_string()).env("FROM", from.to_string());
    println!("from seed {from} on; one that fails ends its lane of four, is shortened, and can be replayed");
    let mut summary = Summary::default();
    let ended = long_run::run(&mut command, time + GRACE, |line| summary.line(line))?;
    print!("\n{}", summary.text(from, &ended));
    Ok(ended.is_good)
}

fn simulation(filter: &str) -> std::process::Command {
    let mut command = cargo();
    command.args(["test", "--release", "--locked", "--package", "tests", "--test", "simulation"]);
    command.args([filter, "--", "--nocapture"]);
    command
}

/// What the lanes told.
#[derive(Default)]
struct Summary {
    done: u64,
    failed: Vec<u64>,
}

impl Summary {
    /// `12 of 12 seeds hold in lane 0 …` at a lane's end; `seed 7 fails, …` before.
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "of", done, "seeds", "hold", ..] => self.done += done.parse().unwrap_or(0),
            // The framework may have begun the line with the test's name.
            [.., "seed", seed, "fails,", "and", "is", "shortened"] => self.failed.extend(seed.parse::<u64>()),
            _ => {}
        }
    }

    fn text(&self, from: u64, ended: &Ended) -> String {
        let early = if ended.is_early { ", ended early" } else { "" };
        let mut text = match self.failed.len() {
            0 if ended.is_good => format!("== {} seeds from {from} hold", self.done),
            0 => "== the simulation did not come to its end".to_owned(),
            count => format!("== {count} seeds of those from {from} fail"),
        };
        text.push_str(&format!(", in {} s{early}\n", ended.seconds));
        for seed in &self.failed {
            text.push_str(&format!("== failed: seed {seed}; replay: cargo xtask sim {seed}\n"));
        }
        text
    }
}

/// Far from the seeds of the usual test run, and from those of another day.
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str], is_good: bool) -> String {
        let mut summary = Summary::default();
        lines.iter().for_each(|line| summary.line(line));
        summary.text(9, &Ended { is_good, is_early: false, seconds: 72 })
    }

    #[test]
    fn seeds_of_all_lanes_add_up() {
        let lanes = ["10 s of 72 s: 12 seeds", "7 of 7 seeds hold in lane 0 from 9, in 72 s"];
        assert_eq!(told(&lanes, true), "== 7 seeds from 9 hold, in 72 s\n");
        assert_eq!(told(&[lanes[1]; 4], true), "== 28 seeds from 9 hold, in 72 s\n");
    }

    #[test]
    fn seeds_that_fail_are_named_with_the_way_to_replay_them() {
        let lanes = [
            "test seeds::seeds_hold_in_lane_0 ... seed 11 fails, and is shortened",
            "7 of 7 seeds hold in lane 1 from 9, in 72 s",
        ];
        let text = told(&lanes, false);
        assert_eq!(
            text,
            "== 1 seeds of those from 9 fail, in 72 s\n== failed: seed 11; replay: cargo xtask sim 11\n"
        );
        assert_eq!(told(&[], false), "== the simulation did not come to its end, in 72 s\n");
    }
}
