//! The checks that run no test: format, clippy, documentation, tidy, licences.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{End, cargo, root, shown, watch};
use crate::tally::Tally;
use crate::{licences, metadata, tidy};

/// Time for one of cargo's checks on a machine that has built nothing yet.
const CHECK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs all of them, quick ones first; each counts as one test.
pub(crate) fn run(tally: &mut Tally) {
    tally.judge("check: format", of_cargo(cargo().args(["fmt", "--all", "--check"])));
    tally.judge("check: tidy", of_tidy());
    tally.judge("check: licences", of_licences());
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    tally.judge("check: clippy", of_cargo(&mut clippy));
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--lib", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings");
    tally.judge("check: documentation", of_cargo(&mut doc));
}

/// Builds our commands, which tests of the whole stack run. These would build them too, but unseen and with the time
/// of a test.
pub(crate) fn build_commands(tally: &mut Tally) {
    tally.judge("check: the commands build", commands_build(&[]));
}

/// As [`build_commands`], with more words for cargo; true if they build.
pub(crate) fn commands_build(how: &[&str]) -> Result<bool> {
    let mut build = cargo();
    build.args(["build", "--package", "cli", "--bins", "--locked"]).args(how);
    of_cargo(&mut build)
}

/// `cargo xtask tidy`: prints what it finds.
pub(crate) fn tidy_alone() -> Result<bool> {
    let is_tidy = of_tidy()?;
    if is_tidy {
        println!("tidy: nothing found");
    }
    Ok(is_tidy)
}

fn of_cargo(command: &mut Command) -> Result<bool> {
    println!("\n== {}", shown(command));
    let end = watch(command, CHECK_LIMIT, |line| println!("{line}"))?;
    Ok(matches!(end, End::Exited(true)))
}

fn of_tidy() -> Result<bool> {
    println!("\n== tidy");
    let findings = tidy::check(&root(), &metadata::packages()?)?;
    findings.iter().for_each(|finding| println!("{finding}"));
    Ok(findings.is_empty())
}

fn of_licences() -> Result<bool> {
    println!("\n== licences");
    let faults = licences::check(&metadata::packages()?);
    faults.iter().for_each(|fault| println!("{fault}"));
    Ok(faults.is_empty())
}
