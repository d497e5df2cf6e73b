//! Live migration: the volume of a guest is shown on another host, where writes wait, until the host that the guest leaves closes it.
//! What the guest is told, on either host, is one history; and all of it holds when the host that it leaves is killed, or either
//! host loses its network for a while, at any step.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Host,
    history::{History, Witness},
};

const VOLUME: &str = "guest-volume";
/// Where the guest's registers are: in one block, and in others.
const REGISTERS: [u64; 3] = [0, 8192, 5 << 20];
const SIZE: u64 = 16 << 20;
/// Longer than a network is away.
const PATIENCE: Duration = Duration::from_secs(3);
/// A network is away so long.
const AWAY: Duration = Duration::from_millis(300);
/// How long the guest may take to go on.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The guest runs on the first host.
    Running,
    /// The second host shows its volume, too.
    Shown,
    /// A first write waits there.
    Waiting,
    /// The guest has stopped; the first host closes the volume.
    Closing,
    /// The guest runs on the second host.
    Moved,
}

const STEPS: [Step; 5] = [Step::Running, Step::Shown, Step::Waiting, Step::Closing, Step::Moved];

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    Nothing,
    /// The first host dies, and its lock is broken.
    Kill,
    /// One of the hosts has no network for a while.
    Cut(usize),
}

struct Migration<'a> {
    hosts: &'a [Host; 2],
    history: History,
    serial: AtomicU64,
    /// Where something happens.
    at: Step,
    trouble: Trouble,
    is_dead: AtomicBool,
    /// Who has the lock before and after.
    nodes: [String; 2],
    /// The guest was told to stop, first on one host, then on the other.
    is_stopped: [AtomicBool; 2],
}

/// Moves a guest from the first host to the second, once for each step at which there can be trouble.
///
/// # Panics
/// If no volume could have told the guest what it was told, or it does not go on.
pub fn migrate(hosts: &[Host; 2], trouble: Trouble) {
    let steps = if trouble == Trouble::Nothing { &STEPS[..1] } else { &STEPS };
    for at in steps {
        println!("{trouble:?} at {at:?}");
        Migration {
            hosts,
            history: History::default(),
            serial: AtomicU64::new(0),
            at: *at,
            trouble,
            is_dead: AtomicBool::new(false),
            nodes: hosts.each_ref().map(|host| host.stack().node),
            is_stopped: Default::default(),
        }
        .run();
    }
}

impl Migration<'_> {
    fn run(&self) {
        self.hosts[0].client().create(VOLUME, Some(SIZE), None, None).unwrap();
        self.open();
        thread::scope(|threads| {
            let leaving = threads.spawn(|| self.guest(0));
            self.reach(Step::Running);
            self.show();
            self.reach(Step::Shown);
            let arriving = threads.spawn(|| self.guest(1));
            self.reach(Step::Waiting);
            self.is_stopped[0].store(true, Ordering::Relaxed);
            leaving.join().unwrap();
            let closing = threads.spawn(|| self.close());
            self.reach(Step::Closing);
            closing.join().unwrap();
            self.reach(Step::Moved);
            thread::sleep(AWAY);
            self.is_stopped[1].store(true, Ordering::Relaxed);
            arriving.join().unwrap();
        });
        self.history.verify(REGISTERS.len()).unwrap();
        self.clear_up();
    }

    /// The first host takes the volume; what was not answered in time is asked again.
    fn open(&self) {
        let (mut witness, deadline) = (self.witness(0), Instant::now() + DEADLINE);
        while !witness.open() {
            assert!(Instant::now() < deadline, "the volume cannot be opened: {}", self.hosts[0].log());
        }
    }

    fn witness(&self, host: usize) -> Witness<'_> {
        Witness::new(&self.hosts[host], host, VOLUME, &self.history).patient(PATIENCE)
    }

    /// A step is reached: here something may happen.
    fn reach(&self, step: Step) {
        match self.trouble {
            Trouble::Kill if step == self.at => {
                self.hosts[0].kill();
                self.is_dead.store(true, Ordering::Relaxed);
                self.break_if_held();
            }
            Trouble::Cut(host) if step == self.at => {
                self.hosts[host].cut();
                thread::sleep(AWAY);
                self.hosts[host].mend();
            }
            _ => {}
        }
    }

    /// What an operator does who knows that the first host is dead.
    fn break_if_held(&self) {
        let owner = self.hosts[1].client().lock_info(VOLUME).unwrap().owner;
        if owner.as_ref() == Some(&self.nodes[0]) {
            self.witness(1).break_lock();
        }
    }

    /// The second host shows the volume while the first has its lock.
    fn show(&self) {
        let mut client = self.hosts[1].client();
        let nbd = client.stack().endpoints[0].1;
        client.attach(nbd, VOLUME, false).unwrap();
    }

    /// The guest on one host: writes, flushes and reads until it is stopped, or its host is dead. On the second host it
    /// has to get through first.
    fn guest(&self, host: usize) {
        let (mut witness, deadline) = (self.witness(host), Instant::now() + DEADLINE);
        let mut has_written = false;
        let is_over = || {
            self.is_stopped[host].load(Ordering::Relaxed)
                || (host == 0 && self.is_dead.load(Ordering::Relaxed))
        };
        for register in (0..REGISTERS.len()).cycle() {
            if is_over() && (host == 0 || has_written) {
                return;
            }
            assert!(Instant::now() < deadline, "the guest does not go on: {}", self.hosts[host].log());
            let value = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
            has_written |= witness.write(register, REGISTERS[register], value)
                && witness.flush(register, value)
                && witness.read(register, REGISTERS[register]).is_some();
        }
    }

    /// The first host gives the volume back; if its network was away, it does so again.
    fn close(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.is_dead.load(Ordering::Relaxed) && !self.witness(0).close() {
            let owner = self.hosts[1].client().lock_info(VOLUME).unwrap().owner;
            if owner.as_ref() != Some(&self.nodes[0]) && !self.is_dead.load(Ordering::Relaxed) {
                return;
            }
            assert!(Instant::now() < deadline, "the volume cannot be closed: {}", self.hosts[0].log());
        }
    }

    fn clear_up(&self) {
        if self.is_dead.load(Ordering::Relaxed) {
            self.hosts[0].boot();
        }
        let mut client = self.hosts[1].client();
        let nbd = client.stack().endpoints[0].1;
        client.detach(nbd, VOLUME, true).unwrap();
        // Detaching may have closed it.
        let _closed = client.close(VOLUME);
        client.remove(VOLUME).unwrap();
    }
}
