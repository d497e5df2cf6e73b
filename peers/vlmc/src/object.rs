//! Which object holds a block.

use protocol::{Base, Entry};

/// An object in the store of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// One of ours, named by numbers.
    Ours { owner: u64, written_at: u64, index: u64 },
    /// One with a name of its own.
    Named(Box<[u8]>),
}

/// What a map says about a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It reads zeros.
    Hole,
    /// It is in this object.
    At { object: Object, is_writable: bool },
    /// What was written since a snapshot is in one object, the rest in another.
    Partial { object: Object, base: Object },
}

/// Length of the name of an object of ours, in bytes: `b.` and three numbers of 16 digits with dots between them.
const OURS_BYTES: usize = 52;

impl Object {
    /// Gives `use_name` the object's name, without an allocation.
    pub(crate) fn with_name<T>(&self, use_name: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Object::Named(name) => use_name(name),
            Object::Ours { owner, written_at, index } => {
                let mut name = [b'.'; OURS_BYTES];
                name[0] = b'b';
                for (number, at) in [(owner, 2), (written_at, 19), (index, 36)] {
                    spell(*number, &mut name[at..at + 16]);
                }
                use_name(&name)
            }
        }
    }

    fn of(base: &Base, index: u64) -> Object {
        match base {
            Base::Object { owner, written_at } => {
                Object::Ours { owner: *owner, written_at: *written_at, index }
            }
            Base::Named { name } => Object::Named(name.as_slice().into()),
        }
    }

    /// The name as people read it.
    pub(crate) fn display(&self) -> String {
        self.with_name(|name| name.escape_ascii().to_string())
    }
}

/// Sixteen hexadecimal digits.
fn spell(number: u64, digits: &mut [u8]) {
    for (position, digit) in digits.iter_mut().rev().enumerate() {
        let nibble = (number >> (4 * position)) & 0xf;
        *digit = b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)];
    }
}

impl Place {
    /// What this entry says about the block with this index.
    pub(crate) fn of(entry: &Entry, index: u64) -> Place {
        match entry {
            Entry::Hole => Place::Hole,
            Entry::Object { owner, written_at, is_writable } => {
                let object = Object::Ours { owner: *owner, written_at: *written_at, index };
                Place::At { object, is_writable: *is_writable }
            }
            Entry::Named { name, is_writable } => {
                let object = Object::Named(name.as_slice().into());
                Place::At { object, is_writable: *is_writable }
            }
            Entry::Partial { owner, written_at, base } => {
                let object = Object::Ours { owner: *owner, written_at: *written_at, index };
                Place::Partial { object, base: Object::of(base, index) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use volume::{BlockIndex, Generation, ObjectName, VolumeId};

    use super::*;

    #[test]
    fn names_are_those_that_the_map_format_gives() {
        for (owner, written_at, index) in [(0, 0, 0), (u64::MAX, 1 << 20, 0x0123_4567_89ab_cdef)] {
            let name = ObjectName::block(VolumeId(owner), Generation(written_at), BlockIndex(index));
            let object = Object::Ours { owner, written_at, index };
            object.with_name(|spelled| assert_eq!(spelled, name.as_bytes()));
        }
    }
}
