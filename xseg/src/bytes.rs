//! Short byte strings without an allocation: names and arguments.

use std::{fmt, ops::Deref};

use crate::abi::{ARGUMENT_BYTES, TARGET_BYTES};

/// At most `N` bytes, kept in place.
#[derive(Clone, Copy)]
pub struct ShortBytes<const N: usize> {
    len: usize,
    bytes: [u8; N],
}

/// A target name: at most 256 bytes.
pub type Name = ShortBytes<TARGET_BYTES>;
/// An argument of a request or a reply: at most 512 bytes.
pub type Argument = ShortBytes<ARGUMENT_BYTES>;

impl<const N: usize> ShortBytes<N> {
    /// Bytes that `fill` writes, `len` of them, at most `N`.
    pub(crate) fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> ShortBytes<N> {
        let mut short = ShortBytes { len: len.min(N), bytes: [0; N] };
        fill(&mut short.bytes[..len.min(N)]);
        short
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const N: usize> Deref for ShortBytes<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<const N: usize> AsRef<[u8]> for ShortBytes<N> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<const N: usize> PartialEq for ShortBytes<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl<const N: usize> Eq for ShortBytes<N> {}

impl<const N: usize> fmt::Debug for ShortBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
