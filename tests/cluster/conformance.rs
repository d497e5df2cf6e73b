//! Every claim of `store::conformance`, on a real cluster; and what only a store in RADOS can do wrong.

use radosd::{Config, Rados};
use store::{
    Data, ErrorKind, Fence, ObjectName, Store, StoreOperation, StoreRequest, WriteMode, conformance::run,
};
use tests::{Ceph, Disk};

use crate::{is_possible, shared};

/// A store in a namespace that no other test uses.
fn config(ceph: &Ceph, namespace: &str) -> Config {
    let ceph_conf = Some(ceph.configuration());
    Config { ceph_conf, namespace: namespace.to_owned(), ..Config::new("blocks") }
}

#[test]
fn every_claim_holds() {
    let Some(ceph) = shared("conformance::every_claim_holds") else { return };
    let config = config(&ceph, "claims");
    run(|| Rados::open(&config).unwrap());
}

#[test]
fn every_claim_holds_with_locks_in_another_pool_and_one_thread() {
    let Some(ceph) = shared("conformance::every_claim_holds_with_locks_in_another_pool_and_one_thread")
    else {
        return;
    };
    let lock_pool = Some("maps".to_owned());
    let config = Config { lock_pool, nr_threads: 1, ..config(&ceph, "claims-apart") };
    run(|| Rados::open(&config).unwrap());
}

fn fenced_write(store: &Rados, object: &ObjectName, number: u64) -> Result<(), ErrorKind> {
    let operation = StoreOperation::Write { offset: 0, mode: WriteMode::Update, is_durable: false };
    let fence = Some(Fence { lock: ObjectName::new("volume").unwrap(), number });
    let request = StoreRequest { fence, ..StoreRequest::new(object, operation) };
    store.call(request, Data::From(b"x")).map(drop).map_err(|error| error.kind)
}

#[test]
fn the_highest_number_of_a_foreign_lock_is_the_one_that_may_write() {
    let Some(ceph) = shared("conformance::the_highest_number_of_a_foreign_lock_is_the_one_that_may_write")
    else {
        return;
    };
    let config = Config { foreign_locks: true, ..config(&ceph, "foreign") };
    let (one, other) = (Rados::open(&config).unwrap(), Rados::open(&config).unwrap());
    let object = ObjectName::new("block").unwrap();
    assert_eq!(
        [3, 3, 2].map(|number| fenced_write(&one, &object, number)),
        [Ok(()), Ok(()), Err(ErrorKind::NotOwner)]
    );
    assert_eq!(fenced_write(&other, &object, 4), Ok(()));
    assert_eq!(fenced_write(&one, &object, 3), Err(ErrorKind::NotOwner));
    assert_eq!([4, 5].map(|number| fenced_write(&one, &object, number)), [Ok(()), Ok(())]);
    assert_eq!(fenced_write(&other, &object, 4), Err(ErrorKind::NotOwner));
    assert_eq!(one.acquire(&object, "a", false, false).unwrap_err().kind, ErrorKind::Unsupported);
}

#[test]
fn names_of_objects_are_those_of_rados() {
    let Some(ceph) = shared("conformance::names_of_objects_are_those_of_rados") else { return };
    let store = Rados::open(&config(&ceph, "names")).unwrap();
    store.write(&ObjectName::new("goldvol1_0000000000000001").unwrap(), 0, b"block").unwrap();
    store.acquire(&ObjectName::new("goldvol1").unwrap(), "node", false, false).unwrap();
    let listed = ceph.rados(&["-p", "blocks", "-N", "names", "ls"]).done();
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["%lgoldvol1", "goldvol1_0000000000000001"]);
}

#[test]
fn a_damaged_lock_is_corrupt_until_it_is_broken() {
    let Some(ceph) = shared("conformance::a_damaged_lock_is_corrupt_until_it_is_broken") else { return };
    let store = Rados::open(&config(&ceph, "damaged")).unwrap();
    let lock = ObjectName::new("volume").unwrap();
    let number = store.acquire(&lock, "a", false, false).unwrap();
    ceph.rados(&["-p", "blocks", "-N", "damaged", "truncate", "%lvolume", "50"]).done();
    for result in [store.acquire(&lock, "a", false, false), store.lock_info(&lock).map(|state| state.number)]
    {
        assert_eq!(result.unwrap_err().kind, ErrorKind::Corrupt);
    }
    store.release(&lock, "b", true).unwrap();
    assert!(store.acquire(&lock, "b", false, false).unwrap() > number);
}

#[test]
fn a_pool_that_is_not_there_is_named() {
    let Some(ceph) = shared("conformance::a_pool_that_is_not_there_is_named") else { return };
    let config = Config { pool: "nothing".into(), ..config(&ceph, "") };
    let error = Rados::open(&config).map(drop).unwrap_err().to_string();
    assert!(error.contains("pool nothing"), "{error}");
}

#[test]
fn every_claim_holds_with_three_replicas() {
    if !is_possible("conformance::every_claim_holds_with_three_replicas") {
        return;
    }
    let ceph = Ceph::start(Disk::Memory, 3);
    ceph.make_pool("blocks");
    let config = config(&ceph, "claims");
    run(|| Rados::open(&config).unwrap());
}
