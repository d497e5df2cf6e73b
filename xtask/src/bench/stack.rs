//! Our stack, started for a measurement as `archipelago run` does it anywhere.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::fio::{AREA_BYTES, Load, Pattern};
use super::series::Figure;
use super::server::Server;
use crate::process::{output, program, succeeds};

/// A running stack in a folder of its own.
pub(super) struct Stack {
    programs: PathBuf,
    configuration: PathBuf,
    _server: Server,
}

impl Stack {
    pub(super) fn start(programs: &Path, folder: &Path, is_direct: bool) -> Result<Self> {
        Self::start_with(programs, folder, |text| match is_direct {
            true => text.replace("[blockerb]\n", "[blockerb]\ndirect = true\n"),
            false => text,
        })
    }

    /// Starts a stack on the embedded default as `edit` changes it.
    pub(super) fn start_with(
        programs: &Path,
        folder: &Path,
        edit: impl FnOnce(String) -> String,
    ) -> Result<Self> {
        let mut init = program(programs.join("archipelago"));
        let printed = output(init.args(["config", "init", "--dir"]).arg(folder))?;
        let configuration = PathBuf::from(printed.trim());
        let mut run = ours(programs, &configuration, "archipelago");
        let text = std::fs::read_to_string(&configuration)?;
        std::fs::write(&configuration, edit(text))?;
        let server = Server::start(run.arg("run"), &folder.join("run.log"), || {
            succeeds(ours(programs, &configuration, "archipelago").arg("status"))
        })?;
        Ok(Self { programs: programs.to_owned(), configuration, _server: server })
    }

    /// One of our commands, about this stack.
    pub(super) fn command(&self, name: &str) -> Command {
        ours(&self.programs, &self.configuration, name)
    }

    /// Runs `vlmc` with these words; gives what it printed.
    pub(super) fn vlmc<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<String> {
        output(self.command("vlmc").args(words)).map(|printed| printed.trim().to_owned())
    }

    /// One load from inside the segment, for some seconds.
    pub(super) fn load(&self, on: Inside<'_>, load: Load, seconds: u32) -> Result<Figure> {
        let mut command = self.command("archipelago");
        command.arg("bench").args(on.words()).arg("--json");
        command.args(["--seconds", &seconds.to_string()]);
        if !matches!(on, Inside::Ping(_)) {
            // A request that does nothing is about one block.
            command.args(["--span", &format!("{}M", AREA_BYTES >> 20)]);
        }
        command.args([
            "--block-size",
            &format!("{}K", load.block_bytes >> 10),
            "--depth",
            &load.depth.to_string(),
        ]);
        command.args(["--pattern", if load.pattern == Pattern::Random { "rand" } else { "seq" }]);
        command.args(["--write-percent", if load.is_write { "100" } else { "0" }]);
        let operation = if matches!(on, Inside::Ping(_)) { "ping" } else { load.kind() };
        parse(&output(&mut command)?, operation)
    }

    /// Some writes of 4 KiB, few enough that most blocks get one at most.
    pub(super) fn few_writes(&self, volume: &str, seed: u32) -> Result<Figure> {
        let mut command = self.command("archipelago");
        command.args(["bench", volume, "--json", "--block-size", "4K", "--write-percent", "100"]);
        command.args(["--amount", "96K", "--seed", &seed.to_string()]);
        parse(&output(&mut command)?, "write")
    }

    /// Writes the whole area once.
    pub(super) fn fill(&self, on: Inside<'_>) -> Result<()> {
        let mut command = self.command("archipelago");
        command.arg("bench").args(on.words()).args(["--span", &format!("{}M", AREA_BYTES >> 20)]);
        output(command.args(["--block-size", "1M", "--depth", "4", "--write-percent", "100"])).map(drop)
    }

    /// How long `vlmc` takes with these words, the start of its process included.
    pub(super) fn time_vlmc<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Figure> {
        let begun = Instant::now();
        self.vlmc(words).context("a timed command failed")?;
        Ok(Figure { per_second: 0.0, median_us: begun.elapsed().as_secs_f64() * 1e6 })
    }
}

/// What is loaded from inside the segment.
#[derive(Clone, Copy)]
pub(super) enum Inside<'a> {
    Volume(&'a str),
    /// A store, without volumes: the role that serves it.
    Store(&'a str),
    /// A role that is asked to do nothing.
    Ping(&'a str),
}

impl<'a> Inside<'a> {
    fn words(self) -> Vec<&'a str> {
        match self {
            Inside::Volume(name) => vec![name],
            Inside::Store(role) => vec!["--store", role],
            Inside::Ping(role) => vec!["--ping", role],
        }
    }
}

fn parse(text: &str, operation: &str) -> Result<Figure> {
    let report: Value = serde_json::from_str(text).context("archipelago bench printed no JSON")?;
    ensure!(report["failed"].as_u64() == Some(0), "requests failed: {}", report["first_failure"]);
    let measured = &report["operations"][operation];
    let per_second = measured["per_second"].as_f64().context("the report has no rate")?;
    let median_us = measured["latency"]["p50_us"].as_f64().context("the report has no median")?;
    Ok(Figure { per_second, median_us })
}

fn ours(programs: &Path, configuration: &Path, name: &str) -> Command {
    let mut command = program(programs.join(name));
    command.env("ARCHIPELAGO_CONFIG", configuration);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str =
        r#"{"failed": 0, "operations": {"read": {"per_second": 90000.0, "latency": {"p50_us": 10.5}}}}"#;

    #[test]
    fn the_operation_that_was_asked_for_is_read() {
        assert_eq!(parse(REPORT, "read").unwrap(), Figure { per_second: 90_000.0, median_us: 10.5 });
        assert!(parse(REPORT, "write").is_err());
    }

    #[test]
    fn failed_requests_give_no_figure() {
        assert!(parse(&REPORT.replace("\"failed\": 0", "\"failed\": 3"), "read").is_err());
    }
}
