//! Our stack, started for a measurement as `archipelago run` does it anywhere.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

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
    pub(super) fn start(programs: &Path, folder: &Path) -> Result<Self> {
        let mut init = program(programs.join("archipelago"));
        let printed = output(init.args(["config", "init", "--dir"]).arg(folder))?;
        let configuration = PathBuf::from(printed.trim());
        let mut run = ours(programs, &configuration, "archipelago");
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

    /// How long `vlmc` takes with these words, the start of its process included.
    pub(super) fn time_vlmc<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Figure> {
        let begun = Instant::now();
        self.vlmc(words).context("a timed command failed")?;
        Ok(Figure { per_second: 0.0, median_us: begun.elapsed().as_secs_f64() * 1e6 })
    }
}

fn ours(programs: &Path, configuration: &Path, name: &str) -> Command {
    let mut command = program(programs.join(name));
    command.env("ARCHIPELAGO_CONFIG", configuration);
    command
}
