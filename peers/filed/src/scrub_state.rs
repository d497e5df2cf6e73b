//! How far a scrub is, kept in the store: docs/formats.md#state-of-a-scrub.

use std::path::Path;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use store::{Damage, ScrubState};

use crate::copy::write_all;
use crate::fault::{Result, if_found};
use crate::layout::SCRUB;
use crate::root::{Birth, Root};
use crate::sums::read_whole;

/// A scrub that is under way, or the last one.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) state: ScrubState,
    /// The last file that is done in the directory where it goes on; 0 none.
    pub(crate) leaf: u64,
}

const VERSION: u32 = 1;
/// A longer file is not ours.
const BYTES_MAX: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    begun_unix_ms: u64,
    directory: u32,
    leaf: u64,
    objects: u64,
    bytes: u64,
    verified: u64,
    summed: u64,
    unsettled: u64,
    damaged: u64,
    damages: Vec<WrittenDamage>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDamage {
    object: Vec<u8>,
    offset: u64,
    size: u64,
    is_unreadable: bool,
}

impl Kept {
    pub(crate) fn begin(begun_unix_ms: u64) -> Self {
        Self { state: ScrubState { begun_unix_ms, ..ScrubState::default() }, leaf: 0 }
    }

    /// The last one's; none if there is none, or what is there makes no sense: then a scrub begins anew.
    pub(crate) fn load(root: &Root) -> Result<Option<Self>> {
        let Some(file) = if_found(root.open_file(Path::new(SCRUB), OFlags::RDONLY))? else { return Ok(None) };
        let size = Birth::of(&file)?.1.min(BYTES_MAX);
        let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
        read_whole(&file, &mut text, 0)?;
        let written = serde_json::from_slice::<Written>(&text).ok();
        Ok(written.filter(|written| written.version == VERSION).map(Self::from))
    }

    /// Keeps it. Not durably: what a loss of power takes back is looked at once more.
    pub(crate) fn save(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(&Written::from(self)).unwrap_or_default();
        let temp = root.temp()?;
        write_all(&temp.file, &text, 0)?;
        temp.rename_to(Path::new(SCRUB))
    }
}

impl From<&Kept> for Written {
    fn from(kept: &Kept) -> Self {
        let state = kept.state.clone();
        let damages = state.damages.into_iter().map(|damage| WrittenDamage {
            object: damage.object,
            offset: damage.offset,
            size: damage.size,
            is_unreadable: damage.is_unreadable,
        });
        Self {
            version: VERSION,
            begun_unix_ms: state.begun_unix_ms,
            directory: state.progress,
            leaf: kept.leaf,
            objects: state.objects,
            bytes: state.bytes,
            verified: state.verified,
            summed: state.summed,
            unsettled: state.unsettled,
            damaged: state.damaged,
            damages: damages.collect(),
        }
    }
}

impl From<Written> for Kept {
    fn from(written: Written) -> Self {
        let damages = written.damages.into_iter().take(ScrubState::DAMAGES_MAX).map(|damage| Damage {
            object: damage.object,
            offset: damage.offset,
            size: damage.size,
            is_unreadable: damage.is_unreadable,
        });
        let state = ScrubState {
            begun_unix_ms: written.begun_unix_ms,
            progress: written.directory.min(ScrubState::DONE),
            objects: written.objects,
            bytes: written.bytes,
            verified: written.verified,
            summed: written.summed,
            unsettled: written.unsettled,
            damaged: written.damaged,
            damages: damages.collect(),
        };
        Self { state, leaf: written.leaf }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_noise_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert!(Kept::load(&root).unwrap().is_none());
        let damage = Damage { object: b"a\xff".to_vec(), offset: 4096, size: 5, is_unreadable: true };
        let state =
            ScrubState { begun_unix_ms: 7, progress: 300, damages: vec![damage], ..ScrubState::default() };
        Kept { state: state.clone(), leaf: u64::MAX }.save(&root).unwrap();
        let kept = Kept::load(&root).unwrap().unwrap();
        assert_eq!((kept.state, kept.leaf), (state, u64::MAX));
        std::fs::write(directory.path().join(SCRUB), b"{\"version\":1}").unwrap();
        assert!(Kept::load(&root).unwrap().is_none());
    }
}
