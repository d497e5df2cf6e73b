//! `vlmc`: works with volumes.

pub(crate) mod arguments;
mod content;
mod export;
mod import;
mod interruption;
mod locks;
mod manage;
mod mapping;
mod show;
mod transfer;

use std::process::ExitCode;

use arguments::{Command, Vlmc};
use client::{Client, Stack};

use crate::{
    archipelago::load,
    config::Configuration,
    failure::{Failed, command},
    supervision::reach,
};

/// Runs the command that was typed.
pub fn main(typed: std::env::ArgsOs) -> ExitCode {
    command("vlmc", typed, run)
}

fn run(typed: Vlmc) -> anyhow::Result<ExitCode> {
    let mut session = Session::open(load(&typed.chosen.config)?)?;
    let done = |()| ExitCode::SUCCESS;
    match typed.command {
        Command::Map(map) => mapping::map(&mut session, &map).map(done),
        Command::Unmap(unmap) => mapping::unmap(&mut session, &unmap).map(done),
        Command::Showmapped(output) => mapping::show(&mut session, output).map(done),
        Command::Create(create) => manage::create(&mut session, &create).map(done),
        Command::Snapshot { volume, snapshot, .. } => {
            manage::snapshot(&mut session, &volume, &snapshot).map(done)
        }
        Command::Remove { named, force } => manage::remove(&mut session, &named.volume, force).map(done),
        Command::List { prefix, output, .. } => show::list(&mut session, &prefix, output).map(done),
        Command::Info { named, output } => show::info(&mut session, &named.volume, output).map(done),
        Command::Locks { volume, output } => locks::show(&mut session, volume.as_deref(), output).map(done),
        Command::Open(named) => manage::open(&mut session, &named.volume).map(done),
        Command::Close(named) => manage::close(&mut session, &named.volume).map(done),
        Command::Lock(named) => manage::lock(&mut session, &named.volume).map(done),
        Command::Unlock { named, force } => manage::unlock(&mut session, &named.volume, force).map(done),
        Command::Rename { volume, new_name } => manage::rename(&mut session, &volume, &new_name).map(done),
        Command::Resize(resize) => manage::resize(&mut session, &resize).map(done),
        Command::Update(update) => manage::update(&mut session, &update).map(done),
        Command::Hash { named, output } => content::hash(&mut session, &named.volume, output).map(done),
        Command::Mapinfo { named, verbose, output } => {
            content::mapinfo(&mut session, &named.volume, verbose, output).map(done)
        }
        Command::Compare { volume, other, output } => content::compare(&mut session, &volume, &other, output),
        Command::Import(wanted) => import::run(&mut session, &wanted).map(done),
        Command::Export(wanted) => export::run(&mut session, &wanted).map(done),
    }
}

/// A running stack and a caller on it.
struct Session {
    configuration: Configuration,
    stack: Stack,
    client: Client,
}

impl Session {
    /// Joins the stack; one that is coming up, or a role that is being started again, is waited for.
    fn open(configuration: Configuration) -> anyhow::Result<Session> {
        let stack = reach::join(&configuration)?;
        let mut needed: Vec<u32> = stack.vlmc.clone().collect();
        needed.extend([stack.mapper, stack.blocker_maps, stack.blocker_blocks]);
        reach::await_served(&configuration, &stack, &needed)?;
        let client =
            Client::connect(&stack).map_err(|failure| Failed::by_peer("join the segment", &failure))?;
        Ok(Session { configuration, stack, client })
    }

    /// The endpoints that serve now, by kind and port.
    fn endpoints(&self) -> Vec<(String, u32)> {
        let bound = self.stack.segment.ports();
        let serves = |port: u32| bound.iter().any(|info| info.number.0 == port && info.is_alive);
        self.stack.endpoints.iter().filter(|(_, port)| serves(*port)).cloned().collect()
    }
}
