//! What the machine can do at best: one cache line, one futex.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::thread::futex;

use crate::{Cores, measure};

#[repr(align(128))]
struct Line(AtomicU32);

/// A word goes to the other core and back.
pub(crate) fn line(rounds: u32) -> f64 {
    let word = Line(AtomicU32::new(0));
    let until = |value| {
        while word.0.load(Ordering::Acquire) != value {
            spin_loop();
        }
    };
    let server = || {
        for round in 0..rounds {
            until(round * 2 + 1);
            word.0.store(round * 2 + 2, Ordering::Release);
        }
    };
    let client = || {
        for round in 0..rounds {
            word.0.store(round * 2 + 1, Ordering::Release);
            until(round * 2 + 2);
        }
    };
    measure(Cores::Two, rounds, server, client)
}

/// Two threads wake each other by turns.
pub(crate) fn futex(cores: Cores, rounds: u32) -> f64 {
    let words = [Line(AtomicU32::new(0)), Line(AtomicU32::new(0))];
    let wait = |word: &Line| {
        while word.0.load(Ordering::Acquire) == 0 {
            let _ = futex::wait(&word.0, futex::Flags::empty(), 0, None);
        }
        word.0.store(0, Ordering::Relaxed);
    };
    let wake = |word: &Line| {
        word.0.store(1, Ordering::Release);
        futex::wake(&word.0, futex::Flags::empty(), 1).unwrap();
    };
    let server = || {
        for _ in 0..rounds {
            wait(&words[0]);
            wake(&words[1]);
        }
    };
    let client = || {
        for _ in 0..rounds {
            wake(&words[0]);
            wait(&words[1]);
        }
    };
    measure(cores, rounds, server, client)
}
