//! `archipelago peer ROLE`: one role in this process.

use anyhow::Context;
use peer::{
    Stop,
    logging::{self, Target},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use xseg::Segment;

use super::{
    ground,
    pid_file::PidFile,
    reach::{on_segment, segment_name, serve},
};
use crate::{config::Configuration, failure::Failed};

/// Serves the role until SIGTERM or SIGINT.
pub(crate) fn run(configuration: &Configuration, name: &str, to_stderr: bool) -> anyhow::Result<()> {
    ground::set_umask(configuration);
    let known =
        || configuration.roles.iter().map(|role| role.outline.name.as_str()).collect::<Vec<_>>().join(", ");
    let role = configuration.role(name);
    let role =
        role.ok_or_else(|| Failed::new(format!("run {name}"), format!("no such role (known: {})", known())))?;
    let top = &configuration.top;
    let target = if to_stderr { Target::Stderr } else { Target::File(top.log_file(name)) };
    logging::init(role.outline.log_level, &target, top.log_json).context("cannot open the log")?;
    end_with_any_panic();
    let outcome = (|| {
        let _pid_file = PidFile::take(&top.role_pid(name))?;
        let segment = Segment::open(&segment_name(configuration))?;
        let stop = Stop::new();
        stop_on_signal(&stop)?;
        serve(&on_segment(configuration, segment), configuration, role, &stop)
    })();
    if let Err(error) = &outcome {
        tracing::error!(role = name, "{error:#}");
    }
    outcome
}

fn stop_on_signal(stop: &Stop) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for signals")?;
    let stop = stop.clone();
    let watch = move || {
        if signals.forever().next().is_some() {
            stop.set();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).context("cannot watch for signals")?;
    Ok(())
}

/// A role with a thread missing would serve some and hang others: a new process serves all again.
fn end_with_any_panic() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{panic}");
        std::process::abort();
    }));
}
