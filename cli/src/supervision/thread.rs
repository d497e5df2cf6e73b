//! One role of `archipelago run`: its thread, and what became of earlier ones.

use std::time::{Duration, Instant};

use peer::Stop;

use super::{
    backoff::Backoff,
    control::{RoleReport, State},
    watched::now_unix_ms,
};

/// A role that runs as a thread of this process.
pub(super) struct RoleThread {
    name: String,
    state: State,
    since_unix_ms: u64,
    stop: Stop,
    incarnation: u64,
    started: Instant,
    retry_at: Option<Instant>,
    backoff: Backoff,
    restarts: u32,
    last_end: Option<String>,
}

impl RoleThread {
    /// A role without a thread yet.
    pub(super) fn new(name: &str) -> RoleThread {
        RoleThread {
            name: name.to_owned(),
            // Who has no thread yet gets one when those before it answer.
            state: State::Starting,
            since_unix_ms: now_unix_ms(),
            stop: Stop::new(),
            incarnation: 0,
            started: Instant::now(),
            retry_at: None,
            backoff: Backoff::default(),
            restarts: 0,
            last_end: None,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn enter(&mut self, state: State) {
        self.state = state;
        self.since_unix_ms = now_unix_ms();
    }

    /// Whether it has, or had, a thread; one whose thread is `incarnation`.
    pub(super) fn is(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation
    }

    /// A new thread begins; what stops it, and which it is.
    pub(super) fn begin(&mut self) -> (Stop, u64) {
        self.restarts += u32::from(self.retry_at.take().is_some());
        self.incarnation += 1;
        self.started = Instant::now();
        self.stop = Stop::new();
        self.enter(State::Starting);
        (self.stop.clone(), self.incarnation)
    }

    /// Its thread ended though nobody asked; how long it waits before it is started again.
    pub(super) fn ended(&mut self, how: String) -> Duration {
        let now = Instant::now();
        let delay = self.backoff.after_death(self.started, now);
        self.retry_at = Some(now + delay);
        self.last_end = Some(how);
        self.enter(State::Crashed);
        delay
    }

    /// When it is started again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Asks its thread to end. False if it has none.
    pub(super) fn stop(&mut self) -> bool {
        let has_thread = self.incarnation > 0 && self.state != State::Crashed;
        if has_thread {
            self.enter(State::Stopping);
            self.stop.set();
        } else {
            self.enter(State::Stopped);
        }
        has_thread
    }

    /// Asks a thread that does not answer to end, so that another takes its place.
    pub(super) fn give_up(&self) {
        self.stop.set();
    }

    /// For people.
    pub(super) fn report(&self) -> RoleReport {
        RoleReport {
            role: self.name.clone(),
            state: self.state,
            pid: Some(std::process::id()),
            since_unix_ms: self.since_unix_ms,
            restarts: self.restarts,
            last_end: self.last_end.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_is_started_again_at_once_and_then_later() {
        let mut role = RoleThread::new("vlmcd");
        let (_, first) = role.begin();
        assert_eq!(role.ended("it panicked".into()), Duration::ZERO);
        assert!(role.retry_at().is_some() && role.report().restarts == 0);
        let (_, second) = role.begin();
        assert!(role.is(second) && !role.is(first) && role.retry_at().is_none());
        assert!(role.ended("it panicked".into()) > Duration::ZERO);
        assert_eq!(role.report().restarts, 1);
        assert!(!role.stop());
    }
}
