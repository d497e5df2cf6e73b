//! Stores in memory, mappers on them, and a client, on a segment of their own.

use std::{
    path::PathBuf,
    thread::{self, JoinHandle},
    time::Duration,
};

use client::{Client, Stack};
use peer::{Common, Stop};
use protocol::{BLOCK_SIZE_DEFAULT, Entries, Entry, ErrorKind, Failure, Message, Op};
use volume::{BlockIndex, BootId, Generation, ObjectName, VolumeId};
use xseg::{Geometry, PortNumber, Reserve, Segment};

use super::memory_store::{MemoryStore, World};
use crate::{Config, store_calls::Place};

const BLOCKS: u32 = 1;
const MAPS: u32 = 2;
/// The port of node `a`'s mapper; the others follow.
pub(crate) const FIRST: u32 = 3;
/// Small blocks, so that small volumes have many.
pub(crate) const BLOCK: u32 = 4096;

/// A running role.
struct Role {
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Role {
    fn start(run: impl FnOnce(Stop) + Send + 'static) -> Role {
        let stop = Stop::new();
        let theirs = stop.clone();
        Role { stop, thread: thread::spawn(move || run(theirs)) }
    }

    fn stop(self) {
        self.stop.set();
        let ended = self.thread.join();
        assert!(ended.is_ok() || thread::panicking(), "a role panicked");
    }
}

/// The whole of it. Mappers are those of nodes `a`, `b`, … on one store.
pub(crate) struct Rig {
    pub(crate) world: World,
    pub(crate) segment: Segment,
    stores: Vec<Role>,
    mappers: Vec<Option<Role>>,
    boot: u8,
    pub(crate) cache_bytes: u64,
}

impl Rig {
    /// Two stores and the mapper of node `a`.
    pub(crate) fn new() -> Rig {
        let world = World::default();
        let segment = Segment::private(Geometry::new(16, 8, 2048, 96 << 20).unwrap()).unwrap();
        let stores = [(BLOCKS, Place::Blocks), (MAPS, Place::Maps)].map(|(port, place)| {
            let (segment, world) = (segment.clone(), world.clone());
            Role::start(move |stop| serve_store(&segment, port, place, world, &stop))
        });
        let mut rig = Rig {
            world,
            segment,
            stores: stores.into(),
            mappers: Vec::new(),
            boot: 1,
            cache_bytes: 64 << 20,
        };
        rig.start_node();
        rig
    }

    /// Starts the mapper of another node.
    pub(crate) fn start_node(&mut self) {
        let at = self.mappers.len();
        self.mappers.push(None);
        self.start(at);
    }

    pub(crate) fn start(&mut self, at: usize) {
        let (segment, cache) = (self.segment.clone(), self.cache_bytes);
        // Nodes are machines of their own.
        let boot = BootId([self.boot + 100 * u8::try_from(at).unwrap(); 16]);
        let port = FIRST + u32::try_from(at).unwrap();
        self.mappers[at] = Some(Role::start(move |stop| {
            let config = Config { map_cache_bytes: cache, ..Config::new(BLOCKS, MAPS) };
            crate::serve_booted(&segment, &common_of(port, &node(at)), &config, &stop, boot).unwrap();
        }));
        await_port(&self.segment, port);
    }

    /// Stops a mapper as a signal does.
    pub(crate) fn stop(&mut self, at: usize) {
        self.mappers[at].take().unwrap().stop();
    }

    /// Stops the mapper of node `a` without letting it write anything more, and starts the next one.
    pub(crate) fn crash(&mut self) {
        self.world.break_now();
        self.stop(0);
        self.world.heal();
        self.start(0);
    }

    /// As [`Rig::crash`], and what was not synced is lost.
    pub(crate) fn lose_power(&mut self) {
        self.world.break_now();
        self.stop(0);
        self.world.heal();
        self.world.lose_power();
        self.boot += 1;
        self.start(0);
    }

    pub(crate) fn client(&self) -> Caller {
        self.client_of(0)
    }

    pub(crate) fn client_of(&self, at: usize) -> Caller {
        let mapper = FIRST + u32::try_from(at).unwrap();
        let stack = Stack {
            segment: self.segment.clone(),
            vlmc: mapper..=mapper,
            mapper,
            blocker_maps: MAPS,
            blocker_blocks: BLOCKS,
            endpoints: Vec::new(),
            node: node(at),
        };
        let mut client = Client::connect(&stack).unwrap();
        client.set_patience(Duration::from_secs(30));
        Caller { client, mapper, world: self.world.clone() }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.world.heal();
        for mapper in self.mappers.iter_mut().filter_map(Option::take) {
            mapper.stop();
        }
        for store in self.stores.drain(..) {
            store.stop();
        }
    }
}

fn node(at: usize) -> String {
    ["a", "b", "c"][at].to_owned()
}

pub(crate) fn common_of(port: u32, node: &str) -> Common {
    Common {
        role: format!("port {port}"),
        ports: port..=port,
        nr_ops: 64,
        node: node.to_owned(),
        run_dir: PathBuf::new(),
    }
}

fn serve_store(segment: &Segment, port: u32, place: Place, world: World, stop: &Stop) {
    let reserve = Reserve { requests: 16, bytes: 0 };
    let common = Common { nr_ops: 1024, ..common_of(port, "store") };
    peer::run(segment, &common, PortNumber(port), reserve, stop, |effects| MemoryStore {
        effects,
        world,
        place,
        waiting: Vec::new(),
    })
    .unwrap();
}

/// Requests to a port that nobody has bound yet would be refused.
pub(crate) fn await_port(segment: &Segment, port: u32) {
    let mut asker = segment.bind_dynamic(Reserve { requests: 1, bytes: 64 << 10 }).unwrap();
    loop {
        let mut ping = asker.allocate(4096).unwrap();
        ping.set_op(Op::Ping.number());
        ping.set_target(b"*").unwrap();
        match asker.submit(ping, PortNumber(port)) {
            Ok(()) => break,
            Err(refused) => asker.free(refused.into_parts().0),
        }
        thread::yield_now();
    }
    loop {
        asker.wait(None);
        if let Some(xseg::Received::Reply(reply)) = asker.receive() {
            asker.free(reply);
            return;
        }
    }
}

/// Who asks one mapper, as a composer and the tools do.
pub(crate) struct Caller {
    pub(crate) client: Client,
    mapper: u32,
    pub(crate) world: World,
}

impl Caller {
    /// A blank volume of small blocks.
    pub(crate) fn create(&mut self, name: &str, blocks: u64) {
        self.client.create(name, Some(blocks * u64::from(BLOCK)), None, Some(BLOCK)).unwrap();
    }

    fn ask(&mut self, op: Op, name: &str, first: u64, count: u64) -> Result<Vec<u8>, Failure> {
        let reply = self.client.call(PortNumber(self.mapper), op, name.as_bytes(), 64 << 10, |request| {
            request.set_offset(first);
            request.set_size(count);
            Ok(())
        })?;
        let mut bytes = vec![0; usize::try_from(reply.serviced()).unwrap()];
        reply.read(0, &mut bytes).unwrap();
        self.client.done(reply);
        Ok(bytes)
    }

    pub(crate) fn map_read(&mut self, name: &str, first: u64, count: u64) -> Result<Entries, Failure> {
        self.ask(Op::MapRead, name, first, count).map(|bytes| Entries::decode(&bytes).unwrap())
    }

    pub(crate) fn map_write(&mut self, name: &str, first: u64, count: u64) -> Result<Entries, Failure> {
        self.ask(Op::MapWrite, name, first, count).map(|bytes| Entries::decode(&bytes).unwrap())
    }

    pub(crate) fn punch(&mut self, name: &str, first: u64, count: u64) -> Result<(), Failure> {
        self.ask(Op::MapPunch, name, first, count).map(drop)
    }

    pub(crate) fn commit(&mut self, name: &str) -> Result<(), Failure> {
        self.ask(Op::Commit, name, 0, 0).map(drop)
    }

    /// Writes a block's first byte as a composer does.
    pub(crate) fn write(&mut self, name: &str, index: u64, byte: u8) -> Result<(), Failure> {
        let entries = self.map_write(name, index, 1)?;
        let object = object_of(&entries.entries[0], index).unwrap();
        self.world.put_block(&object, &vec![byte; BLOCK as usize]);
        Ok(())
    }

    /// Writes and flushes.
    pub(crate) fn write_durably(&mut self, name: &str, index: u64, byte: u8) -> Result<(), Failure> {
        self.write(name, index, byte)?;
        let entries = self.map_read(name, index, 1)?;
        self.world.sync_block(&object_of(&entries.entries[0], index).unwrap());
        self.commit(name)
    }

    /// The first byte of a block, as a composer reads it.
    pub(crate) fn read(&mut self, name: &str, index: u64) -> Result<u8, Failure> {
        let entries = self.map_read(name, index, 1)?;
        let Some(object) = object_of(&entries.entries[0], index) else { return Ok(0) };
        let missing = || Failure::new(ErrorKind::Corrupt, format!("block {object} is missing"));
        let bytes = self.world.block(&object).ok_or_else(missing)?;
        Ok(bytes.first().copied().unwrap_or(0))
    }

    pub(crate) fn read_all(&mut self, name: &str, blocks: u64) -> Result<Vec<u8>, Failure> {
        (0..blocks).map(|index| self.read(name, index)).collect()
    }

    pub(crate) fn names(&mut self) -> Vec<String> {
        self.client.list().unwrap().into_iter().map(|line| line.name).collect()
    }
}

/// The object that an entry names.
pub(crate) fn object_of(entry: &Entry, index: u64) -> Option<String> {
    match entry {
        Entry::Hole => None,
        Entry::Object { owner, written_at, .. } | Entry::Partial { owner, written_at, .. } => {
            let name = ObjectName::block(VolumeId(*owner), Generation(*written_at), BlockIndex(index));
            Some(name.as_str().to_owned())
        }
        Entry::Named { name, .. } => Some(String::from_utf8(name.clone()).unwrap()),
    }
}

/// What kind of failure it was.
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, Failure>) -> ErrorKind {
    result.unwrap_err().kind
}

const _: () = assert!(BLOCK < BLOCK_SIZE_DEFAULT);
