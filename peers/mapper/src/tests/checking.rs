//! Checks: each kind of damage is found, and nothing is found where nothing is wrong.

use protocol::{ErrorKind, Finding, Op, Severity};
use volume::{Generation, Header, ObjectName, Root};

use super::{
    legacy::{OWNED, put_v2},
    memory_store::Fault,
    rig::{BLOCK, Caller, Rig},
};

/// Runs a check to its end.
fn check(caller: &mut Caller, volume: &str, mends: bool) -> Vec<Finding> {
    let (mut findings, mut resume) = (Vec::new(), Vec::new());
    for _ in 0..10_000 {
        let step = caller.client.check(volume, &resume, mends).unwrap();
        findings.extend(step.findings);
        match step.resume {
            Some(next) => resume = next,
            None => return findings,
        }
    }
    panic!("the check does not end");
}

fn kinds(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.kind.as_str()).collect()
}

/// A closed volume of two leaves, its snapshot and a clone.
fn family(caller: &mut Caller) {
    caller.create("volume", 1000);
    for index in [0, 1, 2, 600] {
        caller.write_durably("volume", index, 1).unwrap();
    }
    caller.client.snapshot("volume", "snapshot").unwrap();
    caller.write_durably("volume", 0, 2).unwrap();
    caller.client.create("cloned", None, Some("snapshot"), None).unwrap();
    caller.write_durably("cloned", 1, 3).unwrap();
    caller.client.close("volume").unwrap();
    caller.client.close("cloned").unwrap();
}

fn nodes(rig: &Rig) -> Vec<String> {
    rig.world.map_names().into_iter().filter(|name| name.starts_with("n.")).collect()
}

#[test]
fn a_clean_store_has_no_findings() {
    let rig = Rig::new();
    let mut caller = rig.client();
    family(&mut caller);
    put_v2(&rig, "legacy1", 0, &[(OWNED, "legacy1_0000000000000001_0000000000000000")]);
    rig.world.put_block("legacy1_0000000000000001_0000000000000000", &[7; BLOCK as usize]);
    rig.world.put_map("legacy1_lock", b"host_1002");
    caller.client.remove("snapshot").unwrap();
    caller.client.rename("cloned", "renamed").unwrap();
    caller.write("volume", 5, 5).unwrap();
    assert_eq!(check(&mut caller, "*", false), []);
    assert_eq!(check(&mut caller, "legacy1", false), []);
    assert_eq!(caller.client.check("snapshot", &[], false).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(caller.client.check("nothing", &[], false).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(caller.client.check("*", b"somewhere", false).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn what_is_changed_while_a_check_runs_is_no_finding() {
    let mut rig = Rig::new();
    rig.start_node();
    let mut caller = rig.client();
    family(&mut caller);
    for at in 0..2 {
        let mut checker = rig.client_of(at);
        let mut resume = Vec::new();
        for round in 0..400 {
            caller.write("volume", round * 7 % 1000, 9).unwrap();
            caller.punch("volume", round * 5 % 1000, 3).unwrap();
            if round < 60 {
                caller.client.snapshot("volume", "between").unwrap();
                caller.client.remove("between").unwrap();
                caller.client.rename("cloned", "moving").unwrap();
                caller.client.rename("moving", "cloned").unwrap();
                caller.create("passing", 10);
                caller.write("passing", 1, 1).unwrap();
                caller.client.remove("passing").unwrap();
            }
            let step = checker.client.check("*", &resume, false).unwrap();
            assert_eq!(step.findings, []);
            match step.resume {
                Some(next) => resume = next,
                None => break,
            }
            assert!(round < 399, "the check does not end");
        }
    }
}

#[test]
fn a_check_goes_on_where_a_dead_mapper_left_it() {
    let mut rig = Rig::new();
    family(&mut rig.client());
    let node = nodes(&rig).pop().unwrap();
    rig.world.remove_map(&node);
    let (mut resume, mut found) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let step = rig.client().client.check("*", &resume, false).unwrap();
        found.extend(step.findings);
        let Some(next) = step.resume else { break };
        if next != resume {
            rig.crash();
        }
        resume = next;
    }
    assert!(kinds(&found).contains(&"node-missing"), "{found:?}");
}

#[test]
fn checks_beside_each_other_come_to_their_ends() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 512 * 40);
    for leaf in 0..40 {
        caller.write("volume", 512 * leaf, 1).unwrap();
    }
    caller.client.close("volume").unwrap();
    let mut points = vec![Some(Vec::new()); 3];
    for _ in 0..100 {
        for point in points.iter_mut().filter(|point| point.is_some()) {
            *point = caller.client.check("*", point.as_deref().unwrap(), false).unwrap().resume;
        }
    }
    assert_eq!(points, [None, None, None]);
}

#[test]
fn missing_and_damaged_parts_of_maps_are_found_with_their_blocks() {
    for (bytes, kind) in [(None, "node-missing"), (Some(b"noise".to_vec()), "node-damaged")] {
        let rig = Rig::new();
        let mut caller = rig.client();
        family(&mut caller);
        for node in nodes(&rig) {
            match &bytes {
                None => rig.world.remove_map(&node),
                Some(bytes) => rig.world.put_map(&node, bytes),
            }
        }
        let found = check(&mut caller, "volume", false);
        assert_eq!(kinds(&found), [kind]);
        assert_eq!((found[0].first_block, found[0].block_count), (Some(0), 512 * 512));
        assert_eq!((found[0].volume.as_str(), found[0].severity), ("volume", Severity::Error));
        // Each of those that use it is named.
        let mut volumes: Vec<String> =
            check(&mut caller, "*", false).into_iter().map(|found| found.volume).collect();
        volumes.dedup();
        assert_eq!(volumes, ["cloned", "snapshot", "volume"]);
    }
}

#[test]
fn missing_and_long_blocks_are_found_and_told_once_a_leaf() {
    let rig = Rig::new();
    let mut caller = rig.client();
    family(&mut caller);
    let shared = object(&mut caller, "snapshot", 2);
    let own = object(&mut caller, "volume", 0);
    rig.world.remove_block(&shared);
    rig.world.put_block(&own, &vec![1; BLOCK as usize + 1]);
    let found = check(&mut caller, "volume", false);
    assert_eq!(kinds(&found), ["block-missing", "block-too-long"]);
    assert_eq!(
        (found[0].object.as_str(), found[0].first_block, found[0].block_count),
        (shared.as_str(), Some(2), 1)
    );
    assert_eq!((found[1].object.as_str(), found[1].first_block), (own.as_str(), Some(0)));
    assert_eq!(kinds(&check(&mut caller, "*", true)).len(), 4);
}

fn object(caller: &mut Caller, volume: &str, index: u64) -> String {
    let entries = caller.map_read(volume, index, 1).unwrap();
    super::rig::object_of(&entries.entries[0], index).unwrap()
}

#[test]
fn roots_locks_names_and_tables_that_cannot_be_read_are_found() {
    let rig = Rig::new();
    let mut caller = rig.client();
    put_v2(&rig, "legacy1", 0, &[(OWNED, "legacy1_0000000000000001_0000000000000000")]);
    rig.world.put_map("legacy1_0000000000000000", &[0xff; 128]);
    rig.world.put_map("damaged", b"noise where a root was");
    rig.world.put_map("image-1", &[0x5a; 4096]);
    caller.create("volume", 4);
    let root = rig.world.map("volume").unwrap();
    rig.world.put_map("vol\u{202e}ume", &root);
    let found = check(&mut caller, "*", false);
    assert_eq!(kinds(&found), ["map-unreadable", "map-unknown", "node-damaged", "name-odd"]);
    assert!(found[0].next.contains("vlmc remove damaged --force"), "{found:?}");
    rig.world.refuse(Op::LockInfo, ErrorKind::Corrupt);
    let found = check(&mut caller, "volume", true);
    assert_eq!(kinds(&found), ["lock-unreadable"]);
    assert!(!found[0].is_mended);
}

#[test]
fn a_name_that_is_nobodys_is_told() {
    let rig = Rig::new();
    rig.world.put_map("archip_", b"noise");
    let found = check(&mut rig.client(), "*", true);
    assert_eq!(kinds(&found), ["name-unknown"]);
    assert_eq!((found[0].severity, found[0].is_mended), (Severity::Warning, false));
}

#[test]
fn a_damaged_volume_that_never_stands_still_is_told_as_not_checked() {
    let rig = Rig::new();
    let mut caller = rig.client();
    family(&mut caller);
    let roots = ["volume", "snapshot"].map(|name| rig.world.map(name).unwrap());
    // The second leaf of both, so that its lack is seen a step after the root.
    let leaf = nodes(&rig).into_iter().find(|node| node.ends_with(".00.0000000000000001")).unwrap();
    rig.world.remove_map(&leaf);
    let (mut resume, mut found) = (Vec::new(), Vec::new());
    for round in 0..100 {
        rig.world.put_map("volume", &roots[round % 2]);
        let step = caller.client.check("volume", &resume, false).unwrap();
        found.extend(step.findings);
        match step.resume {
            Some(next) => resume = next,
            None => break,
        }
    }
    assert_eq!(kinds(&found), ["not-checked"]);
}

#[test]
fn a_reservation_that_is_gone_is_put_back() {
    let rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 4);
    let id = rig.world.map_names().into_iter().find(|name| name.starts_with("i.")).unwrap();
    rig.world.remove_map(&id);
    assert_eq!(kinds(&check(&mut caller, "*", false)), ["id-unreserved"]);
    assert!(rig.world.map(&id).is_none());
    assert!(check(&mut caller, "*", true)[0].is_mended);
    assert_eq!(rig.world.map(&id).unwrap(), b"volume");
    assert_eq!(check(&mut caller, "*", false), []);
}

#[test]
fn sessions_that_ended_badly_are_found_and_closed() {
    let mut rig = Rig::new();
    let mut caller = rig.client();
    family(&mut caller);
    caller.write_durably("volume", 9, 9).unwrap();
    drop(caller);
    rig.crash();
    let mut caller = rig.client();
    assert_eq!(kinds(&check(&mut caller, "*", false)), ["session-unclosed"]);
    let found = check(&mut caller, "*", true);
    assert!(found[0].is_mended, "{found:?}");
    assert_eq!(check(&mut caller, "*", false), []);
    assert!(rig.world.map_names().iter().all(|name| !name.starts_with("l.")));
    assert_eq!(caller.read("volume", 9).unwrap(), 9);
}

/// A volume whose blocks 1 and 9 are in its log alone, and the objects of these.
fn logged(caller: &mut Caller) -> [String; 2] {
    caller.create("volume", 10);
    for index in [1, 9] {
        caller.write_durably("volume", index, 5).unwrap();
    }
    [1, 9].map(|index| object(caller, "volume", index))
}

#[test]
fn blocks_that_only_a_log_names_are_looked_at() {
    for is_open in [true, false] {
        let mut rig = Rig::new();
        let [first, last] = logged(&mut rig.client());
        if !is_open {
            rig.crash();
        }
        assert!(nodes(&rig).is_empty());
        rig.world.put_block(&first, &vec![1; BLOCK as usize + 1]);
        rig.world.remove_block(&last);
        let mut caller = rig.client();
        let mut found = check(&mut caller, "*", false);
        found.retain(|found| found.kind != "session-unclosed");
        assert_eq!(kinds(&found), ["block-missing", "block-too-long"]);
        assert_eq!((found[0].object.as_str(), found[0].first_block), (last.as_str(), Some(9)));
        assert_eq!((found[1].object.as_str(), found[1].first_block), (first.as_str(), Some(1)));
        // What is mended is looked at again: the tree names them now.
        let found = check(&mut caller, "*", true);
        assert_eq!(found.iter().any(|found| found.is_mended), !is_open);
        assert!(kinds(&found).ends_with(&["block-missing", "block-too-long"]), "{found:?}");
        assert_eq!(nodes(&rig).is_empty(), is_open);
    }
}

#[test]
fn what_a_loss_of_power_took_is_no_finding_and_what_was_committed_is_one() {
    let mut rig = Rig::new();
    let mut caller = rig.client();
    let [first, _] = logged(&mut caller);
    caller.write("volume", 2, 2).unwrap();
    let uncommitted = object(&mut caller, "volume", 2);
    drop(caller);
    rig.crash();
    // This start of this machine may still go on with it.
    rig.world.remove_block(&uncommitted);
    assert_eq!(kinds(&check(&mut rig.client(), "*", false)), ["session-unclosed", "block-missing"]);
    let log = rig.world.map_names().into_iter().find(|name| name.starts_with("l.")).unwrap();
    let written = rig.world.map(&log).unwrap();
    rig.lose_power();
    rig.world.put_map(&log, &written);
    assert_eq!(kinds(&check(&mut rig.client(), "*", false)), ["session-unclosed"]);
    rig.world.remove_block(&first);
    let found = check(&mut rig.client(), "*", false);
    assert_eq!(kinds(&found), ["session-unclosed", "block-missing"]);
    assert_eq!((found[1].object.as_str(), found[1].block_count), (first.as_str(), 1));
}

fn change_root(rig: &Rig, change: impl FnOnce(&mut Root)) {
    let name = ObjectName::new("volume").unwrap();
    match Header::decode(&name, &rig.world.map("volume").unwrap(), None) {
        Ok(Header::Root(mut root)) => {
            change(&mut root);
            rig.world.put_map("volume", &root.encode());
        }
        other => panic!("{other:?} is no volume of ours"),
    }
}

#[test]
fn a_log_that_is_not_of_its_root_is_found() {
    let mut rig = Rig::new();
    logged(&mut rig.client());
    rig.crash();
    change_root(&rig, |root| root.size /= 2);
    let found = check(&mut rig.client(), "*", true);
    assert_eq!(kinds(&found), ["log-damaged"]);
    assert!(found[0].text.contains("block 9"), "{found:?}");
    assert!(!found[0].is_mended);

    change_root(&rig, |root| {
        root.size *= 2;
        root.generation = Generation(root.generation.0 + 1);
    });
    let found = check(&mut rig.client(), "*", false);
    assert_eq!(kinds(&found), ["session-unclosed", "block-unprotected"]);
    assert_eq!((found[1].first_block, found[1].block_count), (Some(1), 9));
    // The tree protects them.
    check(&mut rig.client(), "*", true);
    assert_eq!(check(&mut rig.client(), "*", false), []);
    assert_eq!(rig.client().read("volume", 9).unwrap(), 5);
}

#[test]
fn a_damaged_log_is_found_and_left() {
    let mut rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 4);
    caller.write_durably("volume", 1, 1).unwrap();
    drop(caller);
    rig.crash();
    let log = rig.world.map_names().into_iter().find(|name| name.starts_with("l.")).unwrap();
    rig.world.put_map(&log, &[0x5a; 200]);
    let found = check(&mut rig.client(), "*", true);
    assert_eq!(kinds(&found), ["log-damaged"]);
    assert!(!found[0].is_mended);
}

#[test]
fn a_rename_that_was_not_finished_is_found_and_finished() {
    let mut found = 0;
    for after in 1.. {
        let mut rig = Rig::new();
        family(&mut rig.client());
        // With it ends what it did beside: each stop is at a certain step of the rename.
        rig.crash();
        let mut caller = rig.client();
        rig.world.break_after(Fault { after, is_done: true });
        drop(caller.client.rename("volume", "renamed"));
        drop(caller);
        // An answer says nothing: what the mapper does beside the rename may be what the stores stopped at.
        if !rig.world.has_stopped() {
            break;
        }
        rig.crash();
        let mut caller = rig.client();
        let before = kinds(&check(&mut caller, "*", false)).contains(&"rename-unfinished");
        found += u32::from(before);
        check(&mut caller, "*", true);
        assert_eq!(check(&mut caller, "*", false), []);
        assert!(!before || caller.names() == ["cloned", "renamed", "snapshot"]);
    }
    assert!(found > 0);
}
