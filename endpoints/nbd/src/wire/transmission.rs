//! The transmission phase: requests, and replies in the style that was agreed on.

use super::{ALLOCATION_ID, Fields, Malformed, STRING_MAX};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const CHUNK_MAGIC: u32 = 0x668e_33ef;
const EXTENDED_CHUNK_MAGIC: u32 = 0x6e8a_278c;

/// What client and server agreed that requests and replies look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    /// Short requests; replies of a fixed form, without messages.
    #[default]
    Simple,
    /// Short requests; replies in chunks where there is something to tell.
    Structured,
    /// Requests with 64-bit lengths; all replies in chunks. As drafted in the protocol's extension-ext-header.
    Extended,
}

impl Style {
    /// The length of a request without its payload, in bytes.
    pub(crate) fn request_len(self) -> usize {
        match self {
            Style::Simple | Style::Structured => 28,
            Style::Extended => 32,
        }
    }

    /// Whether replies can have chunks.
    pub(crate) fn has_chunks(self) -> bool {
        self != Style::Simple
    }
}

bitflags::bitflags! {
    /// What an export can do, as the client is told.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct TransmissionFlags: u16 {
        const HAS_FLAGS = 1;
        const READ_ONLY = 1 << 1;
        const SEND_FLUSH = 1 << 2;
        const SEND_FUA = 1 << 3;
        const SEND_TRIM = 1 << 5;
        const SEND_WRITE_ZEROES = 1 << 6;
        const SEND_DF = 1 << 7;
        const CAN_MULTI_CONN = 1 << 8;
        const SEND_FAST_ZERO = 1 << 11;
    }

    /// How a command wants to be done.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct CommandFlags: u16 {
        const FUA = 1;
        const NO_HOLE = 1 << 1;
        const DONT_FRAGMENT = 1 << 2;
        const REQ_ONE = 1 << 3;
        const FAST_ZERO = 1 << 4;
        const PAYLOAD_LEN = 1 << 5;
        /// Bits without meaning are kept, so that they can be refused with an answer.
        const _ = !0;
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    WriteZeroes,
    BlockStatus,
    Unknown(u16),
}

impl Command {
    fn from_number(number: u16) -> Command {
        match number {
            0 => Command::Read,
            1 => Command::Write,
            2 => Command::Disconnect,
            3 => Command::Flush,
            4 => Command::Trim,
            6 => Command::WriteZeroes,
            7 => Command::BlockStatus,
            unknown => Command::Unknown(unknown),
        }
    }

    /// The flags that mean something with this command; `FUA` is allowed everywhere.
    pub(crate) fn allowed_flags(self) -> CommandFlags {
        CommandFlags::FUA
            | match self {
                Command::Read => CommandFlags::DONT_FRAGMENT,
                Command::WriteZeroes => CommandFlags::NO_HOLE | CommandFlags::FAST_ZERO,
                Command::BlockStatus => CommandFlags::REQ_ONE,
                Command::Write
                | Command::Disconnect
                | Command::Flush
                | Command::Trim
                | Command::Unknown(_) => CommandFlags::empty(),
            }
    }

    /// Whether it changes the export.
    pub(crate) fn is_write(self) -> bool {
        matches!(self, Command::Write | Command::Trim | Command::WriteZeroes)
    }
}

/// One request without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) flags: CommandFlags,
    pub(crate) command: Command,
    /// What the client recognises the reply by; any value.
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// How many bytes of payload follow, whatever the command makes of them.
    pub(crate) payload: u64,
}

impl Request {
    /// The request in `style.request_len()` bytes.
    pub(crate) fn decode(style: Style, bytes: &[u8]) -> Result<Request, Malformed> {
        let mut fields = Fields(bytes);
        let (found, wanted) = (fields.u32()?, style.request_magic());
        if found != wanted {
            return Err(Malformed::Magic(found.into()));
        }
        let mut flags = CommandFlags::from_bits_retain(fields.u16()?);
        let command = Command::from_number(fields.u16()?);
        let (cookie, offset) = (fields.u64()?, fields.u64()?);
        let length = if style == Style::Extended { fields.u64()? } else { fields.u32()?.into() };
        let mut has_payload = command == Command::Write;
        if style == Style::Extended {
            // A write is to carry the flag, but qemu 10 leaves it out and sends the payload all the same.
            has_payload |= flags.contains(CommandFlags::PAYLOAD_LEN);
            flags.set(CommandFlags::PAYLOAD_LEN, has_payload && command != Command::Write);
        }
        Ok(Request { flags, command, cookie, offset, length, payload: if has_payload { length } else { 0 } })
    }

    /// The first byte after the range; none if it does not fit in 64 bits.
    pub(crate) fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }
}

impl Style {
    fn request_magic(self) -> u32 {
        match self {
            Style::Simple | Style::Structured => REQUEST_MAGIC,
            Style::Extended => EXTENDED_REQUEST_MAGIC,
        }
    }
}

/// The errors that the protocol knows, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Errno {
    NotPermitted = 1,
    InputOutput = 5,
    Invalid = 22,
    NoSpace = 28,
    Overflow = 75,
    NotSupported = 95,
    ShuttingDown = 108,
}

/// What a chunk is, by its number.
#[derive(Clone, Copy)]
#[repr(u16)]
enum ChunkKind {
    None = 0,
    OffsetData = 1,
    BlockStatus = 5,
    BlockStatusExtended = 6,
    Error = (1 << 15) + 1,
}

/// A reply without structure: a read's data follow it if `error` is none.
fn simple_reply(out: &mut Vec<u8>, cookie: u64, error: Option<Errno>) {
    out.extend(SIMPLE_REPLY_MAGIC.to_be_bytes());
    out.extend(error.map_or(0, |errno| errno as u32).to_be_bytes());
    out.extend(cookie.to_be_bytes());
}

/// Writes replies in one style.
impl Style {
    fn chunk_header(
        self,
        out: &mut Vec<u8>,
        request: &Request,
        kind: ChunkKind,
        is_last: bool,
        length: usize,
    ) {
        let length = u32::try_from(length).expect("a chunk is at most the largest payload and its fields");
        let magic = if self == Style::Extended { EXTENDED_CHUNK_MAGIC } else { CHUNK_MAGIC };
        out.extend(magic.to_be_bytes());
        out.extend(u16::from(is_last).to_be_bytes());
        out.extend((kind as u16).to_be_bytes());
        out.extend(request.cookie.to_be_bytes());
        if self == Style::Extended {
            out.extend(request.offset.to_be_bytes());
            out.extend(u64::from(length).to_be_bytes());
        } else {
            out.extend(length.to_be_bytes());
        }
    }

    /// The whole reply to a request that was done and has nothing to tell.
    pub(crate) fn done(self, out: &mut Vec<u8>, request: &Request) {
        match self {
            Style::Structured if request.command == Command::Read => {
                self.chunk_header(out, request, ChunkKind::None, true, 0);
            }
            Style::Simple | Style::Structured => simple_reply(out, request.cookie, None),
            Style::Extended => self.chunk_header(out, request, ChunkKind::None, true, 0),
        }
    }

    /// What precedes the `length` bytes that were read.
    pub(crate) fn data_header(self, out: &mut Vec<u8>, request: &Request, length: usize) {
        match self {
            Style::Simple => simple_reply(out, request.cookie, None),
            Style::Structured | Style::Extended => {
                self.chunk_header(out, request, ChunkKind::OffsetData, true, 8 + length);
                out.extend(request.offset.to_be_bytes());
            }
        }
    }

    /// The whole reply to a request that failed.
    pub(crate) fn error(self, out: &mut Vec<u8>, request: &Request, errno: Errno, message: &str) {
        if self == Style::Simple {
            return simple_reply(out, request.cookie, Some(errno));
        }
        let message = &message[..message.floor_char_boundary(STRING_MAX)];
        self.chunk_header(out, request, ChunkKind::Error, true, 6 + message.len());
        out.extend((errno as u32).to_be_bytes());
        out.extend(u16::try_from(message.len()).expect("cut to 4096 bytes").to_be_bytes());
        out.extend(message.as_bytes());
    }

    /// The whole reply to a block status request.
    pub(crate) fn block_status(self, out: &mut Vec<u8>, request: &Request, extents: &[Extent]) {
        const HOLE_AND_ZERO: u32 = 3;
        let state = |extent: &Extent| if extent.is_data { 0 } else { HOLE_AND_ZERO };
        if self == Style::Extended {
            self.chunk_header(out, request, ChunkKind::BlockStatusExtended, true, 8 + 16 * extents.len());
            out.extend(ALLOCATION_ID.to_be_bytes());
            out.extend(u32::try_from(extents.len()).expect("extents are bounded").to_be_bytes());
            for extent in extents {
                out.extend(extent.length.to_be_bytes());
                out.extend(u64::from(state(extent)).to_be_bytes());
            }
        } else {
            self.chunk_header(out, request, ChunkKind::BlockStatus, true, 4 + 8 * extents.len());
            out.extend(ALLOCATION_ID.to_be_bytes());
            for extent in extents {
                let length = u32::try_from(extent.length).expect("within a request with a 32-bit length");
                out.extend(length.to_be_bytes());
                out.extend(state(extent).to_be_bytes());
            }
        }
    }
}

/// A range that is all data or all hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) length: u64,
    pub(crate) is_data: bool,
}

#[cfg(test)]
mod tests;
