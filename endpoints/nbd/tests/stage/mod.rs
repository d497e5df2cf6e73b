//! A segment with the endpoint on it, and a composer that keeps its volumes in memory.

#![allow(dead_code, reason = "each test file uses a part of the stage")]

mod composer;

use std::{path::PathBuf, process::Command, thread};

use client::{Client, Stack};
use nbd::Config;
use peer::{Common, Stop};
use xseg::{Geometry, PortNumber, Reserve, Segment};

pub(crate) use composer::{Volume, Volumes};

/// Where the composer and the endpoint's control port are.
const COMPOSER: u32 = 1;
const ENDPOINT: u32 = 2;

/// A running endpoint; stops when dropped.
pub(crate) struct Stage {
    pub(crate) stack: Stack,
    pub(crate) volumes: Volumes,
    directory: tempfile::TempDir,
    config: Config,
    composer: Option<Role>,
    endpoint: Option<Role>,
}

/// A role in a thread.
struct Role {
    stop: Stop,
    thread: thread::JoinHandle<Result<(), nbd::Error>>,
}

impl Role {
    fn end(self) -> Result<(), nbd::Error> {
        self.stop.set();
        self.thread.join().unwrap()
    }
}

impl Stage {
    /// With the Unix socket alone.
    pub(crate) fn new() -> Stage {
        Stage::with(|_| {})
    }

    /// With settings of its own. The directory is there for their files.
    pub(crate) fn with(adjust: impl FnOnce(&mut Config)) -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config { socket: Some(directory.path().join("nbd.sock")), ..Config::default() };
        adjust(&mut config);
        let segment = Segment::private(Geometry::new(64, 8, 4096, 256 << 20).unwrap()).unwrap();
        let stack = Stack {
            segment,
            vlmc: COMPOSER..=COMPOSER,
            mapper: COMPOSER,
            blocker_maps: COMPOSER,
            blocker_blocks: COMPOSER,
            endpoints: vec![("nbd".into(), ENDPOINT)],
            node: "test".into(),
        };
        let mut stage =
            Stage { stack, volumes: Volumes::default(), directory, config, composer: None, endpoint: None };
        stage.start_composer();
        stage.start_endpoint();
        stage
    }

    fn start_composer(&mut self) {
        let (segment, volumes, stop) = (self.stack.segment.clone(), self.volumes.clone(), Stop::new());
        let (common, until) = (self.common("vlmc", COMPOSER), stop.clone());
        let thread = thread::spawn(move || {
            let reserve = Reserve { requests: 16, bytes: 1 << 20 };
            let peer = |effects| composer::Composer { volumes, effects, waiting: Vec::new() };
            Ok(peer::run(&segment, &common, PortNumber(COMPOSER), reserve, &until, peer)?)
        });
        self.composer = Some(Role { stop, thread });
    }

    fn start_endpoint(&mut self) {
        let (stack, config, stop) = (self.stack.clone(), self.config.clone(), Stop::new());
        let (common, until) = (self.common("nbd", ENDPOINT), stop.clone());
        let thread = thread::spawn(move || nbd::serve(&stack, &common, &config, &until));
        self.endpoint = Some(Role { stop, thread });
        self.client().ping(ENDPOINT).unwrap();
    }

    pub(crate) fn stop_endpoint(&mut self) {
        self.endpoint.take().unwrap().end().unwrap();
    }

    pub(crate) fn restart_endpoint(&mut self) {
        self.stop_endpoint();
        self.start_endpoint();
    }

    /// What becomes of another endpoint with these settings.
    pub(crate) fn try_another(&self, adjust: impl FnOnce(&mut Config)) -> Result<(), nbd::Error> {
        let mut config = self.config.clone();
        adjust(&mut config);
        let stop = Stop::new();
        stop.set();
        nbd::serve(&self.stack, &self.common("another", ENDPOINT + 1), &config, &stop)
    }

    fn common(&self, role: &str, port: u32) -> Common {
        let run_dir = self.directory.path().to_owned();
        Common { role: role.into(), ports: port..=port, nr_ops: 128, node: "test".into(), run_dir }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.stack).unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("nbd.sock")
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Makes a volume and attaches it; its URI.
    pub(crate) fn attach(&self, name: &str, size_bytes: u64) -> String {
        self.volumes.create(name, Volume::new(size_bytes));
        self.attach_existing(name, false)
    }

    pub(crate) fn attach_existing(&self, name: &str, is_read_only: bool) -> String {
        self.client().attach(ENDPOINT, name, is_read_only).unwrap().location
    }

    pub(crate) fn detach(&self, name: &str, is_forced: bool) -> Result<(), protocol::Failure> {
        self.client().detach(ENDPOINT, name, is_forced)
    }

    pub(crate) fn attached(&self) -> Vec<protocol::Attached> {
        self.client().attached(ENDPOINT).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The endpoint first: it closes its volumes.
        let ended = [self.endpoint.take(), self.composer.take()].map(|role| role.map_or(Ok(()), Role::end));
        if !thread::panicking() {
            ended.into_iter().for_each(|ended| ended.unwrap());
        }
    }
}

/// The program, if this machine has it; else says so.
pub(crate) fn tool(name: &str) -> Option<Command> {
    let found = Command::new("/bin/sh")
        .args(["-c", &format!("command -v {name}")])
        .output()
        .unwrap()
        .status
        .success();
    if !found {
        eprintln!("skipped: no {name}");
    }
    found.then(|| Command::new(name))
}

/// Runs a program to its end; what it printed. Panics with its errors if it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// Bytes that look like no others, the same for the same seed.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
