//! A port of the simulated store: takes requests in, serves them in any order, answers in any other.

use protocol::{ErrorKind, Failure, Op};
use xseg::{Held, Port, PortNumber, Received, Reserve, Segment};

use crate::{
    dice::Dice,
    store::{Disk, Outcome, Place},
    tell::tell_request,
};

/// The store of blocks, or of maps and locks, on one node.
pub(crate) struct Server {
    port: Option<Port>,
    number: PortNumber,
    place: Place,
    /// Accepted, not done.
    waiting: Vec<Held>,
    /// Done, not answered.
    done: Vec<(Held, Result<(), ErrorKind>)>,
}

impl Server {
    pub(crate) fn new(number: u32, place: Place) -> Server {
        Server { port: None, number: PortNumber(number), place, waiting: Vec::new(), done: Vec::new() }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.port.is_some()
    }

    pub(crate) fn start(&mut self, segment: &Segment) {
        let bound = segment.bind(self.number, Reserve { requests: 0, bytes: 0 });
        self.port = Some(bound.expect("a store's port is free once its owner died"));
    }

    /// As SIGKILL does: what it had accepted is its successor's.
    pub(crate) fn kill(&mut self) {
        if let Some(mut port) = self.port.take() {
            port.abandon();
        }
        self.waiting.clear();
        self.done.clear();
    }

    /// Takes in, does or answers something. Whether there was anything to do.
    pub(crate) fn step(&mut self, disk: &mut Disk, dice: &mut Dice) -> bool {
        let Some(port) = &mut self.port else { return false };
        let mut has_received = false;
        while let Some(received) = port.receive() {
            has_received = true;
            match received {
                Received::Request(request) => self.waiting.push(request),
                Received::Reply(reply) => port.free(reply),
            }
        }
        let is_answering = !self.done.is_empty() && dice.chance(60);
        if is_answering {
            self.answer(dice)
        } else {
            self.serve(disk, dice) || self.answer(dice) || has_received
        }
    }

    /// Serves one of those that wait; true if one was done.
    fn serve(&mut self, disk: &mut Disk, dice: &mut Dice) -> bool {
        let start = dice.below(self.waiting.len());
        for turn in 0..self.waiting.len() {
            let at = (start + turn) % self.waiting.len();
            let served = disk.serve(self.place, &mut self.waiting[at]);
            let outcome = match &served {
                Ok(Outcome::Waits) => None,
                Ok(Outcome::Done) => Some("done".to_owned()),
                Err(kind) => Some(kind.to_string()),
            };
            if let Some(outcome) = outcome {
                tell_request(
                    if self.place == Place::Blocks { "  blocks" } else { "  maps" },
                    &self.waiting[at],
                    &outcome,
                );
            }
            match served {
                Ok(Outcome::Waits) => {}
                Ok(Outcome::Done) => {
                    let request = self.waiting.remove(at);
                    self.done.push((request, Ok(())));
                    return true;
                }
                Err(kind) => {
                    let request = self.waiting.remove(at);
                    self.done.push((request, Err(kind)));
                    return true;
                }
            }
        }
        false
    }

    fn answer(&mut self, dice: &mut Dice) -> bool {
        if self.done.is_empty() {
            return false;
        }
        let (mut request, result) = self.done.remove(dice.below(self.done.len()));
        let op = Op::from_number(request.op()).map_or("nothing known", Op::name);
        let failure = result.err().map(|kind| {
            let name = request.target();
            Failure::new(kind, format!("simulated: cannot {op} {}: {kind}", name.escape_ascii()))
        });
        peer::fill_result(&mut request, failure.as_ref().map_or(Ok(()), Err));
        if let Some(port) = &mut self.port {
            port.respond(request).expect("a store answers what it accepted");
        }
        true
    }
}
