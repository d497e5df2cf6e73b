//! The record of a lock at rest: docs/formats.md#lock-record

use store::{ErrorKind, LockState};

use crate::fault::Result;

/// One state of a lock. A record never changes; a new state is a new record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) is_held: bool,
    /// Grows with every change of owner.
    pub(crate) number: u64,
    pub(crate) since_unix_ms: u64,
    /// Who holds it, or held it last.
    pub(crate) owner: String,
    pub(crate) description: String,
}

/// Longest owner, in bytes; with its description it must fit into the argument of a request.
pub(crate) const OWNER_MAX: usize = 200;
/// Longest description, in bytes.
pub(crate) const DESCRIPTION_MAX: usize = 256;
/// Longest record, in bytes.
pub(crate) const RECORD_MAX: usize = HEADER_BYTES + OWNER_MAX + DESCRIPTION_MAX;

const MAGIC: &[u8; 8] = b"ARCHLOCK";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
/// What the checksum does not cover: the fields up to itself.
const UNCHECKED_BYTES: usize = 20;

impl Record {
    /// # Errors
    /// `Invalid` if the owner is empty, or a text too long.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        if self.owner.is_empty() || self.owner.len() > OWNER_MAX || self.description.len() > DESCRIPTION_MAX {
            return Err(ErrorKind::Invalid.into());
        }
        let invalid = |_| ErrorKind::Invalid;
        let owner_len = u16::try_from(self.owner.len()).map_err(invalid)?;
        let description_len = u16::try_from(self.description.len()).map_err(invalid)?;
        let mut checked = Vec::with_capacity(RECORD_MAX);
        checked.extend_from_slice(&u32::from(self.is_held).to_le_bytes());
        checked.extend_from_slice(&self.number.to_le_bytes());
        checked.extend_from_slice(&self.since_unix_ms.to_le_bytes());
        checked.extend_from_slice(&owner_len.to_le_bytes());
        checked.extend_from_slice(&description_len.to_le_bytes());
        checked.extend_from_slice(&[0; 4]);
        checked.extend_from_slice(self.owner.as_bytes());
        checked.extend_from_slice(self.description.as_bytes());
        let len = u32::try_from(UNCHECKED_BYTES + checked.len()).map_err(invalid)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
        bytes.append(&mut checked);
        Ok(bytes)
    }

    /// # Errors
    /// `Unsupported` for a newer version, `Corrupt` for all else that `encode` does not write.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields(bytes);
        if fields.take::<8>()? != MAGIC {
            return Err(ErrorKind::Corrupt.into());
        }
        if fields.u32()? != VERSION {
            return Err(ErrorKind::Unsupported.into());
        }
        let (len, checksum) = (fields.u32()?, fields.u32()?);
        if usize::try_from(len) != Ok(bytes.len()) || checksum != crc32c::crc32c(fields.0) {
            return Err(ErrorKind::Corrupt.into());
        }
        let (state, number, since_unix_ms) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let (owner_len, description_len, reserved) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let (owner, description) = (fields.text(owner_len)?, fields.text(description_len)?);
        if state > 1 || reserved != 0 || owner.is_empty() || !fields.0.is_empty() {
            return Err(ErrorKind::Corrupt.into());
        }
        Ok(Self { is_held: state == 1, number, since_unix_ms, owner, description })
    }

    pub(crate) fn state(self) -> LockState {
        LockState {
            owner: self.is_held.then_some(self.owner),
            description: if self.is_held { self.description } else { String::new() },
            number: self.number,
            since_unix_ms: self.since_unix_ms,
        }
    }
}

/// What is left to decode.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<&[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(ErrorKind::Corrupt)?;
        self.0 = rest;
        Ok(field)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(*self.take()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(*self.take()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(*self.take()?))
    }

    fn text(&mut self, len: u16) -> Result<String> {
        let (text, rest) = self.0.split_at_checked(usize::from(len)).ok_or(ErrorKind::Corrupt)?;
        self.0 = rest;
        Ok(String::from_utf8(text.to_vec()).map_err(|_| ErrorKind::Corrupt)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            is_held: true,
            number: 7,
            since_unix_ms: 1_790_000_000_000,
            owner: "host-a".into(),
            description: "vm 17".into(),
        }
    }

    #[test]
    fn a_record_survives_its_bytes() {
        assert_eq!(Record::decode(&record().encode().unwrap()).unwrap(), record());
    }

    #[test]
    fn the_bytes_of_version_1_stay_what_they_are() {
        let bytes = record().encode().unwrap();
        assert_eq!(bytes.len(), 59);
        assert_eq!(&bytes[..16], b"ARCHLOCK\x01\0\0\0\x3b\0\0\0");
        assert_eq!(&bytes[20..32], b"\x01\0\0\0\x07\0\0\0\0\0\0\0");
        assert_eq!(&bytes[40..], b"\x06\0\x05\0\0\0\0\0host-avm 17");
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let bytes = record().encode().unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x10;
            assert!(Record::decode(&changed).is_err(), "byte {index}");
            assert!(Record::decode(&bytes[..index]).is_err(), "cut at {index}");
        }
        assert!(Record::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn an_owner_that_is_empty_or_too_long_is_refused() {
        assert!(Record { owner: String::new(), ..record() }.encode().is_err());
        assert!(Record { owner: "x".repeat(OWNER_MAX + 1), ..record() }.encode().is_err());
    }
}
