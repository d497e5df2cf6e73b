//! Our stack as it is run in earnest: a process for each role, under a supervisor.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::must;
use crate::bench::series::Figure;
use crate::process::{program, succeeds};

/// A stack in a folder; dropping it stops it.
pub(super) struct Processes {
    programs: PathBuf,
    configuration: PathBuf,
}

impl Processes {
    /// Writes its configuration.
    pub(super) fn prepare(programs: &Path, folder: &Path) -> Result<Processes> {
        let mut init = program(programs.join("archipelago"));
        let printed = must(init.args(["config", "init", "--dir"]).arg(folder))?;
        Ok(Processes { programs: programs.to_owned(), configuration: PathBuf::from(printed.trim()) })
    }

    pub(super) fn command(&self, name: &str, words: &[&str]) -> Command {
        let mut command = program(self.programs.join(name));
        command.args(words).env("ARCHIPELAGO_CONFIG", &self.configuration);
        command
    }

    /// Runs a command of ours; what it printed.
    pub(super) fn run(&self, name: &str, words: &[&str]) -> Result<String> {
        must(&mut self.command(name, words)).map(|printed| printed.trim().to_owned())
    }

    /// How long a command of ours takes, the start of its process included.
    pub(super) fn time(&self, name: &str, words: &[&str]) -> Result<Figure> {
        let begun = Instant::now();
        self.run(name, words)?;
        Ok(figure(begun.elapsed()))
    }

    /// How long the composers took for the requests of one kind that a command makes, by the stack's own clock.
    pub(super) fn requests_of(&self, operation: &str, words: &[&str]) -> Result<Figure> {
        let before = self.spent(operation)?;
        self.run("vlmc", words)?;
        Ok(figure(Duration::from_secs_f64((self.spent(operation)? - before).max(0.0))))
    }

    fn spent(&self, operation: &str) -> Result<f64> {
        let text = self.run("archipelago", &["metrics"])?;
        let is_wanted = |line: &&str| {
            line.starts_with("archipelago_request_duration_seconds_sum{role=\"vlmcd\"")
                && line.contains(&format!("operation=\"{operation}\""))
        };
        let values =
            text.lines().filter(is_wanted).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// The processes of all roles, by their names.
    pub(super) fn pids(&self) -> Result<Vec<(String, u64)>> {
        let report: Value = serde_json::from_str(&self.run("archipelago", &["status", "--json"])?)?;
        let roles = report["roles"].as_array().context("a status has roles")?;
        let pid = |role: &Value| Some((role["role"].as_str()?.to_owned(), role["pid"].as_u64()?));
        Ok(roles.iter().filter_map(pid).collect())
    }

    /// Memory of a role that is in nobody else's hands too, in bytes: the segment does not count.
    pub(super) fn private_bytes(&self, role: &str) -> Result<u64> {
        let pids = self.pids()?;
        let (_, pid) =
            pids.iter().find(|(name, _)| name == role).with_context(|| format!("{role} does not run"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kibibytes: u64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        Ok(kibibytes << 10)
    }
}

pub(super) fn figure(time: Duration) -> Figure {
    Figure { per_second: 0.0, median_us: time.as_secs_f64() * 1e6 }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // A stack that was stopped already says so.
        succeeds(&mut self.command("archipelago", &["stop", "--force"]));
    }
}
