//! What is kept between the steps of long work.

use std::{cell::RefCell, collections::VecDeque};

/// At most so many pieces of work that are under way, so that some beside each other all come to an end. Beyond, the one that was not
/// asked for longest is forgotten, and begun again.
pub(crate) struct Kept<P, const MAX: usize>(RefCell<VecDeque<Box<P>>>);

impl<P, const MAX: usize> Default for Kept<P, MAX> {
    fn default() -> Self {
        Kept(RefCell::default())
    }
}

impl<P, const MAX: usize> Kept<P, MAX> {
    pub(crate) fn take(&self, is_wanted: impl Fn(&P) -> bool) -> Option<Box<P>> {
        let mut kept = self.0.borrow_mut();
        let at = kept.iter().position(|piece| is_wanted(piece))?;
        kept.remove(at)
    }

    pub(crate) fn keep(&self, piece: Box<P>) {
        let mut kept = self.0.borrow_mut();
        kept.truncate(MAX - 1);
        kept.push_front(piece);
    }
}
