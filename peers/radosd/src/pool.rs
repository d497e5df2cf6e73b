//! Threads for what blocks.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, never, select_biased, unbounded};

use crate::error::Error;

/// What a thread does; it tells of its end on its own.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Tells the engine's thread that there is something to look at.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Threads in two kinds, so that lists and hashes never hold up a lock.
pub(crate) struct Pool {
    quick: Option<Sender<Job>>,
    heavy: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Every second thread serves only what is quick.
    pub(crate) fn start(count: usize) -> Result<Self, Error> {
        let (quick, quick_jobs) = unbounded();
        let (heavy, heavy_jobs) = unbounded();
        let mut pool = Self { quick: Some(quick), heavy: Some(heavy), threads: Vec::with_capacity(count) };
        for index in 0..count {
            let quick_jobs = quick_jobs.clone();
            let heavy_jobs = if index % 2 == 0 { heavy_jobs.clone() } else { never() };
            let builder = std::thread::Builder::new().name(format!("radosd-{index}"));
            let thread = builder.spawn(move || serve(&quick_jobs, &heavy_jobs)).map_err(Error::Thread)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Has a thread do something. Jobs are as many as the requests that run, and a few for each lock.
    pub(crate) fn run(&self, is_heavy: bool, job: Job) {
        if let Some(queue) = if is_heavy { &self.heavy } else { &self.quick } {
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

/// Ends the process if its thread panics: the operation it has would never be answered, and a restart serves it again.
struct Fatal;

impl Drop for Fatal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

fn serve(quick: &Receiver<Job>, heavy: &Receiver<Job>) {
    let _fatal = Fatal;
    loop {
        let job = select_biased! {
            recv(quick) -> job => job,
            recv(heavy) -> job => job,
        };
        let Ok(job) = job else { return };
        job();
    }
}
