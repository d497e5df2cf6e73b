//! What a store promises whoever asks it directly.

use client::Client;
use protocol::{Acquire, Copy, ErrorKind, Failure, Flags, Message, Op, Release};
use tests::{TestStack, pattern};
use xseg::{Held, PortNumber};

struct Store {
    client: Client,
    port: PortNumber,
}

impl Store {
    fn of(stack: &TestStack) -> Store {
        Store { client: stack.client(), port: PortNumber(stack.stack().blocker_blocks) }
    }

    fn order(&mut self, op: Op, object: &str, fill: impl FnOnce(&mut Held)) -> Result<u64, Failure> {
        let reply = self.client.call(self.port, op, object.as_bytes(), 1 << 16, |request| {
            fill(request);
            Ok(())
        })?;
        let size = reply.serviced();
        self.client.done(reply);
        Ok(size)
    }

    fn write(&mut self, object: &str, bytes: &[u8]) {
        let size = u64::try_from(bytes.len()).unwrap();
        self.order(Op::Write, object, |request| {
            request.set_size(size);
            request.write(0, bytes).unwrap();
        })
        .unwrap();
    }

    fn read(&mut self, object: &str, length: usize) -> Result<Vec<u8>, Failure> {
        let size = u64::try_from(length).unwrap();
        let reply = self.client.call(self.port, Op::Read, object.as_bytes(), size, |request| {
            request.set_size(size);
            Ok(())
        })?;
        let mut bytes = vec![0xaa; length];
        reply.read(0, &mut bytes).unwrap();
        self.client.done(reply);
        Ok(bytes)
    }

    fn copy(&mut self, source: &str, target: &str, size: u64) -> Result<u64, Failure> {
        let argument = Copy { source: source.into() }.encode();
        self.order(Op::Copy, target, |request| {
            request.set_size(size);
            request.set_argument(&argument).unwrap();
        })
    }

    fn acquire(&mut self, lock: &str, owner: &str, flags: Flags) -> Result<u64, Failure> {
        let argument = Acquire { owner: owner.into(), description: String::new() }.encode();
        self.order(Op::Acquire, lock, |request| {
            request.set_flags(flags.bits());
            request.set_argument(&argument).unwrap();
        })
    }

    fn release(&mut self, lock: &str, owner: &str, flags: Flags) -> Result<u64, Failure> {
        let argument = Release { owner: owner.into() }.encode();
        self.order(Op::Release, lock, |request| {
            request.set_flags(flags.bits());
            request.set_argument(&argument).unwrap();
        })
    }
}

fn kind(result: Result<u64, Failure>) -> Option<ErrorKind> {
    result.err().map(|failure| failure.kind)
}

#[test]
fn case_18_a_copy_is_padded_and_never_grows_and_needs_its_source() {
    let stack = TestStack::start();
    let mut store = Store::of(&stack);
    store.write("source", &pattern(1, 4096));
    for _ in 0..2 {
        store.copy("source", "target", 8192).unwrap();
        let copied = store.read("target", 8192).unwrap();
        assert!(copied[..4096] == pattern(1, 4096) && copied[4096..] == [0; 4096]);
    }
    assert_eq!(store.order(Op::Info, "target", |_| ()).unwrap(), 8192);
    assert_eq!(kind(store.copy("nobody", "target2", 4096)), Some(ErrorKind::NotFound));
    assert_eq!(store.read("target2", 1).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn case_19_a_deleted_object_is_gone_at_once() {
    let stack = TestStack::start();
    let mut store = Store::of(&stack);
    assert_eq!(kind(store.order(Op::Delete, "object1", |_| ())), Some(ErrorKind::NotFound));
    store.write("object1", &pattern(1, 4096));
    store.order(Op::Delete, "object1", |_| ()).unwrap();
    assert_eq!(store.read("object1", 1).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn case_20_locks_are_idempotent_for_their_owner_and_outlive_the_blocker() {
    let mut stack = TestStack::start();
    let mut store = Store::of(&stack);
    store.acquire("lock-a", "node-1", Flags::NOSYNC).unwrap();
    store.acquire("lock-a", "node-1", Flags::NOSYNC).unwrap();
    store.release("lock-a", "node-1", Flags::empty()).unwrap();
    assert_eq!(kind(store.release("lock-a", "node-1", Flags::empty())), Some(ErrorKind::NotFound));
    store.acquire("lock-a", "node-1", Flags::NOSYNC).unwrap();
    assert_eq!(kind(store.acquire("lock-a", "node-10", Flags::NOSYNC)), Some(ErrorKind::Busy));
    assert_eq!(kind(store.release("lock-a", "node-10", Flags::empty())), Some(ErrorKind::NotOwner));
    drop(store);
    stack.kill();
    stack.run();
    let mut store = Store::of(&stack);
    assert_eq!(kind(store.acquire("lock-a", "node-10", Flags::NOSYNC)), Some(ErrorKind::Busy));
    store.release("lock-a", "node-10", Flags::FORCE).unwrap();
    store.acquire("lock-a", "node-10", Flags::NOSYNC).unwrap();
}

#[test]
fn case_20_a_waiting_acquire_gets_the_lock_when_it_is_released() {
    let stack = TestStack::start();
    let mut store = Store::of(&stack);
    store.acquire("lock-a", "node-1", Flags::NOSYNC).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Store::of(&stack).acquire("lock-a", "node-2", Flags::empty()));
        store.release("lock-a", "node-1", Flags::empty()).unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(kind(store.acquire("lock-a", "node-1", Flags::NOSYNC)), Some(ErrorKind::Busy));
}

#[test]
fn names_of_any_bytes_are_safe() {
    let stack = TestStack::start();
    let mut store = Store::of(&stack);
    for name in
        ["../../../../outside01", "/etc/passwd", "..", ".", "a\0b", "%41", "with space", &"long".repeat(64)]
    {
        store.write(name, name.as_bytes());
        assert_eq!(store.read(name, name.len()).unwrap(), name.as_bytes(), "{name}");
    }
    assert!(!stack.path("outside01").exists());
}

#[test]
fn an_unknown_operation_is_answered() {
    let stack = TestStack::start();
    let mut store = Store::of(&stack);
    assert_eq!(kind(store.order(Op::MapRead, "object1", |_| ())), Some(ErrorKind::Unsupported));
    assert_eq!(
        kind(store.order(Op::Ping, "object1", |request| request.set_op(999))),
        Some(ErrorKind::Unsupported)
    );
}
