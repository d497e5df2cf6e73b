//! Partial blocks: what of them is at rest, and what keeps their objects.

use super::world::{Stores, begin, checkpoint, flush_log, punch, write};
use crate::{BlockIndex, BootId, Map, ParsedName, Partial, Purpose, RequestId, VolumeError, Writability};

const VOLUME: &str = "volume";
const BOOT: BootId = BootId([7; 16]);
const LATER: BootId = BootId([8; 16]);
const BLOCK: BlockIndex = BlockIndex(3);

/// A volume whose block 3 a snapshot shares, in the middle of a session; and that block's object.
fn shared() -> (Stores, Map, String) {
    let mut stores = Stores::default();
    stores.create(VOLUME, 5, 256 * 8);
    let mut map = stores.open(VOLUME, BOOT);
    begin(&mut stores, VOLUME, &mut map, BOOT);
    let base = write(&mut stores, &mut map, BLOCK.0);
    checkpoint(&mut stores, VOLUME, &mut map, Purpose::Share);
    (stores, map, base)
}

fn make_partial(stores: &mut Stores, map: &mut Map) -> Partial {
    stores.load_all(map, 3..4);
    let partial = map.make_partial(BLOCK).expect("a shared block");
    flush_log(stores, map);
    partial
}

fn entry(stores: &Stores, map: &mut Map) -> String {
    stores.load_all(map, 3..4);
    map.entry(BLOCK).expect("loaded").object_name(BLOCK).expect("no hole").to_string()
}

#[test]
fn a_partial_block_is_known_from_the_log_and_the_tree_names_its_base() {
    let (mut stores, mut map, base) = shared();
    let partial = make_partial(&mut stores, &mut map);
    assert_ne!(partial.name.to_string(), base);
    assert_eq!(map.make_partial(BLOCK), Ok(partial.clone()), "once is enough");
    assert_eq!(map.allocate(BLOCK).unwrap_err(), VolumeError::Busy(BLOCK));
    let mut again = stores.open(VOLUME, BOOT);
    assert_eq!(again.partials(), [partial]);
    assert_eq!(entry(&stores, &mut again), base);
}

#[test]
fn what_no_commit_vouches_for_goes_with_the_power() {
    let (mut stores, mut map, base) = shared();
    make_partial(&mut stores, &mut map);
    stores.lose_power(0);
    let mut again = stores.open(VOLUME, LATER);
    assert!(!again.has_partial());
    assert_eq!(entry(&stores, &mut again), base);
}

#[test]
fn a_checkpoint_carries_what_is_partial_and_a_collector_leaves_it_alone() {
    let (mut stores, mut map, base) = shared();
    let partial = make_partial(&mut stores, &mut map);
    checkpoint(&mut stores, VOLUME, &mut map, Purpose::Continue);
    punch(&mut stores, &mut map, 5..6);
    checkpoint(&mut stores, VOLUME, &mut map, Purpose::Continue);
    stores.lose_power(0);
    let mut again = stores.open(VOLUME, LATER);
    assert_eq!(again.partials(), std::slice::from_ref(&partial));
    assert_eq!(entry(&stores, &mut again), base);
    begin(&mut stores, VOLUME, &mut again, LATER);
    let root = stores.root(VOLUME);
    assert!(root.generation.0 > partial.written_at.0, "after a bad end names begin far beyond");
    assert!(root.protects(&ParsedName::parse(partial.name.as_str())));
    stores.lose_power(0);
    assert_eq!(stores.open(VOLUME, BOOT).partials(), [partial]);
}

#[test]
fn a_block_that_is_complete_is_one_like_others() {
    let (mut stores, mut map, _) = shared();
    let partial = make_partial(&mut stores, &mut map);
    assert_eq!(map.complete(&partial), Ok(true));
    assert_eq!(map.complete(&partial), Ok(false));
    flush_log(&mut stores, &mut map);
    let mut again = stores.open(VOLUME, BOOT);
    assert!(!again.has_partial());
    stores.load_all(&mut again, 3..4);
    assert_eq!(again.writability(BLOCK), Ok(Writability::Writable(partial.name)));
}

#[test]
fn a_snapshot_and_an_end_wait_until_nothing_is_partial() {
    let (mut stores, mut map, _) = shared();
    let partial = make_partial(&mut stores, &mut map);
    for purpose in [Purpose::Share, Purpose::Close] {
        assert!(map.checkpoint(purpose, RequestId::default()).is_err());
    }
    assert_eq!(map.complete(&partial), Ok(true));
    checkpoint(&mut stores, VOLUME, &mut map, Purpose::Share);
    assert_eq!(stores.root(VOLUME).partial_since.0, 0);
}

#[test]
fn a_punch_takes_a_partial_block_and_gives_its_object_back() {
    let (mut stores, mut map, _) = shared();
    let partial = make_partial(&mut stores, &mut map);
    punch(&mut stores, &mut map, 2..5);
    assert!(!map.has_partial());
    let plan = map.checkpoint(Purpose::Continue, RequestId::default()).expect("a session");
    assert_eq!(plan.block_deletes, [partial.name]);
}
