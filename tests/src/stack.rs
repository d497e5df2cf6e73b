//! A stack of one's own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use client::{Client, Stack};
use xseg::Segment;

use crate::{Namespace, Outcome};

/// How long a stack may take to come up or go down on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a stack that comes up is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// A running stack in a directory that goes with it.
pub struct TestStack {
    directory: tempfile::TempDir,
    configuration: PathBuf,
    running: Mutex<Option<Child>>,
    /// Where it runs, if not where the tests do.
    namespace: Option<Namespace>,
}

impl TestStack {
    /// Starts a stack on the embedded default.
    #[must_use]
    pub fn start() -> TestStack {
        TestStack::start_with(&[], |configuration| configuration)
    }

    /// Starts a second node on the blocks and maps of `other`.
    #[must_use]
    pub fn start_beside(other: &TestStack) -> TestStack {
        let (blocks, maps) = (other.path("blocks"), other.path("maps"));
        TestStack::start_with(&["--blocks", text(&blocks), "--maps", text(&maps)], |configuration| {
            configuration
        })
    }

    /// Starts two nodes on the same blocks and maps.
    #[must_use]
    pub fn start_two() -> (TestStack, TestStack) {
        let first = TestStack::start();
        let second = TestStack::start_beside(&first);
        (first, second)
    }

    /// Starts a stack whose configuration `init` wrote with more arguments and `edit` changed.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_with(arguments: &[&str], edit: impl FnOnce(String) -> String) -> TestStack {
        let stack = TestStack::prepared(arguments, edit);
        stack.launch();
        stack
    }

    /// A configuration that nobody runs yet.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn prepared(arguments: &[&str], edit: impl FnOnce(String) -> String) -> TestStack {
        let directory = tempfile::Builder::new().prefix("archipelago-").tempdir().unwrap();
        let mut init = vec!["config", "init", "--dir", text(directory.path())];
        init.extend(arguments);
        let configuration = PathBuf::from(run(Command::new(program("archipelago")).args(&init)).done());
        let written = std::fs::read_to_string(&configuration).unwrap();
        std::fs::write(&configuration, edit(written)).unwrap();
        TestStack { directory, configuration, running: Mutex::default(), namespace: None }
    }

    /// From now on it runs in a network of its own.
    pub(crate) fn move_into(&mut self, namespace: Namespace) {
        self.namespace = Some(namespace);
    }

    /// Starts what was stopped.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn run(&mut self) {
        self.launch();
    }

    /// Stops it as an operator would.
    ///
    /// # Panics
    /// If it does not go down.
    pub fn stop(&mut self) {
        self.end("TERM");
    }

    /// Ends it as a power switch would end its processes.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    pub(crate) fn launch(&self) {
        let log = std::fs::File::create(self.path("run.out")).unwrap();
        let mut command = self.command("archipelago", &["run"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        *self.running() = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while self.archipelago(&["status"]).code() != Some(0) {
            let ended = self.running().as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the stack does not come up: {}",
                self.log()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends a signal to its process, if it runs, and waits until that has ended.
    pub(crate) fn end(&self, name: &str) {
        let Some(mut child) = self.running().take() else { return };
        signal(&child, name);
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the stack does not stop: {}", self.log());
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends a signal to its process, if it runs: this one.
    pub(crate) fn signal(&self, name: &str) -> Option<u32> {
        let running = self.running();
        running.as_ref().map(|child| {
            signal(child, name);
            child.id()
        })
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the stack logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("run.out")).unwrap_or_default()
    }

    /// A file in the stack's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration's file.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Runs `vlmc` on this stack.
    #[must_use]
    pub fn vlmc(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.command("vlmc", arguments))
    }

    /// Runs `archipelago` on this stack.
    #[must_use]
    pub fn archipelago(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.command("archipelago", arguments))
    }

    /// A command of ours, told by the environment which stack it is for.
    #[must_use]
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program(name)),
            Some(namespace) => namespace.command(program(name)),
        };
        command.args(arguments).env("ARCHIPELAGO_CONFIG", &self.configuration);
        command
    }

    /// Where the roles are, from the configuration.
    ///
    /// # Panics
    /// If the segment is not there.
    #[must_use]
    pub fn stack(&self) -> Stack {
        self.try_stack().unwrap()
    }

    /// Where the roles are, if there is a segment now.
    ///
    /// # Errors
    /// If there is none.
    ///
    /// # Panics
    /// If the configuration makes no sense.
    pub fn try_stack(&self) -> Result<Stack, xseg::Error> {
        let table = self.table();
        let port = |role: &str, key: &str| u32::try_from(table[role][key].as_integer().unwrap()).unwrap();
        let segment = Segment::open(&format!("posix:{}", table["segment_name"].as_str().unwrap()))?;
        Ok(Stack {
            segment,
            vlmc: port("vlmcd", "portno_start")..=port("vlmcd", "portno_end"),
            mapper: port("mapperd", "portno_start"),
            blocker_maps: port("blockerm", "portno_start"),
            blocker_blocks: port("blockerb", "portno_start"),
            endpoints: ["nbd", "fuse"]
                .into_iter()
                // A machine without FUSE has a stack without it.
                .filter(|role| table.contains_key(*role))
                .map(|role| (role.to_owned(), port(role, "portno_start")))
                .collect(),
            node: table["node"].as_str().unwrap().to_owned(),
        })
    }

    fn table(&self) -> toml::Table {
        let text = std::fs::read_to_string(&self.configuration).unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    /// A caller on the stack's segment.
    ///
    /// # Panics
    /// If the segment has no room.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.stack()).unwrap()
    }
}

impl Drop for TestStack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the stack's log:\n{}", self.log());
            self.end("KILL");
        } else {
            self.end("TERM");
        }
        self.clear_up();
    }
}

impl TestStack {
    /// What a stack leaves that was started in the background, or killed: processes, its segment, its mount.
    fn clear_up(&self) {
        let _stopped = self.archipelago(&["stop", "--force"]);
        let _unmounted = run(Command::new("umount").args(["--quiet", "--lazy"]).arg(self.path("volumes")));
        self.remove_segment();
    }

    pub(crate) fn remove_segment(&self) {
        if let Some(name) = self.table().get("segment_name").and_then(toml::Value::as_str) {
            let _gone = std::fs::remove_file(Path::new("/dev/shm").join(name));
        }
    }
}

/// Bytes that tell where they belong: no two 8-byte words of any two seeds are alike.
#[must_use]
pub fn pattern(seed: u32, length: usize) -> Vec<u8> {
    let words =
        (0_u32..).map(|index| (u64::from(seed) << 32 | u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(length).collect()
}

/// Runs a command to its end, with nothing to read.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn run(command: &mut Command) -> Outcome {
    let line = format!("{command:?}");
    Outcome::new(line, command.stdin(Stdio::null()).output().unwrap())
}

fn signal(child: &Child, name: &str) {
    // One that has ended already needs no signal; whether it did is seen by waiting for it.
    let _ended = run(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]));
}

/// Whether all threads of a process have stopped: a signal reaches one after the other.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    let has_stopped = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .is_ok_and(|mut tasks| tasks.all(|task| task.is_ok_and(has_stopped)))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Our programs lie near the test's own; they are built first if they are not there.
fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let ours = std::env::current_exe().unwrap();
        let folder = ours.parent().unwrap();
        // Tests lie one deeper than programs.
        let folder = folder.ancestors().find(|folder| !folder.ends_with("deps")).unwrap().to_owned();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "cli", "--bins"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "cannot build the commands");
        folder
    });
    folder.join(name)
}
