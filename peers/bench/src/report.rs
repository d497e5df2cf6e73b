//! What a run found out.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{Job, content::Wrong};

/// The outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub job: Job,
    /// How long it took, in seconds, without reading back.
    pub seconds: f64,
    /// By operation: `read`, `write`, `ping`.
    pub operations: BTreeMap<&'static str, Measured>,
    /// Requests that were answered with an error.
    pub failed: u64,
    /// The first of these errors.
    pub first_failure: Option<String>,
    /// What was found when content was compared; none if it was not asked for.
    pub faults: Option<Faults>,
}

/// One operation's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Requests answered.
    pub count: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Requests in a second.
    pub per_second: f64,
    /// Bytes in a second.
    pub bytes_per_second: f64,
    /// From being due to being answered.
    pub latency: Latency,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are the percentiles")]
pub struct Latency {
    pub min_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// What is wrong with the content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Blocks that were compared.
    pub checked_blocks: u64,
    /// Blocks that read zeros though they were written.
    pub lost: u64,
    /// Blocks that hold an older write.
    pub stale: u64,
    /// Blocks that hold what belongs elsewhere.
    pub misplaced: u64,
    /// Blocks that hold neither old nor new.
    pub torn: u64,
    /// The first of them.
    pub first: Option<Fault>,
}

/// One wrong block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, in bytes.
    pub offset: u64,
    /// `lost`, `stale`, `misplaced` or `torn`.
    pub what: &'static str,
}

impl Report {
    /// Whether nothing failed and nothing was found wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failed == 0 && self.faults.as_ref().is_none_or(Faults::is_empty)
    }
}

impl Faults {
    /// Whether nothing was found wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost + self.stale + self.misplaced + self.torn == 0
    }

    pub(crate) fn count(&mut self, found: Option<(Wrong, u64)>) {
        self.checked_blocks += 1;
        let Some((wrong, offset)) = found else { return };
        let (count, what) = match wrong {
            Wrong::Lost => (&mut self.lost, "lost"),
            Wrong::Stale => (&mut self.stale, "stale"),
            Wrong::Misplaced => (&mut self.misplaced, "misplaced"),
            Wrong::Torn => (&mut self.torn, "torn"),
        };
        *count += 1;
        self.first.get_or_insert(Fault { offset, what });
    }
}

/// What takes longer than an hour counts as one.
const LONGEST_NANOS: u64 = 3_600_000_000_000;

/// Times of one operation while it runs.
pub(crate) struct Times {
    histogram: Histogram<u64>,
    bytes: u64,
}

impl Times {
    /// Nothing measured yet: nanoseconds, to three digits.
    pub(crate) fn new() -> Times {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NANOS, 3);
        Times { histogram: histogram.expect("the bounds and three digits are allowed"), bytes: 0 }
    }

    pub(crate) fn record(&mut self, nanos: u64, bytes: u64) {
        self.histogram.saturating_record(nanos);
        self.bytes += bytes;
    }

    /// The figures, if anything was measured.
    pub(crate) fn measured(&self, seconds: f64) -> Option<Measured> {
        let count = self.histogram.len();
        let at = |quantile| micros(self.histogram.value_at_quantile(quantile));
        (count > 0).then(|| Measured {
            count,
            bytes: self.bytes,
            per_second: rate(count, seconds),
            bytes_per_second: rate(self.bytes, seconds),
            latency: Latency {
                min_us: micros(self.histogram.min()),
                mean_us: self.histogram.mean() / 1000.0,
                p50_us: at(0.5),
                p90_us: at(0.9),
                p99_us: at(0.99),
                p999_us: at(0.999),
                max_us: micros(self.histogram.max()),
            },
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut times = Times::new();
        (1..=1000).for_each(|micros| times.record(micros * 1000, 4096));
        let measured = times.measured(2.0).unwrap();
        assert_eq!((measured.count, measured.bytes), (1000, 4_096_000));
        assert!((measured.per_second - 500.0).abs() < 1e-6);
        assert!((measured.latency.p50_us - 500.0).abs() < 2.0, "{measured:?}");
        assert!((measured.latency.p99_us - 990.0).abs() < 2.0, "{measured:?}");
    }

    #[test]
    fn the_first_fault_is_kept() {
        let mut faults = Faults::default();
        faults.count(None);
        faults.count(Some((Wrong::Torn, 512)));
        faults.count(Some((Wrong::Lost, 1024)));
        assert_eq!((faults.checked_blocks, faults.torn, faults.lost), (3, 1, 1));
        assert_eq!(faults.first, Some(Fault { offset: 512, what: "torn" }));
    }
}
