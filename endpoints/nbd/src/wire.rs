//! The NBD protocol as bytes: what clients send becomes closed enums, what we say becomes bytes. No I/O, no panics.
//!
//! Layouts: the public protocol document of the NBD project, sections "Handshake", "Transmission" and "Values".

mod handshake;
mod transmission;

pub(crate) use handshake::{
    ClientFlags, ContextQuery, ExportQuery, Greeting, Haggle, Info, OptionHeader, OptionReply, Refusal,
    export_name_reply,
};
pub(crate) use transmission::{Command, CommandFlags, Errno, Extent, Request, Style, TransmissionFlags};

/// The longest string of the protocol (names, queries, messages), in bytes.
pub(crate) const STRING_MAX: usize = 4096;
/// The longest option that is read into memory, in bytes; longer ones are skipped and refused.
pub(crate) const OPTION_MAX: u32 = 64 << 10;
/// The largest payload of a request or reply, in bytes: what the protocol document says every server should take.
pub(crate) const PAYLOAD_MAX: u32 = 32 << 20;
/// The name of the only metadata context there is here.
pub(crate) const ALLOCATION_CONTEXT: &str = "base:allocation";
/// The number under which block status replies carry that context.
pub(crate) const ALLOCATION_ID: u32 = 1;

/// Bytes that are not what the protocol wants there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A magic number is wrong, so nothing after it can be understood.
    #[error("wrong magic number {0:#x}")]
    Magic(u64),
    /// The client set flags that were not offered.
    #[error("unknown client flags {0:#x}")]
    ClientFlags(u32),
    /// Data ends before its fields do, or goes on after them.
    #[error("option data of the wrong length")]
    Length,
    /// A string is longer than the protocol allows.
    #[error("string of {0} bytes, {STRING_MAX} are allowed")]
    LongString(usize),
    /// A string is not UTF-8 or contains a zero byte.
    #[error("string is not text")]
    NotText,
}

/// Reads big-endian fields from the front of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Malformed::Length)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Malformed::Length)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string with its length before it.
    fn string(&mut self) -> Result<String, Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed::Length)?;
        text(self.take(length)?)
    }

    fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Length) }
    }
}

/// The protocol's strings: UTF-8 without zero bytes.
fn text(bytes: &[u8]) -> Result<String, Malformed> {
    if bytes.len() > STRING_MAX {
        return Err(Malformed::LongString(bytes.len()));
    }
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(Malformed::NotText),
    }
}
