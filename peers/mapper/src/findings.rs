//! What a check finds, in words.

use protocol::{Failure, Finding, Severity};
use volume::{BlockIndex, FormatError, MAGIC, ObjectName, ROOT_BYTES, VolumeError};

use crate::census::LOCK_BYTES_MAX;

/// Findings after which a step ends.
const FULL: usize = 64;
/// The longest text of a finding, in bytes: the answer has to fit.
const TEXT_MAX: usize = 600;

/// What a step found.
pub(crate) struct Findings {
    pub(crate) found: Vec<Finding>,
    /// Objects that were looked at.
    pub(crate) seen: u64,
    /// Whether to mend what can lose nothing.
    pub(crate) mends: bool,
}

/// A finding of a volume as a whole.
fn finding(kind: &str, severity: Severity, object: &ObjectName, text: String, next: String) -> Finding {
    Finding {
        kind: kind.to_owned(),
        severity,
        volume: object.as_str().to_owned(),
        object: object.as_str().to_owned(),
        first_block: None,
        block_count: 0,
        text: crate::asked::cut(text, TEXT_MAX),
        next,
        is_mended: false,
    }
}

impl Findings {
    pub(crate) fn new(mends: bool) -> Findings {
        Findings { found: Vec::new(), seen: 0, mends }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= FULL
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        self.found.push(finding);
    }

    pub(crate) fn strange_name(&mut self, name: &[u8]) {
        let object = ObjectName::new(name.escape_ascii().to_string().chars().take(64).collect::<String>());
        let Some(object) = object else { return };
        let text = "no volume and no part of a map has such a name".to_owned();
        let next = "find out whose it is; nothing here uses it".to_owned();
        self.add(finding("name-unknown", Severity::Warning, &object, text, next));
    }

    pub(crate) fn unreadable_map(
        &mut self,
        object: &ObjectName,
        bytes: &[u8],
        size: u64,
        error: &FormatError,
    ) {
        let has_magic = bytes.starts_with(&MAGIC);
        if !has_magic && size <= LOCK_BYTES_MAX && object.as_str().ends_with("_lock") {
            // A lock file of the original.
            return;
        }
        let is_short = usize::try_from(size).is_ok_and(|size| size <= ROOT_BYTES);
        self.add(if has_magic || is_short {
            let next = format!("put back a copy of the object, or `vlmc remove {object} --force`");
            finding(
                "map-unreadable",
                Severity::Error,
                object,
                format!("the map cannot be read: {error}"),
                next,
            )
        } else {
            let text = "this is a map of version 0, or none at all".to_owned();
            let next = format!("`vlmc update {object} --assume-v0 --v0-size SIZE` if it is one");
            finding("map-unknown", Severity::Warning, object, text, next)
        });
    }

    pub(crate) fn odd_name(&mut self, name: &ObjectName, error: &VolumeError) {
        let next = format!("`vlmc rename {name} NEW`");
        self.add(finding("name-odd", Severity::Notice, name, error.to_string(), next));
    }

    pub(crate) fn unreserved_id(&mut self, name: &ObjectName, id: &ObjectName, is_mended: bool) {
        let text = format!("{id}, which keeps the volume's id from being given away, is missing");
        let found = finding("id-unreserved", Severity::Error, name, text, "--repair puts it back".to_owned());
        self.add(Finding { object: id.as_str().to_owned(), is_mended, ..found });
    }

    pub(crate) fn unreadable_lock(&mut self, name: &ObjectName, failure: &Failure) {
        let text = format!("nobody can tell who holds the lock: {}", failure.message);
        let next = format!("make sure that no node uses {name}, then `vlmc unlock -f {name}`");
        self.add(finding("lock-unreadable", Severity::Error, name, text, next));
    }

    pub(crate) fn unfinished_rename(&mut self, name: &ObjectName, to: &ObjectName, is_mended: bool) {
        let text = format!("its rename to {to} was not finished: it is found there alone");
        let found =
            finding("rename-unfinished", Severity::Notice, name, text, "--repair finishes it".to_owned());
        self.add(Finding { is_mended, ..found });
    }

    pub(crate) fn unclosed_session(&mut self, name: &ObjectName, is_mended: bool) {
        let text = "its last session ended badly, and what it changed is in its logs alone".to_owned();
        let next = "the next write replays them, or --repair".to_owned();
        let found = finding("session-unclosed", Severity::Notice, name, text, next);
        self.add(Finding { is_mended, ..found });
    }

    pub(crate) fn too_busy(&mut self, name: &ObjectName) {
        let text = "it changed too fast to be looked at whole".to_owned();
        self.add(finding("not-checked", Severity::Warning, name, text, "check it again".to_owned()));
    }
}

/// A log that cannot be read.
pub(crate) fn damaged_log(volume: &ObjectName, failure: &Failure) -> Finding {
    let text = format!("what was changed last cannot be read: {}", failure.message);
    let next = "put back a copy of the log, or restore the volume from a backup".to_owned();
    finding("log-damaged", Severity::Error, volume, text, next)
}

/// A node or table that cannot be read.
pub(crate) fn wrong_node(
    volume: &ObjectName,
    object: &ObjectName,
    (first, count): (u64, u64),
    failure: &Failure,
) -> Finding {
    let kind = if failure.kind == protocol::ErrorKind::NotFound { "node-missing" } else { "node-damaged" };
    let text = format!("a part of the map cannot be read: {}", failure.message);
    let next = "put back a copy of the object, or restore the volume from a backup".to_owned();
    let found = finding(kind, Severity::Error, volume, text, next);
    Finding { object: object.as_str().to_owned(), first_block: Some(first), block_count: count, ..found }
}

/// Blocks that a log names and the root leaves to collections, in one finding.
pub(crate) fn unprotected_blocks(
    volume: &ObjectName,
    blocks: Vec<(BlockIndex, ObjectName)>,
) -> Option<Finding> {
    let text =
        format!("a log alone names {} of these blocks, and a collection would take them", blocks.len());
    let next = "run no `archipelago gc` before --repair, or a write, has put them into the tree".to_owned();
    of_blocks(finding("block-unprotected", Severity::Error, volume, text, next), blocks)
}

/// Blocks that a leaf or logs name and that are not there, in one finding.
pub(crate) fn missing_blocks(volume: &ObjectName, blocks: Vec<(BlockIndex, ObjectName)>) -> Option<Finding> {
    let text = format!("{} of these blocks are missing: reading them fails", blocks.len());
    let next = "put back copies of the objects, or restore the volume from a backup".to_owned();
    of_blocks(finding("block-missing", Severity::Error, volume, text, next), blocks)
}

/// Blocks that are longer than a block is, in one finding.
pub(crate) fn long_blocks(
    volume: &ObjectName,
    blocks: Vec<(BlockIndex, ObjectName)>,
    block_size: u64,
) -> Option<Finding> {
    let text = format!("{} of these blocks are longer than {block_size} bytes", blocks.len());
    let next = "nothing reads what is beyond; find out who wrote it".to_owned();
    of_blocks(finding("block-too-long", Severity::Warning, volume, text, next), blocks)
}

fn of_blocks(found: Finding, mut blocks: Vec<(BlockIndex, ObjectName)>) -> Option<Finding> {
    blocks.sort();
    let (first, object) = blocks.first()?.clone();
    let (last, _) = blocks.last()?;
    let block_count = last.0 - first.0 + 1;
    Some(Finding { object: object.into(), first_block: Some(first.0), block_count, ..found })
}
