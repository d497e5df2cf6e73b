//! What a stack tells of itself to the other nodes.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use store::NodeRecord;
use xseg::Segment;

use crate::Common;

/// This stack, which begins now.
#[must_use]
pub fn record(common: &Common, segment: &Segment) -> NodeRecord {
    NodeRecord::new(&common.node, &told("hostname"), &boot_id(), segment.id(), unix_ms())
}

/// Which start of this host it is; empty where the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    told("random/boot_id")
}

fn told(name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    text.trim().to_owned()
}

/// The time, in milliseconds since 1970.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
