//! A volume, opened for one connection.

use client::{Client, Completions, Device, Sender, Stack};
use protocol::{ErrorKind, Failure, Shape, VolumeKind};
use xseg::Reserve;

use crate::{exports::Export, wire::PAYLOAD_MAX};

/// How many requests of one connection may be under way.
const DEPTH: u32 = 128;
/// The least buffer memory of a connection, in bytes: with less, it is refused.
const BUFFER_MIN: u64 = 1 << 20;

/// A volume ready for I/O, and how large its requests may be.
pub(crate) struct Opened {
    pub(crate) sender: Sender,
    pub(crate) completions: Completions,
    pub(crate) shape: Shape,
    /// The largest payload that fits, in bytes.
    pub(crate) payload_max: u32,
}

impl Opened {
    /// Joins the segment for one connection, with `buffer_bytes` of memory or, where the segment is crowded, less.
    pub(crate) fn open(stack: &Stack, export: &Export, buffer_bytes: u64) -> Result<Opened, Failure> {
        let mut bytes = buffer_bytes;
        let device = loop {
            let opened =
                Device::open(stack, &export.volume, export.is_read_only, Reserve { requests: DEPTH, bytes });
            match opened {
                Err(failure) if failure.kind == ErrorKind::Unavailable && bytes / 2 >= BUFFER_MIN => {
                    bytes /= 2
                }
                opened => break opened?,
            }
        };
        let info = device.info();
        let shape = Shape {
            size_bytes: info.size_bytes,
            block_size: info.block_size,
            is_read_only: info.is_read_only,
        };
        let (mut sender, completions) = device.split();
        let payload_max = largest_buffer(&mut sender, bytes)?;
        Ok(Opened { sender, completions, shape, payload_max })
    }
}

/// The largest payload for which there is one piece of memory.
fn largest_buffer(sender: &mut Sender, most: u64) -> Result<u32, Failure> {
    let mut bytes = u32::try_from(most).unwrap_or(u32::MAX).min(PAYLOAD_MAX);
    while u64::from(bytes) >= BUFFER_MIN {
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
