//! The transmission phase: requests, simple replies, structured reply chunks.

use super::{ALLOCATION_ID, Fields, Malformed, STRING_MAX};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// The length of a request without its payload, in bytes.
pub(crate) const REQUEST_LEN: usize = 28;

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
    pub(crate) length: u32,
}

impl Request {
    pub(crate) fn decode(bytes: &[u8; REQUEST_LEN]) -> Result<Request, Malformed> {
        let mut fields = Fields(bytes);
        let magic = fields.u32()?;
        if magic != REQUEST_MAGIC {
            return Err(Malformed::Magic(magic.into()));
        }
        Ok(Request {
            flags: CommandFlags::from_bits_retain(fields.u16()?),
            command: Command::from_number(fields.u16()?),
            cookie: fields.u64()?,
            offset: fields.u64()?,
            length: fields.u32()?,
        })
    }

    /// The first byte after the range; none if it does not fit in 64 bits.
    pub(crate) fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.length.into())
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
    Error = (1 << 15) + 1,
}

/// A reply without structure: a read's data follow it if `error` is none.
pub(crate) fn simple_reply(out: &mut Vec<u8>, cookie: u64, error: Option<Errno>) {
    out.extend(SIMPLE_REPLY_MAGIC.to_be_bytes());
    out.extend(error.map_or(0, |errno| errno as u32).to_be_bytes());
    out.extend(cookie.to_be_bytes());
}

fn chunk_header(out: &mut Vec<u8>, kind: ChunkKind, cookie: u64, is_last: bool, length: usize) {
    let length = u32::try_from(length).expect("a chunk is at most the largest payload and its fields");
    out.extend(CHUNK_MAGIC.to_be_bytes());
    out.extend(u16::from(is_last).to_be_bytes());
    out.extend((kind as u16).to_be_bytes());
    out.extend(cookie.to_be_bytes());
    out.extend(length.to_be_bytes());
}

/// The last chunk of a reply, if nothing more is to say than that it is complete.
pub(crate) fn done_chunk(out: &mut Vec<u8>, cookie: u64) {
    chunk_header(out, ChunkKind::None, cookie, true, 0);
}

/// What precedes `length` bytes that were read at `offset`.
pub(crate) fn data_chunk_header(out: &mut Vec<u8>, cookie: u64, is_last: bool, offset: u64, length: usize) {
    chunk_header(out, ChunkKind::OffsetData, cookie, is_last, 8 + length);
    out.extend(offset.to_be_bytes());
}

/// The last chunk of a reply to a request that failed.
pub(crate) fn error_chunk(out: &mut Vec<u8>, cookie: u64, errno: Errno, message: &str) {
    let message = &message[..message.floor_char_boundary(STRING_MAX)];
    chunk_header(out, ChunkKind::Error, cookie, true, 6 + message.len());
    out.extend((errno as u32).to_be_bytes());
    out.extend(u16::try_from(message.len()).expect("cut to 4096 bytes").to_be_bytes());
    out.extend(message.as_bytes());
}

/// A range that is all data or all hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) length: u32,
    pub(crate) is_data: bool,
}

/// The only chunk of a block status reply.
pub(crate) fn block_status_chunk(out: &mut Vec<u8>, cookie: u64, extents: &[Extent]) {
    const HOLE_AND_ZERO: u32 = 3;
    chunk_header(out, ChunkKind::BlockStatus, cookie, true, 4 + 8 * extents.len());
    out.extend(ALLOCATION_ID.to_be_bytes());
    for extent in extents {
        out.extend(extent.length.to_be_bytes());
        out.extend(if extent.is_data { 0 } else { HOLE_AND_ZERO }.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(flags: u16, command: u16, offset: u64, length: u32) -> [u8; REQUEST_LEN] {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend(flags.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(7_u64.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.try_into().unwrap()
    }

    #[test]
    fn a_request_is_what_its_bytes_say() {
        let request = Request::decode(&bytes_of(1, 1, 4096, 512)).unwrap();
        assert_eq!(request.command, Command::Write);
        assert_eq!((request.flags, request.cookie, request.end()), (CommandFlags::FUA, 7, Some(4608)));
    }

    #[test]
    fn flags_and_commands_without_meaning_are_kept_for_the_answer() {
        let request = Request::decode(&bytes_of(1 << 9, 77, 0, 0)).unwrap();
        assert_eq!(request.command, Command::Unknown(77));
        assert!(!request.command.allowed_flags().contains(request.flags));
    }

    #[test]
    fn a_range_past_64_bits_has_no_end() {
        assert_eq!(Request::decode(&bytes_of(0, 0, u64::MAX, 2)).unwrap().end(), None);
    }

    #[test]
    fn a_wrong_magic_is_an_error() {
        let mut bytes = bytes_of(0, 0, 0, 0);
        bytes[0] ^= 1;
        assert_eq!(Request::decode(&bytes), Err(Malformed::Magic(0x2460_9513)));
    }

    #[test]
    fn a_long_error_message_is_cut_between_characters() {
        let mut out = Vec::new();
        error_chunk(&mut out, 1, Errno::InputOutput, &"é".repeat(STRING_MAX));
        assert_eq!(out.len(), 20 + 6 + STRING_MAX);
        let odd = format!("x{}", "é".repeat(STRING_MAX));
        out.clear();
        error_chunk(&mut out, 1, Errno::InputOutput, &odd);
        assert_eq!(out.len(), 20 + 6 + STRING_MAX - 1);
    }

    #[test]
    fn a_block_status_chunk_lists_lengths_and_states() {
        let mut out = Vec::new();
        block_status_chunk(
            &mut out,
            9,
            &[Extent { length: 4096, is_data: true }, Extent { length: 8192, is_data: false }],
        );
        assert_eq!(out[4..8], [0, 1, 0, 5]);
        assert_eq!(out[16..24], [0, 0, 0, 20, 0, 0, 0, 1]);
        assert_eq!(out[24..], [0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 3]);
    }
}
