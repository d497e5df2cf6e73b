//! A mapped segment: its tables as words. Everything above works on this.

use std::mem::{offset_of, size_of};

use rustix::thread::futex;

use crate::{
    abi::{
        ARGUMENT_BYTES, COUNTERS_AT, Counters, PATH_ENTRIES, PortRecord, SLAB_REQUESTS, Slot, TARGET_BYTES,
    },
    geometry::{Geometry, Plan, index, to_usize},
    inbox::{Cells, disarm},
    memory::Mapping,
    process::Census,
    stand_in::StandIns,
    state::Holder,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// A mapping with its geometry, which was checked once and is never read again from the segment.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) map: Mapping,
    pub(crate) geometry: Geometry,
    pub(crate) plan: Plan,
    pub(crate) segment_id: u64,
    pub(crate) name: Box<str>,
    /// Whether the memory comes from a file system that can be full.
    pub(crate) is_file: bool,
    pub(crate) stand_ins: StandIns,
}

impl Shared {
    fn slot_at(&self, slot: u32, field: usize) -> usize {
        self.plan.request_table + index(slot) * size_of::<Slot>() + field
    }

    pub(crate) fn slot32(&self, slot: u32, field: usize) -> &AtomicU32 {
        self.map.word32(self.slot_at(slot, field))
    }

    pub(crate) fn slot64(&self, slot: u32, field: usize) -> &AtomicU64 {
        self.map.word64(self.slot_at(slot, field))
    }

    fn port_at(&self, port: u32, field: usize) -> usize {
        self.plan.port_table + index(port) * size_of::<PortRecord>() + field
    }

    pub(crate) fn inbox_at(&self, port: u32) -> usize {
        self.port_at(port, offset_of!(PortRecord, inbox))
    }

    pub(crate) fn owner(&self, port: u32) -> &AtomicU64 {
        self.map.word64(self.port_at(port, offset_of!(PortRecord, owner)))
    }

    pub(crate) fn incarnation(&self, port: u32) -> &AtomicU32 {
        self.map.word32(self.port_at(port, offset_of!(PortRecord, incarnation)))
    }

    pub(crate) fn via(&self, port: u32) -> &AtomicU32 {
        self.map.word32(self.port_at(port, offset_of!(PortRecord, via)))
    }

    /// The owner word of a slab of the request table.
    pub(crate) fn table_slab(&self, slab: u32) -> &AtomicU64 {
        self.map.word64(self.plan.table_slabs + index(slab) * 8)
    }

    /// The owner word of a slab of the arena.
    pub(crate) fn arena_slab(&self, slab: u32) -> &AtomicU64 {
        self.map.word64(self.plan.arena_slabs + index(slab) * 8)
    }

    pub(crate) fn counter64(&self, field: usize) -> &AtomicU64 {
        self.map.word64(to_usize(COUNTERS_AT) + field)
    }

    pub(crate) fn tracing(&self) -> &AtomicU32 {
        self.map.word32(to_usize(COUNTERS_AT) + offset_of!(Counters, tracing))
    }

    /// Who the slab of a slot belongs to: the origin of the request in it.
    pub(crate) fn origin(&self, slot: u32) -> Option<Holder> {
        Holder::decode(self.table_slab(slot / SLAB_REQUESTS).load(Ordering::Acquire))
            .filter(|holder| holder.port < self.geometry.ports())
    }

    pub(crate) fn is_static(&self, port: u32) -> bool {
        port < self.geometry.static_ports()
    }

    /// Whether what belongs to this port still has, or will have, somebody to answer to. Cheap: asks no process.
    pub(crate) fn will_answer(&self, holder: Holder) -> bool {
        holder.port < self.geometry.ports()
            && (self.is_static(holder.port)
                || (self.owner(holder.port).load(Ordering::Acquire) != 0
                    && self.incarnation(holder.port).load(Ordering::Acquire) == holder.incarnation))
    }

    /// Whether this very owner of a port is gone: its process ended, it left, or another owner followed.
    pub(crate) fn is_gone(&self, holder: Holder, census: &mut Census) -> bool {
        if holder.port >= self.geometry.ports() {
            return true;
        }
        let owner = self.owner(holder.port).load(Ordering::Acquire);
        self.incarnation(holder.port).load(Ordering::Acquire) != holder.incarnation || !census.is_alive(owner)
    }

    pub(crate) fn path(&self, slot: u32, entry: u32) -> &AtomicU64 {
        assert!(index(entry) < PATH_ENTRIES, "depths are checked when states are decoded");
        self.slot64(slot, offset_of!(Slot, path) + index(entry) * 8)
    }

    /// When the holder of a request received it: an [`Arrival`](crate::state::Arrival).
    pub(crate) fn arrival(&self, slot: u32) -> &AtomicU64 {
        self.slot64(slot, offset_of!(Slot, arrival))
    }

    pub(crate) fn read_target(&self, slot: u32, into: &mut [u8]) {
        assert!(into.len() <= TARGET_BYTES, "lengths are checked when a request is received");
        self.map.copy_out(self.slot_at(slot, offset_of!(Slot, target)), into);
    }

    pub(crate) fn write_target(&self, slot: u32, from: &[u8]) {
        assert!(from.len() <= TARGET_BYTES, "lengths are checked before they are written");
        self.map.copy_in(self.slot_at(slot, offset_of!(Slot, target)), from);
    }

    pub(crate) fn read_argument(&self, slot: u32, is_result: bool, into: &mut [u8]) {
        assert!(into.len() <= ARGUMENT_BYTES, "lengths are checked when a request is received");
        self.map.copy_out(self.slot_at(slot, argument_field(is_result)), into);
    }

    pub(crate) fn write_argument(&self, slot: u32, is_result: bool, from: &[u8]) {
        assert!(from.len() <= ARGUMENT_BYTES, "lengths are checked before they are written");
        self.map.copy_in(self.slot_at(slot, argument_field(is_result)), from);
    }

    pub(crate) fn count(&self, field: usize) {
        self.counter64(field).fetch_add(1, Ordering::Relaxed);
    }
}

fn argument_field(is_result: bool) -> usize {
    if is_result { offset_of!(Slot, result) } else { offset_of!(Slot, argument) }
}

impl Cells for Shared {
    #[inline]
    fn slots(&self) -> u32 {
        self.geometry.requests()
    }

    #[inline]
    fn inbox(&self, port: u32) -> &AtomicU32 {
        self.map.word32(self.inbox_at(port))
    }

    #[inline]
    fn audit(&self, port: u32) -> &AtomicU32 {
        self.map.word32(self.port_at(port, offset_of!(PortRecord, audit)))
    }

    #[inline]
    fn state(&self, slot: u32) -> &AtomicU64 {
        self.slot64(slot, offset_of!(Slot, state))
    }

    #[inline]
    fn next(&self, slot: u32) -> &AtomicU32 {
        self.slot32(slot, offset_of!(Slot, next))
    }

    #[inline]
    fn to(&self, slot: u32) -> &AtomicU32 {
        self.slot32(slot, offset_of!(Slot, to))
    }

    fn wake(&self, port: u32) {
        // Fails only for an address that is not mapped.
        let _ = futex::wake(self.inbox(port), futex::Flags::empty(), 1);
    }

    fn rouse(&self, port: u32) {
        if !self.stand_ins.serve(port) {
            // Who stood in may have said anew that the owner sleeps; one that is about to sleep shall not.
            disarm(self, port);
            self.wake(port);
        }
    }

    fn anomaly(&self) {
        self.count(offset_of!(Counters, anomalies));
    }

    #[inline]
    fn prefetch_control(&self, slot: u32) {
        self.map.prefetch_to_write(self.slot_at(slot, 0));
    }

    #[inline]
    fn prefetch_request(&self, slot: u32, is_reply: bool) {
        let at = self.slot_at(slot, offset_of!(Slot, op));
        if is_reply { self.map.prefetch_to_write(at) } else { self.map.prefetch(at) }
    }

    #[inline]
    fn prefetch_inbox(&self, port: u32) {
        self.map.prefetch_to_write(self.inbox_at(port));
    }
}
