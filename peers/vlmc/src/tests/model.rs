//! A volume is an array of bytes: random work, served in random order, leaves the composer and an array the same.

use proptest::prelude::*;
use protocol::{Flags, Message, Op, Resize};

use super::world::World;

const BLOCK: u64 = 64;
const SIZE: u64 = 1100 * BLOCK + 21;
/// Requests under way at a time touch different parts of the volume.
const LANES: u64 = 5;
const LANE: u64 = SIZE / LANES;

#[derive(Clone, Debug)]
enum Work {
    Write { at: u64, size: u64, seed: u8, is_durable: bool },
    Zero { at: u64, size: u64, is_discard: bool },
    Read { at: u64, size: u64 },
    Flush,
    Snapshot,
    Grow,
    Restart,
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    let sizes = prop_oneof![1..BLOCK, 1..4 * BLOCK, Just(BLOCK), 1..LANE];
    (0..LANE, sizes).prop_map(|(at, size)| (at, size.min(LANE - at)))
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        8 => (range(), any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|((at, size), seed, is_durable)| Work::Write { at, size, seed, is_durable }),
        4 => (range(), any::<bool>()).prop_map(|((at, size), is_discard)| Work::Zero { at, size, is_discard }),
        6 => range().prop_map(|(at, size)| Work::Read { at, size }),
        2 => Just(Work::Flush),
        1 => Just(Work::Snapshot),
        1 => Just(Work::Grow),
        1 => Just(Work::Restart),
    ]
}

struct Check {
    world: World,
    model: Vec<u8>,
    snapshots: Vec<(String, Vec<u8>)>,
    expected: Vec<(u64, Option<Vec<u8>>)>,
}

impl Check {
    fn new(slots: u32, page: usize, seed: u64) -> Check {
        let mut world = World::new(slots, 1);
        world.maps.create("volume1", SIZE, 64);
        world.maps.page = page;
        let mut state = seed | 1;
        world.order = Box::new(move |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap()
        });
        let model = vec![0; usize::try_from(SIZE).unwrap()];
        Check { world, model, snapshots: Vec::new(), expected: Vec::new() }
    }

    fn expect(&mut self, op: Op, flags: Flags, at: (u64, u64), bytes: &[u8], answer: Option<Vec<u8>>) {
        let number = self.world.submit(op, "volume1", flags, at, bytes);
        self.expected.push((number, answer));
    }

    fn part(&mut self, at: u64, size: u64) -> &mut [u8] {
        let (at, size) = (usize::try_from(at).unwrap(), usize::try_from(size).unwrap());
        &mut self.model[at..at + size]
    }

    fn submit(&mut self, lane: u64, work: &Work) {
        let base = lane * LANE;
        match *work {
            Work::Write { at, size, seed, is_durable } => {
                let bytes: Vec<u8> = (0..size).map(|at| seed ^ u8::try_from(at % 255).unwrap()).collect();
                self.part(base + at, size).copy_from_slice(&bytes);
                let flags = if is_durable { Flags::FUA } else { Flags::empty() };
                self.expect(Op::Write, flags, (base + at, size), &bytes, None);
            }
            Work::Zero { at, size, is_discard } => {
                self.part(base + at, size).fill(0);
                let op = if is_discard { Op::Discard } else { Op::WriteZeroes };
                self.expect(op, Flags::empty(), (base + at, size), &[], None);
            }
            Work::Read { at, size } => {
                let bytes = self.part(base + at, size).to_vec();
                self.expect(Op::Read, Flags::empty(), (base + at, size), &[], Some(bytes));
            }
            Work::Flush => self.expect(Op::Flush, Flags::empty(), (0, 0), &[], None),
            Work::Snapshot => {
                let name = format!("snapshot{}", self.snapshots.len());
                self.snapshots.push((name.clone(), self.model.clone()));
                self.expect(
                    Op::Snapshot,
                    Flags::empty(),
                    (0, 0),
                    &protocol::Snapshot { name }.encode(),
                    None,
                );
            }
            Work::Grow => {
                let size_bytes = u64::try_from(self.model.len()).unwrap() + BLOCK / 2;
                self.model.resize(usize::try_from(size_bytes).unwrap(), 0);
                let argument = Resize { size_bytes, may_shrink: false }.encode();
                self.expect(Op::Resize, Flags::empty(), (0, 0), &argument, None);
            }
            Work::Restart => self.world.restart(),
        }
    }

    fn settle(&mut self) {
        self.world.settle();
        for (number, answer) in std::mem::take(&mut self.expected) {
            let outcome = self.world.outcome(number).expect("all is answered when all is quiet").unwrap();
            assert!(answer.is_none_or(|bytes| bytes == outcome), "request {number} read something else");
        }
    }

    fn finish(&mut self) {
        self.world.flush("volume1").unwrap();
        let size = u64::try_from(self.model.len()).unwrap();
        assert!(self.world.read("volume1", 0, size).unwrap() == self.model, "the volume");
        assert!(self.world.durable("volume1") == self.model, "the volume after a loss of power");
        for (name, bytes) in &self.snapshots {
            let size = u64::try_from(bytes.len()).unwrap();
            assert!(self.world.read(name, 0, size).unwrap() == *bytes, "{name}");
            assert!(self.world.durable(name) == *bytes, "{name} after a loss of power");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_volume_is_an_array_of_bytes(
        batches in prop::collection::vec(prop::collection::vec(work(), 1..=usize::try_from(LANES).unwrap()), 1..14),
        slots in prop_oneof![Just(16_u32), Just(256)],
        page in prop_oneof![Just(0_usize), 1..40_usize],
        seed in any::<u64>(),
    ) {
        let mut check = Check::new(slots, page, seed);
        for batch in &batches {
            for (lane, work) in (0..).zip(batch) {
                check.submit(lane, work);
                if seed & (1 << lane) != 0 {
                    check.world.turn();
                }
            }
            check.settle();
        }
        check.finish();
    }
}
