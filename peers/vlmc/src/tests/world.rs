//! One thread that is client, store and mapper of a composer, and decides what is served when.

use std::collections::{BTreeSet, HashMap};

use peer::{Effects, Event, Peer, SystemClock, failure_of, fill_result};
use protocol::{ErrorKind, Extent, Extents, Failure, Flags, Message, Op};
use xseg::{Geometry, Held, Port, PortNumber, Received, Reserve, Segment};

use super::{maps::Maps, store::Disk};
use crate::composer::Composer;

const STORE: u32 = 1;
const MAPPER: u32 = 2;
const VLMC: u32 = 3;

/// A reply as the client got it: what its buffer holds, or why not.
pub(super) type Outcome = Result<Vec<u8>, Failure>;

pub(super) struct World {
    pub(super) composer: Composer,
    effects: Effects,
    client: Port,
    store: Port,
    mapper: Port,
    pub(super) disk: Disk,
    pub(super) maps: Maps,
    /// Operations that stay unanswered.
    pub(super) held_back: BTreeSet<u16>,
    /// The next request with this operation fails so.
    pub(super) fault: Option<(Op, ErrorKind)>,
    /// What reached the store and the mapper, in order.
    pub(super) log: Vec<Op>,
    pub(super) order: Box<dyn FnMut(usize) -> usize>,
    waiting: Vec<(u32, Held)>,
    outcomes: HashMap<u64, Outcome>,
    next: u64,
    cache_bytes: u64,
}

impl World {
    pub(super) fn new(part_slots: u32, cache_bytes: u64) -> World {
        let segment = Segment::private(Geometry::new(16, 8, 1024, 16 << 20).unwrap()).unwrap();
        let bind =
            |port, requests, bytes| segment.bind(PortNumber(port), Reserve { requests, bytes }).unwrap();
        let none = |port| bind(port, 0, 0);
        let effects = Effects::new(bind(VLMC, part_slots, 64 << 10), Box::new(SystemClock::default()));
        World {
            composer: Composer::new(effects.clone(), STORE, MAPPER, cache_bytes),
            effects,
            client: bind(4, 256, 8 << 20),
            store: none(STORE),
            mapper: none(MAPPER),
            disk: Disk::default(),
            maps: Maps::default(),
            held_back: BTreeSet::new(),
            fault: None,
            log: Vec::new(),
            order: Box::new(|_| 0),
            waiting: Vec::new(),
            outcomes: HashMap::new(),
            next: 0,
            cache_bytes,
        }
    }

    /// A world with room enough and one volume.
    pub(super) fn with_volume(name: &str, size_bytes: u64, block_size: u32) -> World {
        let mut world = World::new(256, 1 << 20);
        world.maps.create(name, size_bytes, block_size);
        world
    }

    /// Sends a request; its number.
    pub(super) fn submit(&mut self, op: Op, volume: &str, flags: Flags, at: (u64, u64), bytes: &[u8]) -> u64 {
        let room = if matches!(op, Op::Read) { at.1 } else { u64::try_from(bytes.len()).unwrap() };
        let argument = if matches!(op, Op::Read | Op::Write) { &[][..] } else { bytes };
        let mut request = self.client.allocate(room.max(if op == Op::Extents { 4096 } else { 0 })).unwrap();
        request.set_op(op.number());
        request.set_target(volume.as_bytes()).unwrap();
        request.set_flags(flags.bits());
        request.set_offset(at.0);
        request.set_size(at.1);
        request.set_argument(argument).unwrap();
        if op == Op::Write {
            request.write(0, bytes).unwrap();
        } else if op == Op::Read {
            // Whatever is not filled in by the composer is found.
            request.write(0, &vec![0xee; usize::try_from(room).unwrap()]).unwrap();
        }
        self.next += 1;
        request.set_flow(self.next);
        self.client.submit(request, PortNumber(VLMC)).unwrap();
        self.next
    }

    /// The outcome of a request, if it is there.
    pub(super) fn outcome(&mut self, number: u64) -> Option<Outcome> {
        self.outcomes.remove(&number)
    }

    /// Sends a request and serves everybody until it is quiet.
    pub(super) fn call(
        &mut self,
        op: Op,
        volume: &str,
        flags: Flags,
        at: (u64, u64),
        bytes: &[u8],
    ) -> Outcome {
        let number = self.submit(op, volume, flags, at, bytes);
        self.settle();
        self.outcome(number).expect("it is answered when all is quiet")
    }

    pub(super) fn read(&mut self, volume: &str, offset: u64, size: u64) -> Outcome {
        self.call(Op::Read, volume, Flags::empty(), (offset, size), &[])
    }

    pub(super) fn write(&mut self, volume: &str, offset: u64, bytes: &[u8]) -> Outcome {
        self.call(Op::Write, volume, Flags::empty(), (offset, u64::try_from(bytes.len()).unwrap()), bytes)
    }

    pub(super) fn flush(&mut self, volume: &str) -> Outcome {
        self.call(Op::Flush, volume, Flags::empty(), (0, 0), &[])
    }

    pub(super) fn snapshot(&mut self, volume: &str, name: &str) -> Outcome {
        let argument = protocol::Snapshot { name: name.to_owned() }.encode();
        self.call(Op::Snapshot, volume, Flags::empty(), (0, 0), &argument)
    }

    pub(super) fn extents(&mut self, volume: &str, offset: u64, size: u64) -> Vec<Extent> {
        let bytes = self.call(Op::Extents, volume, Flags::empty(), (offset, size), &[]).unwrap();
        Extents::decode(&bytes).unwrap().extents
    }

    /// Serves everybody until nothing more happens.
    pub(super) fn settle(&mut self) {
        while self.turn() {}
    }

    /// Lets everybody do something. Whether anybody did.
    pub(super) fn turn(&mut self) -> bool {
        let mut is_busy = self.run_composer();
        self.gather();
        is_busy |= self.serve_one();
        is_busy | self.hear()
    }

    fn run_composer(&mut self) -> bool {
        let mut is_busy = false;
        while let Some(received) = self.effects.receive() {
            is_busy = true;
            self.composer.handle(match received {
                Received::Request(request) => Event::Accepted(request),
                Received::Reply(reply) => Event::Replied(reply),
            });
        }
        is_busy
    }

    fn gather(&mut self) {
        for (port, owner) in [(STORE, &mut self.store), (MAPPER, &mut self.mapper)] {
            while let Some(Received::Request(request)) = owner.receive() {
                self.log.push(Op::from_number(request.op()).unwrap());
                self.waiting.push((port, request));
            }
        }
    }

    /// Answers one of the requests that wait at the store and the mapper.
    fn serve_one(&mut self) -> bool {
        let held_back = &self.held_back;
        let ready: Vec<usize> =
            (0..self.waiting.len()).filter(|at| !held_back.contains(&self.waiting[*at].1.op())).collect();
        if ready.is_empty() {
            return false;
        }
        let (port, mut request) = self.waiting.remove(ready[(self.order)(ready.len()) % ready.len()]);
        let op = Op::from_number(request.op()).unwrap();
        let fault = self.fault.take_if(|(faulty, _)| *faulty == op);
        let result = match fault {
            Some((_, kind)) => Err(kind),
            None if port == STORE => self.disk.serve(op, &mut request, &self.maps),
            None => self.maps.serve(op, &mut request, &mut self.disk),
        };
        let result = result.map_err(|kind| Failure::new(kind, format!("played: {kind}")));
        fill_result(&mut request, result.as_ref().copied());
        let server = if port == STORE { &mut self.store } else { &mut self.mapper };
        server.respond(request).unwrap();
        true
    }

    fn hear(&mut self) -> bool {
        let mut is_busy = false;
        while let Some(Received::Reply(reply)) = self.client.receive() {
            is_busy = true;
            let result = failure_of(&reply).map_or_else(|| Ok(contents(&reply)), Err);
            let earlier = self.outcomes.insert(reply.flow(), result);
            assert!(earlier.is_none(), "a request is answered once");
            self.client.free(reply);
        }
        is_busy
    }

    /// A new composer takes the place of one that died: what it had sent comes home unheard, what it had accepted is
    /// served again, and what it had passed on comes back through its successor.
    pub(super) fn restart(&mut self) {
        self.held_back.clear();
        let mut passing = Vec::new();
        loop {
            self.gather();
            if !self.serve_one() {
                break;
            }
            while let Some(received) = self.effects.receive() {
                match received {
                    Received::Reply(orphan) if orphan.is_home() => self.effects.free(orphan),
                    Received::Reply(reply) => passing.push(Event::Replied(reply)),
                    Received::Request(request) => passing.push(Event::Accepted(request)),
                }
            }
        }
        let successor = Composer::new(self.effects.clone(), STORE, MAPPER, self.cache_bytes);
        let dead = std::mem::replace(&mut self.composer, successor);
        let mut accepted = dead.into_accepted();
        // In the order in which they came.
        accepted.sort_by_key(Held::flow);
        for request in accepted {
            self.composer.handle(Event::Accepted(request));
        }
        for event in passing {
            self.composer.handle(event);
        }
    }

    /// How often the store and the mapper were asked this.
    pub(super) fn count(&self, op: Op) -> usize {
        self.log.iter().filter(|asked| **asked == op).count()
    }

    /// What a volume would hold after a loss of power.
    pub(super) fn durable(&self, volume: &str) -> Vec<u8> {
        self.maps.durable(volume, &self.disk)
    }
}

fn contents(reply: &Held) -> Vec<u8> {
    let bytes = reply.serviced().min(reply.buffer_bytes());
    let mut contents = vec![0; usize::try_from(bytes).unwrap()];
    reply.read(0, &mut contents).unwrap();
    contents
}

impl Composer {
    /// What a composer that dies leaves to its successor.
    fn into_accepted(mut self) -> Vec<Held> {
        let keys: Vec<u32> = self.operations.iter().map(|(key, _)| key).collect();
        let running = keys.into_iter().filter_map(|key| self.operations.remove(key)?.request);
        let mut accepted: Vec<Held> = running.collect();
        let volumes: Vec<u32> = self.volumes.iter().map(|(key, _)| key).collect();
        for key in volumes {
            let Some(volume) = self.volumes.remove(key) else { continue };
            match volume.flow {
                crate::flow::Flow::Serving { .. } => {}
                crate::flow::Flow::Draining { barrier, waiting, .. } => {
                    accepted.push(barrier);
                    accepted.extend(waiting);
                }
                crate::flow::Flow::Alone { waiting } => accepted.extend(waiting),
            }
        }
        accepted
    }
}
