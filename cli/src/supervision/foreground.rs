//! `archipelago run`: all roles as threads of this process.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use client::Stack;
use peer::logging::{self, Target};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    control::{self, Answer, Asked, Order, StackReport, State},
    ground,
    pid_file::PidFile,
    reach,
    thread::RoleThread,
};
use crate::{config::Configuration, failure::Failed, output};

/// How long a role may take to stop before the others are told to.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may still take when the others have stopped, before the process ends without it.
const LATE_PATIENCE: Duration = Duration::from_secs(5);

/// What the main thread is told.
enum Event {
    Ended { role: usize, incarnation: u64, error: Option<String> },
    Proven { role: usize, incarnation: u64, result: Result<(), String> },
    Ordered(Asked),
    Interrupted,
}

/// The stack in this process.
struct Foreground {
    configuration: Arc<Configuration>,
    stack: Stack,
    threads: Vec<RoleThread>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    /// All roles have answered once: from now on, who ends is started again.
    has_started: bool,
    stopper: Option<Sender<Answer>>,
    error: Option<Failed>,
}

/// Runs the stack until SIGTERM, SIGINT or `archipelago stop`.
pub(crate) fn run(configuration: Configuration, is_json: bool) -> anyhow::Result<()> {
    ground::set_umask(&configuration);
    ground::make_directories(&configuration)?;
    let pid_file = PidFile::take(&configuration.top.supervisor_pid())?;
    let level = configuration.roles.iter().map(|role| role.outline.log_level).max().unwrap_or(0);
    logging::init(level, &Target::Stderr, is_json).context("cannot start logging")?;
    let configuration = Arc::new(configuration);
    let segment = ground::make_segment(&configuration)?;
    let _claim = ground::claim(&segment)?;
    let stack = reach::on_segment(&configuration, segment);
    let (sender, events) = mpsc::channel();
    listen(&configuration, &sender)?;
    let threads = configuration.roles.iter().map(|role| RoleThread::new(&role.outline.name)).collect();
    let mut foreground = Foreground {
        configuration,
        stack,
        threads,
        events,
        sender,
        has_started: false,
        stopper: None,
        error: None,
    };
    if foreground.start() {
        output::print(&foreground.greeting())?;
        foreground.watch();
    }
    foreground.stop();
    ground::destroy_segment(&foreground.configuration, &foreground.stack.segment);
    drop(pid_file);
    if let Some(stopper) = foreground.stopper.take() {
        let _unheard = stopper.send(Answer::Done);
    }
    foreground.error.map_or(Ok(()), |error| Err(error.into()))
}

fn listen(configuration: &Configuration, sender: &Sender<Event>) -> anyhow::Result<()> {
    let socket = configuration.top.control_socket();
    let ordered = sender.clone();
    let deliver = move |asked| {
        let _unheard = ordered.send(Event::Ordered(asked));
    };
    control::serve(&socket, deliver).with_context(|| format!("cannot listen at {}", socket.display()))?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("cannot watch for signals")?;
    let interrupted = sender.clone();
    let watch = move || {
        for _ in signals.forever() {
            let _unheard = interrupted.send(Event::Interrupted);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watch).context("cannot watch for signals")?;
    Ok(())
}

impl Foreground {
    /// Starts the roles in order, each when the one before answers. False if the stack is to stop.
    fn start(&mut self) -> bool {
        for role in 0..self.threads.len() {
            if let Err(reason) = self.spawn(role) {
                self.fail(role, &reason);
                return false;
            }
            while self.threads[role].state() == State::Starting {
                if !self.next_event() {
                    return false;
                }
            }
        }
        true
    }

    /// Starts again what ends, until the stack is to stop.
    fn watch(&mut self) {
        self.has_started = true;
        while self.next_event() {
            self.retry();
        }
    }

    fn retry(&mut self) {
        let now = Instant::now();
        for role in 0..self.threads.len() {
            if self.threads[role].retry_at().is_some_and(|at| at <= now)
                && let Err(reason) = self.spawn(role)
            {
                self.threads[role].ended(reason);
            }
        }
    }

    /// Deals with one event; false if the stack is to stop.
    fn next_event(&mut self) -> bool {
        let event = match self.threads.iter().filter_map(RoleThread::retry_at).min() {
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.events.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match event {
            Err(RecvTimeoutError::Disconnected) | Ok(Event::Interrupted) => return false,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::Ordered((Order::StopAll, answers))) => {
                self.stopper = Some(answers);
                return false;
            }
            Ok(Event::Ordered((order, answers))) => {
                let _unheard = answers.send(self.answer(&order));
            }
            Ok(Event::Proven { role, incarnation, result }) => self.proven(role, incarnation, result),
            Ok(Event::Ended { role, error, .. }) => self.ended(role, error),
        }
        self.error.is_none()
    }

    fn proven(&mut self, role: usize, incarnation: u64, result: Result<(), String>) {
        if !self.threads[role].is(incarnation) || self.threads[role].state() != State::Starting {
            return;
        }
        match result {
            Ok(()) => self.threads[role].enter(State::Running),
            Err(reason) => {
                tracing::error!(role = self.name(role), reason, "does not answer");
                self.threads[role].give_up();
            }
        }
    }

    /// A role ended by itself: one that never answered fails the start of the stack.
    fn ended(&mut self, role: usize, error: Option<String>) {
        let reason = error.unwrap_or_else(|| "it ended by itself".to_owned());
        let delay = self.threads[role].ended(reason.clone());
        if self.has_started {
            let delay_ms = delay.as_millis();
            tracing::error!(role = self.name(role), reason, delay_ms, "died, starting it again");
        } else {
            self.fail(role, &reason);
        }
    }

    fn answer(&self, order: &Order) -> Answer {
        match order {
            Order::Status => Answer::Status(self.report()),
            _ => Answer::Refused("all roles run in one process; only the whole stack can be stopped".into()),
        }
    }

    fn report(&self) -> StackReport {
        let roles = self.threads.iter().map(RoleThread::report).collect();
        StackReport {
            pid: std::process::id(),
            is_foreground: true,
            is_changed: self.configuration.is_changed(),
            roles,
        }
    }

    fn name(&self, role: usize) -> &str {
        &self.configuration.roles[role].outline.name
    }

    fn spawn(&mut self, role: usize) -> Result<(), String> {
        let (stop, incarnation) = self.threads[role].begin();
        let name = self.name(role).to_owned();
        let (configuration, stack) = (Arc::clone(&self.configuration), self.stack.clone());
        let (sender, gone) = (self.sender.clone(), Arc::new(AtomicBool::new(false)));
        let has_ended = Arc::clone(&gone);
        let body = move || {
            let serve = || reach::serve(&stack, &configuration, &configuration.roles[role], &stop);
            let error = match catch_unwind(AssertUnwindSafe(serve)) {
                Ok(result) => result.err().map(|error| format!("{error:#}")),
                Err(_) => Some("it panicked".to_owned()),
            };
            has_ended.store(true, std::sync::atomic::Ordering::Release);
            let _unheard = sender.send(Event::Ended { role, incarnation, error });
        };
        thread::Builder::new().name(name.clone()).spawn(body).map_err(|error| error.to_string())?;
        let (stack, sender) = (self.stack.clone(), self.sender.clone());
        let port = *self.configuration.roles[role].outline.ports.start();
        let proof = move || {
            let result = reach::prove(&stack, port, std::process::id(), &gone);
            let _unheard = sender.send(Event::Proven { role, incarnation, result });
        };
        thread::Builder::new()
            .name(format!("prove-{name}"))
            .spawn(proof)
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    fn fail(&mut self, role: usize, reason: &str) {
        let name = self.name(role).to_owned();
        tracing::error!(role = name, reason, "failed, so the stack stops");
        self.error.get_or_insert_with(|| Failed::new(format!("run {name}"), reason));
    }

    /// Stops the roles in reverse order, each when the one after it has ended. One that waits for what a role before it has
    /// (a lock of another node, of the mapper) ends when that has stopped.
    fn stop(&mut self) {
        let mut late = Vec::new();
        for role in (0..self.threads.len()).rev() {
            if self.threads[role].stop() && !self.await_end(role, STOP_PATIENCE) {
                late.push(role);
            }
        }
        for role in late {
            if !self.await_end(role, LATE_PATIENCE) {
                self.fail(role, "it does not stop");
            }
        }
    }

    /// Whether the role has ended in time.
    fn await_end(&mut self, awaited: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.threads[awaited].state() == State::Stopping {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Ended { role, incarnation, error }) if self.threads[role].is(incarnation) => {
                    self.threads[role].enter(State::Stopped);
                    if let Some(error) = error {
                        self.fail(role, &error);
                    }
                }
                Ok(Event::Ordered((order, answers))) => {
                    let _unheard = answers.send(self.answer(&order));
                }
                Ok(Event::Ended { .. } | Event::Proven { .. } | Event::Interrupted) => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn greeting(&self) -> String {
        let top = &self.configuration.top;
        let mut text = format!("segment   {}\n", reach::segment_name(&self.configuration));
        for role in &self.configuration.roles {
            for place in role.settings.listens_at() {
                text.push_str(&format!("{:<9} {place}\n", role.outline.name));
            }
        }
        text.push_str(&format!("control   {}\nready\n", top.control_socket().display()));
        text
    }
}
