//! A store as a peer: serves one port of the segment.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use peer::stores::{buffer, decode, encode};
use peer::{Common, Effects, Event, Peer, Stop, try_run_at_desk};
use protocol::{ErrorKind, Failure};
use xseg::{Held, PortNumber, Reserve, Segment};

use crate::config::Config;
use crate::engine::{Engine, Finished};
use crate::error::Error;
use crate::librados::Region;
use crate::link::{Note, Own};

/// How often locks that are waited for are looked at, should a notification have been lost.
const LOOK_AGAIN_NS: u64 = 5_000_000_000;

/// Serves the role's port until `stop` is set and what was accepted is done.
///
/// Requests that wait for a lock then stay accepted: the next owner of the port serves them.
///
/// # Errors
/// A setting that cannot work, a port that cannot be had, a cluster or a pool that cannot be reached.
pub fn serve(segment: &Segment, common: &Common, config: &Config, stop: &Stop) -> Result<(), Error> {
    let (first, last) = (*common.ports.start(), *common.ports.end());
    if first != last {
        return Err(Error::Ports { first, last });
    }
    config.check(common.nr_ops as usize)?;
    let reserve = Reserve { requests: 0, bytes: 0 };
    try_run_at_desk(segment, common, PortNumber(first), reserve, stop, |effects| {
        let waker = effects.waker();
        let note = Note::new(common.run_dir.join(format!("{}.rados", common.role)));
        let key = format!("{}/{}", common.node, common.role);
        let node = config.keeps_locks().then(|| peer::node::record(common, segment));
        let own = Own { key, note: Some(note), node };
        let engine = Engine::new(config, own, Arc::new(move || waker.call()))?;
        tracing::info!(role = common.role, pool = config.pool, namespace = config.namespace, "connected");
        Ok(Server { engine, effects, is_stopping: false })
    })
}

struct Server {
    engine: Engine<Held>,
    effects: Effects,
    is_stopping: bool,
}

impl Server {
    fn start(&mut self, held: Held) {
        let asked = decode(&held).and_then(|request| {
            let buffer = buffer(&held, &request.operation)?;
            Ok((request, buffer.map_or(Region::EMPTY, Region::of_request)))
        });
        match asked {
            Ok((request, region)) => self.engine.start(request, region, held),
            Err(failure) => self.effects.respond(held, Err(&failure)),
        }
    }

    /// Answers what is finished. Whether there was anything.
    fn answer(&mut self) -> bool {
        let mut has_answered = false;
        while let Some(Finished { token: mut held, result, was_set_aside }) = self.engine.finished() {
            has_answered = true;
            if self.is_stopping && result.as_ref().is_err_and(|error| error.kind == ErrorKind::Unavailable) {
                if !was_set_aside {
                    self.effects.set_aside();
                }
                leave_to_successor(held);
                continue;
            }
            if was_set_aside {
                self.effects.adopt();
            }
            let result: Result<(), Failure> = encode(&mut held, result);
            self.effects.respond(held, result.as_ref().copied());
        }
        for _ in 0..self.engine.take_set_aside() {
            self.effects.set_aside();
        }
        if self.engine.looks_again() {
            self.effects.wake_at(self.effects.now_ns() + LOOK_AGAIN_NS);
        }
        has_answered
    }
}

impl Peer for Server {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(held) => self.start(held),
            // We ask nobody, so it answers what an earlier owner of the port asked.
            Event::Replied(held) => self.effects.free(held),
            Event::Tick => self.engine.look_again(),
            Event::Stopping => {
                self.is_stopping = true;
                self.engine.stop();
            }
        }
        self.answer();
    }

    fn turn(&mut self) -> bool {
        let has_turned = self.engine.turn();
        self.answer() || has_turned
    }

    fn details(&self) -> serde_json::Value {
        serde_json::to_value(self.engine.status()).unwrap_or_default()
    }

    fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }
}

/// Neither answers nor frees: the request stays accepted by a port without owner, whose next owner serves it again.
fn leave_to_successor(held: Held) {
    let _kept = ManuallyDrop::new(held);
}
