//! OSDs that stop, pools that are full, peers that are killed.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use protocol::ErrorKind;
use tests::{
    Ceph, Disk, TestStack, pattern,
    place::{Place, prepared, started},
};

use crate::locks::{Supervised, signal};
use crate::{is_possible, shared};

const MIB: u64 = 1 << 20;
/// How long a busy machine may take for what a quiet one does in a second.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn load(stack: &TestStack, seconds: &str) -> Child {
    let words =
        ["bench", "volume1", "--verify", "--write-percent", "50", "--depth", "8", "--json", "--seconds"];
    let mut command = stack.command("archipelago", &[&words[..], &[seconds]].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn assert_good(load: Child) {
    let output = load.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
}

#[test]
fn an_osd_that_is_killed_and_started_again_is_a_pause() {
    if !is_possible("trouble::an_osd_that_is_killed_and_started_again_is_a_pause") {
        return;
    }
    let ceph = Ceph::start(Disk::File, 1);
    ceph.make_pool("blocks");
    let stack = started(&ceph, Place::Pool("blocks", ""), Place::Pool("blocks", "maps"));
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    let load = load(&stack, "8");
    for _ in 0..2 {
        thread::sleep(Duration::from_secs(1));
        ceph.kill_osd(0);
        ceph.start_osd(0);
    }
    assert_good(load);
}

#[test]
fn one_of_three_osds_that_is_killed_is_a_pause() {
    if !is_possible("trouble::one_of_three_osds_that_is_killed_is_a_pause") {
        return;
    }
    let ceph = Ceph::start(Disk::Memory, 3);
    ceph.make_pool("blocks");
    let stack = started(&ceph, Place::Pool("blocks", ""), Place::Pool("blocks", "maps"));
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    let load = load(&stack, "4");
    thread::sleep(Duration::from_secs(1));
    ceph.kill_osd(1);
    assert_good(load);
}

#[test]
fn killed_peers_cause_no_error_and_lose_no_byte() {
    let Some(ceph) = shared("trouble::killed_peers_cause_no_error_and_lose_no_byte") else { return };
    let stack = Supervised::start(&ceph, Place::Pool("blocks", "killed"), Place::Pool("maps", "killed"));
    stack.0.vlmc(&["create", "volume1", "--size", "64"]).done();
    let mut load = load(&stack.0, "8");
    let mut roles = ["blockerb", "blockerb", "blockerm"].iter().cycle();
    while load.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_secs(1));
        signal(stack.pid(roles.next().unwrap()), "-KILL");
    }
    assert_good(load);
}

#[test]
fn a_machine_without_the_library_is_told_what_to_install() {
    let test = "trouble::a_machine_without_the_library_is_told_what_to_install";
    if !tests::is_root() {
        return tests::skip(test, "hiding a library needs root");
    }
    let Some(ceph) = shared(test) else { return };
    let stack = prepared(&ceph, Place::Pool("blocks", ""), Place::Pool("maps", ""));
    let script = "for library in $(ldconfig -p | sed -n 's/.*=> \\(.*librados.so.2\\)$/\\1/p'); do \
                  mount --bind /dev/null $library; done; exec \"$@\"";
    for words in [["check"], ["start"]] {
        let ours = stack.command("archipelago", &words);
        let mut hidden = Command::new("unshare");
        hidden.args(["--mount", "sh", "-c", script, "sh"]).arg(ours.get_program()).args(ours.get_args());
        let ended = tests::run(hidden.env("ARCHIPELAGO_CONFIG", stack.configuration()));
        let told = ended.stdout() + &ended.stderr();
        assert_eq!(ended.code(), Some(1), "{told}");
        assert!(told.contains("install the Debian package librados2"), "{told}");
    }
    stack.archipelago(&["check"]).done();
}

#[test]
fn a_full_pool_is_no_space_and_recovers() {
    let test = "trouble::a_full_pool_is_no_space_and_recovers";
    if tests::tool("ceph-mgr").is_none() {
        return tests::skip(test, "missing tool: ceph-mgr (`cargo xtask setup` installs Ceph)");
    }
    let Some(ceph) = shared(test) else { return };
    ceph.start_manager();
    ceph.make_pool("small");
    ceph.ceph(&["osd", "pool", "set-quota", "small", "max_bytes", "16777216"]).done();
    let stack = started(&ceph, Place::Pool("small", ""), Place::Pool("maps", "of-small"));
    let mut client = stack.client();
    client.create("volume1", Some(1024 * MIB), None, None).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut written = 0;
    // The quota is looked at once in a while, so a pool takes more than it allows.
    let failure = loop {
        match client.write("volume1", written * MIB, &pattern(u32::try_from(written).unwrap(), 1 << 20)) {
            Ok(()) => written += 1,
            Err(failure) => break failure,
        }
        assert!(Instant::now() < deadline && written < 1024, "a pool of 16 MiB took {written} MiB");
        if written > 16 {
            thread::sleep(PAUSE);
        }
    };
    assert_eq!(failure.kind, ErrorKind::NoSpace, "{failure}");
    let mut bytes = vec![0; 1 << 20];
    client.read("volume1", 0, &mut bytes).unwrap();
    assert!(bytes == pattern(0, 1 << 20));
    ceph.ceph(&["osd", "pool", "set-quota", "small", "max_bytes", "0"]).done();
    while let Err(failure) = client.write("volume1", written * MIB, &pattern(9, 1 << 20)) {
        assert!(failure.kind == ErrorKind::NoSpace && Instant::now() < deadline, "{failure}");
        thread::sleep(PAUSE);
    }
}
