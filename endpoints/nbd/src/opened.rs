//! A volume, opened for one connection.

use client::{Client, Completions, Device, Sender, Stack};
use protocol::{ErrorKind, Failure, Shape, VolumeKind};
use xseg::Reserve;

use crate::{
    exports::Export,
    memory::{Memory, SHARE_MIN, Share},
    wire::PAYLOAD_MAX,
};

/// How many requests of one connection may be under way.
const DEPTH: u32 = 64;
/// A volume ready for I/O, and how large its requests may be.
pub(crate) struct Opened {
    pub(crate) sender: Sender,
    pub(crate) completions: Completions,
    pub(crate) shape: Shape,
    /// The largest payload that fits, in bytes.
    pub(crate) payload_max: u32,
    /// Its part of the memory for connections, for as long as the sender uses it.
    pub(crate) share: Share,
}

impl Opened {
    /// Joins the segment for one connection, with a share of `memory` for requests of at most `most` bytes.
    pub(crate) fn open(
        stack: &Stack,
        export: &Export,
        memory: &Memory,
        most: u64,
    ) -> Result<Opened, Failure> {
        let Some(share) = memory.take(most) else {
            let message = "connections use all of the segment's memory that is theirs";
            return Err(Failure::new(ErrorKind::Unavailable, message));
        };
        let reserve = Reserve { requests: DEPTH, bytes: share.bytes };
        let device = Device::open(stack, &export.volume, export.is_read_only, reserve)?;
        let info = device.info();
        let shape = Shape {
            size_bytes: info.size_bytes,
            block_size: info.block_size,
            is_read_only: info.is_read_only,
        };
        let (mut sender, completions) = device.split();
        let payload_max = largest_buffer(&mut sender, share.bytes)?;
        Ok(Opened { sender, completions, shape, payload_max, share })
    }
}

/// The largest payload for which there is one piece of memory.
fn largest_buffer(sender: &mut Sender, most: u64) -> Result<u32, Failure> {
    let mut bytes = u32::try_from(most).unwrap_or(u32::MAX).min(PAYLOAD_MAX);
    while u64::from(bytes) >= SHARE_MIN {
        if let Some(held) = sender.try_buffer(bytes.into())? {
            sender.cancel(held);
            return Ok(bytes);
        }
        bytes /= 2;
    }
    Err(Failure::new(ErrorKind::Unavailable, "the segment has no memory in one piece for a connection"))
}

/// What a client may know of a volume before it chooses it.
pub(crate) fn describe(stack: &Stack, export: &Export) -> Result<Shape, Failure> {
    let info = Client::connect(stack)?.info(&export.volume)?;
    Ok(Shape {
        size_bytes: info.size_bytes,
        block_size: info.block_size,
        is_read_only: export.is_read_only || info.kind == VolumeKind::Snapshot,
    })
}
