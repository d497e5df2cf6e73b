//! A stack of one process a role, with a supervisor.

use std::{
    ops::Deref,
    process::Command,
    time::{Duration, Instant},
};

use crate::{TestStack, run};

/// How long a role may take to come back on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(10);

/// A stack started as an operator starts it; stopped when dropped.
pub struct Supervised(TestStack);

impl Deref for Supervised {
    type Target = TestStack;

    fn deref(&self) -> &TestStack {
        &self.0
    }
}

impl Supervised {
    /// Starts a stack on the embedded default.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start() -> Supervised {
        Supervised::start_as(TestStack::prepared(&[], |configuration| configuration))
    }

    /// Starts what nobody runs yet.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_as(stack: TestStack) -> Supervised {
        stack.archipelago(&["start"]).done();
        Supervised(stack)
    }

    /// The process of a role, or of the `supervisor`: as its pid file says.
    #[must_use]
    pub fn pid(&self, role: &str) -> Option<u32> {
        std::fs::read_to_string(self.path("run").join(format!("{role}.pid"))).ok()?.trim().parse().ok()
    }

    /// Kills the process of a role, or of the `supervisor`. Its number, if there is one.
    pub fn kill(&self, role: &str) -> Option<u32> {
        let pid = self.pid(role)?;
        // One that is away leaves its file, and its number may be another process's by now.
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if !String::from_utf8_lossy(&words).contains(&*self.configuration().to_string_lossy()) {
            return None;
        }
        // It may just be ending.
        let _gone = run(Command::new("kill").args(["-KILL", &pid.to_string()]));
        Some(pid)
    }

    /// Waits until a role has another process than `before`.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn await_another(&self, role: &str, before: Option<u32>) {
        self.await_true(&format!("{role} does not come back"), || {
            let now = self.pid(role);
            now.is_some() && now != before
        });
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// If it never does.
    pub fn await_true(&self, lack: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{lack}: {}", self.archipelago(&["status"]).stdout());
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let stopped = self.archipelago(&["stop", "--force"]);
        if !std::thread::panicking() {
            stopped.done();
        }
    }
}
