//! The record of a lock in RADOS: docs/formats.md#lock-record-in-rados

use store::{ErrorKind, LockState};

/// One state of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) state: State,
    /// Grows with every change of owner.
    pub(crate) number: u64,
    pub(crate) since_unix_ms: u64,
    /// Who holds it, or held it last.
    pub(crate) owner: String,
    pub(crate) description: String,
    pub(crate) writers: Vec<Writer>,
}

/// Whether somebody holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Free = 0,
    Held = 1,
    /// The lock is kept elsewhere; this is the highest number that a write named.
    Foreign = 2,
}

/// A client that writes under a lock's number, or did and is to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) is_to_end: bool,
    /// Which radosd it is: its successor replaces it.
    pub(crate) key: String,
    /// Its address as the blocklist takes it.
    pub(crate) address: String,
}

/// Most writers of a lock: one for blocks and one for maps are usual.
pub(crate) const WRITERS_MAX: usize = 32;
/// No record is longer, in bytes.
pub(crate) const RECORD_MAX: usize = 64 << 10;

const MAGIC: &[u8; 8] = b"ARCHRLCK";
const VERSION: u32 = 1;
/// What the checksum does not cover: the fields up to itself.
const UNCHECKED_BYTES: usize = 20;

impl Record {
    /// # Errors
    /// `Invalid` if a text is too long, or there are too many writers.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ErrorKind> {
        let has_owner = self.state != State::Foreign;
        let is_sound = self.owner.is_empty() != has_owner
            && self.owner.len() <= LockState::OWNER_MAX
            && self.description.len() <= LockState::DESCRIPTION_MAX
            && self.writers.len() <= WRITERS_MAX;
        if !is_sound {
            return Err(ErrorKind::Invalid);
        }
        let mut checked = Vec::new();
        checked.extend_from_slice(&(self.state as u32).to_le_bytes());
        checked.extend_from_slice(&self.number.to_le_bytes());
        checked.extend_from_slice(&self.since_unix_ms.to_le_bytes());
        for count in [self.owner.len(), self.description.len(), self.writers.len(), 0] {
            checked.extend_from_slice(&short(count)?);
        }
        checked.extend_from_slice(self.owner.as_bytes());
        checked.extend_from_slice(self.description.as_bytes());
        for Writer { is_to_end, key, address } in &self.writers {
            for count in [usize::from(*is_to_end), key.len(), address.len()] {
                checked.extend_from_slice(&short(count)?);
            }
            checked.extend_from_slice(key.as_bytes());
            checked.extend_from_slice(address.as_bytes());
        }
        let len = u32::try_from(UNCHECKED_BYTES + checked.len()).map_err(|_| ErrorKind::Invalid)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        bytes.append(&mut checked);
        Ok(bytes)
    }

    /// # Errors
    /// `Unsupported` for a newer version, `Corrupt` for all else that `encode` does not write.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ErrorKind> {
        let mut fields = Fields(bytes);
        if fields.take::<8>()? != MAGIC {
            return Err(ErrorKind::Corrupt);
        }
        if fields.u32()? != VERSION {
            return Err(ErrorKind::Unsupported);
        }
        let (len, checksum) = (fields.u32()?, fields.u32()?);
        if usize::try_from(len) != Ok(bytes.len()) || checksum != crc32c::crc32c(fields.0) {
            return Err(ErrorKind::Corrupt);
        }
        let state = State::of(fields.u32()?)?;
        let (number, since_unix_ms) = (fields.u64()?, fields.u64()?);
        let (owner_len, description_len) = (fields.u16()?, fields.u16()?);
        let (writer_count, reserved) = (fields.u16()?, fields.u16()?);
        let (owner, description) = (fields.text(owner_len)?, fields.text(description_len)?);
        let writers = (0..writer_count).map(|_| fields.writer()).collect::<Result<Vec<_>, _>>()?;
        let record = Self { state, number, since_unix_ms, owner, description, writers };
        if reserved != 0 || !fields.0.is_empty() || record.encode().is_err() {
            return Err(ErrorKind::Corrupt);
        }
        Ok(record)
    }
}

impl State {
    fn of(number: u32) -> Result<Self, ErrorKind> {
        let all = [Self::Free, Self::Held, Self::Foreign];
        all.into_iter().find(|state| *state as u32 == number).ok_or(ErrorKind::Corrupt)
    }
}

fn short(count: usize) -> Result<[u8; 2], ErrorKind> {
    u16::try_from(count).map(u16::to_le_bytes).map_err(|_| ErrorKind::Invalid)
}

/// What is left to decode.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<&[u8; N], ErrorKind> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(ErrorKind::Corrupt)?;
        self.0 = rest;
        Ok(field)
    }

    fn u16(&mut self) -> Result<u16, ErrorKind> {
        Ok(u16::from_le_bytes(*self.take()?))
    }

    fn u32(&mut self) -> Result<u32, ErrorKind> {
        Ok(u32::from_le_bytes(*self.take()?))
    }

    fn u64(&mut self) -> Result<u64, ErrorKind> {
        Ok(u64::from_le_bytes(*self.take()?))
    }

    fn text(&mut self, len: u16) -> Result<String, ErrorKind> {
        let (field, rest) = self.0.split_at_checked(usize::from(len)).ok_or(ErrorKind::Corrupt)?;
        self.0 = rest;
        String::from_utf8(field.to_vec()).map_err(|_| ErrorKind::Corrupt)
    }

    fn writer(&mut self) -> Result<Writer, ErrorKind> {
        let (state, key_len, address_len) = (self.u16()?, self.u16()?, self.u16()?);
        if state > 1 {
            return Err(ErrorKind::Corrupt);
        }
        Ok(Writer { is_to_end: state == 1, key: self.text(key_len)?, address: self.text(address_len)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let writer =
            |key: &str, is_to_end| Writer { is_to_end, key: key.into(), address: "10.0.0.1:0/42".into() };
        Record {
            state: State::Held,
            number: 7,
            since_unix_ms: 1_700_000_000_000,
            owner: "node ü".into(),
            description: "volume1".into(),
            writers: vec![writer("a/blockerb", false), writer("b/blockerm", true)],
        }
    }

    #[test]
    fn a_record_survives_its_bytes_and_its_layout_stays() {
        let bytes = record().encode().unwrap();
        assert_eq!(Record::decode(&bytes), Ok(record()));
        assert_eq!((bytes.len(), &bytes[..12]), (120, &b"ARCHRLCK\x01\0\0\0"[..]));
        assert_eq!((bytes[20], bytes[24], bytes[40], bytes[42], bytes[44]), (1, 7, 7, 7, 2));
        assert_eq!(&bytes[48..62], "node üvolume1".as_bytes());
        let free = Record { state: State::Foreign, owner: String::new(), ..record() };
        assert_eq!(Record::decode(&free.encode().unwrap()), Ok(free));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_corrupt() {
        let bytes = record().encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..len]), Err(ErrorKind::Corrupt), "{len} bytes");
        }
    }

    #[test]
    fn what_cannot_be_read_again_is_not_written() {
        let writers = vec![record().writers[0].clone(); WRITERS_MAX + 1];
        for wrong in [
            Record { owner: String::new(), ..record() },
            Record { owner: "x".repeat(201), ..record() },
            Record { state: State::Foreign, ..record() },
            Record { writers, ..record() },
        ] {
            assert_eq!(wrong.encode(), Err(ErrorKind::Invalid));
        }
    }
}
