//! Clients are killed in the midst of whatever they do: nothing of them is left.

use std::{
    io::{Read, Write},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use tests::{Dice, Supervised, is_run_over, run};

use crate::{
    SEED,
    clock::Clock,
    duration,
    loads::Load,
    settled::{assert_no_orphans, assert_settled},
};

/// So many clients are killed, at least.
const WANTED: u32 = 1000;
/// How much longer that may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many of them live at the same time.
const LANES: u64 = 4;
const SIGKILL: i32 = 9;
/// A client lives so many milliseconds at most.
const LIFE_MS: u64 = 40;

#[test]
fn case_27_killed_clients_leave_nothing_behind() {
    let stack = Supervised::start();
    for volume in ["steady1", "victim1"] {
        stack.vlmc(&["create", volume, "--size", "64"]).done();
    }
    let content = tests::pattern(27, 8 << 20);
    stack.client().write("victim1", 0, &content).unwrap();
    stack.vlmc(&["snapshot", "victim1", "frozen1"]).done();
    stack.vlmc(&["map", "victim1", "--via", "nbd"]).done();
    let steady = Load::inside(&stack, "steady1", duration());
    let (clock, tally) = (Clock::new(duration()), Tally::default());
    thread::scope(|scope| {
        for lane in 0..LANES {
            let (stack, clock, tally) = (&stack, &clock, &tally);
            scope.spawn(move || kill_clients(stack, Dice::told(SEED, 3 + lane), clock, tally));
        }
    });
    println!("{} clients killed", tally.killed());
    assert!(tally.killed() >= WANTED || is_run_over(), "only {} clients killed", tally.killed());
    steady.done();
    assert_settled(&stack);
    stack.vlmc(&["unmap", "victim1"]).done();
    let mut found = vec![0; content.len()];
    stack.client().read("frozen1", 0, &mut found).unwrap();
    assert!(found == content, "a snapshot has changed");
    assert_no_orphans(&stack);
}

/// What the lanes of a test count together.
#[derive(Default)]
struct Tally {
    begun: AtomicU32,
    killed: AtomicU32,
}

impl Tally {
    fn killed(&self) -> u32 {
        self.killed.load(Ordering::Relaxed)
    }
}

/// Starts and kills clients, one after the other, until the time is over and enough have died.
fn kill_clients(stack: &Supervised, mut dice: Dice, clock: &Clock, tally: &Tally) {
    while !clock.is_over() || (tally.killed() < WANTED && !clock.is_over_by(PATIENCE)) {
        clock.tell(format_args!("{} clients killed", tally.killed()));
        if dice.below(10) == 0 {
            vanish(stack, &mut dice);
        } else if live_and_die(stack, &mut dice, tally.begun.fetch_add(1, Ordering::Relaxed) + 1) {
            tally.killed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A command that is killed before, while or after it does something. Whether it had not ended by itself.
fn live_and_die(stack: &Supervised, dice: &mut Dice, serial: u32) -> bool {
    let (name, older) = (format!("name-{serial}"), format!("name-{}", dice.below(u64::from(serial))));
    let work: [&[&str]; 9] = [
        &["create", &name, "--snap", "frozen1"],
        &["create", &name, "--size", "16"],
        &["snapshot", "victim1", &name],
        &["import", "-", &name, "--size", "2M", "--quiet"],
        &["export", "victim1", "-", "--quiet"],
        &["rename", &older, &name],
        &["remove", &older],
        &["bench", "victim1", "--write-percent", "70", "--depth", "16", "--seconds", "5"],
        &["gc"],
    ];
    let work = work[dice.index(work.len())];
    let program = if ["bench", "gc"].contains(&work[0]) { "archipelago" } else { "vlmc" };
    let mut command = stack.command(program, work);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = command.spawn().unwrap();
    if work[0] == "import" {
        // It may have failed before it read anything.
        let _unread = client.stdin.take().unwrap().write_all(&tests::pattern(serial, 1 << 20));
    }
    thread::sleep(Duration::from_millis(dice.below(LIFE_MS)));
    client.kill().unwrap();
    client.wait().unwrap().signal() == Some(SIGKILL)
}

/// An NBD client that hangs up somewhere in its greeting.
fn vanish(stack: &Supervised, dice: &mut Dice) {
    let mut socket = UnixStream::connect(stack.path("run").join("nbd.sock")).unwrap();
    socket.read_exact(&mut [0; 18]).unwrap();
    let options = b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\x07victim1";
    socket.write_all(&options[..dice.index(options.len() + 1)]).unwrap();
    thread::sleep(Duration::from_millis(dice.below(5)));
}

#[test]
fn nbd_clients_that_are_killed_leave_nothing_behind() {
    let stack = Supervised::start();
    stack.vlmc(&["create", "victim1", "--size", "64"]).done();
    let Some(load) = Load::over_nbd(&stack, "victim1", Duration::from_secs(600)) else { return };
    stack.await_true("fio does not begin", || {
        let told = run(&mut stack.command("xseg", &["info", "--json"])).done();
        let info: serde_json::Value = serde_json::from_str(&told).unwrap();
        info["requests_in_use"].as_u64() > Some(0)
    });
    load.kill();
    assert_settled(&stack);
    stack.await_true("the dead client still counts", || stack.vlmc(&["unmap", "victim1"]).code() == Some(0));
    assert_no_orphans(&stack);
}
