//! Reads that are compared with checksums before they are answered.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;

use store::ObjectName;

use crate::fault::{Fault, Result};
use crate::handle::{Handle, stored_sums};
use crate::layout::sums_path;
use crate::ring::Region;
use crate::root::Root;
use crate::sums::{PIECE_BYTES, Sums, read_whole};

/// Whether bytes that were read from `offset` are whole pieces as they were written. False where only [`read`] can tell.
pub(crate) fn agrees(sums: &Sums, offset: u64, region: Region) -> bool {
    if !offset.is_multiple_of(PIECE_BYTES as u64) {
        return false;
    }
    let mut piece = [0; PIECE_BYTES];
    let mut done = 0;
    while done < region.len() {
        let (index, len) = sums.piece_at(offset + done as u64);
        if len == 0 {
            return true;
        }
        if region.skip(done).copy_to(&mut piece[..len]) < len || !sums.accepts(index, &piece[..len]) {
            return false;
        }
        done += PIECE_BYTES;
    }
    true
}

/// Reads whole pieces, compares each, and fills the region from them. False if the checksums were ended meanwhile, so that
/// nothing can be said.
///
/// # Errors
/// `Corrupt` for a piece that is not what was written.
pub(crate) fn read(root: &Root, open: &Handle, offset: u64, region: Region) -> Result<bool> {
    let Some(sums) = open.sums() else { return Ok(false) };
    let file = open.through_cache(root)?;
    let mut piece = [0; PIECE_BYTES];
    let end = offset + region.len() as u64;
    let mut at = offset;
    while at < end {
        let (index, len) = sums.piece_at(at);
        if len == 0 {
            break;
        }
        let begin = (index * PIECE_BYTES) as u64;
        read_whole(&file, &mut piece[..len], begin)?;
        if !sums.accepts(index, &piece[..len]) {
            // Whoever writes ends the checksums first, so bytes that changed for a reason are told from damage.
            return if open.has_sums_still(root) {
                Err(Fault::Damaged(begin, len as u64))
            } else {
                Ok(false)
            };
        }
        let skipped = usize::try_from(at - begin).unwrap_or(PIECE_BYTES);
        let part = piece.get(skipped..len).unwrap_or_default();
        let rest = region.skip(usize::try_from(at - offset).unwrap_or(usize::MAX));
        rest.fill_from(part);
        rest.skip(part.len()).fill_zero();
        at = begin + PIECE_BYTES as u64;
    }
    if at < end {
        region.skip(usize::try_from(at - offset).unwrap_or(usize::MAX)).fill_zero();
    }
    Ok(true)
}

/// Compares all of an object.
///
/// # Errors
/// `Corrupt` for the first piece that is not what was written.
pub(crate) fn whole(root: &Root, open: &Handle, file: &OwnedFd, stop: &AtomicBool) -> Result<()> {
    match open.sums() {
        Some(sums) => compare(sums, file, stop, || open.has_sums_still(root)),
        None => Ok(()),
    }
}

/// Compares all of an object that is not open, before it is copied.
///
/// # Errors
/// As [`whole`].
pub(crate) fn source(root: &Root, name: &ObjectName, file: &OwnedFd, stop: &AtomicBool) -> Result<()> {
    let stored = || stored_sums(root, &sums_path(name), file);
    match stored()? {
        Some(sums) => compare(&sums, file, stop, || stored().is_ok_and(|now| now.as_ref() == Some(&sums))),
        None => Ok(()),
    }
}

fn compare(sums: &Sums, file: &OwnedFd, stop: &AtomicBool, are_still: impl Fn() -> bool) -> Result<()> {
    let mut first = None;
    sums.compare(file, stop, |bad| {
        first.get_or_insert(bad);
    })?;
    match first {
        Some(bad) if are_still() => Err(Fault::Damaged(bad.offset, bad.size)),
        Some(_) | None => Ok(()),
    }
}
