//! Reads and writes of an open object, step by step.

use std::io;

use store::StoreReply;

use super::Engine;
use crate::fault::{is_hard, is_refusal};
use crate::objects::is_aligned;
use crate::pool::{Job, Work};
use crate::ring::{Direction, Transfer};
use crate::verified;

/// How often a transfer that moved nothing is tried again before a thread does it.
const RETRIES_MAX: u32 = 8;

impl<T> Engine<T> {
    /// Moves what is left to move: by the ring if it can, else by a thread.
    pub(super) fn transfer(&mut self, slot: u32) {
        let operation = &self.operations[slot];
        let (Some(open), Some((offset, direction))) = (&operation.open, operation.transfer()) else { return };
        let region = open.piece(operation.region.skip(operation.done), direction);
        let Some(ring) = &mut self.ring else { return self.hand_over(slot) };
        let is_writable = direction == Direction::Read || open.require_writable().is_ok();
        if region.is_empty() || !is_writable || !open.takes(is_aligned(offset, region)) {
            return self.hand_over(slot);
        }
        let transfer = Transfer { token: slot, file: open.file(), offset, region, direction };
        if let Err(error) = ring.push(transfer) {
            self.finish(slot, Err(error.into()));
        }
    }

    /// Has a thread do the rest.
    pub(super) fn hand_over(&mut self, slot: u32) {
        let operation = &self.operations[slot];
        let Some(open) = operation.open.clone() else { return };
        // What is verified is verified whole.
        let done = if open.sums().is_some() { 0 } else { operation.done };
        let work = Work::OnOpen(operation.request.clone(), open, operation.region, done);
        self.pool.run(Job { slot, work });
    }

    pub(super) fn transferred(&mut self, slot: u32, result: io::Result<usize>) {
        let operation = &mut self.operations[slot];
        let Some((_, direction)) = operation.transfer() else { return };
        match result {
            Ok(0) if direction == Direction::Read => {
                operation.region.skip(operation.done).fill_zero();
                self.moved(slot, direction);
            }
            Ok(count) if count > 0 => {
                operation.done += count;
                if operation.done < operation.region.len() {
                    self.transfer(slot)
                } else {
                    self.moved(slot, direction)
                }
            }
            Err(error) if is_hard(&error) => {
                // A part of a write may be there, and must not count as durable by the next sync.
                let may_be_lost = direction == Direction::Write { is_durable: true } && !is_refusal(&error);
                for open in operation.open.iter() {
                    open.mark_dirty();
                    if may_be_lost {
                        open.lose(&self.objects.root);
                    }
                }
                self.finish(slot, Err(error.into()));
            }
            // Nothing was moved; the thread that gets it in the end says what is wrong.
            Ok(_) | Err(_) => {
                operation.retries += 1;
                if operation.retries < RETRIES_MAX { self.transfer(slot) } else { self.hand_over(slot) }
            }
        }
    }

    /// All bytes of a read or write are where they belong.
    pub(super) fn moved(&mut self, slot: u32, direction: Direction) {
        let Some(open) = &self.operations[slot].open else { return };
        match direction {
            Direction::Read => {
                let (offset, region) = (self.operations[slot].offset(), self.operations[slot].region);
                if open.sums().is_some_and(|sums| !verified::agrees(sums, offset, region)) {
                    // A thread reads it once more, and tells damage from what only seems so.
                    return self.hand_over(slot);
                }
            }
            Direction::Write { is_durable: false } => open.mark_dirty(),
            Direction::Write { is_durable: true } if open.is_name_durable() => {}
            Direction::Write { is_durable: true } => {
                let work = Work::SyncName(open.clone());
                return self.pool.run(Job { slot, work });
            }
        }
        self.finish(slot, Ok(StoreReply::Done));
    }
}
