//! Other people's load, and our own from inside the segment.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tests::{Supervised, is_run_over, skip, tool};

/// qemu's block layer without a guest.
const QEMU: &str = "qemu-storage-daemon";
/// How long it looks for a server that is gone, in seconds, before it tells of an error.
const RECONNECT_DELAY_S: u32 = 60;

/// A load that verifies what it reads.
pub(crate) struct Load {
    what: &'static str,
    child: Child,
    /// What it goes through; it ends with the load.
    between: Option<Between>,
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
        let uri = stack.vlmc(&["map", volume, "--via", "nbd"]).done();
        Load::fio(stack, &uri, duration)
    }

    /// The same through qemu, which connects again when its connection ends, as it does for a guest.
    pub(crate) fn over_nbd_through_qemu(
        stack: &Supervised,
        volume: &str,
        duration: Duration,
    ) -> Option<Load> {
        let between = Between::qemu(stack, volume)?;
        let uri = format!("nbd+unix:///above?socket={}", between.socket.display());
        let load = Load::fio(stack, &uri, duration)?;
        Some(Load { between: Some(between), ..load })
    }

    fn fio(stack: &Supervised, uri: &str, duration: Duration) -> Option<Load> {
        if tool("fio").is_none() {
            skip("deaths::roles", "fio is not installed: no load over NBD");
            return None;
        }
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
        Load { what, child, between: None }
    }

    /// It dies at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// It must end well; when the run is to end, it dies.
    pub(crate) fn done(self) {
        if is_run_over() {
            return self.kill();
        }
        let Load { what, child, between } = self;
        let output = child.wait_with_output().unwrap();
        drop(between);
        let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}: {}{}", what, told(&output.stdout), told(&output.stderr));
    }
}

/// qemu between a load and a volume. Gone when dropped.
struct Between {
    child: Child,
    socket: PathBuf,
}

impl Between {
    fn qemu(stack: &Supervised, volume: &str) -> Option<Between> {
        if tool(QEMU).is_none() {
            skip("deaths::roles", "qemu-storage-daemon is not installed: no load over NBD");
            return None;
        }
        stack.vlmc(&["map", volume, "--via", "nbd"]).done();
        let (below, socket) = (stack.path("run").join("nbd.sock"), stack.path("qemu.sock"));
        let source = format!(
            "driver=nbd,node-name=below,server.type=unix,server.path={},export={volume},reconnect-delay={RECONNECT_DELAY_S}",
            below.display()
        );
        let mut qemu = Command::new(QEMU);
        qemu.args(["--blockdev", &source, "--nbd-server"])
            .arg(format!("addr.type=unix,addr.path={}", socket.display()))
            .args(["--export", "type=nbd,id=above,node-name=below,name=above,writable=on"]);
        let child = qemu.stdin(Stdio::null()).spawn().unwrap();
        let between = Between { child, socket };
        stack.await_true("qemu does not begin", || between.socket.exists());
        Some(between)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
