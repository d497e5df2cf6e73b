//! Named steps of the protocol, where the kill test ends a process. Nothing without the feature `killpoints`.

/// Says that the process reached a step. With the feature, the environment variable `XSEG_KILL_AT` (a count of
/// steps) makes the process kill itself there.
#[inline(always)]
pub(crate) fn step(_name: &'static str) {
    #[cfg(all(feature = "killpoints", not(loom)))]
    counting::reach();
    #[cfg(all(test, loom))]
    crate::models::reach();
}

#[cfg(all(feature = "killpoints", not(loom)))]
mod counting {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    /// Steps left until the kill; 0 for never.
    static LEFT: LazyLock<AtomicU64> = LazyLock::new(|| {
        let at = std::env::var("XSEG_KILL_AT").ok().and_then(|text| text.parse().ok());
        AtomicU64::new(at.unwrap_or(0))
    });

    pub(super) fn reach() {
        if LEFT.load(Ordering::Relaxed) > 0 && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
            let me = rustix::process::getpid();
            let done = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            unreachable!("a process survived its own SIGKILL: {done:?}");
        }
    }
}
