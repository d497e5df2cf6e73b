//! The rules of locks, between hosts: info takes none, reads try and do without, writes wait, all else fails at once; a lock outlives
//! its host, and who loses it writes no more.

use std::{
    thread,
    time::{Duration, Instant},
};

use client::Client;
use protocol::{ErrorKind, Failure};
use tests::pattern;

use crate::site::Site;

const MIB: u64 = 1 << 20;
const LENGTH: usize = 9000;
/// A host that is not told that a lock is free looks so often.
const LOOK: Duration = Duration::from_secs(5);

fn kind<T>(result: Result<T, Failure>) -> Option<ErrorKind> {
    result.err().map(|failure| failure.kind)
}

fn assert_read(client: &mut Client, seed: u32) {
    let mut bytes = vec![0; LENGTH];
    client.read("volume1", 0, &mut bytes).unwrap();
    assert!(bytes == pattern(seed, LENGTH));
}

fn write(client: &mut Client, seed: u32) -> Result<(), Failure> {
    client.write("volume1", 0, &pattern(seed, LENGTH))
}

/// What another host's volume refuses to a host, whatever waits there.
fn assert_refused(client: &mut Client) {
    assert_eq!(kind(client.open("volume1")), Some(ErrorKind::Busy));
    assert_eq!(kind(client.snapshot("volume1", "snapshot1")), Some(ErrorKind::Busy));
    assert_eq!(kind(client.remove("volume1")), Some(ErrorKind::Busy));
    assert_eq!(kind(client.rename("volume1", "volume9")), Some(ErrorKind::Busy));
    assert_eq!(kind(client.resize("volume1", 32 * MIB, false)), Some(ErrorKind::Busy));
    assert!(client.create("volume1", Some(MIB), None, None).is_err());
    assert_eq!(kind(client.close("volume1")), Some(ErrorKind::NotOwner));
    assert_eq!(client.info("volume1").unwrap().size_bytes, 16 * MIB);
}

/// Waits until a write of the host waits for the lock.
fn await_waiting(client: &mut Client) {
    let vlmc = client.stack().vlmc_port("volume1").0;
    let runs = |client: &mut Client| {
        let details = serde_json::to_value(client.ping(vlmc).unwrap()).unwrap().to_string();
        details.contains("\"running\":1")
    };
    while !runs(client) {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn case_22_another_host_reads_waits_to_write_and_is_refused_all_else() {
    let Some(site) = Site::shared("locks::case_22") else { return };
    let [one, other] = site.hosts("case-22");
    let (mut ours, mut theirs) = (one.client(), other.client());
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    for seed in 1..4 {
        write(&mut ours, seed).unwrap();
        ours.flush("volume1").unwrap();
        assert_read(&mut theirs, seed);
    }
    assert_refused(&mut theirs);
    thread::scope(|threads| {
        let waiting = threads.spawn(|| write(&mut other.client(), 4));
        await_waiting(&mut theirs);
        // What waits keeps nothing else waiting.
        assert_refused(&mut theirs);
        assert_read(&mut theirs, 3);
        ours.close("volume1").unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_refused(&mut ours);
    assert_read(&mut ours, 4);
}

#[test]
fn case_20_a_lock_is_its_owners_and_outlives_its_host() {
    let Some(site) = Site::shared("locks::case_20") else { return };
    let [one, other] = site.hosts("case-20");
    one.vlmc(&["create", "volume1", "--size", "16"]).done();
    one.vlmc(&["lock", "volume1"]).done();
    one.vlmc(&["lock", "volume1"]).done();
    one.vlmc(&["unlock", "volume1"]).done();
    one.vlmc(&["unlock", "volume1"]).refused();
    one.vlmc(&["lock", "volume1"]).done();
    one.kill();
    one.boot();
    other.vlmc(&["lock", "volume1"]).refused();
    other.vlmc(&["unlock", "volume1"]).refused();
    one.vlmc(&["lock", "volume1"]).done();
    other.vlmc(&["unlock", "-f", "volume1"]).done();
    other.vlmc(&["open", "volume1"]).done();
}

#[test]
fn case_23_a_killed_host_keeps_its_lock_until_it_is_back_or_the_lock_is_broken() {
    let Some(site) = Site::shared("locks::case_23") else { return };
    let [one, other] = site.hosts("case-23");
    one.client().create("volume1", Some(16 * MIB), None, None).unwrap();
    write(&mut one.client(), 1).unwrap();
    one.client().flush("volume1").unwrap();
    one.kill();
    one.boot();
    one.client().open("volume1").unwrap();
    one.kill();
    let mut theirs = other.client();
    assert_refused(&mut theirs);
    thread::scope(|threads| {
        let waiting = threads.spawn(|| write(&mut other.client(), 2));
        await_waiting(&mut theirs);
        assert_read(&mut theirs, 1);
        theirs.unlock("volume1", true).unwrap();
        waiting.join().unwrap().unwrap();
    });
    one.boot();
    assert_refused(&mut one.client());
    assert_read(&mut one.client(), 2);
}

#[test]
fn case_24_an_owner_that_was_cut_off_cannot_write_once_its_lock_was_broken() {
    let Some(site) = Site::shared("locks::case_24") else { return };
    let [one, other] = site.hosts("case-24");
    let (mut ours, mut theirs) = (one.client(), other.client());
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    write(&mut ours, 1).unwrap();
    one.cut();
    let late = thread::scope(|threads| {
        let late = threads.spawn(|| write(&mut one.client(), 2));
        theirs.unlock("volume1", true).unwrap();
        write(&mut theirs, 3).unwrap();
        one.mend();
        late.join().unwrap()
    });
    assert_eq!(kind(late), Some(ErrorKind::NotOwner));
    assert_eq!(kind(write(&mut ours, 4)), Some(ErrorKind::NotOwner));
    assert_read(&mut theirs, 3);
    // Nobody has told it: until then it may read what is old.
    assert_eq!(kind(ours.open("volume1")), Some(ErrorKind::Busy));
    assert_read(&mut ours, 3);
}

#[test]
fn a_host_that_waits_is_told_when_the_lock_is_free() {
    let Some(site) = Site::shared("locks::a_host_that_waits_is_told_when_the_lock_is_free") else { return };
    let hosts = site.hosts::<2>("told");
    let mut clients = hosts.each_ref().map(|host| host.client());
    clients[0].create("volume1", Some(16 * MIB), None, None).unwrap();
    write(&mut clients[0], 0).unwrap();
    let (mut quick, rounds) = (0, 12);
    for round in 1..=rounds {
        let begun = Instant::now();
        let [owner, next] = if round % 2 == 1 { [0, 1] } else { [1, 0] };
        thread::scope(|threads| {
            let waiting = threads.spawn(|| write(&mut hosts[next].client(), round));
            await_waiting(&mut hosts[next].client());
            clients[owner].close("volume1").unwrap();
            waiting.join().unwrap().unwrap();
        });
        quick += u32::from(begun.elapsed() < LOOK / 2);
    }
    // By looking, half of them would be; a busy machine may stand still in some.
    assert!(quick >= rounds - 2, "{quick} of {rounds} times were quick");
    // Who gives a lock back is not taken for dead by the one who waits.
    assert!(hosts.iter().all(|host| !host.log().contains("shutting it out")));
    assert_read(&mut clients[0], rounds);
}
