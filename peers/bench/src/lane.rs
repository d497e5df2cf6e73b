//! The way requests take: to a volume, to a store's objects, or to a role that only answers.

use std::time::Instant;

use client::{Completion, Completions, Device, Io, Sender, Stack};
use peer::failure_of;
use protocol::{ErrorKind, Failure, Flags, Op};
use xseg::{Held, Port, PortNumber, Received, Reserve};

use crate::{Job, Target, job::invalid};

/// What one request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Ping,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand {
    pub(crate) kind: Kind,
    /// Where, in bytes from the target's start.
    pub(crate) offset: u64,
    /// How much.
    pub(crate) size: u64,
}

/// A way for many requests at a time.
pub(crate) trait Lane {
    /// A request with a buffer.
    fn buffer(&mut self) -> Result<Held, Failure>;
    /// Sends it; `token` comes back with its completion.
    fn send(&mut self, held: Held, errand: Errand, token: u64) -> Result<(), Failure>;
    /// The next one that was answered, or nothing when the deadline has passed.
    fn next(&mut self, deadline: Instant) -> Option<Completion>;
    /// Gives it back.
    fn done(&mut self, held: Held);
}

/// What a status may take, in bytes.
const STATUS_BYTES: u64 = 16 << 10;

/// The way to a job's target, and the target's size in bytes.
pub(crate) fn open(stack: &Stack, job: &Job) -> Result<(Box<dyn Lane>, u64), Failure> {
    let is_read_only = job.write_percent == 0;
    match &job.target {
        Target::Volume { name } => {
            let device = Device::open(stack, name, is_read_only, reserve(job, job.io_bytes))?;
            let info = device.info().clone();
            if info.is_read_only && !is_read_only {
                return Err(Failure::new(
                    ErrorKind::ReadOnly,
                    format!("cannot write to {name}: it is a snapshot"),
                ));
            }
            let (sender, completions) = device.split();
            let flags = if job.is_durable { Flags::FUA } else { Flags::empty() };
            Ok((Box::new(VolumeLane { sender, completions, flags, room: job.io_bytes }), info.size_bytes))
        }
        Target::Objects { port, .. } => {
            let lane = PortLane::open(stack, job, *port, job.io_bytes)?;
            Ok((Box::new(lane), job.span_bytes.unwrap_or(0)))
        }
        Target::Ping { port } => {
            Ok((Box::new(PortLane::open(stack, job, *port, STATUS_BYTES)?), job.io_bytes))
        }
    }
}

/// What a job needs when all its requests are under way; buffers are rounded up.
fn reserve(job: &Job, room: u64) -> Reserve {
    Reserve { requests: job.depth, bytes: room.next_power_of_two().saturating_mul(u64::from(job.depth)) }
}

struct VolumeLane {
    sender: Sender,
    completions: Completions,
    flags: Flags,
    room: u64,
}

impl Lane for VolumeLane {
    fn buffer(&mut self) -> Result<Held, Failure> {
        self.sender.buffer(self.room)
    }

    fn send(&mut self, held: Held, errand: Errand, token: u64) -> Result<(), Failure> {
        let Errand { offset, size, .. } = errand;
        let io = match errand.kind {
            Kind::Read | Kind::Ping => Io::Read { offset, size },
            Kind::Write => Io::Write { offset, size, flags: self.flags },
        };
        self.sender.submit(held, io, token)
    }

    fn next(&mut self, deadline: Instant) -> Option<Completion> {
        self.completions.next(Some(deadline))
    }

    fn done(&mut self, held: Held) {
        self.completions.done(held);
    }
}

/// Straight to a port.
struct PortLane {
    port: Port,
    to: PortNumber,
    room: u64,
    flags: Flags,
    prefix: String,
    object_bytes: u64,
}

impl PortLane {
    fn open(stack: &Stack, job: &Job, to: u32, room: u64) -> Result<PortLane, Failure> {
        let port = stack.segment.bind_dynamic(reserve(job, room)).map_err(|error| {
            Failure::new(ErrorKind::Unavailable, format!("cannot join the segment: {error}"))
        })?;
        let (prefix, object_bytes) = match &job.target {
            Target::Objects { prefix, object_bytes, .. } => {
                (format!("{prefix}-{:09}", job.seed), *object_bytes)
            }
            Target::Volume { .. } | Target::Ping { .. } => (String::from("*"), u64::MAX),
        };
        let flags = if job.is_durable { Flags::FUA } else { Flags::empty() };
        Ok(PortLane { port, to: PortNumber(to), room, flags, prefix, object_bytes })
    }
}

impl Lane for PortLane {
    fn buffer(&mut self) -> Result<Held, Failure> {
        self.port.allocate(self.room).map_err(|error| Failure::new(ErrorKind::Unavailable, error.to_string()))
    }

    fn send(&mut self, mut held: Held, errand: Errand, token: u64) -> Result<(), Failure> {
        let number = errand.offset / self.object_bytes;
        let (op, flags, target) = match errand.kind {
            Kind::Ping => (Op::Ping, Flags::ABANDONABLE, self.prefix.clone()),
            Kind::Read => (Op::Read, Flags::empty(), format!("{}-{number:015}", self.prefix)),
            Kind::Write => (Op::Write, self.flags, format!("{}-{number:015}", self.prefix)),
        };
        held.set_op(op.number());
        held.set_flags(flags.bits());
        held.set_offset(errand.offset % self.object_bytes);
        held.set_size(errand.size);
        held.set_flow(token);
        held.set_target(target.as_bytes()).map_err(|error| invalid(format!("object {target}: {error}")))?;
        self.port.submit(held, self.to).map_err(|refused| {
            let failure = Failure::new(ErrorKind::Unavailable, format!("cannot ask: {refused}"));
            self.port.free(refused.into_parts().0);
            failure
        })
    }

    fn next(&mut self, deadline: Instant) -> Option<Completion> {
        loop {
            match self.port.receive() {
                Some(Received::Reply(held)) => {
                    let result = failure_of(&held).map_or(Ok(()), Err);
                    return Some(Completion { token: held.flow(), result, held });
                }
                // Dropped: answered as not served.
                Some(Received::Request(stray)) => drop(stray),
                None if Instant::now() >= deadline => return None,
                None => {
                    self.port.wait(Some(deadline));
                }
            }
        }
    }

    fn done(&mut self, held: Held) {
        self.port.free(held);
    }
}
