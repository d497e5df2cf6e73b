//! The operations, with the original's numbers up to 21 and ours after them.

/// What a request asks for. `docs/protocols.md` says who serves which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(missing_docs, reason = "docs/protocols.md section 2 is the one table that explains them")]
pub enum Op {
    Ping = 0,
    Read = 1,
    Write = 2,
    Sync = 3,
    Truncate = 4,
    Delete = 5,
    Acquire = 6,
    Release = 7,
    Copy = 8,
    Clone = 9,
    Commit = 10,
    Info = 11,
    MapRead = 12,
    MapWrite = 13,
    Open = 14,
    Close = 15,
    Snapshot = 16,
    Hash = 17,
    Create = 18,
    Rename = 19,
    Flush = 20,
    Update = 21,
    Discard = 22,
    WriteZeroes = 23,
    List = 24,
    LockInfo = 25,
    Resize = 26,
    Extents = 27,
    MapPunch = 28,
    Compare = 29,
    Collect = 30,
    Attach = 31,
    Detach = 32,
    Attached = 33,
    Scrub = 34,
    Check = 35,
    Nodes = 36,
}

impl Op {
    /// Every operation, in the order of its number.
    pub const ALL: [Op; 37] = [
        Op::Ping,
        Op::Read,
        Op::Write,
        Op::Sync,
        Op::Truncate,
        Op::Delete,
        Op::Acquire,
        Op::Release,
        Op::Copy,
        Op::Clone,
        Op::Commit,
        Op::Info,
        Op::MapRead,
        Op::MapWrite,
        Op::Open,
        Op::Close,
        Op::Snapshot,
        Op::Hash,
        Op::Create,
        Op::Rename,
        Op::Flush,
        Op::Update,
        Op::Discard,
        Op::WriteZeroes,
        Op::List,
        Op::LockInfo,
        Op::Resize,
        Op::Extents,
        Op::MapPunch,
        Op::Compare,
        Op::Collect,
        Op::Attach,
        Op::Detach,
        Op::Attached,
        Op::Scrub,
        Op::Check,
        Op::Nodes,
    ];

    /// The operation with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Op> {
        Op::ALL.get(usize::from(number)).copied()
    }

    /// The number that travels in a request.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The name people read and type, as in `map-read`.
    pub const fn name(self) -> &'static str {
        match self {
            Op::Ping => "ping",
            Op::Read => "read",
            Op::Write => "write",
            Op::Sync => "sync",
            Op::Truncate => "truncate",
            Op::Delete => "delete",
            Op::Acquire => "acquire",
            Op::Release => "release",
            Op::Copy => "copy",
            Op::Clone => "clone",
            Op::Commit => "commit",
            Op::Info => "info",
            Op::MapRead => "map-read",
            Op::MapWrite => "map-write",
            Op::Open => "open",
            Op::Close => "close",
            Op::Snapshot => "snapshot",
            Op::Hash => "hash",
            Op::Create => "create",
            Op::Rename => "rename",
            Op::Flush => "flush",
            Op::Update => "update",
            Op::Discard => "discard",
            Op::WriteZeroes => "write-zeroes",
            Op::List => "list",
            Op::LockInfo => "lock-info",
            Op::Resize => "resize",
            Op::Extents => "extents",
            Op::MapPunch => "map-punch",
            Op::Compare => "compare",
            Op::Collect => "collect",
            Op::Attach => "attach",
            Op::Detach => "detach",
            Op::Attached => "attached",
            Op::Scrub => "scrub",
            Op::Check => "check",
            Op::Nodes => "nodes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_positions_agree() {
        for (position, op) in Op::ALL.iter().enumerate() {
            assert_eq!(usize::from(op.number()), position, "{}", op.name());
            assert_eq!(Op::from_number(op.number()), Some(*op));
        }
        assert_eq!(Op::from_number(37), None);
    }
}
