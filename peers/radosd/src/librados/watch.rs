//! Being told when an object's keeper wants to tell something.

use std::ffi::{CStr, CString};
use std::io;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use libc::{c_char, c_int, c_void, size_t};

use super::checked;
use super::context::Context;

/// What a watch hears. On a thread of the library: whoever is told hands on, and never blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Somebody notifies, and waits until this is answered.
    Notification(u64),
    /// Notifications may have been missed, and will be.
    Lost,
}

type Tell = Box<dyn Fn(Heard) + Send + Sync>;

/// A watch on an object; ends when dropped, which blocks.
pub(crate) struct Watch {
    context: Arc<Context>,
    name: CString,
    cookie: u64,
    /// Given to the library; a box of a box, because that is one pointer wide.
    tell: *mut Tell,
}

// SAFETY: `tell` may be called from any thread, and librados allows all calls from any thread.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

/// After so long without a word of a watcher the cluster takes it for dead.
const WATCH_TIMEOUT_S: u32 = 10;

impl Watch {
    /// Begins to watch an object, which must be there; blocks until the cluster knows.
    pub(crate) fn start(context: &Arc<Context>, name: &CStr, tell: Tell) -> io::Result<Self> {
        let tell = Box::into_raw(Box::new(tell));
        let mut watch = Self { context: context.clone(), name: name.to_owned(), cookie: 0, tell };
        let cookie = &raw mut watch.cookie;
        let functions = &context.cluster().functions;
        // SAFETY: `tell` lives until the watch is dropped, which waits for calls under way.
        let begun = unsafe {
            (functions.watch3)(
                context.raw(),
                name.as_ptr(),
                cookie,
                notified,
                Some(failed),
                WATCH_TIMEOUT_S,
                tell.cast(),
            )
        };
        checked(begun)?;
        Ok(watch)
    }

    /// Answers a notification with some bytes.
    pub(crate) fn answer(&self, notification: u64, bytes: &[u8]) {
        let len = c_int::try_from(bytes.len()).unwrap_or(0);
        let (io, name, bytes) = (self.context.raw(), self.name.as_ptr(), bytes.as_ptr().cast());
        let functions = &self.context.cluster().functions;
        // An answer that cannot be sent is one that does not come, for which the other side is prepared.
        // SAFETY: the library copies name and bytes.
        let _sent = unsafe { (functions.notify_ack)(io, name, notification, self.cookie, bytes, len) };
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let functions = &self.context.cluster().functions;
        if self.cookie != 0 {
            // One that cannot be ended now times out.
            // SAFETY: the watch that was begun in start(), ended once.
            let _ended = unsafe { (functions.unwatch2)(self.context.raw(), self.cookie) };
        }
        // SAFETY: a connected handle. When this returns nobody is inside `tell` any more, nor will be.
        let _flushed = unsafe { (functions.watch_flush)(self.context.cluster().raw()) };
        // SAFETY: the box made in start(), which the library does not have any more.
        drop(unsafe { Box::from_raw(self.tell) });
    }
}

extern "C" fn notified(tell: *mut c_void, notification: u64, _: u64, _: u64, _: *mut c_void, _: size_t) {
    // SAFETY: the box that start() gave with the watch, which drop() does not free before this has returned.
    let tell = unsafe { &*tell.cast::<Tell>() };
    tell(Heard::Notification(notification));
}

extern "C" fn failed(tell: *mut c_void, _cookie: u64, _error: c_int) {
    // SAFETY: as in notified().
    let tell = unsafe { &*tell.cast::<Tell>() };
    tell(Heard::Lost);
}

impl Context {
    /// Tells all watchers of an object, and gives what they answered; blocks until all have, at most `patience`.
    pub(crate) fn notify_now(&self, name: &CStr, patience: Duration) -> io::Result<Vec<Vec<u8>>> {
        let functions = &self.cluster().functions;
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let (mut reply, mut len): (*mut c_char, size_t) = (ptr::null_mut(), 0);
        // SAFETY: no bytes are sent; the library stores a new reply in `reply`.
        let told = unsafe {
            (functions.notify2)(
                self.raw(),
                name.as_ptr(),
                ptr::null(),
                0,
                patience_ms,
                &raw mut reply,
                &raw mut len,
            )
        };
        let answers = if reply.is_null() {
            Vec::new()
        } else {
            // SAFETY: the reply that the library stored, of that many bytes, until it is freed below.
            let bytes = unsafe { std::slice::from_raw_parts(reply.cast::<u8>(), len) };
            let answers = answers(bytes);
            // SAFETY: as above; it is not used any more.
            unsafe { (functions.buffer_free)(reply) };
            answers
        };
        match checked(told) {
            // Some did not answer; those that did count.
            Err(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => Ok(answers),
            result => result.map(|_| answers),
        }
    }
}

/// The answers in a reply: their count (4 bytes), and for each its client, watch (8 bytes each), length (4 bytes) and bytes. What
/// follows, who did not answer, is not of interest.
fn answers(mut reply: &[u8]) -> Vec<Vec<u8>> {
    fn word<const N: usize>(reply: &mut &[u8]) -> Option<[u8; N]> {
        let (word, rest) = reply.split_first_chunk::<N>()?;
        *reply = rest;
        Some(*word)
    }
    let count = word(&mut reply).map_or(0, u32::from_le_bytes);
    let mut next = || {
        let _client_and_watch: [u8; 16] = word(&mut reply)?;
        let len = usize::try_from(u32::from_le_bytes(word(&mut reply)?)).ok()?;
        let (answer, rest) = reply.split_at_checked(len)?;
        reply = rest;
        Some(answer.to_vec())
    };
    (0..count).map_while(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_and_a_cut_reply_gives_those_that_are_whole() {
        let mut reply = 2_u32.to_le_bytes().to_vec();
        for answer in [&b"one"[..], b"two!"] {
            reply.extend([7; 16]);
            reply.extend(u32::try_from(answer.len()).unwrap().to_le_bytes());
            reply.extend(answer);
        }
        assert_eq!(answers(&reply), [b"one".to_vec(), b"two!".to_vec()]);
        assert_eq!(answers(&reply[..reply.len() - 1]), [b"one".to_vec()]);
        assert!(answers(&[]).is_empty() && answers(&[255; 9]).is_empty());
    }
}
