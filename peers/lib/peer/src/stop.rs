//! Asking a role to stop.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use xseg::Waker;

/// A flag that wakes whoever waits for it. Clones are one flag.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_set: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Whether the role shall stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Acquire)
    }

    /// Asks to stop, and wakes all who registered.
    pub fn set(&self) {
        // Pairs with the load in is_set().
        self.0.is_set.store(true, Ordering::Release);
        for waker in self.wakers().iter() {
            waker.wake();
        }
    }

    /// Whoever sleeps in its port's wait registers here, so that `set` ends the sleep.
    pub fn register(&self, waker: Waker) {
        self.wakers().push(waker);
        if self.is_set() {
            self.set();
        }
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
