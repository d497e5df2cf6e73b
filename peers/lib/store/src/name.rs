//! Names of objects.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The name of an object, lock or volume: 1 to 256 bytes of any value, kept inline.
#[derive(Clone)]
pub struct ObjectName {
    len: u16,
    bytes: [u8; ObjectName::MAX_LEN],
}

/// What is wrong with bytes that should be an object's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name has at least one byte.
    #[error("name is empty")]
    Empty,
    /// A name has at most [`ObjectName::MAX_LEN`] bytes.
    #[error("name of {len} bytes is longer than {} bytes", ObjectName::MAX_LEN)]
    TooLong {
        /// Length of the refused name, in bytes.
        len: usize,
    },
}

impl ObjectName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Checks and copies a name.
    ///
    /// # Errors
    /// [`NameError`] if it is empty or longer than 256 bytes.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        let too_long = NameError::TooLong { len: name.len() };
        let len = u16::try_from(name.len()).map_err(|_| too_long)?;
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..name.len()).ok_or(too_long)?.copy_from_slice(name);
        Ok(Self { len, bytes })
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for ObjectName {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Borrow<[u8]> for ObjectName {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl TryFrom<&[u8]> for ObjectName {
    type Error = NameError;
    fn try_from(name: &[u8]) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for ObjectName {
    type Error = NameError;
    fn try_from(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl PartialEq for ObjectName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ObjectName {}

impl PartialOrd for ObjectName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for ObjectName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// Printable bytes as they are, others escaped, so that a name never breaks a line of a log.
impl fmt::Display for ObjectName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    #[test]
    fn names_of_1_and_256_bytes_are_kept_and_0_and_257_are_refused() {
        assert_eq!(ObjectName::new("a").unwrap().as_bytes(), b"a");
        assert_eq!(ObjectName::new([0xff; 256]).unwrap().as_bytes(), [0xff; 256]);
        assert_eq!(ObjectName::new("").unwrap_err(), NameError::Empty);
        assert_eq!(ObjectName::new([b'a'; 257]).unwrap_err(), NameError::TooLong { len: 257 });
        assert_eq!(ObjectName::new(vec![b'a'; 70_000]).unwrap_err(), NameError::TooLong { len: 70_000 });
    }

    #[test]
    fn names_sort_by_bytes_and_a_prefix_comes_first() {
        let names: BTreeSet<_> = [&b"b"[..], b"ab", b"a", b"a\0"].map(|n| ObjectName::new(n).unwrap()).into();
        let order: Vec<_> = names.iter().map(ObjectName::as_bytes).collect();
        assert_eq!(order, [&b"a"[..], b"a\0", b"ab", b"b"]);
    }

    #[test]
    fn a_map_finds_a_name_by_its_bytes() {
        let map = HashMap::from([(ObjectName::new("disk").unwrap(), 1)]);
        assert_eq!(map.get(&b"disk"[..]), Some(&1));
    }

    #[test]
    fn bytes_that_do_not_print_are_escaped() {
        assert_eq!(ObjectName::new(b"a\n/\xff").unwrap().to_string(), "a\\n/\\xff");
    }
}
