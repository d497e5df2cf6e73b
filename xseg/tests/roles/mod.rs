//! Peers that run as processes of their own: the test binary runs itself with a role.

use std::{
    collections::{HashMap, VecDeque},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use xseg::{Held, Port, PortNumber, Received, Reserve, Segment};

/// Serves clients, with one child request to the store for each of theirs.
pub(crate) const SERVER: PortNumber = PortNumber(1);
/// Writes a request's offset into its buffer.
pub(crate) const STORE: PortNumber = PortNumber(2);
/// Passes on what is meant for the server, and its answers.
pub(crate) const FILTER: PortNumber = PortNumber(3);
/// Bytes in a client's buffer.
pub(crate) const BUFFER: u64 = 4096;
/// Requests a client has under way.
pub(crate) const DEPTH: usize = 8;

const RESERVE: Reserve = Reserve { requests: 32, bytes: 256 * 1024 };

/// What a process of the test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Store,
    Filter,
    Client,
}

impl Role {
    pub(crate) const ALL: [Role; 4] = [Role::Server, Role::Store, Role::Filter, Role::Client];

    fn name(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Store => "store",
            Role::Filter => "filter",
            Role::Client => "client",
        }
    }
}

/// Starts a process in a role; it kills itself at its `kill_at`-th step, 0 for never. Without killing, it ends by
/// itself after `life`.
pub(crate) fn spawn(role: Role, segment: &str, kill_at: u64, life: Duration) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["play_a_role", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env("XSEG_ROLE", role.name())
        .env("XSEG_SEGMENT", segment)
        .env("XSEG_PARENT", std::process::id().to_string())
        .env("XSEG_LIFE_MS", life.as_millis().to_string())
        .env("XSEG_KILL_AT", kill_at.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child process does. Errors are for noise to cause; anything else is a failure of the test.
pub(crate) fn play() {
    let Ok(role) = std::env::var("XSEG_ROLE") else { return };
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let parent = std::env::var("XSEG_PARENT").unwrap();
    if getppid().map(|pid| pid.as_raw_pid().to_string()) != Some(parent) {
        return; // it died before it could be asked for a signal
    }
    let name = std::env::var("XSEG_SEGMENT").unwrap();
    let life: u64 = std::env::var("XSEG_LIFE_MS").unwrap().parse().unwrap();
    let end = Instant::now() + Duration::from_millis(life);
    let role = Role::ALL.into_iter().find(|it| it.name() == role).unwrap();
    while Instant::now() < end {
        let port = Segment::open(&name).and_then(|segment| match role {
            Role::Server => segment.bind(SERVER, RESERVE),
            Role::Store => segment.bind(STORE, RESERVE),
            Role::Filter => segment.bind(FILTER, RESERVE),
            Role::Client => segment.bind_dynamic(RESERVE),
        });
        let Ok(port) = port else {
            std::thread::yield_now();
            continue;
        };
        let again = (Instant::now() + Duration::from_millis(life / 4)).min(end);
        match role {
            Role::Server => serve(port, again),
            Role::Store => store(port, again),
            Role::Filter => filter(port, again),
            Role::Client => ask(port, again),
        }
    }
}

fn nap(end: Instant) -> Option<Instant> {
    Some(end.min(Instant::now() + Duration::from_millis(50)))
}

fn serve(mut port: Port, end: Instant) {
    let mut waiting: VecDeque<Held> = VecDeque::new();
    let mut asked: HashMap<u32, Held> = HashMap::new();
    while Instant::now() < end {
        port.wait(nap(end));
        while let Some(received) = port.receive() {
            match received {
                Received::Request(held) => waiting.push_back(held),
                Received::Reply(child) => {
                    if let Some(mut parent) = asked.remove(&child.slot()) {
                        parent.set_status(child.status());
                        parent.set_serviced(child.serviced());
                        let _ = port.respond(parent);
                    }
                    port.free(child);
                }
            }
            while let Some(parent) = waiting.pop_front() {
                match port.allocate_child(&parent, 0..parent.buffer_bytes()) {
                    Ok(mut child) => {
                        child.set_offset(parent.offset());
                        child.set_op(parent.op());
                        let slot = child.slot();
                        if port.submit(child, STORE).is_ok() {
                            asked.insert(slot, parent);
                        }
                    }
                    Err(_) => {
                        waiting.push_front(parent);
                        break;
                    }
                }
            }
        }
    }
}

fn store(mut port: Port, end: Instant) {
    while Instant::now() < end {
        port.wait(nap(end));
        while let Some(received) = port.receive() {
            if let Received::Request(mut held) = received {
                let _ = held.write(0, &held.offset().to_le_bytes());
                held.set_serviced(held.buffer_bytes());
                let _ = port.respond(held);
            }
        }
    }
}

fn filter(mut port: Port, end: Instant) {
    while Instant::now() < end {
        port.wait(nap(end));
        while let Some(received) = port.receive() {
            let _ = match received {
                Received::Request(held) => port.forward(held, SERVER),
                Received::Reply(held) => port.respond(held),
            };
        }
    }
}

fn ask(mut port: Port, end: Instant) {
    let mut number = 0;
    let mut under_way = 0;
    while Instant::now() < end {
        while under_way < DEPTH
            && let Ok(mut held) = port.allocate(BUFFER)
        {
            number += 1;
            held.set_offset(number);
            let _ = held.set_target(b"some volume");
            if port.submit(held, SERVER).is_err() {
                break;
            }
            under_way += 1;
        }
        port.wait(nap(end));
        while let Some(received) = port.receive() {
            if let Received::Reply(held) = received {
                port.free(held);
                under_way = under_way.saturating_sub(1);
            }
        }
        if under_way == DEPTH && port.wait(nap(end)) == xseg::Woken::Deadline {
            under_way = 0; // noise took them
        }
    }
}
