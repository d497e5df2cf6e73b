//! SHA-256 of a file without its trailing zero bytes.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use sha2::{Digest, Sha256};
use store::ErrorKind;

use crate::copy::next_data;
use crate::fault::Result;

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Hashes in constant memory; holes are not read.
pub(crate) fn hash(file: &impl AsFd, size: u64, stop: &AtomicBool) -> Result<[u8; 32]> {
    let mut hasher = Trimmed { hasher: Sha256::new(), pending_zeros: 0 };
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    while let Some((start, end)) = next_data(file, offset, size)? {
        hasher.pending_zeros += start - offset;
        offset = start;
        while offset < end {
            if stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::Unavailable.into());
            }
            let most = usize::try_from(end - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let count = match rustix::io::pread(file, &mut chunk[..most], offset) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            if count == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(&chunk[..count]);
            offset += count as u64;
        }
    }
    Ok(hasher.finish())
}

/// Holds zeros back until something follows them.
struct Trimmed {
    hasher: Sha256,
    pending_zeros: u64,
}

impl Trimmed {
    fn update(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            self.pending_zeros += bytes.len() as u64;
            return;
        };
        self.write_zeros();
        self.hasher.update(&bytes[..=last]);
        self.pending_zeros = (bytes.len() - 1 - last) as u64;
    }

    fn write_zeros(&mut self) {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.pending_zeros > 0 {
            let count = usize::try_from(self.pending_zeros).unwrap_or(usize::MAX).min(ZEROS.len());
            self.hasher.update(&ZEROS[..count]);
            self.pending_zeros -= count as u64;
        }
    }

    fn finish(self) -> [u8; 32] {
        self.hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_count_only_if_something_follows() {
        let mut trimmed = Trimmed { hasher: Sha256::new(), pending_zeros: 0 };
        for part in [&b"a\0"[..], b"\0\0", b"\0b\0", b"\0"] {
            trimmed.update(part);
        }
        assert_eq!(trimmed.finish(), <[u8; 32]>::from(Sha256::digest(b"a\0\0\0\0b")));
    }
}
