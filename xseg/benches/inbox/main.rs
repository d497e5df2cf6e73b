//! Which inbox: a word with a chain behind it, or a ring for each pair of ports? Figures: docs/decisions/0001-inbox.md.
//!
//! `cargo bench -p xseg`. Each figure is a median of several runs; compare figures of one run only.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]

mod bare;
mod chain;
mod rings;

use std::{thread, time::Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

/// Runs of each measurement; their median counts.
const RUNS: usize = 7;

/// Where two threads of a measurement run.
#[derive(Clone, Copy)]
pub(crate) enum Cores {
    Two,
    One,
}

/// How they wait.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Waiting {
    /// Never sleep.
    Spinning,
    /// Never spin.
    Sleeping,
    /// As a peer waits.
    Adaptive,
}

/// Runs a server and a client, each on its core; nanoseconds for each of `rounds`.
pub(crate) fn measure(
    cores: Cores,
    rounds: u32,
    server: impl FnOnce() + Send,
    client: impl FnOnce() + Send,
) -> f64 {
    let mut time = 0.0;
    thread::scope(|scope| {
        scope.spawn(move || {
            pin(0);
            server();
        });
        let client = scope.spawn(move || {
            pin(if matches!(cores, Cores::Two) { 1 } else { 0 });
            let start = Instant::now();
            client();
            start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
        });
        time = client.join().unwrap();
    });
    time
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).unwrap();
}

type Measurement = (&'static str, fn() -> f64);

const MEASUREMENTS: [Measurement; 17] = [
    ("spinning: bare cache line", || bare::line(200_000)),
    ("spinning: chain", || chain::round_trips(Cores::Two, Waiting::Spinning, 100_000)),
    ("spinning: chain, as peers wait", || chain::round_trips(Cores::Two, Waiting::Adaptive, 100_000)),
    ("spinning: ring", || rings::round_trips(Cores::Two, Waiting::Spinning, 100_000, 1)),
    ("spinning: ring among 64", || rings::round_trips(Cores::Two, Waiting::Spinning, 100_000, 64)),
    ("asleep: bare futex", || bare::futex(Cores::Two, 5_000)),
    ("asleep: chain", || chain::round_trips(Cores::Two, Waiting::Sleeping, 5_000)),
    ("asleep: ring", || rings::round_trips(Cores::Two, Waiting::Sleeping, 5_000, 1)),
    ("asleep: ring among 64", || rings::round_trips(Cores::Two, Waiting::Sleeping, 5_000, 64)),
    ("one core: bare futex", || bare::futex(Cores::One, 10_000)),
    ("one core: chain", || chain::round_trips(Cores::One, Waiting::Sleeping, 10_000)),
    ("one core: chain, as peers wait", || chain::round_trips(Cores::One, Waiting::Adaptive, 10_000)),
    ("one core: ring", || rings::round_trips(Cores::One, Waiting::Sleeping, 10_000, 1)),
    ("depth 64: chain", || chain::stream(Waiting::Spinning, 500_000, 64)),
    ("depth 64: chain, as peers wait", || chain::stream(Waiting::Adaptive, 500_000, 64)),
    ("depth 64: ring", || rings::stream(500_000, 64, 1)),
    ("depth 64: ring among 64", || rings::stream(500_000, 64, 64)),
];

fn main() {
    let mut times = vec![Vec::new(); MEASUREMENTS.len()];
    for _ in 0..RUNS {
        for (times, (_, measurement)) in times.iter_mut().zip(MEASUREMENTS) {
            times.push(measurement());
        }
    }
    println!("{:<34} {:>10} {:>10} {:>12}", "ns per request", "median", "best", "a second");
    for (times, (name, _)) in times.iter_mut().zip(MEASUREMENTS) {
        times.sort_by(f64::total_cmp);
        let median = times[RUNS / 2];
        println!("{name:<34} {median:>10.0} {:>10.0} {:>12.0}", times[0], 1e9 / median);
    }
}
