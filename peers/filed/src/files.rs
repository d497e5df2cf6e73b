//! A store on files with a thread of its own, for callers in the same process.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use store::{Action, Data, ErrorKind, Store, StoreError, StoreReply, StoreRequest};

use crate::config::Config;
use crate::engine::{Engine, Surroundings};
use crate::error::Error;
use crate::ring::{Bell, Buffer};
use crate::status::Status;

/// A store on files. Calls block; any number of threads may call.
pub struct Files {
    orders: Mutex<Option<Sender<Order>>>,
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Run(Box<StoreRequest>, Call),
    Status(Sender<Status>),
    Stop,
}

/// A call that waits for its answer. The buffer belongs to the engine meanwhile.
struct Call {
    buffer: Buffer,
    answer: Sender<(Result<StoreReply, StoreError>, Buffer)>,
}

/// How long the thread sleeps at most; nothing depends on it.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

impl Files {
    /// A store as the configuration says, for at most `nr_ops` operations at a time.
    ///
    /// # Errors
    /// [`Error`] by the setting that cannot work.
    pub fn open(config: &Config, nr_ops: usize) -> Result<Self, Error> {
        Self::open_on_kernel(config, nr_ops, true)
    }

    fn open_on_kernel(config: &Config, nr_ops: usize, has_futex: bool) -> Result<Self, Error> {
        let (orders, arrived) = unbounded();
        let (opened, result) = bounded(1);
        let bell = Bell::default();
        let (config, own_bell) = (config.clone(), bell.clone());
        let builder = std::thread::Builder::new().name("filed".into());
        let serve = move || {
            let wake_bell = own_bell.clone();
            let surroundings = Surroundings { has_futex, key: None, node: None };
            match Engine::with(&config, nr_ops, Arc::new(move || wake_bell.ring()), surroundings) {
                Ok(engine) => {
                    let _is_awaited = opened.send(Ok(()));
                    Serving { engine, arrived, bell: own_bell, nr_ops, is_stopping: false }.run();
                }
                Err(error) => {
                    let _is_awaited = opened.send(Err(error));
                }
            }
        };
        let thread = builder.spawn(serve).map_err(Error::Thread)?;
        result.recv().expect("the thread says how it went")?;
        Ok(Self { orders: Mutex::new(Some(orders)), bell, thread: Some(thread) })
    }

    /// What a person wants to know of the store.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let (sender, answer) = bounded(1);
        self.send(Order::Status(sender));
        answer.recv().ok()
    }

    /// Ends calls that wait for a lock or take long, as `Unavailable`.
    pub fn stop(&self) {
        self.send(Order::Stop);
    }

    fn send(&self, order: Order) -> bool {
        let orders = self.orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_sent = orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        self.bell.ring();
        is_sent
    }
}

impl Store for Files {
    fn call(&self, request: StoreRequest, data: Data<'_>) -> Result<StoreReply, StoreError> {
        let (action, object) = (request.operation.action(), request.object.clone());
        let gone = || StoreError::new(ErrorKind::Unavailable, Action::clone(&action), &object);
        let buffer = match &data {
            Data::None => Buffer::zeroed(0),
            Data::From(bytes) => Buffer::from_bytes(bytes),
            Data::Into(bytes) => Buffer::zeroed(bytes.len()),
        };
        let (answer, answered) = bounded(1);
        self.send(Order::Run(Box::new(request), Call { buffer, answer }));
        let (result, buffer) = answered.recv().map_err(|_| gone())?;
        if let (Ok(_), Data::Into(bytes)) = (&result, data) {
            buffer.copy_to(bytes);
        }
        result
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.stop();
        *self.orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on its own.
            let _has_ended = thread.join();
        }
    }
}

/// What the thread has.
struct Serving {
    engine: Engine<Call>,
    arrived: Receiver<Order>,
    bell: Bell,
    nr_ops: usize,
    is_stopping: bool,
}

impl Serving {
    fn run(&mut self) {
        loop {
            let is_over = self.take_orders();
            self.engine.turn();
            while let Some(finished) = self.engine.finished() {
                let Call { buffer, answer } = finished.token;
                // Whoever does not wait any more does not want it.
                let _is_awaited = answer.send((finished.result, buffer));
            }
            if is_over && self.engine.is_idle() {
                return;
            }
            // What went on may have made room for orders that were left.
            let is_left = self.engine.running() < self.nr_ops && !self.arrived.is_empty();
            if is_left {
                self.engine.submit();
                continue;
            }
            if self.bell.arm() {
                self.sleep();
            }
            self.bell.disarm();
        }
    }

    /// Whether no more orders can come.
    fn take_orders(&mut self) -> bool {
        while self.engine.running() < self.nr_ops {
            match self.arrived.try_recv() {
                Ok(Order::Run(request, call)) => self.engine.start(*request, call.buffer.region(), call),
                Ok(Order::Status(answer)) => drop(answer.send(self.engine.status())),
                Ok(Order::Stop) if !std::mem::replace(&mut self.is_stopping, true) => self.engine.stop(),
                Ok(Order::Stop) => {}
                Err(crossbeam::channel::TryRecvError::Disconnected) => return true,
                Err(crossbeam::channel::TryRecvError::Empty) => return false,
            }
        }
        false
    }

    fn sleep(&mut self) {
        if self.engine.sleeps_on_ring() {
            self.engine.sleep(self.bell.futex(), LONGEST_SLEEP);
            return;
        }
        self.engine.submit();
        if !self.engine.has_news() {
            self.bell.sleep(LONGEST_SLEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Io;

    /// Linux before 6.7: transfers end on the ring, requests arrive on a futex, and no sleep covers both.
    #[test]
    fn every_claim_holds_where_the_ring_cannot_wait_for_a_futex() {
        for direct in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let config = Config { direct, fdcache: 3, nr_threads: 2, ..Config::new(directory.path()) };
            let ring = Files::open_on_kernel(&Config { io: Io::Uring, ..config.clone() }, 4, false);
            if ring.is_err() {
                eprintln!("skipped: the kernel refuses io_uring");
                return;
            }
            store::conformance::run(|| Files::open_on_kernel(&config, 4, false).unwrap());
        }
    }
}
