//! A store that is killed again and again while it is asked.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use filed::{Config, serve};
use peer::{Common, Stop};
use protocol::{Flags, Op};
use xseg::{Geometry, Held, Port, PortNumber, Received, Reserve, Segment};

const SEGMENT: &str = "FILED_TEST_SEGMENT";
const DIRECTORY: &str = "FILED_TEST_DIRECTORY";
const DIRECT: &str = "FILED_TEST_DIRECT";
const PORT: u32 = 3;
const BLOCK: usize = 8192;
/// Kills, and rounds of every client between two of them at least.
const KILLS: u64 = 6;
const ROUNDS: u64 = 15;

/// What another process does; in the process of the tests it is nothing.
#[test]
fn duty_of_another_process() {
    let (Ok(segment), Ok(directory)) = (std::env::var(SEGMENT), std::env::var(DIRECTORY)) else { return };
    let direct = std::env::var(DIRECT).is_ok();
    let ports = PORT..=PORT;
    let common =
        Common { role: "b".into(), ports, nr_ops: 16, node: "n".into(), run_dir: "/nonexistent".into() };
    let config = Config { direct, ..Config::new(directory) };
    serve(&Segment::open(&segment).unwrap(), &common, &config, &Stop::new()).unwrap();
}

fn spawn(segment: &str, directory: &std::path::Path, direct: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "duty_of_another_process"]).env(SEGMENT, segment).env(DIRECTORY, directory);
    if direct {
        command.env(DIRECT, "");
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Asks and waits, however often the store dies meanwhile.
fn ask(port: &mut Port, fill: impl FnOnce(&mut Held)) -> (u32, Vec<u8>) {
    let mut held = port.allocate(BLOCK as u64).unwrap();
    held.set_size(BLOCK as u64);
    fill(&mut held);
    port.submit(held, PortNumber(PORT)).unwrap();
    loop {
        match port.receive() {
            Some(Received::Reply(reply)) => {
                let mut bytes = vec![0; BLOCK];
                reply.read(0, &mut bytes).unwrap();
                let status = reply.status();
                port.free(reply);
                return (status, bytes);
            }
            Some(Received::Request(_)) => panic!("nobody asks a client"),
            None => drop(port.wait(None)),
        }
    }
}

/// Makes, changes, reads and deletes an object of its own; nothing of that may fail.
fn round(port: &mut Port, name: &str, seed: u8) {
    let op = |held: &mut Held, op: Op, flags: Flags| {
        held.set_op(op.number());
        held.set_flags(flags.bits());
        held.set_target(name.as_bytes()).unwrap();
    };
    let mut write = |byte: u8, flags: Flags| {
        let fill = |held: &mut Held| {
            op(held, Op::Write, flags);
            held.write(0, &[byte; BLOCK]).unwrap();
        };
        assert_eq!(ask(port, fill).0, 0, "write {name}");
    };
    write(seed, Flags::EXCLUSIVE);
    write(seed.wrapping_add(1), Flags::empty());
    write(seed.wrapping_add(2), Flags::FUA);
    let (status, bytes) = ask(port, |held| op(held, Op::Read, Flags::empty()));
    assert_eq!((status, bytes), (0, vec![seed.wrapping_add(2); BLOCK]), "read {name}");
    assert_eq!(ask(port, |held| op(held, Op::Delete, Flags::empty())).0, 0, "delete {name}");
}

fn survives(direct: bool) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("filed-killed-{}-{direct}", std::process::id());
    let segment = Segment::create(&name, Geometry::new(64, 16, 2048, 16 << 20).unwrap()).unwrap();
    let (rounds, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut store = spawn(&name, directory.path(), direct);
    std::thread::scope(|threads| {
        for client in 0..3_u8 {
            let (segment, rounds, is_over) = (&segment, &rounds, &is_over);
            threads.spawn(move || {
                let mut port = segment.bind_dynamic(Reserve { requests: 4, bytes: 65_536 }).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    let seed = rounds.fetch_add(1, Ordering::Relaxed).to_le_bytes()[0];
                    round(&mut port, &format!("object of {client}"), seed);
                }
            });
        }
        for kill in 1..=KILLS {
            while rounds.load(Ordering::Relaxed) < kill * ROUNDS {
                std::thread::yield_now();
            }
            store.kill().unwrap();
            store.wait().unwrap();
            store = spawn(&name, directory.path(), direct);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    store.kill().unwrap();
    store.wait().unwrap();
    Segment::destroy(&name).unwrap();
}

#[test]
fn clients_of_a_killed_store_see_a_pause_and_no_error() {
    survives(false);
}

#[test]
fn clients_of_a_killed_direct_store_see_a_pause_and_no_error() {
    survives(true);
}
