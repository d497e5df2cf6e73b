//! Locks that are broken while their owner writes.

use std::{process::Command, thread};

use protocol::ErrorKind;
use tests::{
    Ceph, TestStack, pattern,
    place::{Place, prepared, started},
    run,
};

use crate::shared;

const MIB: u64 = 1 << 20;

/// A stack of one process a role, with a supervisor.
pub(crate) struct Supervised(pub(crate) TestStack);

impl Supervised {
    pub(crate) fn start(ceph: &Ceph, blocks: Place<'_>, maps: Place<'_>) -> Supervised {
        Supervised::run(prepared(ceph, blocks, maps))
    }

    pub(crate) fn run(stack: TestStack) -> Supervised {
        stack.archipelago(&["start"]).done();
        Supervised(stack)
    }

    /// A role's process; none while it is being started again.
    pub(crate) fn pid(&self, role: &str) -> Option<u64> {
        let status: serde_json::Value =
            serde_json::from_str(&self.0.archipelago(&["status", "--json"]).stdout()).unwrap();
        let roles = status["roles"].as_array().unwrap();
        roles.iter().find(|told| told["role"] == role).and_then(|told| told["pid"].as_u64())
    }
}

/// Sends a signal to a process that may just have ended.
pub(crate) fn signal(pid: Option<u64>, name: &str) {
    if let Some(pid) = pid {
        let _gone = run(Command::new("kill").args([name, &pid.to_string()]));
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let stopped = self.0.archipelago(&["stop", "--force"]);
        if !thread::panicking() {
            stopped.done();
        }
    }
}

#[test]
fn the_former_owner_of_a_broken_lock_cannot_write() {
    let Some(ceph) = shared("locks::the_former_owner_of_a_broken_lock_cannot_write") else { return };
    let (blocks, maps) = (Place::Pool("blocks", "broken"), Place::Pool("maps", "broken"));
    let (one, other) = (started(&ceph, blocks, maps), started(&ceph, blocks, maps));
    let (mut first, mut second) = (one.client(), other.client());
    first.create("volume1", Some(16 * MIB), None, None).unwrap();
    first.write("volume1", 0, &pattern(1, 9000)).unwrap();
    assert_eq!(second.open("volume1").unwrap_err().kind, ErrorKind::Busy);
    second.unlock("volume1", true).unwrap();
    assert_eq!(first.write("volume1", 0, &pattern(2, 9000)).unwrap_err().kind, ErrorKind::NotOwner);
    second.write("volume1", 0, &pattern(3, 9000)).unwrap();
    assert_eq!(first.write("volume1", 0, &pattern(4, 9000)).unwrap_err().kind, ErrorKind::NotOwner);
    assert_volume(&mut second, &pattern(3, 9000));
}

fn assert_volume(client: &mut client::Client, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    client.read("volume1", 0, &mut bytes).unwrap();
    assert!(bytes == expected);
}

#[test]
fn a_former_owner_that_slept_through_it_cannot_write_either() {
    let Some(ceph) = shared("locks::a_former_owner_that_slept_through_it_cannot_write_either") else {
        return;
    };
    let (blocks, maps) = (Place::Pool("blocks", "asleep"), Place::Pool("maps", "asleep"));
    let one = Supervised::start(&ceph, blocks, maps);
    let other = started(&ceph, blocks, maps);
    let mut first = one.0.client();
    for volume in ["volume1", "volume2"] {
        first.create(volume, Some(16 * MIB), None, None).unwrap();
        first.write(volume, 0, &pattern(1, 9000)).unwrap();
    }
    let sleeper = one.pid("blockerb");
    signal(sleeper, "-STOP");
    let late = thread::scope(|threads| {
        let late = threads.spawn(|| one.0.client().write("volume1", 0, &pattern(2, 9000)));
        let mut second = other.client();
        second.unlock("volume1", true).unwrap();
        second.write("volume1", 0, &pattern(3, 9000)).unwrap();
        signal(sleeper, "-CONT");
        late.join().unwrap()
    });
    assert_eq!(late.unwrap_err().kind, ErrorKind::NotOwner);
    assert_volume(&mut other.client(), &pattern(3, 9000));
    // Its client was shut out, and it has another now: what it holds it still holds.
    first.write("volume2", 0, &pattern(4, 9000)).unwrap();
}

#[test]
fn a_write_waits_for_the_lock_of_another_node() {
    let Some(ceph) = shared("locks::a_write_waits_for_the_lock_of_another_node") else { return };
    let (blocks, maps) = (Place::Pool("blocks", "waits"), Place::Pool("maps", "waits"));
    let (one, other) = (started(&ceph, blocks, maps), started(&ceph, blocks, maps));
    let mut first = one.client();
    first.create("volume1", Some(16 * MIB), None, None).unwrap();
    first.open("volume1").unwrap();
    thread::scope(|threads| {
        let waiting = threads.spawn(|| other.client().write("volume1", 0, &pattern(1, 9000)));
        first.close("volume1").unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_volume(&mut first, &pattern(1, 9000));
}
