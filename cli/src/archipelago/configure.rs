//! `archipelago check`, `config init`, `config import`.

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context;
use serde::Serialize;

use super::arguments::Init;
use crate::{
    arguments::Output,
    config::{self, Finding, LoadError, Rejected, import, init},
    failure::Failed,
    output,
};

#[derive(Serialize)]
struct Report<'r> {
    file: String,
    ok: bool,
    findings: Vec<Line<'r>>,
}

#[derive(Serialize)]
struct Line<'r> {
    line: Option<usize>,
    column: Option<usize>,
    message: &'r str,
}

/// Prints what is wrong with the configuration, or ok.
pub(super) fn check(file: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let findings = match config::load_here(file) {
        Ok(_) => Vec::new(),
        Err(LoadError::Rejected(rejected)) => rejected.findings,
        Err(LoadError::Unreadable { file, source }) => {
            return Err(Failed::new(format!("read configuration {}", file.display()), source).into());
        }
    };
    let code = ExitCode::from(u8::from(!findings.is_empty()));
    if output.json {
        let report =
            Report { file: file.display().to_string(), ok: findings.is_empty(), findings: lines(&findings) };
        output::print_json(&report)?;
    } else if findings.is_empty() {
        output::print("ok\n")?;
    } else {
        output::print(&format!("{}\n", Rejected { file: file.to_owned(), findings }))?;
    }
    Ok(code)
}

fn lines(findings: &[Finding]) -> Vec<Line<'_>> {
    let line = |finding: &'_ Finding| {
        (finding.place.map(|place| place.line), finding.place.map(|place| place.column))
    };
    findings
        .iter()
        .map(|found| Line { line: line(found).0, column: line(found).1, message: &found.message })
        .collect()
}

/// Writes the configuration of a private stack and prints its path.
pub(super) fn init(wanted: &Init) -> anyhow::Result<()> {
    let file =
        init::init(&wanted.dir, wanted.blocks.as_deref(), wanted.maps.as_deref()).map_err(|error| {
            let is_there = matches!(error, init::InitError::Exists(_));
            let failed = Failed::new(format!("set up a stack in {}", wanted.dir.display()), reason(&error));
            if is_there {
                failed.hint("`archipelago -c FILE check` proves the one that is there")
            } else {
                failed
            }
        })?;
    Ok(output::print(&format!("{}\n", file.display()))?)
}

/// An error with its causes.
fn reason(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Translates a configuration of the original.
pub(super) fn import(source: &Path, target: Option<&Path>) -> anyhow::Result<()> {
    let name = source.display().to_string();
    let text = fs::read(source).with_context(|| format!("cannot read {name}"))?;
    let text = String::from_utf8_lossy(&text);
    let translated = import::translate(&name, &text).map_err(|error| {
        Failed::new(format!("translate {name}"), error).hint("the file is read, never executed")
    })?;
    match target {
        None => output::print(&translated)?,
        Some(target) => {
            let mut file =
                fs::File::create_new(target).with_context(|| format!("cannot write {}", target.display()))?;
            std::io::Write::write_all(&mut file, translated.as_bytes())?;
            output::print(&format!("{}\n", target.display()))?;
        }
    }
    Ok(())
}
