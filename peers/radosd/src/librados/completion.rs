//! An operation that the library does on its own, and what is done when it ends.

use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crossbeam::sync::WaitGroup;
use libc::{c_int, c_void, time_t};

use super::checked;
use super::functions::{Functions, Handle};

/// How an operation ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Bytes read, or 0.
    pub(crate) result: io::Result<usize>,
    /// The object's version, where the operation found one.
    pub(crate) version: u64,
    /// The object's size, if that was asked.
    pub(crate) size: u64,
}

/// Runs on a thread of the library when an operation has ended: it hands on, and never blocks.
pub(crate) type Done = Box<dyn FnOnce(Ended) + Send>;

/// What the library keeps for us while an operation runs, and where it puts what was asked.
pub(super) struct Call {
    functions: Arc<Functions>,
    done: Done,
    pub(super) size: u64,
    pub(super) changed: time_t,
    /// The context waits for its end: the library uses that until `done` has been called.
    _under_way: WaitGroup,
}

impl Call {
    fn end(self, result: c_int, version: u64) {
        (self.done)(Ended { result: checked(result), version, size: self.size });
    }
}

/// Gives an operation to the library; `done` is called once, here if the library refuses it. `submit` gets the completion, and
/// the call, which stays where it is until `done`.
pub(super) fn start(
    functions: &Arc<Functions>,
    _under_way: WaitGroup,
    done: Done,
    submit: impl FnOnce(Handle, *mut Call) -> c_int,
) {
    let call = Call { functions: functions.clone(), done, size: 0, changed: 0, _under_way };
    let call = Box::into_raw(Box::new(call));
    let mut completion: Handle = ptr::null_mut();
    // SAFETY: the library stores a new completion in `completion`, and gives `call` back to `completed`.
    let made =
        unsafe { (functions.aio_create_completion2)(call.cast(), Some(completed), &raw mut completion) };
    if made < 0 {
        return refused(call, made);
    }
    let submitted = submit(completion, call);
    if submitted < 0 {
        // SAFETY: a completion that was made above, of an operation that never began.
        unsafe { (functions.aio_release)(completion) };
        refused(call, submitted);
    }
}

/// Waits for an operation on this thread. `begin` is given what the operation calls at its end.
pub(super) fn wait(begin: impl FnOnce(Done)) -> Ended {
    let (sender, ended) = sync_channel(1);
    begin(Box::new(move |end| {
        // The receiver waits for exactly this.
        let _is_heard = sender.send(end);
    }));
    ended.recv().expect("every operation ends once")
}

/// As [`wait`], but not longer than `patience`: then nobody hears how it ended.
pub(super) fn wait_at_most(patience: Duration, begin: impl FnOnce(Done)) -> Option<Ended> {
    let (sender, ended) = sync_channel(1);
    begin(Box::new(move |end| {
        // Who asked may have gone on.
        let _is_heard = sender.send(end);
    }));
    ended.recv_timeout(patience).ok()
}

fn refused(call: *mut Call, result: c_int) {
    // SAFETY: the box was made in start(), and the library, which refused the operation, does not have it.
    let call = unsafe { Box::from_raw(call) };
    call.end(result, 0);
}

extern "C" fn completed(completion: Handle, call: *mut c_void) {
    // SAFETY: this is the box that start() gave to the library with this operation, which ends once.
    let call = unsafe { Box::from_raw(call.cast::<Call>()) };
    // SAFETY: the completion is ours until it is released below.
    let result = unsafe { (call.functions.aio_get_return_value)(completion) };
    // SAFETY: as above.
    let version = unsafe { (call.functions.aio_get_version)(completion) };
    // SAFETY: as above; the library holds its own reference while it calls us.
    unsafe { (call.functions.aio_release)(completion) };
    call.end(result, version);
}
