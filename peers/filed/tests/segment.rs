//! Every claim of `store::conformance` once more, asked through the segment; and what only a peer can do wrong.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use filed::{Config, Io, serve};
use peer::{Common, Stop, failure_of};
use protocol::{
    Acquire, Copy, Flags, Granted, Hashed, List, Listed, LockInfo, Message, Op, Release, Scrub, Scrubbed,
};
use store::{
    Data, ErrorKind, LockState, ObjectName, Page, ScrubState, Store, StoreError, StoreOperation, StoreReply,
    StoreRequest, WriteMode,
};
use xseg::{Geometry, Held, Port, PortNumber, Received, Reserve, Segment};

const PORT: u32 = 3;

/// A segment that goes with its test, and a file blocker on it.
struct Stack {
    segment: Segment,
    name: String,
    config: Config,
    stop: Stop,
    serving: Option<JoinHandle<Result<(), filed::Error>>>,
}

impl Stack {
    fn start(config: Config) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("filed-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let geometry = Geometry::new(64, 16, 2048, 64 << 20).unwrap();
        let segment = Segment::create(&name, geometry).unwrap();
        let mut stack = Self { segment, name, config, stop: Stop::new(), serving: None };
        stack.serve();
        stack
    }

    fn serve(&mut self) {
        let common = Common {
            role: "blockerb".into(),
            ports: PORT..=PORT,
            nr_ops: 4,
            node: "test".into(),
            run_dir: "/nonexistent".into(),
        };
        self.stop = Stop::new();
        let (segment, config, stop) = (self.segment.clone(), self.config.clone(), self.stop.clone());
        self.serving = Some(std::thread::spawn(move || serve(&segment, &common, &config, &stop)));
    }

    fn stop(&mut self) {
        self.stop.set();
        if let Some(serving) = self.serving.take() {
            serving.join().unwrap().unwrap();
        }
    }

    fn client(&self) -> Client {
        Client { segment: self.segment.clone() }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop();
        Segment::destroy(&self.name).unwrap();
    }
}

/// A store behind the segment. Each call has a port of its own, since a port is one thread's.
struct Client {
    segment: Segment,
}

impl Client {
    fn port(&self, bytes: usize) -> Port {
        // Buffers are rounded up to powers of two.
        let bytes = bytes.next_power_of_two() as u64;
        self.segment.bind_dynamic(Reserve { requests: 1, bytes }).unwrap()
    }
}

/// Sends a filled request and waits until it is home.
fn ask(port: &mut Port, request: Held) -> Held {
    port.submit(request, PortNumber(PORT)).unwrap();
    loop {
        match port.receive() {
            Some(Received::Reply(reply)) => return reply,
            Some(Received::Request(_)) => panic!("nobody asks a client"),
            None => drop(port.wait(None)),
        }
    }
}

impl Store for Client {
    fn call(&self, request: StoreRequest, mut data: Data<'_>) -> Result<StoreReply, StoreError> {
        let room = match &request.operation {
            StoreOperation::List { max_bytes, .. } => max_bytes + 16,
            StoreOperation::Scrub { .. } => 4096,
            _ => 0,
        };
        let len = match &data {
            Data::None => room,
            Data::From(bytes) => bytes.len(),
            Data::Into(bytes) => bytes.len(),
        };
        let mut port = self.port(len);
        let mut held = port.allocate(len as u64).unwrap();
        fill(&mut held, &request, len);
        if let Data::From(bytes) = &data {
            held.write(0, bytes).unwrap();
        }
        let second = request.is_second_attempt;
        assert!(!second, "attempts are counted by the segment, not by clients");
        let reply = ask(&mut port, held);
        let result = match failure_of(&reply) {
            Some(failure) => Err(StoreError::new(failure.kind, request.operation.action(), &request.object)),
            None => Ok(decode(&request.operation, &reply)),
        };
        if let (Ok(_), Data::Into(bytes)) = (&result, &mut data) {
            reply.read(0, bytes).unwrap();
        }
        port.free(reply);
        result
    }
}

fn fill(held: &mut Held, request: &StoreRequest, len: usize) {
    let (op, mut argument) = op_of(&request.operation);
    let mut flags = flags_of(&request.operation);
    let (offset, size) = range_of(&request.operation, len as u64);
    if let Some(fence) = &request.fence {
        flags |= Flags::FENCED;
        held.set_fence(fence.number);
        argument = fence.lock.as_bytes().to_vec();
    }
    held.set_op(op.number());
    held.set_flags(flags.bits());
    held.set_target(request.object.as_bytes()).unwrap();
    held.set_offset(offset);
    held.set_size(size);
    // What is too long for the segment is too long for the store: let it see a part that is, too.
    argument.truncate(512);
    held.set_argument(&argument).unwrap();
}

fn op_of(operation: &StoreOperation) -> (Op, Vec<u8>) {
    match operation {
        StoreOperation::Read { .. } => (Op::Read, Vec::new()),
        StoreOperation::Write { .. } => (Op::Write, Vec::new()),
        StoreOperation::Sync => (Op::Sync, Vec::new()),
        StoreOperation::Truncate { .. } => (Op::Truncate, Vec::new()),
        StoreOperation::Delete { .. } => (Op::Delete, Vec::new()),
        StoreOperation::Acquire { owner, description, .. } => {
            (Op::Acquire, Acquire { owner: owner.clone(), description: description.clone() }.encode())
        }
        StoreOperation::Release { owner, .. } => (Op::Release, Release { owner: owner.clone() }.encode()),
        StoreOperation::Copy { source, .. } => {
            (Op::Copy, Copy { source: source.as_bytes().to_vec() }.encode())
        }
        StoreOperation::Info => (Op::Info, Vec::new()),
        StoreOperation::Hash => (Op::Hash, Vec::new()),
        StoreOperation::Flush => (Op::Flush, Vec::new()),
        StoreOperation::Discard { .. } => (Op::Discard, Vec::new()),
        StoreOperation::WriteZeroes { .. } => (Op::WriteZeroes, Vec::new()),
        StoreOperation::List { prefix, after, .. } => {
            (Op::List, List { prefix: prefix.clone(), after: after.clone() }.encode())
        }
        StoreOperation::LockInfo => (Op::LockInfo, Vec::new()),
        StoreOperation::Nodes => (Op::Nodes, Vec::new()),
        StoreOperation::Scrub { is_restart, max_bytes } => {
            (Op::Scrub, Scrub { is_restart: *is_restart, max_bytes: *max_bytes }.encode())
        }
    }
}

fn flags_of(operation: &StoreOperation) -> Flags {
    let mut flags = Flags::empty();
    match operation {
        StoreOperation::Write { mode, is_durable, .. } => {
            flags.set(Flags::FUA, *is_durable);
            flags.set(Flags::EXCLUSIVE, *mode == WriteMode::Exclusive);
            flags.set(Flags::REPLACE, *mode == WriteMode::Replace);
        }
        StoreOperation::Truncate { is_durable, .. }
        | StoreOperation::Delete { is_durable }
        | StoreOperation::Copy { is_durable, .. }
        | StoreOperation::Discard { is_durable, .. } => flags.set(Flags::FUA, *is_durable),
        StoreOperation::WriteZeroes { may_trim, is_fast, is_durable, .. } => {
            flags.set(Flags::FUA, *is_durable);
            flags.set(Flags::MAY_TRIM, *may_trim);
            flags.set(Flags::FAST, *is_fast);
        }
        StoreOperation::Acquire { wait, force, .. } => {
            flags.set(Flags::NOSYNC, !wait);
            flags.set(Flags::FORCE, *force);
        }
        StoreOperation::Release { force, .. } => flags.set(Flags::FORCE, *force),
        _ => {}
    }
    flags
}

fn range_of(operation: &StoreOperation, len: u64) -> (u64, u64) {
    match operation {
        StoreOperation::Read { offset } | StoreOperation::Write { offset, .. } => (*offset, len),
        StoreOperation::Truncate { size, .. } => (*size, 0),
        StoreOperation::Copy { size, .. } => (0, *size),
        StoreOperation::Discard { offset, size, .. } | StoreOperation::WriteZeroes { offset, size, .. } => {
            (*offset, *size)
        }
        _ => (0, len),
    }
}

fn decode(operation: &StoreOperation, reply: &Held) -> StoreReply {
    match operation {
        StoreOperation::Info => StoreReply::Size(reply.serviced()),
        StoreOperation::Hash => StoreReply::Hash(Hashed::decode(&reply.argument()).unwrap().hash),
        StoreOperation::Acquire { .. } => {
            StoreReply::Granted(Granted::decode(&reply.argument()).unwrap().number)
        }
        StoreOperation::LockInfo => {
            let LockInfo { owner, description, number, since_unix_ms } =
                LockInfo::decode(&reply.argument()).unwrap();
            StoreReply::Lock(LockState { owner, description, number, since_unix_ms })
        }
        StoreOperation::List { .. } => {
            let mut bytes = vec![0; usize::try_from(reply.serviced()).unwrap()];
            reply.read(0, &mut bytes).unwrap();
            let Listed { names, more } = Listed::decode(&bytes).unwrap();
            StoreReply::Names(Page { names, more })
        }
        StoreOperation::Scrub { .. } => {
            let mut bytes = vec![0; usize::try_from(reply.serviced()).unwrap()];
            reply.read(0, &mut bytes).unwrap();
            let told = Scrubbed::decode(&bytes).unwrap();
            let Scrubbed { progress, objects, damaged, .. } = told;
            StoreReply::Scrubbed(Box::new(ScrubState { progress, objects, damaged, ..ScrubState::default() }))
        }
        _ => StoreReply::Done,
    }
}

fn every_claim_holds(io: Io) {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(Config { io, fdcache: 3, nr_threads: 3, ..Config::new(directory.path()) });
    let apart = ["a_second_attempt_to_delete_succeeds", "a_second_attempt_of_an_exclusive_write_succeeds"];
    let apart = [&apart[..], &["a_second_attempt_to_release_succeeds"]].concat();
    store::conformance::run_without(&apart, || stack.client());
}

#[test]
fn every_claim_holds_through_the_segment() {
    every_claim_holds(Io::Auto);
}

#[test]
fn every_claim_holds_through_the_segment_with_threads() {
    every_claim_holds(Io::Threads);
}

/// Asks for something that no correct client asks for; the status of the reply.
fn status_of(stack: &Stack, fill: impl FnOnce(&mut Held)) -> u32 {
    let mut port = stack.client().port(4096);
    let mut held = port.allocate(4096).unwrap();
    held.set_target(b"object").unwrap();
    held.set_op(Op::Read.number());
    fill(&mut held);
    let reply = ask(&mut port, held);
    let status = reply.status();
    if status != 0 {
        assert!(!reply.argument().is_empty(), "a failure says what it is");
    }
    port.free(reply);
    status
}

#[test]
fn nonsense_is_refused_and_the_next_request_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(Config::new(directory.path()));
    let invalid = u32::from(ErrorKind::Invalid.number());
    let unsupported = u32::from(ErrorKind::Unsupported.number());
    for op in [9, 10, 12, 28, 33, 4711, u16::MAX] {
        assert_eq!(status_of(&stack, |held| held.set_op(op)), unsupported, "operation {op}");
    }
    let with_size = |op: Op, offset, size| {
        status_of(&stack, |held| {
            held.set_op(op.number());
            held.set_offset(offset);
            held.set_size(size);
        })
    };
    assert_eq!(with_size(Op::Read, 0, 4097), invalid);
    assert_eq!(with_size(Op::Write, 0, u64::MAX), invalid);
    assert_eq!(with_size(Op::Write, u64::MAX, 2), invalid);
    assert_eq!(with_size(Op::WriteZeroes, 1, u64::MAX), invalid);
    for op in [Op::Acquire, Op::Release, Op::Copy, Op::List] {
        let noise = |held: &mut Held| {
            held.set_op(op.number());
            held.set_argument(&[0xff; 100]).unwrap();
        };
        assert_eq!(status_of(&stack, noise), invalid, "{}", op.name());
    }
    assert_eq!(status_of(&stack, |held| held.set_target(b"").unwrap()), invalid);
    for flags in [1 << 31, Flags::FLUSH.bits()] {
        assert_eq!(status_of(&stack, |held| held.set_flags(flags)), unsupported);
    }
    let both = Flags::EXCLUSIVE | Flags::REPLACE;
    let write_both = |held: &mut Held| {
        held.set_op(Op::Write.number());
        held.set_flags(both.bits());
    };
    assert_eq!(status_of(&stack, write_both), invalid);
    stack.client().write(&ObjectName::new("object").unwrap(), 0, b"served").unwrap();
}

#[test]
fn ping_tells_what_was_served() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(Config::new(directory.path()));
    stack.client().write(&ObjectName::new("object").unwrap(), 0, b"served").unwrap();
    let mut port = stack.client().port(4096);
    let held = port.allocate(4096).unwrap();
    let reply = ask(&mut port, held);
    let mut bytes = vec![0; usize::try_from(reply.serviced()).unwrap()];
    reply.read(0, &mut bytes).unwrap();
    port.free(reply);
    let status: peer::status::Status = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((status.role.as_str(), status.port, status.served["write"]), ("blockerb", PORT, 1));
    assert_eq!(status.details["open_files"], 1);
}

#[test]
fn a_request_that_waits_for_a_lock_survives_a_restart_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let mut stack = Stack::start(Config::new(directory.path()));
    let (client, lock) = (stack.client(), ObjectName::new("volume").unwrap());
    let first = client.acquire(&lock, "a", false, false).unwrap();
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| client.acquire(&lock, "b", true, false).unwrap());
        // Whichever store it meets, and however often.
        for _ in 0..3 {
            stack.stop();
            stack.serve();
        }
        stack.client().release(&lock, "a", false).unwrap();
        assert!(waiting.join().unwrap() > first);
    });
}
