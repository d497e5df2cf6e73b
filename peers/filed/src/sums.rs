//! Checksums of an object that is at rest: docs/formats.md#checksums-of-an-object.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use store::ErrorKind;

use crate::copy::{next_data, write_all};
use crate::fault::{Fault, Result};
use crate::root::Birth;

/// What one checksum is of, in bytes.
pub(crate) const PIECE_BYTES: usize = PIECE_LEN as usize;
/// The same, as it is written.
const PIECE_LEN: u32 = 4096;
const MAGIC: [u8; 8] = *b"ARCHSUMS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
/// Where the bytes begin that the header's own checksum covers.
const CHECKED_FROM: usize = 20;
/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// One checksum for each piece of an object, and which file it is that they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    birth: Birth,
    size: u64,
    pieces: Vec<u32>,
}

/// A piece of a file that is not what was written, or that the disk does not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) is_unreadable: bool,
}

impl Sums {
    /// Computes those of a file. A place that cannot be read is bad.
    pub(crate) fn of(file: &OwnedFd, stop: &AtomicBool) -> Result<std::result::Result<Self, Bad>> {
        let (birth, size) = Birth::of(file)?;
        let mut pieces = Vec::with_capacity(count(size));
        let walked = walk(file, size, stop, |index, piece| {
            pieces.resize(index, crc_of_zeros(PIECE_BYTES));
            pieces.push(crc32c::crc32c(piece));
            Ok::<(), Bad>(())
        })?;
        // What follows the last piece with data is a hole; only the last piece of all may be short.
        if pieces.len() < count(size) {
            pieces.resize(count(size), crc_of_zeros(PIECE_BYTES));
            if let Some(last) = pieces.last_mut() {
                *last = crc_of_zeros(piece_len(size, count(size) - 1));
            }
        }
        Ok(walked.map(|()| Self { birth, size, pieces }))
    }

    /// Compares a file with them, and calls `bad` for each piece that differs.
    pub(crate) fn compare(&self, file: &OwnedFd, stop: &AtomicBool, mut bad: impl FnMut(Bad)) -> Result<()> {
        let mut next = 0;
        let mut judge = |index: usize, crc: u32| {
            if self.pieces.get(index) != Some(&crc) {
                bad(self.bad(index, false));
            }
        };
        let walked = walk(file, self.size, stop, |index, piece| {
            (next..index).for_each(|hole| judge(hole, crc_of_zeros(piece_len(self.size, hole))));
            judge(index, crc32c::crc32c(piece));
            next = index + 1;
            Ok(())
        })?;
        match walked {
            Ok(()) => {
                let holes = next..self.pieces.len();
                holes.for_each(|hole| judge(hole, crc_of_zeros(piece_len(self.size, hole))));
            }
            Err(unreadable) => bad(unreadable),
        }
        Ok(())
    }

    /// Whether they are of this file.
    pub(crate) fn are_of(&self, file: &OwnedFd) -> Result<bool> {
        Ok(Birth::of(file)? == (self.birth, self.size))
    }

    /// Which piece a byte is in, and how long that piece is; 0 beyond the end.
    pub(crate) fn piece_at(&self, offset: u64) -> (usize, usize) {
        let index = usize::try_from(offset / PIECE_BYTES as u64).unwrap_or(usize::MAX);
        (index, if offset < self.size { piece_len(self.size, index) } else { 0 })
    }

    /// Whether a piece as it was read is the one that was written.
    pub(crate) fn accepts(&self, index: usize, piece: &[u8]) -> bool {
        self.pieces.get(index) == Some(&crc32c::crc32c(piece))
    }

    fn bad(&self, index: usize, is_unreadable: bool) -> Bad {
        let size = piece_len(self.size, index) as u64;
        Bad { offset: (index * PIECE_BYTES) as u64, size, is_unreadable }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 4 * self.pieces.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&PIECE_LEN.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.birth.inode.to_le_bytes());
        bytes.extend_from_slice(&self.birth.born_ns.to_le_bytes());
        bytes.extend_from_slice(&(self.pieces.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend(self.pieces.iter().flat_map(|piece| piece.to_le_bytes()));
        let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// None if the bytes are not whole, or not ours: then there are no checksums.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, sums) = bytes.split_at_checked(HEADER_BYTES)?;
        let word = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let half = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let size = word(24)?;
        let is_ours = header.starts_with(&MAGIC)
            && half(8)? == VERSION
            && half(12)? == PIECE_LEN
            && half(16)? == crc32c::crc32c(&bytes[CHECKED_FROM..])
            && (half(20)?, word(56)?) == (0, 0)
            && word(48)? == count(size) as u64
            && sums.len() == 4 * count(size);
        let pieces = sums.chunks_exact(4).map(|sum| u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]));
        let birth = Birth { inode: word(32)?, born_ns: word(40)? };
        is_ours.then(|| Self { birth, size, pieces: pieces.collect() })
    }
}

/// Ends what is in a file of checksums, durably and in place: whatever name leads to it after a loss of power, it counts
/// for nothing.
pub(crate) fn kill(file: &OwnedFd) -> Result<()> {
    write_all(file, &[0; MAGIC.len()], 0)?;
    Ok(rustix::fs::fdatasync(file)?)
}

/// How many pieces an object of `size` bytes has.
fn count(size: u64) -> usize {
    usize::try_from(size.div_ceil(PIECE_BYTES as u64)).unwrap_or(usize::MAX)
}

/// The longest file of checksums that an object of `size` bytes has, in bytes.
pub(crate) fn encoded_len(size: u64) -> usize {
    count(size).saturating_mul(4).saturating_add(HEADER_BYTES)
}

/// The length of a piece; the last one of an object may be short.
fn piece_len(size: u64, index: usize) -> usize {
    let left = size.saturating_sub((index as u64) * PIECE_BYTES as u64);
    usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES)
}

fn crc_of_zeros(len: usize) -> u32 {
    crc32c::crc32c(&[0; PIECE_BYTES][..len])
}

/// Calls `visit` with each piece that has data, in order. Ends at the first that cannot be read.
fn walk(
    file: &OwnedFd,
    size: u64,
    stop: &AtomicBool,
    mut visit: impl FnMut(usize, &[u8]) -> std::result::Result<(), Bad>,
) -> Result<std::result::Result<(), Bad>> {
    let mut room = vec![0; CHUNK_BYTES + PIECE_BYTES];
    let chunk = aligned(&mut room);
    let mut offset = 0;
    while let Some((start, end)) = next_data(file, offset, size)? {
        offset = start - start % PIECE_BYTES as u64;
        let end = end.next_multiple_of(PIECE_BYTES as u64).min(size);
        while offset < end {
            if stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::Unavailable.into());
            }
            let most = usize::try_from(end - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            match read_whole(&file, &mut chunk[..most.next_multiple_of(PIECE_BYTES)], offset) {
                Ok(()) => {}
                Err(Fault::System(_)) => return Ok(Err(unreadable(&file, size, offset, most))),
                Err(fault) => return Err(fault),
            }
            for (index, piece) in chunk[..most].chunks(PIECE_BYTES).enumerate() {
                let first = usize::try_from(offset / PIECE_BYTES as u64).unwrap_or(usize::MAX);
                if let Err(bad) = visit(first + index, piece) {
                    return Ok(Err(bad));
                }
            }
            offset += most as u64;
        }
    }
    Ok(Ok(()))
}

/// The part of `room` that reads past the page cache may fill; one piece shorter at most.
fn aligned(room: &mut [u8]) -> &mut [u8] {
    let skew = room.as_ptr().align_offset(PIECE_BYTES).min(PIECE_BYTES);
    &mut room[skew..]
}

/// Fills `bytes`; what the file does not have is zeros.
pub(crate) fn read_whole(file: &impl AsFd, bytes: &mut [u8], offset: u64) -> Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pread(file, &mut bytes[done..], offset + done as u64) {
            Ok(count) => {
                done += count;
                // Only at its end a file gives such a count; and past the page cache no read could go on there.
                if !count.is_multiple_of(PIECE_BYTES) || count == 0 {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    bytes[done..].fill(0);
    Ok(())
}

/// The first piece between `offset` and `offset + len` that the disk does not give.
fn unreadable(file: &impl AsFd, size: u64, offset: u64, len: usize) -> Bad {
    let mut room = vec![0; 2 * PIECE_BYTES];
    let piece = &mut aligned(&mut room)[..PIECE_BYTES];
    let mut pieces = (0..len.div_ceil(PIECE_BYTES)).map(|index| offset + (index * PIECE_BYTES) as u64);
    let failing = pieces.find(|at| read_whole(file, piece, *at).is_err());
    let at = failing.unwrap_or(offset);
    let size = size.saturating_sub(at).min(PIECE_BYTES as u64);
    Bad { offset: at, size, is_unreadable: true }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    static NEVER: AtomicBool = AtomicBool::new(false);

    fn file_of(parts: &[(u64, &[u8])], size: u64) -> (tempfile::NamedTempFile, OwnedFd) {
        let made = tempfile::NamedTempFile::new().unwrap();
        for (offset, bytes) in parts {
            made.as_file().write_all_at(bytes, *offset).unwrap();
        }
        made.as_file().set_len(size).unwrap();
        let file = File::options().read(true).write(true).open(made.path()).unwrap();
        (made, file.into())
    }

    fn bad_of(sums: &Sums, file: &OwnedFd) -> Vec<u64> {
        let mut all = Vec::new();
        sums.compare(file, &NEVER, |bad| all.push(bad.offset)).unwrap();
        all
    }

    #[test]
    fn a_sum_is_crc32c_of_4096_bytes_and_the_last_one_of_what_is_left() {
        let (_kept, file) = file_of(&[(0, &[7; 5000])], 5000);
        let sums = Sums::of(&file, &NEVER).unwrap().unwrap();
        assert_eq!(sums.pieces, [crc32c::crc32c(&[7; 4096]), crc32c::crc32c(&[7; 904])]);
        // The check value of CRC32C.
        let (_kept, file) = file_of(&[(0, b"123456789")], 9);
        assert_eq!(Sums::of(&file, &NEVER).unwrap().unwrap().pieces, [0xe306_9283]);
    }

    #[test]
    fn every_shape_of_holes_agrees_with_itself_and_each_changed_byte_is_found() {
        let data = vec![9; 10_000];
        for (parts, size) in [
            (vec![], 0),
            (vec![], 3_000_000),
            (vec![], 4097),
            (vec![(0, data.as_slice())], 10_000),
            (vec![(2_000_000, data.as_slice())], 2_010_001),
            (vec![(0, data.as_slice()), (1_000_001, data.as_slice())], 2_000_000),
        ] {
            let (kept, file) = file_of(&parts, size);
            let sums = Sums::of(&file, &NEVER).unwrap().unwrap();
            assert_eq!(sums.pieces.len() as u64, size.div_ceil(4096));
            assert_eq!(Sums::decode(&sums.encode()), Some(sums.clone()));
            assert!(bad_of(&sums, &file).is_empty());
            for at in [0, 4096, size / 2, size.saturating_sub(1)].into_iter().filter(|at| *at < size) {
                let mut byte = [0];
                kept.as_file().read_exact_at(&mut byte, at).unwrap();
                kept.as_file().write_all_at(&[!byte[0]], at).unwrap();
                assert_eq!(bad_of(&sums, &file), [at - at % 4096], "byte {at} of {size}");
                kept.as_file().write_all_at(&byte, at).unwrap();
            }
        }
    }

    #[test]
    fn sums_are_of_one_file_of_one_size() {
        let ((_kept, file), (_other_kept, other)) = (file_of(&[], 10), file_of(&[], 10));
        let sums = Sums::of(&file, &NEVER).unwrap().unwrap();
        assert!(sums.are_of(&file).unwrap());
        assert!(!sums.are_of(&other).unwrap());
        rustix::fs::ftruncate(&file, 11).unwrap();
        assert!(!sums.are_of(&file).unwrap());
    }

    #[test]
    fn noise_and_every_damaged_byte_are_no_sums() {
        let (_kept, file) = file_of(&[(0, &[1; 9000])], 9000);
        let bytes = Sums::of(&file, &NEVER).unwrap().unwrap().encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(Sums::decode(&damaged), None, "byte {at}");
            assert_eq!(Sums::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn what_was_ended_is_no_sums() {
        let (_kept, file) = file_of(&[(0, &[1; 9000])], 9000);
        let bytes = Sums::of(&file, &NEVER).unwrap().unwrap().encode();
        let (kept, side) = file_of(&[(0, &bytes)], bytes.len() as u64);
        kill(&side).unwrap();
        assert_eq!(Sums::decode(&std::fs::read(kept.path()).unwrap()), None);
    }
}
