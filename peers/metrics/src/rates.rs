//! What happened between two samples.

use std::{collections::BTreeMap, time::Duration};

use peer::{latency::percentile, measures::Measure, status::Status};
use serde::Serialize;

use crate::Sample;

/// Requests of one kind over a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Requests answered in a second.
    pub per_second: f64,
    /// Of those, with an error.
    pub failed_per_second: f64,
    /// Bytes moved in a second.
    pub bytes_per_second: f64,
    /// Half of them took no longer, in nanoseconds.
    pub p50_ns: Option<u64>,
    /// Ninety-nine of a hundred took no longer.
    pub p99_ns: Option<u64>,
}

/// One port of a role.
#[derive(Clone, Debug, Serialize)]
pub struct PortRates {
    /// The role.
    pub role: String,
    /// The port.
    pub port: u32,
    /// Its process.
    pub pid: u32,
    /// Requests being worked on, and those that wait for their turn.
    pub queued: u64,
    /// All operations together.
    pub total: Rate,
}

/// A stack over a while.
#[derive(Clone, Debug, Serialize)]
pub struct Rates {
    /// Ports of roles, in order.
    pub ports: Vec<PortRates>,
    /// Volumes by name, and by operation.
    pub volumes: BTreeMap<String, BTreeMap<String, Rate>>,
}

impl Rates {
    /// What happened from one sample to the next.
    #[must_use]
    pub fn between(earlier: &Sample, later: &Sample, elapsed: Duration) -> Rates {
        let mut rates = Rates { ports: Vec::new(), volumes: BTreeMap::new() };
        for status in &later.roles {
            let same = |other: &&Status| {
                (other.port, other.pid, other.since_unix_ms)
                    == (status.port, status.pid, status.since_unix_ms)
            };
            rates.add(earlier.roles.iter().find(same), status, elapsed);
        }
        rates
    }

    fn add(&mut self, before: Option<&Status>, status: &Status, elapsed: Duration) {
        let Some(measured) = &status.measured else { return };
        let before = before.and_then(|before| before.measured.as_ref());
        let mut total = Measure::default();
        for (name, measure) in &measured.operations {
            let earlier = before.and_then(|before| before.operations.get(name));
            add(&mut total, &difference(earlier, measure));
        }
        self.ports.push(PortRates {
            role: status.role.clone(),
            port: status.port,
            pid: status.pid,
            queued: status.in_flight + status.waiting,
            total: rate(&total, elapsed),
        });
        for (volume, operations) in &measured.volumes {
            let earlier = before.and_then(|before| before.volumes.get(volume));
            let of = |(name, measure): (&String, &Measure)| {
                let earlier = earlier.and_then(|earlier| earlier.get(name));
                (name.clone(), rate(&difference(earlier, measure), elapsed))
            };
            self.volumes.entry(volume.clone()).or_default().extend(operations.iter().map(of));
        }
    }
}

fn difference(earlier: Option<&Measure>, later: &Measure) -> Measure {
    let Some(earlier) = earlier else { return later.clone() };
    let counted = |bucket| {
        let found = earlier.latency.iter().find(|(other, _)| *other == bucket);
        found.map_or(0, |(_, count)| *count)
    };
    let grown = |(bucket, count): &(usize, u64)| (*bucket, count.saturating_sub(counted(*bucket)));
    Measure {
        answered: later.answered.saturating_sub(earlier.answered),
        failed: later.failed.saturating_sub(earlier.failed),
        bytes: later.bytes.saturating_sub(earlier.bytes),
        nanoseconds: later.nanoseconds.saturating_sub(earlier.nanoseconds),
        latency: later.latency.iter().map(grown).filter(|(_, count)| *count > 0).collect(),
    }
}

fn add(total: &mut Measure, more: &Measure) {
    total.answered += more.answered;
    total.failed += more.failed;
    total.bytes = total.bytes.saturating_add(more.bytes);
    total.nanoseconds = total.nanoseconds.saturating_add(more.nanoseconds);
    let mut buckets: BTreeMap<usize, u64> = total.latency.iter().copied().collect();
    for (bucket, count) in &more.latency {
        *buckets.entry(*bucket).or_default() += count;
    }
    total.latency = buckets.into_iter().collect();
}

#[expect(clippy::cast_precision_loss, reason = "people read fifteen digits at most")]
fn rate(measure: &Measure, elapsed: Duration) -> Rate {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    Rate {
        per_second: measure.answered as f64 / seconds,
        failed_per_second: measure.failed as f64 / seconds,
        bytes_per_second: measure.bytes as f64 / seconds,
        p50_ns: percentile(&measure.latency, 0.5),
        p99_ns: percentile(&measure.latency, 0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(answered: u64, latency: &[(usize, u64)]) -> Measure {
        Measure { answered, bytes: answered * 4096, latency: latency.to_vec(), ..Measure::default() }
    }

    #[test]
    fn only_what_came_since_the_earlier_sample_counts() {
        let earlier = measure(100, &[(4, 90), (60, 10)]);
        let later = measure(110, &[(4, 90), (8, 10), (60, 10)]);
        let found = rate(&difference(Some(&earlier), &later), Duration::from_secs(2));
        assert_eq!((found.per_second, found.bytes_per_second), (5.0, 20480.0));
        assert_eq!(found.p99_ns, peer::latency::bucket_end(8));
    }

    #[test]
    fn a_quiet_while_has_no_latency() {
        let same = measure(7, &[(3, 7)]);
        let found = rate(&difference(Some(&same), &same), Duration::from_secs(1));
        assert_eq!(found, Rate::default());
    }

    #[test]
    fn operations_add_up() {
        let mut total = measure(1, &[(3, 1)]);
        add(&mut total, &measure(2, &[(1, 1), (3, 1)]));
        assert_eq!((total.answered, total.latency), (3, vec![(1, 1), (3, 2)]));
    }
}
