//! What a session allows, and when.

use super::world::{self, BLOCK, Cut, Stores, carry_out};
use crate::{
    BlockIndex, BootId, DIRTY_LIMIT, Entry, LOG_LIMIT, Map, ObjectName, ParsedName, Purpose, RequestId, Root,
    RootState, SIZE_MAX, Tail, VolumeError, Writability,
};

const BOOT: BootId = BootId([1; 16]);
const CAUSE: RequestId = RequestId([9; 32]);
const NAME: &str = "volume-0";

fn at(index: u64) -> BlockIndex {
    BlockIndex(index)
}

/// A volume of `blocks` blocks in a session.
fn session(blocks: u64) -> (Stores, Map) {
    let mut stores = Stores::default();
    let mut map = Map::open(stores.create(NAME, 1, blocks * u64::from(BLOCK)));
    world::begin(&mut stores, NAME, &mut map, BOOT);
    (stores, map)
}

fn snapshot(stores: &mut Stores, map: &mut Map, name: &str) -> Root {
    world::checkpoint(stores, NAME, map, Purpose::Share);
    let parent = ObjectName::new(NAME).expect("a name");
    let root = map.root().snapshot(&parent, CAUSE, 1).expect("shared");
    stores.replace(name, &root.encode());
    root
}

fn state_reason<T>(result: Result<T, VolumeError>) -> &'static str {
    match result {
        Err(VolumeError::State { reason, .. }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is allowed"),
    }
}

#[test]
fn the_largest_volume_opens_with_nothing_loaded() {
    let mut stores = Stores::default();
    let mut map = Map::open(stores.create(NAME, 1, SIZE_MAX));
    assert_eq!((map.loaded_nodes(), map.block_count()), (0, 1 << 55));
    world::begin(&mut stores, NAME, &mut map, BOOT);
    let last = map.block_count() - 1;
    let name = world::write(&mut stores, &mut map, last);
    assert_eq!(map.loaded_nodes(), 7);
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Close);
    let mut again = stores.open(NAME, BOOT);
    assert_eq!(again.loaded_nodes(), 0);
    assert_eq!(stores.names(&mut again), [(last, name)].into());
}

#[test]
fn a_tree_grows_when_a_block_needs_it() {
    let (mut stores, mut map) = session(1 << 40);
    let near = world::write(&mut stores, &mut map, 5);
    assert_eq!(map.loaded_nodes(), 1);
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    assert_eq!(map.root().height, 1);
    let far = world::write(&mut stores, &mut map, 1 << 30);
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    assert_eq!(map.root().height, 4);
    assert_eq!(stores.names(&mut map), [(5, near), (1 << 30, far)].into());
}

#[test]
fn a_whole_volume_is_punched_without_reading_its_leaves() {
    let (mut stores, mut map) = session(1 << 50);
    for index in [0, 600, 1 << 49] {
        world::write(&mut stores, &mut map, index);
    }
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Close);
    let mut map = stores.open(NAME, BOOT);
    world::begin(&mut stores, NAME, &mut map, BOOT);
    let all = at(0)..at(map.block_count());
    while let Some(wanted) = map.wanted_for_punch(&all).first().cloned() {
        assert!(wanted.key.level > 0, "{} is wanted", wanted.key);
        map.load(&wanted.key, &stores.fetch(&wanted)).expect("whole");
    }
    assert_eq!(map.punch(&all), Ok(true));
    assert_eq!(map.punch(&all), Ok(false));
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Close);
    assert_eq!((map.root().height, map.root().top), (0, None));
    assert_eq!(stores.names(&mut map), [].into());
}

#[test]
fn nothing_changes_before_a_session_or_in_a_snapshot() {
    let mut stores = Stores::default();
    let mut map = Map::open(stores.create(NAME, 1, 1 << 20));
    assert_eq!(state_reason(map.allocate(at(0))), "no session has begun");
    let plan = map.begin(BOOT, CAUSE).expect("a volume");
    assert_eq!(state_reason(map.allocate(at(0))), "no session has begun");
    carry_out(&mut stores, NAME, &plan, Cut::Never);
    map.done();
    assert!(map.allocate(at(0)).is_ok());
    assert!(map.begin(BOOT, CAUSE).is_err());

    let mut frozen = Map::open(snapshot(&mut stores, &mut map, "snapshot-0"));
    assert_eq!(frozen.begin(BOOT, CAUSE), Err(VolumeError::ReadOnly));
    assert_eq!(frozen.allocate(at(0)), Err(VolumeError::ReadOnly));
    let mut gone = Map::open(map.root().tombstone(CAUSE));
    assert!(gone.begin(BOOT, CAUSE).is_err());
}

#[test]
fn a_block_is_allocated_once_at_a_time() {
    let (_, mut map) = session(1000);
    let first = map.allocate(at(7)).expect("a hole");
    assert_eq!(first.source, None);
    assert_eq!(map.allocate(at(7)), Err(VolumeError::Busy(at(7))));
    assert_eq!(map.allocate(at(1000)), Err(VolumeError::OutOfRange { index: at(1000), count: 1000 }));
    map.abandon(&first).expect("room");
    let second = map.allocate(at(7)).expect("a hole");
    assert_ne!(first.name, second.name);
    assert_eq!(map.set(&first), Err(VolumeError::Overtaken(at(7))));
    map.set(&second).expect("allocated");
    assert_eq!(map.allocate(at(7)), Err(VolumeError::Writable(at(7))));
    assert_eq!(map.writability(at(7)), Ok(Writability::Writable(second.name)));
}

#[test]
fn a_punch_a_snapshot_and_a_shrink_overtake_allocations() {
    let (mut stores, mut map) = session(1000);
    let punched = map.allocate(at(7)).expect("a hole");
    assert_eq!(map.punch(&(at(0)..at(10))), Ok(true));
    assert_eq!(map.set(&punched), Err(VolumeError::Overtaken(at(7))));
    let frozen = map.allocate(at(7)).expect("a hole");
    assert_ne!(frozen.name, punched.name);
    snapshot(&mut stores, &mut map, "snapshot-0");
    assert_eq!(map.set(&frozen), Err(VolumeError::Overtaken(at(7))));
    assert_ne!(map.allocate(at(7)).expect("a hole").name, frozen.name);
    let beyond = map.allocate(at(999)).expect("a hole");
    for size in [999, 1000] {
        map.resize(size * u64::from(BLOCK)).expect("a session");
        world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    }
    assert_eq!(map.set(&beyond), Err(VolumeError::Overtaken(at(999))));
}

#[test]
fn a_shared_block_is_copied_once() {
    let (mut stores, mut map) = session(1000);
    let old = world::write(&mut stores, &mut map, 3);
    let frozen = snapshot(&mut stores, &mut map, "snapshot-0");
    let copy = map.allocate(at(3)).expect("shared");
    assert_eq!(copy.source.as_ref().map(ObjectName::as_str), Some(old.as_str()));
    map.set(&copy).expect("allocated");
    assert_eq!(map.writability(at(3)), Ok(Writability::Writable(copy.name)));
    assert_eq!(stores.names(&mut Map::open(frozen)), [(3, old)].into());
}

#[test]
fn a_collector_leaves_alone_what_is_being_allocated() {
    let (mut stores, mut map) = session(1000);
    let slow = map.allocate(at(7)).expect("a hole");
    world::write(&mut stores, &mut map, 8);
    for _ in 0..3 {
        world::punch(&mut stores, &mut map, 8..9);
        world::write(&mut stores, &mut map, 8);
        world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
        assert!(stores.root(NAME).protects(&ParsedName::parse(slow.name.as_str())));
    }
    assert_eq!(state_reason(map.checkpoint(Purpose::Close, CAUSE)), "blocks are being allocated");
    map.set(&slow).expect("nothing came between");
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Close);
    assert!(!stores.root(NAME).protects(&ParsedName::parse(slow.name.as_str())));
}

#[test]
fn replaced_nodes_are_deleted_unless_a_snapshot_sees_them() {
    let (mut stores, mut map) = session(1000);
    let mut deletes = |index: Option<u64>, purpose| {
        if let Some(index) = index {
            world::write(&mut stores, &mut map, index);
        }
        let plan = map.checkpoint(purpose, CAUSE).expect("a session");
        carry_out(&mut stores, NAME, &plan, Cut::Never);
        map.done();
        plan.map_deletes.iter().map(ObjectName::to_string).collect::<Vec<_>>()
    };
    let [log, node] = ["l.0000000000000001", "n.0000000000000001"];
    assert_eq!(deletes(Some(0), Purpose::Continue), [format!("{log}.0000000000000001")]);
    let leaf = format!("{node}.0000000000000001.00.0000000000000000");
    assert_eq!(deletes(Some(1), Purpose::Share), [format!("{log}.0000000000000002"), leaf]);
    assert_eq!(deletes(Some(2), Purpose::Continue), [format!("{log}.0000000000000003")]);
    assert_eq!(deletes(None, Purpose::Close), [""; 0]);
}

#[test]
fn punched_blocks_are_deleted_unless_a_snapshot_sees_them() {
    let (mut stores, mut map) = session(1000);
    let shared = world::write(&mut stores, &mut map, 1);
    snapshot(&mut stores, &mut map, "snapshot-0");
    let own = world::write(&mut stores, &mut map, 2);
    world::punch(&mut stores, &mut map, 0..10);
    let plan = map.checkpoint(Purpose::Close, CAUSE).expect("a session");
    let deletes: Vec<String> = plan.block_deletes.into_iter().map(String::from).collect();
    assert_eq!(deletes, [own]);
    assert!(!deletes.contains(&shared));
}

#[test]
fn a_checkpoint_is_due_before_a_log_or_memory_grows_without_end() {
    let (mut stores, mut map) = session(1 << 40);
    for leaf in 0..DIRTY_LIMIT as u64 {
        assert!(!map.needs_checkpoint());
        world::write(&mut stores, &mut map, leaf * 512);
    }
    assert!(map.needs_checkpoint());
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    assert!(!map.needs_checkpoint());
    stores.load_all(&mut map, 1 << 30..(1 << 30) + 1);
    for change in 0..2 * LOG_LIMIT {
        assert_eq!(map.needs_checkpoint(), change >= LOG_LIMIT);
        let allocation = map.allocate(at(1 << 30 | change)).expect("a hole");
        map.set(&allocation).expect("allocated");
    }
    assert_eq!(state_reason(map.allocate(at(5))), "a checkpoint is overdue");
    world::flush_log(&mut stores, &mut map);
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    assert!(map.allocate(at(5)).is_ok());
}

#[test]
fn memory_is_bounded_by_evicting_clean_nodes() {
    let (mut stores, mut map) = session(1 << 40);
    for leaf in 0..100 {
        world::write(&mut stores, &mut map, leaf * 512);
    }
    map.evict(10);
    assert_eq!(map.loaded_nodes(), 101, "changed nodes stay");
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    stores.load_all(&mut map, 0..1);
    map.evict(10);
    assert_eq!(map.loaded_nodes(), 10);
    assert!(map.entry(at(0)).is_ok(), "what was used last stays");
    let slow = map.allocate(at(1)).expect("a hole");
    map.evict(0);
    assert!(matches!(map.set(&slow), Err(VolumeError::NotLoaded(_))));
    stores.load_all(&mut map, 1..2);
    map.set(&slow).expect("loaded again");
}

#[test]
fn what_lies_beyond_the_end_is_zeroed_first() {
    let (mut stores, mut map) = session(4);
    let block = u64::from(BLOCK);
    assert_eq!(map.tail_of_resize(block + 10), Ok(None), "a hole reads zeros");
    assert_eq!(map.tail_of_resize(2 * block), Ok(None));
    let name = world::write(&mut stores, &mut map, 1);
    let name = ObjectName::new(name).expect("a name");
    let tail = |access| Ok(Some(Tail { index: at(1), range: 10..block, access }));
    assert_eq!(map.tail_of_resize(block + 10), tail(Writability::Writable(name.clone())));
    snapshot(&mut stores, &mut map, "snapshot-0");
    assert_eq!(map.tail_of_resize(block + 10), tail(Writability::Shared(name.clone())));
    world::resize(&mut stores, &mut map, block + 10);
    assert_eq!(state_reason(map.allocate(at(0))), "the new size must be checkpointed first");
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    assert_eq!(map.block_count(), 2);
    assert_eq!(map.tail_of_resize(3 * block), tail(Writability::Shared(name)));
    assert!(matches!(map.tail_of_resize(0), Err(VolumeError::Size { .. })));
}

#[test]
fn shrinking_drops_blocks_for_good() {
    let (mut stores, mut map) = session(2000);
    let kept = world::write(&mut stores, &mut map, 3);
    let dropped = world::write(&mut stores, &mut map, 1999);
    world::resize(&mut stores, &mut map, 1999 * u64::from(BLOCK));
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    world::resize(&mut stores, &mut map, 2000 * u64::from(BLOCK));
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    assert_eq!(stores.names(&mut map), [(3, kept)].into());
    assert_ne!(world::write(&mut stores, &mut map, 1999), dropped);
}

#[test]
fn a_map_is_built_from_a_list_of_blocks() {
    let mut stores = Stores::default();
    let mut map = Map::build(Root::blank(world::new_volume(1, 1000), BLOCK).expect("a volume"));
    let image = ObjectName::new(crate::ZERO_BLOCK).expect("a name");
    map.fill(at(0), &image, false).expect("building");
    map.fill(at(1), &image, true).expect("building");
    assert!(map.fill(at(4), &image, true).is_err());
    assert!(map.needs_checkpoint());
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Close);
    assert!(map.fill(at(0), &image, true).is_err());

    let mut map = stores.open(NAME, BOOT);
    world::begin(&mut stores, NAME, &mut map, BOOT);
    stores.load_all(&mut map, 0..4);
    assert_eq!(map.writability(at(0)), Ok(Writability::Shared(image.clone())));
    assert_eq!(map.writability(at(1)), Ok(Writability::Writable(image.clone())));
    assert_eq!(map.entry(at(2)), Ok(Entry::Hole));
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Share);
    assert_eq!(map.writability(at(1)), Ok(Writability::Shared(image)));
}

#[test]
fn a_log_is_replayed_whole_once_and_on_loaded_nodes() {
    let (mut stores, mut map) = session(1000);
    world::write(&mut stores, &mut map, 0);
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    let name = world::write(&mut stores, &mut map, 1);
    let root = stores.root(NAME);
    let mut logs = root.logs(BOOT);
    let mut again = Map::open(root);
    assert_eq!(state_reason(again.begin(BOOT, CAUSE)), "its logs must be replayed first");
    assert_eq!(state_reason(again.replay(&logs)), "there may be more logs");
    let log = logs.wanted().expect("a log");
    logs.add(stores.read(log.as_str()).expect("written")).expect("whole");
    logs.end();
    assert!(matches!(again.replay(&logs), Err(VolumeError::NotLoaded(_))));
    stores.load_all(&mut again, 0..1);
    again.replay(&logs).expect("loaded");
    assert_eq!(again.entry(at(1)).map(|entry| entry.object_name(at(1))), Ok(ObjectName::new(name)));
    assert_eq!(state_reason(again.replay(&logs)), "it was replayed");
}

#[test]
fn a_replay_that_lacked_a_node_has_done_nothing() {
    let (mut stores, mut map) = session(1000);
    world::write(&mut stores, &mut map, 0);
    world::write(&mut stores, &mut map, 600);
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Continue);
    world::punch(&mut stores, &mut map, 0..1);
    let last = world::write(&mut stores, &mut map, 0);
    world::write(&mut stores, &mut map, 601);
    let root = stores.root(NAME);
    let mut logs = root.logs(BOOT);
    let log = logs.wanted().expect("a log");
    logs.add(stores.read(log.as_str()).expect("written")).expect("whole");
    logs.end();
    let mut again = Map::open(root);
    stores.load_all(&mut again, 0..1);
    assert!(matches!(again.replay(&logs), Err(VolumeError::NotLoaded(_))));
    stores.load_all(&mut again, 0..1000);
    again.replay(&logs).expect("loaded");
    world::begin(&mut stores, NAME, &mut again, BOOT);
    assert_eq!(stores.names(&mut again).get(&0), Some(&last));
}

#[test]
fn a_root_remembers_what_was_asked_for_not_what_was_not() {
    let (mut stores, mut map) = session(1000);
    let plan = map.checkpoint(Purpose::Share, CAUSE).expect("a session");
    carry_out(&mut stores, NAME, &plan, Cut::Never);
    map.done();
    let plan = map.checkpoint(Purpose::Close, RequestId::default()).expect("a session");
    carry_out(&mut stores, NAME, &plan, Cut::Never);
    map.done();
    assert_eq!(stores.root(NAME).last_request, CAUSE);
}

#[test]
fn a_session_that_ended_badly_is_checkpointed_first() {
    let (mut stores, mut map) = session(1000);
    world::write(&mut stores, &mut map, 0);
    let mut again = stores.open(NAME, BOOT);
    let plan = again.begin(BOOT, CAUSE).expect("replayed");
    carry_out(&mut stores, NAME, &plan, Cut::Never);
    again.done();
    assert!(again.needs_checkpoint());
    assert_eq!(state_reason(again.allocate(at(1))), "what was replayed must be checkpointed first");
    world::checkpoint(&mut stores, NAME, &mut again, Purpose::Close);
    assert_eq!(again.root().state, RootState::Clean);
    assert_eq!(stores.names(&mut again).len(), 1);
}

#[test]
fn nodes_that_came_too_late_are_ignored() {
    let (mut stores, mut map) = session(1000);
    world::write(&mut stores, &mut map, 0);
    world::checkpoint(&mut stores, NAME, &mut map, Purpose::Close);
    let mut map = stores.open(NAME, BOOT);
    world::begin(&mut stores, NAME, &mut map, BOOT);
    let wanted = map.wanted(&(at(0)..at(1)))[0].clone();
    let bytes = stores.fetch(&wanted);
    assert_eq!(map.punch(&(at(0)..at(10))), Err(VolumeError::NotLoaded(wanted.key)));
    assert_eq!(map.punch(&(at(0)..at(512))), Ok(true));
    map.load(&wanted.key, &bytes).expect("whole");
    assert_eq!(map.entry(at(0)), Ok(Entry::Hole));
}
