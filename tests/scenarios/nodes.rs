//! Who holds what, who waits for it, and who is who.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{TestStack, pattern};

const MIB: u64 = 1 << 20;
/// How long something may take to be seen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The locks as this stack shows them, once they are as wanted.
fn locks_once(stack: &TestStack, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let locks = json(&stack.vlmc(&["locks", "--json"]).done());
        if is_wanted(&locks) {
            return locks;
        }
        assert!(begun.elapsed() < PATIENCE, "{locks:#}");
    }
}

/// What all ports of a stack say of a metric together.
fn metric(stack: &TestStack, name: &str) -> f64 {
    let text = stack.archipelago(&["metrics"]).done();
    assert!(text.contains(&format!("# HELP {name} ")), "{name} is not told");
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn a_waiting_writer_is_seen_on_every_node_until_it_waits_no_more() {
    let (first, second) = TestStack::start_two();
    let (mut ours, mut theirs) = (first.client(), second.client());
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    ours.open("volume1").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || theirs.write("volume1", 0, &pattern(2, 4096)));
        for stack in [&first, &second] {
            let locks =
                locks_once(stack, |locks| locks[0]["waiting"].as_array().is_some_and(|all| all.len() == 1));
            assert_eq!(locks[0]["volume"], "volume1");
            assert_eq!(locks[0]["holder"]["node"], first.stack().node);
            assert_eq!(locks[0]["holder"]["is_alive"], true);
            assert_eq!(locks[0]["waiting"][0]["node"], second.stack().node);
            assert!(
                stack.vlmc(&["info", "volume1"]).done().contains(&format!("{} since", second.stack().node))
            );
        }
        let status = json(&second.archipelago(&["status", "--json"]).done());
        assert_eq!(status["alarms"][0]["kind"], "writer_waits");
        assert_eq!(status["alarms"][0]["holder"], first.stack().node);
        assert_eq!(metric(&second, "archipelago_writers_waiting"), 1.0);
        assert!(second.archipelago(&["status"]).done().contains("a writer of volume volume1 waits since"));
        assert_eq!(second.log().matches("a writer waits for the lock").count(), 1, "{}", second.log());
        ours.close("volume1").unwrap();
        waiting.join().unwrap().unwrap();
    });
    let locks = locks_once(&first, |locks| locks[0]["waiting"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(locks[0]["holder"]["node"], second.stack().node);
}

#[test]
fn a_volume_whose_lock_was_broken_is_told_until_it_is_closed() {
    let (first, second) = TestStack::start_two();
    let mut ours = first.client();
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    ours.write("volume1", 0, &pattern(1, 4096)).unwrap();
    second.vlmc(&["unlock", "-f", "volume1"]).done();
    second.vlmc(&["open", "volume1"]).done();
    assert_eq!(metric(&first, "archipelago_volumes_lost"), 0.0);
    ours.write("volume1", 0, &pattern(2, 4096)).unwrap_err();
    let status = json(&first.archipelago(&["status", "--json"]).done());
    assert_eq!(status["alarms"][0]["kind"], "volume_lost");
    assert_eq!(status["alarms"][0]["volume"], "volume1");
    assert!(first.archipelago(&["status"]).done().contains("volume volume1 is lost since"));
    assert!(
        first.archipelago(&["top", "--once", "-i", "0.1"]).done().contains("volume volume1 is lost since")
    );
    assert_eq!(metric(&first, "archipelago_volumes_lost"), 1.0);
    assert_eq!(first.log().matches("the lock was broken").count(), 1, "{}", first.log());
    let told = second.log().lines().filter(|line| line.contains("broke a lock")).collect::<Vec<_>>().concat();
    assert!(told.contains("volume1") && told.contains(&first.stack().node), "{told}");
    second.vlmc(&["close", "volume1"]).done();
    first.vlmc(&["open", "volume1"]).done();
    assert_eq!(metric(&first, "archipelago_volumes_lost"), 0.0);
}

#[test]
fn a_node_that_was_killed_is_seen_as_such_and_fenced() {
    let (mut first, second) = TestStack::start_two();
    let name = first.stack().node;
    for volume in ["volume1", "volume2"] {
        first.client().create(volume, Some(16 * MIB), None, None).unwrap();
        first.client().open(volume).unwrap();
    }
    first.kill();
    let listed = json(&second.archipelago(&["node", "list", "--json"]).done());
    let dead =
        listed.as_array().unwrap().iter().find(|node| node["record"]["name"] == name.as_str()).unwrap();
    assert_eq!((&dead["is_alive"], &dead["record"]["is_running"]), (&Value::Bool(false), &Value::Bool(true)));
    assert!(second.vlmc(&["locks"]).done().contains("does not answer"));
    // Nobody is asked where nobody sits.
    assert!(second.archipelago(&["node", "fence", &name]).refused().contains("not confirmed"));
    second.vlmc(&["open", "volume1"]).refused();
    second.archipelago(&["node", "fence", &name, "-f"]).done();
    assert_eq!(second.log().matches("broke a lock").count(), 2, "{}", second.log());
    second.vlmc(&["open", "volume1"]).done();
    second.vlmc(&["open", "volume2"]).done();
}

#[test]
fn two_stacks_of_one_name_are_refused_while_both_live() {
    let mut first = TestStack::start();
    let name = first.stack().node;
    let (blocks, maps) = (first.path("blocks"), first.path("maps"));
    let arguments = ["--blocks", blocks.to_str().unwrap(), "--maps", maps.to_str().unwrap()];
    let second = TestStack::prepared(&arguments, |text| {
        let own = text.lines().find(|line| line.starts_with("node = ")).unwrap().to_owned();
        text.replace(&own, &format!("node = \"{name}\""))
    });
    let told = second.archipelago(&["start"]).refused();
    assert!(told.contains("two stacks of one name") && told.contains(&name), "{told}");
    // The node whose name it is goes on.
    first.client().create("volume1", Some(16 * MIB), None, None).unwrap();
    first.client().open("volume1").unwrap();
    // What is dead keeps its name from nobody: another machine may take its configuration over.
    first.kill();
    second.archipelago(&["start"]).done();
    second.vlmc(&["open", "volume1"]).done();
    second.archipelago(&["stop"]).done();
}

#[test]
fn a_node_tells_who_it_is_with_and_without_its_stack() {
    let mut stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "16"]).done();
    stack.vlmc(&["open", "volume1"]).done();
    let report = json(&stack.archipelago(&["node", "--json"]).done());
    assert_eq!(report["node"], stack.stack().node);
    assert_eq!(report["volumes"][0]["volume"], "volume1");
    assert_eq!(report["stores"].as_array().unwrap().len(), 2);
    let text = stack.archipelago(&["node"]).done();
    assert!(text.contains("holds     volume1 since") && text.contains("store     blockerm: "), "{text}");
    stack.stop();
    assert!(stack.archipelago(&["node"]).done().contains("the stack does not run"));
}

#[test]
fn a_stack_whose_writer_waits_for_another_node_stops_in_order() {
    let (first, mut second) = TestStack::start_two();
    let (mut ours, mut theirs) = (first.client(), second.client());
    ours.create("volume1", Some(16 * MIB), None, None).unwrap();
    ours.open("volume1").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || theirs.write("volume1", 0, &pattern(2, 4096)));
        locks_once(&first, |locks| locks[0]["waiting"].as_array().is_some_and(|all| all.len() == 1));
        second.stop();
        assert!(waiting.join().unwrap().is_err());
    });
    assert!(second.log().contains("stopped role=\"vlmcd\""), "{}", second.log());
    assert!(!second.log().contains("does not stop"), "{}", second.log());
}
