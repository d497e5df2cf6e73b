//! `archipelago run`: all roles as threads of this process.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use client::Stack;
use peer::{
    Stop,
    logging::{self, Target},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{
    control::{self, Answer, Asked, Order, RoleReport, StackReport, State},
    ground,
    pid_file::PidFile,
    reach,
    watched::now_unix_ms,
};
use crate::{config::Configuration, failure::Failed, output};

/// How long a role may take to stop before the process ends without it.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What the main thread is told.
enum Event {
    Ended { role: usize, error: Option<String> },
    Proven { role: usize, result: Result<(), String> },
    Ordered(Asked),
    Interrupted,
}

struct Thread {
    stop: Stop,
    state: State,
    since_unix_ms: u64,
}

/// The stack in this process.
struct Foreground {
    configuration: Arc<Configuration>,
    stack: Stack,
    threads: Vec<Thread>,
    events: Receiver<Event>,
    sender: Sender<Event>,
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
    let threads = Vec::new();
    let mut foreground =
        Foreground { configuration, stack, threads, events, sender, stopper: None, error: None };
    if foreground.start() {
        output::print(&foreground.greeting())?;
        foreground.watch();
    }
    foreground.stop();
    ground::destroy_segment(&foreground.configuration);
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
        for role in 0..self.configuration.roles.len() {
            if let Err(reason) = self.spawn(role) {
                self.fail(role, &reason);
                return false;
            }
            while self.threads[role].state == State::Starting {
                if !self.next_event() {
                    return false;
                }
            }
        }
        true
    }

    fn watch(&mut self) {
        while self.next_event() {}
    }

    /// Deals with one event; false if the stack is to stop.
    fn next_event(&mut self) -> bool {
        match self.events.recv() {
            Err(_) | Ok(Event::Interrupted) => false,
            Ok(Event::Ordered((Order::StopAll, answers))) => {
                self.stopper = Some(answers);
                false
            }
            Ok(Event::Ordered((order, answers))) => {
                let _unheard = answers.send(self.answer(&order));
                true
            }
            Ok(Event::Proven { role, result: Ok(()) }) => {
                self.enter(role, State::Running);
                true
            }
            Ok(Event::Proven { role, result: Err(reason) }) => {
                self.fail(role, &reason);
                false
            }
            Ok(Event::Ended { role, error }) => {
                self.enter(role, State::Crashed);
                self.fail(role, &error.unwrap_or_else(|| "it ended by itself".to_owned()));
                false
            }
        }
    }

    fn answer(&self, order: &Order) -> Answer {
        match order {
            Order::Status => Answer::Status(self.report()),
            _ => Answer::Refused("all roles run in one process; only the whole stack can be stopped".into()),
        }
    }

    fn report(&self) -> StackReport {
        let role = |(position, role): (usize, &crate::config::Role)| {
            let thread = self.threads.get(position);
            RoleReport {
                role: role.outline.name.clone(),
                // Who has no thread yet gets one when those before it answer.
                state: thread.map_or(State::Starting, |thread| thread.state),
                pid: thread.map(|_| std::process::id()),
                since_unix_ms: thread.map_or_else(now_unix_ms, |thread| thread.since_unix_ms),
                restarts: 0,
                last_end: None,
            }
        };
        let roles = self.configuration.roles.iter().enumerate().map(role).collect();
        StackReport { pid: std::process::id(), is_foreground: true, roles }
    }

    fn spawn(&mut self, role: usize) -> Result<(), String> {
        let stop = Stop::new();
        self.threads.push(Thread {
            stop: stop.clone(),
            state: State::Starting,
            since_unix_ms: now_unix_ms(),
        });
        let name = self.configuration.roles[role].outline.name.clone();
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
            let _unheard = sender.send(Event::Ended { role, error });
        };
        thread::Builder::new().name(name.clone()).spawn(body).map_err(|error| error.to_string())?;
        let (stack, sender) = (self.stack.clone(), self.sender.clone());
        let port = *self.configuration.roles[role].outline.ports.start();
        let proof = move || {
            let result = reach::prove(&stack, port, std::process::id(), &gone);
            let _unheard = sender.send(Event::Proven { role, result });
        };
        thread::Builder::new()
            .name(format!("prove-{name}"))
            .spawn(proof)
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    fn enter(&mut self, role: usize, state: State) {
        self.threads[role].state = state;
        self.threads[role].since_unix_ms = now_unix_ms();
    }

    fn fail(&mut self, role: usize, reason: &str) {
        let name = &self.configuration.roles[role].outline.name;
        tracing::error!(role = name, reason, "failed, so the stack stops");
        self.error.get_or_insert_with(|| Failed::new(format!("run {name}"), reason));
    }

    /// Stops the roles in reverse order, each when the one after it has ended.
    fn stop(&mut self) {
        for role in (0..self.threads.len()).rev() {
            if self.threads[role].state == State::Crashed {
                continue;
            }
            self.enter(role, State::Stopping);
            self.threads[role].stop.set();
            self.await_end(role);
        }
    }

    fn await_end(&mut self, awaited: usize) {
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.threads[awaited].state == State::Stopping {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Ended { role, error }) => {
                    self.enter(role, State::Stopped);
                    if let Some(error) = error {
                        self.fail(role, &error);
                    }
                }
                Ok(Event::Ordered((order, answers))) => {
                    let _unheard = answers.send(self.answer(&order));
                }
                Ok(Event::Proven { .. } | Event::Interrupted) => {}
                Err(_) => return self.fail(awaited, "it does not stop"),
            }
        }
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
