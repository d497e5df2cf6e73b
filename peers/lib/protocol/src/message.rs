//! The typed arguments and results of operations, and how they become bytes.
//!
//! Messages are written with postcard, whose format is specified and stable. A message may grow at its end only together with
//! a new layout version of the segment, because both sides of a segment run the same version.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Bytes that should have been a message and are not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what} message of {length} bytes")]
pub struct Malformed {
    /// Which message was expected.
    pub what: &'static str,
    /// How many bytes there were.
    pub length: usize,
}

/// A typed argument or result.
pub trait Message: Serialize + DeserializeOwned {
    /// The name that errors use.
    const WHAT: &'static str;

    /// The bytes that travel.
    fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a message of plain fields always encodes")
    }

    /// The message in these bytes.
    ///
    /// # Errors
    /// `Malformed` if the bytes are anything but exactly one such message.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) => Ok(message),
            _ => Err(Malformed { what: Self::WHAT, length: bytes.len() }),
        }
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }
        impl Message for $name { const WHAT: &'static str = stringify!($name); })*
    };
}

messages! {
    /// Argument of acquire: who wants the lock.
    Acquire {
        /// The node's identity; compared whole.
        owner: String,
        /// For people: what it is held for.
        description: String,
    }
    /// Result of acquire.
    Granted {
        /// The number of this ownership; grows with every change of owner.
        number: u64,
    }
    /// Argument of release: who gives the lock back.
    Release {
        /// The node's identity.
        owner: String,
    }
    /// Result of lock-info.
    LockInfo {
        /// Who holds it; none when it is free.
        owner: Option<String>,
        /// What the owner said it is for.
        description: String,
        /// The newest number given out.
        number: u64,
        /// When it was taken or given back, in milliseconds since 1970.
        since_unix_ms: u64,
    }
    /// Argument of copy.
    Copy {
        /// The object to copy from.
        source: Vec<u8>,
    }
    /// Argument of list, for objects and volumes: a page of names in byte order.
    List {
        /// Only names that start so.
        prefix: Vec<u8>,
        /// Only names after this one.
        after: Vec<u8>,
    }
    /// Result of list on a store.
    Listed {
        /// Names in byte order.
        names: Vec<Vec<u8>>,
        /// Whether names after the last remain.
        more: bool,
    }
    /// Argument of clone: a new volume, blank or from a snapshot.
    Clone {
        /// The snapshot; none for a blank volume.
        source: Option<String>,
        /// Size in bytes; none for the snapshot's.
        size_bytes: Option<u64>,
        /// Block size in bytes; none for the snapshot's or the default.
        block_size: Option<u32>,
    }
    /// Argument of snapshot.
    Snapshot {
        /// The snapshot's name.
        name: String,
    }
    /// Argument of rename.
    Renamed {
        /// The new name.
        name: String,
    }
    /// Argument of resize.
    Resize {
        /// The new size.
        size_bytes: u64,
        /// Whether data beyond the new end may be dropped.
        may_shrink: bool,
    }
    /// Argument of create, in the buffer.
    BlockList {
        /// Size of the volume.
        size_bytes: u64,
        /// Size of a block.
        block_size: u32,
        /// Whether the map is a snapshot.
        read_only: bool,
        /// One for each block.
        blocks: Vec<BlockSource>,
    }
    /// Result of extents, in the buffer: consecutive ranges from the offset asked for.
    Extents {
        /// In order, without gaps.
        extents: Vec<Extent>,
    }
    /// A range of a volume that is all data or all hole.
    Extent {
        /// Length in bytes.
        size_bytes: u64,
        /// False for a hole.
        is_data: bool,
    }
    /// Result of info on a volume.
    VolumeInfo {
        /// Its name.
        name: String,
        /// Volume or snapshot.
        kind: VolumeKind,
        /// Size in bytes.
        size_bytes: u64,
        /// Block size in bytes.
        block_size: u32,
        /// Counts snapshots and the like; names new blocks.
        generation: u64,
        /// Version of the map at rest: 0 to 3.
        map_version: u32,
        /// The snapshot it was cloned from, or the volume it is a snapshot of.
        parent: Option<String>,
        /// When it was made, in milliseconds since 1970; 0 if not known.
        created_unix_ms: u64,
        /// Who holds its lock.
        lock: Option<LockInfo>,
        /// The identity in its blocks' names; 0 for a snapshot and for maps of the original.
        id: u64,
    }
    /// Result of list on the mapper, in the buffer.
    ListedVolumes {
        /// In byte order of their names.
        volumes: Vec<ListedVolume>,
        /// Whether volumes after the last remain.
        more: bool,
    }
    /// One line of a volume list.
    ListedVolume {
        /// Its name.
        name: String,
        /// What is known of it; none with the reason if its map can't be read.
        info: Result<VolumeInfo, String>,
    }
    /// What a composer needs to know of a volume besides its entries.
    Shape {
        /// Size in bytes.
        size_bytes: u64,
        /// Block size in bytes.
        block_size: u32,
        /// Whether writes are refused.
        is_read_only: bool,
    }
    /// Result of map-read and map-write, in the buffer. It may be shorter than asked for, never empty for a non-empty range.
    Entries {
        /// The volume.
        shape: Shape,
        /// The lock's number if the mapper's node holds it: then the entries may be kept. None: use them once.
        fence: Option<u64>,
        /// The first block.
        first: u64,
        /// One for each block from there.
        entries: Vec<Entry>,
        /// How many blocks after these are known to be holes; there may be more.
        holes_after: u64,
        /// Whether this call changed the map, so that a flush needs a commit.
        has_changed: bool,
        /// How the own object of a shared block is named if it becomes partial now. None: it cannot.
        fresh: Option<Fresh>,
    }
    /// The numbers in the names of new blocks.
    Fresh {
        /// Id of the volume.
        owner: u64,
        /// Its generation.
        written_at: u64,
    }
    /// Result of hash.
    Hashed {
        /// SHA-256.
        hash: [u8; 32],
    }
    /// Argument of compare.
    Compare {
        /// The map to compare with.
        other: String,
    }
    /// Result of compare, in the buffer: differing byte ranges in order, from the offset asked for.
    Differences {
        /// (offset, length) in bytes.
        ranges: Vec<(u64, u64)>,
        /// Where to go on asking, if there is more.
        resume: Option<u64>,
    }
    /// Argument of attach: make a volume visible at an endpoint.
    Attach {
        /// Refuse writes.
        is_read_only: bool,
    }
    /// Result of attach; detach and attached speak of the same.
    Attached {
        /// The volume.
        volume: String,
        /// Where it is: a device, a file, a URI.
        location: String,
        /// Which endpoint: nbd, fuse, …
        via: String,
        /// Whether writes are refused.
        is_read_only: bool,
        /// How many clients use it now.
        user_count: u32,
    }
    /// Result of attached, in the buffer.
    AttachedList {
        /// In order of volume names.
        volumes: Vec<Attached>,
    }
    /// Result of collect (one step of a collection run by the mapper).
    Collected {
        /// Objects looked at.
        seen: u64,
        /// Objects deleted, or that would be.
        removed: u64,
        /// Their size in bytes, as far as known.
        removed_bytes: u64,
        /// Where to go on; none when done.
        resume: Option<Vec<u8>>,
        /// Why blocks of the original were left alone, if they were; at the end.
        spared: Option<String>,
    }
    /// Result of check (one step of looking at volumes), in the buffer.
    Checked {
        /// What is wrong.
        findings: Vec<Finding>,
        /// Objects looked at.
        seen: u64,
        /// Where to go on; none when done.
        resume: Option<Vec<u8>>,
    }
    /// Something that is wrong with a volume, or was.
    Finding {
        /// What it is, in a word that stays the same.
        kind: String,
        /// How bad it is.
        severity: Severity,
        /// The volume, or what lies where one would be.
        volume: String,
        /// The object that is wrong.
        object: String,
        /// The first block that it is about, if it is about blocks.
        first_block: Option<u64>,
        /// How many blocks from there.
        block_count: u64,
        /// For people: what is wrong.
        text: String,
        /// For people: what to do next.
        next: String,
        /// Whether it was mended.
        is_mended: bool,
    }
    /// Argument of scrub: one step of looking at everything that is at rest in a store.
    Scrub {
        /// Begin anew instead of going on where the last step of anybody ended.
        is_restart: bool,
        /// Stop before the next object when so many bytes were looked at.
        max_bytes: u64,
    }
    /// Result of scrub, in the buffer: all since the scrub began.
    Scrubbed {
        /// When it began, in milliseconds since 1970.
        begun_unix_ms: u64,
        /// How much of the store is done, in 65,536ths.
        progress: u32,
        /// Objects looked at.
        objects: u64,
        /// Bytes looked at.
        bytes: u64,
        /// Objects that agreed with their checksums.
        verified: u64,
        /// Objects that got checksums.
        summed: u64,
        /// Objects without checksums that are in use or were written lately.
        unsettled: u64,
        /// Pieces of objects that are damaged.
        damaged: u64,
        /// The first of them.
        damages: Vec<Damaged>,
    }
    /// Result of nodes, in the buffer.
    Nodes {
        /// In order of their names.
        nodes: Vec<store::Node>,
    }
    /// A piece of an object that is not what was written.
    Damaged {
        /// Name of the object.
        object: Vec<u8>,
        /// Where the piece begins, in bytes.
        offset: u64,
        /// Its length in bytes.
        size: u64,
        /// Whether the disk failed to give it at all.
        is_unreadable: bool,
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is lost; it mends itself.
    Notice,
    /// Somebody should look at it.
    Warning,
    /// Something cannot be read, or may be lost.
    Error,
}

/// A volume that is written, or a frozen one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeKind {
    /// May be written.
    Volume,
    /// Never changes.
    Snapshot,
}

/// Where a block of a volume is, as a composer needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Nowhere: reads zeros.
    Hole,
    /// An object of ours: `b.<owner>.<written_at>.<block index>`.
    Object {
        /// Id of the volume that made it.
        owner: u64,
        /// Generation it was made in.
        written_at: u64,
        /// Whether it may be written in place.
        is_writable: bool,
    },
    /// An object with a name of its own.
    Named {
        /// The object's name.
        name: Vec<u8>,
        /// Whether it may be written in place.
        is_writable: bool,
    },
    /// An object of ours that holds some pieces; the others, which are all zeros in it, are in the base.
    Partial {
        /// Id of the volume that makes it.
        owner: u64,
        /// Generation it is made in.
        written_at: u64,
        /// The object that a snapshot shares.
        base: Box<Base>,
    },
}

/// Bytes of a piece: what of a partial block is either in its own object or in its base.
pub const PIECE_BYTES: u64 = 4096;

/// Sizes of blocks that can be partial, in bytes: at least two pieces, and not more than a composer can keep track of.
pub const PARTIAL_BLOCK_BYTES: RangeInclusive<u32> = 8 << 10..=64 << 20;

/// What a partial block holds where nothing was written to its own object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// An object of ours.
    Object {
        /// Id of the volume that made it.
        owner: u64,
        /// Generation it was made in.
        written_at: u64,
    },
    /// An object with a name of its own.
    Named {
        /// The object's name.
        name: Vec<u8>,
    },
}

/// One block of a volume made from a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSource {
    /// The object; empty for a hole.
    pub name: Vec<u8>,
    /// Whether it must be copied before it is written.
    pub is_read_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_its_bytes() {
        let sent = Entries {
            shape: Shape { size_bytes: 1 << 40, block_size: 4 << 20, is_read_only: false },
            fence: Some(7),
            first: 9,
            entries: vec![
                Entry::Hole,
                Entry::Object { owner: u64::MAX, written_at: 3, is_writable: true },
                Entry::Named {
                    name: b"goldvol1_0000000000000001_0000000000000000".to_vec(),
                    is_writable: false,
                },
            ],
            holes_after: 1 << 28,
            has_changed: true,
            fresh: Some(Fresh { owner: 1, written_at: 2 }),
        };
        assert_eq!(Entries::decode(&sent.encode()), Ok(sent));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = Granted { number: 1 }.encode();
        bytes.push(0);
        assert_eq!(Granted::decode(&bytes), Err(Malformed { what: "Granted", length: 2 }));
    }

    #[test]
    fn noise_is_an_error_not_a_panic() {
        for seed in 0..=255_u8 {
            let noise: Vec<u8> =
                (0..64_u8).map(|i| seed.wrapping_mul(31).wrapping_add(i.wrapping_mul(seed))).collect();
            drop(Entries::decode(&noise));
            drop(VolumeInfo::decode(&noise));
            drop(BlockList::decode(&noise));
        }
    }
}
