//! The command line of `vlmc`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    arguments::{Chosen, Output, STYLES},
    size,
};

/// Work with Archipelago's volumes
#[derive(Debug, Parser)]
#[command(name = "vlmc", version, styles = STYLES, arg_required_else_help = true, after_help = AFTER)]
pub(crate) struct Vlmc {
    /// Which stack is meant.
    #[command(flatten)]
    pub(crate) chosen: Chosen,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Sizes are numbers with a unit, B K M G T P or KiB MiB GiB TiB PiB (powers of 1024); MiB where none is given.
Exit status: 0 done, 1 failed, 2 misused.

Examples:
  vlmc create disk-1 --size 20G             names have 6 to 82 bytes
  vlmc map disk-1                           prints the device or URI
  vlmc snapshot disk-1 disk-1-monday
  vlmc create disk-2 --snap disk-1-monday   a clone, as large as the snapshot
  vlmc unmap disk-1";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a volume visible and print its device or URI
    Map(Map),
    /// Take a volume away from where it is visible; refused while it is in use
    Unmap(Unmap),
    /// List what is mapped
    Showmapped(Output),
    /// Create a volume: blank, or a clone of a snapshot
    Create(Create),
    /// Take a snapshot of a volume
    Snapshot {
        /// The volume, or a snapshot
        #[arg(value_name = "VOLUME")]
        volume: String,
        /// Name of the new snapshot
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// Accepted as the original did, and ignored
        #[command(flatten)]
        ignored: Ignored,
    },
    /// Remove a volume or snapshot; its blocks go when `archipelago gc` runs
    #[command(visible_alias = "rm")]
    Remove {
        #[command(flatten)]
        named: Named,
        /// Remove it even if its map is damaged: only the map goes, `archipelago gc` then takes what nothing else uses
        #[arg(long)]
        force: bool,
    },
    /// List volumes and snapshots
    #[command(visible_alias = "ls")]
    List {
        /// Only names that begin so
        #[arg(value_name = "PREFIX", default_value = "")]
        prefix: String,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        ignored: Ignored,
    },
    /// Show what is known of a volume
    Info {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        output: Output,
    },
    /// Show who holds volumes' locks, who has them open here, and whose writers wait for them
    Locks {
        /// Only this one; all that are held or waited for if not given
        #[arg(value_name = "VOLUME")]
        volume: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Take a volume's lock for this node
    Open(Named),
    /// Give back a volume's lock, after everything written is safe
    Close(Named),
    /// Take a volume's lock for an administrator, independent of the rest
    Lock(Named),
    /// Give back a volume's lock
    Unlock {
        #[command(flatten)]
        named: Named,
        /// Break another node's lock; what that node writes afterwards is refused
        #[arg(short, long)]
        force: bool,
    },
    /// Rename a volume or snapshot; refused while it is mapped
    Rename {
        /// The name it has
        volume: String,
        /// The name it gets
        new_name: String,
    },
    /// Change a volume's size; what is mapped sees the new size
    Resize(Resize),
    /// Bring a map of the original to the current version; a volume's first write does so by itself
    Update(Update),
    /// Print the SHA-256 of a snapshot's content (Merkle root over its blocks)
    Hash {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        output: Output,
    },
    /// Show which parts of a volume are data and how much space they take
    Mapinfo {
        #[command(flatten)]
        named: Named,
        /// List every range
        #[arg(short, long)]
        verbose: bool,
        #[command(flatten)]
        output: Output,
    },
    /// List the byte ranges in which two volumes or snapshots may differ; exit 1 if there are any
    Compare {
        /// One
        volume: String,
        /// The other
        other: String,
        #[command(flatten)]
        output: Output,
    },
    /// Fill a new volume from a raw image
    Import(Import),
    /// Write a volume or snapshot out as a raw image
    Export(Export),
}

/// A command about one volume.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The volume or snapshot
    #[arg(value_name = "VOLUME")]
    pub(crate) volume: String,
    #[command(flatten)]
    pub(crate) ignored: Ignored,
}

/// Options of the original that have no meaning here.
#[derive(Debug, Args)]
pub(crate) struct Ignored {
    /// The original's pool, which it ignored too
    #[arg(short, long, hide = true, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// Maps with a signature are recognised without being told; `create` and `update` take those without
    #[arg(long, alias = "assume_v0", hide = true)]
    pub assume_v0: bool,
    /// As above
    #[arg(long, alias = "v0_size", hide = true, value_name = "SIZE")]
    pub v0_size: Option<String>,
}

/// Through what a volume becomes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// The best that the stack and the host offer
    Auto,
    /// A network block device: prints a URI. Give qemu reconnect-delay=60 beside it: then it only waits while the role nbd is started again
    Nbd,
    /// A file, with a loop device over it where the host allows
    Fuse,
}

/// `vlmc map`
#[derive(Debug, Args)]
pub(crate) struct Map {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Through what it becomes visible; one that is named may come beside another
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) via: Via,
    /// Refuse writes (snapshots always do)
    #[arg(short, long, alias = "readonly")]
    pub(crate) read_only: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `vlmc unmap`
#[derive(Debug, Args)]
pub(crate) struct Unmap {
    /// The device, URI, file or volume, as `vlmc map` printed it
    #[arg(value_name = "DEVICE|URI|VOLUME")]
    pub(crate) target: String,
    /// Unmap even while it is in use: its users get errors
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) ignored: Ignored,
}

/// `vlmc create`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("origin").args(["snap", "size"]).required(true).multiple(true))]
pub(crate) struct Create {
    /// The new volume
    #[arg(value_name = "VOLUME")]
    pub(crate) volume: String,
    /// The original's pool, which it ignored too
    #[arg(short, long, hide = true, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// Take a snapshot whose map has no signature for one of version 0, which does not know its size
    #[arg(long, alias = "assume_v0", requires = "snap")]
    pub(crate) assume_v0: bool,
    /// How large the volume of such a map is, as in 20G
    #[arg(long, alias = "v0_size", requires = "assume_v0", value_parser = size::parse, value_name = "SIZE")]
    pub(crate) v0_size: Option<u64>,
    /// The snapshot to clone
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) snap: Option<String>,
    /// Size of the volume, as in 20G; the snapshot's if not given
    #[arg(short, long, value_parser = size::parse, value_name = "SIZE")]
    pub(crate) size: Option<u64>,
    /// Size of its blocks, as in 4M; the snapshot's or the default if not given
    #[arg(long, value_parser = block_size, value_name = "SIZE")]
    pub(crate) block_size: Option<u32>,
    /// The seed's option for content-addressed sources: they are recognised by their names
    #[arg(long, hide = true)]
    pub(crate) contaddr: bool,
}

/// `vlmc resize`
#[derive(Debug, Args)]
pub(crate) struct Resize {
    #[command(flatten)]
    pub(crate) named: Named,
    /// The new size, as in 40G
    #[arg(short, long, value_parser = size::parse, value_name = "SIZE")]
    pub(crate) size: u64,
    /// Allow a smaller size: what lies beyond it is lost
    #[arg(long)]
    pub(crate) shrink: bool,
}

/// `vlmc update`
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The volume or snapshot
    #[arg(value_name = "VOLUME")]
    pub(crate) volume: String,
    /// Take a map without a signature for one of version 0, which does not know its size
    #[arg(long, alias = "assume_v0", requires = "v0_size")]
    pub(crate) assume_v0: bool,
    /// How large the volume of such a map is, as in 20G
    #[arg(long, alias = "v0_size", requires = "assume_v0", value_parser = size::parse, value_name = "SIZE")]
    pub(crate) v0_size: Option<u64>,
}

/// `vlmc import`
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The raw image; - for standard input
    pub(crate) source: PathBuf,
    /// Name of the new volume
    #[arg(value_name = "VOLUME")]
    pub(crate) volume: String,
    /// Size of the volume; the image's if not given, which a pipe doesn't tell
    #[arg(short, long, value_parser = size::parse, value_name = "SIZE")]
    pub(crate) size: Option<u64>,
    /// Size of its blocks, as in 4M
    #[arg(long, value_parser = block_size, value_name = "SIZE")]
    pub(crate) block_size: Option<u32>,
    /// No progress on standard error
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `vlmc export`
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The volume or snapshot
    #[arg(value_name = "VOLUME")]
    pub(crate) volume: String,
    /// Where the raw image goes; - for standard output
    pub(crate) target: PathBuf,
    /// Replace a file that is there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// No progress on standard error
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

fn block_size(text: &str) -> Result<u32, String> {
    let bytes = size::parse(text).map_err(|error| error.to_string())?;
    u32::try_from(bytes).map_err(|_| "larger than a block can be (4 GiB)".to_owned())
}

#[cfg(test)]
mod tests;
