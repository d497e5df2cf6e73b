//! How long things took, in buckets of a fixed layout.

/// What is quicker than this many nanoseconds (2 to this power) is not told apart.
const FIRST_POWER: u32 = 10;
/// Powers of two that have buckets: from a microsecond to seventeen seconds.
const POWERS: usize = 24;
/// Buckets to each power of two: a percentile is right within a quarter.
const STEPS: usize = 4;
/// One for what is quicker and one for what is slower.
const BUCKETS: usize = POWERS * STEPS + 2;

/// Counts of durations, log-linear: what a percentile or a Prometheus histogram is made of.
#[derive(Clone, Debug)]
pub struct Histogram([u64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; BUCKETS])
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, nanoseconds: u64) {
        self.0[bucket_of(nanoseconds)] += 1;
    }

    /// Buckets that are not empty, by their index.
    #[must_use]
    pub fn sparse(&self) -> Vec<(usize, u64)> {
        self.0.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect()
    }
}

/// Nanoseconds at which a bucket ends; the last one never does.
#[must_use]
pub fn bucket_end(bucket: usize) -> Option<u64> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    let (power, step) = (bucket / STEPS, bucket % STEPS);
    let floor = 1_u64 << (usize::try_from(FIRST_POWER).unwrap_or(0) + power);
    // The bucket of what is too quick to tell takes the place before the first step.
    Some(floor + floor / 4 * u64::try_from(step).unwrap_or(0))
}

/// The duration that this share (0 to 1) of those counted did not exceed, as the end of its bucket.
#[must_use]
pub fn percentile(sparse: &[(usize, u64)], share: f64) -> Option<u64> {
    let total: u64 = sparse.iter().map(|(_, count)| count).sum();
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rank = ((total as f64 * share).ceil() as u64).max(1);
    let mut seen = 0;
    let reaches = |(_, count): &&(usize, u64)| {
        seen += count;
        seen >= rank
    };
    let (bucket, _) = sparse.iter().find(reaches)?;
    Some(bucket_end(*bucket).unwrap_or(u64::MAX))
}

fn bucket_of(nanoseconds: u64) -> usize {
    let Some(power) = nanoseconds.checked_ilog2().and_then(|power| power.checked_sub(FIRST_POWER)) else {
        return 0;
    };
    let step = (nanoseconds >> (power + FIRST_POWER - 2)) & 3;
    let index = 1 + usize::try_from(power).unwrap_or(POWERS) * STEPS + usize::try_from(step).unwrap_or(0);
    index.min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_lies_in_its_bucket_and_beyond_the_one_before(nanoseconds in 0_u64..1 << 40) {
            let bucket = bucket_of(nanoseconds);
            prop_assert!(bucket_end(bucket).is_none_or(|end| nanoseconds < end));
            prop_assert!(bucket == 0 || bucket_end(bucket - 1).is_some_and(|end| nanoseconds >= end));
        }
    }

    #[test]
    fn buckets_end_in_order_and_the_last_one_never() {
        let ends: Vec<_> = (0..BUCKETS - 1).map(bucket_end).collect();
        assert!(ends.is_sorted() && ends.iter().all(Option::is_some));
        assert_eq!((ends[0], bucket_end(BUCKETS - 1)), (Some(1024), None));
    }

    #[test]
    fn a_percentile_is_the_end_of_the_bucket_that_reaches_it() {
        let mut histogram = Histogram::default();
        (0..99).for_each(|_| histogram.record(2000));
        histogram.record(1_000_000);
        let sparse = histogram.sparse();
        assert_eq!(percentile(&sparse, 0.5), Some(2048));
        assert_eq!(percentile(&sparse, 0.99), Some(2048));
        assert_eq!(percentile(&sparse, 0.999), Some(1 << 20));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
