//! How long a volume in RADOS takes from one host to another.

use anyhow::{Context, Result, ensure};

use super::series::{Figure, Series};
use super::table::Table;
use crate::process::{cargo, find, output};

/// Measures, and prints a table. The hosts are network namespaces of one machine.
pub(super) fn measure() -> Result<()> {
    if find("ip").is_none() {
        println!("skipped: from host to host: missing tool: ip");
        return Ok(());
    }
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--locked", "--package", "tests", "--bin", "hand-over"]);
    let times = parse(&output(&mut command)?)?;
    let mut series = Series::default();
    times.iter().for_each(|ms| series.add(Figure { per_second: 0.0, median_us: ms * 1e3 }));
    let title = "From host to host in RADOS: one closes the volume, the other's write that waits is answered";
    let mut table = Table::new(title, &["times", "median", "longest"]);
    let longest = times.iter().copied().fold(0.0, f64::max);
    table.row(vec![times.len().to_string(), series.to_string(), format!("{longest:.1} ms")]);
    print!("{}", table.text());
    Ok(())
}

/// Milliseconds, a line each.
fn parse(told: &str) -> Result<Vec<f64>> {
    let times: Result<Vec<f64>, _> = told.lines().map(|line| line.trim().parse::<f64>()).collect();
    let times = times.with_context(|| format!("hand-over printed something else than times: {told}"))?;
    ensure!(!times.is_empty(), "hand-over printed no times");
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_lines_and_nothing_else() {
        assert_eq!(parse("1.5\n20.25\n").unwrap(), [1.5, 20.25]);
        assert!(parse("").is_err() && parse("1.5\nfailed\n").is_err());
    }
}
