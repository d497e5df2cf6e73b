//! One machine: a segment, the real peers on it, and the ports of the simulated store and client.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use peer::{Clock, Common, Peer, Stepper};
use xseg::{Geometry, Port, PortNumber, Reserve, Segment};

use crate::{dice::Dice, server::Server, store::Place};

pub(crate) const BLOCKS: u32 = 0;
pub(crate) const MAPS: u32 = 1;
pub(crate) const MAPPER: u32 = 2;
pub(crate) const VLMC: u32 = 3;

/// A role that can die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Role {
    Vlmc,
    Mapper,
    Blocks,
    Maps,
}

pub(crate) const ROLES: [Role; 4] = [Role::Vlmc, Role::Mapper, Role::Blocks, Role::Maps];

type Boxed = Stepper<Box<dyn Peer>>;

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) segment: Segment,
    pub(crate) vlmc: Option<Boxed>,
    pub(crate) mapper: Option<Boxed>,
    pub(crate) stores: [Server; 2],
    pub(crate) client: Port,
    clock: SimulatedClock,
    boot: [u8; 16],
    /// How many requests the peers serve at a time.
    nr_ops: u32,
}

/// Time that passes when the scheduler says so.
#[derive(Clone)]
pub(crate) struct SimulatedClock {
    now_ns: Arc<AtomicU64>,
    dice: Dice,
}

impl SimulatedClock {
    pub(crate) fn new(now_ns: Arc<AtomicU64>, dice: Dice) -> SimulatedClock {
        SimulatedClock { now_ns, dice }
    }
}

impl Clock for SimulatedClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.now_ns.load(Ordering::Relaxed) / 1_000_000
    }

    fn random(&mut self) -> u64 {
        self.dice.next()
    }
}

impl Node {
    /// A machine that has just started. `boot` is another number each time.
    pub(crate) fn start(name: &str, boot: u64, nr_ops: u32, clock: SimulatedClock) -> Node {
        let geometry = Geometry::new(8, 4, 512, 24 << 20).expect("sizes that fit");
        let segment = Segment::private(geometry).expect("memory for a segment");
        let client = new_client(&segment);
        let mut bytes = [0; 16];
        // As the kernel's are: no two differ by a small number.
        bytes[..8].copy_from_slice(&Dice::new(boot).next().to_le_bytes());
        let stores = [Server::new(BLOCKS, Place::Blocks), Server::new(MAPS, Place::Maps)];
        let (vlmc, mapper) = (None, None);
        let mut node =
            Node { name: name.to_owned(), segment, vlmc, mapper, stores, client, clock, boot: bytes, nr_ops };
        ROLES.iter().for_each(|role| node.start_role(*role));
        node
    }

    pub(crate) fn is_alive(&self, role: Role) -> bool {
        match role {
            Role::Vlmc => self.vlmc.is_some(),
            Role::Mapper => self.mapper.is_some(),
            Role::Blocks => self.stores[0].is_alive(),
            Role::Maps => self.stores[1].is_alive(),
        }
    }

    pub(crate) fn start_role(&mut self, role: Role) {
        match role {
            Role::Vlmc => self.vlmc = Some(self.composer()),
            Role::Mapper => self.mapper = Some(self.new_mapper()),
            Role::Blocks => self.stores[0].start(&self.segment),
            Role::Maps => self.stores[1].start(&self.segment),
        }
    }

    /// The client dies as by SIGKILL, and another one takes its place.
    pub(crate) fn renew_client(&mut self) {
        self.client.abandon();
        self.client = new_client(&self.segment);
    }

    /// As SIGKILL does.
    pub(crate) fn kill(&mut self, role: Role) {
        match role {
            Role::Vlmc => end(self.vlmc.take()),
            Role::Mapper => end(self.mapper.take()),
            Role::Blocks => self.stores[0].kill(),
            Role::Maps => self.stores[1].kill(),
        }
    }

    /// A peer by its role; stores have their own way to die.
    pub(crate) fn peer(&self, role: Role) -> Option<&Boxed> {
        match role {
            Role::Vlmc => self.vlmc.as_ref(),
            Role::Mapper => self.mapper.as_ref(),
            Role::Blocks | Role::Maps => None,
        }
    }

    pub(crate) fn peer_mut(&mut self, role: Role) -> &mut Option<Boxed> {
        match role {
            Role::Vlmc => &mut self.vlmc,
            Role::Mapper | Role::Blocks | Role::Maps => &mut self.mapper,
        }
    }

    fn composer(&mut self) -> Boxed {
        let config = vlmc::Config { entry_cache_bytes: 1 << 20, ..vlmc::Config::new(BLOCKS, MAPPER) };
        let reserve = Reserve { requests: 3 * self.nr_ops, bytes: 128 << 10 };
        let clock = self.fork_clock();
        let bound =
            Stepper::new(&self.segment, &self.common("vlmc"), PortNumber(VLMC), reserve, clock, |effects| {
                Box::new(vlmc::composer(effects, &config)) as Box<dyn Peer>
            });
        bound.expect("a composer's port is free once its owner died")
    }

    fn new_mapper(&mut self) -> Boxed {
        let config = mapper::Config { map_cache_bytes: 1 << 20, ..mapper::Config::new(BLOCKS, MAPS) };
        let reserve = Reserve { requests: 96, bytes: 8 << 20 };
        let (name, boot, clock) = (self.name.clone(), self.boot, self.fork_clock());
        let bound = Stepper::new(
            &self.segment,
            &self.common("mapper"),
            PortNumber(MAPPER),
            reserve,
            clock,
            |effects| Box::new(mapper::mapper(effects, &config, &name, boot)) as Box<dyn Peer>,
        );
        bound.expect("a mapper's port is free once its owner died")
    }

    /// Each process draws numbers of its own.
    fn fork_clock(&mut self) -> Box<dyn Clock> {
        Box::new(SimulatedClock { now_ns: Arc::clone(&self.clock.now_ns), dice: self.clock.dice.fork() })
    }

    fn common(&self, role: &str) -> Common {
        Common {
            role: role.to_owned(),
            ports: 0..=0,
            nr_ops: self.nr_ops,
            node: self.name.clone(),
            run_dir: PathBuf::new(),
        }
    }
}

fn new_client(segment: &Segment) -> Port {
    let client = segment.bind_dynamic(Reserve { requests: 64, bytes: 4 << 20 });
    client.expect("a segment has room for a client once the one before was reaped")
}

fn end(peer: Option<Boxed>) {
    if let Some(peer) = peer {
        peer.effects().die();
    }
}
