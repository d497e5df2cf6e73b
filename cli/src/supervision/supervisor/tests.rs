use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::*;
use crate::supervision::control::State;

/// A stack of shell scripts in a directory. A role answers as soon as its file NAME.up is there.
struct Stack {
    _dir: tempfile::TempDir,
    path: PathBuf,
    events: Sender<Event>,
    started: Receiver<()>,
    thread: thread::JoinHandle<End>,
}

fn launch(path: PathBuf, scripts: &'static [(&'static str, &'static str)]) -> Launch {
    let home = path.clone();
    let command = move |name: &str| {
        let script = scripts.iter().find(|(role, _)| *role == name).unwrap().1;
        let mut command = Command::new("sh");
        command.current_dir(&home).env("ROLE", name).args(["-c", script]);
        command
    };
    let prove = move |name: &str, pid: u32, gone: &AtomicBool| loop {
        if fs::read_to_string(path.join(format!("{name}.up")))
            .is_ok_and(|text| text.trim() == pid.to_string())
        {
            return Ok(());
        }
        if gone.load(Ordering::Acquire) {
            return Err("gone".to_owned());
        }
        thread::yield_now();
    };
    Launch {
        command: Box::new(command),
        running: Box::new(|_| None),
        prove: Arc::new(prove),
        is_changed: Box::new(|| false),
    }
}

const SERVE: &str = "echo $ROLE >> order; echo $$ > $ROLE.up; exec sleep 1000";

fn stack(scripts: &'static [(&'static str, &'static str)]) -> Stack {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let (signal, started) = mpsc::channel();
    let (to_main, from_thread) = mpsc::channel();
    let home = path.clone();
    let thread = thread::spawn(move || {
        let names = scripts.iter().map(|(name, _)| (*name).to_owned());
        let (supervisor, events) = Supervisor::new(names, launch(home, scripts));
        to_main.send(events).unwrap();
        supervisor.run(|| signal.send(()).unwrap())
    });
    Stack { _dir: dir, path, events: from_thread.recv().unwrap(), started, thread }
}

impl Stack {
    fn ask(&self, order: Order) -> Answer {
        let (sender, answers) = mpsc::channel();
        self.events.send(Event::Ordered((order, sender))).unwrap();
        answers.recv().unwrap()
    }

    fn report(&self, role: &str) -> crate::supervision::control::RoleReport {
        let Answer::Status(report) = self.ask(Order::Status) else { panic!("no status") };
        report.roles.into_iter().find(|found| found.role == role).unwrap()
    }

    /// Asks for the role until `is_so`.
    fn wait_for(&self, role: &str, is_so: impl Fn(&crate::supervision::control::RoleReport) -> bool) {
        while !is_so(&self.report(role)) {
            thread::yield_now();
        }
    }

    fn end(self) -> End {
        assert_eq!(self.ask(Order::StopAll), Answer::Done);
        self.thread.join().unwrap()
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn roles_start_in_order_and_all_stop() {
    let stack = stack(&[("a", SERVE), ("b", SERVE), ("c", SERVE)]);
    stack.started.recv().unwrap();
    assert_eq!(lines(&stack.path.join("order")), ["a", "b", "c"]);
    assert_eq!(stack.report("b").state, State::Running);
    assert_eq!(stack.end(), End::Stopped);
}

#[test]
fn a_role_that_fails_to_start_stops_those_before_it() {
    let stack = stack(&[
        ("a", "trap 'echo stopped > a.end; exit' TERM; echo $$ > a.up; while :; do sleep 0.01; done"),
        ("b", "exit 7"),
    ]);
    let expected = "ended while it started: exit status: 7";
    let dir = stack.path.clone();
    let (reasons, end) = (["gone", expected], stack.thread.join().unwrap());
    let End::NotStarted { role, reason } = end else { panic!("it started") };
    assert!(role == "b" && reasons.contains(&reason.as_str()), "{role}: {reason}");
    assert_eq!(lines(&dir.join("a.end")), ["stopped"]);
}

#[test]
fn a_role_that_dies_is_started_again_and_counted() {
    let stack = stack(&[("a", SERVE), ("b", SERVE)]);
    stack.started.recv().unwrap();
    let first = stack.report("b").pid.unwrap();
    super::super::process::end(first, Duration::from_secs(60)).unwrap();
    stack.wait_for("b", |role| role.state == State::Running && role.restarts == 1);
    assert_ne!(stack.report("b").pid, Some(first));
    assert_eq!(stack.report("a").restarts, 0);
    assert!(stack.report("b").last_end.unwrap().contains("signal"));
    assert_eq!(stack.end(), End::Stopped);
}

#[test]
fn one_role_stops_starts_and_restarts_alone() {
    let stack = stack(&[("a", SERVE), ("b", SERVE)]);
    stack.started.recv().unwrap();
    assert_eq!(stack.ask(Order::Stop("b".into())), Answer::Done);
    assert_eq!((stack.report("b").state, stack.report("a").state), (State::Stopped, State::Running));
    assert_eq!(stack.ask(Order::Start("b".into())), Answer::Done);
    let before = stack.report("b").pid;
    assert_eq!(stack.ask(Order::Restart("b".into())), Answer::Done);
    assert_ne!(stack.report("b").pid, before);
    assert_eq!(stack.report("b").restarts, 0);
    assert!(matches!(stack.ask(Order::Start("x".into())), Answer::Refused(_)));
    assert_eq!(stack.end(), End::Stopped);
}

#[test]
fn a_process_left_by_an_earlier_supervisor_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut left = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = left.id();
    fs::write(dir.path().join("a.up"), pid.to_string()).unwrap();
    let mut launch = launch(dir.path().to_owned(), &[]);
    let once = Mutex::new(Some(pid));
    launch.running = Box::new(move |_| once.lock().unwrap().take());
    let (supervisor, events) = Supervisor::new(["a".to_owned()], launch);
    let end = supervisor.run(|| events.send(Event::Interrupted).unwrap());
    assert_eq!(end, End::Stopped);
    assert!(!left.wait().unwrap().success());
}
