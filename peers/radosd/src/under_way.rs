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

    /// While a thread of the library lingers the ends of these cannot be told.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
