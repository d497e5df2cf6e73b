//! Case 27: peers and clients killed under load.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tests::TestStack;

/// How long load runs while things are killed.
const SECONDS: u64 = 12;
/// Between two kills.
const PAUSE: Duration = Duration::from_millis(500);

/// A stack of one process a role, with a supervisor.
struct Supervised(TestStack);

impl Supervised {
    fn start() -> Supervised {
        let stack = TestStack::prepared(&[], |configuration| configuration);
        stack.archipelago(&["start"]).done();
        Supervised(stack)
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.0.archipelago(&["status", "--json"]).stdout()).unwrap()
    }

    fn pid(&self, role: &str) -> Option<u64> {
        let status = self.status();
        let found = status["roles"].as_array().unwrap().iter().find(|told| told["role"] == role);
        found.and_then(|told| told["pid"].as_u64())
    }

    fn kill(&self, role: &str) {
        if let Some(pid) = self.pid(role) {
            // It may just have ended by an earlier kill.
            let _gone = tests::run(Command::new("kill").args(["-KILL", &pid.to_string()]));
        }
    }

    fn load(&self, volume: &str, seconds: u64) -> Child {
        let seconds = seconds.to_string();
        let arguments = [
            "bench",
            volume,
            "--verify",
            "--write-percent",
            "50",
            "--depth",
            "8",
            "--seconds",
            &seconds,
            "--json",
        ];
        self.0
            .command("archipelago", &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn assert_whole(&self) {
        self.0.archipelago(&["status"]).done();
        let xseg = self.0.command("xseg", &["verify"]);
        tests::run(&mut { xseg }).done();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let stopped = self.0.archipelago(&["stop", "--force"]);
        if !std::thread::panicking() {
            stopped.done();
        }
    }
}

#[test]
fn case_27_killed_peers_cause_no_error_and_lose_no_byte() {
    let stack = Supervised::start();
    stack.0.vlmc(&["create", "volume1", "--size", "64"]).done();
    let mut load = stack.load("volume1", SECONDS);
    let roles = ["vlmcd", "blockerb", "mapperd", "blockerm"];
    let mut kills = 0;
    while load.try_wait().unwrap().is_none() {
        stack.kill(roles[kills % roles.len()]);
        kills += 1;
        std::thread::sleep(PAUSE);
    }
    let output = load.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{kills} kills: {told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(kills >= 10, "only {kills} kills");
    stack.assert_whole();
}

#[test]
fn case_27_killed_clients_leave_nothing_behind() {
    let stack = Supervised::start();
    for volume in ["volume1", "volume2"] {
        stack.0.vlmc(&["create", volume, "--size", "64"]).done();
    }
    let steady = stack.load("volume1", SECONDS);
    let deadline = Instant::now() + Duration::from_secs(SECONDS);
    while Instant::now() < deadline {
        let mut client = stack.load("volume2", SECONDS);
        std::thread::sleep(PAUSE);
        client.kill().unwrap();
        client.wait().unwrap();
    }
    let output = steady.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    tests::run(&mut stack.0.command("xseg", &["reap"])).done();
    stack.assert_whole();
    let info = tests::run(&mut stack.0.command("xseg", &["list", "--json"])).done();
    assert!(!info.is_empty());
}

#[test]
fn a_role_that_dies_is_started_again() {
    let stack = Supervised::start();
    let before = stack.pid("mapperd").unwrap();
    stack.kill("mapperd");
    let deadline = Instant::now() + Duration::from_secs(60);
    while stack.pid("mapperd").is_none_or(|pid| pid == before)
        || stack.0.archipelago(&["status"]).code() != Some(0)
    {
        assert!(Instant::now() < deadline, "mapperd does not come back: {}", stack.status());
        std::thread::sleep(Duration::from_millis(50));
    }
    stack.0.vlmc(&["create", "volume1", "--size", "16"]).done();
}
