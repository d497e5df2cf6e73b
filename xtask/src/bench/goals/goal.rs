//! Goals, and whether they are reached.

use anyhow::Result;

use crate::bench::series::{Figure, Series};
use crate::bench::table::Table;

/// What a ratio of ours to theirs should be.
#[derive(Clone, Copy)]
pub(in crate::bench) enum Wanted {
    /// Of rates.
    AtLeast(f64),
    /// Of times, or of other costs.
    AtMost(f64),
}

/// Every line so far.
#[derive(Default)]
pub(in crate::bench) struct Board {
    sections: Vec<(String, Vec<Vec<String>>)>,
}

const HEAD: [&str; 7] = ["what", "ours", "against", "theirs", "ratio", "goal", ""];

impl Board {
    /// Lines that follow belong together.
    pub(in crate::bench) fn section(&mut self, title: &str) {
        self.sections.push((title.to_owned(), Vec::new()));
    }

    /// Both take turns; the median of the rounds' ratios counts.
    pub(in crate::bench) fn compare(
        &mut self,
        (what, against): (&str, &str),
        wanted: Wanted,
        rounds: u32,
        mut ours: impl FnMut() -> Result<Figure>,
        mut theirs: impl FnMut() -> Result<Figure>,
    ) -> Result<()> {
        let (mut all_ours, mut all_theirs, mut ratios) = (Series::default(), Series::default(), Vec::new());
        for _ in 0..rounds {
            let (us, them) = (ours()?, theirs()?);
            ratios.push(match wanted {
                Wanted::AtLeast(_) => us.per_second / them.per_second,
                Wanted::AtMost(_) => us.median_us / them.median_us,
            });
            all_ours.add(us);
            all_theirs.add(them);
        }
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[ratios.len() / 2];
        self.line(what, &all_ours.to_string(), against, &all_theirs.to_string(), ratio, wanted);
        Ok(())
    }

    /// A line whose ratio is known.
    pub(in crate::bench) fn line(
        &mut self,
        what: &str,
        ours: &str,
        against: &str,
        theirs: &str,
        ratio: f64,
        wanted: Wanted,
    ) {
        let (goal, is_reached) = match wanted {
            Wanted::AtLeast(least) => (format!("≥ {least}"), ratio >= least),
            Wanted::AtMost(most) => (format!("≤ {most}"), ratio <= most),
        };
        let verdict = if is_reached { "reached" } else { "missed" };
        let cells = [what, ours, against, theirs, &format!("{ratio:.2}"), &goal, verdict].map(str::to_owned);
        println!("{what}, against {against}: {ratio:.2} ({goal}: {verdict})");
        if self.sections.is_empty() {
            self.section("");
        }
        if let Some((_, rows)) = self.sections.last_mut() {
            rows.push(cells.to_vec());
        }
    }

    pub(super) fn text(&self) -> String {
        let table = |(title, rows): &(String, Vec<Vec<String>>)| {
            let mut table = Table::new(format!("**{title}**"), &HEAD);
            rows.iter().cloned().for_each(|row| table.row(row));
            table.text()
        };
        self.sections.iter().map(table).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(per_second: f64, median_us: f64) -> Result<Figure> {
        Ok(Figure { per_second, median_us })
    }

    #[test]
    fn a_rate_should_be_high_and_a_time_low() {
        let mut board = Board::default();
        board.section("loads");
        let (fast, slow) = (|| figure(900.0, 1.0), || figure(1000.0, 0.5));
        board.compare(("read", "file"), Wanted::AtLeast(0.9), 3, fast, slow).unwrap();
        board.compare(("read", "file"), Wanted::AtMost(1.5), 3, fast, slow).unwrap();
        let text = board.text();
        assert!(text.contains("| 0.90  | ≥ 0.9 | reached |"), "{text}");
        assert!(text.contains("| 2.00  | ≤ 1.5 | missed  |"), "{text}");
    }

    #[test]
    fn who_fails_gives_no_line() {
        let mut board = Board::default();
        let fails = || anyhow::bail!("no such server");
        assert!(
            board.compare(("read", "file"), Wanted::AtLeast(1.0), 1, || figure(1.0, 1.0), fails).is_err()
        );
        assert_eq!(board.text(), "");
    }
}
