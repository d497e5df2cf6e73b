//! How big a segment is, checked once, and where its parts lie.

use std::mem::size_of;

use crate::{
    abi::{HEADER_BYTES, PortRecord, SLAB_BYTES, SLAB_REQUESTS, Slot, TRACE_EVENTS, TraceEvent},
    error::{Error, ErrorKind, Result},
};

/// Most ports a segment can have.
pub const MAX_PORTS: u32 = 1 << 16;
/// Most requests a segment can have.
pub const MAX_REQUESTS: u32 = 1 << 20;
/// Largest arena, in bytes.
pub const MAX_ARENA_BYTES: u64 = 1 << 40;

/// The sizes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    ports: u32,
    static_ports: u32,
    requests: u32,
    arena_bytes: u64,
}

impl Geometry {
    /// Checks the sizes, and rounds requests and arena up to whole slabs (16 requests, 64 KiB). Ports below
    /// `static_ports` are static, the rest is for `bind_dynamic`.
    ///
    /// # Errors
    /// `Invalid` if a size is zero or beyond its bound, or if more ports are static than there are.
    pub fn new(ports: u32, static_ports: u32, requests: u32, arena_bytes: u64) -> Result<Geometry> {
        let fits = (1..=MAX_PORTS).contains(&ports)
            && static_ports <= ports
            && (1..=MAX_REQUESTS).contains(&requests)
            && (1..=MAX_ARENA_BYTES).contains(&arena_bytes);
        if !fits {
            return Err(Error::segment(ErrorKind::Invalid, "lay out", "of this geometry"));
        }
        let requests = requests.next_multiple_of(SLAB_REQUESTS);
        let arena_bytes = arena_bytes.next_multiple_of(SLAB_BYTES);
        Ok(Geometry { ports, static_ports, requests, arena_bytes })
    }

    /// Ports in the segment.
    pub fn ports(&self) -> u32 {
        self.ports
    }

    /// Ports below this number are static.
    pub fn static_ports(&self) -> u32 {
        self.static_ports
    }

    /// Request slots in the segment.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Bytes for buffers.
    pub fn arena_bytes(&self) -> u64 {
        self.arena_bytes
    }

    pub(crate) fn table_slabs(&self) -> u32 {
        self.requests / SLAB_REQUESTS
    }

    pub(crate) fn arena_slabs(&self) -> u32 {
        u32::try_from(self.arena_bytes / SLAB_BYTES).expect("the arena has a bound")
    }
}

/// Where the parts of a segment begin. A function of the geometry alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) port_table: usize,
    pub(crate) table_slabs: usize,
    pub(crate) arena_slabs: usize,
    pub(crate) trace: usize,
    pub(crate) request_table: usize,
    pub(crate) arena: usize,
    pub(crate) total_bytes: usize,
}

impl Plan {
    pub(crate) fn new(geometry: &Geometry) -> Plan {
        let port_table = to_usize(HEADER_BYTES);
        let table_slabs = page(port_table + index(geometry.ports) * size_of::<PortRecord>());
        let arena_slabs = page(table_slabs + index(geometry.table_slabs()) * 8);
        let trace = page(arena_slabs + index(geometry.arena_slabs()) * 8);
        let request_table = page(trace + index(TRACE_EVENTS) * size_of::<TraceEvent>());
        let tables_end = request_table + index(geometry.requests) * size_of::<Slot>();
        let arena = tables_end.next_multiple_of(to_usize(SLAB_BYTES));
        let total_bytes = arena + to_usize(geometry.arena_bytes);
        Plan { port_table, table_slabs, arena_slabs, trace, request_table, arena, total_bytes }
    }
}

fn page(offset: usize) -> usize {
    offset.next_multiple_of(4096)
}

/// A number of a segment as a length of memory: both have 64 bits wherever a segment can be mapped.
pub(crate) fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("segments are for 64-bit machines")
}

/// A slot, port or slab number as an index.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).expect("segments are for 64-bit machines")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_slabs() {
        let geometry = Geometry::new(4, 2, 17, 1).unwrap();
        assert_eq!(geometry.requests(), 32);
        assert_eq!(geometry.arena_bytes(), SLAB_BYTES);
    }

    #[test]
    fn senseless_sizes_are_invalid() {
        for (ports, fixed, requests, bytes) in
            [(0, 0, 16, 1), (4, 5, 16, 1), (4, 2, 0, 1), (4, 2, 16, 0), (MAX_PORTS + 1, 0, 16, 1)]
        {
            let error = Geometry::new(ports, fixed, requests, bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn parts_follow_each_other() {
        let plan = Plan::new(&Geometry::new(MAX_PORTS, 7, MAX_REQUESTS, MAX_ARENA_BYTES).unwrap());
        let order = [plan.port_table, plan.table_slabs, plan.arena_slabs, plan.trace, plan.request_table];
        assert!(order.is_sorted());
        assert!(plan.request_table < plan.arena && plan.arena < plan.total_bytes);
        assert!(plan.arena.is_multiple_of(to_usize(SLAB_BYTES)));
    }
}
