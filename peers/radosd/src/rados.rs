//! A store in RADOS with a thread of its own, for callers in the same process.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use store::{Data, ErrorKind, Store, StoreError, StoreReply, StoreRequest};

use crate::config::Config;
use crate::engine::{Engine, Finished};
use crate::error::Error;
use crate::librados::{Buffer, Region};
use crate::link::Own;

/// A store in RADOS. Calls block; any number of threads may call.
pub struct Rados {
    orders: Mutex<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Run(Box<StoreRequest>, Call),
    /// Another thread has told the engine something.
    Turn,
    Stop,
}

/// A call that waits for its answer. The buffer belongs to the engine meanwhile.
struct Call {
    buffer: Option<Buffer>,
    answer: Sender<(Result<StoreReply, StoreError>, Option<Buffer>)>,
}

/// How often locks that are waited for are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Rados {
    /// Connects to the cluster, as the configuration says.
    ///
    /// # Errors
    /// [`Error`] by the setting that cannot work, or what cannot be reached.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let (orders, arrived) = unbounded();
        let (opened, result) = bounded(1);
        let (config, bell) = (config.clone(), orders.clone());
        let builder = std::thread::Builder::new().name("radosd".into());
        let serve = move || {
            let wake = Arc::new(move || drop(bell.send(Order::Turn)));
            match Engine::new(&config, Own { key: unique_key(), note: None, node: None }, wake) {
                Ok(engine) => {
                    let _is_awaited = opened.send(Ok(()));
                    serve(engine, &arrived);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        };
        let thread = builder.spawn(serve).map_err(Error::Thread)?;
        result.recv().expect("the thread says how it went")?;
        Ok(Self { orders: Mutex::new(orders), thread: Some(thread) })
    }

    fn orders(&self) -> MutexGuard<'_, Sender<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nobody else has, in records of locks: the state of a new hasher is chosen at random.
fn unique_key() -> String {
    let words = [0, 1].map(|_| RandomState::new().build_hasher().finish());
    format!("{:016x}{:016x}", words[0], words[1])
}

impl Store for Rados {
    fn call(&self, request: StoreRequest, data: Data<'_>) -> Result<StoreReply, StoreError> {
        let (action, object) = (request.operation.action(), request.object.clone());
        let gone = || StoreError::new(ErrorKind::Unavailable, action, &object);
        let buffer = match &data {
            Data::None => None,
            Data::From(bytes) => Some(Buffer::of(bytes)),
            Data::Into(bytes) => Some(Buffer::of(bytes)),
        };
        let (answer, answered) = bounded(1);
        let order = Order::Run(Box::new(request), Call { buffer, answer });
        self.orders().send(order).map_err(|_| gone())?;
        let (result, buffer) = answered.recv().map_err(|_| gone())?;
        if let (Ok(_), Data::Into(bytes), Some(buffer)) = (&result, data, buffer) {
            bytes.copy_from_slice(&buffer.region().to_vec());
        }
        result
    }
}

impl Drop for Rados {
    fn drop(&mut self) {
        // A thread that has ended needs no word.
        let _is_heard = self.orders().send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on its own.
            let _has_ended = thread.join();
        }
    }
}

fn serve(mut engine: Engine<Call>, arrived: &Receiver<Order>) {
    loop {
        match arrived.recv_timeout(LOOK_AGAIN) {
            Ok(Order::Run(request, call)) => {
                let region = call.buffer.as_ref().map_or(Region::EMPTY, Buffer::region);
                engine.start(*request, region, call);
            }
            Ok(Order::Turn) => drop(engine.turn()),
            Err(RecvTimeoutError::Timeout) => engine.look_again(),
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(Finished { token, result, .. }) = engine.finished() {
            // Who does not wait for an answer any more needs none.
            let _is_heard = token.answer.send((result, token.buffer));
        }
    }
}
