//! SHA-256 of an object without its trailing zero bytes.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use store::ErrorKind;

use crate::fault::Result;
use crate::librados::Context;

/// How much is read at once, in bytes: the usual block.
const CHUNK_BYTES: usize = 4 << 20;

/// Hashes in constant memory. Blocks, for a thread of the pool.
pub(crate) fn hash(objects: &Context, name: &CStr, stop: &AtomicBool) -> Result<[u8; 32]> {
    let mut hasher = Trimmed::default();
    let mut offset = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(ErrorKind::Unavailable.into());
        }
        let (chunk, _) = objects.read_now(name, offset, CHUNK_BYTES)?;
        hasher.update(&chunk);
        offset += chunk.len() as u64;
        if chunk.len() < CHUNK_BYTES {
            return Ok(hasher.hasher.finalize().into());
        }
    }
}

/// Holds zeros back until something follows them.
#[derive(Default)]
struct Trimmed {
    hasher: Sha256,
    pending_zeros: usize,
}

/// How many zeros are hashed at once.
const ZEROS: [u8; 4096] = [0; 4096];

impl Trimmed {
    fn update(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            self.pending_zeros += bytes.len();
            return;
        };
        while self.pending_zeros > 0 {
            let count = self.pending_zeros.min(ZEROS.len());
            self.hasher.update(&ZEROS[..count]);
            self.pending_zeros -= count;
        }
        self.hasher.update(&bytes[..=last]);
        self.pending_zeros = bytes.len() - 1 - last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_between_count_and_zeros_at_the_end_do_not() {
        let mut hasher = Trimmed::default();
        for part in [&b"ab\0"[..], &[0; 9000], b"c\0\0", &[0; 5]] {
            hasher.update(part);
        }
        let expected = Sha256::digest([&b"ab"[..], &[0; 9001], b"c"].concat());
        assert_eq!(hasher.hasher.finalize(), expected);
    }
}
