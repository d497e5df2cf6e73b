//! Requests through shared memory that touch no data: the segment's own benchmark, as a table.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::goals::{Board, Wanted};
use super::original;
use super::series::{Figure, Series};
use super::table::Table;
use crate::process::{End, cargo, shown, watch};

/// Time for it, its build included.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// Row, the segment's name for it there, what the machine itself allows, and what the original gave.
const ROWS: [(&str, &str, &str, &str); 4] = [
    ("round trip, both spinning", "spinning: chain", "spinning: bare cache line", original::SPINNING),
    ("round trip, both asleep", "asleep: chain", "asleep: bare futex", original::SLEEPING),
    (
        "round trip, sharing a core",
        "one core: chain, as peers wait",
        "one core: bare futex",
        original::SHARING_A_CORE,
    ),
    ("64 under way", "depth 64: chain", "", original::RATE_AT_DEPTH),
];

pub(super) fn measure() -> Result<()> {
    let figures = figures()?;
    let head = ["requests in shared memory", "xseg", "nothing but the wake-up", "original, elsewhere"];
    let mut table = Table::new("Requests and replies without data: a second, time of one", &head);
    for (row, ours, bare, original) in ROWS {
        let cell = |name: &str| figures.get(name).map_or_else(|| "–".to_owned(), Series::to_string);
        table.row(vec![row.to_owned(), cell(ours), cell(bare), original.to_owned()]);
    }
    print!("{}", table.text());
    Ok(())
}

/// The same as goals: at most so many times the bare wake-up, at least so many times the original's rate.
pub(super) fn goals(board: &mut Board) -> Result<()> {
    let figures = figures()?;
    let figure = |name: &str| figures.get(name).with_context(|| format!("the benchmark gave no \"{name}\""));
    for ((row, ours, bare, _), most) in ROWS.into_iter().zip([6.0, 1.5, 2.0]) {
        let (us, them) = (figure(ours)?, figure(bare)?);
        let ratio = us.time_us() / them.time_us();
        board.line(row, &us.to_string(), bare, &them.to_string(), ratio, Wanted::AtMost(most));
    }
    let (row, ours, _, original) = ROWS[3];
    let us = figure(ours)?;
    let ratio = us.per_second() / original::PER_SECOND_AT_DEPTH;
    board.line(row, &us.to_string(), "the original, elsewhere", original, ratio, Wanted::AtLeast(10.0));
    Ok(())
}

fn figures() -> Result<BTreeMap<String, Series>> {
    let mut command = cargo();
    command.args(["bench", "--package", "xseg", "--locked", "--bench", "inbox"]);
    println!("Running: {}", shown(&command));
    let mut figures = BTreeMap::new();
    let end = watch(&mut command, LIMIT, |line| figures.extend(parse(line)))?;
    ensure!(matches!(end, End::Exited(true)), "the segment's benchmark failed; what it said stands above");
    Ok(figures)
}

/// `name   median ns   best ns   a second`, the name being all before the last three words.
fn parse(line: &str) -> Option<(String, Series)> {
    let mut words = line.split_whitespace().rev();
    let per_second: f64 = words.next()?.parse().ok()?;
    let _best: f64 = words.next()?.parse().ok()?;
    let median_ns: f64 = words.next()?.parse().ok()?;
    let mut name: Vec<&str> = words.collect();
    name.reverse();
    let mut series = Series::default();
    series.add(Figure { per_second, median_us: median_ns / 1e3 });
    Some((name.join(" "), series))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_figures_is_read_and_a_head_is_not() {
        let (name, series) =
            parse("one core: chain, as peers wait           2400       2300       416667").unwrap();
        assert_eq!(
            (name.as_str(), series.to_string().as_str()),
            ("one core: chain, as peers wait", "417 k/s, 2.4 us")
        );
        assert!(parse("ns per request                         median       best     a second").is_none());
    }
}
