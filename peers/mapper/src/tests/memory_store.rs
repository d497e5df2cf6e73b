//! Two stores in memory, served on the segment as real ones are, that can lose power and fail on purpose.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use peer::{Effects, Event, Peer};
use protocol::{
    Acquire, Copy, ErrorKind, Failure, Flags, Granted, Hashed, List, Listed, LockInfo, Message, Op, Release,
};
use sha2::{Digest, Sha256};
use xseg::Held;

use crate::store_calls::Place;

/// What both stores hold; shared with the test.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) blocks: BTreeMap<Vec<u8>, Object>,
    pub(crate) maps: BTreeMap<Vec<u8>, Object>,
    locks: BTreeMap<Vec<u8>, Lock>,
    changes: u64,
    fault: Option<Fault>,
    /// What is refused, and how.
    refused: Option<(Op, ErrorKind)>,
    /// How many requests wait at the map store, by operation.
    waiting: BTreeMap<&'static str, u64>,
}

/// What is in an object now, and what of it would survive a loss of power. `None`: no such object.
#[derive(Clone, Default)]
pub(crate) struct Object {
    pub(crate) now: Option<Vec<u8>>,
    durable: Option<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Lock {
    owner: Option<String>,
    description: String,
    number: u64,
}

/// The change at which the stores stop answering.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    /// How many changes are done before.
    pub(crate) after: u64,
    /// Whether the one at which it happens is done, too, though nobody hears of it.
    pub(crate) is_done: bool,
}

impl World {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    /// From now on the stores fail after some more changes.
    pub(crate) fn break_after(&self, fault: Fault) {
        let mut state = self.state();
        state.changes = 0;
        state.fault = Some(fault);
    }

    /// From now on the stores do nothing.
    pub(crate) fn break_now(&self) {
        self.break_after(Fault { after: 0, is_done: false });
    }

    /// From now on an operation fails.
    pub(crate) fn refuse(&self, op: Op, kind: ErrorKind) {
        self.state().refused = Some((op, kind));
    }

    pub(crate) fn allow(&self) {
        self.state().refused = None;
    }

    /// Whether they have begun to fail.
    pub(crate) fn has_stopped(&self) -> bool {
        let state = self.state();
        state.fault.is_some_and(|fault| state.changes > fault.after)
    }

    /// The stores answer again.
    pub(crate) fn heal(&self) {
        self.state().fault = None;
    }

    /// What was not synced is gone.
    pub(crate) fn lose_power(&self) {
        let state = &mut *self.state();
        for object in state.blocks.values_mut().chain(state.maps.values_mut()) {
            object.now.clone_from(&object.durable);
        }
    }

    pub(crate) fn lock_owner(&self, name: &str) -> Option<String> {
        self.state().locks.get(name.as_bytes()).and_then(|lock| lock.owner.clone())
    }

    pub(crate) fn block_names(&self) -> Vec<String> {
        names(&self.state().blocks)
    }

    pub(crate) fn map_names(&self) -> Vec<String> {
        names(&self.state().maps)
    }

    pub(crate) fn block(&self, name: &str) -> Option<Vec<u8>> {
        self.state().blocks.get(name.as_bytes()).and_then(|object| object.now.clone())
    }

    /// What a composer does with an entry that it was given.
    pub(crate) fn put_block(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let object = state.blocks.entry(name.as_bytes().to_vec()).or_default();
        object.now = Some(bytes.to_vec());
    }

    /// What the original left in its directory.
    pub(crate) fn put_map(&self, name: &str, bytes: &[u8]) {
        let object = Object { now: Some(bytes.to_vec()), durable: Some(bytes.to_vec()) };
        self.state().maps.insert(name.as_bytes().to_vec(), object);
    }

    pub(crate) fn map(&self, name: &str) -> Option<Vec<u8>> {
        self.state().maps.get(name.as_bytes()).and_then(|object| object.now.clone())
    }

    /// What a bad disk did.
    pub(crate) fn remove_block(&self, name: &str) {
        self.state().blocks.remove(name.as_bytes());
    }

    /// What a bad disk did.
    pub(crate) fn remove_map(&self, name: &str) {
        self.state().maps.remove(name.as_bytes());
    }

    pub(crate) fn sync_block(&self, name: &str) {
        if let Some(object) = self.state().blocks.get_mut(name.as_bytes()) {
            object.sync();
        }
    }
}

impl World {
    /// Waits for what is done in the background: looks again whenever a store has answered something.
    pub(crate) fn until(&self, is_so: impl Fn(&State) -> bool) {
        let (state, changed) = &*self.0;
        let patience = Duration::from_secs(30);
        let guard = state.lock().unwrap();
        let (_guard, waited) = changed.wait_timeout_while(guard, patience, |state| !is_so(state)).unwrap();
        assert!(!waited.timed_out(), "it did not come about");
    }
}

impl State {
    /// Whether a request with this operation waits.
    pub(crate) fn waits(&self, op: Op) -> bool {
        self.waiting.get(op.name()).is_some_and(|count| *count > 0)
    }

    pub(crate) fn has_map(&self, name: &str) -> bool {
        self.maps.get(name.as_bytes()).is_some_and(|object| object.now.is_some())
    }

    pub(crate) fn has_block(&self, name: &str) -> bool {
        self.blocks.get(name.as_bytes()).is_some_and(|object| object.now.is_some())
    }
}

fn names(objects: &BTreeMap<Vec<u8>, Object>) -> Vec<String> {
    let there = objects.iter().filter(|(_, object)| object.now.is_some());
    there.map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
}

impl Object {
    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
    }
}

/// One of the two stores, as a peer.
pub(crate) struct MemoryStore {
    pub(crate) effects: Effects,
    pub(crate) world: World,
    pub(crate) place: Place,
    /// Acquires that wait for their lock, and parked requests.
    pub(crate) waiting: Vec<Held>,
}

impl Peer for MemoryStore {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(request) => {
                self.serve(request);
                self.world.state().waiting.clear();
                for waiting in std::mem::take(&mut self.waiting) {
                    self.serve(waiting);
                }
            }
            Event::Stopping => {
                for waiting in std::mem::take(&mut self.waiting) {
                    let failure = Failure::new(ErrorKind::Unavailable, "the store stops");
                    self.effects.respond(waiting, Err(&failure));
                }
            }
            Event::Replied(_) | Event::Tick => {}
        }
    }
}

impl MemoryStore {
    fn serve(&mut self, mut request: Held) {
        let op = Op::from_number(request.op()).unwrap();
        let world = self.world.clone();
        let mut state = world.state();
        let result = state.answer(self.place, op, &mut request);
        if let Ok(false) = result {
            *state.waiting.entry(op.name()).or_default() += 1;
        }
        drop(state);
        world.0.1.notify_all();
        match result {
            Ok(true) => self.effects.respond(request, Ok(())),
            Ok(false) => self.waiting.push(request),
            Err(kind) => {
                let name = String::from_utf8_lossy(request.target().as_ref()).into_owned();
                let failure = Failure::new(kind, format!("cannot {} object {name}: {kind}", op.name()));
                self.effects.respond(request, Err(&failure));
            }
        }
    }
}

impl State {
    /// Whether the request is answered; if not it waits.
    fn answer(&mut self, place: Place, op: Op, request: &mut Held) -> Result<bool, ErrorKind> {
        let is_change = matches!(
            op,
            Op::Write
                | Op::Truncate
                | Op::Copy
                | Op::Delete
                | Op::Sync
                | Op::Flush
                | Op::Acquire
                | Op::Release
                | Op::WriteZeroes
        );
        if let Some((_, kind)) = self.refused.filter(|(refused, _)| *refused == op) {
            return Err(kind);
        }
        let Some(fault) = self.fault else { return self.perform(place, op, request) };
        self.changes += u64::from(is_change);
        // One that does nothing from now on does not even read.
        let is_broken = self.changes > fault.after || fault.after == 0;
        if !is_broken {
            return self.perform(place, op, request);
        }
        if is_change && fault.is_done && self.changes == fault.after + 1 {
            self.perform(place, op, request)?;
        }
        Err(ErrorKind::Unavailable)
    }

    fn perform(&mut self, place: Place, op: Op, request: &mut Held) -> Result<bool, ErrorKind> {
        self.check_fence(request)?;
        match op {
            Op::Acquire => return self.acquire(request),
            Op::Release => self.release(request)?,
            Op::LockInfo => self.lock_info(request),
            Op::List => list(self.objects(place), request),
            Op::Flush => self.objects(place).values_mut().for_each(Object::sync),
            Op::Copy => self.copy(place, request)?,
            _ => on_object(self.objects(place), op, request)?,
        }
        Ok(true)
    }

    fn objects(&mut self, place: Place) -> &mut BTreeMap<Vec<u8>, Object> {
        match place {
            Place::Blocks => &mut self.blocks,
            Place::Maps => &mut self.maps,
        }
    }

    fn check_fence(&self, request: &Held) -> Result<(), ErrorKind> {
        let flags = Flags::from_bits_truncate(request.flags());
        if !flags.contains(Flags::FENCED) {
            return Ok(());
        }
        let lock = self.locks.get(request.argument().as_ref());
        let is_current = lock.is_some_and(|lock| lock.owner.is_some() && lock.number == request.fence());
        if is_current { Ok(()) } else { Err(ErrorKind::NotOwner) }
    }

    fn acquire(&mut self, request: &mut Held) -> Result<bool, ErrorKind> {
        let asks = Acquire::decode(request.argument().as_ref()).unwrap();
        let flags = Flags::from_bits_truncate(request.flags());
        let lock = self.locks.entry(request.target().as_ref().to_vec()).or_default();
        if lock.owner.as_ref().is_some_and(|owner| *owner != asks.owner) {
            return if flags.contains(Flags::NOSYNC) { Err(ErrorKind::Busy) } else { Ok(false) };
        }
        if lock.owner.is_none() {
            *lock = Lock { owner: Some(asks.owner), description: asks.description, number: lock.number + 1 };
        }
        request.set_argument(&Granted { number: lock.number }.encode()).unwrap();
        Ok(true)
    }

    fn release(&mut self, request: &Held) -> Result<(), ErrorKind> {
        let asks = Release::decode(request.argument().as_ref()).unwrap();
        let is_forced = Flags::from_bits_truncate(request.flags()).contains(Flags::FORCE);
        let lock = self.locks.get_mut(request.target().as_ref()).ok_or(ErrorKind::NotFound)?;
        match lock.owner.as_ref() {
            None => Err(ErrorKind::NotFound),
            Some(owner) if *owner != asks.owner && !is_forced => Err(ErrorKind::NotOwner),
            Some(_) => {
                lock.owner = None;
                Ok(())
            }
        }
    }

    fn lock_info(&self, request: &mut Held) {
        let lock = self.locks.get(request.target().as_ref()).cloned().unwrap_or_default();
        let Lock { owner, description, number } = lock;
        let info = LockInfo { owner, description, number, since_unix_ms: 0 };
        request.set_argument(&info.encode()).unwrap();
    }

    fn copy(&mut self, place: Place, request: &Held) -> Result<(), ErrorKind> {
        let source = Copy::decode(request.argument().as_ref()).unwrap().source;
        let objects = self.objects(place);
        let mut bytes =
            objects.get(&source).and_then(|object| object.now.clone()).ok_or(ErrorKind::NotFound)?;
        bytes.resize(usize::try_from(request.size()).unwrap(), 0);
        objects.entry(request.target().as_ref().to_vec()).or_default().now = Some(bytes);
        Ok(())
    }
}

fn list(objects: &BTreeMap<Vec<u8>, Object>, request: &mut Held) {
    /// Small, so that tests see more than one page.
    const PAGE: usize = 7;
    let asks = List::decode(request.argument().as_ref()).unwrap();
    let there = objects.iter().filter(|(_, object)| object.now.is_some()).map(|(name, _)| name);
    let wanted = there.filter(|name| name.starts_with(&asks.prefix) && **name > asks.after);
    let mut names: Vec<_> = wanted.take(PAGE + 1).cloned().collect();
    let more = names.len() > PAGE;
    names.truncate(PAGE);
    let bytes = Listed { names, more }.encode();
    request.write(0, &bytes).unwrap();
    request.set_serviced(u64::try_from(bytes.len()).unwrap());
}

fn on_object(objects: &mut BTreeMap<Vec<u8>, Object>, op: Op, request: &mut Held) -> Result<(), ErrorKind> {
    let flags = Flags::from_bits_truncate(request.flags());
    let offset = usize::try_from(request.offset()).unwrap();
    let size = usize::try_from(request.size()).unwrap();
    let object = objects.entry(request.target().as_ref().to_vec()).or_default();
    if matches!(op, Op::Read | Op::Info | Op::Hash | Op::Delete | Op::Sync) && object.now.is_none() {
        return Err(ErrorKind::NotFound);
    }
    match op {
        Op::Read => {
            let now = object.now.as_deref().unwrap();
            let mut bytes: Vec<u8> = now.iter().skip(offset).take(size).copied().collect();
            bytes.resize(size, 0);
            request.write(0, &bytes).unwrap();
        }
        Op::Info => {
            let length = u64::try_from(object.now.as_ref().unwrap().len()).unwrap();
            request.set_argument(&length.to_le_bytes()).unwrap();
        }
        Op::Hash => {
            let now = object.now.as_deref().unwrap();
            let length = now.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            request.set_argument(&Hashed { hash: Sha256::digest(&now[..length]).into() }.encode()).unwrap();
        }
        Op::Delete => {
            *object = Object::default();
        }
        Op::Sync => object.sync(),
        Op::Truncate => object.now.get_or_insert_default().resize(offset, 0),
        Op::WriteZeroes => {
            let now = object.now.get_or_insert_default();
            now.resize(now.len().max(offset + size), 0);
            now[offset..offset + size].fill(0);
        }
        Op::Write => write(object, request, flags, offset, size)?,
        _ => return Err(ErrorKind::Unsupported),
    }
    Ok(())
}

fn write(
    object: &mut Object,
    request: &Held,
    flags: Flags,
    offset: usize,
    size: usize,
) -> Result<(), ErrorKind> {
    if flags.contains(Flags::EXCLUSIVE) && object.now.is_some() {
        return Err(ErrorKind::Exists);
    }
    let mut bytes = vec![0; size];
    request.read(0, &mut bytes).unwrap();
    let now = object.now.get_or_insert_default();
    if flags.contains(Flags::REPLACE) {
        *now = bytes;
    } else {
        now.resize(now.len().max(offset + size), 0);
        now[offset..offset + size].copy_from_slice(&bytes);
    }
    if flags.intersects(Flags::REPLACE | Flags::FUA) {
        object.sync();
    }
    Ok(())
}
