//! What lies where in a segment. Tables: docs/formats.md#segment-layout; in C: `include/xseg_abi.h`.
//!
//! Integers are native: a segment never leaves its machine. Everything but the header's first 128 bytes changes while
//! peers run, and is touched only as atomics.

use std::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of every segment: "xsegment" in ASCII, read as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"xsegment");
/// Layout version of this page.
pub const VERSION: u32 = 1;
/// Feature bits this code knows; a segment with others is refused.
pub const FEATURES: u64 = 0;
/// Requests in one slab of the request table.
pub const SLAB_REQUESTS: u32 = 16;
/// Bytes in one slab of the arena.
pub const SLAB_BYTES: u64 = 64 * 1024;
/// Longest target name.
pub const TARGET_BYTES: usize = 256;
/// Longest argument, of a request and of a reply.
pub const ARGUMENT_BYTES: usize = 512;
/// Entries on a path.
pub const PATH_ENTRIES: usize = 8;
/// Inbox word of a port with nothing in it.
pub const INBOX_EMPTY: u32 = 0;
/// Inbox word of a port with nothing in it, whose owner sleeps on the word.
pub const INBOX_SLEEPING: u32 = 1;
/// Added to the slot of the newest request in the inbox word, and in `next`.
pub const INBOX_FIRST: u32 = 2;
/// Bytes the header takes in the file; tables begin behind it.
pub const HEADER_BYTES: u64 = 4096;
/// Events in the trace ring.
pub const TRACE_EVENTS: u32 = 4096;

/// The fixed part of the header, written once by the creator.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// [`HEADER_BYTES`].
    pub header_bytes: u32,
    /// Feature bits; unknown ones forbid use.
    pub features: u64,
    /// A random number that tells this segment from all others.
    pub segment_id: u64,
    /// Ports in the port table.
    pub ports: u32,
    /// Ports below this number are static.
    pub static_ports: u32,
    /// Slots in the request table, a multiple of [`SLAB_REQUESTS`].
    pub requests: u32,
    /// Bytes in a slot: the size of [`Slot`].
    pub request_bytes: u32,
    /// Bytes in the arena, a multiple of [`SLAB_BYTES`].
    pub arena_bytes: u64,
    /// Bytes in the file.
    pub total_bytes: u64,
    /// Where the port table begins.
    pub port_table: u64,
    /// Where the owners of request table slabs are.
    pub table_slabs: u64,
    /// Where the owners of arena slabs are.
    pub arena_slabs: u64,
    /// Where the request table begins.
    pub request_table: u64,
    /// Where the trace ring begins.
    pub trace: u64,
    /// Where the arena begins.
    pub arena: u64,
    /// Inode of the creator's pid namespace: pids mean nothing in another one.
    pub pid_namespace: u64,
    /// Zero.
    pub reserved: u64,
}

/// The counters of the header, at [`COUNTERS_AT`]. All change while peers run.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Counters {
    /// Things found in the segment that no correct peer writes.
    pub anomalies: u64,
    /// Owners that died and were noticed.
    pub deaths: u64,
    /// Zero.
    pub reserved: [u64; 6],
    /// 1 while peers trace.
    pub tracing: u32,
    /// Zero.
    pub reserved_tracing: u32,
    /// Zero.
    pub reserved_line: [u64; 7],
    /// Events written to the trace ring since the creation.
    pub trace_cursor: u64,
    /// Zero.
    pub reserved_end: [u64; 7],
}

/// Where [`Counters`] lie in the header.
pub const COUNTERS_AT: u64 = 256;

/// One port.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PortRecord {
    /// 0 empty, 1 sleeping, else slot + 2 of the newest request.
    pub inbox: u32,
    /// Not 0: a pusher died; the owner must look for what it left.
    pub audit: u32,
    /// Zero; the inbox has its cache line to itself.
    pub reserved_inbox: [u64; 7],
    /// Process that owns the port: pid << 42 | start time in clock ticks; 0 for nobody.
    pub owner: u64,
    /// Counts the owners.
    pub incarnation: u32,
    /// Port that gets what is submitted to this one, plus 1; 0 for none.
    pub via: u32,
    /// Zero.
    pub reserved: [u64; 6],
}

/// One request slot. What every hand-over touches is in one cache line, what a server reads first in another.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Slot {
    /// Phase, direction, depth, port, incarnation: see docs/formats.md.
    pub state: u64,
    /// Older request in the same inbox, plus 2; 0 or 1 at the end.
    pub next: u32,
    /// Port into whose inbox the request goes while its phase is passing.
    pub to: u32,
    /// When its holder received it, and how often an owner died over it: see docs/formats.md.
    pub arrival: u64,
    /// Where the buffer begins, from the beginning of the arena.
    pub buffer_at: u64,
    /// Bytes in the buffer.
    pub buffer_bytes: u64,
    /// Reply: bytes done.
    pub serviced: u64,
    /// Reply: 0 or the number of an error.
    pub status: u32,
    /// Reply: bytes used in `result`.
    pub result_bytes: u32,
    /// Ports the request came through: port + 1 | incarnation << 32.
    pub path: [u64; PATH_ENTRIES],
    /// Zero.
    pub reserved_path: u64,
    /// What to do.
    pub op: u32,
    /// How to do it.
    pub flags: u32,
    /// Bytes used in `target`.
    pub target_bytes: u32,
    /// Bytes used in `argument`.
    pub argument_bytes: u32,
    /// Where in the target.
    pub offset: u64,
    /// How many bytes.
    pub size: u64,
    /// Number of the lock that covers it.
    pub fence: u64,
    /// What the request belongs to, for scheduling and tracing.
    pub flow: u64,
    /// Third part of the request's id, after its origin and incarnation.
    pub serial: u64,
    /// Incarnation of the origin that issued it.
    pub incarnation: u32,
    /// Slot of the request whose buffer this one borrows, plus 1; 0 for none.
    pub parent: u32,
    /// Zero.
    pub reserved: [u64; 8],
    /// Name of what is operated on.
    pub target: [u8; TARGET_BYTES],
    /// Typed by the operation.
    pub argument: [u8; ARGUMENT_BYTES],
    /// Reply: typed by the operation.
    pub result: [u8; ARGUMENT_BYTES],
}

/// One event of the trace ring.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct TraceEvent {
    /// Position in the trace plus 1, written last; another number means that the event is being written.
    pub number: u64,
    /// Monotonic clock, nanoseconds.
    pub at_ns: u64,
    /// Port that did the step.
    pub port: u32,
    /// What was done.
    pub step: u32,
    /// Slot of the request.
    pub slot: u32,
    /// Origin of the request.
    pub origin: u32,
    /// Incarnation of the origin.
    pub incarnation: u32,
    /// Other port of the step.
    pub other: u32,
    /// Serial of the request.
    pub serial: u64,
    /// Slot whose buffer the request borrows, plus 1; 0 none.
    pub parent: u32,
    /// Operation.
    pub op: u32,
    /// Zero.
    pub reserved: u64,
}

const _: () = assert!(size_of::<Header>() == 128);
const _: () = assert!(size_of::<Counters>() == 192 && offset_of!(Counters, tracing) == 64);
const _: () = assert!(size_of::<PortRecord>() == 128 && offset_of!(PortRecord, owner) == 64);
const _: () = assert!(size_of::<Slot>() == 1536 && offset_of!(Slot, path) == 56);
const _: () = assert!(offset_of!(Slot, op) == 128 && offset_of!(Slot, parent) == 188);
const _: () = assert!(offset_of!(Slot, target) == 256 && offset_of!(Slot, result) == 1024);
const _: () = assert!(size_of::<TraceEvent>() == 64);
