//! The trace ring: what happened last, for whoever looks into a live segment. Off: one relaxed load a step.

use std::mem::{offset_of, size_of};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    abi::{Counters, Slot, TRACE_EVENTS, TraceEvent},
    geometry::index,
    held::RequestId,
    local::Local,
    port::PortNumber,
    shared::Shared,
    state::bits,
    sync::{Ordering, fence},
};

/// What was done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Submitted or forwarded.
    Submit = 1,
    /// Handed to its server.
    Accept = 2,
    /// Answered.
    Respond = 3,
    /// Handed back to who sent it.
    Return = 4,
}

impl Step {
    fn from_number(number: u32) -> Option<Step> {
        [Step::Submit, Step::Accept, Step::Respond, Step::Return]
            .into_iter()
            .find(|&step| step as u32 == number)
    }
}

/// One step of one request.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Monotonic clock, in nanoseconds.
    pub nanoseconds: u64,
    /// Port that did it.
    pub port: PortNumber,
    /// Port it went to or came from.
    pub other: PortNumber,
    /// Which request.
    pub request: RequestId,
    /// Where it lies.
    pub slot: u32,
    /// Where the request lies whose buffer it borrows.
    pub parent: Option<u32>,
    /// Its operation.
    pub op: u32,
    /// What was done.
    pub step: Step,
}

/// Writes an event, if tracing is on.
#[inline]
pub(crate) fn trace(local: &Local, step: Step, slot: u32, other: u32) {
    if local.shared.tracing().load(Ordering::Relaxed) != 0 {
        write(local, step, slot, other);
    }
}

fn event_at(shared: &Shared, number: u64) -> usize {
    let place = bits(number, TRACE_EVENTS - 1);
    shared.plan.trace + index(place) * size_of::<TraceEvent>()
}

#[cold]
fn write(local: &Local, step: Step, slot: u32, other: u32) {
    let shared = &*local.shared;
    let number = shared.counter64(offset_of!(Counters, trace_cursor)).fetch_add(1, Ordering::Relaxed);
    let at = event_at(shared, number);
    let set32 = |field, value| shared.map.word32(at + field).store(value, Ordering::Relaxed);
    let set64 = |field, value| shared.map.word64(at + field).store(value, Ordering::Relaxed);
    set64(offset_of!(TraceEvent, number), 0);
    // Readers that see a field of this event see its number gone. Pairs with the fence in `read`.
    fence(Ordering::Release);
    set64(offset_of!(TraceEvent, at_ns), now_ns());
    set32(offset_of!(TraceEvent, port), local.me.port);
    set32(offset_of!(TraceEvent, other), other);
    set32(offset_of!(TraceEvent, step), step as u32);
    set32(offset_of!(TraceEvent, slot), slot);
    set32(offset_of!(TraceEvent, origin), shared.origin(slot).map_or(local.me.port, |origin| origin.port));
    let incarnation = shared.slot32(slot, offset_of!(Slot, incarnation)).load(Ordering::Relaxed);
    set32(offset_of!(TraceEvent, incarnation), incarnation);
    set64(
        offset_of!(TraceEvent, serial),
        shared.slot64(slot, offset_of!(Slot, serial)).load(Ordering::Relaxed),
    );
    let of_slot = |field| shared.slot32(slot, field).load(Ordering::Relaxed);
    set32(offset_of!(TraceEvent, parent), of_slot(offset_of!(Slot, parent)));
    set32(offset_of!(TraceEvent, op), of_slot(offset_of!(Slot, op)));
    shared.map.word64(at).store(number.wrapping_add(1), Ordering::Release);
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The events that are still in the ring, oldest first; those being written are left out.
pub(crate) fn events(shared: &Shared) -> impl Iterator<Item = Event> + '_ {
    let end = shared.counter64(offset_of!(Counters, trace_cursor)).load(Ordering::Acquire);
    let start = end.saturating_sub(u64::from(TRACE_EVENTS));
    (start..end).filter_map(|number| read(shared, number))
}

fn read(shared: &Shared, number: u64) -> Option<Event> {
    let at = event_at(shared, number);
    let is_whole = |order| shared.map.word64(at).load(order) == number.wrapping_add(1);
    if !is_whole(Ordering::Acquire) {
        return None;
    }
    let word32 = |field| shared.map.word32(at + field).load(Ordering::Relaxed);
    let word64 = |field| shared.map.word64(at + field).load(Ordering::Relaxed);
    let request = RequestId {
        segment: shared.segment_id,
        port: word32(offset_of!(TraceEvent, origin)),
        incarnation: word32(offset_of!(TraceEvent, incarnation)),
        serial: word64(offset_of!(TraceEvent, serial)),
    };
    let event = Event {
        nanoseconds: word64(offset_of!(TraceEvent, at_ns)),
        port: PortNumber(word32(offset_of!(TraceEvent, port))),
        other: PortNumber(word32(offset_of!(TraceEvent, other))),
        request,
        slot: word32(offset_of!(TraceEvent, slot)),
        parent: word32(offset_of!(TraceEvent, parent)).checked_sub(1),
        op: word32(offset_of!(TraceEvent, op)),
        step: Step::from_number(word32(offset_of!(TraceEvent, step)))?,
    };
    // Pairs with the fence in `write`.
    fence(Ordering::Acquire);
    is_whole(Ordering::Relaxed).then_some(event)
}

const _: () = assert!(TRACE_EVENTS.is_power_of_two());

/// Turns tracing on or off for all peers of the segment.
pub(crate) fn set(shared: &Shared, on: bool) {
    shared.tracing().store(u32::from(on), Ordering::Relaxed);
}
