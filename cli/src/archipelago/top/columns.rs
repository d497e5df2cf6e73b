//! What is shown, as columns of text.

use std::collections::BTreeMap;

use metrics::Rate;

use super::watch::Watch;
use crate::{output::printable, size};

/// Headings and rows.
pub(super) type Columns<const N: usize> = ([&'static str; N], Vec<[String; N]>);

/// How many columns each table has.
pub(super) const WIDTH: usize = 9;

/// The ports of roles, with what they do.
pub(super) fn roles(watch: &Watch) -> Columns<WIDTH> {
    let mut rows: Vec<_> = watch
        .rates
        .ports
        .iter()
        .map(|port| {
            let Rate { per_second, failed_per_second, bytes_per_second, p50_ns, p99_ns } = port.total;
            [
                printable(&port.role),
                port.port.to_string(),
                port.pid.to_string(),
                count(per_second),
                data(bytes_per_second),
                time(p50_ns),
                time(p99_ns),
                port.queued.to_string(),
                count(failed_per_second),
            ]
        })
        .collect();
    let dash = || "-".to_owned();
    rows.extend(watch.sample.silent.iter().map(|port| {
        let silent = "no answer".to_owned();
        [silent, port.to_string(), dash(), dash(), dash(), dash(), dash(), dash(), dash()]
    }));
    (["ROLE", "PORT", "PID", "REQUESTS/s", "DATA/s", "P50", "P99", "QUEUED", "FAILED/s"], rows)
}

/// Volumes, the busiest first.
pub(super) fn volumes(watch: &Watch) -> Columns<WIDTH> {
    let mut sorted: Vec<_> = watch.rates.volumes.iter().collect();
    let all = |operations: &BTreeMap<String, Rate>| operations.values().map(|rate| rate.per_second).sum();
    sorted.sort_by(|(_, one), (_, other)| f64::total_cmp(&all(other), &all(one)));
    let quiet = Rate::default();
    let row = |(name, operations): (&String, &BTreeMap<String, Rate>)| {
        let of = |operation| operations.get(operation).unwrap_or(&quiet);
        let (read, write, flush) = (of("read"), of("write"), of("flush"));
        [
            printable(name),
            count(read.per_second),
            data(read.bytes_per_second),
            time(read.p50_ns),
            time(read.p99_ns),
            count(write.per_second),
            data(write.bytes_per_second),
            time(write.p99_ns),
            count(flush.per_second),
        ]
    };
    let headings = ["VOLUME", "READS/s", "DATA/s", "P50", "P99", "WRITES/s", "DATA/s", "P99", "FLUSHES/s"];
    (headings, sorted.into_iter().map(row).collect())
}

/// Ports of the segment, clients' too.
pub(super) fn ports(watch: &Watch) -> Columns<WIDTH> {
    let rows = watch.sample.segment.ports.iter().map(|port| {
        let role = watch.sample.roles.iter().find(|status| status.port == port.number.0);
        let owner = match (role, port.is_static) {
            (Some(status), _) => printable(&status.role),
            (None, true) => "role".to_owned(),
            (None, false) => "client".to_owned(),
        };
        let state = match (port.pid, port.is_alive, port.is_sleeping) {
            (None, ..) => "free",
            (_, false, _) => "dead",
            (_, _, true) => "asleep",
            _ => "awake",
        };
        [
            port.number.0.to_string(),
            owner,
            port.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            state.to_owned(),
            port.waiting.to_string(),
            port.held.to_string(),
            port.slots.to_string(),
            size::human(port.arena_bytes),
            port.via.map_or_else(|| "-".to_owned(), |via| via.0.to_string()),
        ]
    });
    (["PORT", "OWNER", "PID", "STATE", "WAITING", "HELD", "SLOTS", "MEMORY", "VIA"], rows.collect())
}

fn count(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        format!("{per_second:.0}")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is finite and not negative"
)]
fn data(bytes_per_second: f64) -> String {
    size::human(bytes_per_second as u64)
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn time(nanoseconds: Option<u64>) -> String {
    match nanoseconds {
        None => "-".to_owned(),
        Some(ns) if ns < 1_000_000 => format!("{:.0} µs", ns as f64 / 1e3),
        Some(ns) if ns < 1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        Some(u64::MAX) => "> 17 s".to_owned(),
        Some(ns) => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_the_unit_that_fits() {
        let shown = [Some(1024), Some(2_500_000), Some(3_000_000_000), None, Some(u64::MAX)].map(time);
        assert_eq!(shown, ["1 µs", "2.5 ms", "3.0 s", "-", "> 17 s"]);
    }

    #[test]
    fn a_rate_below_ten_keeps_a_digit_behind_the_point() {
        assert_eq!([0.0, 0.25, 9.94, 1234.5].map(count), ["0", "0.2", "9.9", "1234"]);
    }
}
