//! Runs that take as long as one likes: on Ctrl-C they end in order, and what they came to so far counts.

use std::{
    cell::Cell,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::process::{End, shown, target, watch_until};

/// The environment variable with the path of a file: once it is there, tests are to end.
const STOP: &str = "ARCHIPELAGO_STOP";

/// How a long run ended.
pub(crate) struct Ended {
    /// Nothing failed.
    pub(crate) is_good: bool,
    /// It was to end before its time.
    pub(crate) is_early: bool,
    pub(crate) seconds: u64,
}

/// How far it is from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Building,
    Running,
    /// Told to end.
    Ending,
}

/// Runs tests for at most `limit`, showing what they print; each line goes to `line`, too.
pub(crate) fn run(command: &mut Command, limit: Duration, mut line: impl FnMut(&str)) -> Result<Ended> {
    let begun = Instant::now();
    let file = StopFile::new()?;
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot wait for Ctrl-C")?;
    // Ctrl-C goes to all of a terminal's group: those that are to end in order are in another one.
    command.process_group(0).env(STOP, &file.0);
    println!("== {}", shown(command));
    let state = Cell::new(State::Building);
    let see = |text: &str| {
        println!("{text}");
        if text.starts_with("running ") && state.get() == State::Building {
            state.set(State::Running);
        }
        line(text);
    };
    let is_over = || match (signals.pending().next(), state.get()) {
        (None, _) => false,
        (Some(_), State::Building | State::Ending) => true,
        (Some(_), State::Running) => {
            println!("== ending in order; once more to end at once");
            state.set(State::Ending);
            // What cannot be told to end in order ends at once.
            std::fs::write(&file.0, "").is_err()
        }
    };
    let end = watch_until(command, limit, see, is_over)?;
    let is_early = matches!(end, End::Stopped) || state.get() == State::Ending;
    if matches!(end, End::OutOfTime) {
        println!("== not done after {} minutes, and ended", limit.as_secs() / 60);
    }
    Ok(Ended { is_good: matches!(end, End::Exited(true)), is_early, seconds: begun.elapsed().as_secs() })
}

/// Gone when dropped.
struct StopFile(PathBuf);

impl StopFile {
    fn new() -> Result<StopFile> {
        let folder = target("xtask");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let folder = folder.canonicalize().unwrap_or(folder);
        Ok(StopFile(folder.join(format!("stop-{}", std::process::id()))))
    }
}

impl Drop for StopFile {
    fn drop(&mut self) {
        let file: &Path = &self.0;
        // It is only there after Ctrl-C.
        drop(std::fs::remove_file(file));
    }
}
