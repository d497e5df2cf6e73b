//! `archipelago`: starts, stops and looks after a stack.

mod alarms;
pub(crate) mod arguments;
mod bench;
mod collect;
mod configure;
mod fsck;
mod lifecycle;
mod measure;
mod node;
mod scrub;
mod status;
mod top;

use std::{path::Path, process::ExitCode};

use arguments::{Archipelago, Command};

use crate::{
    config::{self, Configuration, LoadError},
    failure::{Failed, command},
    generate,
    supervision::{background, foreground, one_role, reach},
};

/// Runs the command that was typed.
pub fn main(typed: std::env::ArgsOs) -> ExitCode {
    command("archipelago", typed, run)
}

fn run(typed: Archipelago) -> anyhow::Result<ExitCode> {
    let file = typed.chosen.config.as_path();
    let done = |()| ExitCode::SUCCESS;
    match typed.command {
        Command::Run(logging) => foreground::run(able(file)?, logging.json).map(done),
        Command::Start(one) => match one.role {
            None => lifecycle::start(&able(file)?).map(done),
            Some(role) => lifecycle::start_role(&own(file)?, &role).map(done),
        },
        Command::Stop(stop) => match stop.role {
            None => lifecycle::stop(&own(file)?, stop.force).map(done),
            Some(role) => lifecycle::stop_role(&own(file)?, &role, stop.force).map(done),
        },
        Command::Restart(one) => match one.role {
            None => lifecycle::restart(&able(file)?).map(done),
            Some(role) => lifecycle::restart_role(&own(file)?, &role).map(done),
        },
        Command::Status(status) => status::run(&own(file)?, status.role.as_deref(), status.output),
        Command::Check(output) => configure::check(file, output),
        Command::Bench(wanted) => bench::run(&load(file)?, &wanted),
        Command::Fsck(wanted) => Ok(fsck::run(file, &wanted)),
        Command::Scrub(wanted) => Ok(scrub::run(file, &wanted)),
        Command::Gc(gc) => collect::run(&load(file)?, &gc).map(done),
        Command::Node(nodes) => node::run(&load(file)?, &nodes).map(done),
        Command::Metrics => measure::run(&load(file)?).map(done),
        Command::Top(top) => top::run(&load(file)?, &top),
        Command::Config(arguments::Config::Init(init)) => configure::init(&init).map(done),
        Command::Config(arguments::Config::Import { source, output }) => {
            configure::import(&source, output.as_deref()).map(done)
        }
        Command::Peer(one) => {
            let configuration = if one.as_started { handed_over(file)? } else { load(file)? };
            one_role::run(&configuration, &one.role, one.stderr).map(done)
        }
        Command::Supervise => background::run(&load(file)?).map(done),
        Command::Generate { dir } => generate::write(&dir).map(done),
    }
}

/// The configuration, checked for itself.
pub(crate) fn load(file: &Path) -> anyhow::Result<Configuration> {
    config::load(file).map_err(unusable)
}

/// The configuration that the supervisor was started with: it writes it to standard input.
fn handed_over(file: &Path) -> anyhow::Result<Configuration> {
    let text = std::io::read_to_string(std::io::stdin())?;
    config::parse(file, &text).map_err(|rejected| unusable(rejected.into()))
}

/// The configuration of a stack that this user may ask.
fn own(file: &Path) -> anyhow::Result<Configuration> {
    let configuration = load(file)?;
    reach::refuse_stranger(&configuration)?;
    Ok(configuration)
}

/// The configuration, checked against this machine too.
fn able(file: &Path) -> anyhow::Result<Configuration> {
    config::load_here(file).map_err(unusable)
}

fn unusable(error: LoadError) -> anyhow::Error {
    let failed = match error {
        LoadError::Unreadable { file, source } => {
            let hint =
                "`archipelago config init --dir DIR` writes one for a private stack; -c FILE names another";
            Failed::new(format!("read configuration {}", file.display()), source).hint(hint)
        }
        LoadError::Rejected(rejected) => Failed::new("use the configuration", format!("\n{rejected}"))
            .hint("`archipelago check` proves it"),
    };
    failed.into()
}
