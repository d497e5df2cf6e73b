//! One question at a time.

use std::time::{Duration, Instant};

use peer::failure_of;
use protocol::{
    Acquire, Attach, Attached, AttachedList, BlockList, Clone as CloneVolume, Collected, Compare,
    Differences, ErrorKind, Extent, Extents, Failure, Flags, Hashed, List, ListedVolume, ListedVolumes,
    LockInfo, Message, Op, Release, Renamed, Resize, Scrub, Scrubbed, Snapshot, VolumeInfo,
};
use xseg::{Held, Port, PortNumber, Received, Reserve};

use crate::Stack;

/// A caller with a port of its own.
pub struct Client {
    port: Port,
    stack: Stack,
    patience: Duration,
}

/// How long a call waits for its reply unless [`Client::set_patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// Room for results that come in the buffer, in bytes.
const RESULT_BYTES: u64 = 64 << 10;
/// Room for what a role measured of all its volumes, in bytes.
const MEASURED_BYTES: u64 = 1 << 20;

impl Client {
    /// Binds a dynamic port.
    ///
    /// # Errors
    /// If the segment has no free port, slots or memory.
    pub fn connect(stack: &Stack) -> Result<Client, Failure> {
        let reserve = Reserve { requests: 16, bytes: 4 << 20 };
        let port = stack.segment.bind_dynamic(reserve).map_err(|error| {
            Failure::new(ErrorKind::Unavailable, format!("cannot join the segment: {error}"))
        })?;
        Ok(Client { port, stack: stack.clone(), patience: PATIENCE })
    }

    /// Changes how long a call waits for its reply.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The stack this client talks to.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Sends one request and waits for its reply; the caller gives it back with [`Client::done`].
    ///
    /// # Errors
    /// What keeps it from being sent, what the peer answered, or `Unavailable` when no reply comes in time.
    pub fn call(
        &mut self,
        to: PortNumber,
        op: Op,
        target: &[u8],
        buffer_bytes: u64,
        fill: impl FnOnce(&mut Held) -> Result<(), Failure>,
    ) -> Result<Held, Failure> {
        let mut request = self.port.allocate(buffer_bytes).map_err(|error| unsent(op, &error))?;
        request.set_op(op.number());
        let filled =
            request.set_target(target).map_err(|error| unsent(op, &error)).and_then(|()| fill(&mut request));
        if let Err(failure) = filled {
            self.port.free(request);
            return Err(failure);
        }
        let id = request.id();
        if let Err(refused) = self.port.submit(request, to) {
            let (request, error) = refused.into_parts();
            self.port.free(request);
            return Err(Failure::new(ErrorKind::Unavailable, format!("cannot send {}: {error}", op.name())));
        }
        self.reply(op, to, id)
    }

    /// Gives back a reply.
    pub fn done(&mut self, reply: Held) {
        self.port.free(reply);
    }

    fn reply(&mut self, op: Op, to: PortNumber, id: xseg::RequestId) -> Result<Held, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.port.receive() {
                Some(Received::Reply(reply)) if reply.id() == id => {
                    return match failure_of(&reply) {
                        None => Ok(reply),
                        Some(failure) => {
                            self.port.free(reply);
                            Err(failure)
                        }
                    };
                }
                // The reply to a call that was given up.
                Some(Received::Reply(late)) => self.port.free(late),
                Some(Received::Request(stray)) => self.refuse(stray),
                None if Instant::now() >= deadline => {
                    let waited = self.patience.as_secs();
                    let message = format!("port {} did not answer {} within {waited} s", to.0, op.name());
                    return Err(Failure::new(ErrorKind::Unavailable, message));
                }
                None => {
                    self.port.wait(Some(deadline));
                }
            }
        }
    }

    fn refuse(&mut self, mut stray: Held) {
        let failure = Failure::new(ErrorKind::Unsupported, "a client serves no requests");
        peer::fill_result(&mut stray, Err(&failure));
        // Whoever asked a client gets its answer or is gone.
        let _gone = self.port.respond(stray);
    }

    /// A call with an argument and no result.
    pub(crate) fn order(
        &mut self,
        to: PortNumber,
        op: Op,
        target: &str,
        flags: Flags,
        argument: &[u8],
    ) -> Result<(), Failure> {
        let reply = self.ask(to, op, target, flags, argument, 0)?;
        self.done(reply);
        Ok(())
    }

    fn ask(
        &mut self,
        to: PortNumber,
        op: Op,
        target: &str,
        flags: Flags,
        argument: &[u8],
        buffer_bytes: u64,
    ) -> Result<Held, Failure> {
        self.call(to, op, target.as_bytes(), buffer_bytes, |request| {
            request.set_flags(flags.bits());
            request.set_argument(argument).map_err(|error| unsent(op, &error))
        })
    }

    /// A call whose result is a message in the reply's argument.
    fn ask_small<M: Message>(
        &mut self,
        to: PortNumber,
        op: Op,
        target: &str,
        argument: &[u8],
    ) -> Result<M, Failure> {
        let reply = self.ask(to, op, target, Flags::empty(), argument, 0)?;
        let result = M::decode(reply.argument().as_ref()).map_err(|error| garbled(op, &error));
        self.done(reply);
        result
    }

    /// A call whose result is a message in the reply's buffer.
    fn ask_large<M: Message>(
        &mut self,
        to: PortNumber,
        op: Op,
        target: &str,
        offset: u64,
        size: u64,
        argument: &[u8],
    ) -> Result<M, Failure> {
        let reply = self.call(to, op, target.as_bytes(), RESULT_BYTES, |request| {
            request.set_offset(offset);
            request.set_size(size);
            request.set_argument(argument).map_err(|error| unsent(op, &error))
        })?;
        let result =
            serviced(&reply).and_then(|bytes| M::decode(&bytes).map_err(|error| garbled(op, &error)));
        self.done(reply);
        result
    }

    /// Makes a volume: blank with `size_bytes`, or from the snapshot `source`.
    ///
    /// # Errors
    /// `Exists`, `NotFound` (no such snapshot), `Invalid`, `Busy`, or what the stores say.
    pub fn create(
        &mut self,
        name: &str,
        size_bytes: Option<u64>,
        source: Option<&str>,
        block_size: Option<u32>,
    ) -> Result<(), Failure> {
        let argument = CloneVolume { source: source.map(str::to_owned), size_bytes, block_size }.encode();
        self.order(self.stack.vlmc_port(name), Op::Clone, name, Flags::empty(), &argument)
    }

    /// Makes a volume from existing blocks.
    ///
    /// # Errors
    /// As [`Client::create`].
    pub fn create_from_blocks(&mut self, name: &str, list: &BlockList) -> Result<(), Failure> {
        let bytes = list.encode();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let to = self.stack.vlmc_port(name);
        let reply = self.call(to, Op::Create, name.as_bytes(), length, |request| {
            request.set_size(length);
            request.write(0, &bytes).map_err(|error| unsent(Op::Create, &error))
        })?;
        self.done(reply);
        Ok(())
    }

    /// Freezes the volume as it is now under the name `snapshot`.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Busy` when another node owns the volume.
    pub fn snapshot(&mut self, volume: &str, snapshot: &str) -> Result<(), Failure> {
        let argument = Snapshot { name: snapshot.to_owned() }.encode();
        self.order(self.stack.vlmc_port(volume), Op::Snapshot, volume, Flags::empty(), &argument)
    }

    /// Removes a volume or snapshot.
    ///
    /// # Errors
    /// `NotFound`, `Busy`.
    pub fn remove(&mut self, volume: &str) -> Result<(), Failure> {
        self.order(self.stack.vlmc_port(volume), Op::Delete, volume, Flags::empty(), &[])
    }

    /// Gives a volume another name.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Busy`.
    pub fn rename(&mut self, volume: &str, new_name: &str) -> Result<(), Failure> {
        let argument = Renamed { name: new_name.to_owned() }.encode();
        self.order(self.stack.vlmc_port(volume), Op::Rename, volume, Flags::empty(), &argument)
    }

    /// Changes a volume's size.
    ///
    /// # Errors
    /// `NotFound`, `Busy`, `Invalid` when it would shrink and may not.
    pub fn resize(&mut self, volume: &str, size_bytes: u64, may_shrink: bool) -> Result<(), Failure> {
        let argument = Resize { size_bytes, may_shrink }.encode();
        self.order(self.stack.vlmc_port(volume), Op::Resize, volume, Flags::empty(), &argument)
    }

    /// What is known of a volume. Takes no lock.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn info(&mut self, volume: &str) -> Result<VolumeInfo, Failure> {
        self.ask_small(self.stack.vlmc_port(volume), Op::Info, volume, &[])
    }

    /// All volumes and snapshots, in order of their names.
    ///
    /// # Errors
    /// What the stores say.
    pub fn list(&mut self) -> Result<Vec<ListedVolume>, Failure> {
        let mut all: Vec<ListedVolume> = Vec::new();
        loop {
            let after = all.last().map(|last| last.name.clone().into_bytes()).unwrap_or_default();
            let argument = List { prefix: Vec::new(), after }.encode();
            let page: ListedVolumes =
                self.ask_large(PortNumber(self.stack.mapper), Op::List, "*", 0, 0, &argument)?;
            let is_last = !page.more || page.volumes.is_empty();
            all.extend(page.volumes);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Takes the volume for this node.
    ///
    /// # Errors
    /// `NotFound`, `Busy` when another node owns it.
    pub fn open(&mut self, volume: &str) -> Result<(), Failure> {
        self.order(self.stack.vlmc_port(volume), Op::Open, volume, Flags::empty(), &[])
    }

    /// Writes everything back and gives the volume free.
    ///
    /// # Errors
    /// `NotFound`, `NotOwner` when this node has not opened it.
    pub fn close(&mut self, volume: &str) -> Result<(), Failure> {
        self.order(self.stack.vlmc_port(volume), Op::Close, volume, Flags::empty(), &[])
    }

    /// Takes the volume's lock in the store, apart from everything else.
    ///
    /// # Errors
    /// `Busy` when another node holds it.
    pub fn lock(&mut self, volume: &str) -> Result<(), Failure> {
        let owner = self.stack.node.clone();
        let argument = Acquire { owner, description: "vlmc lock".to_owned() }.encode();
        self.order(PortNumber(self.stack.blocker_maps), Op::Acquire, volume, Flags::NOSYNC, &argument)
    }

    /// Gives the volume's lock in the store back; `is_forced` breaks another node's.
    ///
    /// # Errors
    /// `NotFound` when it is free, `NotOwner` when another node holds it.
    pub fn unlock(&mut self, volume: &str, is_forced: bool) -> Result<(), Failure> {
        let flags = if is_forced { Flags::FORCE } else { Flags::empty() };
        let argument = Release { owner: self.stack.node.clone() }.encode();
        self.order(PortNumber(self.stack.blocker_maps), Op::Release, volume, flags, &argument)
    }

    /// Who holds a volume's lock.
    ///
    /// # Errors
    /// What the store says.
    pub fn lock_info(&mut self, volume: &str) -> Result<LockInfo, Failure> {
        self.ask_small(PortNumber(self.stack.blocker_maps), Op::LockInfo, volume, &[])
    }

    /// The Merkle root over a snapshot's blocks.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` when it is not a snapshot.
    pub fn hash(&mut self, volume: &str) -> Result<[u8; 32], Failure> {
        let hashed: Hashed = self.ask_small(self.stack.vlmc_port(volume), Op::Hash, volume, &[])?;
        Ok(hashed.hash)
    }

    /// Brings a map of the original to the current version. A map of version 0 has no signature and does not know its size:
    /// it is taken for one only if `v0_size` says how many bytes the volume has.
    ///
    /// # Errors
    /// `NotFound`, `Busy`, `Corrupt` if it is no map.
    pub fn update(&mut self, volume: &str, v0_size: Option<u64>) -> Result<(), Failure> {
        let to = self.stack.vlmc_port(volume);
        let reply = self.call(to, Op::Update, volume.as_bytes(), 0, |request| {
            if let Some(size_bytes) = v0_size {
                request.set_flags(Flags::ASSUMEV0.bits());
                request.set_size(size_bytes);
            }
            Ok(())
        })?;
        self.done(reply);
        Ok(())
    }

    /// Where two maps differ, from `offset` on: (offset, length) in bytes, and where to go on.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` when their block sizes differ.
    pub fn compare(&mut self, volume: &str, other: &str, offset: u64) -> Result<Differences, Failure> {
        let argument = Compare { other: other.to_owned() }.encode();
        self.ask_large(self.stack.vlmc_port(volume), Op::Compare, volume, offset, 0, &argument)
    }

    /// Data and holes of a range, all of it: neighbours differ.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` outside the volume.
    pub fn extents(&mut self, volume: &str, offset: u64, size: u64) -> Result<Vec<Extent>, Failure> {
        let to = self.stack.vlmc_port(volume);
        let mut all: Vec<Extent> = Vec::new();
        let mut done = 0;
        loop {
            let found: Extents = self.ask_large(to, Op::Extents, volume, offset + done, size - done, &[])?;
            let before = done;
            for extent in found.extents {
                done = done.saturating_add(extent.size_bytes).min(size);
                match all.last_mut() {
                    Some(last) if last.is_data == extent.is_data => last.size_bytes += extent.size_bytes,
                    _ => all.push(extent),
                }
            }
            if done == size {
                return Ok(all);
            }
            if done == before {
                let message = format!("no extents of {volume} from {} on were told", offset + done);
                return Err(Failure::new(ErrorKind::Corrupt, message));
            }
        }
    }

    /// One step of a collection: looks at some objects after `resume`, deletes those that nothing refers to.
    ///
    /// # Errors
    /// What the stores say.
    pub fn collect(&mut self, resume: &[u8], is_dry: bool) -> Result<Collected, Failure> {
        let flags = if is_dry { Flags::empty() } else { Flags::FORCE };
        let to = PortNumber(self.stack.mapper);
        let argument = List { prefix: Vec::new(), after: resume.to_vec() }.encode();
        let reply = self.ask(to, Op::Collect, "*", flags, &argument, RESULT_BYTES)?;
        let result =
            Collected::decode(reply.argument().as_ref()).map_err(|error| garbled(Op::Collect, &error));
        self.done(reply);
        result
    }

    /// One step of a scrub of the store at `port`; the state tells of all steps since it began.
    ///
    /// # Errors
    /// `Unsupported` by a store that keeps no checksums; what the store says.
    pub fn scrub(&mut self, port: u32, is_restart: bool, max_bytes: u64) -> Result<Scrubbed, Failure> {
        let argument = Scrub { is_restart, max_bytes }.encode();
        self.ask_large(PortNumber(port), Op::Scrub, "*", 0, 0, &argument)
    }

    /// A role's status.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub fn ping(&mut self, port: u32) -> Result<peer::status::Status, Failure> {
        self.status(port, &[], RESULT_BYTES)
    }

    /// As [`Client::ping`], with what the role measured.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub fn measure(&mut self, port: u32) -> Result<peer::status::Status, Failure> {
        self.status(port, peer::status::MEASURED, MEASURED_BYTES)
    }

    fn status(
        &mut self,
        port: u32,
        argument: &[u8],
        buffer_bytes: u64,
    ) -> Result<peer::status::Status, Failure> {
        let reply = self.ask(PortNumber(port), Op::Ping, "*", Flags::ABANDONABLE, argument, buffer_bytes)?;
        let bytes = serviced(&reply);
        self.done(reply);
        serde_json::from_slice(&bytes?).map_err(|error| {
            Failure::new(
                ErrorKind::Corrupt,
                format!("port {port} answered ping with something else: {error}"),
            )
        })
    }

    /// Makes a volume visible at an endpoint.
    ///
    /// # Errors
    /// `NotFound`, `Exists` when it is attached there already.
    pub fn attach(&mut self, endpoint: u32, volume: &str, is_read_only: bool) -> Result<Attached, Failure> {
        self.ask_small(PortNumber(endpoint), Op::Attach, volume, &Attach { is_read_only }.encode())
    }

    /// Takes a volume from an endpoint.
    ///
    /// # Errors
    /// `NotFound`; `Busy` while it is used, unless forced.
    pub fn detach(&mut self, endpoint: u32, volume: &str, is_forced: bool) -> Result<(), Failure> {
        let flags = if is_forced { Flags::FORCE } else { Flags::empty() };
        self.order(PortNumber(endpoint), Op::Detach, volume, flags, &[])
    }

    /// Tells an endpoint to look again at the size of a volume that it shows.
    ///
    /// # Errors
    /// `NotFound` if it does not show it.
    pub fn refresh(&mut self, endpoint: u32, volume: &str) -> Result<(), Failure> {
        self.order(PortNumber(endpoint), Op::Update, volume, Flags::empty(), &[])
    }

    /// What is visible at an endpoint.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub fn attached(&mut self, endpoint: u32) -> Result<Vec<Attached>, Failure> {
        let list: AttachedList = self.ask_large(PortNumber(endpoint), Op::Attached, "*", 0, 0, &[])?;
        Ok(list.volumes)
    }
}

/// The bytes of the buffer that the peer says it filled.
pub(crate) fn serviced(reply: &Held) -> Result<Vec<u8>, Failure> {
    let length = reply.serviced().min(reply.buffer_bytes());
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    match reply.read(0, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            Err(Failure::new(ErrorKind::Corrupt, format!("the reply's buffer can't be read: {error}")))
        }
    }
}

pub(crate) fn unsent(op: Op, error: &xseg::Error) -> Failure {
    Failure::new(ErrorKind::Invalid, format!("cannot send {}: {error}", op.name()))
}

pub(crate) fn garbled(op: Op, error: &protocol::Malformed) -> Failure {
    Failure::new(ErrorKind::Corrupt, format!("the answer to {} makes no sense: {error}", op.name()))
}
