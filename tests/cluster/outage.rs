//! What waits while an OSD is away, and goes on when it is back.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::place::{Place, prepared, started};
use tests::{Ceph, Disk, TestStack, pattern};

use crate::locks::Supervised;
use crate::trouble::{assert_good, load};
use crate::{is_possible, shared};

const MIB: u64 = 1 << 20;
/// How long a busy machine may take for what a quiet one does in a second.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(20);
/// Operations at a time, and threads that are enough for any number of them: the library's own are about 20.
const DEPTH: u64 = 4096;
const THREADS_MAX: usize = 32;
/// How often a client is shut out, in a row.
const SHUT_OUTS: u64 = 4;

/// A cluster whose OSD can stop and start, with the pool `blocks`.
fn cluster() -> Ceph {
    let ceph = Ceph::start(Disk::File, 1);
    ceph.make_pool("blocks");
    ceph
}

const BLOCKS: Place<'_> = Place::Pool("blocks", "");
const MAPS: Place<'_> = Place::Pool("blocks", "maps");

fn blocker(stack: &TestStack) -> Value {
    let status: Value = serde_json::from_str(&stack.archipelago(&["status", "--json"]).stdout()).unwrap();
    let roles = status["roles"].as_array().unwrap();
    roles.iter().find(|told| told["role"] == "blockerb").unwrap().clone()
}

#[test]
fn thousands_of_operations_wait_on_few_threads_and_all_are_done() {
    if !is_possible("outage::thousands_of_operations_wait_on_few_threads_and_all_are_done") {
        return;
    }
    let ceph = cluster();
    let stack = prepared(&ceph, BLOCKS, MAPS);
    let text = fs::read_to_string(stack.configuration()).unwrap();
    let text = text.replace("[blockerb]\n", "[blockerb]\nnr_ops = 8192\n");
    fs::write(stack.configuration(), text).unwrap();
    let stack = Supervised::run(stack);
    ceph.kill_osd(0);
    let loads: Vec<Child> = ["1", "2", "3", "4"].into_iter().map(|seed| quarter(&stack.0, seed)).collect();
    let deadline = Instant::now() + PATIENCE;
    let busy = loop {
        let told = blocker(&stack.0);
        if told["details"]["under_way"].as_u64() == Some(DEPTH) {
            break told;
        }
        assert!(Instant::now() < deadline, "{told}");
        thread::sleep(PAUSE);
    };
    let threads = fs::read_dir(format!("/proc/{}/task", busy["pid"])).unwrap().count();
    assert!(threads <= THREADS_MAX, "{threads} threads");
    ceph.start_osd(0);
    loads.into_iter().for_each(assert_good);
}

/// As many writes at a time as one client has, and so many once.
fn quarter(stack: &TestStack, seed: &str) -> Child {
    let words = ["bench", "--store", "blockerb", "--depth", "1024", "--amount", "4M", "--span", "64M"];
    let mut load = stack.command("archipelago", &words);
    load.args(["--write-percent", "100", "--seed", seed]);
    load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_a_client_had_under_way_when_it_was_shut_out_is_done_by_the_next() {
    let Some(ceph) = shared("outage::what_a_client_had_under_way_when_it_was_shut_out_is_done_by_the_next")
    else {
        return;
    };
    let stack = Supervised::start(&ceph, Place::Pool("blocks", "out"), Place::Pool("maps", "out"));
    assert_good(quarter(&stack.0, "1"));
    let pid = stack.pid("blockerb");
    let mut reads = stack.0.command("archipelago", &["bench", "--store", "blockerb", "--span", "64M"]);
    reads.args(["--depth", "1024", "--seconds", "5"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let reads = reads.spawn().unwrap();
    for shut_outs in 0..SHUT_OUTS {
        let client = until_shut_out(&stack.0, shut_outs);
        ceph.ceph(&["osd", "blocklist", "add", &client]).done();
        // Who asks for nothing does not notice.
        assert_good(quarter(&stack.0, "1"));
    }
    until_shut_out(&stack.0, SHUT_OUTS);
    assert_good(reads);
    assert_eq!(stack.pid("blockerb"), pid, "it did not survive");
}

/// The store's client when so many before it were shut out.
fn until_shut_out(stack: &TestStack, shut_outs: u64) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let details = &blocker(stack)["details"];
        if details["is_connected"] == true && details["shut_outs"] == shut_outs {
            return details["client"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{details}");
        thread::sleep(PAUSE);
    }
}

#[test]
fn a_writer_that_waits_for_a_lock_gets_it_although_the_osd_forgot_who_watches() {
    if !is_possible("outage::a_writer_that_waits_for_a_lock_gets_it_although_the_osd_forgot_who_watches") {
        return;
    }
    let ceph = cluster();
    let (one, other) = (started(&ceph, BLOCKS, MAPS), started(&ceph, BLOCKS, MAPS));
    let mut first = one.client();
    first.create("volume1", Some(16 * MIB), None, None).unwrap();
    first.open("volume1").unwrap();
    thread::scope(|threads| {
        let waiting = threads.spawn(|| other.client().write("volume1", 0, &pattern(1, 9000)));
        for _ in 0..2 {
            ceph.kill_osd(0);
            ceph.start_osd(0);
        }
        first.close("volume1").unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn checks_and_collections_end_well_under_load_while_an_osd_comes_and_goes() {
    if !is_possible("outage::checks_and_collections_end_well_under_load_while_an_osd_comes_and_goes") {
        return;
    }
    let ceph = cluster();
    let stack = started(&ceph, BLOCKS, MAPS);
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    let mut client = stack.client();
    for volume in ["garbage1", "garbage2"] {
        client.create(volume, Some(16 * MIB), None, None).unwrap();
        client.write(volume, 0, &pattern(1, 1 << 20)).unwrap();
        client.close(volume).unwrap();
        client.remove(volume).unwrap();
    }
    let load = load(&stack, "6");
    thread::scope(|threads| {
        let outage = threads.spawn(|| {
            ceph.kill_osd(0);
            ceph.start_osd(0);
        });
        stack.archipelago(&["gc"]).done();
        stack.archipelago(&["fsck"]).done();
        outage.join().unwrap();
    });
    assert_good(load);
    stack.archipelago(&["gc"]).done();
    stack.archipelago(&["fsck"]).done();
    let told = stack.archipelago(&["scrub"]);
    assert_eq!(told.code(), Some(2));
    assert!(told.stderr().contains("Ceph scrubs pools itself"), "{}", told.stderr());
}
