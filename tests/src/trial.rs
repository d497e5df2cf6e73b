//! Clients on several hosts write and read one volume, while somebody cuts cables, stops and kills hosts, and breaks locks. What
//! they were told becomes a history, which must be one that a volume could have told.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Dice, Host,
    history::{History, News, Witness},
};

/// Where the registers are: neighbours, in blocks of their own, across a long way. No two of them meet in a piece.
const REGISTERS: [u64; 6] = [0, 4096, 65536, 4 << 20, (4 << 20) + 8192, 9 << 20];
/// The volume's size in bytes.
const SIZE: u64 = 16 << 20;
/// How many clients each host has.
const CLIENTS: usize = 2;
/// A client rests at most so long between two questions, in milliseconds.
const REST_MS: u64 = 20;
/// Trouble lasts at most so long, in milliseconds; and so does peace.
const TROUBLE_MS: u64 = 1000;
/// How long a snapshot may take.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a host may take to be well again.
const PATIENCE: Duration = Duration::from_secs(60);

/// One volume, and the hosts that want it.
pub struct Trial<'a> {
    hosts: &'a [Host],
    volume: &'a str,
    history: History,
    /// The last value that was written.
    serial: AtomicU64,
    is_over: AtomicBool,
}

/// What is done to a host.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// It has no network for a while, and loses the lock.
    Cut,
    /// It stands still for a while, and loses the lock.
    Pause,
    /// It loses its power and the lock.
    Kill,
    /// It loses the lock.
    Break,
    /// It has no network for a while.
    Blink,
    /// It gives the lock back.
    Close,
    /// It takes a snapshot, so that all blocks are shared.
    Snapshot,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Cut,
    Trouble::Pause,
    Trouble::Kill,
    Trouble::Break,
    Trouble::Blink,
    Trouble::Close,
    Trouble::Snapshot,
];

impl<'a> Trial<'a> {
    /// Makes the volume.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn new(hosts: &'a [Host], volume: &'a str, news: News) -> Trial<'a> {
        hosts[0].client().create(volume, Some(SIZE), None, None).unwrap();
        let (serial, is_over) = Default::default();
        Trial { hosts, volume, history: History::new(news), serial, is_over }
    }

    /// Makes trouble for so long, lets every host have the volume once more, and looks at what was told.
    ///
    /// # Panics
    /// If no volume could have told that, or a host does not get well.
    pub fn run(&self, dice: &mut Dice, duration: Duration) {
        let until = Instant::now() + duration;
        thread::scope(|threads| {
            for host in 0..self.hosts.len() {
                for _ in 0..CLIENTS {
                    let mut dice = dice.another();
                    threads.spawn(move || self.ask(host, &mut dice));
                }
            }
            // Also when what follows panics.
            let _over = Over(&self.is_over);
            while Instant::now() < until {
                self.trouble(dice);
                rest(dice, TROUBLE_MS);
            }
        });
        (0..self.hosts.len()).for_each(|host| self.end(host));
        println!("{}", self.history);
        self.history.verify(REGISTERS.len()).unwrap();
    }

    fn witness(&self, host: usize) -> Witness<'_> {
        Witness::new(&self.hosts[host], host, self.volume, &self.history)
    }

    /// One client, until all is over.
    fn ask(&self, host: usize, dice: &mut Dice) {
        let mut witness = self.witness(host);
        while !self.is_over.load(Ordering::Relaxed) {
            let register = dice.index(REGISTERS.len());
            match dice.below(5) {
                0..3 => drop(witness.read(register, REGISTERS[register])),
                kind => {
                    let value = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
                    let is_written = witness.write(register, REGISTERS[register], value);
                    if is_written && kind == 3 {
                        witness.flush(register, value);
                    }
                }
            }
            rest(dice, REST_MS);
        }
    }

    /// One thing that happens to a host, mostly the owner, until it is over.
    fn trouble(&self, dice: &mut Dice) {
        let somebody = dice.index(self.hosts.len());
        let victim = self.owner().filter(|_| dice.below(4) > 0).unwrap_or(somebody);
        let other = (victim + 1 + dice.index(self.hosts.len() - 1)) % self.hosts.len();
        let trouble = TROUBLES[dice.index(TROUBLES.len())];
        println!("{:?}: {trouble:?} host {victim}, beside host {other}", self.history.now());
        let (host, take) = (&self.hosts[victim], |dice: &mut Dice| self.take(other, dice));
        match trouble {
            Trouble::Cut => {
                host.cut();
                take(dice);
                host.mend();
            }
            Trouble::Pause => {
                host.pause();
                take(dice);
                host.resume();
            }
            Trouble::Kill => {
                host.kill();
                take(dice);
                host.boot();
            }
            Trouble::Break => take(dice),
            Trouble::Blink => {
                host.cut();
                rest(dice, TROUBLE_MS);
                host.mend();
            }
            Trouble::Close => drop(self.witness(victim).close()),
            Trouble::Snapshot => {
                let (mut client, serial) = (host.client(), self.history.now().as_micros());
                client.set_patience(SNAPSHOT_PATIENCE);
                // Whoever has no lock fails.
                let _taken = client.snapshot(self.volume, &format!("snapshot-{serial}"));
            }
        }
    }

    /// Takes the lock from whoever has it, and sometimes keeps it; then the volume is used for a while.
    fn take(&self, host: usize, dice: &mut Dice) {
        rest(dice, TROUBLE_MS / 4);
        let mut witness = self.witness(host);
        witness.break_lock();
        if dice.below(2) == 0 {
            witness.open();
        }
        rest(dice, TROUBLE_MS);
    }

    /// Who has the lock, as the first host knows.
    fn owner(&self) -> Option<usize> {
        let owner = self.hosts[0].client().lock_info(self.volume).ok()?.owner?;
        self.hosts.iter().position(|host| host.stack().node == owner)
    }

    /// The host gets the volume, writes and reads all of it, and gives it back.
    fn end(&self, host: usize) {
        let (mut witness, deadline) = (self.witness(host), Instant::now() + PATIENCE);
        while !witness.open() {
            assert!(
                Instant::now() < deadline,
                "host {host} does not get the volume: {}",
                self.hosts[host].log()
            );
            witness.break_lock();
        }
        for (register, offset) in REGISTERS.into_iter().enumerate() {
            let value = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
            witness.read(register, offset).unwrap();
            assert!(witness.write(register, offset, value) && witness.flush(register, value));
            assert_eq!(witness.read(register, offset), Some(value));
        }
        assert!(witness.close());
    }
}

fn rest(dice: &mut Dice, max_ms: u64) {
    thread::sleep(Duration::from_millis(dice.below(max_ms)));
}

/// Ends the clients when dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
