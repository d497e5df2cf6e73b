//! Tells the engine that transfers ended, where its thread cannot sleep on the ring and its inbox at once.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

use crate::config::Io;
use crate::error::Error;
use crate::pool::Wake;
use crate::ring::Ring;

/// A thread that sleeps until a transfer ends and then wakes the engine.
pub(crate) struct Notifier {
    event: Arc<OwnedFd>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Notifier {
    pub(crate) fn start(ring: &Ring, wake: Wake) -> io::Result<Self> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        ring.notify(&event)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen, over) = (event.clone(), is_over.clone());
        let builder = std::thread::Builder::new().name("filed-notifier".into());
        let thread = builder.spawn(move || {
            while rustix::io::read(&seen, &mut [0_u8; 8]).is_ok() && !over.load(Ordering::Acquire) {
                wake();
            }
        })?;
        Ok(Self { event, is_over, thread: Some(thread) })
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Any number but 0 ends the sleep of the thread.
        let _rung = rustix::io::write(&self.event, &[1; 8]);
        if let Some(thread) = self.thread.take() {
            let _has_ended = thread.join();
        }
    }
}

/// The ring, if there is to be one, and a notifier where its completions need one.
pub(crate) fn ring_as_configured(
    io: Io,
    nr_ops: usize,
    wake: &Wake,
    has_futex: bool,
) -> std::result::Result<(Option<Ring>, Option<Notifier>), Error> {
    if io == Io::Threads {
        return Ok((None, None));
    }
    let entries = u32::try_from(nr_ops).unwrap_or(u32::MAX);
    let made = Ring::new(entries, has_futex).and_then(|ring| {
        let notifier =
            if ring.can_wait_for_futex() { None } else { Some(Notifier::start(&ring, wake.clone())?) };
        Ok((Some(ring), notifier))
    });
    match made {
        Err(error) if io == Io::Auto => {
            tracing::info!(%error, "no io_uring here, threads read and write");
            Ok((None, None))
        }
        result => result.map_err(Error::Ring),
    }
}
