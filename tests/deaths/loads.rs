//! Other people's load, and our own from inside the segment.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use tests::{Supervised, skip, tool};

/// A load that verifies what it reads.
pub(crate) struct Load {
    what: &'static str,
    child: Child,
}

impl Load {
    /// Random reads and writes from inside the segment.
    pub(crate) fn inside(stack: &Supervised, volume: &str, duration: Duration) -> Load {
        let seconds = duration.as_secs().to_string();
        let arguments =
            ["bench", volume, "--verify", "--write-percent", "50", "--depth", "8", "--seconds", &seconds];
        Load::spawn("bench", &mut stack.command("archipelago", &arguments))
    }

    /// Random writes over NBD, each read back; nothing where fio is not installed.
    pub(crate) fn over_nbd(stack: &Supervised, volume: &str, duration: Duration) -> Option<Load> {
        if tool("fio").is_none() {
            skip("deaths::roles", "fio is not installed: no load over NBD");
            return None;
        }
        let uri = stack.vlmc(&["map", volume, "--via", "nbd"]).done();
        let mut fio = Command::new("fio");
        // In one process: its children would live on when it is killed.
        fio.args([
            "--thread",
            "--name=verify",
            "--ioengine=nbd",
            "--rw=randwrite",
            "--bs=4k",
            "--size=32M",
            "--iodepth=8",
        ])
        .args(["--verify=crc32c", "--verify_fatal=1", "--verify_backlog=256", "--verify_state_save=0"])
        .args([
            "--time_based",
            &format!("--runtime={}", duration.as_secs()),
            &format!("--uri={uri}"),
        ]);
        Some(Load::spawn("fio over NBD", fio.current_dir(stack.path("."))))
    }

    fn spawn(what: &'static str, command: &mut Command) -> Load {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Load { what, child }
    }

    /// It dies at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// It must end well.
    pub(crate) fn done(self) {
        let output = self.child.wait_with_output().unwrap();
        let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}: {}{}", self.what, told(&output.stdout), told(&output.stderr));
    }
}
