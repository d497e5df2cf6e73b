//! The state word of a request: where it is, in one atomic word.

/// Where a request is. Bits 0 and 1 of the state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// On its origin's free list.
    Free,
    /// In the hands of the port in the word.
    Held,
    /// Being put into the inbox of the port in `to`, by the port in the word.
    Passing,
}

/// How many ports a request can come through.
pub(crate) const MAX_DEPTH: u32 = 8;

/// A decoded state word.
///
/// | bits | field |
/// | --- | --- |
/// | 0–1 | phase: 0 free, 1 held, 2 passing |
/// | 2 | reply: the request is on its way back |
/// | 3–6 | depth: entries on the path, 0 to 8 |
/// | 7 | zero |
/// | 8–31 | port |
/// | 32–63 | incarnation of that port |
///
/// Depth and direction are in the word because they must change in the same instant as the phase: a process may die
/// between any two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) reply: bool,
    pub(crate) depth: u32,
    pub(crate) port: u32,
    pub(crate) incarnation: u32,
}

impl State {
    #[cfg(not(loom))]
    pub(crate) fn free(origin: u32, incarnation: u32) -> State {
        State { phase: Phase::Free, reply: false, depth: 0, port: origin, incarnation }
    }

    pub(crate) fn held(port: u32, incarnation: u32) -> State {
        State { phase: Phase::Held, reply: false, depth: 0, port, incarnation }
    }

    /// The same request in the hands of `port`.
    pub(crate) fn held_by(self, port: u32, incarnation: u32) -> State {
        State { phase: Phase::Held, port, incarnation, ..self }
    }

    /// The same request on its way, pushed by `port`, with a path of `depth`.
    pub(crate) fn passing(self, port: u32, incarnation: u32, depth: u32, reply: bool) -> State {
        State { phase: Phase::Passing, reply, depth, port, incarnation }
    }

    pub(crate) fn encode(self) -> u64 {
        let phase = match self.phase {
            Phase::Free => 0u64,
            Phase::Held => 1,
            Phase::Passing => 2,
        };
        phase
            | u64::from(self.reply) << 2
            | u64::from(self.depth & 0xf) << 3
            | u64::from(self.port & 0xff_ffff) << 8
            | u64::from(self.incarnation) << 32
    }

    /// `None` for a word that no correct peer writes.
    pub(crate) fn decode(word: u64) -> Option<State> {
        let phase = match word & 3 {
            0 => Phase::Free,
            1 => Phase::Held,
            2 => Phase::Passing,
            _ => return None,
        };
        let depth = bits(word >> 3, 0xf);
        if depth > MAX_DEPTH || word & 0x80 != 0 {
            return None;
        }
        let (port, incarnation) = (bits(word >> 8, 0xff_ffff), bits(word >> 32, u32::MAX));
        Some(State { phase, reply: word & 4 != 0, depth, port, incarnation })
    }
}

/// Whether a state word says that the request is on its way back.
pub(crate) fn is_reply(word: u64) -> bool {
    word & 4 != 0
}

/// A port and its incarnation in one word: path entries and owners of slabs. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) port: u32,
    pub(crate) incarnation: u32,
}

impl Holder {
    pub(crate) fn encode(self) -> u64 {
        (u64::from(self.port) + 1) | u64::from(self.incarnation) << 32
    }

    /// `None` for nobody.
    pub(crate) fn decode(word: u64) -> Option<Holder> {
        let port = bits(word, u32::MAX).checked_sub(1)?;
        Some(Holder { port, incarnation: bits(word >> 32, u32::MAX) })
    }
}

/// When a request was received, for its holder's successor.
///
/// | bits | field |
/// | --- | --- |
/// | 0 | it was handed out: somebody may have begun to serve it |
/// | 1–47 | counts what the holder received |
/// | 48–63 | attempts: how often an owner died over it |
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival(pub(crate) u64);

#[cfg(not(loom))]
impl Arrival {
    const ATTEMPT: u64 = 1 << 48;

    /// The same request, received as the `order`-th.
    pub(crate) fn received(self, order: u64) -> Arrival {
        Arrival(self.0 & !(Arrival::ATTEMPT - 1) | (order << 1) & (Arrival::ATTEMPT - 1))
    }

    pub(crate) fn handed_out(self) -> Arrival {
        Arrival(self.0 | 1)
    }

    /// One attempt more, if it was handed out.
    pub(crate) fn owner_died(self) -> Arrival {
        let again = if self.0 & 1 == 1 { self.0.saturating_add(Arrival::ATTEMPT) } else { self.0 };
        Arrival(again & !1)
    }

    pub(crate) fn order(self) -> u64 {
        self.0 & (Arrival::ATTEMPT - 1)
    }

    pub(crate) fn attempts(self) -> u32 {
        bits(self.0 >> 48, 0xffff)
    }
}

/// The low bits of a word that `mask` keeps.
pub(crate) fn bits(word: u64, mask: u32) -> u32 {
    u32::try_from(word & u64::from(mask)).expect("the mask has 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_its_word() {
        for phase in [Phase::Free, Phase::Held, Phase::Passing] {
            for depth in 0..=MAX_DEPTH {
                for (reply, port, incarnation) in [(false, 0, 0), (true, 0xff_ffff, u32::MAX), (true, 5, 7)] {
                    let state = State { phase, reply, depth, port, incarnation };
                    assert_eq!(State::decode(state.encode()), Some(state));
                }
            }
        }
    }

    #[test]
    fn words_nobody_writes_are_refused() {
        assert_eq!(State::decode(3), None);
        assert_eq!(State::decode(1 | 9 << 3), None);
        assert_eq!(State::decode(1 | 0x80), None);
        assert_eq!(Holder::decode(0), None);
    }

    #[test]
    #[cfg(not(loom))]
    fn only_what_was_handed_out_counts_as_an_attempt() {
        let waiting = Arrival(0).received(5);
        assert_eq!(waiting.owner_died().attempts(), 0);
        let twice = waiting.handed_out().owner_died().received(9).handed_out().owner_died();
        assert_eq!((twice.attempts(), twice.received(1 << 50).attempts()), (2, 2));
    }

    #[test]
    fn holders_survive_their_word() {
        let holder = Holder { port: 9, incarnation: u32::MAX };
        assert_eq!(Holder::decode(holder.encode()), Some(holder));
    }
}
