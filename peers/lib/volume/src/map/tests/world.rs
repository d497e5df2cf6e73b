//! Two stores in memory, one of which forgets what was not synced, and a mapper in a few lines.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Allocation, BlockIndex, BootId, Compare, LogAppend, Map, NewVolume, ObjectName, ParsedName, Plan,
    Purpose, RequestId, Root, Step, VolumeError, VolumeId, Walk, Wanted, Writability,
};

pub(super) const BLOCK: u32 = 256;

/// Where the blocks of a volume are, by name; holes are not in it.
pub(super) type Names = BTreeMap<u64, String>;

#[derive(Debug, Default, Clone)]
struct Object {
    bytes: Vec<u8>,
    /// How many of them survive a loss of power.
    durable: usize,
}

/// The map store, and the names of blocks that exist.
#[derive(Debug, Default)]
pub(super) struct Stores {
    objects: BTreeMap<String, Object>,
    blocks: BTreeSet<String>,
    /// Every name that was ever given to a block or a node.
    given: BTreeSet<String>,
    /// Every name that a plan ever said to delete: that may happen late.
    deleted: BTreeSet<String>,
}

impl Stores {
    pub(super) fn read(&self, name: &str) -> Option<&[u8]> {
        self.objects.get(name).map(|object| object.bytes.as_slice())
    }

    pub(super) fn replace(&mut self, name: &str, bytes: &[u8]) {
        self.objects.insert(name.to_owned(), Object { bytes: bytes.to_vec(), durable: bytes.len() });
    }

    pub(super) fn write_new(&mut self, name: &ObjectName, bytes: &[u8]) {
        assert!(self.given.insert(name.to_string()), "{name} is written twice");
        self.replace(name.as_str(), bytes);
    }

    pub(super) fn append(&mut self, append: &LogAppend) {
        assert!(!self.deleted.contains(append.name.as_str()), "{} was deleted", append.name);
        let object = self.objects.entry(append.name.to_string()).or_default();
        assert_eq!(object.bytes.len() as u64, append.offset, "{} is written in order", append.name);
        object.bytes.extend_from_slice(&append.bytes);
        if append.durable {
            object.durable = object.bytes.len();
        }
    }

    pub(super) fn name_block(&mut self, allocation: &Allocation) {
        let name = allocation.name.to_string();
        assert!(self.given.insert(name.clone()), "{name} is given twice");
        if let Some(source) = &allocation.source {
            assert!(self.blocks.contains(source.as_str()), "{source} is gone");
        }
        self.blocks.insert(name);
    }

    pub(super) fn delete(&mut self, plan: &Plan) {
        self.deleted.extend(plan.map_deletes.iter().map(ObjectName::to_string));
        for name in &plan.map_deletes {
            self.objects.remove(name.as_str());
        }
        for name in &plan.block_deletes {
            self.blocks.remove(name.as_str());
        }
    }

    /// Of what was not synced, `torn` bytes remain of each object.
    pub(super) fn lose_power(&mut self, torn: usize) {
        for object in self.objects.values_mut() {
            let kept = object.bytes.len().min(object.durable + torn);
            object.bytes.truncate(kept);
            object.durable = kept;
        }
        self.objects.retain(|_, object| !object.bytes.is_empty());
    }

    pub(super) fn fetch(&self, wanted: &Wanted) -> Vec<u8> {
        let name = &wanted.reads[0].name;
        self.read(name.as_str()).unwrap_or_else(|| panic!("{name} is gone")).to_vec()
    }

    pub(super) fn root(&self, name: &str) -> Root {
        Root::decode(self.read(name).expect("a root")).expect("a whole root")
    }

    /// Opens a volume as a mapper does, logs and all.
    pub(super) fn open(&self, name: &str, boot: BootId) -> Map {
        let root = self.root(name);
        let mut logs = root.logs(boot);
        while let Some(log) = logs.wanted() {
            match self.read(log.as_str()) {
                Some(bytes) => logs.add(bytes).expect("a whole log"),
                None => logs.end(),
            }
        }
        let is_changing = root.state == crate::RootState::Changing;
        let mut map = Map::open(root);
        if is_changing {
            while let Some(wanted) = map.wanted_for_replay(&logs).first().cloned() {
                map.load(&wanted.key, &self.fetch(&wanted)).expect("a whole node");
            }
            map.replay(&logs).expect("a log of this volume");
        }
        map
    }

    pub(super) fn load_all(&self, map: &mut Map, range: std::ops::Range<u64>) {
        let range = BlockIndex(range.start)..BlockIndex(range.end);
        loop {
            let wanted = map.wanted(&range);
            if wanted.is_empty() {
                return;
            }
            for wanted in wanted {
                map.load(&wanted.key, &self.fetch(&wanted)).expect("a whole node");
            }
        }
    }

    /// All blocks of a map, each of which must exist.
    pub(super) fn names(&self, map: &mut Map) -> Names {
        let mut names = Names::new();
        let mut at = BlockIndex(0);
        loop {
            match map.next_data(at) {
                Ok(None) => return names,
                Ok(Some(index)) => {
                    let entry = map.entry(index).expect("loaded");
                    let name = entry.object_name(index).expect("no hole").to_string();
                    assert!(self.blocks.contains(&name), "{name} is gone");
                    names.insert(index.0, name);
                    at = BlockIndex(index.0 + 1);
                }
                Err(VolumeError::NotLoaded(key)) => {
                    let wanted = map.wanted(&key.blocks());
                    let wanted = wanted.first().expect("the node");
                    map.load(&wanted.key, &self.fetch(wanted)).expect("a whole node");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// The blocks that differ.
    pub(super) fn compare(&self, left: &Root, right: &Root) -> Vec<u64> {
        let mut compare = Compare::new(left, right);
        let mut found: Vec<u64> = Vec::new();
        loop {
            match compare.step() {
                Step::Done => return found,
                Step::Differ(range) => {
                    assert!(found.last().is_none_or(|&last| last + 1 < range.start.0), "ranges never touch");
                    found.extend(range.start.0..range.end.0);
                }
                Step::Load(keys) => {
                    for key in keys {
                        let name = key.name().expect("a node of ours");
                        compare.load(&key, self.read(name.as_str()).expect("the node")).expect("whole");
                    }
                }
            }
        }
    }

    /// What a collector finds from one root.
    fn reachable(&self, root: &Root) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut walk = Walk::new(root);
        let mut last = None;
        while let Some(key) = walk.next_node() {
            let name = key.name().expect("a node of ours");
            let leaf = walk.load(self.read(name.as_str()).expect("the node")).expect("a whole node");
            found.insert(name.to_string());
            if leaf.is_some() {
                assert!(last.is_none_or(|last| last < key.index), "leaves come in order");
                last = Some(key.index);
            }
            for block in leaf.iter().flat_map(|leaf| leaf.object_names()) {
                found.insert(block.to_string());
            }
        }
        found
    }

    /// A collector that reads only what is at rest must not take what an open map uses.
    pub(super) fn check_collectable(&self, root_name: &str, names: &Names) {
        let root = self.root(root_name);
        let reachable = self.reachable(&root);
        for name in names.values() {
            let kept = reachable.contains(name) || root.protects(&ParsedName::parse(name));
            assert!(kept, "a collector would take {name}");
        }
    }

    pub(super) fn create(&mut self, name: &str, id: u64, size: u64) -> Root {
        let root = Root::blank(new_volume(id, size), BLOCK).expect("a size that can be");
        self.replace(name, &root.encode());
        root
    }
}

pub(super) fn new_volume(id: u64, size: u64) -> NewVolume {
    NewVolume { id: VolumeId(id), size, created_by: RequestId([1; 32]), created_unix_ms: 1, replaces: None }
}

/// How far a plan is carried out before the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    BeforeSeal,
    AfterSeal,
    /// After this many nodes.
    AfterNodes(usize),
    AfterRoot,
    Never,
}

/// Carries a plan out, up to `cut`; says whether its root was written.
pub(super) fn carry_out(stores: &mut Stores, name: &str, plan: &Plan, cut: Cut) -> bool {
    if cut == Cut::BeforeSeal {
        return false;
    }
    if let Some(seal) = &plan.seal {
        stores.append(seal);
    }
    if cut == Cut::AfterSeal {
        return false;
    }
    if let Some(carried) = &plan.carried {
        stores.replace(carried.name.as_str(), &carried.bytes);
    }
    for (done, write) in plan.writes.iter().enumerate() {
        if cut == Cut::AfterNodes(done) {
            return false;
        }
        stores.write_new(&write.name, &write.bytes);
    }
    if matches!(cut, Cut::AfterNodes(_)) {
        return false;
    }
    stores.replace(name, &plan.root);
    if cut == Cut::Never {
        stores.delete(plan);
    }
    true
}

/// Begins a session; after a bad end that takes a checkpoint.
pub(super) fn begin(stores: &mut Stores, name: &str, map: &mut Map, boot: BootId) {
    let plan = map.begin(boot, RequestId([2; 32])).expect("a volume");
    carry_out(stores, name, &plan, Cut::Never);
    map.done();
    if map.needs_checkpoint() {
        checkpoint(stores, name, map, Purpose::Continue);
    }
}

pub(super) fn checkpoint(stores: &mut Stores, name: &str, map: &mut Map, purpose: Purpose) {
    let plan = map.checkpoint(purpose, RequestId([3; 32])).expect("a session");
    carry_out(stores, name, &plan, Cut::Never);
    map.done();
}

/// Writes to a block as a mapper has it done; gives the object.
pub(super) fn write(stores: &mut Stores, map: &mut Map, index: u64) -> String {
    let name = set(stores, map, index);
    flush_log(stores, map);
    name
}

/// As `write`, but the log's bytes are still to be taken.
pub(super) fn set(stores: &mut Stores, map: &mut Map, index: u64) -> String {
    stores.load_all(map, index..index + 1);
    if let Ok(Writability::Writable(name)) = map.writability(BlockIndex(index)) {
        return name.into();
    }
    let allocation = map.allocate(BlockIndex(index)).expect("loaded and not writable");
    stores.name_block(&allocation);
    map.set(&allocation).expect("nothing came between");
    allocation.name.into()
}

pub(super) fn flush_log(stores: &mut Stores, map: &mut Map) {
    if let Some(append) = map.take_log() {
        stores.append(&append);
    }
}

pub(super) fn punch(stores: &mut Stores, map: &mut Map, range: std::ops::Range<u64>) {
    let range = BlockIndex(range.start)..BlockIndex(range.end);
    while let Some(wanted) = map.wanted_for_punch(&range).first().cloned() {
        map.load(&wanted.key, &stores.fetch(&wanted)).expect("a whole node");
    }
    map.punch(&range).expect("a session");
    flush_log(stores, map);
}

pub(super) fn resize(stores: &mut Stores, map: &mut Map, size: u64) {
    while let Some(wanted) = map.wanted_for_resize(size).first().cloned() {
        map.load(&wanted.key, &stores.fetch(&wanted)).expect("a whole node");
    }
    map.resize(size).expect("a session");
}
