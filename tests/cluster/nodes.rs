//! Nodes on one pool: who waits, who lives, and whose name is taken.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{
    TestStack, pattern,
    place::{Place, prepared, started},
};

use crate::shared;

const MIB: u64 = 1 << 20;
/// How long something may take to be seen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn asked(stack: &TestStack, arguments: &[&str]) -> Value {
    serde_json::from_str(&stack.archipelago(arguments).done()).unwrap()
}

/// What a stack sees of a node: whether it lives, and for how many locks it waits.
fn seen(stack: &TestStack, name: &str) -> Option<(bool, usize)> {
    let nodes = asked(stack, &["node", "list", "--json"]);
    let node = nodes.as_array().unwrap().iter().find(|node| node["record"]["name"] == name)?;
    Some((node["is_alive"].as_bool().unwrap(), node["record"]["waits"].as_array().unwrap().len()))
}

fn await_seen(stack: &TestStack, name: &str, wanted: (bool, usize)) {
    let begun = Instant::now();
    while seen(stack, name) != Some(wanted) {
        assert!(begun.elapsed() < PATIENCE, "{name}: {:?} instead of {wanted:?}", seen(stack, name));
    }
}

#[test]
fn a_waiting_writer_is_seen_by_all_and_a_dead_node_by_its_silence() {
    let Some(ceph) = shared("nodes::a_waiting_writer_is_seen_by_all_and_a_dead_node_by_its_silence") else {
        return;
    };
    let (blocks, maps) = (Place::Pool("blocks", "nodes"), Place::Pool("maps", "nodes"));
    let (mut first, second) = (started(&ceph, blocks, maps), started(&ceph, blocks, maps));
    let (one, other) = (first.stack().node, second.stack().node);
    let (mut ours, mut theirs) = (first.client(), second.client());
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    ours.open("volume1").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || theirs.write("volume1", 0, &pattern(1, 4096)));
        for stack in [&first, &second] {
            await_seen(stack, &other, (true, 1));
            let locks = stack.vlmc(&["locks", "volume1"]).done();
            assert!(locks.contains(&one) && locks.contains(&format!("{other} since")), "{locks}");
        }
        ours.close("volume1").unwrap();
        waiting.join().unwrap().unwrap();
    });
    await_seen(&first, &other, (true, 0));
    first.kill();
    await_seen(&second, &one, (false, 0));
    first.run();
    await_seen(&second, &one, (true, 0));
}

#[test]
fn a_second_stack_of_one_name_is_refused_while_the_first_lives() {
    let Some(ceph) = shared("nodes::a_second_stack_of_one_name_is_refused_while_the_first_lives") else {
        return;
    };
    let (blocks, maps) = (Place::Pool("blocks", "names-of-nodes"), Place::Pool("maps", "names-of-nodes"));
    let mut first = started(&ceph, blocks, maps);
    let second = prepared(&ceph, blocks, maps);
    let text = std::fs::read_to_string(second.configuration()).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    table.insert("node".into(), first.stack().node.into());
    std::fs::write(second.configuration(), table.to_string()).unwrap();
    let told = second.archipelago(&["start"]).refused();
    assert!(told.contains("two stacks of one name"), "{told}");
    first.kill();
    second.archipelago(&["start"]).done();
    second.archipelago(&["stop"]).done();
}
