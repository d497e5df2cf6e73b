//! Requests that wait for a lock: one thread for all of them, which sleeps until a lock's directory changes.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, unbounded};
use peer::node::unix_ms;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use store::{ErrorKind, LockWait, StoreOperation, StoreReply, StoreRequest};

use crate::error::Error;
use crate::fault::{Fault, Result};
use crate::locks::Locks;
use crate::pool::{Fatal, Hands, Outcome};

/// The waiting requests; bounded by the requests that run.
pub(crate) struct Waiting {
    arrivals: Option<Sender<Waiter>>,
    doorbell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// A request that waits.
struct Waiter {
    slot: u32,
    request: Box<StoreRequest>,
    since_unix_ms: u64,
    /// The watch on its lock's directory; none if that cannot be watched.
    watch: Option<i32>,
    /// When to look again, whether or not something happened; none if this host sees all that happens.
    due: Option<Instant>,
    pause: Duration,
}

/// Any number but 0 and the greatest rings the doorbell.
const RING: [u8; 8] = [1; 8];
/// First pause between two looks at a lock that other hosts may give back.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Waiting {
    /// `is_shared`: other hosts may give locks back, unseen by this one.
    pub(crate) fn start(hands: Hands, is_shared: bool) -> std::result::Result<Self, Error> {
        let (arrivals, arrived) = unbounded();
        let doorbell = Arc::new(
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|errno| Error::Thread(errno.into()))?,
        );
        let watches = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let is_polling = is_shared || hands.objects.locks.has_legacy();
        let room = Room { hands, watches, is_polling, waiters: Vec::new(), watched: HashMap::new() };
        let bell = doorbell.clone();
        let builder = std::thread::Builder::new().name("filed-waiting".into());
        let thread = builder.spawn(move || room.run(&arrived, &bell)).map_err(Error::Thread)?;
        Ok(Self { arrivals: Some(arrivals), doorbell, thread: Some(thread) })
    }

    /// Whether it will be heard of again: not once this has stopped.
    pub(crate) fn wait(&self, slot: u32, request: Box<StoreRequest>) -> bool {
        let since_unix_ms = unix_ms();
        let waiter = Waiter { slot, request, since_unix_ms, watch: None, due: None, pause: PAUSE_MIN };
        if let Some(arrivals) = &self.arrivals {
            arrivals.send(waiter).expect("the thread lives as long as its sender");
            self.ring();
        }
        self.arrivals.is_some()
    }

    /// Ends the thread; what still waits ends as `Unavailable`.
    pub(crate) fn stop(&mut self) {
        self.arrivals = None;
        self.ring();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on its own.
            let _has_ended = thread.join();
        }
    }

    fn ring(&self) {
        // It can only fail when the counter is full, and then the bell has been rung.
        let _rung = rustix::io::write(&self.doorbell, &RING);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread has.
struct Room {
    hands: Hands,
    watches: Option<OwnedFd>,
    is_polling: bool,
    waiters: Vec<Waiter>,
    /// How many wait for each watch.
    watched: HashMap<i32, usize>,
}

impl Room {
    fn run(mut self, arrived: &Receiver<Waiter>, doorbell: &OwnedFd) {
        let _fatal = Fatal;
        loop {
            loop {
                match arrived.try_recv() {
                    Ok(waiter) => self.admit(waiter),
                    Err(crossbeam::channel::TryRecvError::Empty) => break,
                    Err(crossbeam::channel::TryRecvError::Disconnected) => return self.send_home(),
                }
            }
            self.sleep(doorbell);
            self.look_after_events();
            self.look_when_due();
        }
    }

    /// Watches first and looks then, so that nothing that happens between is missed.
    fn admit(&mut self, mut waiter: Waiter) {
        waiter.watch = self.watch(&waiter);
        if self.is_polling || waiter.watch.is_none() {
            waiter.due = Some(Instant::now() + waiter.pause);
        }
        self.waiters.push(waiter);
        if !self.look(self.waiters.len() - 1) {
            self.tell();
        }
    }

    fn watch(&mut self, waiter: &Waiter) -> Option<i32> {
        let directory = Locks::directory(&waiter.request.object);
        let path = self.hands.objects.locks.root().full_path(&directory);
        let flags = WatchFlags::CREATE | WatchFlags::MODIFY;
        let watch = inotify::add_watch(self.watches.as_ref()?, path, flags).ok()?;
        *self.watched.entry(watch).or_default() += 1;
        Some(watch)
    }

    /// Tries the lock of one waiter; true if it waits no longer.
    fn look(&mut self, index: usize) -> bool {
        let result = self.attempt(&self.waiters[index].request);
        if result.as_ref().is_err_and(|fault| fault.kind() == ErrorKind::Busy) {
            return false;
        }
        let waiter = self.waiters.remove(index);
        self.finish(waiter, result);
        true
    }

    /// Tells the other nodes for which locks this one waits.
    fn tell(&self) {
        let wait = |waiter: &Waiter| LockWait {
            lock: String::from_utf8_lossy(waiter.request.object.as_bytes()).into_owned(),
            since_unix_ms: waiter.since_unix_ms,
        };
        self.hands.objects.entry.waits(self.waiters.iter().map(wait).collect());
    }

    fn attempt(&self, request: &StoreRequest) -> Result<StoreReply> {
        let StoreOperation::Acquire { owner, description, force, .. } = &request.operation else {
            return Err(ErrorKind::Unsupported.into());
        };
        let number = self.hands.objects.locks.acquire(&request.object, owner, description, *force)?;
        Ok(StoreReply::Granted(number))
    }

    fn finish(&mut self, waiter: Waiter, result: Result<StoreReply>) {
        if let Some(watch) = waiter.watch
            && let Some(count) = self.watched.get_mut(&watch)
        {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(&watch);
                // The watch may have ended with its directory.
                let _is_removed = self.watches.as_ref().map(|all| inotify::remove_watch(all, watch));
            }
        }
        // Nobody listens any more once the engine is gone.
        let _is_heard = self.hands.ended.send((waiter.slot, Outcome::Replied(result)));
        (self.hands.wake)();
    }

    fn sleep(&self, doorbell: &OwnedFd) {
        let mut files = vec![PollFd::new(doorbell, PollFlags::IN)];
        files.extend(self.watches.iter().map(|watches| PollFd::new(watches, PollFlags::IN)));
        let due = self.waiters.iter().filter_map(|waiter| waiter.due).min();
        let timeout = due.map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        // Whatever ends the sleep, all is looked at.
        let _ready = poll(&mut files, timeout.as_ref());
        let has_rung = files[0].revents().contains(PollFlags::IN);
        if has_rung {
            let _count = rustix::io::read(doorbell, &mut [0_u8; 8]);
        }
    }

    fn look_after_events(&mut self) {
        let mut happened = Vec::new();
        if let Some(watches) = &self.watches {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(watches, &mut buffer);
            while let Ok(event) = events.next() {
                happened.push(event.wd());
            }
        }
        // A watch number below 0 says that events were lost, so anything may have happened.
        let anything = happened.iter().any(|watch| *watch < 0);
        if !happened.is_empty() {
            self.look_at(|waiter| anything || waiter.watch.is_some_and(|watch| happened.contains(&watch)));
        }
    }

    fn look_when_due(&mut self) {
        let now = Instant::now();
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.due.is_some_and(|due| due <= now)) {
            waiter.pause = (waiter.pause * 2).min(PAUSE_MAX);
        }
        self.look_at(|waiter| waiter.due.is_some_and(|due| due <= now));
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.due.is_some_and(|due| due <= now)) {
            waiter.due = Some(now + waiter.pause);
        }
    }

    /// Tries the locks of those who are meant, first come, first served.
    fn look_at(&mut self, is_meant: impl Fn(&Waiter) -> bool) {
        let before = self.waiters.len();
        let mut index = 0;
        while index < self.waiters.len() {
            if !is_meant(&self.waiters[index]) || !self.look(index) {
                index += 1;
            }
        }
        if self.waiters.len() < before {
            self.tell();
        }
    }

    fn send_home(mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            self.finish(waiter, Err(Fault::Kind(ErrorKind::Unavailable)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::engine::Engine;
    use crate::ring::Region;
    use store::ObjectName;

    #[test]
    fn who_finds_the_lock_taken_after_the_stop_is_sent_home() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let (wake, woken) = unbounded();
        let wake = Arc::new(move || wake.send(()).unwrap());
        let mut engine = Engine::new(&Config::new(directory.path()), 16, wake).unwrap();
        let acquire = |engine: &mut Engine<()>, owner: &str| {
            let (owner, description) = (owner.to_owned(), String::new());
            let operation = StoreOperation::Acquire { owner, description, wait: true, force: false };
            let request = StoreRequest::new(&ObjectName::new("volume").unwrap(), operation);
            engine.start(request, Region::EMPTY, ());
            loop {
                engine.turn();
                if let Some(finished) = engine.finished() {
                    return finished.result;
                }
                woken.recv_timeout(Duration::from_mins(1)).expect("it ends");
            }
        };
        acquire(&mut engine, "a").unwrap();
        engine.stop();
        assert_eq!(acquire(&mut engine, "b").unwrap_err().kind, ErrorKind::Unavailable);
    }
}
