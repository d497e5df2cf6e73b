//! What a role counts of the requests it answers.

use std::collections::{BTreeMap, HashMap};

use protocol::Op;
use serde::{Deserialize, Serialize};
use xseg::Held;

use crate::latency::Histogram;

/// Most volumes that one port tells apart; the one that was quiet longest makes room.
const VOLUMES_MAX: usize = 256;

/// What the requests of one operation came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Requests answered.
    pub answered: u64,
    /// Of those, with an error.
    pub failed: u64,
    /// Bytes that were read, written, or dealt with otherwise.
    pub bytes: u64,
    /// Time from arrival to answer, together.
    pub nanoseconds: u64,
    /// The same as a histogram: bucket and count, for [`crate::latency::bucket_end`].
    pub latency: Vec<(usize, u64)>,
}

/// What a role counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// By operation.
    pub operations: BTreeMap<String, Measure>,
    /// By volume and operation, where the role serves volumes.
    pub volumes: BTreeMap<String, BTreeMap<String, Measure>>,
}

/// Counts in the making.
#[derive(Default)]
pub struct Measures {
    all: ByOp,
    volumes: Option<HashMap<Vec<u8>, Volume>>,
    /// When the request in a slot arrived. As long as the segment's request table, at most.
    arrivals: Vec<Option<u64>>,
}

struct Volume {
    by_op: ByOp,
    last_ns: u64,
}

struct ByOp([Option<Box<Count>>; Op::ALL.len()]);

impl Default for ByOp {
    fn default() -> ByOp {
        ByOp([const { None }; Op::ALL.len()])
    }
}

#[derive(Default)]
struct Count {
    answered: u64,
    failed: u64,
    bytes: u64,
    nanoseconds: u64,
    latency: Histogram,
}

impl Measures {
    /// From now on targets are volumes and are told apart.
    pub fn tell_volumes_apart(&mut self) {
        self.volumes = Some(HashMap::new());
    }

    /// A request arrived.
    pub fn arrived(&mut self, request: &Held, now_ns: u64) {
        let slot = usize::try_from(request.slot()).unwrap_or(0);
        if slot >= self.arrivals.len() {
            self.arrivals.resize(slot + 1, None);
        }
        self.arrivals[slot] = Some(now_ns);
    }

    /// A request that arrived is being answered.
    pub fn answered(&mut self, request: &Held, has_failed: bool, now_ns: u64) {
        let slot = usize::try_from(request.slot()).unwrap_or(0);
        // Nobody knows when what a predecessor accepted arrived.
        let arrived_ns = self.arrivals.get_mut(slot).and_then(Option::take);
        let outcome = Outcome {
            op_number: request.op(),
            has_failed,
            bytes: if moves_bytes(request.op()) { request.serviced() } else { 0 },
            nanoseconds: arrived_ns.map(|arrived_ns| now_ns.saturating_sub(arrived_ns)),
        };
        self.all.add(&outcome);
        if let Some(volumes) = &mut self.volumes
            && !has_failed
            && request.op() != Op::Ping.number()
        {
            volume_of(volumes, request.target().as_ref(), now_ns).add(&outcome);
        }
    }

    /// Answers with an error so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.all.0.iter().flatten().map(|count| count.failed).sum()
    }

    /// Answers so far by operation, without the zeros.
    #[must_use]
    pub fn served(&self) -> BTreeMap<String, u64> {
        self.all.named().map(|(name, count)| (name.to_owned(), count.answered)).collect()
    }

    /// Everything that was counted; whoever asks does not want to see that it asked.
    #[must_use]
    pub fn report(&self) -> Measured {
        let volumes = self.volumes.iter().flatten();
        let named = |(name, volume): (&Vec<u8>, &Volume)| {
            (String::from_utf8_lossy(name).into_owned(), volume.by_op.report())
        };
        Measured { operations: self.all.report(), volumes: volumes.map(named).collect() }
    }
}

/// The counts of a volume; room is made for one that was not known.
fn volume_of<'a>(volumes: &'a mut HashMap<Vec<u8>, Volume>, name: &[u8], now_ns: u64) -> &'a mut ByOp {
    if !volumes.contains_key(name) {
        if volumes.len() >= VOLUMES_MAX {
            let quiet = volumes.iter().min_by_key(|(_, volume)| volume.last_ns).map(|(name, _)| name.clone());
            quiet.map(|name| volumes.remove(&name));
        }
        volumes.insert(name.to_vec(), Volume { by_op: ByOp::default(), last_ns: now_ns });
    }
    let volume = volumes.get_mut(name).expect("it was put there a moment ago");
    volume.last_ns = now_ns;
    &mut volume.by_op
}

/// Other operations say something else with what they serviced.
fn moves_bytes(op_number: u16) -> bool {
    matches!(
        Op::from_number(op_number),
        Some(Op::Read | Op::Write | Op::Discard | Op::WriteZeroes | Op::Copy)
    )
}

struct Outcome {
    op_number: u16,
    has_failed: bool,
    bytes: u64,
    nanoseconds: Option<u64>,
}

impl ByOp {
    fn add(&mut self, outcome: &Outcome) {
        let Some(place) = self.0.get_mut(usize::from(outcome.op_number)) else { return };
        let count = place.get_or_insert_default();
        count.answered += 1;
        count.failed += u64::from(outcome.has_failed);
        count.bytes = count.bytes.saturating_add(outcome.bytes);
        if let Some(nanoseconds) = outcome.nanoseconds {
            count.nanoseconds = count.nanoseconds.saturating_add(nanoseconds);
            count.latency.record(nanoseconds);
        }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, &Count)> {
        let named = Op::ALL.iter().zip(&self.0);
        named.filter_map(|(op, count)| count.as_deref().map(|count| (op.name(), count)))
    }

    fn report(&self) -> BTreeMap<String, Measure> {
        let of_others = self.named().filter(|(name, _)| *name != Op::Ping.name());
        of_others.map(|(name, count)| (name.to_owned(), count.report())).collect()
    }
}

impl Count {
    fn report(&self) -> Measure {
        let latency = self.latency.sparse();
        let Count { answered, failed, bytes, nanoseconds, .. } = *self;
        Measure { answered, failed, bytes, nanoseconds, latency }
    }
}
