//! What clients have asked and not heard of.

use std::{fmt, rc::Rc};

use protocol::ErrorKind;

use crate::model::{Expected, Sector};

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) node: usize,
    pub(crate) kind: Kind,
    /// What must come back; none for success.
    pub(crate) refusal: Option<ErrorKind>,
    /// Whether the stores may have failed it, or another node may have stood in its way.
    pub(crate) is_excused: bool,
    /// How often composers had died when it was sent.
    pub(crate) deaths: usize,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Read {
        volume: String,
        first: usize,
        expected: Expected,
    },
    /// Also what writes zeros.
    Write {
        volume: String,
        write: usize,
        first: usize,
        count: usize,
        is_durable: bool,
    },
    Flush {
        volume: String,
        moment: u64,
    },
    Open {
        volume: String,
    },
    Close {
        volume: String,
    },
    Change(Change),
    /// Looks whether a volume is there, and how long.
    Look {
        volume: String,
    },
    /// Reads all of a volume.
    Scan {
        volume: String,
    },
    /// A step of a collection.
    Collect,
    /// Something that must be refused.
    Senseless {
        volume: String,
    },
}

/// What changes which volumes there are.
#[derive(Clone)]
pub(crate) enum Change {
    Create { name: String, sectors: usize },
    Clone { source: String, name: String, sectors: usize },
    Snapshot { volume: String, name: String, content: Rc<[Sector]> },
    Resize { volume: String, sectors: usize },
    Rename { from: String, to: String },
    Delete { name: String },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Create { name, sectors } => write!(f, "Create {name} of {sectors}"),
            Change::Clone { source, name, sectors } => write!(f, "Clone {source} as {name} of {sectors}"),
            Change::Snapshot { volume, name, .. } => write!(f, "Snapshot {volume} as {name}"),
            Change::Resize { volume, sectors } => write!(f, "Resize {volume} to {sectors}"),
            Change::Rename { from, to } => write!(f, "Rename {from} to {to}"),
            Change::Delete { name } => write!(f, "Delete {name}"),
        }
    }
}

impl Change {
    /// The names that nobody else may use meanwhile.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Change::Create { name, .. } | Change::Delete { name } => vec![name],
            Change::Clone { source, name, .. } => vec![source, name],
            Change::Snapshot { name, .. } => vec![name],
            Change::Resize { volume, .. } => vec![volume],
            Change::Rename { from, to } => vec![from, to],
        }
    }
}

impl Kind {
    pub(crate) fn volume(&self) -> Option<&str> {
        match self {
            Kind::Read { volume, .. }
            | Kind::Write { volume, .. }
            | Kind::Flush { volume, .. }
            | Kind::Open { volume }
            | Kind::Close { volume }
            | Kind::Look { volume }
            | Kind::Scan { volume }
            | Kind::Senseless { volume } => Some(volume),
            Kind::Change(Change::Snapshot { volume, .. }) => Some(volume),
            Kind::Change(_) | Kind::Collect => None,
        }
    }

    /// All volumes that it is about.
    pub(crate) fn names(&self) -> Vec<String> {
        let own = self.volume().into_iter();
        let changed = match self {
            Kind::Change(change) => change.names(),
            _ => Vec::new(),
        };
        own.chain(changed).map(str::to_owned).collect()
    }

    /// Whether the request keeps everybody else from using this name.
    pub(crate) fn blocks(&self, name: &str) -> bool {
        matches!(self, Kind::Change(change) if change.names().contains(&name))
    }
}
