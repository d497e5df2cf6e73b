//! The inbox under the model checker: every interleaving of small cases, with deaths at every step.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p xseg --release --lib`.

use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use loom::{
    sync::{Arc, Notify, atomic::AtomicBool},
    thread,
};

use crate::{
    inbox::{Cells, Taken, arm, ask_audit, collect, disarm, inherit, push, reclaim, ring},
    state::{Holder, Phase, State},
    sync::{AtomicU32, AtomicU64, Ordering},
};

const TARGET: u32 = 0;
const ME: Holder = Holder { port: TARGET, incarnation: 1 };
const NEXT: Holder = Holder { port: TARGET, incarnation: 2 };

loom::thread_local! {
    /// Steps until this thread dies; 0 for never.
    static LEFT: Cell<u32> = Cell::new(0);
}

/// How a thread dies in a model.
struct Died;

/// Called at every named step of the protocol.
pub(crate) fn reach() {
    let left = LEFT.with(|left| left.replace(left.get().saturating_sub(1)));
    if left == 1 {
        resume_unwind(Box::new(Died));
    }
}

/// Runs `work`, which dies at its `steps`-th step. Whether it came to its end.
fn mortal(steps: u32, work: impl FnOnce()) -> bool {
    LEFT.with(|left| left.set(steps));
    let end = catch_unwind(AssertUnwindSafe(work));
    LEFT.with(|left| left.set(0));
    match end {
        Ok(()) => true,
        Err(cause) if cause.is::<Died>() => false,
        Err(cause) => resume_unwind(cause),
    }
}

/// A segment of one receiving port and a few slots, made of the checker's atomics.
struct Table {
    inbox: AtomicU32,
    audit: AtomicU32,
    states: Vec<AtomicU64>,
    nexts: Vec<AtomicU32>,
    tos: Vec<AtomicU32>,
    sleeper: Notify,
    /// Whether the pusher of the model is known to be dead.
    is_dead: AtomicBool,
}

impl Table {
    fn new(slots: u32) -> Arc<Table> {
        Arc::new(Table {
            inbox: AtomicU32::new(0),
            audit: AtomicU32::new(0),
            states: (0..slots).map(|slot| AtomicU64::new(held(slot).encode())).collect(),
            nexts: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            tos: (0..slots).map(|_| AtomicU32::new(9)).collect(),
            sleeper: Notify::new(),
            is_dead: AtomicBool::new(false),
        })
    }

    fn push(&self, slot: u32) {
        let sender = sender(slot);
        push(self, slot, held(slot).passing(sender.port, sender.incarnation, 1, false), TARGET);
    }

    fn collect(&self, found: &mut VecDeque<Taken>) {
        let is_dead = |_: Holder| self.is_dead.load(Ordering::Acquire);
        collect(self, ME, found, |_, state| state.phase == Phase::Passing, is_dead);
    }

    /// As `wait`: sleeps unless there is a reason not to.
    fn sleep(&self) {
        if arm(self, TARGET) && self.audit.load(Ordering::Relaxed) == 0 {
            self.nap();
        }
        disarm(self, TARGET);
    }

    /// As a futex: sleeps only if the word still says so.
    fn nap(&self) {
        if self.inbox.load(Ordering::Relaxed) == crate::abi::INBOX_SLEEPING {
            self.sleeper.wait();
        }
    }

    fn holder(&self, slot: u32) -> Holder {
        let state = State::decode(self.states[at(slot)].load(Ordering::Acquire)).unwrap();
        assert_eq!(state.phase, Phase::Held);
        Holder { port: state.port, incarnation: state.incarnation }
    }
}

fn at(number: u32) -> usize {
    usize::try_from(number).unwrap()
}

/// Each slot has a sender of its own.
fn sender(slot: u32) -> Holder {
    Holder { port: slot + 1, incarnation: 1 }
}

fn held(slot: u32) -> State {
    State::held(sender(slot).port, sender(slot).incarnation)
}

impl Cells for Table {
    fn slots(&self) -> u32 {
        u32::try_from(self.states.len()).unwrap()
    }

    fn inbox(&self, _port: u32) -> &AtomicU32 {
        &self.inbox
    }

    fn audit(&self, _port: u32) -> &AtomicU32 {
        &self.audit
    }

    fn state(&self, slot: u32) -> &AtomicU64 {
        &self.states[at(slot)]
    }

    fn next(&self, slot: u32) -> &AtomicU32 {
        &self.nexts[at(slot)]
    }

    fn to(&self, slot: u32) -> &AtomicU32 {
        &self.tos[at(slot)]
    }

    fn wake(&self, _port: u32) {
        self.sleeper.notify();
    }

    fn anomaly(&self) {
        panic!("a correct peer caused an anomaly");
    }
}

fn slots(found: &VecDeque<Taken>) -> Vec<u32> {
    found.iter().map(|taken| taken.slot).collect()
}

#[test]
fn requests_arrive_once_and_in_the_order_of_each_sender() {
    loom::model(|| {
        let table = Table::new(3);
        let one = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                table.push(0);
                table.push(1)
            })
        };
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.push(2))
        };
        let mut found = VecDeque::new();
        table.collect(&mut found);
        one.join().unwrap();
        table.collect(&mut found);
        other.join().unwrap();
        table.collect(&mut found);
        let order = slots(&found);
        let place = |slot| order.iter().position(|&it| it == slot).unwrap();
        assert_eq!(order.len(), 3);
        assert!(place(0) < place(1));
        assert!((0..3).all(|slot| table.holder(slot) == ME));
    });
}

/// Tries interleavings with at most so many involuntary switches between threads.
fn bounded(switches: usize) -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder
}

#[test]
fn a_sleeping_owner_is_woken_by_every_push() {
    bounded(2).check(|| {
        let table = Table::new(2);
        for slot in 0..2 {
            let table = Arc::clone(&table);
            thread::spawn(move || table.push(slot));
        }
        let mut found = VecDeque::new();
        while found.len() < 2 {
            table.collect(&mut found);
            if found.len() < 2 {
                table.sleep();
            }
        }
    });
}

#[test]
fn a_sleeping_owner_is_woken_by_a_ring() {
    loom::model(|| {
        let table = Table::new(1);
        let reason = Arc::new(AtomicU32::new(0));
        let waker = {
            let (table, reason) = (Arc::clone(&table), Arc::clone(&reason));
            thread::spawn(move || {
                reason.store(1, Ordering::Relaxed);
                ring(&*table, TARGET);
            })
        };
        while reason.load(Ordering::Relaxed) == 0 {
            if arm(&*table, TARGET) && reason.load(Ordering::Relaxed) == 0 {
                table.nap();
            }
            disarm(&*table, TARGET);
        }
        waker.join().unwrap();
    });
}

/// The first owner dies at each step of receiving, while somebody pushes all the time.
#[test]
fn a_successor_finds_each_request_once_wherever_its_predecessor_died() {
    for steps in 1..=4 {
        loom::model(move || {
            let table = Table::new(3);
            table.push(0);
            let pusher = {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    table.push(1);
                    table.push(2)
                })
            };
            let mut lost = VecDeque::new();
            mortal(steps, || table.collect(&mut lost));
            let found = inherit(&*table, NEXT, |_| false);
            let again = reclaim(&*table, NEXT, |_| ());
            pusher.join().unwrap();
            let late = inherit(&*table, NEXT, |_| false);
            let mut all: Vec<u32> = again.iter().map(|&(slot, _)| slot).collect();
            all.extend(slots(&found));
            all.extend(slots(&late));
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2]);
            assert!((0..3).all(|slot| table.holder(slot) == NEXT));
        });
    }
}

/// A pusher dies at each step of a push, while the owner receives, and somebody else pushes.
#[test]
fn what_a_dead_pusher_left_is_received_once_wherever_it_died() {
    for steps in 1..=6 {
        bounded(3).check(move || {
            let table = Table::new(2);
            let mortal_pusher = {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let is_complete = mortal(steps, || table.push(0));
                    table.is_dead.store(true, Ordering::Release);
                    ask_audit(&*table, TARGET);
                    is_complete
                })
            };
            let mut found = VecDeque::new();
            // At the first step the request is still its sender's.
            let expected = usize::from(steps > 1);
            while found.len() < expected {
                table.collect(&mut found);
                if found.len() < expected {
                    table.sleep();
                }
            }
            mortal_pusher.join().unwrap();
            table.push(1);
            table.collect(&mut found);
            assert_eq!(slots(&found).len(), expected + 1);
            assert_eq!(table.holder(1), ME);
        });
    }
}
