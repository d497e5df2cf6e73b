//! Steps of requests put together: where each was, and for how long.

use std::collections::{BTreeMap, HashMap};

use protocol::Op;
use serde::Serialize;
use xseg::{Event, RequestId, Step};

use crate::segments::look::identity;

/// From one port to the next and back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hop {
    pub(super) from: u32,
    pub(super) to: u32,
    #[serde(skip)]
    begun_ns: u64,
    /// In the inbox, until it was taken out.
    pub(super) waited_ns: Option<u64>,
    /// With the port, and with those that it asked.
    pub(super) worked_ns: Option<u64>,
    /// On the way back.
    pub(super) returned_ns: Option<u64>,
}

impl Hop {
    /// All of it, once it is over.
    pub(super) fn total_ns(&self) -> Option<u64> {
        Some(self.waited_ns? + self.worked_ns? + self.returned_ns?)
    }

    /// The moment up to which its times are known.
    fn known_ns(&self) -> u64 {
        self.begun_ns + self.waited_ns.unwrap_or(0) + self.worked_ns.unwrap_or(0)
    }
}

/// A request and what was asked for its sake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Journey {
    pub(super) request: String,
    pub(super) operation: String,
    /// More than one where it was passed on.
    pub(super) hops: Vec<Hop>,
    /// Requests that borrowed its buffer.
    pub(super) children: Vec<Journey>,
    #[serde(skip)]
    parent: Option<usize>,
}

impl Journey {
    pub(super) fn is_whole(&self) -> bool {
        self.hops.iter().all(|hop| hop.total_ns().is_some())
    }
}

/// The journeys that began and ended while it was watched, in order of their beginning.
pub(super) fn journeys(events: impl IntoIterator<Item = Event>) -> Vec<Journey> {
    let mut map = Map::default();
    events.into_iter().for_each(|event| map.follow(&event));
    map.trees()
}

#[derive(Default)]
struct Map {
    journeys: Vec<Journey>,
    by_request: HashMap<RequestId, usize>,
    by_slot: HashMap<u32, usize>,
}

impl Map {
    fn follow(&mut self, event: &Event) {
        let (port, other) = (event.port.0, event.other.0);
        if event.step == Step::Submit {
            let known = self.by_request.get(&event.request).copied();
            // What was under way when the watch began is left out.
            let is_new = event.request.port == port;
            let Some(index) = known.or_else(|| is_new.then(|| self.begin(event)).flatten()) else { return };
            let hop = Hop {
                from: port,
                to: other,
                begun_ns: event.nanoseconds,
                waited_ns: None,
                worked_ns: None,
                returned_ns: None,
            };
            self.journeys[index].hops.push(hop);
            return;
        }
        let Some(index) = self.by_request.get(&event.request) else { return };
        let mut hops = self.journeys[*index].hops.iter_mut().rev();
        match event.step {
            Step::Accept => mark(hops.find(|hop| hop.to == port), event, |hop| &mut hop.waited_ns),
            Step::Respond => mark(hops.find(|hop| hop.to == port), event, |hop| &mut hop.worked_ns),
            Step::Return => mark(hops.find(|hop| hop.from == port), event, |hop| &mut hop.returned_ns),
            Step::Submit => {}
        }
    }

    /// `None` for a part of a request that was under way already.
    fn begin(&mut self, event: &Event) -> Option<usize> {
        let parent = match event.parent {
            Some(slot) => Some(*self.by_slot.get(&slot)?),
            None => None,
        };
        let operation = u16::try_from(event.op).ok().and_then(Op::from_number);
        let index = self.journeys.len();
        self.journeys.push(Journey {
            request: identity(event.request),
            operation: operation.map_or_else(|| event.op.to_string(), |op| op.name().to_owned()),
            hops: Vec::new(),
            children: Vec::new(),
            parent,
        });
        self.by_request.insert(event.request, index);
        self.by_slot.insert(event.slot, index);
        Some(index)
    }

    /// Children under their parents, which began before them.
    fn trees(mut self) -> Vec<Journey> {
        let mut children: BTreeMap<usize, Vec<Journey>> = BTreeMap::new();
        let mut roots = Vec::new();
        for (index, mut journey) in self.journeys.drain(..).enumerate().rev() {
            journey.children = children.remove(&index).unwrap_or_default();
            journey.children.reverse();
            match journey.parent {
                Some(parent) => children.entry(parent).or_default().push(journey),
                None => roots.push(journey),
            }
        }
        roots.retain(Journey::is_whole);
        roots.reverse();
        roots
    }
}

fn mark(hop: Option<&mut Hop>, event: &Event, field: impl Fn(&mut Hop) -> &mut Option<u64>) {
    let Some(hop) = hop else { return };
    let known_ns = hop.known_ns();
    field(hop).get_or_insert(event.nanoseconds.saturating_sub(known_ns));
}

#[cfg(test)]
mod tests {
    use xseg::PortNumber;

    use super::*;

    fn event(at: u64, port: u32, other: u32, step: Step, serial: u64, parent: Option<u32>) -> Event {
        let origin = if serial < 10 { 100 } else { 20 };
        let request = RequestId { segment: 1, port: origin, incarnation: 1, serial };
        let slot = u32::try_from(serial).unwrap();
        let op = u32::from(Op::Read.number());
        let (port, other) = (PortNumber(port), PortNumber(other));
        Event { nanoseconds: at, port, other, request, slot, parent, op, step }
    }

    /// 100 asks 20, which asks 10 in a request that borrows the first one's buffer.
    fn read() -> Vec<Event> {
        vec![
            event(1000, 100, 20, Step::Submit, 1, None),
            event(1100, 20, 100, Step::Accept, 1, None),
            event(1150, 20, 10, Step::Submit, 11, Some(1)),
            event(1180, 10, 20, Step::Accept, 11, Some(1)),
            event(1400, 10, 20, Step::Respond, 11, Some(1)),
            event(1450, 20, 10, Step::Return, 11, Some(1)),
            event(1500, 20, 100, Step::Respond, 1, None),
            event(1600, 100, 20, Step::Return, 1, None),
        ]
    }

    #[test]
    fn a_part_stands_under_its_request_and_times_add_up() {
        let found = journeys(read());
        assert_eq!(found.len(), 1);
        let times = |hop: &Hop| (hop.waited_ns, hop.worked_ns, hop.returned_ns, hop.total_ns());
        assert_eq!(times(&found[0].hops[0]), (Some(100), Some(400), Some(100), Some(600)));
        let part = &found[0].children[0];
        assert_eq!((part.request.as_str(), part.operation.as_str()), ("20.1.11", "read"));
        assert_eq!(times(&part.hops[0]), (Some(30), Some(220), Some(50), Some(300)));
    }

    #[test]
    fn a_request_that_is_passed_on_has_a_hop_for_each_port() {
        let steps = [
            (100, 100, 20, Step::Submit),
            (110, 20, 100, Step::Accept),
            (120, 20, 12, Step::Submit),
            (140, 12, 20, Step::Accept),
            (200, 12, 20, Step::Respond),
            (230, 20, 12, Step::Return),
            (240, 20, 100, Step::Respond),
            (250, 100, 20, Step::Return),
        ];
        let events = steps.map(|(at, port, other, step)| event(at, port, other, step, 1, None));
        let found = journeys(events);
        let hops: Vec<_> = found[0].hops.iter().map(|hop| (hop.to, hop.worked_ns, hop.total_ns())).collect();
        assert_eq!(hops, [(20, Some(130), Some(150)), (12, Some(60), Some(110))]);
    }

    #[test]
    fn what_has_not_begun_or_ended_in_sight_is_left_out() {
        assert!(journeys(read().into_iter().skip(1)).is_empty());
        assert!(journeys(read().into_iter().take(7)).is_empty());
    }
}
