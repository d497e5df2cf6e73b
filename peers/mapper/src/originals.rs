//! What a census knows of the original's volumes, and so of its blocks.

use std::collections::BTreeMap;

use volume::{Header, LegacyMap, ObjectName, ParsedName, RequestId};

use crate::loading::FORMER_PREFIX;

/// Digits of the content address that the blocks of version 1 are named after.
const HASH_DIGITS: usize = 64;

/// The original's maps at one moment.
#[derive(Debug, Default)]
pub(crate) struct Originals {
    /// Those that are read in place.
    maps: Vec<LegacyMap>,
    /// Volumes that are or were the original's, by the object of their map, each with the first epoch whose blocks may be
    /// about to be used.
    known: BTreeMap<String, u64>,
    /// An object that may be a map and cannot be read as one.
    unreadable: Option<ObjectName>,
}

impl Originals {
    /// Notes what lies under a name.
    pub(crate) fn add(&mut self, name: &ObjectName, header: &Header) {
        let first_unused = match header {
            // The original refuses to write here.
            Header::Root(root) if is_upgraded(root) => u64::MAX,
            Header::Root(_) => return,
            Header::Legacy(map) if map.root.state.is_live() => {
                if !self.maps.contains(map) {
                    self.maps.push(map.clone());
                }
                map.root.generation.0
            }
            // A volume that is made anew goes on at the next epoch.
            Header::Legacy(map) => map.root.generation.0.saturating_add(1),
        };
        let known = self.known.entry(name.as_str().to_owned()).or_insert(u64::MAX);
        *known = (*known).min(first_unused);
    }

    /// Notes an object that may be a map, of version 0 for one.
    pub(crate) fn add_unreadable(&mut self, name: &ObjectName) {
        self.unreadable.get_or_insert_with(|| name.clone());
    }

    /// Why nothing of the original may be deleted, if so.
    pub(crate) fn veto(&self) -> Option<String> {
        let name = self.unreadable.as_ref()?;
        Some(format!("{name} is a map of version 0 or cannot be read, so nobody knows which it uses"))
    }

    /// The maps that may refer to blocks.
    pub(crate) fn maps(&self) -> &[LegacyMap] {
        &self.maps
    }

    /// Whether there is or was any volume of the original.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether an object can be nothing but a block of the original that is not about to be used: garbage, unless a map
    /// refers to it.
    pub(crate) fn may_be_garbage(&self, name: &str) -> bool {
        match ParsedName::parse(name) {
            ParsedName::LegacyBlock { volume, epoch, .. } => {
                // The name before version 0.4 and the proper one are of one volume.
                let proper = volume.strip_prefix(FORMER_PREFIX).unwrap_or(&volume);
                let former = format!("{FORMER_PREFIX}{proper}");
                let mut owners =
                    [proper, &former].into_iter().filter_map(|owner| self.known.get(owner)).peekable();
                owners.peek().is_some() && owners.all(|first_unused| epoch < *first_unused)
            }
            ParsedName::Other => is_of_version_1(name) && !self.is_empty(),
            _ => false,
        }
    }
}

/// Whether a name is that of a private block of version 1: it does not say whose.
pub(crate) fn is_of_version_1(name: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let hash = name.strip_prefix(FORMER_PREFIX);
    hash.is_some_and(|hash| hash.len() == HASH_DIGITS && hash.bytes().all(is_digit))
}

/// No request of ours made it.
fn is_upgraded(root: &volume::Root) -> bool {
    root.created_by == RequestId::default() && root.created_unix_ms == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32, flags: u32, epoch: u64) -> Header {
        let mut bytes = b"AMF.".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(4096_u64.to_be_bytes());
        bytes.extend(4096_u32.to_be_bytes());
        bytes.extend(flags.to_be_bytes());
        bytes.extend(epoch.to_be_bytes());
        Header::decode(&ObjectName::new("volume").unwrap(), &bytes, None).unwrap()
    }

    fn with(name: &str, flags: u32, epoch: u64) -> Originals {
        let mut originals = Originals::default();
        originals.add(&ObjectName::new(name).unwrap(), &header(2, flags, epoch));
        originals
    }

    fn block(volume: &str, epoch: u64) -> String {
        format!("{volume}_{epoch:016x}_{:016x}", 7)
    }

    #[test]
    fn only_blocks_of_known_volumes_and_former_epochs_may_be_garbage() {
        let originals = with("volume", 0, 3);
        assert!(originals.may_be_garbage(&block("volume", 2)));
        assert!(originals.may_be_garbage(&block("archip_volume", 2)));
        assert!(!originals.may_be_garbage(&block("volume", 3)));
        assert!(!originals.may_be_garbage(&block("another", 1)));
        assert!(with("volume", 2, 3).may_be_garbage(&block("volume", 3)));
        assert!(with("archip_volume", 2, 3).may_be_garbage(&block("volume", 3)));
        assert!(!Originals::default().may_be_garbage(&block("volume", 0)));
    }

    #[test]
    fn names_of_strangers_are_never_garbage() {
        let originals = with("volume", 0, 3);
        let hash = "0123456789abcdef".repeat(4);
        assert!(originals.may_be_garbage(&format!("archip_{hash}")));
        for name in [
            hash.as_str(),
            volume::ZERO_BLOCK,
            &format!("archip_{}", hash.to_uppercase()),
            &format!("archip_{hash}0"),
            "volume",
            "archip_volume",
            "volume_0000000000000002",
            "volume_0000000000000002_00000000000000ZZ",
            "b.0000000000000001.0000000000000001.0000000000000001",
            "photo.jpg",
        ] {
            assert!(!originals.may_be_garbage(name), "{name}");
        }
        assert!(!Originals::default().may_be_garbage(&format!("archip_{hash}")));
    }
}
