//! `xseg`: looks into segments and repairs them.

pub(crate) mod arguments;
mod look;
mod repair;
mod trace;

use std::process::ExitCode;

use arguments::{Command, Xseg};
use xseg::Segment;

use crate::{
    archipelago::load,
    failure::{Failed, command},
};

/// Runs the command that was typed.
pub fn main(typed: std::env::ArgsOs) -> ExitCode {
    command("xseg", typed, run)
}

fn run(typed: Xseg) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    if let Command::List(output) = typed.command {
        return look::list(output).map(done);
    }
    let name = name(&typed)?;
    match typed.command {
        Command::Create(create) => repair::create(&name, &create).map(done),
        Command::Destroy { force } => repair::destroy(&name, force).map(done),
        Command::List(output) => look::list(output).map(done),
        Command::Info(output) => look::info(&open(&name)?, output).map(done),
        Command::Ports(output) => look::ports(&open(&name)?, output).map(done),
        Command::Requests { port, output } => look::requests(&open(&name)?, port, output).map(done),
        Command::Trace(trace) => trace::run(&open(&name)?, &trace).map(done),
        Command::Route(route) => repair::route(&open(&name)?, &route).map(done),
        Command::Reap(output) => repair::reap(&open(&name)?, output).map(done),
        Command::Verify(output) => repair::verify(&open(&name)?, output),
    }
}

/// The segment that is meant: named here, or by the configuration.
fn name(typed: &Xseg) -> anyhow::Result<String> {
    match &typed.segment {
        Some(name) => Ok(name.clone()),
        None => Ok(format!("posix:{}", load(&typed.chosen.config)?.top.segment_name)),
    }
}

fn open(name: &str) -> Result<Segment, Failed> {
    Segment::open(name).map_err(|error| {
        let failed = Failed::by_segment(format!("look into segment {name}"), &error);
        if failed.has_hint() { failed } else { failed.hint("`xseg list` shows the segments of this machine") }
    })
}
