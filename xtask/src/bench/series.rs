//! What one subject gave in one case, over the rounds of a run.

use std::fmt;

/// How often the clock of one operation ticks, and how long one operation takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    /// Operations a second; 0 where only the time was taken.
    pub(super) per_second: f64,
    /// Median time of one operation, in microseconds.
    pub(super) median_us: f64,
}

/// The figures of several rounds. Their median is what counts: a machine's mood changes by the second.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    figures: Vec<Figure>,
}

impl Series {
    pub(super) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Median rate; 0 if none was measured.
    pub(super) fn per_second(&self) -> f64 {
        self.middle(|figure| figure.per_second).unwrap_or(0.0)
    }

    /// Median time of one operation, in microseconds; 0 if nothing was measured.
    pub(super) fn time_us(&self) -> f64 {
        self.middle(|figure| figure.median_us).unwrap_or(0.0)
    }

    fn middle(&self, of: impl Fn(&Figure) -> f64) -> Option<f64> {
        let mut values: Vec<f64> = self.figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

impl fmt::Display for Series {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.middle(|figure| figure.per_second);
        let (Some(rate), Some(time)) = (rate, self.middle(|figure| figure.median_us)) else {
            return write!(out, "–");
        };
        if rate > 0.0 {
            write!(out, "{}/s, {}", short(rate), duration(time))
        } else {
            write!(out, "{}", duration(time))
        }
    }
}

/// Three digits and a letter for thousands.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

fn duration(us: f64) -> String {
    match us {
        us if us >= 10_000.0 => format!("{:.0} ms", us / 1e3),
        us if us >= 1_000.0 => format!("{:.1} ms", us / 1e3),
        us if us >= 10.0 => format!("{us:.0} us"),
        us => format!("{us:.1} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(rates: &[f64]) -> Series {
        let mut series = Series::default();
        rates.iter().for_each(|&per_second| series.add(Figure { per_second, median_us: 2.4 }));
        series
    }

    #[test]
    fn the_median_round_counts() {
        assert_eq!(series(&[900.0, 12_345.0, 20_000.0]).to_string(), "12 k/s, 2.4 us");
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        assert_eq!(Series::default().to_string(), "–");
    }

    #[test]
    fn a_time_alone_has_no_rate() {
        assert_eq!(series(&[0.0]).to_string(), "2.4 us");
        assert_eq!((duration(1_350.0), short(1_500_000.0)), ("1.4 ms".to_owned(), "1.50 M".to_owned()));
    }
}
