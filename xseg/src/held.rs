//! A request in our hands: its fields, copied once, and its buffer, touched in place.

use std::{io, mem::offset_of, ops::Range, os::fd::AsFd, sync::Arc};

use crate::{
    abi::{ARGUMENT_BYTES, Slot, TARGET_BYTES},
    bytes::{Argument, Name},
    error::{Error, ErrorKind, Result},
    geometry::{index, to_usize},
    local::Local,
    memory::RawBuffer,
    port::PortNumber,
    state::{Arrival, Holder, State},
    sync::Ordering,
};

/// Tells a request from every other, for ever, in all segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// Random number of the segment.
    pub segment: u64,
    /// Port that issued it.
    pub port: u32,
    /// Which owner of that port.
    pub incarnation: u32,
    /// Counts the requests of that owner.
    pub serial: u64,
}

/// The control words of a request, read once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Control {
    pub(crate) op: u16,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) fence: u64,
    pub(crate) flow: u64,
    pub(crate) target_bytes: u32,
    pub(crate) argument_bytes: u32,
    pub(crate) status: u32,
    pub(crate) serviced: u64,
    pub(crate) result_bytes: u32,
    pub(crate) attempts: u32,
    pub(crate) incarnation: u32,
    pub(crate) serial: u64,
    pub(crate) parent: u32,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
}

impl Control {
    /// Copies the control words of a slot, each once. `None` if they make no sense.
    pub(crate) fn load(local: &Local, slot: u32, is_reply: bool) -> Option<Control> {
        let shared = &*local.shared;
        let word32 = |field| shared.slot32(slot, field).load(Ordering::Relaxed);
        let word64 = |field| shared.slot64(slot, field).load(Ordering::Relaxed);
        let mut control = Control {
            op: u16::try_from(word32(offset_of!(Slot, op))).ok()?,
            flags: word32(offset_of!(Slot, flags)),
            offset: word64(offset_of!(Slot, offset)),
            size: word64(offset_of!(Slot, size)),
            fence: word64(offset_of!(Slot, fence)),
            flow: word64(offset_of!(Slot, flow)),
            target_bytes: word32(offset_of!(Slot, target_bytes)),
            argument_bytes: word32(offset_of!(Slot, argument_bytes)),
            attempts: Arrival(word64(offset_of!(Slot, arrival))).attempts(),
            incarnation: word32(offset_of!(Slot, incarnation)),
            serial: word64(offset_of!(Slot, serial)),
            parent: word32(offset_of!(Slot, parent)),
            at: word64(offset_of!(Slot, buffer_at)),
            bytes: word64(offset_of!(Slot, buffer_bytes)),
            ..Control::default()
        };
        if is_reply {
            control.status = word32(offset_of!(Slot, status));
            control.result_bytes = word32(offset_of!(Slot, result_bytes));
            control.serviced = word64(offset_of!(Slot, serviced));
        }
        let fits = index(control.target_bytes) <= TARGET_BYTES
            && index(control.argument_bytes) <= ARGUMENT_BYTES
            && index(control.result_bytes) <= ARGUMENT_BYTES
            && control.at.checked_add(control.bytes)? <= shared.geometry.arena_bytes();
        fits.then_some(control)
    }

    /// Writes what says which buffer belongs to the slot: a take-over relies on it from the first moment on.
    pub(crate) fn store_buffer(&self, local: &Local, slot: u32) {
        let shared = &*local.shared;
        shared.slot64(slot, offset_of!(Slot, buffer_at)).store(self.at, Ordering::Relaxed);
        shared.slot64(slot, offset_of!(Slot, buffer_bytes)).store(self.bytes, Ordering::Relaxed);
        shared.slot32(slot, offset_of!(Slot, parent)).store(self.parent, Ordering::Relaxed);
    }

    /// Writes the request's part.
    pub(crate) fn store_request(&self, local: &Local, slot: u32) {
        let shared = &*local.shared;
        let set32 = |field, value| shared.slot32(slot, field).store(value, Ordering::Relaxed);
        let set64 = |field, value| shared.slot64(slot, field).store(value, Ordering::Relaxed);
        set64(offset_of!(Slot, serial), self.serial);
        set32(offset_of!(Slot, incarnation), self.incarnation);
        set64(offset_of!(Slot, arrival), 0);
        set32(offset_of!(Slot, op), u32::from(self.op));
        set32(offset_of!(Slot, flags), self.flags);
        set32(offset_of!(Slot, target_bytes), self.target_bytes);
        set32(offset_of!(Slot, argument_bytes), self.argument_bytes);
        set64(offset_of!(Slot, offset), self.offset);
        set64(offset_of!(Slot, size), self.size);
        set64(offset_of!(Slot, fence), self.fence);
        set64(offset_of!(Slot, flow), self.flow);
    }

    /// Writes the reply's part.
    pub(crate) fn store_reply(&self, local: &Local, slot: u32) {
        let shared = &*local.shared;
        shared.slot32(slot, offset_of!(Slot, status)).store(self.status, Ordering::Relaxed);
        shared.slot32(slot, offset_of!(Slot, result_bytes)).store(self.result_bytes, Ordering::Relaxed);
        shared.slot64(slot, offset_of!(Slot, serviced)).store(self.serviced, Ordering::Relaxed);
    }
}

/// Marks a `Held` whose slot went elsewhere.
const GONE: u32 = u32::MAX;

/// Exclusive hold of one request: allocated, accepted, or come home.
///
/// The request's own fields (operation, flags, target, argument, …) can be set by the port that allocated it, while it
/// is at home. Who accepted it sets the reply's: `status`, `serviced`, and `set_argument`, which then writes the
/// reply's argument. So a request that must be served again is still what its client asked for.
///
/// Dropping it frees it if it is at home, and answers it with status 7 (unavailable) if it was accepted.
#[must_use = "a dropped request is answered with an error"]
#[derive(Debug)]
pub struct Held {
    pub(crate) local: Arc<Local>,
    pub(crate) slot: u32,
    pub(crate) state: State,
    pub(crate) from: u32,
    pub(crate) control: Control,
}

impl Held {
    /// Whether the port that holds it also allocated it, and it is not on its way.
    pub fn is_home(&self) -> bool {
        self.state.depth == 0 && self.local.is_own(self.slot)
    }

    /// Whether it is answered: `status`, `serviced` and `argument` are the reply's.
    pub fn is_reply(&self) -> bool {
        self.state.reply
    }

    /// What to do.
    pub fn op(&self) -> u16 {
        self.control.op
    }

    /// How to do it: flag bits.
    pub fn flags(&self) -> u32 {
        self.control.flags
    }

    /// Where in the target, in bytes.
    pub fn offset(&self) -> u64 {
        self.control.offset
    }

    /// How many bytes.
    pub fn size(&self) -> u64 {
        self.control.size
    }

    /// Reply: how many bytes were done.
    pub fn serviced(&self) -> u64 {
        self.control.serviced
    }

    /// Reply: 0, or the number of an error.
    pub fn status(&self) -> u32 {
        self.control.status
    }

    /// Number of the lock that covers the request.
    pub fn fence(&self) -> u64 {
        self.control.fence
    }

    /// What the request belongs to; children inherit it.
    pub fn flow(&self) -> u64 {
        self.control.flow
    }

    /// How often it was served before by an owner that died over it.
    pub fn attempts(&self) -> u32 {
        self.control.attempts
    }

    /// Bytes in the buffer.
    pub fn buffer_bytes(&self) -> u64 {
        self.control.bytes
    }

    /// Its name for ever. A request that is submitted again gets a new one.
    pub fn id(&self) -> RequestId {
        let Control { incarnation, serial, .. } = self.control;
        let port = self.local.shared.origin(self.slot).map_or(self.local.me.port, |origin| origin.port);
        RequestId { segment: self.local.shared.segment_id, port, incarnation, serial }
    }

    /// The port that submitted it to us, or answered it.
    pub fn from(&self) -> PortNumber {
        PortNumber(self.from)
    }

    /// The port that allocated it.
    pub fn origin(&self) -> PortNumber {
        PortNumber(self.id().port)
    }

    /// Dense index below the segment's number of requests, for side tables. Stays the same until it is freed.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    fn request_part(&mut self) -> &mut Control {
        assert!(self.is_home(), "only the port that allocated a request changes what it asks for");
        &mut self.control
    }

    /// Sets what to do.
    ///
    /// # Panics
    /// As all setters of the request's part: if the request is not at home.
    pub fn set_op(&mut self, op: u16) {
        self.request_part().op = op;
    }

    /// Sets the flag bits.
    pub fn set_flags(&mut self, flags: u32) {
        self.request_part().flags = flags;
    }

    /// Sets where in the target, in bytes.
    pub fn set_offset(&mut self, offset: u64) {
        self.request_part().offset = offset;
    }

    /// Sets how many bytes.
    pub fn set_size(&mut self, size: u64) {
        self.request_part().size = size;
    }

    /// Sets the number of the lock that covers it.
    pub fn set_fence(&mut self, fence: u64) {
        self.request_part().fence = fence;
    }

    /// Sets what it belongs to.
    pub fn set_flow(&mut self, flow: u64) {
        self.request_part().flow = flow;
    }

    /// Sets the reply's status.
    pub fn set_status(&mut self, status: u32) {
        self.control.status = status;
    }

    /// Sets how many bytes were done.
    pub fn set_serviced(&mut self, bytes: u64) {
        self.control.serviced = bytes;
    }

    /// A copy of the target's name. Copy once, check, use: its bytes lie where others can write.
    pub fn target(&self) -> Name {
        let len = index(self.control.target_bytes);
        Name::filled(len, |bytes| self.local.shared.read_target(self.slot, bytes))
    }

    /// Sets the target's name.
    ///
    /// # Errors
    /// `Invalid` if it is longer than 256 bytes.
    pub fn set_target(&mut self, name: &[u8]) -> Result<()> {
        self.request_part().target_bytes = self.short(name, TARGET_BYTES, "name a target in")?;
        self.local.shared.write_target(self.slot, name);
        Ok(())
    }

    /// A copy of the argument: the reply's if it is a reply, else the request's. Copy once, check, use.
    pub fn argument(&self) -> Argument {
        let is_result = self.state.reply;
        let len = if is_result { self.control.result_bytes } else { self.control.argument_bytes };
        Argument::filled(index(len), |bytes| self.local.shared.read_argument(self.slot, is_result, bytes))
    }

    /// Sets the argument: the request's at home, the reply's elsewhere.
    ///
    /// # Errors
    /// `Invalid` if it is longer than 512 bytes.
    pub fn set_argument(&mut self, argument: &[u8]) -> Result<()> {
        let len = self.short(argument, ARGUMENT_BYTES, "put an argument in")?;
        let is_result = !self.is_home();
        *if is_result { &mut self.control.result_bytes } else { &mut self.control.argument_bytes } = len;
        self.local.shared.write_argument(self.slot, is_result, argument);
        Ok(())
    }

    fn short(&self, bytes: &[u8], most: usize, action: &'static str) -> Result<u32> {
        let len = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= most);
        len.ok_or_else(|| Error::slot(ErrorKind::Invalid, action, self.slot))
    }

    /// Checks a range of the buffer; where it lies in the mapping.
    fn range(&self, at: u64, len: u64) -> Result<Range<usize>> {
        if at.checked_add(len).is_none_or(|end| end > self.control.bytes) {
            return Err(Error::slot(ErrorKind::Invalid, "reach past the buffer of", self.slot));
        }
        let start = self.local.shared.plan.arena + to_usize(self.control.at + at);
        Ok(start..start + to_usize(len))
    }

    fn span(&self, range: Range<u64>) -> Result<Range<usize>> {
        let len = range.end.checked_sub(range.start);
        self.range(range.start, len.unwrap_or(u64::MAX))
    }

    /// Copies bytes out of the buffer, from offset `at`.
    ///
    /// # Errors
    /// `Invalid` if the range is not inside the buffer; so for all that follow.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let range = self.range(at, as_u64(into.len()))?;
        self.local.shared.map.copy_out(range.start, into);
        Ok(())
    }

    /// Copies bytes into the buffer, to offset `at`.
    ///
    /// # Errors
    /// As [`Held::read`].
    pub fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        let range = self.range(at, as_u64(from.len()))?;
        self.local.shared.map.copy_in(range.start, from);
        Ok(())
    }

    /// Makes a range of the buffer zeros.
    ///
    /// # Errors
    /// As [`Held::read`].
    pub fn zero(&self, range: Range<u64>) -> Result<()> {
        let range = self.span(range)?;
        self.local.shared.map.zero(range.start, range.len());
        Ok(())
    }

    /// Copies `len` bytes from another request's buffer into this one's.
    ///
    /// # Errors
    /// As [`Held::read`]; `Invalid` too if the other request lies in another segment.
    pub fn copy_from(&self, at: u64, other: &Held, other_at: u64, len: u64) -> Result<()> {
        let (to, from) = (self.range(at, len)?, other.range(other_at, len)?);
        if !Arc::ptr_eq(&self.local.shared, &other.local.shared) {
            return Err(Error::slot(ErrorKind::Invalid, "copy between segments into", self.slot));
        }
        self.local.shared.map.copy_within(from.start, to.start, from.len());
        Ok(())
    }

    fn io_range(&self, range: Range<u64>) -> io::Result<Range<usize>> {
        self.span(range).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// One `read` from a descriptor straight into a range of the buffer. Bytes read.
    ///
    /// # Errors
    /// Those of the system call; `InvalidInput` if the range is not inside the buffer.
    pub fn fill_from(&self, fd: impl AsFd, range: Range<u64>) -> io::Result<usize> {
        self.local.shared.map.fill_from(fd, self.io_range(range)?)
    }

    /// One `write` to a descriptor straight out of a range of the buffer. Bytes written.
    ///
    /// # Errors
    /// As [`Held::fill_from`].
    pub fn drain_to(&self, fd: impl AsFd, range: Range<u64>) -> io::Result<usize> {
        self.local.shared.map.drain_to(fd, self.io_range(range)?)
    }

    /// One `pread` from a file straight into a range of the buffer. Bytes read.
    ///
    /// # Errors
    /// As [`Held::fill_from`].
    pub fn pread_from(&self, fd: impl AsFd, range: Range<u64>, file_offset: u64) -> io::Result<usize> {
        self.local.shared.map.pread_from(fd, self.io_range(range)?, file_position(file_offset)?)
    }

    /// One `pwrite` to a file straight out of a range of the buffer. Bytes written.
    ///
    /// # Errors
    /// As [`Held::fill_from`].
    pub fn pwrite_to(&self, fd: impl AsFd, range: Range<u64>, file_offset: u64) -> io::Result<usize> {
        self.local.shared.map.pwrite_to(fd, self.io_range(range)?, file_position(file_offset)?)
    }

    /// The address of a range of the buffer, for io_uring. Keep the request until the kernel is done with it.
    ///
    /// # Errors
    /// As [`Held::read`].
    pub fn raw(&self, range: Range<u64>) -> Result<RawBuffer> {
        Ok(self.local.shared.map.raw(self.span(range)?))
    }

    /// The ports it came through, oldest first.
    pub fn path(&self) -> Vec<PortNumber> {
        let entry = |at| self.local.shared.path(self.slot, at).load(Ordering::Relaxed);
        (0..self.state.depth)
            .filter_map(|at| Holder::decode(entry(at)))
            .map(|it| PortNumber(it.port))
            .collect()
    }

    /// Where a child's buffer begins in the arena.
    pub(crate) fn child_range(&self, range: Range<u64>) -> Result<(u64, u64)> {
        self.span(range.clone())?;
        Ok((self.control.at + range.start, range.end - range.start))
    }

    /// The hold passes on to whoever was given the slot.
    pub(crate) fn into_slot(mut self) -> u32 {
        std::mem::replace(&mut self.slot, GONE)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.slot == GONE || self.local.is_closed() {
            return;
        }
        if self.is_home() {
            self.local.give_back(self.slot);
        } else {
            self.local.drop_accepted(self.slot, self.state);
        }
    }
}

pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).expect("a length has at most 64 bits")
}

fn file_position(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}
