//! The simulated disk: blocks, maps and locks of all nodes, with the semantics of `docs/protocols.md` section 2.

use std::collections::BTreeMap;

use protocol::{
    Acquire, Copy, ErrorKind, Flags, Granted, Hashed, List, Listed, LockInfo, Message, Op, Release,
};
use sha2::{Digest, Sha256};
use xseg::{Held, RequestId};

use crate::{dice::Dice, object::Object};

/// Which of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Blocks,
    Maps,
}

/// What a store does wrong on purpose, to see that somebody notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mutant {
    #[default]
    None,
    IgnoresSync,
    DropsFlush,
    ForgetsNames,
    AnswersBeforeDurable,
    ChecksNoFences,
    TearsReplacements,
    CopiesHalf,
    KeepsWhatIsZeroed,
    DropsWrites,
}

/// What a power loss leaves whole: a page of the page cache.
const BLOCK_PAGE: usize = 4096;
/// Maps carry checksums, so they must bear any tearing.
const MAP_PAGE: usize = 512;

pub(crate) struct Disk {
    blocks: BTreeMap<Vec<u8>, Object>,
    maps: BTreeMap<Vec<u8>, Object>,
    locks: BTreeMap<Vec<u8>, Lock>,
    pub(crate) mutant: Mutant,
    /// Of 1000 operations so many fail.
    pub(crate) failing: usize,
    /// What no correct peer asks.
    pub(crate) complaint: Option<String>,
    dice: Dice,
}

#[derive(Clone, Default)]
struct Lock {
    owner: Option<String>,
    description: String,
    number: u64,
}

/// What an operation came to.
pub(crate) enum Outcome {
    Done,
    /// It waits for a lock.
    Waits,
}

type Served = Result<Outcome, ErrorKind>;

impl Disk {
    pub(crate) fn new(dice: Dice, mutant: Mutant) -> Disk {
        Disk {
            blocks: BTreeMap::new(),
            maps: BTreeMap::new(),
            locks: BTreeMap::new(),
            mutant,
            failing: 0,
            complaint: None,
            dice,
        }
    }

    /// All that is not durable is lost or torn.
    pub(crate) fn lose_power(&mut self) {
        for object in self.blocks.values_mut() {
            object.lose_power(BLOCK_PAGE, &mut self.dice);
        }
        for object in self.maps.values_mut() {
            object.lose_power(MAP_PAGE, &mut self.dice);
        }
    }

    /// Takes a lock from whoever holds it.
    pub(crate) fn break_lock(&mut self, name: &str) {
        if let Some(lock) = self.locks.get_mut(name.as_bytes())
            && lock.owner.take().is_some()
        {
            lock.number += 1;
        }
    }

    /// Blocks, nodes and logs: roots of what is gone and reserved numbers stay for ever, so that no name is given twice.
    pub(crate) fn names_that_cost_space(&self) -> Vec<String> {
        let is_there = |(name, object): (&Vec<u8>, &Object)| {
            object.now.is_some().then(|| String::from_utf8_lossy(name).into_owned())
        };
        let maps = self
            .maps
            .iter()
            .filter_map(is_there)
            .filter(|name| name.starts_with("n.") || name.starts_with("l."));
        self.blocks.iter().filter_map(is_there).chain(maps).collect()
    }

    pub(crate) fn lock_owner(&self, name: &str) -> Option<&str> {
        self.locks.get(name.as_bytes())?.owner.as_deref()
    }

    /// Serves a request; it may fail before or after it was done, or in the middle.
    pub(crate) fn serve(&mut self, place: Place, request: &mut Held) -> Served {
        if self.failing == 0 || self.dice.below(1000) >= self.failing {
            return self.perform(place, request);
        }
        let is_change = !matches!(
            Op::from_number(request.op()),
            Some(Op::Read | Op::Info | Op::Hash | Op::List | Op::LockInfo)
        );
        if is_change
            && self.dice.chance(40)
            && let Outcome::Waits = self.perform(place, request)?
        {
            return Ok(Outcome::Waits);
        }
        let takes_space = matches!(Op::from_number(request.op()), Some(Op::Write | Op::Truncate | Op::Copy));
        Err(if takes_space && self.dice.chance(50) { ErrorKind::NoSpace } else { ErrorKind::Unavailable })
    }

    fn perform(&mut self, place: Place, request: &mut Held) -> Served {
        let op = Op::from_number(request.op()).ok_or(ErrorKind::Unsupported)?;
        let flags = Flags::from_bits(request.flags()).ok_or(ErrorKind::Unsupported)?;
        self.check_fence(place, op, flags, request)?;
        match op {
            Op::Acquire => return self.acquire(flags, request),
            Op::Release => self.release(flags, request)?,
            Op::LockInfo => self.lock_info(request)?,
            Op::List => self.list(place, request)?,
            Op::Copy => self.copy(place, flags, request)?,
            Op::Flush => self.flush(place),
            _ => self.on_object(place, op, flags, request)?,
        }
        Ok(Outcome::Done)
    }

    fn objects(&mut self, place: Place) -> &mut BTreeMap<Vec<u8>, Object> {
        match place {
            Place::Blocks => &mut self.blocks,
            Place::Maps => &mut self.maps,
        }
    }

    fn complain(&mut self, what: String) {
        self.complaint.get_or_insert(what);
    }

    fn check_fence(&mut self, place: Place, op: Op, flags: Flags, request: &Held) -> Result<(), ErrorKind> {
        let name = request.target();
        let is_data =
            place == Place::Blocks && matches!(op, Op::Write | Op::Discard | Op::WriteZeroes | Op::Truncate);
        let is_root = flags.contains(Flags::REPLACE);
        if !flags.contains(Flags::FENCED) {
            if is_data || is_root {
                self.complain(format!("{} of {} is not fenced", op.name(), name.as_ref().escape_ascii()));
            }
            return Ok(());
        }
        let argument = request.argument();
        let lock = self.locks.get(argument.as_ref());
        let is_current = lock.is_some_and(|lock| lock.owner.is_some() && lock.number == request.fence());
        if is_current || self.mutant == Mutant::ChecksNoFences { Ok(()) } else { Err(ErrorKind::NotOwner) }
    }

    fn acquire(&mut self, flags: Flags, request: &mut Held) -> Served {
        let Acquire { owner, description } =
            Acquire::decode(&request.argument()).map_err(|_| ErrorKind::Invalid)?;
        let lock = self.locks.entry(request.target().to_vec()).or_default();
        let is_other = lock.owner.as_ref().is_some_and(|holder| *holder != owner);
        if is_other && !flags.contains(Flags::FORCE) {
            return if flags.contains(Flags::NOSYNC) { Err(ErrorKind::Busy) } else { Ok(Outcome::Waits) };
        }
        if lock.owner.as_ref() != Some(&owner) {
            *lock = Lock { owner: Some(owner), description, number: lock.number + 1 };
        }
        let granted = Granted { number: lock.number }.encode();
        request.set_argument(&granted).map_err(|_| ErrorKind::Invalid)?;
        Ok(Outcome::Done)
    }

    fn release(&mut self, flags: Flags, request: &Held) -> Result<(), ErrorKind> {
        let Release { owner } = Release::decode(&request.argument()).map_err(|_| ErrorKind::Invalid)?;
        let lock = self.locks.get_mut(request.target().as_ref()).ok_or(ErrorKind::NotFound)?;
        match &lock.owner {
            Some(holder) if *holder == owner => lock.owner = None,
            Some(_) if flags.contains(Flags::FORCE) => {
                lock.owner = None;
                lock.number += 1;
            }
            Some(_) => return Err(ErrorKind::NotOwner),
            None if request.attempts() > 0 => {}
            None => return Err(ErrorKind::NotFound),
        }
        Ok(())
    }

    fn lock_info(&self, request: &mut Held) -> Result<(), ErrorKind> {
        let Lock { owner, description, number } =
            self.locks.get(request.target().as_ref()).cloned().unwrap_or_default();
        let info = LockInfo { owner, description, number, since_unix_ms: 0 };
        request.set_argument(&info.encode()).map_err(|_| ErrorKind::Invalid)
    }

    fn list(&mut self, place: Place, request: &mut Held) -> Result<(), ErrorKind> {
        /// Few, so that there is more than one page.
        const PAGE: usize = 5;
        let List { prefix, after } = List::decode(&request.argument()).map_err(|_| ErrorKind::Invalid)?;
        let there = self.objects(place).iter().filter(|(_, object)| object.now.is_some());
        let wanted = there.map(|(name, _)| name).filter(|name| name.starts_with(&prefix) && **name > after);
        let mut names: Vec<Vec<u8>> = wanted.take(PAGE + 1).cloned().collect();
        let more = names.len() > PAGE;
        names.truncate(PAGE);
        let bytes = Listed { names, more }.encode();
        request.write(0, &bytes).map_err(|_| ErrorKind::Invalid)?;
        request.set_serviced(bytes.len() as u64);
        Ok(())
    }

    fn flush(&mut self, place: Place) {
        if self.mutant != Mutant::DropsFlush {
            self.objects(place).values_mut().for_each(Object::sync);
        }
    }

    fn copy(&mut self, place: Place, flags: Flags, request: &Held) -> Result<(), ErrorKind> {
        let Copy { source } = Copy::decode(&request.argument()).map_err(|_| ErrorKind::Invalid)?;
        let mutant = self.mutant;
        let mut bytes = self
            .objects(place)
            .get(&source)
            .and_then(|object| object.now.clone())
            .ok_or(ErrorKind::NotFound)?;
        if mutant == Mutant::CopiesHalf {
            bytes.truncate(bytes.len() / 2);
        }
        bytes.resize(length(request.size()), 0);
        self.check_reuse(place, request);
        let object = self.objects(place).entry(request.target().to_vec()).or_default();
        object.delete(false);
        object.create(request.id(), false);
        object.resize(bytes.len(), false);
        object.write(0, bytes, false);
        if flags.contains(Flags::FUA) {
            object.sync();
        }
        Ok(())
    }

    /// Names of blocks, nodes, logs and ids are given once, for ever.
    fn check_reuse(&mut self, place: Place, request: &Held) {
        let name = request.target();
        let id = request.id();
        let maker = self.objects(place).get(name.as_ref()).and_then(|object| object.maker);
        if is_once(&name) && maker.is_some_and(|maker| maker != id) {
            self.complain(format!(
                "the name {} is given twice: by {maker:?} and {id:?}",
                name.as_ref().escape_ascii()
            ));
        }
    }

    /// The first write to a partial block makes its object; what was deleted is not made again.
    fn check_made_by_writing(&mut self, name: &[u8]) {
        let was_deleted = self.blocks.get(name).is_some_and(|object| object.was_deleted);
        if was_deleted {
            self.complain(format!("write to {}, which was deleted", name.escape_ascii()));
        }
    }

    fn on_object(&mut self, place: Place, op: Op, flags: Flags, request: &mut Held) -> Result<(), ErrorKind> {
        let name = request.target();
        let exists = self.objects(place).get(name.as_ref()).is_some_and(|object| object.now.is_some());
        let creates = matches!(op, Op::Write | Op::Truncate | Op::WriteZeroes);
        if !exists && !creates {
            return if op == Op::Delete && request.attempts() > 0 {
                Ok(())
            } else {
                Err(ErrorKind::NotFound)
            };
        }
        let is_new = flags.contains(Flags::EXCLUSIVE);
        if exists && is_new {
            return self.exclusive_again(place, flags, request);
        }
        let is_made_by_writing = place == Place::Blocks && op == Op::Write;
        if creates && (!exists || op == Op::Truncate) && !is_made_by_writing {
            self.check_reuse(place, request);
        }
        if !exists && is_made_by_writing {
            self.check_made_by_writing(&name);
        }
        if !exists && place == Place::Blocks && !matches!(op, Op::Truncate | Op::Write) {
            self.complain(format!("{} to {}, which is not there", op.name(), name.as_ref().escape_ascii()));
        }
        match op {
            Op::Read | Op::Info | Op::Hash => self.look(place, op, request),
            _ => self.change(place, op, flags, request),
        }
    }

    fn look(&mut self, place: Place, op: Op, request: &mut Held) -> Result<(), ErrorKind> {
        let name = request.target();
        let Some(now) = self.objects(place).get(name.as_ref()).and_then(|object| object.now.as_ref()) else {
            return Err(ErrorKind::NotFound);
        };
        match op {
            Op::Read => {
                let (at, size) = (length(request.offset()), length(request.size()));
                let mut bytes: Vec<u8> = now.iter().skip(at).take(size).copied().collect();
                bytes.resize(size, 0);
                request.write(0, &bytes).map_err(|_| ErrorKind::Invalid)
            }
            Op::Hash => {
                let end = now.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                let hash = Hashed { hash: Sha256::digest(&now[..end]).into() }.encode();
                request.set_argument(&hash).map_err(|_| ErrorKind::Invalid)
            }
            _ => {
                let size = now.len() as u64;
                request.set_serviced(size);
                request.set_argument(&size.to_le_bytes()).map_err(|_| ErrorKind::Invalid)
            }
        }
    }

    /// A second attempt finds what the first made.
    fn exclusive_again(&mut self, place: Place, flags: Flags, request: &Held) -> Result<(), ErrorKind> {
        let wanted = payload(request)?;
        let object = self.objects(place).get_mut(request.target().as_ref()).ok_or(ErrorKind::NotFound)?;
        let is_own_work = request.attempts() > 0 && object.now.as_ref() == Some(&wanted);
        if !is_own_work {
            return Err(ErrorKind::Exists);
        }
        if flags.contains(Flags::FUA) {
            object.sync();
        }
        Ok(())
    }

    fn change(&mut self, place: Place, op: Op, flags: Flags, request: &Held) -> Result<(), ErrorKind> {
        let mutant = self.mutant;
        let is_durable = flags.contains(Flags::FUA) && mutant != Mutant::AnswersBeforeDurable;
        let (at, size) = (length(request.offset()), length(request.size()));
        let id: RequestId = request.id();
        let bytes = if op == Op::Write { payload(request)? } else { Vec::new() };
        let object = self.objects(place).entry(request.target().to_vec()).or_default();
        match op {
            Op::Write if flags.contains(Flags::REPLACE) => match mutant {
                Mutant::TearsReplacements => {
                    object.create(id, is_durable);
                    object.write(0, bytes, false);
                }
                Mutant::AnswersBeforeDurable => {
                    object.delete(false);
                    object.create(id, false);
                    object.write(0, bytes, false);
                }
                _ => object.become_durably(bytes, id),
            },
            Op::Write if flags.contains(Flags::EXCLUSIVE) => {
                object.create(id, false);
                object.write(at, bytes, false);
                if is_durable {
                    object.sync();
                }
            }
            Op::Write => {
                object.create(id, is_durable);
                if mutant != Mutant::DropsWrites || place == Place::Maps {
                    object.write(at, bytes, is_durable);
                }
            }
            Op::Truncate => {
                object.create(id, is_durable);
                object.resize(size_of_truncate(request), is_durable);
            }
            Op::Discard | Op::WriteZeroes => {
                object.create(id, is_durable);
                let end = if op == Op::Discard {
                    object.now.as_ref().map_or(0, Vec::len).min(at + size)
                } else {
                    at + size
                };
                if end > at && mutant != Mutant::KeepsWhatIsZeroed {
                    object.write(at, vec![0; end - at], is_durable);
                }
            }
            Op::Delete => object.delete(is_durable),
            Op::Sync => match mutant {
                Mutant::IgnoresSync => {}
                Mutant::ForgetsNames => object.sync_without_name(),
                _ => object.sync(),
            },
            _ => return Err(ErrorKind::Unsupported),
        }
        Ok(())
    }
}

fn payload(request: &Held) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = vec![0; length(request.size())];
    request.read(0, &mut bytes).map_err(|_| ErrorKind::Invalid)?;
    Ok(bytes)
}

fn size_of_truncate(request: &Held) -> usize {
    length(request.offset())
}

fn length(number: u64) -> usize {
    usize::try_from(number).expect("objects of a simulation are small")
}

/// Whether the name is one that only one object ever has.
fn is_once(name: &[u8]) -> bool {
    [&b"b."[..], b"n.", b"l.", b"i."].iter().any(|prefix| name.starts_with(prefix))
}
