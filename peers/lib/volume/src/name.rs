//! Names and numbers of volumes and of the objects they are made of.

use std::fmt;

use crate::error::VolumeError;

/// Shortest volume name, in bytes.
pub const VOLUME_NAME_MIN: usize = 6;
/// Longest volume name, in bytes: leaves room for prefixes and lock names, as in the original.
pub const VOLUME_NAME_MAX: usize = 82;
/// Longest object name, in bytes.
pub const OBJECT_NAME_MAX: usize = 256;

/// Which volume: drawn once, reserved by its id object, never given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VolumeId(pub u64);

/// Counts what may not be confused in a volume: snapshots, punches, renames, sessions that ended badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// A block's place in its volume, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlockIndex(pub u64);

/// Counts the checkpoints of a volume: names of nodes written by one are those of no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Checkpoint(pub u64);

/// Counts the logs of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogSequence(pub u64);

/// The name of a volume, checked against the rules in docs/formats.md.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

impl VolumeName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`VolumeError::Name`] says which rule it breaks.
    pub fn new(name: &str) -> Result<Self, VolumeError> {
        match broken_rule(name) {
            None => Ok(Self(name.to_owned())),
            Some(rule) => Err(VolumeError::Name { name: name.to_owned(), rule }),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for VolumeName {
    type Err = VolumeError;
    fn from_str(name: &str) -> Result<Self, VolumeError> {
        Self::new(name)
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    let rules = [
        (name.len() < VOLUME_NAME_MIN, "it needs at least 6 bytes"),
        (name.len() > VOLUME_NAME_MAX, "it may have at most 82 bytes"),
        (name.chars().any(char::is_control), "it contains a control character"),
        (
            name.chars().any(is_invisible),
            "it contains a character that is not seen, or turns the direction of writing",
        ),
        (name.contains('/'), "it contains a slash"),
        (name.starts_with("archip_"), "it starts with archip_"),
        (name.ends_with("_lock"), "it ends with _lock"),
        (looks_like_block(name), "it contains _ and 16 hexadecimal digits"),
        (looks_like_ours(name), "it looks like the name of a block, node, log or id"),
    ];
    rules.into_iter().find_map(|(broken, rule)| broken.then_some(rule))
}

/// Format characters and separators of lines: a name with them looks like another one.
fn is_invisible(found: char) -> bool {
    matches!(found,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn looks_like_block(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.windows(17).any(|w| w[0] == b'_' && w[1..].iter().all(u8::is_ascii_hexdigit))
}

fn looks_like_ours(name: &str) -> bool {
    let Some((head, tail)) = name.split_once('.') else { return false };
    matches!(head, "b" | "n" | "l" | "i")
        && tail.len() >= 16
        && tail.bytes().take(16).all(|byte| byte.is_ascii_hexdigit())
}

/// The name of an object in a store: 1 to 256 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// Takes `name` if its length is that of an object name.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        (1..=OBJECT_NAME_MAX).contains(&name.len()).then_some(Self(name))
    }

    /// The name of the block that volume `owner` allocated at `index` in `written_at`.
    pub fn block(owner: VolumeId, written_at: Generation, index: BlockIndex) -> Self {
        Self(format!("b.{:016x}.{:016x}.{:016x}", owner.0, written_at.0, index.0))
    }

    /// The name of the map node that volume `owner` wrote in `checkpoint`.
    pub fn node(owner: VolumeId, checkpoint: Checkpoint, level: u8, index: u64) -> Self {
        Self(format!("n.{:016x}.{:016x}.{level:02x}.{index:016x}", owner.0, checkpoint.0))
    }

    /// The name of a log of volume `owner`.
    pub fn log(owner: VolumeId, sequence: LogSequence) -> Self {
        Self(format!("l.{:016x}.{:016x}", owner.0, sequence.0))
    }

    /// The name of the object that reserves a volume's id.
    pub fn id(id: VolumeId) -> Self {
        Self(format!("i.{:016x}", id.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&VolumeName> for ObjectName {
    fn from(name: &VolumeName) -> Self {
        Self(name.0.clone())
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.0
    }
}

/// What an object's name says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedName {
    /// A block of ours.
    Block {
        /// The volume that allocated it.
        owner: VolumeId,
        /// The generation in which it did.
        written_at: Generation,
        /// Where in the volume.
        index: BlockIndex,
    },
    /// A node of a map.
    Node {
        /// The volume that wrote it.
        owner: VolumeId,
        /// The checkpoint in which it did.
        checkpoint: Checkpoint,
        /// 0 is a leaf.
        level: u8,
        /// The node's place in its level.
        index: u64,
    },
    /// A log of a map.
    Log {
        /// The volume whose changes it holds.
        owner: VolumeId,
        /// Which of its logs.
        sequence: LogSequence,
    },
    /// The reservation of an id.
    Id(VolumeId),
    /// A block that the original allocated: `VOL_<epoch>_<index>`.
    LegacyBlock {
        /// The volume's name when it was allocated.
        volume: String,
        /// The original's generation.
        epoch: u64,
        /// Where in the volume.
        index: u64,
    },
    /// A block table of the original: `VOL_<index>`.
    LegacyTable {
        /// The volume's name.
        volume: String,
        /// Which of its tables.
        index: u64,
    },
    /// Anything else: a root, a content address, a stranger.
    Other,
}

impl ParsedName {
    /// Reads an object's name; never fails, what is not understood is `Other`.
    pub fn parse(name: &str) -> Self {
        parse_ours(name).or_else(|| parse_legacy(name)).unwrap_or(Self::Other)
    }
}

fn parse_ours(name: &str) -> Option<ParsedName> {
    let mut parts = name.split('.');
    let kind = parts.next()?;
    let fields: Vec<u64> = parts
        .map(|part| match part.len() {
            16 | 2 => hexadecimal(part),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let parsed = match (kind, fields.as_slice()) {
        ("b", &[owner, written_at, index]) => ParsedName::Block {
            owner: VolumeId(owner),
            written_at: Generation(written_at),
            index: BlockIndex(index),
        },
        ("n", &[owner, checkpoint, level, index]) => ParsedName::Node {
            owner: VolumeId(owner),
            checkpoint: Checkpoint(checkpoint),
            level: u8::try_from(level).ok()?,
            index,
        },
        ("l", &[owner, sequence]) => {
            ParsedName::Log { owner: VolumeId(owner), sequence: LogSequence(sequence) }
        }
        ("i", &[id]) => ParsedName::Id(VolumeId(id)),
        _ => return None,
    };
    // Two fields differ in width: only the one spelling that the builders give counts.
    (parsed.spelling().as_deref() == Some(name)).then_some(parsed)
}

impl ParsedName {
    fn spelling(&self) -> Option<String> {
        let name = match *self {
            Self::Block { owner, written_at, index } => ObjectName::block(owner, written_at, index),
            Self::Node { owner, checkpoint, level, index } => {
                ObjectName::node(owner, checkpoint, level, index)
            }
            Self::Log { owner, sequence } => ObjectName::log(owner, sequence),
            Self::Id(id) => ObjectName::id(id),
            Self::LegacyBlock { .. } | Self::LegacyTable { .. } | Self::Other => return None,
        };
        Some(name.0)
    }
}

fn parse_legacy(name: &str) -> Option<ParsedName> {
    let (head, last) = split_number(name)?;
    Some(match split_number(head) {
        Some((volume, epoch)) => ParsedName::LegacyBlock { volume: volume.to_owned(), epoch, index: last },
        None => ParsedName::LegacyTable { volume: head.to_owned(), index: last },
    })
}

/// Cuts `_` and 16 hexadecimal digits off the end.
fn split_number(name: &str) -> Option<(&str, u64)> {
    let (head, digits) = name.rsplit_once('_')?;
    (digits.len() == 16 && !head.is_empty()).then_some(())?;
    Some((head, hexadecimal(digits)?))
}

/// Lower-case digits only: a name has one spelling.
fn hexadecimal(digits: &str) -> Option<u64> {
    digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(())?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> &'static str {
        match VolumeName::new(name) {
            Err(VolumeError::Name { rule, .. }) => rule,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn volume_names_keep_the_rules_of_the_original() {
        assert!(VolumeName::new("golden").is_ok());
        assert!(VolumeName::new(&"a".repeat(82)).is_ok());
        assert!(VolumeName::new("disk.0123").is_ok());
        assert!(rule("five5").contains("at least 6"));
        assert!(rule(&"a".repeat(83)).contains("at most 82"));
        assert!(rule("archip_volume").contains("archip_"));
        assert!(rule("volume_lock").contains("_lock"));
        assert!(rule("../../etc").contains("slash"));
        assert!(rule("vol\nume").contains("control"));
        for name in
            ["vol\u{202e}emu", "vol\u{200b}ume", "volume\u{feff}", "vol\u{2028}ume", "volume\u{e0041}"]
        {
            assert!(rule(name).contains("not seen"), "{name:?}");
        }
        assert!(VolumeName::new("δίσκος-1").is_ok());
        assert!(rule("vol_0123456789abcDEF_").contains("16 hex"));
        assert!(rule("b.0123456789abcdef").contains("looks like"));
    }

    #[test]
    fn names_of_objects_are_read_back() {
        let (id, at, index) = (VolumeId(7), Generation(3), BlockIndex(u64::MAX));
        assert_eq!(
            ParsedName::parse(ObjectName::block(id, at, index).as_str()),
            ParsedName::Block { owner: id, written_at: at, index }
        );
        assert_eq!(
            ParsedName::parse(ObjectName::node(id, Checkpoint(9), 2, 5).as_str()),
            ParsedName::Node { owner: id, checkpoint: Checkpoint(9), level: 2, index: 5 }
        );
        assert_eq!(
            ParsedName::parse(ObjectName::log(id, LogSequence(1)).as_str()),
            ParsedName::Log { owner: id, sequence: LogSequence(1) }
        );
        assert_eq!(ParsedName::parse(ObjectName::id(id).as_str()), ParsedName::Id(id));
    }

    #[test]
    fn names_of_the_original_are_told_apart() {
        assert_eq!(
            ParsedName::parse("goldvol1_0000000000000002_000000000000000f"),
            ParsedName::LegacyBlock { volume: "goldvol1".into(), epoch: 2, index: 15 }
        );
        assert_eq!(
            ParsedName::parse("goldvol1_0000000000000002"),
            ParsedName::LegacyTable { volume: "goldvol1".into(), index: 2 }
        );
    }

    #[test]
    fn what_is_not_spelled_exactly_is_something_else() {
        for name in [
            "",
            "golden",
            "b.7.3.1",
            "i.00",
            "n.0000000000000001.0000000000000001.0000000000000001.0000000000000001",
            "b.000000000000000A.0000000000000001.0000000000000001",
            "_0000000000000002",
            "archip_0123",
        ] {
            assert_eq!(ParsedName::parse(name), ParsedName::Other, "{name}");
        }
    }
}
