//! A reply in the hands of whoever asked.

use std::ops::{Deref, DerefMut};

use protocol::{Failure, Status};
use xseg::Held;

use crate::Effects;

/// A request that came home. Its slot and buffer are given back when this is dropped.
pub struct Answer {
    held: Option<Held>,
    effects: Effects,
}

impl Answer {
    pub(crate) fn new(held: Held, effects: Effects) -> Answer {
        Answer { held: Some(held), effects }
    }

    /// The first `count` bytes of the reply's buffer, copied.
    #[must_use]
    pub fn bytes(&self, count: u64) -> Vec<u8> {
        let length = usize::try_from(count.min(self.buffer_bytes())).unwrap_or(0);
        let mut bytes = vec![0; length];
        match self.read(0, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }
}

impl Deref for Answer {
    type Target = Held;
    fn deref(&self) -> &Held {
        self.held.as_ref().expect("only drop takes it")
    }
}

impl DerefMut for Answer {
    fn deref_mut(&mut self) -> &mut Held {
        self.held.as_mut().expect("only drop takes it")
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.effects.free(held);
        }
    }
}

/// What a reply says went wrong, if anything.
#[must_use]
pub fn failure_of(reply: &Held) -> Option<Failure> {
    let kind = Status(reply.status()).kind()?;
    Some(Failure::new(kind, String::from_utf8_lossy(reply.argument().as_ref()).into_owned()))
}

/// Writes the outcome into a request that is about to be answered.
pub fn fill_result(request: &mut Held, result: Result<(), &Failure>) {
    match result {
        Ok(()) => request.set_status(Status::DONE.0),
        Err(failure) => {
            request.set_status(Status::from(failure.kind).0);
            let mut end = failure.message.len().min(protocol::ARGUMENT_MAX);
            while !failure.message.is_char_boundary(end) {
                end -= 1;
            }
            // Shorter than ARGUMENT_MAX, so it fits; a reply without its message is still a reply.
            let _fits = request.set_argument(&failure.message.as_bytes()[..end]);
        }
    }
}
