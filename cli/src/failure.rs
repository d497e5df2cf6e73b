//! How a command says that it failed, and what to do next.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use clap::Parser;
use client::Failure;
use protocol::ErrorKind;

use crate::{arguments::modernized, output::printable};

/// A command that failed: what was tried, why it was not done, and what may help.
#[derive(Debug)]
pub(crate) struct Failed {
    action: String,
    reason: String,
    hint: Option<String>,
}

/// What to do about a stack that another user runs.
pub(crate) const STRANGER_HINT: &str = "it is another user's: do this as that user, or as root";

impl Failed {
    /// `action` completes "cannot …".
    pub(crate) fn new(action: impl Into<String>, reason: impl fmt::Display) -> Failed {
        Failed { action: action.into(), reason: reason.to_string(), hint: None }
    }

    /// What to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failed {
        self.hint = Some(hint.into());
        self
    }

    /// The segment can't be had.
    pub(crate) fn by_segment(action: impl Into<String>, error: &xseg::Error) -> Failed {
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        match source {
            Some(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                Failed::new(action, format!("{error}: {source}")).hint(STRANGER_HINT)
            }
            Some(source) => Failed::new(action, format!("{error}: {source}")),
            None => Failed::new(action, error),
        }
    }

    /// Whether something is said of what to do next.
    pub(crate) fn has_hint(&self) -> bool {
        self.hint.is_some()
    }

    /// A peer refused or failed; the hint follows from the kind.
    pub(crate) fn by_peer(action: impl Into<String>, failure: &Failure) -> Failed {
        let failed = Failed::new(action, failure);
        match hint_for(failure.kind) {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

fn hint_for(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::NotFound => Some("`vlmc list` shows what there is"),
        ErrorKind::Busy => Some("`vlmc locks` shows who holds a volume, `vlmc showmapped` what is in use"),
        ErrorKind::NotOwner => Some("`vlmc locks` shows who holds the lock; `vlmc unlock -f` breaks it"),
        ErrorKind::Unavailable => {
            Some("`archipelago status` shows what runs; the reason is in the roles' logs")
        }
        ErrorKind::Corrupt => Some("the roles' logs say what was found"),
        ErrorKind::NoSpace => Some("`archipelago gc` gives back what removed volumes used"),
        ErrorKind::ReadOnly => {
            Some("snapshots never change: `vlmc create NAME --snap SNAPSHOT` makes a writable clone")
        }
        ErrorKind::Exists | ErrorKind::Invalid | ErrorKind::Unsupported => None,
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot {}: {}", self.action, self.reason)
    }
}

impl std::error::Error for Failed {}

/// A command: parses what was typed, runs it, says what failed, and gives the exit status: 0, 1, or 2 for misuse.
pub(crate) fn command<P: Parser>(
    name: &str,
    typed: std::env::ArgsOs,
    run: impl FnOnce(P) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let parsed = match P::try_parse_from(modernized(typed)) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Where nobody reads the message, the exit status still tells.
            let _unread = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(parsed) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell(name, &error);
            ExitCode::from(1)
        }
    }
}

/// Whoever reads our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let source = error.downcast_ref::<std::io::Error>();
    source.is_some_and(|source| source.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Says what failed.
pub(crate) fn tell(name: &str, error: &anyhow::Error) {
    let (red, dim) = (Style::new().fg_color(Some(AnsiColor::Red.into())).bold(), Style::new().dimmed());
    let mut out = anstream::stderr();
    // What was typed, and what a peer says, may hold what moves a terminal's cursor; lines are ours.
    let told: Vec<String> = format!("{error:#}").lines().map(printable).collect();
    let _unread = writeln!(out, "{red}{name}{red:#}: {}", told.join("\n"));
    if let Some(hint) = error.downcast_ref::<Failed>().and_then(|failed| failed.hint.as_ref()) {
        let _unread = writeln!(out, "{dim}{hint}{dim:#}");
    }
}
