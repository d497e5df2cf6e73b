//! Threads for what blocks.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use store::{Fence, ObjectName, StoreOperation, StoreReply, StoreRequest};

use crate::error::Error;
use crate::fault::Result;
use crate::fences::Pass;
use crate::handle::{Handle, Purpose};
use crate::objects::Objects;
use crate::ring::Region;

/// Wakes the engine's thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Work that blocks, for the operation in a slot of the engine.
pub(crate) struct Job {
    pub(crate) slot: u32,
    pub(crate) work: Work,
}

pub(crate) enum Work {
    /// Open an object.
    Open(ObjectName, Purpose),
    /// Make an object that was opened to be read ready to be changed.
    Claim(Arc<Handle>),
    /// Remove what was made for an operation that failed.
    GiveUp(Arc<Handle>),
    /// Read the record of a lock.
    Enter(Fence),
    /// Make the name of a written object durable.
    SyncName(Arc<Handle>),
    /// An operation on an open object of which so many bytes are done.
    OnOpen(Box<StoreRequest>, Arc<Handle>, Region, usize),
    /// An operation on a name.
    OnName(Box<StoreRequest>, Region),
}

/// How a job ended.
pub(crate) enum Outcome {
    Opened(Result<Arc<Handle>>),
    Claimed(Result<()>),
    GivenUp,
    Entered(Result<Pass>),
    Replied(Result<StoreReply>),
}

/// The threads. Each operation has at most one job, so the queues are bounded by the operations that run.
pub(crate) struct Pool {
    quick: Option<Sender<Job>>,
    heavy: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// What each thread has.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) objects: Arc<Objects>,
    pub(crate) ended: Sender<(u32, Outcome)>,
    pub(crate) wake: Wake,
}

impl Pool {
    /// Every second thread serves only what is quick, so that copies and lists never hold up an open.
    pub(crate) fn start(count: usize, hands: &Hands) -> std::result::Result<Self, Error> {
        let (quick, quick_jobs) = unbounded();
        let (heavy, heavy_jobs) = unbounded();
        let mut pool = Self { quick: Some(quick), heavy: Some(heavy), threads: Vec::with_capacity(count) };
        for index in 0..count {
            let hands = hands.clone();
            let quick_jobs = quick_jobs.clone();
            let heavy_jobs = if index % 2 == 0 { heavy_jobs.clone() } else { crossbeam::channel::never() };
            let builder = std::thread::Builder::new().name(format!("filed-{index}"));
            pool.threads
                .push(builder.spawn(move || hands.serve(&quick_jobs, &heavy_jobs)).map_err(Error::Thread)?);
        }
        Ok(pool)
    }

    pub(crate) fn run(&self, job: Job) {
        let queue = if job.work.is_heavy() { &self.heavy } else { &self.quick };
        if let Some(queue) = queue {
            queue.send(job).expect("the threads live as long as the pool");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        (self.quick, self.heavy) = (None, None);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on its own.
            let _has_ended = thread.join();
        }
    }
}

impl Work {
    fn is_heavy(&self) -> bool {
        let (Self::OnOpen(request, ..) | Self::OnName(request, _)) = self else { return false };
        matches!(
            request.operation,
            StoreOperation::Copy { .. }
                | StoreOperation::Hash
                | StoreOperation::List { .. }
                | StoreOperation::Flush
                | StoreOperation::Nodes
                | StoreOperation::Scrub { .. }
        )
    }
}

/// Ends the process if its thread panics: the operation it has would never be answered, and a restart serves it again.
pub(crate) struct Fatal;

impl Drop for Fatal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

impl Hands {
    fn serve(&self, quick: &Receiver<Job>, heavy: &Receiver<Job>) {
        let _fatal = Fatal;
        loop {
            let job = crossbeam::channel::select_biased! {
                recv(quick) -> job => job,
                recv(heavy) -> job => job,
            };
            let Ok(Job { slot, work }) = job else { return };
            let outcome = self.perform(work);
            // Nobody listens any more once the engine is gone.
            let _is_heard = self.ended.send((slot, outcome));
            (self.wake)();
        }
    }

    fn perform(&self, work: Work) -> Outcome {
        let objects = &self.objects;
        match work {
            Work::Open(name, purpose) => Outcome::Opened(objects.open(&name, purpose).map(Arc::new)),
            Work::Claim(open) => Outcome::Claimed(open.claim(&objects.root)),
            Work::GiveUp(open) => {
                open.give_up(&objects.root);
                Outcome::GivenUp
            }
            Work::Enter(fence) => Outcome::Entered(objects.enter(&fence)),
            Work::SyncName(open) => {
                Outcome::Replied(open.sync_name(&objects.root).map(|()| StoreReply::Done))
            }
            Work::OnOpen(request, open, region, done) => {
                Outcome::Replied(objects.on_open(&request, &open, region, done))
            }
            Work::OnName(request, region) => Outcome::Replied(objects.on_name(&request, region)),
        }
    }
}
