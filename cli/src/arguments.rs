//! What the three commands have in common on their command lines.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Args,
    builder::{Styles, styling::AnsiColor},
};

/// Colours of help texts; clap leaves them out where output is no terminal or NO_COLOR is set.
pub(crate) const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Which stack is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct Chosen {
    /// Configuration file of the stack
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = crate::config::VARIABLE,
        default_value = crate::config::DEFAULT_FILE,
        hide_env_values = true
    )]
    pub(crate) config: PathBuf,
}

/// How results are written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Print one JSON document instead of text for people
    #[arg(long)]
    pub(crate) json: bool,
}

/// The original's options of two letters after one dash, as its documents and scripts write them.
const OLD_SPELLINGS: [(&str, &str); 3] =
    [("-ro", "--read-only"), ("-v0", "--assume-v0"), ("-ca", "--contaddr")];

/// The command line with the original's spellings replaced by ours.
pub(crate) fn modernized(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let replace = |argument: OsString| {
        let known = OLD_SPELLINGS.iter().find(|(old, _)| argument == *old);
        known.map_or(argument, |(_, new)| new.into())
    };
    arguments.into_iter().map(replace).collect()
}
