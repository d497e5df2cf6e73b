//! Which requests are refused before the stack sees them.

use crate::wire::{Command, CommandFlags, Errno, Request, Style};

/// What a session allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The volume's size as last seen, in bytes.
    pub(crate) size_bytes: u64,
    /// The largest payload, in bytes.
    pub(crate) payload_max: u32,
    pub(crate) is_read_only: bool,
    pub(crate) has_block_status: bool,
    pub(crate) style: Style,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) errno: Errno,
    pub(crate) message: &'static str,
    /// The volume may have grown: worth a second look.
    pub(crate) is_beyond_end: bool,
}

impl Refused {
    pub(crate) const SHUTTING_DOWN: Refused =
        Refused::with(Errno::ShuttingDown, "the volume is being detached");

    const fn with(errno: Errno, message: &'static str) -> Refused {
        Refused { errno, message, is_beyond_end: false }
    }
}

impl Limits {
    /// Whether a request may be served.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Refused> {
        let refuse = |errno, message| Err(Refused::with(errno, message));
        if let Command::Unknown(_) = request.command {
            return refuse(Errno::Invalid, "unknown command");
        }
        if !self.allowed_flags(request.command).contains(request.flags) {
            return refuse(Errno::Invalid, "flag without meaning for this command");
        }
        if self.is_read_only && request.command.is_write() {
            return refuse(Errno::NotPermitted, "volume is read-only");
        }
        match request.command {
            Command::Read if request.length > self.payload_max.into() => {
                return refuse(Errno::Overflow, "more than fits in one reply");
            }
            Command::Write if request.length > self.payload_max.into() => {
                return refuse(Errno::Invalid, "payload too long");
            }
            Command::Flush if request.offset != 0 || request.length != 0 => {
                return refuse(Errno::Invalid, "flush with a range");
            }
            Command::BlockStatus if !self.has_block_status => {
                return refuse(Errno::Invalid, "block status without a metadata context");
            }
            Command::BlockStatus if request.length == 0 => {
                return refuse(Errno::Invalid, "block status of nothing");
            }
            _ => {}
        }
        self.check_range(request)
    }

    fn allowed_flags(&self, command: Command) -> CommandFlags {
        let mut allowed = command.allowed_flags();
        allowed.set(CommandFlags::DONT_FRAGMENT, command == Command::Read && self.style.has_chunks());
        allowed
    }

    fn check_range(&self, request: &Request) -> Result<(), Refused> {
        if request.end().is_some_and(|end| end <= self.size_bytes) {
            return Ok(());
        }
        let errno = match request.command {
            Command::Write | Command::WriteZeroes => Errno::NoSpace,
            _ => Errno::Invalid,
        };
        Err(Refused { errno, message: "range is not inside the volume", is_beyond_end: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        size_bytes: 4096,
        payload_max: 1024,
        is_read_only: false,
        has_block_status: false,
        style: Style::Simple,
    };

    fn request(command: Command, offset: u64, length: u64) -> Request {
        let payload = if command == Command::Write { length } else { 0 };
        Request { flags: CommandFlags::empty(), command, cookie: 0, offset, length, payload }
    }

    fn errno(limits: Limits, request: Request) -> Option<Errno> {
        limits.check(&request).err().map(|refused| refused.errno)
    }

    #[test]
    fn ranges_end_with_the_volume() {
        assert_eq!(errno(LIMITS, request(Command::Read, 4000, 96)), None);
        assert_eq!(errno(LIMITS, request(Command::Read, 4000, 97)), Some(Errno::Invalid));
        assert_eq!(errno(LIMITS, request(Command::Trim, 4000, 97)), Some(Errno::Invalid));
        assert_eq!(errno(LIMITS, request(Command::Write, 4000, 97)), Some(Errno::NoSpace));
        assert_eq!(errno(LIMITS, request(Command::WriteZeroes, u64::MAX, 97)), Some(Errno::NoSpace));
        assert_eq!(errno(LIMITS, request(Command::WriteZeroes, 0, 4096)), None);
    }

    #[test]
    fn flags_that_mean_nothing_are_invalid() {
        for (command, flags) in [
            (Command::Read, CommandFlags::NO_HOLE),
            (Command::Read, CommandFlags::DONT_FRAGMENT),
            (Command::Write, CommandFlags::FAST_ZERO),
            (Command::Write, CommandFlags::from_bits_retain(1 << 9)),
        ] {
            assert_eq!(
                errno(LIMITS, Request { flags, ..request(command, 0, 1) }),
                Some(Errno::Invalid),
                "{command:?}"
            );
        }
        let fua = Request { flags: CommandFlags::FUA, ..request(Command::Read, 0, 1) };
        assert_eq!(errno(LIMITS, fua), None);
    }

    #[test]
    fn nothing_is_written_to_a_read_only_volume() {
        let limits = Limits { is_read_only: true, ..LIMITS };
        for command in [Command::Write, Command::Trim, Command::WriteZeroes] {
            assert_eq!(errno(limits, request(command, 0, 1)), Some(Errno::NotPermitted));
        }
        assert_eq!(errno(limits, request(Command::Flush, 0, 0)), None);
    }

    #[test]
    fn payloads_are_bounded_but_ranges_without_payload_are_not() {
        let limits = Limits { size_bytes: u64::MAX, ..LIMITS };
        assert_eq!(errno(limits, request(Command::Write, 0, 1025)), Some(Errno::Invalid));
        assert_eq!(errno(limits, request(Command::Read, 0, 1025)), Some(Errno::Overflow));
        assert_eq!(errno(limits, request(Command::Trim, 0, 1 << 40)), None);
    }

    #[test]
    fn block_status_must_have_been_agreed_on() {
        assert_eq!(errno(LIMITS, request(Command::BlockStatus, 0, 1)), Some(Errno::Invalid));
        let limits = Limits { has_block_status: true, ..LIMITS };
        assert_eq!(errno(limits, request(Command::BlockStatus, 0, 1)), None);
        assert_eq!(errno(limits, request(Command::BlockStatus, 0, 0)), Some(Errno::Invalid));
    }
}
