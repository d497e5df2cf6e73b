//! nbd: volumes for everything that speaks the Network Block Device protocol.

mod error;
mod exports;
mod negotiation;
mod stream;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use error::{Error, ProtocolFault};

/// What the locks of this crate guard is whole after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
