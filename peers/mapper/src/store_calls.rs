//! What the mapper asks the two stores: `docs/protocols.md` section 2, store operations.

use peer::{Answer, tasks::Tasks};
use protocol::{
    Acquire, Copy, ErrorKind, Failure, Flags, Granted, Hashed, List, Listed, LockInfo, Message, Op, Release,
};
use volume::ObjectName;
use xseg::{Held, PortNumber};

use crate::parallel::Signal;

/// The stores, and who asks. Clones are the same stores.
#[derive(Clone)]
pub(crate) struct Stores {
    tasks: Tasks,
    blocks: PortNumber,
    maps: PortNumber,
    node: String,
    /// What nobody waits for is given up with all else.
    giving_up: Signal,
}

/// The lock under which something is written, with the number of its grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    /// The volume's name.
    pub(crate) lock: ObjectName,
    /// The grant's number.
    pub(crate) number: u64,
}

/// Which of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Blocks,
    Maps,
}

/// Room for a page of names, in bytes.
const LIST_BYTES: u64 = 64 << 10;

/// One question, until it is sent.
struct Question<'a> {
    op: Op,
    flags: Flags,
    target: &'a [u8],
    offset: u64,
    size: u64,
    argument: Vec<u8>,
    fence: u64,
    data: &'a [u8],
}

impl<'a> Question<'a> {
    fn new(op: Op, target: &'a ObjectName) -> Question<'a> {
        Question::of(op, target.as_bytes())
    }

    fn of(op: Op, target: &'a [u8]) -> Question<'a> {
        Question {
            op,
            flags: Flags::empty(),
            target,
            offset: 0,
            size: 0,
            argument: Vec::new(),
            fence: 0,
            data: &[],
        }
    }

    fn fenced(self, fence: Option<&Fence>) -> Question<'a> {
        let Some(fence) = fence else { return self };
        let argument = fence.lock.as_bytes().to_vec();
        Question { flags: self.flags | Flags::FENCED, argument, fence: fence.number, ..self }
    }

    fn fill(&self, request: &mut Held) -> Result<(), Failure> {
        let unsent = |error: xseg::Error| {
            Failure::new(ErrorKind::Invalid, format!("cannot ask a store for {}: {error}", self.op.name()))
        };
        request.set_op(self.op.number());
        request.set_flags(self.flags.bits());
        request.set_target(self.target).map_err(unsent)?;
        request.set_offset(self.offset);
        request.set_size(self.size);
        request.set_fence(self.fence);
        request.set_argument(&self.argument).map_err(unsent)?;
        request.write(0, self.data).map_err(unsent)
    }
}

impl Stores {
    pub(crate) fn new(
        tasks: Tasks,
        blocks: PortNumber,
        maps: PortNumber,
        node: &str,
        giving_up: Signal,
    ) -> Stores {
        Stores { tasks, blocks, maps, node: node.to_owned(), giving_up }
    }

    /// The identity that owns the locks taken here.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Starts something that nobody waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let giving_up = self.giving_up.clone();
        self.tasks.spawn(async move { giving_up.or(task).await.unwrap_or_default() });
    }

    fn port(&self, place: Place) -> PortNumber {
        match place {
            Place::Blocks => self.blocks,
            Place::Maps => self.maps,
        }
    }

    async fn ask(&self, place: Place, room: u64, question: &Question<'_>) -> Result<Answer, Failure> {
        self.tasks.call(self.port(place), room, |request| question.fill(request)).await
    }

    async fn order(&self, place: Place, question: &Question<'_>) -> Result<(), Failure> {
        let room = u64::try_from(question.data.len()).unwrap_or(u64::MAX);
        self.ask(place, room, question).await.map(drop)
    }

    /// `size` bytes of an object from `offset`; what is not there reads zeros.
    pub(crate) async fn read(&self, name: &ObjectName, offset: u64, size: u64) -> Result<Vec<u8>, Failure> {
        self.read_of(Place::Maps, name, offset, size).await
    }

    /// As `read`, of a block.
    pub(crate) async fn read_block(
        &self,
        name: &ObjectName,
        offset: u64,
        size: u64,
    ) -> Result<Vec<u8>, Failure> {
        self.read_of(Place::Blocks, name, offset, size).await
    }

    async fn read_of(
        &self,
        place: Place,
        name: &ObjectName,
        offset: u64,
        size: u64,
    ) -> Result<Vec<u8>, Failure> {
        let question = Question { offset, size, ..Question::new(Op::Read, name) };
        let answer = self.ask(place, size, &question).await?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        answer.read(0, &mut bytes).map_err(|error| garbled(Op::Read, &error))?;
        Ok(bytes)
    }

    /// The size of an object in bytes.
    pub(crate) async fn size(&self, place: Place, name: &ObjectName) -> Result<u64, Failure> {
        let answer = self.ask(place, 0, &Question::new(Op::Info, name)).await?;
        let argument = answer.argument();
        let bytes: [u8; 8] = argument.as_ref().try_into().map_err(|error| garbled(Op::Info, &error))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The object becomes these bytes, whole and durable, or stays as it was.
    pub(crate) async fn replace(
        &self,
        name: &ObjectName,
        bytes: &[u8],
        fence: &Fence,
    ) -> Result<(), Failure> {
        let question = Question { flags: Flags::REPLACE | Flags::FUA, ..write(name, 0, bytes) };
        self.order(Place::Maps, &question.fenced(Some(fence))).await
    }

    /// Writes a new object, durably. `Exists` if the name is taken.
    pub(crate) async fn create(
        &self,
        name: &ObjectName,
        bytes: &[u8],
        fence: Option<&Fence>,
    ) -> Result<(), Failure> {
        let question = Question { flags: Flags::EXCLUSIVE | Flags::FUA, ..write(name, 0, bytes) };
        self.order(Place::Maps, &question.fenced(fence)).await
    }

    /// Writes into an object of the map store.
    pub(crate) async fn write_at(
        &self,
        name: &ObjectName,
        offset: u64,
        bytes: &[u8],
        fence: &Fence,
    ) -> Result<(), Failure> {
        self.order(Place::Maps, &write(name, offset, bytes).fenced(Some(fence))).await
    }

    /// Writes into a block.
    pub(crate) async fn write_block(
        &self,
        name: &ObjectName,
        offset: u64,
        bytes: &[u8],
        fence: &Fence,
    ) -> Result<(), Failure> {
        self.order(Place::Blocks, &write(name, offset, bytes).fenced(Some(fence))).await
    }

    /// Deletes an object; one that is gone already is as good as deleted.
    pub(crate) async fn delete(
        &self,
        place: Place,
        name: &ObjectName,
        fence: Option<&Fence>,
    ) -> Result<(), Failure> {
        let deleted = self.order(place, &Question::new(Op::Delete, name).fenced(fence)).await;
        match deleted {
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Makes a block of `size` zero bytes.
    pub(crate) async fn make_block(
        &self,
        name: &ObjectName,
        size: u64,
        fence: &Fence,
    ) -> Result<(), Failure> {
        let question = Question { offset: size, ..Question::new(Op::Truncate, name) };
        self.order(Place::Blocks, &question.fenced(Some(fence))).await
    }

    /// Makes a range of a block read zeros.
    pub(crate) async fn zero_block(
        &self,
        name: &ObjectName,
        offset: u64,
        size: u64,
        fence: &Fence,
    ) -> Result<(), Failure> {
        let flags = Flags::MAY_TRIM;
        let question = Question { flags, offset, size, ..Question::new(Op::WriteZeroes, name) };
        self.order(Place::Blocks, &question.fenced(Some(fence))).await
    }

    /// Makes a block of the first `size` bytes of another one. Not fenced: the new name is nobody's until a fenced write
    /// puts it into a map.
    pub(crate) async fn copy_block(
        &self,
        source: &ObjectName,
        name: &ObjectName,
        size: u64,
    ) -> Result<(), Failure> {
        let argument = Copy { source: source.as_bytes().to_vec() }.encode();
        self.order(Place::Blocks, &Question { size, argument, ..Question::new(Op::Copy, name) }).await
    }

    /// Makes an object durable, with its name.
    pub(crate) async fn sync(&self, place: Place, name: &ObjectName) -> Result<(), Failure> {
        self.order(place, &Question::new(Op::Sync, name)).await
    }

    /// Makes everything that the store of blocks answered durable.
    pub(crate) async fn flush_blocks(&self, volume: &ObjectName) -> Result<(), Failure> {
        self.order(Place::Blocks, &Question::new(Op::Flush, volume)).await
    }

    /// SHA-256 of a block without its trailing zeros.
    pub(crate) async fn hash_block(&self, name: &ObjectName) -> Result<[u8; 32], Failure> {
        let answer = self.ask(Place::Blocks, 0, &Question::new(Op::Hash, name)).await?;
        let hashed = Hashed::decode(answer.argument().as_ref()).map_err(|error| garbled(Op::Hash, &error))?;
        Ok(hashed.hash)
    }

    /// A page of names that begin with `prefix`, after `after`.
    pub(crate) async fn list(&self, place: Place, prefix: &[u8], after: &[u8]) -> Result<Listed, Failure> {
        let argument = List { prefix: prefix.to_vec(), after: after.to_vec() }.encode();
        let question = Question { size: LIST_BYTES, argument, ..Question::of(Op::List, b"*") };
        let answer = self.ask(place, LIST_BYTES, &question).await?;
        Listed::decode(&answer.bytes(answer.serviced())).map_err(|error| garbled(Op::List, &error))
    }

    /// Takes a lock for this node: at once or not at all (`Busy`), or however long it takes.
    pub(crate) async fn acquire(&self, lock: &ObjectName, waits: bool) -> Result<u64, Failure> {
        let flags = if waits { Flags::ABANDONABLE } else { Flags::NOSYNC };
        let description = format!("mapper of {}", self.node);
        let argument = Acquire { owner: self.node.clone(), description }.encode();
        let question = Question { flags, argument, ..Question::new(Op::Acquire, lock) };
        let answer = self.ask(Place::Maps, 0, &question).await?;
        let granted = Granted::decode(answer.argument().as_ref());
        Ok(granted.map_err(|error| garbled(Op::Acquire, &error))?.number)
    }

    /// Gives a lock back.
    pub(crate) async fn release(&self, lock: &ObjectName) -> Result<(), Failure> {
        let argument = Release { owner: self.node.clone() }.encode();
        self.order(Place::Maps, &Question { argument, ..Question::new(Op::Release, lock) }).await
    }

    /// Who holds a lock.
    pub(crate) async fn lock_info(&self, lock: &ObjectName) -> Result<LockInfo, Failure> {
        let answer = self.ask(Place::Maps, 0, &Question::new(Op::LockInfo, lock)).await?;
        LockInfo::decode(answer.argument().as_ref()).map_err(|error| garbled(Op::LockInfo, &error))
    }
}

fn write<'a>(name: &'a ObjectName, offset: u64, data: &'a [u8]) -> Question<'a> {
    let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
    Question { offset, size, data, ..Question::new(Op::Write, name) }
}

fn garbled(op: Op, error: &dyn std::fmt::Display) -> Failure {
    let message = format!("a store's answer to {} makes no sense: {error}", op.name());
    Failure::new(ErrorKind::Corrupt, message)
}
