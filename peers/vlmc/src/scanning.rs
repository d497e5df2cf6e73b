//! Which parts of a volume are holes.

use protocol::{ErrorKind, Extent, Extents, Failure, Message, Shape};

use crate::{
    composer::Composer,
    moving::{Piece, check_range},
    object::Place,
    operation::{Scanning, Stage, Step},
};

/// How many blocks one request looks at; the answer may cover less than was asked for.
const SCAN_BLOCKS_MAX: u64 = 16 * 1024;
/// The most bytes an extent takes in the answer.
const EXTENT_BYTES: u64 = 11;
/// What the answer takes besides its extents, in bytes.
const ANSWER_BYTES: u64 = 5;

impl Composer {
    /// Looks at blocks until one is not known, or there is enough for an answer.
    pub(crate) fn scan_step(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get(key) else { return Step::Wait };
        let Some(shape) = self.shape(operation) else { return self.ask_shape(key) };
        let (offset, size) = (operation.offset, operation.size);
        let room = operation.request.as_ref().map_or(0, |request| request.buffer_bytes());
        if let Err(failure) = check_range(&shape, offset, size) {
            return self.fail(key, failure);
        }
        loop {
            self.pass_holes(key, &shape, room);
            let Some(at) = self.scanned(key, room) else { return Step::Wait };
            if at >= size {
                return self.answer_extents(key);
            }
            let piece = Piece::first(&shape, offset + at, size - at);
            let Some(place) = self.place(key, piece.block) else {
                return self.ask_entries(key, &shape, piece.block);
            };
            self.add_extent(key, Extent { size_bytes: piece.size, is_data: place != Place::Hole });
        }
    }

    /// Passes over blocks that the mapper said to be holes.
    fn pass_holes(&mut self, key: u32, shape: &Shape, room: u64) {
        let block_size = u64::from(shape.block_size);
        let Some(at) = self.scanned(key, room) else { return };
        let Some(operation) = self.operations.get(key) else { return };
        let Stage::Scanning(scanning) = &operation.stage else { return };
        let (first, end) = scanning.holes;
        let from = operation.offset.saturating_add(at);
        let until = end.saturating_mul(block_size).min(operation.offset.saturating_add(operation.size));
        if first.saturating_mul(block_size) <= from && from < until {
            self.add_extent(key, Extent { size_bytes: until - from, is_data: false });
        }
    }

    /// How far the scan is; the end when there is no room for more, or enough was looked at.
    fn scanned(&self, key: u32, room: u64) -> Option<u64> {
        let Stage::Scanning(Scanning { at, extents, looked, .. }) = &self.operations.get(key)?.stage else {
            return None;
        };
        let count = u64::try_from(extents.len()).unwrap_or(u64::MAX);
        let is_full = (count + 1).saturating_mul(EXTENT_BYTES).saturating_add(ANSWER_BYTES) > room;
        Some(if is_full || *looked >= SCAN_BLOCKS_MAX { u64::MAX } else { *at })
    }

    fn add_extent(&mut self, key: u32, extent: Extent) {
        let stage = self.operations.get_mut(key).map(|operation| &mut operation.stage);
        let Some(Stage::Scanning(Scanning { at, extents, looked, .. })) = stage else { return };
        *at += extent.size_bytes;
        *looked += 1;
        match extents.last_mut() {
            Some(last) if last.is_data == extent.is_data => last.size_bytes += extent.size_bytes,
            _ => extents.push(extent),
        }
    }

    fn answer_extents(&mut self, key: u32) -> Step {
        let Some(operation) = self.operations.get_mut(key) else { return Step::Wait };
        let Stage::Scanning(Scanning { extents, .. }) = &mut operation.stage else { return Step::Wait };
        let bytes = Extents { extents: std::mem::take(extents) }.encode();
        let Some(request) = operation.request.as_mut() else { return Step::Wait };
        let room = request.buffer_bytes();
        match request.write(0, &bytes) {
            Ok(()) => {
                request.set_serviced(u64::try_from(bytes.len()).unwrap_or(0));
                Step::Done
            }
            Err(_) => {
                let message = format!("cannot tell extents in a buffer of {room} bytes");
                self.fail(key, Failure::new(ErrorKind::Invalid, message))
            }
        }
    }
}
