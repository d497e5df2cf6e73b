//! Processes are killed at every step; whoever survives sees a pause, never an error, and nothing leaks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod roles;

use std::{
    collections::HashMap,
    os::unix::process::ExitStatusExt,
    process::Child,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use roles::{BUFFER, DEPTH, FILTER, Role, SERVER, spawn};
use xseg::{Geometry, Port, Received, Reserve, Segment};

const LONG: Duration = Duration::from_secs(600);
const SERVERS: [Role; 3] = [Role::Server, Role::Store, Role::Filter];
/// Longest time without a reply, and without a death, before the test calls it a hang: a server that dies at each of its first
/// steps, one after the other, answers nobody for as long as it takes to start so many processes.
const PATIENCE: Duration = Duration::from_secs(60);
/// A process's steps from its start, each of which is a place to die.
#[cfg(feature = "killpoints")]
const STEPS: u64 = 400;
/// Kills at random times, for each role.
const RANDOM_KILLS: u64 = 150;

#[test]
#[ignore = "what the other tests start as processes"]
fn play_a_role() {
    roles::play();
}

struct Scene {
    name: String,
    segment: Segment,
    is_over: AtomicBool,
    answered: AtomicU64,
    kills: AtomicU64,
    /// The survivor gave up: nobody keeps the others busy any more.
    is_lost: AtomicBool,
    /// Who runs now, to be ended if all is lost.
    running: Mutex<HashMap<u32, Role>>,
    /// Deaths that were not as told.
    log: Mutex<Vec<String>>,
}

/// Ends the other processes if the survivor panics.
struct Alarm<'a>(&'a Scene);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_lost.store(true, Ordering::SeqCst);
            for &pid in self.0.running.lock().unwrap().keys() {
                let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
                kill_process(pid, Signal::KILL).unwrap();
            }
        }
    }
}

impl Scene {
    fn new(kind: &str) -> Scene {
        let name = format!("xseg-{kind}-{}", std::process::id());
        let segment = Segment::create(&name, Geometry::new(32, 8, 1024, 8 << 20).unwrap()).unwrap();
        segment.set_route(SERVER, Some(FILTER)).unwrap();
        Scene {
            name,
            segment,
            is_over: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            kills: AtomicU64::new(0),
            is_lost: AtomicBool::new(false),
            running: Mutex::new(HashMap::new()),
            log: Mutex::new(Vec::new()),
        }
    }

    /// Sends requests until the scene is over. Each must be answered once, rightly, in time.
    fn survive(&self) {
        let _alarm = Alarm(self);
        let mut port = self.segment.bind_dynamic(Reserve { requests: 32, bytes: 256 * 1024 }).unwrap();
        let mut under_way = HashMap::new();
        let mut number = 1 << 32;
        let (mut last, mut kills) = (Instant::now(), 0);
        loop {
            let is_over = self.is_over.load(Ordering::Relaxed);
            if is_over && under_way.is_empty() {
                return;
            }
            while under_way.len() < DEPTH && !is_over {
                number += 1;
                under_way.insert(self.send(&mut port, number), number);
            }
            port.wait(Some(Instant::now() + Duration::from_millis(100)));
            while let Some(received) = port.receive() {
                let Received::Reply(held) = received else { panic!("a request for a client") };
                let mut bytes = [0; 8];
                held.read(0, &mut bytes).unwrap();
                let wanted = under_way.remove(&held.slot());
                assert_eq!(wanted, Some(held.offset()), "an answer to what was not asked");
                assert_eq!((held.status(), u64::from_le_bytes(bytes)), (0, held.offset()));
                port.free(held);
                self.answered.fetch_add(1, Ordering::Relaxed);
                last = Instant::now();
            }
            let kills_before = std::mem::replace(&mut kills, self.kills.load(Ordering::Relaxed));
            if kills > kills_before {
                last = Instant::now();
            }
            if last.elapsed() > PATIENCE {
                panic!(
                    "no answer for {PATIENCE:?}: {:#?} {:#?}",
                    self.segment.ports(),
                    self.segment.requests()
                );
            }
        }
    }

    fn send(&self, port: &mut Port, number: u64) -> u32 {
        let mut held = port.allocate(BUFFER).unwrap();
        held.set_offset(number);
        held.write(0, &[0xff; 8]).unwrap();
        let slot = held.slot();
        port.submit(held, SERVER).unwrap();
        slot
    }

    /// Lets processes in `role` die, one after the other.
    fn kill_all(&self, role: Role, deaths: &[Death]) {
        for &death in deaths {
            let at = if let Death::AtStep(step) = death { step } else { 0 };
            let mut child = {
                let mut running = self.running.lock().unwrap();
                if self.is_lost.load(Ordering::SeqCst) {
                    return;
                }
                let child = spawn(role, &self.name, at, LONG);
                running.insert(child.id(), role);
                child
            };
            if let Death::After(time) = death {
                thread::sleep(time);
                child.kill().unwrap();
            }
            let status = child.wait().unwrap();
            self.running.lock().unwrap().remove(&child.id());
            if status.signal() != Some(9) {
                self.log.lock().unwrap().push(format!("{role:?} {death:?}: {status}"));
            }
            self.kills.fetch_add(1, Ordering::Relaxed);
            self.segment.reap();
        }
    }

    /// Lets the victims die while the other servers stay alive, then lets what is left come to an end.
    fn play(&self, victims: Vec<(Role, Vec<Death>)>) {
        let is_victim = |role| victims.iter().any(|&(victim, _)| victim == role);
        let others = SERVERS.into_iter().filter(|&role| !is_victim(role)).map(|role| self.start(role));
        let mut lasting: Vec<Child> = others.collect();
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            let survivor = scope.spawn(|| self.survive());
            for (role, deaths) in &victims {
                let done = done.clone();
                scope.spawn(move || {
                    self.kill_all(*role, deaths);
                    done.send(*role).unwrap();
                });
            }
            // Started by this thread: they die with the thread that started them.
            for role in is_done.iter().take(victims.len()) {
                if SERVERS.contains(&role) {
                    lasting.push(self.start(role));
                }
            }
            self.is_over.store(true, Ordering::Relaxed);
            let end = survivor.join();
            if end.is_ok() {
                self.settle();
            }
            for child in &mut lasting {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            assert!(end.is_ok(), "the survivor failed");
        });
        self.check();
    }

    fn start(&self, role: Role) -> Child {
        spawn(role, &self.name, 0, LONG)
    }

    /// Waits until what dead clients had under way is answered to nobody.
    fn settle(&self) {
        let start = Instant::now();
        while !self.segment.requests().is_empty() {
            self.segment.reap();
            thread::yield_now();
            assert!(start.elapsed() < PATIENCE, "requests leaked: {:#?}", self.segment.requests());
        }
    }

    fn check(&self) {
        let name = &self.name;
        self.segment.reap();
        assert_eq!(self.log.lock().unwrap().as_slice(), [""; 0], "processes that did not die as told");
        assert_eq!(self.segment.verify(), [], "{name}");
        assert_eq!(self.segment.anomalies(), 0, "{name}");
        let dynamic = self.segment.ports().into_iter().filter(|port| !port.is_static);
        for port in dynamic {
            assert_eq!((port.pid, port.slots, port.arena_bytes, port.waiting), (None, 0, 0, 0), "{port:?}");
        }
        let kept: u64 = self.segment.ports().iter().map(|port| port.arena_bytes).sum();
        let rest = Reserve { requests: 16, bytes: (8 << 20) - kept };
        drop(self.segment.bind_dynamic(rest).unwrap());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        Segment::destroy(&self.name).unwrap();
    }
}

#[derive(Clone, Copy, Debug)]
enum Death {
    #[cfg_attr(not(feature = "killpoints"), expect(dead_code, reason = "needs the feature"))]
    AtStep(u64),
    After(Duration),
}

/// A small generator: the same deaths in each run.
fn scatter(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed), |&state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    })
    .map(|state| state >> 33)
}

#[test]
#[cfg(feature = "killpoints")]
fn a_kill_at_any_step_costs_survivors_a_pause_and_nothing_else() {
    for role in Role::ALL {
        let scene = Scene::new("steps");
        scene.play(vec![(role, (1..=STEPS).map(Death::AtStep).collect())]);
        assert!(scene.answered.load(Ordering::Relaxed) > 0);
    }
}

#[test]
#[cfg(feature = "killpoints")]
fn kills_of_neighbours_at_any_steps_cost_survivors_a_pause_and_nothing_else() {
    let scene = Scene::new("pairs");
    let deaths =
        |seed| scatter(seed).skip(3).map(|number| Death::AtStep(200 + number % 2000)).take(200).collect();
    scene.play(Role::ALL.into_iter().zip(1..).map(|(role, seed)| (role, deaths(seed))).collect());
}

#[test]
fn a_kill_at_any_time_costs_survivors_a_pause_and_nothing_else() {
    let scene = Scene::new("random");
    let deaths = |seed| {
        let times = scatter(seed).skip(3).map(|number| Death::After(Duration::from_micros(number % 30_000)));
        times.take(usize::try_from(RANDOM_KILLS).unwrap()).collect()
    };
    scene.play(Role::ALL.into_iter().zip(1..).map(|(role, seed)| (role, deaths(seed))).collect());
    assert!(scene.answered.load(Ordering::Relaxed) > 0);
}
