//! The command line of `archipelago`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{bench::Bench, top::Top};
use crate::{
    arguments::{Chosen, Output, STYLES},
    size,
};

/// Start, stop and look after an Archipelago stack
#[derive(Debug, Parser)]
#[command(name = "archipelago", version, styles = STYLES, arg_required_else_help = true, after_help = AFTER)]
pub(crate) struct Archipelago {
    #[command(flatten)]
    pub(crate) chosen: Chosen,
    /// Only what runs in user space, which is everything: kept for scripts that say it
    #[arg(short, long, global = true)]
    pub(crate) user: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Exit status: 0 done, 1 failed or something is down, 2 misused.

Examples, a private stack without root:
  archipelago config init --dir ~/stack   prints the configuration it wrote
  export ARCHIPELAGO_CONFIG=~/stack/archipelago.toml
  archipelago start
  archipelago status
  archipelago stop";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole stack in this process until SIGTERM or Ctrl-C
    Run(Logging),
    /// Start the stack, or one role of it, in the background
    Start(OneRole),
    /// Stop the stack, or one role of it; refused while volumes are mapped
    Stop(Stop),
    /// Stop and start the stack, or one role of it; volumes stay mapped
    Restart(OneRole),
    /// Show what runs; exit 1 if something does not
    Status(Status),
    /// Prove the configuration and what it needs of this machine
    Check(Output),
    /// Delete blocks that no volume or snapshot uses any more
    Gc(Gc),
    /// Compare what is at rest with its checksums, and make those that are missing; 1 if something is damaged
    Scrub(Scrub),
    /// Look at maps, blocks, locks and names, and say what is wrong with them; 1 if something is
    Fsck(Fsck),
    /// Measure a volume, a store or a role from inside the segment, and verify what it holds
    Bench(Bench),
    /// Show who this node is, or which nodes use the same store, or take everything from one that is gone
    Node(Nodes),
    /// Print what the stack measured, in the text format that Prometheus reads
    Metrics,
    /// Show what the stack does at this moment: roles, volumes, ports
    Top(Top),
    /// Write a configuration
    #[command(subcommand)]
    Config(Config),
    /// Run one role in this process, as the supervisor does
    #[command(hide = true)]
    Peer(OnePeer),
    /// Watch over the roles, as `start` does in the background
    #[command(hide = true)]
    Supervise,
    /// Write completions, man pages, systemd units and what Ganeti runs into a directory
    #[command(hide = true)]
    Generate {
        /// The directory; made if it is not there
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// What is logged by a process in the foreground.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// Log lines of JSON on standard error
    #[arg(long)]
    pub(crate) json: bool,
}

/// A command about the stack or one role.
#[derive(Debug, Args)]
pub(crate) struct OneRole {
    /// A role of the configuration, as in mapperd; the whole stack if not given
    pub(crate) role: Option<String>,
}

/// `archipelago stop`
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// A role of the configuration, as in mapperd; the whole stack if not given
    pub(crate) role: Option<String>,
    /// Stop even while volumes are mapped: their users wait, or get errors
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `archipelago status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this role
    pub(crate) role: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `archipelago gc`
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be deleted
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `archipelago fsck`
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 clean, 1 something was found, 2 not done.")]
pub(crate) struct Fsck {
    /// Only these volumes and snapshots; all if none is given
    #[arg(value_name = "VOLUME")]
    pub(crate) volumes: Vec<String>,
    /// Mend what can lose nothing; all else is only named
    #[arg(long)]
    pub(crate) repair: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `archipelago node`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Nodes {
    #[command(subcommand)]
    pub(crate) command: Option<OneOfNode>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What is done about nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum OneOfNode {
    /// List the nodes that use the same store, and whether they answer
    List(Output),
    /// Break every lock of another node; what it writes afterwards is refused
    Fence(Fence),
}

/// `archipelago node fence`
#[derive(Debug, Args)]
pub(crate) struct Fence {
    /// The node, as `archipelago node list` shows it
    pub(crate) node: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `archipelago scrub`
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 clean, 1 damage found, 2 not done.")]
pub(crate) struct Scrub {
    /// Only this store, as in blockerb; every store of the configuration if not given
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// At most so much a second
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) rate: Option<u64>,
    /// Begin anew instead of going on where the last scrub was interrupted
    #[arg(long)]
    pub(crate) restart: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `archipelago peer`
#[derive(Debug, Args)]
pub(crate) struct OnePeer {
    /// The role
    pub(crate) role: String,
    /// Read the configuration from standard input, as the supervisor was started with it
    #[arg(long, hide = true)]
    pub(crate) as_started: bool,
    /// Log to standard error instead of the role's file
    #[arg(long)]
    pub(crate) stderr: bool,
}

/// `archipelago config`
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Write a configuration for a private stack and print its path
    Init(Init),
    /// Translate a configuration of the original, INI (0.4) or Python (before)
    Import {
        /// The original's archipelago.conf; it is read, never executed
        #[arg(value_name = "OLD.conf")]
        source: PathBuf,
        /// Where the translation goes; standard output if not given
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// `archipelago config init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The directory of the stack; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Where blocks are kept; DIR/blocks if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) blocks: Option<PathBuf>,
    /// Where maps and locks are kept; DIR/maps if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) maps: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Archipelago::command().debug_assert();
    }

    #[test]
    fn commands_of_the_seed_and_ours_are_understood() {
        for line in [
            "archipelago start",
            "archipelago -u start",
            "archipelago start mapperd",
            "archipelago stop blockerb -u",
            "archipelago stop -f",
            "archipelago restart vlmcd",
            "archipelago --user status",
            "archipelago -c x.toml status mapperd --json",
            "archipelago run -c x.toml",
            "archipelago check",
            "archipelago gc --dry-run",
            "archipelago fsck",
            "archipelago fsck volume1 volume2 --repair --json",
            "archipelago node",
            "archipelago node --json",
            "archipelago node list --json",
            "archipelago node fence n2 -f",
            "archipelago metrics",
            "archipelago top --once -i 0.5",
            "archipelago scrub --role blockerb --rate 100MiB --restart --json",
            "archipelago config init --dir d --blocks b --maps m",
            "archipelago config import old.conf -o new.toml",
            "archipelago -c x.toml peer mapperd",
            "archipelago -c x.toml supervise",
        ] {
            let parsed = Archipelago::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn the_file_is_the_default_one_unless_another_is_named() {
        let typed = Archipelago::try_parse_from(["archipelago", "check", "--config", "x.toml"]).unwrap();
        assert_eq!(typed.chosen.config, PathBuf::from("x.toml"));
    }
}
