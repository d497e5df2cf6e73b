//! A mapper that dies at every single change it makes in the stores: what is found afterwards is the old state or the new
//! one, never a mixture, and what was committed is there.

use protocol::{ErrorKind, Failure};

use super::{
    collecting::collect,
    memory_store::Fault,
    rig::{Caller, Rig},
};

/// How the machine goes on after the mapper died.
#[derive(Clone, Copy, Debug)]
enum After {
    Crash,
    PowerLoss,
}

/// Runs `act` with stores that stop at their first, second, … change, until it gets through; after each, the next mapper must
/// find what `check` demands. `check` is told whether `act` was answered with success.
fn at_every_change(
    prepare: impl Fn(&mut Caller),
    act: impl Fn(&mut Caller) -> Result<(), Failure>,
    check: impl Fn(&mut Caller, bool),
) {
    for after in [After::Crash, After::PowerLoss] {
        for is_done in [false, true] {
            for count in 1.. {
                let fault = Fault { after: count, is_done };
                if !one_run(fault, after, &prepare, &act, &check) {
                    break;
                }
                assert!(count < 1000, "it never gets through");
            }
        }
    }
}

/// Whether the stores stopped before it was through.
fn one_run(
    fault: Fault,
    after: After,
    prepare: &impl Fn(&mut Caller),
    act: &impl Fn(&mut Caller) -> Result<(), Failure>,
    check: &impl Fn(&mut Caller, bool),
) -> bool {
    let mut rig = Rig::new();
    let mut caller = rig.client();
    prepare(&mut caller);
    rig.world.break_after(fault);
    let is_acted = act(&mut caller).is_ok();
    let was_broken = rig.world.has_stopped();
    drop(caller);
    match after {
        After::Crash => rig.crash(),
        After::PowerLoss => rig.lose_power(),
    }
    check(&mut rig.client(), is_acted);
    // Whatever was left behind is no trouble for the next session.
    rig.crash();
    check(&mut rig.client(), is_acted);
    was_broken
}

/// Four blocks that hold 1, committed.
fn four_ones(caller: &mut Caller) {
    caller.create("volume", 8);
    for index in 0..4 {
        caller.write_durably("volume", index, 1).unwrap();
    }
}

fn is_one_of(found: &[u8], allowed: &[&[u8]]) {
    assert!(allowed.contains(&found), "{found:?} is none of {allowed:?}");
}

#[test]
fn a_volume_is_created_whole_or_not_at_all() {
    at_every_change(
        |_| {},
        |caller| caller.client.create("volume", Some(8 * 4096), None, Some(4096)),
        |caller, is_acted| match caller.read_all("volume", 8) {
            Ok(bytes) => {
                assert_eq!(bytes, [0; 8]);
                caller.write("volume", 0, 0).unwrap();
            }
            Err(failure) => assert!(failure.kind == ErrorKind::NotFound && !is_acted, "{failure}"),
        },
    );
}

#[test]
fn committed_blocks_are_there_and_others_are_old_or_new() {
    at_every_change(
        four_ones,
        |caller| {
            caller.write_durably("volume", 1, 2)?;
            caller.write_durably("volume", 6, 2)
        },
        |caller, is_acted| {
            let bytes = caller.read_all("volume", 8).unwrap();
            assert!(bytes.iter().zip([1, 1, 1, 1, 0, 0, 0, 0]).all(|(now, old)| *now == old || *now == 2));
            assert!(!is_acted || bytes == [1, 2, 1, 1, 0, 0, 2, 0]);
        },
    );
}

#[test]
fn a_snapshot_shows_the_volume_before_and_the_volume_goes_on() {
    at_every_change(
        four_ones,
        |caller| {
            caller.client.snapshot("volume", "snapshot")?;
            caller.write_durably("volume", 0, 2)?;
            caller.write_durably("volume", 5, 2)
        },
        |caller, is_acted| {
            let volume = caller.read_all("volume", 8).unwrap();
            match caller.read_all("snapshot", 8) {
                Ok(snapshot) => assert_eq!(snapshot, [1, 1, 1, 1, 0, 0, 0, 0]),
                Err(failure) => {
                    assert_eq!(failure.kind, ErrorKind::NotFound);
                    assert_eq!(volume, [1, 1, 1, 1, 0, 0, 0, 0]);
                }
            }
            assert!(!is_acted || volume == [2, 1, 1, 1, 0, 2, 0, 0]);
        },
    );
}

#[test]
fn a_clone_reads_as_its_snapshot_or_does_not_exist() {
    at_every_change(
        |caller| {
            four_ones(caller);
            caller.client.snapshot("volume", "snapshot").unwrap();
        },
        |caller| caller.client.create("cloned", None, Some("snapshot"), None),
        |caller, is_acted| {
            match caller.read_all("cloned", 8) {
                Ok(bytes) => assert_eq!(bytes, [1, 1, 1, 1, 0, 0, 0, 0]),
                Err(failure) => assert!(failure.kind == ErrorKind::NotFound && !is_acted, "{failure}"),
            }
            assert_eq!(caller.read_all("snapshot", 4).unwrap(), [1; 4]);
        },
    );
}

#[test]
fn a_deleted_volume_is_whole_or_gone_and_its_snapshot_stays() {
    at_every_change(
        |caller| {
            four_ones(caller);
            caller.client.snapshot("volume", "snapshot").unwrap();
            caller.write_durably("volume", 0, 2).unwrap();
        },
        |caller| caller.client.remove("volume"),
        |caller, is_acted| {
            match caller.read_all("volume", 8) {
                Ok(bytes) => assert!(bytes == [2, 1, 1, 1, 0, 0, 0, 0] && !is_acted),
                Err(failure) => assert_eq!(failure.kind, ErrorKind::NotFound),
            }
            assert_eq!(caller.read_all("snapshot", 4).unwrap(), [1; 4]);
        },
    );
}

#[test]
fn a_renamed_volume_has_one_name_at_every_moment() {
    at_every_change(
        four_ones,
        |caller| caller.client.rename("volume", "renamed"),
        |caller, is_acted| {
            let names = caller.names();
            assert_eq!(names.len(), 1, "{names:?}");
            assert!(!is_acted || names == ["renamed"]);
            assert_eq!(caller.read_all(&names[0], 8).unwrap(), [1, 1, 1, 1, 0, 0, 0, 0]);
            caller.write_durably(&names[0], 3, 1).unwrap();
        },
    );
}

/// What a rename leaves at every moment, dealt with by one mapper after another: `reuse` gives the name that it led to away.
fn never_comes_back(reuse: impl Fn(&mut Caller)) {
    at_every_change(
        four_ones,
        |caller| caller.client.rename("volume", "renamed"),
        |caller, _| {
            let found = caller.client.info("renamed");
            if found.is_ok_and(|info| info.size_bytes == 8 * 4096) {
                reuse(caller);
                caller.create("renamed", 2);
            }
            assert!(!caller.names().contains(&"volume".to_owned()) || caller.names() == ["volume"]);
        },
    );
}

#[test]
fn a_volume_that_was_deleted_under_its_new_name_never_comes_back() {
    never_comes_back(|caller| caller.client.remove("renamed").unwrap());
}

#[test]
fn a_volume_that_was_renamed_on_is_not_found_under_its_first_name() {
    never_comes_back(|caller| {
        caller.client.rename("renamed", "renamed-on").unwrap();
        assert_eq!(caller.read_all("renamed-on", 8).unwrap(), [1, 1, 1, 1, 0, 0, 0, 0]);
        caller.client.remove("renamed-on").unwrap();
    });
}

#[test]
fn a_volume_that_is_named_as_before_is_never_lost() {
    at_every_change(
        four_ones,
        |caller| {
            caller.client.rename("volume", "renamed")?;
            caller.client.rename("renamed", "volume")
        },
        |caller, is_acted| {
            let names = caller.names();
            assert_eq!(names.len(), 1, "{names:?}");
            assert!(!is_acted || names == ["volume"]);
            assert_eq!(caller.read_all(&names[0], 8).unwrap(), [1, 1, 1, 1, 0, 0, 0, 0]);
            let other = if names[0] == "volume" { "renamed" } else { "volume" };
            caller.client.rename(&names[0], other).unwrap();
            caller.client.rename(other, &names[0]).unwrap();
        },
    );
}

#[test]
fn what_a_halfway_rename_left_is_no_trouble_for_a_collection() {
    at_every_change(
        four_ones,
        |caller| caller.client.rename("volume", "renamed"),
        |caller, _| {
            let name = caller.names().remove(0);
            // Its nodes are replaced, those of the first root deleted.
            caller.write_durably(&name, 3, 1).unwrap();
            caller.client.close(&name).unwrap();
            collect(caller, false);
            assert_eq!(caller.read_all(&name, 8).unwrap(), [1, 1, 1, 1, 0, 0, 0, 0]);
        },
    );
}

#[test]
fn a_resized_volume_has_its_old_size_or_its_new_one() {
    at_every_change(
        four_ones,
        |caller| {
            caller.client.resize("volume", 2 * 4096 + 5, true)?;
            caller.client.resize("volume", 8 * 4096, false)
        },
        |caller, is_acted| {
            let size = caller.client.info("volume").unwrap().size_bytes;
            assert!([8 * 4096, 2 * 4096 + 5].contains(&size));
            let bytes = caller.read_all("volume", size.div_ceil(4096)).unwrap();
            is_one_of(&bytes, &[&[1, 1, 1, 1, 0, 0, 0, 0], &[1, 1, 1], &[1, 1, 1, 0, 0, 0, 0, 0]]);
            assert!(!is_acted || bytes == [1, 1, 1, 0, 0, 0, 0, 0]);
        },
    );
}

#[test]
fn punched_blocks_are_old_or_holes_and_new_data_never_meets_old() {
    at_every_change(
        four_ones,
        |caller| {
            caller.punch("volume", 1, 2)?;
            caller.commit("volume")?;
            caller.write_durably("volume", 1, 3)?;
            caller.client.close("volume")
        },
        |caller, is_acted| {
            let bytes = caller.read_all("volume", 4).unwrap();
            is_one_of(&bytes, &[&[1, 1, 1, 1], &[1, 0, 0, 1], &[1, 3, 0, 1]]);
            assert!(!is_acted || bytes == [1, 3, 0, 1]);
        },
    );
}

#[test]
fn a_stop_in_the_middle_loses_nothing_that_was_answered() {
    at_every_change(
        |caller| {
            four_ones(caller);
            caller.write("volume", 5, 5).unwrap();
            caller.commit("volume").unwrap();
        },
        |caller| caller.client.close("volume"),
        |caller, _| assert_eq!(caller.read_all("volume", 4).unwrap(), [1; 4]),
    );
}

#[test]
fn what_was_answered_outlives_the_mapper_even_without_a_commit() {
    let mut rig = Rig::new();
    let mut caller = rig.client();
    caller.create("volume", 2000);
    for index in 0..100 {
        caller.write("volume", index * 19, 7).unwrap();
    }
    rig.crash();
    let mut caller = rig.client();
    for index in 0..100 {
        assert_eq!(caller.read("volume", index * 19).unwrap(), 7);
    }
    caller.write("volume", 1, 8).unwrap();
    caller.commit("volume").unwrap();
    rig.crash();
    assert_eq!(rig.client().read("volume", 1).unwrap(), 8);
}

#[test]
fn what_was_not_flushed_is_old_after_a_loss_of_power_and_its_name_is_not_used_again() {
    let mut rig = Rig::new();
    let mut caller = rig.client();
    four_ones(&mut caller);
    caller.client.snapshot("volume", "snapshot").unwrap();
    caller.write("volume", 0, 2).unwrap();
    let lost = rig.world.block_names();
    rig.lose_power();
    let mut caller = rig.client();
    assert_eq!(caller.read_all("volume", 4).unwrap(), [1; 4]);
    caller.write("volume", 0, 3).unwrap();
    let new: Vec<_> = rig.world.block_names().into_iter().filter(|name| !lost.contains(name)).collect();
    assert_eq!(new.len(), 1);
}

#[test]
fn a_stopped_mapper_leaves_clean_volumes_and_no_locks() {
    let mut rig = Rig::new();
    let mut caller = rig.client();
    four_ones(&mut caller);
    caller.write("volume", 7, 9).unwrap();
    assert_eq!(rig.world.lock_owner("volume").as_deref(), Some("a"));
    rig.stop(0);
    assert_eq!(rig.world.lock_owner("volume"), None);
    assert!(rig.world.map_names().iter().all(|name| !name.starts_with("l.")));
    rig.start(0);
    assert_eq!(rig.client().read("volume", 7).unwrap(), 9);
}
