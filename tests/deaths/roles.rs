//! Every role is killed, over and over: for those above a pause, and nothing else.

use std::{thread, time::Duration};

use tests::{Dice, Supervised, is_root, skip};

use crate::{
    SEED,
    clock::Clock,
    duration,
    files::Mounted,
    loads::Load,
    pauses,
    settled::{assert_no_orphans, assert_settled},
};

/// Who dies.
const ROLES: [&str; 6] = ["blockerb", "blockerm", "mapperd", "vlmcd", "fuse", "nbd"];
/// Between two kills, in milliseconds: so much, and up to so much more.
const PAUSE_MS: (u64, u64) = (150, 300);

#[test]
fn case_27_killed_roles_are_a_pause_for_all_that_use_them() {
    let stack = Supervised::start();
    for volume in ["inside1", "through-nbd", "probed1", "with-files"] {
        stack.vlmc(&["create", volume, "--size", "128"]).done();
    }
    let mounted = is_root().then(|| Mounted::new(&stack, "with-files"));
    if mounted.is_none() {
        skip("case_27_killed_roles_are_a_pause_for_all_that_use_them", "mounting needs root: no files");
    }
    let (clock, inside) = (&Clock::new(duration()), Load::inside(&stack, "inside1", duration()));
    let through_nbd = Load::over_nbd_through_qemu(&stack, "through-nbd", duration());
    let (probing, probed) = (stack.client(), "probed1");
    let (kills, pauses, model) = thread::scope(|scope| {
        let pauses = scope.spawn(move || pauses::measure(probing, probed, clock));
        let model = scope.spawn(|| mounted.as_ref().map(|mounted| mounted.work(clock)));
        let kills = kill(&stack, clock);
        (kills, pauses.join().unwrap(), model.join().unwrap())
    });
    println!("{kills} kills; {pauses}");
    inside.done();
    if let Some(load) = through_nbd {
        load.done();
        stack.vlmc(&["unmap", "through-nbd"]).done();
    }
    if let Some((mounted, model)) = mounted.zip(model) {
        mounted.finish(&model);
    }
    assert_settled(&stack);
    assert_no_orphans(&stack);
}

fn kill(stack: &Supervised, clock: &Clock) -> u32 {
    let (mut dice, mut kills) = (Dice::told(SEED, 0), 0);
    while !clock.is_over() {
        kills += u32::from(stack.kill(ROLES[dice.index(ROLES.len())]).is_some());
        clock.tell(format_args!("{kills} kills"));
        thread::sleep(Duration::from_millis(PAUSE_MS.0 + dice.below(PAUSE_MS.1)));
    }
    kills
}
