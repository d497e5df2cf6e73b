//! A network of one's own: storage in the middle, hosts around it.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Namespace, TestStack, is_root, is_stopped, run, tool};

/// Where storage listens.
const STORAGE: &str = "10.77.0.1";
/// The switch's own address. By default it is the lowest of those plugged in: then each host that comes may change it, and what
/// the others send to the one they know is lost until they ask again, which may take a minute.
const SWITCH: &str = "06:77:00:00:00:01";
/// How long a busy machine may take to stop a process.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(2);

/// A switch, storage on it, and the sockets into which hosts are plugged.
pub struct Network {
    storage: Arc<Namespace>,
    host_count: AtomicUsize,
}

/// A host: a stack with a segment, a node's identity and a network of its own, and one cable.
pub struct Host {
    stack: TestStack,
    /// At its other end.
    storage: Arc<Namespace>,
    cable: String,
}

impl Network {
    /// Whether there can be networks here; why not.
    ///
    /// # Errors
    /// What is missing.
    pub fn is_possible() -> Result<(), String> {
        if let Some(missing) =
            ["ip", "nsenter", "unshare"].into_iter().find(|program| tool(program).is_none())
        {
            return Err(format!("missing tool: {missing} (`cargo xtask setup` installs it)"));
        }
        if !is_root() {
            return Err("network namespaces need root".to_owned());
        }
        let tried =
            run(Command::new("unshare").args(["--net", "ip", "link", "add", "bridge", "type", "bridge"]));
        match tried.code() {
            Some(0) => Ok(()),
            _ => Err(format!("no network namespaces here: {}", tried.stderr().trim())),
        }
    }

    /// A network without hosts.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn start() -> Network {
        let storage = Namespace::new();
        storage.ip(&format!("link add bridge address {SWITCH} type bridge"));
        storage.ip(&format!("address add {STORAGE}/24 dev bridge"));
        storage.ip("link set bridge up");
        Network { storage: Arc::new(storage), host_count: AtomicUsize::new(0) }
    }

    /// Where what hosts share runs: it is reached under [`Network::address`].
    #[must_use]
    pub fn storage(&self) -> &Arc<Namespace> {
        &self.storage
    }

    /// The address of what hosts share.
    #[must_use]
    pub fn address(&self) -> &'static str {
        STORAGE
    }

    /// Plugs in a host, and starts its stack.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn host(&self, mut stack: TestStack) -> Host {
        let number = self.host_count.fetch_add(1, Ordering::Relaxed) + 1;
        let (inside, cable) = (Namespace::new(), format!("host{number}"));
        self.storage.ip(&format!("link add {cable} type veth peer name cable netns {}", inside.pid()));
        self.storage.ip(&format!("link set {cable} master bridge up"));
        inside.ip(&format!("address add 10.77.0.{}/24 dev cable", number + 1));
        inside.ip("link set cable up");
        stack.move_into(inside);
        stack.launch();
        Host { stack, storage: self.storage.clone(), cable }
    }
}

impl std::ops::Deref for Host {
    type Target = TestStack;

    fn deref(&self) -> &TestStack {
        &self.stack
    }
}

impl Host {
    /// Pulls the cable: nothing comes or goes, and nobody is told.
    pub fn cut(&self) {
        self.storage.ip(&format!("link set {} down", self.cable));
    }

    /// Puts the cable back.
    pub fn mend(&self) {
        self.storage.ip(&format!("link set {} up", self.cable));
    }

    /// Stops all of its processes where they are.
    ///
    /// # Panics
    /// If they do not stop.
    pub fn pause(&self) {
        let Some(pid) = self.stack.signal("STOP") else { return };
        let deadline = Instant::now() + PATIENCE;
        while !is_stopped(pid) {
            assert!(Instant::now() < deadline, "process {pid} does not stop");
            std::thread::sleep(PAUSE);
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        let _pid = self.stack.signal("CONT");
    }

    /// Takes its power: its processes and its memory are gone.
    pub fn kill(&self) {
        self.stack.end("KILL");
        self.stack.remove_segment();
    }

    /// Gives it power again.
    ///
    /// # Panics
    /// If its stack does not come up.
    pub fn boot(&self) {
        self.stack.launch();
    }
}

impl Drop for Host {
    /// A host that is stopped, or has no storage, could not be shut down.
    fn drop(&mut self) {
        self.resume();
        let _mended = run(self.storage.command("ip").args(["link", "set", &self.cable, "up"]));
    }
}
