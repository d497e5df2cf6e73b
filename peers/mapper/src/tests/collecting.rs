//! Collections: what nothing refers to goes, whatever happens beside.

use super::{
    memory_store::Fault,
    rig::{Caller, Rig},
};

/// Runs a collection to its end; how many objects it removed, or would.
pub(super) fn collect(caller: &mut Caller, is_dry: bool) -> u64 {
    let mut removed = 0;
    let mut resume = Vec::new();
    for _ in 0..10_000 {
        let step = caller.client.collect(&resume, is_dry).unwrap();
        removed += step.removed;
        match step.resume {
            Some(next) => resume = next,
            None => return removed,
        }
    }
    panic!("the collection does not end");
}

/// A volume with a history: snapshots, a clone, deleted ones between.
fn history(caller: &mut Caller) {
    caller.create("volume", 3000);
    for index in 0..30 {
        caller.write_durably("volume", index * 97, 1).unwrap();
    }
    caller.client.snapshot("volume", "snapshot").unwrap();
    for index in 10..20 {
        caller.write_durably("volume", index * 97, 2).unwrap();
    }
    caller.client.create("cloned", None, Some("snapshot"), None).unwrap();
    caller.write_durably("cloned", 97, 3).unwrap();
    caller.write_durably("volume", 5 * 97, 5).unwrap();
    caller.client.snapshot("volume", "deleted").unwrap();
    caller.write_durably("volume", 5 * 97, 1).unwrap();
    caller.write_durably("volume", 0, 4).unwrap();
}

fn check_history(caller: &mut Caller) {
    for index in 0..30 {
        let of_volume = match index {
            0 => 4,
            10..20 => 2,
            _ => 1,
        };
        assert_eq!(caller.read("volume", index * 97).unwrap(), of_volume);
        assert_eq!(caller.read("snapshot", index * 97).unwrap(), 1);
        assert_eq!(caller.read("cloned", index * 97).unwrap(), if index == 1 { 3 } else { 1 });
    }
}

#[test]
fn what_is_in_use_stays_and_what_a_deleted_snapshot_alone_used_goes() {
    let rig = Rig::new();
    let mut caller = rig.client();
    history(&mut caller);
    assert_eq!(collect(&mut caller, false), 0);
    caller.client.remove("deleted").unwrap();
    // Until its next checkpoint the volume's own root shows what the deleted snapshot showed.
    caller.client.close("volume").unwrap();
    let blocks = rig.world.block_names().len();
    let found = collect(&mut caller, true);
    assert!(found > 0);
    assert_eq!(rig.world.block_names().len(), blocks);
    assert_eq!(collect(&mut caller, false), found);
    assert_eq!(collect(&mut caller, false), 0);
    check_history(&mut caller);
}

#[test]
fn all_blocks_go_with_the_last_volume() {
    let rig = Rig::new();
    let mut caller = rig.client();
    history(&mut caller);
    for name in ["volume", "snapshot", "cloned", "deleted"] {
        caller.client.remove(name).unwrap();
    }
    collect(&mut caller, false);
    assert_eq!(rig.world.block_names(), Vec::<String>::new());
    assert!(rig.world.map_names().iter().all(|name| !name.starts_with("n.") && !name.starts_with("l.")));
}

#[test]
fn what_dead_mappers_left_goes_and_nothing_else() {
    for after in (1..60).step_by(3) {
        let mut rig = Rig::new();
        let mut caller = rig.client();
        history(&mut caller);
        rig.world.break_after(Fault { after, is_done: true });
        drop(caller.write_durably("volume", 1, 9));
        drop(caller.client.snapshot("volume", "another"));
        drop(caller.punch("volume", 97 * 29, 1));
        drop(caller.write_durably("volume", 2, 9));
        drop(caller.client.close("volume"));
        drop(caller);
        rig.crash();
        let mut caller = rig.client();
        let before = caller.read_all("volume", 100).unwrap();
        collect(&mut caller, false);
        assert_eq!(caller.read_all("volume", 100).unwrap(), before);
        for index in 0..30 {
            assert_eq!(caller.read("snapshot", index * 97).unwrap(), 1);
        }
        caller.write_durably("volume", 0, 5).unwrap();
        assert_eq!(caller.read("volume", 0).unwrap(), 5);
    }
}

#[test]
fn what_is_made_while_a_collection_runs_is_left_alone() {
    let mut rig = Rig::new();
    rig.start_node();
    let mut caller = rig.client();
    history(&mut caller);
    caller.client.remove("deleted").unwrap();
    let mut collector = rig.client_of(1);
    let mut resume = Vec::new();
    for round in 0.. {
        if round < 20 {
            let name = format!("volume{round}");
            caller.create(&name, 100);
            caller.write_durably(&name, 5, 5).unwrap();
            caller.client.create(&format!("cloned{round}"), None, Some("snapshot"), None).unwrap();
            caller.write_durably("volume", 1 + round, 7).unwrap();
            caller.client.snapshot("volume", &format!("snapshot{round}")).unwrap();
        }
        let step = collector.client.collect(&resume, false).unwrap();
        match step.resume {
            Some(next) => resume = next,
            None => break,
        }
        assert!(round < 1000);
    }
    for name in caller.names() {
        let count = caller.client.info(&name).unwrap().size_bytes / u64::from(super::rig::BLOCK);
        caller.read_all(&name, count.min(100)).unwrap();
    }
    assert_eq!(caller.read("cloned0", 97).unwrap(), 1);
    assert_eq!(caller.read("volume0", 5).unwrap(), 5);
}

#[test]
fn two_collections_beside_each_other_come_to_their_ends() {
    let rig = Rig::new();
    let mut caller = rig.client();
    history(&mut caller);
    let mut points = [Some(Vec::new()), Some(Vec::new())];
    // The other one is somewhere else all the time.
    for _ in 0..3 {
        points[1] = caller.client.collect(points[1].as_deref().unwrap(), true).unwrap().resume;
    }
    for _ in 0..500 {
        for (at, point) in points.iter_mut().enumerate().filter(|(_, point)| point.is_some()) {
            *point = caller.client.collect(point.as_deref().unwrap(), at == 1).unwrap().resume;
        }
    }
    assert_eq!(points, [None, None]);
}

#[test]
fn a_volume_that_cannot_be_read_stops_a_collection() {
    let rig = Rig::new();
    let mut caller = rig.client();
    history(&mut caller);
    rig.world.put_map("damaged", b"AMF.\0\0\0\x03 and so on");
    let step = caller.client.collect(&[], false);
    assert_eq!(step.unwrap_err().kind, protocol::ErrorKind::Corrupt);
    assert_eq!(caller.client.collect(b"somewhere", false).unwrap_err().kind, protocol::ErrorKind::Invalid);
}

#[test]
fn a_root_that_was_emptied_or_scribbled_on_stops_a_collection_and_nothing_goes() {
    for damage in [&b""[..], b"noise where a root was", &[0; 1024]] {
        let rig = Rig::new();
        let mut caller = rig.client();
        caller.create("volume0", 4);
        caller.write_durably("volume0", 1, 7).unwrap();
        caller.client.close("volume0").unwrap();
        // The log goes in the background after the close: it is not the collection's.
        let names = || {
            let maps = rig.world.map_names().into_iter().filter(|name| !name.starts_with("l."));
            (rig.world.block_names(), maps.collect::<Vec<_>>())
        };
        let before = names();
        rig.world.put_map("volume0", damage);
        assert_eq!(caller.client.collect(&[], false).unwrap_err().kind, protocol::ErrorKind::Corrupt);
        assert_eq!(names(), before);
    }
}

#[test]
fn a_missing_node_stops_a_collection() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume0", 4);
    caller.write_durably("volume0", 1, 7).unwrap();
    caller.client.close("volume0").unwrap();
    for node in rig.world.map_names().iter().filter(|name| name.starts_with("n.")) {
        rig.world.remove_map(node);
    }
    let mut point = Vec::new();
    let failure = loop {
        match caller.client.collect(&point, false) {
            Ok(step) => point = step.resume.expect("a missing node was not noticed"),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.kind, protocol::ErrorKind::Corrupt);
    assert!(failure.message.contains("n."), "{failure}");
}
