//! Random sessions against a plain table of names, with crashes at every step of a plan.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::world::{self, BLOCK, Cut, Names, Stores, carry_out};
use crate::{BlockIndex, BootId, Map, ObjectName, Purpose, RequestId, RootState};

/// Blocks worth trying: at the borders of leaves, of inner nodes, and far out.
const INDICES: [u64; 20] = [
    0,
    1,
    2,
    100,
    510,
    511,
    512,
    513,
    1023,
    1024,
    262_143,
    262_144,
    262_145,
    300_000,
    134_217_727,
    134_217_728,
    1 << 40,
    (1 << 40) + 1,
    (1 << 54) - 1,
    1 << 54,
];
const VOLUMES: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    Write(usize),
    Read(usize),
    /// Set, but the process dies before the log is written.
    WriteAndDie(usize),
    Punch(usize, usize),
    Commit,
    Checkpoint(Cut),
    /// A checkpoint during which these blocks are written, and perhaps committed.
    Overlap(Vec<usize>, bool, Cut),
    Close(Cut),
    Snapshot(Cut),
    Clone(usize),
    Recreate(usize),
    Resize(usize, u64, Cut),
    Evict(usize),
    Kill,
    /// Killed, and again while the next session recovers: in its first or second plan.
    KillTwice(bool, Cut),
    /// The machine loses power; so many unsynced bytes of each object remain.
    Power(usize),
    Turn(usize),
}

fn cuts() -> impl Strategy<Value = Cut> {
    prop_oneof![
        6 => Just(Cut::Never),
        1 => Just(Cut::BeforeSeal),
        1 => Just(Cut::AfterSeal),
        2 => (0..4usize).prop_map(Cut::AfterNodes),
        1 => Just(Cut::AfterRoot),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let index = 0..INDICES.len();
    prop_oneof![
        12 => index.clone().prop_map(Op::Write),
        3 => index.clone().prop_map(Op::Read),
        1 => index.clone().prop_map(Op::WriteAndDie),
        3 => (index.clone(), index.clone()).prop_map(|(a, b)| Op::Punch(a.min(b), a.max(b))),
        3 => Just(Op::Commit),
        2 => cuts().prop_map(Op::Checkpoint),
        2 => (prop::collection::vec(index.clone(), 0..4), any::<bool>(), cuts())
            .prop_map(|(writes, commit, cut)| Op::Overlap(writes, commit, cut)),
        2 => cuts().prop_map(Op::Close),
        2 => cuts().prop_map(Op::Snapshot),
        1 => (0..8usize).prop_map(Op::Clone),
        1 => (0..8usize).prop_map(Op::Recreate),
        2 => (index, 0..u64::from(BLOCK), cuts()).prop_map(|(at, rest, cut)| Op::Resize(at, rest, cut)),
        2 => (0..12usize).prop_map(Op::Evict),
        1 => Just(Op::Kill),
        1 => (any::<bool>(), cuts()).prop_map(|(second, cut)| Op::KillTwice(second, cut)),
        1 => (0..200usize).prop_map(Op::Power),
        2 => (0..VOLUMES).prop_map(Op::Turn),
    ]
}

/// A volume's size and blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    size: u64,
    names: Names,
}

impl State {
    fn cut_off(&mut self, size: u64) {
        self.size = size;
        self.names.retain(|&index, _| index < size.div_ceil(u64::from(BLOCK)));
    }
}

#[derive(Debug)]
struct Volume {
    name: String,
    id: u64,
    map: Option<Map>,
    /// What a process that was killed leaves.
    now: State,
    /// What a loss of power leaves.
    safe: State,
}

#[derive(Debug)]
struct World {
    stores: Stores,
    volumes: Vec<Volume>,
    snapshots: Vec<(String, State)>,
    boot: u8,
    turn: usize,
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { stores: Stores::default(), volumes: Vec::new(), snapshots: Vec::new(), boot: 1, turn: 0 };
        let size = 200_000 * u64::from(BLOCK);
        world.stores.create("volume-0", 1, size);
        world.add_volume(1, State { size, names: Names::new() });
        world
    }

    fn add_volume(&mut self, id: u64, state: State) {
        let name = format!("volume-{}", id - 1);
        self.volumes.push(Volume { name, id, map: None, now: state.clone(), safe: state });
    }

    fn boot(&self) -> BootId {
        BootId([self.boot; 16])
    }

    /// The volume whose turn it is, in a session; and the stores.
    fn session(&mut self) -> (&mut Stores, &mut Volume, Map) {
        let boot = self.boot();
        let turn = self.turn % self.volumes.len();
        let volume = &mut self.volumes[turn];
        let mut map = match volume.map.take() {
            Some(map) => map,
            None => self.stores.open(&volume.name, boot),
        };
        if !map.is_changing() {
            let was_unclean = map.root().state == RootState::Changing;
            world::begin(&mut self.stores, &volume.name, &mut map, boot);
            if was_unclean {
                volume.safe = volume.now.clone();
            }
        }
        (&mut self.stores, volume, map)
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Write(at) => self.change(|stores, volume, map| {
                let index = INDICES[*at];
                if index < map.block_count() {
                    volume.now.names.insert(index, world::write(stores, map, index));
                }
                true
            }),
            Op::Read(at) => self.change(|stores, _, map| {
                stores.load_all(map, INDICES[*at]..INDICES[*at] + 1);
                true
            }),
            Op::WriteAndDie(at) => self.change(|stores, _, map| {
                if INDICES[*at] < map.block_count() {
                    world::set(stores, map, INDICES[*at]);
                }
                false
            }),
            Op::Punch(from, to) => self.change(|stores, volume, map| {
                world::punch(stores, map, INDICES[*from]..INDICES[*to]);
                volume.now.names.retain(|index, _| !(INDICES[*from]..INDICES[*to]).contains(index));
                true
            }),
            Op::Commit => self.change(|stores, volume, map| {
                map.commit();
                world::flush_log(stores, map);
                volume.safe = volume.now.clone();
                true
            }),
            Op::Checkpoint(cut) => self.checkpoint(Purpose::Continue, *cut),
            Op::Close(cut) => self.checkpoint(Purpose::Close, *cut),
            Op::Overlap(writes, commit, cut) => self.overlap(writes, *commit, *cut),
            Op::Snapshot(cut) => self.snapshot(*cut),
            Op::Clone(which) => self.clone_snapshot(*which),
            Op::Recreate(which) => self.recreate(*which),
            Op::Resize(at, rest, cut) => self.resize(INDICES[*at] * u64::from(BLOCK) + rest + 1, *cut),
            Op::Evict(keep) => {
                for map in self.volumes.iter_mut().filter_map(|volume| volume.map.as_mut()) {
                    map.evict(*keep);
                    map.tree.check_counts();
                }
            }
            Op::Kill => self.volumes.iter_mut().for_each(|volume| volume.map = None),
            Op::KillTwice(second, cut) => self.kill_twice(*second, *cut),
            Op::Power(torn) => self.lose_power(*torn),
            Op::Turn(to) => self.turn = *to,
        }
    }

    /// Does something in a session; if that says no, the process dies.
    fn change(&mut self, act: impl FnOnce(&mut Stores, &mut Volume, &mut Map) -> bool) {
        let (stores, volume, mut map) = self.session();
        if act(stores, volume, &mut map) {
            volume.map = Some(map);
        }
    }

    fn checkpoint(&mut self, purpose: Purpose, cut: Cut) {
        self.change(|stores, volume, map| {
            let plan = map.checkpoint(purpose, RequestId([4; 32])).expect("a session");
            let written = carry_out(stores, &volume.name, &plan, cut);
            let sealed = plan.seal.is_some() && cut != Cut::BeforeSeal;
            if written || sealed {
                volume.safe = volume.now.clone();
            }
            map.done();
            cut == Cut::Never
        });
    }

    fn overlap(&mut self, writes: &[usize], commit: bool, cut: Cut) {
        self.change(|stores, volume, map| {
            let plan = map.checkpoint(Purpose::Continue, RequestId([5; 32])).expect("a session");
            let planned = volume.now.clone();
            if let Some(seal) = &plan.seal {
                stores.append(seal);
                volume.safe = planned.clone();
            }
            // What is not loaded may be in nodes that are not written yet; what is loaded must stay so.
            let loaded =
                writes.iter().map(|&at| INDICES[at]).filter(|&index| map.entry(BlockIndex(index)).is_ok());
            let loaded: Vec<u64> = loaded.collect();
            map.evict(0);
            for index in loaded {
                volume.now.names.insert(index, world::write(stores, map, index));
            }
            if commit {
                map.commit();
                world::flush_log(stores, map);
                volume.safe = volume.now.clone();
            }
            let rest = crate::Plan { seal: None, ..plan };
            if carry_out(stores, &volume.name, &rest, cut) && !commit {
                volume.safe = planned;
            }
            map.done();
            cut == Cut::Never
        });
    }

    fn snapshot(&mut self, cut: Cut) {
        let name = format!("snapshot-{}", self.snapshots.len());
        let mut frozen = None;
        self.change(|stores, volume, map| {
            let plan = map.checkpoint(Purpose::Share, RequestId([6; 32])).expect("a session");
            let written = carry_out(stores, &volume.name, &plan, cut);
            if written || (plan.seal.is_some() && cut != Cut::BeforeSeal) {
                volume.safe = volume.now.clone();
            }
            map.done();
            if cut != Cut::Never {
                return false;
            }
            let parent = ObjectName::new(volume.name.as_str()).expect("a name");
            let root = map.root().snapshot(&parent, RequestId([6; 32]), 9).expect("a shared tree");
            stores.replace(&name, &root.encode());
            frozen = Some(volume.now.clone());
            true
        });
        self.snapshots.extend(frozen.map(|state| (name, state)));
    }

    fn clone_snapshot(&mut self, which: usize) {
        if self.volumes.len() < VOLUMES && !self.snapshots.is_empty() {
            let id = self.volumes.len() as u64 + 1;
            let state = self.begin_as(which, id, &format!("volume-{}", id - 1));
            self.add_volume(id, state);
        }
    }

    /// Deletes the volume and makes it anew from a snapshot, perhaps its own, under its old id.
    fn recreate(&mut self, which: usize) {
        if self.snapshots.is_empty() {
            return;
        }
        let turn = self.turn % self.volumes.len();
        let Volume { name, id, .. } = &self.volumes[turn];
        let (name, id) = (name.clone(), *id);
        self.volumes[turn].map = None;
        let tombstone = self.stores.root(&name).tombstone(RequestId([7; 32]));
        self.stores.replace(&name, &tombstone.encode());
        let state = self.begin_as(which, id, &name);
        let volume = &mut self.volumes[turn];
        (volume.now, volume.safe) = (state.clone(), state);
    }

    fn begin_as(&mut self, which: usize, id: u64, name: &str) -> State {
        let (snapshot, state) = self.snapshots[which % self.snapshots.len()].clone();
        let mut new = world::new_volume(id, state.size);
        new.replaces = self.stores.read(name).map(|_| self.stores.root(name));
        let parent = ObjectName::new(snapshot.as_str()).expect("a name");
        let root = self.stores.root(&snapshot).clone_as(new, &parent).expect("a snapshot");
        self.stores.replace(name, &root.encode());
        state
    }

    fn resize(&mut self, size: u64, cut: Cut) {
        self.change(|stores, volume, map| {
            world::resize(stores, map, size);
            let plan = map.checkpoint(Purpose::Continue, RequestId([8; 32])).expect("a session");
            let written = carry_out(stores, &volume.name, &plan, cut);
            if plan.seal.is_some() && cut != Cut::BeforeSeal {
                volume.safe = volume.now.clone();
            }
            if written {
                volume.now.cut_off(size);
                volume.safe = volume.now.clone();
            }
            map.done();
            cut == Cut::Never
        });
    }

    fn kill_twice(&mut self, second: bool, cut: Cut) {
        let (boot, turn) = (self.boot(), self.turn % self.volumes.len());
        let volume = &mut self.volumes[turn];
        volume.map = None;
        let mut map = self.stores.open(&volume.name, boot);
        let was_unclean = map.root().state == RootState::Changing;
        let plan = map.begin(boot, RequestId([2; 32])).expect("a volume");
        if second {
            carry_out(&mut self.stores, &volume.name, &plan, Cut::Never);
            map.done();
            let plan = map.checkpoint(Purpose::Continue, RequestId([3; 32])).expect("a session");
            if carry_out(&mut self.stores, &volume.name, &plan, cut) && was_unclean {
                volume.safe = volume.now.clone();
            }
        } else {
            carry_out(&mut self.stores, &volume.name, &plan, cut);
        }
        self.stores.check_collectable(&volume.name, &volume.now.names);
    }

    fn lose_power(&mut self, torn: usize) {
        self.boot += 1;
        self.stores.lose_power(torn);
        for volume in &mut self.volumes {
            volume.map = None;
            volume.now = volume.safe.clone();
        }
    }

    fn check(&mut self) {
        let boot = self.boot();
        for volume in &mut self.volumes {
            if let Some(map) = &mut volume.map {
                assert_eq!(map.size(), volume.now.size);
                map.tree.check_counts();
                assert_eq!(self.stores.names(map), volume.now.names, "{} as it is open", volume.name);
            }
            self.stores.check_collectable(&volume.name, &volume.now.names);
            let mut map = self.stores.open(&volume.name, boot);
            assert_eq!(map.size(), volume.now.size);
            assert_eq!(self.stores.names(&mut map), volume.now.names, "{} as it is at rest", volume.name);
        }
        for pair in self.snapshots.windows(2) {
            let roots = [&pair[0], &pair[1]].map(|(name, _)| self.stores.root(name));
            let differ = self.stores.compare(&roots[0], &roots[1]);
            assert_eq!(differ, differing(&pair[0].1.names, &pair[1].1.names));
        }
        for (name, state) in &self.snapshots {
            let mut map = self.stores.open(name, boot);
            assert_eq!(map.size(), state.size);
            assert_eq!(self.stores.names(&mut map), state.names, "{name}");
        }
    }
}

fn differing(left: &Names, right: &Names) -> Vec<u64> {
    let all: BTreeSet<u64> = left.keys().chain(right.keys()).copied().collect();
    all.into_iter().filter(|index| left.get(index) != right.get(index)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_map_is_the_table_it_stands_for(ops in prop::collection::vec(ops(), 1..60)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        world.check();
        // What was never synced is lost to the last byte, and nothing else.
        world.lose_power(0);
        world.check();
        for op in &ops {
            world.run(op);
        }
        world.check();
    }
}
