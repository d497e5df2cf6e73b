//! The process that starts the roles in order, watches them, and starts again what dies.
//!
//! One thread owns all state; ends of processes, answers of starting roles, and orders come to it as events.

use std::{
    collections::VecDeque,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    control::{Answer, Asked, Order, StackReport},
    process::Process,
    watched::Watched,
};

/// How long a role may take from SIGTERM to its end before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How roles are started.
pub(crate) struct Launch {
    /// The command of a role's process.
    pub(crate) command: Box<dyn Fn(&str) -> Command>,
    /// The process that already is this role, left by an earlier supervisor.
    pub(crate) running: Box<Running>,
    /// Waits until a role answers; ends early, with an error, when the flag says that its process is gone.
    pub(crate) prove: Arc<Prove>,
    /// Whether the configuration was changed since.
    pub(crate) is_changed: Box<dyn Fn() -> bool>,
}

/// See [`Launch::running`].
pub(crate) type Running = dyn Fn(&str) -> Option<u32>;
/// See [`Launch::prove`]: role, process, and whether that has ended.
pub(crate) type Prove = dyn Fn(&str, u32, &AtomicBool) -> Result<(), String> + Send + Sync;

/// What the supervisor's thread is told.
pub(crate) enum Event {
    /// A process ended.
    Ended { role: usize, incarnation: u64, how: String },
    /// A role that was started answers, or never will.
    Proven { role: usize, incarnation: u64, result: Result<(), String> },
    /// Somebody wants something.
    Ordered(Asked),
    /// SIGTERM or SIGINT came.
    Interrupted,
}

/// One step of an order.
#[derive(Debug, Clone, Copy)]
enum Step {
    Start(usize),
    Stop(usize),
}

/// An order being carried out: its steps in turn, then its answer.
struct Work {
    steps: VecDeque<Step>,
    has_begun: bool,
    kind: Kind,
    answers: Option<Sender<Answer>>,
}

/// What happens at the end of an order, and when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All roles start, or none.
    First,
    /// One role.
    One,
    /// All roles stop, and so does the supervisor.
    Last,
}

/// See the module's page.
pub(crate) struct Supervisor {
    roles: Vec<Watched>,
    launch: Launch,
    events: Receiver<Event>,
    sender: Sender<Event>,
    work: Option<Work>,
    incarnations: u64,
    first_failure: Option<(String, String)>,
}

/// How a supervisor ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was asked to.
    Stopped,
    /// A role failed to start, so none runs.
    NotStarted {
        /// Which.
        role: String,
        /// Why.
        reason: String,
    },
}

impl Supervisor {
    /// A supervisor of these roles, and where its events go.
    pub(crate) fn new(
        names: impl IntoIterator<Item = String>,
        launch: Launch,
    ) -> (Supervisor, Sender<Event>) {
        let (sender, events) = mpsc::channel();
        let roles = names.into_iter().map(Watched::new).collect();
        let supervisor = Supervisor {
            roles,
            launch,
            events,
            sender: sender.clone(),
            work: None,
            incarnations: 0,
            first_failure: None,
        };
        (supervisor, sender)
    }

    /// Starts all roles, calls `started` when all answer, and watches them until told to stop.
    pub(crate) fn run(mut self, mut started: impl FnMut()) -> End {
        self.begin(Kind::First, (0..self.roles.len()).map(Step::Start).collect(), None);
        loop {
            match self.advance() {
                Some(Kind::First) => started(),
                Some(Kind::Last) => {
                    let failure = self.first_failure.take();
                    return failure.map_or(End::Stopped, |(role, reason)| End::NotStarted { role, reason });
                }
                Some(Kind::One) => {}
                None => self.next_event(),
            }
        }
    }

    fn next_event(&mut self) {
        let event = match self.next_deadline() {
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.events.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match event {
            Ok(Event::Ended { role, incarnation, how }) => self.ended(role, incarnation, how),
            Ok(Event::Proven { role, incarnation, result }) => self.proven(role, incarnation, result),
            Ok(Event::Ordered((order, answers))) => self.ordered(&order, answers),
            Ok(Event::Interrupted) => self.stop_all(None),
            Err(_) => self.deadlines(),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.roles.iter().filter_map(|role| role.deadline()).min()
    }

    /// Kills what should have ended by now, and starts again what has waited long enough.
    fn deadlines(&mut self) {
        let now = Instant::now();
        for role in 0..self.roles.len() {
            if self.roles[role].deadline().is_some_and(|at| at <= now) && self.roles[role].overdue() {
                self.start(role);
            }
        }
    }

    fn begin(&mut self, kind: Kind, steps: VecDeque<Step>, answers: Option<Sender<Answer>>) {
        self.work = Some(Work { steps, has_begun: false, kind, answers });
    }

    /// Does what can be done of the work under way; its kind when it is finished.
    fn advance(&mut self) -> Option<Kind> {
        loop {
            let work = self.work.as_mut()?;
            let Some(step) = work.steps.front().copied() else {
                let work = self.work.take()?;
                reply(work.answers, Answer::Done);
                return Some(work.kind);
            };
            let has_begun = std::mem::replace(&mut work.has_begun, true);
            let is_done = match step {
                Step::Start(role) => {
                    if !has_begun && !self.roles[role].is_running() {
                        self.start(role);
                    }
                    self.roles[role].is_running()
                }
                Step::Stop(role) => {
                    if !has_begun {
                        self.roles[role].stop(Instant::now() + STOP_PATIENCE);
                    }
                    self.roles[role].is_stopped()
                }
            };
            // A start that failed at once has put other work in the place of this.
            let work = self.work.as_mut()?;
            if is_done {
                work.steps.pop_front();
                work.has_begun = false;
            } else if work.has_begun {
                return None;
            }
        }
    }

    fn start(&mut self, role: usize) {
        self.incarnations += 1;
        let incarnation = self.incarnations;
        let name = self.roles[role].name().to_owned();
        let gone = Arc::new(AtomicBool::new(false));
        let (sender, has_ended) = (self.sender.clone(), Arc::clone(&gone));
        let ended = move |how| {
            has_ended.store(true, Ordering::Release);
            // Nobody listens once the supervisor has ended.
            let _unheard = sender.send(Event::Ended { role, incarnation, how });
        };
        let process = match (self.launch.running)(&name) {
            Some(pid) => Process::adopt(pid, ended),
            None => Process::spawn(&mut (self.launch.command)(&name), ended),
        };
        match process {
            Ok(process) => {
                tracing::info!(role = name, pid = process.pid(), "starting");
                self.prove(role, incarnation, process.pid(), gone);
                self.roles[role].started(process, incarnation);
            }
            Err(error) => self.fail(role, format!("cannot be started: {error}")),
        }
    }

    fn prove(&self, role: usize, incarnation: u64, pid: u32, gone: Arc<AtomicBool>) {
        let (prove, sender) = (Arc::clone(&self.launch.prove), self.sender.clone());
        let name = self.roles[role].name().to_owned();
        let proof = move || {
            let result = prove(&name, pid, &gone);
            let _unheard = sender.send(Event::Proven { role, incarnation, result });
        };
        if let Err(error) = thread::Builder::new().name(format!("prove-{pid}")).spawn(proof) {
            let result = Err(format!("cannot watch it start: {error}"));
            let _unheard = self.sender.send(Event::Proven { role, incarnation, result });
        }
    }

    fn proven(&mut self, role: usize, incarnation: u64, result: Result<(), String>) {
        if !self.roles[role].is_starting(incarnation) {
            return;
        }
        match result {
            Ok(()) => {
                tracing::info!(role = self.roles[role].name(), "running");
                self.roles[role].answered();
            }
            Err(reason) if self.is_starting_by_order(role) => self.fail(role, reason),
            // It runs, yet does not answer: a new process may do better.
            Err(reason) => {
                tracing::error!(role = self.roles[role].name(), reason, "does not answer, killing it");
                self.roles[role].kill();
            }
        }
    }

    fn ended(&mut self, role: usize, incarnation: u64, how: String) {
        if self.roles[role].incarnation() != Some(incarnation) {
            return;
        }
        let was_starting = self.roles[role].is_starting(incarnation);
        let name = self.roles[role].name().to_owned();
        let delay = self.roles[role].ended(how.clone(), Instant::now());
        if was_starting && self.is_starting_by_order(role) {
            self.fail(role, format!("ended while it started: {how}"));
        } else if let Some(delay) = delay {
            tracing::error!(role = name, how, delay_ms = delay.as_millis(), "died, starting it again");
        } else {
            tracing::info!(role = name, how, "stopped");
        }
    }

    fn is_starting_by_order(&self, role: usize) -> bool {
        let step = self.work.as_ref().and_then(|work| work.steps.front());
        matches!(step, Some(Step::Start(started)) if *started == role)
    }

    /// A role can't be started: an order that wanted it fails.
    fn fail(&mut self, role: usize, reason: String) {
        let name = self.roles[role].name().to_owned();
        tracing::error!(role = name, reason, "failed to start");
        if !self.is_starting_by_order(role) {
            self.roles[role].retry_later(reason, Instant::now());
            return;
        }
        self.roles[role].give_up(reason.clone(), Instant::now() + STOP_PATIENCE);
        let Some(work) = self.work.take() else { return };
        reply(work.answers, Answer::Failed { role: name.clone(), reason: reason.clone() });
        if work.kind == Kind::First {
            self.first_failure = Some((name, reason));
            self.stop_all(None);
        }
    }

    fn stop_all(&mut self, answers: Option<Sender<Answer>>) {
        if let Some(work) = self.work.take() {
            reply(work.answers, Answer::Refused("the stack is stopping".to_owned()));
        }
        let steps = (0..self.roles.len()).rev().map(Step::Stop).collect();
        self.begin(Kind::Last, steps, answers);
    }

    fn ordered(&mut self, order: &Order, answers: Sender<Answer>) {
        let named = |name: &String| self.roles.iter().position(|role| role.name() == name);
        let steps = match order {
            Order::Status => return reply(Some(answers), Answer::Status(self.report())),
            Order::StopAll if !self.is_ending() => return self.stop_all(Some(answers)),
            Order::StopAll => return reply(Some(answers), Answer::Refused("the stack is stopping".into())),
            Order::Start(name) => named(name).map(|role| [Step::Start(role)].into()),
            Order::Stop(name) => named(name).map(|role| [Step::Stop(role)].into()),
            Order::Restart(name) => named(name).map(|role| [Step::Stop(role), Step::Start(role)].into()),
        };
        match steps {
            _ if self.work.is_some() => {
                reply(Some(answers), Answer::Refused("another command is at work".into()))
            }
            None => reply(Some(answers), Answer::Refused("there is no such role".into())),
            Some(steps) => self.begin(Kind::One, steps, Some(answers)),
        }
    }

    fn is_ending(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.kind == Kind::Last)
    }

    fn report(&self) -> StackReport {
        let roles = self.roles.iter().map(Watched::report).collect();
        StackReport {
            pid: std::process::id(),
            is_foreground: false,
            is_changed: (self.launch.is_changed)(),
            roles,
        }
    }
}

fn reply(answers: Option<Sender<Answer>>, answer: Answer) {
    if let Some(answers) = answers {
        // A command that was interrupted doesn't wait for its answer.
        let _unheard = answers.send(answer);
    }
}

#[cfg(test)]
mod tests;
