//! Network namespaces that nobody has to remove.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::run;

/// A network namespace without a name: it lasts as long as the shell in it, which ends when we do, however that happens.
pub struct Namespace(Child);

/// Says that it is there, and waits for the end of its input.
const KEEPER: &str = "ip link set lo up && echo up && read -r _";

impl Namespace {
    /// Makes one, with a loopback interface of its own.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub(crate) fn new() -> Namespace {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", KEEPER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n", "a network namespace cannot be made");
        Namespace(keeper)
    }

    /// A process in it.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// A program that runs in it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg("--").arg(program);
        command
    }

    /// Runs `ip` in it.
    pub(crate) fn ip(&self, arguments: &str) {
        run(self.command("ip").args(arguments.split(' '))).done();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // What still runs in the namespace keeps it; the shell is gone.
        let _ended = self.0.wait();
    }
}
