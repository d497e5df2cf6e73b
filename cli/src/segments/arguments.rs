//! The command line of `xseg`.

use clap::{Args, Parser, Subcommand};

use crate::{
    arguments::{Chosen, Output, STYLES},
    size,
};

/// Look into shared-memory segments and repair them
#[derive(Debug, Parser)]
#[command(name = "xseg", version, styles = STYLES, arg_required_else_help = true, after_help = AFTER)]
pub(crate) struct Xseg {
    #[command(flatten)]
    pub(crate) chosen: Chosen,
    /// Name of the segment; the configuration's if not given
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) segment: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Looking never stops the peers on a segment.
Exit status: 0 done, 1 failed, 2 misused.

Examples:
  xseg list                       segments of this machine
  xseg -s archipelago ports       who serves what
  xseg -s archipelago trace -t 5  the latest steps of requests in 5 seconds
  xseg route 500 1020             what goes to port 500 goes through 1020 first
  xseg route 500 --clear";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a segment
    Create(Create),
    /// Destroy a segment; refused while a live process has a port of it
    Destroy {
        /// Destroy it under the feet of those who use it
        #[arg(short, long)]
        force: bool,
    },
    /// List the segments of this machine
    List(Output),
    /// Show a segment's geometry and what is in use
    Info(Output),
    /// List ports that are bound or were
    Ports(Output),
    /// List requests that are in use
    Requests {
        /// Only those held by, or on their way to, this port
        #[arg(short, long)]
        port: Option<u32>,
        #[command(flatten)]
        output: Output,
    },
    /// Watch requests for a while and show where they went, and where their time did
    Trace(Trace),
    /// Send what goes to a port through another one first
    Route(Route),
    /// Give back what dead processes held
    Reap(Output),
    /// Check a segment for damage; exit 1 if there is any
    Verify(Output),
}

/// `xseg trace`
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// How long to watch, in seconds
    #[arg(short = 't', long, default_value_t = 1, value_name = "SECONDS")]
    pub(crate) seconds: u32,
    /// How many requests, or steps, to show: the latest, newest last
    #[arg(short = 'n', long, default_value_t = 20)]
    pub(crate) lines: usize,
    /// Show single steps as they happened, not what they come to
    #[arg(long)]
    pub(crate) steps: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `xseg create`
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Ports
    #[arg(long, default_value_t = 2048)]
    pub(crate) ports: u32,
    /// The first dynamic port
    #[arg(long, default_value_t = 1024)]
    pub(crate) dynports: u32,
    /// Request slots
    #[arg(long, default_value_t = 16384)]
    pub(crate) requests: u32,
    /// Memory for buffers, as in 256M
    #[arg(long, value_parser = size::parse, default_value = "256M", value_name = "SIZE")]
    pub(crate) size: u64,
}

/// `xseg route`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("way").args(["via", "clear"]).required(true))]
pub(crate) struct Route {
    /// The port whose requests are diverted
    pub(crate) port: u32,
    /// The port they go through
    pub(crate) via: Option<u32>,
    /// Let them go straight again
    #[arg(long)]
    pub(crate) clear: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Xseg::command().debug_assert();
    }

    #[test]
    fn a_route_needs_a_way_or_none() {
        let parse = |line: &str| Xseg::try_parse_from(line.split_whitespace());
        for line in [
            "xseg route 500 1020",
            "xseg route 500 --clear",
            "xseg -s posix:x destroy --force",
            "xseg trace -t 5",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in ["xseg route 500", "xseg route 500 1020 --clear", "xseg create --size 1X", "xseg"] {
            assert!(parse(line).unwrap_err().use_stderr(), "{line}");
        }
    }
}
