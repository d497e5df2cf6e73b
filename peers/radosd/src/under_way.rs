//! How many operations the library has, counted by the engine, looked at by the library's threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Operations whose end the library has not told, or the engine not taken. Clones count the same.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    pub(crate) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// What a thread of the library does after it has told of an end: other ends would have to wait for it.
    pub(crate) fn linger(&self) {
        if self.count() == 0 {
            peer::linger();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
