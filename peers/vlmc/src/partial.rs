//! A block that is written piece by piece over what a snapshot shares.

use std::ops::Range;

use protocol::PIECE_BYTES;
use xseg::Held;

use crate::object::Object;

/// Bytes of a piece, in memory.
pub(crate) const PIECE_LENGTH: usize = 4096;
const _: () = assert!(PIECE_BYTES == 4096);

/// A volume's number and a block's index in it.
pub(crate) type BlockKey = (u32, u64);

/// A partial block: which of its pieces are in its own object, and who is doing what to them.
///
/// A piece is *own* once a write or a copy of it is done; *claimed* while a client's write to it is under way; *filled* while
/// it is copied from the base. Nothing is filled while it is claimed, and the other way round.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) object: Object,
    pub(crate) base: Object,
    pub(crate) phase: Phase,
    pub(crate) own: Pieces,
    pub(crate) claims: Vec<Range<usize>>,
    pub(crate) work: Work,
    /// Who needs it in another state than it is in.
    pub(crate) need: Need,
    /// Operations that wait for anything to change here.
    pub(crate) waiting: Vec<u32>,
    /// Operations that wrote zeros, which count only once the block is whole.
    pub(crate) unanswered: Vec<u32>,
    /// Whether the own object is known to exist.
    pub(crate) is_there: bool,
    /// What is known of it is not to be used any more; it goes when nothing of it is under way.
    pub(crate) is_stale: bool,
    /// The entry may be used once: there is no lock.
    pub(crate) is_once: bool,
    /// Ticks until it is tried again.
    pub(crate) rest: u32,
}

/// Granting → Ready when the mapper has it in its log. Unknown → Ready when the own object was looked through. Ready →
/// Settling when all pieces are own; then it is a block like others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The mapper is asked; what is written goes to the own object already, what is read comes from the base.
    Granting,
    /// A predecessor wrote to it: pieces before `at` are known.
    Unknown { at: usize },
    /// It is known which pieces are own.
    Ready,
    /// The mapper is told that it is whole.
    Settling,
}

/// What is under way that no client asked for.
#[derive(Debug)]
pub(crate) enum Work {
    Nothing,
    /// The own object is looked through.
    Survey,
    /// These pieces are read from the base.
    Reading(Range<usize>),
    /// These pieces are written to the own object, from this buffer.
    Writing(Range<usize>, Held),
}

/// How much of a partial block somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    Nothing,
    /// Which pieces are own.
    Survey,
    /// All pieces.
    Whole,
}

impl Partial {
    pub(crate) fn new(object: Object, base: Object, block_bytes: u64, phase: Phase) -> Partial {
        Partial {
            object,
            base,
            phase,
            own: Pieces::none(block_bytes),
            claims: Vec::new(),
            work: Work::Nothing,
            need: Need::Nothing,
            waiting: Vec::new(),
            unanswered: Vec::new(),
            is_there: false,
            is_stale: false,
            is_once: false,
            rest: 0,
        }
    }

    /// Whether anything of it is under way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.claims.is_empty()
            || !matches!(self.work, Work::Nothing)
            || matches!(self.phase, Phase::Granting | Phase::Settling)
    }

    /// Whether a client's write to any of these pieces is under way.
    pub(crate) fn is_claimed(&self, pieces: &Range<usize>) -> bool {
        self.claims.iter().any(|claim| overlap(claim, pieces))
    }

    /// Whether any of these pieces is being copied.
    pub(crate) fn is_filled(&self, pieces: &Range<usize>) -> bool {
        match &self.work {
            Work::Reading(range) | Work::Writing(range, _) => overlap(range, pieces),
            Work::Nothing | Work::Survey => false,
        }
    }

    pub(crate) fn unclaim(&mut self, pieces: &Range<usize>) {
        if let Some(position) = self.claims.iter().position(|claim| claim == pieces) {
            self.claims.swap_remove(position);
        }
    }

    /// The first pieces to be copied, at most `most`.
    pub(crate) fn missing(&self, most: usize) -> Option<Range<usize>> {
        let is_missing = |at: &usize| !self.own.has(*at) && !self.is_claimed(&(*at..at + 1));
        let first = (0..self.own.count).find(is_missing)?;
        let end = (first..self.own.count.min(first + most)).take_while(is_missing).last()? + 1;
        Some(first..end)
    }
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// A set of pieces of a block.
#[derive(Debug)]
pub(crate) struct Pieces {
    words: Vec<u64>,
    pub(crate) count: usize,
    held: usize,
}

impl Pieces {
    fn none(block_bytes: u64) -> Pieces {
        let count = piece_of(block_bytes);
        Pieces { words: vec![0; count.div_ceil(64)], count, held: 0 }
    }

    pub(crate) fn has(&self, piece: usize) -> bool {
        self.words.get(piece / 64).is_some_and(|word| word >> (piece % 64) & 1 == 1)
    }

    pub(crate) fn add(&mut self, pieces: Range<usize>) {
        for piece in pieces {
            let is_new = !self.has(piece);
            if let Some(word) = self.words.get_mut(piece / 64) {
                *word |= 1 << (piece % 64);
                self.held += usize::from(is_new);
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.held >= self.count
    }

    /// How many of the pieces from the first on are alike.
    pub(crate) fn run(&self, pieces: Range<usize>) -> usize {
        let is_own = self.has(pieces.start);
        pieces.take_while(|piece| self.has(*piece) == is_own).count()
    }
}

/// The piece that a byte of a block is in.
pub(crate) fn piece_of(byte: u64) -> usize {
    usize::try_from(byte / PIECE_BYTES).unwrap_or(usize::MAX)
}

/// Where a piece begins in its block.
pub(crate) fn start_of(piece: usize) -> u64 {
    u64::try_from(piece).unwrap_or(u64::MAX).saturating_mul(PIECE_BYTES)
}

/// The pieces that `size` bytes at `within` touch.
pub(crate) fn pieces_of(within: u64, size: u64) -> Range<usize> {
    piece_of(within)..usize::try_from((within + size).div_ceil(PIECE_BYTES)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial() -> Partial {
        let object = |written_at| Object::Ours { owner: 1, written_at, index: 0 };
        Partial::new(object(2), object(1), 8 * PIECE_BYTES, Phase::Ready)
    }

    #[test]
    fn what_is_missing_is_neither_own_nor_claimed() {
        let mut block = partial();
        block.own.add(0..2);
        block.claims.push(4..5);
        assert_eq!(block.missing(64), Some(2..4));
        assert_eq!(block.missing(1), Some(2..3));
        block.own.add(2..4);
        assert_eq!(block.missing(64), Some(5..8));
        block.own.add(5..8);
        assert_eq!((block.missing(64), block.own.is_full()), (None, false));
        block.unclaim(&(4..5));
        assert_eq!(block.missing(64), Some(4..5));
    }

    #[test]
    fn a_run_ends_where_the_own_pieces_do() {
        let mut block = partial();
        block.own.add(1..3);
        assert_eq!((block.own.run(0..8), block.own.run(1..8), block.own.run(3..8)), (1, 2, 5));
        assert_eq!(pieces_of(4095, 2), 0..2);
    }
}
