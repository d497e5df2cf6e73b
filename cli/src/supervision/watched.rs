//! One role as its supervisor knows it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{
    backoff::Backoff,
    control::{RoleReport, State},
    process::Process,
};

/// Stopped → Starting → Running; from both to Stopping when it is asked to end, to Crashed when it ends by itself.
/// Crashed → Starting when it has waited; Stopping → Stopped when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No process, and none is wanted.
    Stopped,
    /// A process that has not answered yet.
    Starting,
    /// A process that answers.
    Running,
    /// A process that was asked to end, and is killed then.
    Stopping { kill_at: Instant },
    /// No process; one is started then.
    Crashed { retry_at: Instant },
}

/// A role, its process if it has one, and what became of earlier ones.
#[derive(Debug)]
pub(crate) struct Watched {
    name: String,
    phase: Phase,
    since_unix_ms: u64,
    process: Option<Running>,
    backoff: Backoff,
    restarts: u32,
    last_end: Option<String>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    incarnation: u64,
    started: Instant,
}

impl Watched {
    /// A role that does not run.
    pub(crate) fn new(name: String) -> Watched {
        let (phase, since_unix_ms) = (Phase::Stopped, now_unix_ms());
        Watched {
            name,
            phase,
            since_unix_ms,
            process: None,
            backoff: Backoff::default(),
            restarts: 0,
            last_end: None,
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it answers.
    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether this very process has yet to answer.
    pub(crate) fn is_starting(&self, incarnation: u64) -> bool {
        self.phase == Phase::Starting && self.incarnation() == Some(incarnation)
    }

    /// Whether it has no process and wants none.
    pub(crate) fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Which of its processes it has.
    pub(crate) fn incarnation(&self) -> Option<u64> {
        self.process.as_ref().map(|running| running.incarnation)
    }

    /// When something is to be done about it: see [`Watched::overdue`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Stopping { kill_at: at } | Phase::Crashed { retry_at: at } => Some(at),
            Phase::Stopped | Phase::Starting | Phase::Running => None,
        }
    }

    /// Its deadline has passed: kills it if it should have ended; true if it is to be started.
    pub(crate) fn overdue(&mut self) -> bool {
        match self.phase {
            Phase::Stopping { .. } => {
                tracing::error!(role = self.name, "does not stop, killing it");
                self.kill();
                // The end of a killed process is told; this only keeps the deadline from passing over and over.
                self.phase = Phase::Stopping { kill_at: Instant::now() + Duration::from_secs(3600) };
                false
            }
            Phase::Crashed { .. } => {
                self.restarts = self.restarts.saturating_add(1);
                true
            }
            Phase::Stopped | Phase::Starting | Phase::Running => false,
        }
    }

    /// It has a process.
    pub(crate) fn started(&mut self, process: Process, incarnation: u64) {
        self.process = Some(Running { process, incarnation, started: Instant::now() });
        self.enter(Phase::Starting);
    }

    /// It answers.
    pub(crate) fn answered(&mut self) {
        self.enter(Phase::Running);
    }

    /// It is to end, by force after `kill_at`.
    pub(crate) fn stop(&mut self, kill_at: Instant) {
        match &self.process {
            None => self.enter(Phase::Stopped),
            Some(running) => {
                running.process.terminate();
                if !matches!(self.phase, Phase::Stopping { .. }) {
                    self.enter(Phase::Stopping { kill_at });
                }
            }
        }
    }

    /// It is ended.
    pub(crate) fn kill(&self) {
        if let Some(running) = &self.process {
            running.process.kill();
        }
    }

    /// It failed to start and is not wanted any more.
    pub(crate) fn give_up(&mut self, reason: String, kill_at: Instant) {
        self.last_end = Some(reason);
        self.stop(kill_at);
    }

    /// It could not even be started, but is wanted.
    pub(crate) fn retry_later(&mut self, reason: String, now: Instant) {
        self.last_end = Some(reason);
        let retry_at = now + self.backoff.after_death(now, now).max(Duration::from_millis(100));
        self.enter(Phase::Crashed { retry_at });
    }

    /// Its process ended; when it is wanted, how long it waits before it is started again.
    pub(crate) fn ended(&mut self, how: String, now: Instant) -> Option<Duration> {
        let started = self.process.take().map_or(now, |running| running.started);
        self.last_end = Some(how);
        match self.phase {
            Phase::Stopping { .. } | Phase::Stopped => {
                self.enter(Phase::Stopped);
                None
            }
            Phase::Starting | Phase::Running | Phase::Crashed { .. } => {
                let delay = self.backoff.after_death(started, now);
                self.enter(Phase::Crashed { retry_at: now + delay });
                Some(delay)
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since_unix_ms = now_unix_ms();
    }

    /// For people.
    pub(crate) fn report(&self) -> RoleReport {
        RoleReport {
            role: self.name.clone(),
            state: match self.phase {
                Phase::Stopped => State::Stopped,
                Phase::Starting => State::Starting,
                Phase::Running => State::Running,
                Phase::Stopping { .. } => State::Stopping,
                Phase::Crashed { .. } => State::Crashed,
            },
            pid: self.process.as_ref().map(|running| running.process.pid()),
            since_unix_ms: self.since_unix_ms,
            restarts: self.restarts,
            last_end: self.last_end.clone(),
        }
    }
}

/// The time of day.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
