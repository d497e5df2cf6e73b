//! The word that an engine's thread sleeps on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex;
use rustix::time::Timespec;

/// A 32-bit word and the value it has while its owner sleeps.
///
/// Whoever makes one promises that the word stays mapped as long as the ring that waits for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Futex {
    pointer: *const u32,
    expected: u32,
}

impl Futex {
    /// The futex of a port.
    pub(crate) fn of_port(word: xseg::RawFutex) -> Self {
        Self { pointer: word.as_ptr(), expected: u32::try_from(xseg::RawFutex::SLEEPING).unwrap_or(1) }
    }

    pub(crate) fn pointer(self) -> *const u32 {
        self.pointer
    }

    pub(crate) fn expected(self) -> u32 {
        self.expected
    }
}

/// Wakes one thread that sleeps outside of a segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bell(Arc<AtomicU32>);

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const RUNG: u32 = 2;

impl Bell {
    /// Wakes the sleeper, or makes its next sleep end at once.
    pub(crate) fn ring(&self) {
        // Pairs with the exchange in arm(): what was done before the ring is seen after it.
        if self.0.swap(RUNG, Ordering::AcqRel) == SLEEPING {
            // There is nothing to do about a failed wake: it cannot fail for a word of ours.
            let _woken = futex::wake(&self.0, futex::Flags::empty(), 1);
        }
    }

    /// True: it is safe to sleep on the futex. False: it was rung.
    pub(crate) fn arm(&self) -> bool {
        self.0.compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends the sleep, or forgets the ring that prevented it.
    pub(crate) fn disarm(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// The word to sleep on. The caller keeps the bell as long as its ring.
    pub(crate) fn futex(&self) -> Futex {
        Futex { pointer: self.0.as_ptr().cast_const(), expected: SLEEPING }
    }

    /// Sleeps after `arm`.
    pub(crate) fn sleep(&self, longest: Duration) {
        let tv_sec = i64::try_from(longest.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec, tv_nsec: i64::from(longest.subsec_nanos()) };
        // Whatever ends the sleep, the caller looks for work.
        let _woken = futex::wait(&self.0, futex::Flags::empty(), SLEEPING, Some(&timeout));
    }
}
