//! Everything there is, and who of it does something next.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use xseg::Received;

use crate::{
    dice::Dice,
    flight::{Change, Flight, Kind},
    model::Model,
    node::{Node, ROLES, Role, SimulatedClock},
    plan::Settings,
    store::Disk,
    tell::tell,
};

/// Why a run is wrong.
pub(crate) type Checked<T> = Result<T, String>;

/// Who owns the locks that are taken on a node.
pub(crate) const NODE_NAMES: [&str; 2] = ["node-a", "node-b"];
/// Who takes steps on a node: its roles, and its client.
const ACTORS: usize = ROLES.len() + 1;
/// More steps than any plan needs; beyond it somebody runs in a circle.
const STEPS_MAX: usize = 400_000;

pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) dice: Dice,
    now_ns: Arc<AtomicU64>,
    pub(crate) disk: Disk,
    pub(crate) nodes: Vec<Node>,
    pub(crate) model: Model,
    pub(crate) flights: BTreeMap<u64, Flight>,
    pub(crate) next_flow: u64,
    /// Changes of which nobody knows whether they were done.
    pub(crate) doubts: Vec<Change>,
    /// What looks and scans found: a status and bytes, or a size.
    pub(crate) found: BTreeMap<u64, Found>,
    /// Where the collection under way goes on, once its last step was answered.
    pub(crate) resume: Option<Vec<u8>>,
    /// Dead roles, and the step at which each starts again.
    revivals: Vec<(usize, Role, usize)>,
    /// Who died since a restart began.
    ended: Vec<(usize, Role)>,
    /// How long a role that is about to die will be dead.
    pub(crate) pauses: BTreeMap<usize, usize>,
    pub(crate) steps: usize,
    boots: u64,
    /// Peers that died so far.
    pub(crate) deaths: usize,
    /// Which node uses a volume.
    pub(crate) homes: BTreeMap<String, usize>,
    /// Volumes that a node has lost without knowing.
    pub(crate) lost: Vec<(usize, String)>,
}

/// What a look or a scan came back with.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Size(u64),
    Bytes(Vec<u8>),
}

impl World {
    pub(crate) fn new(settings: Settings, schedule: u64) -> World {
        let mut dice = Dice::new(schedule);
        let disk = Disk::new(dice.fork(), settings.mutant);
        let mut world = World {
            settings,
            dice,
            now_ns: Arc::default(),
            disk,
            nodes: Vec::new(),
            model: Model::new(),
            flights: BTreeMap::new(),
            next_flow: 1,
            doubts: Vec::new(),
            found: BTreeMap::new(),
            resume: None,
            revivals: Vec::new(),
            ended: Vec::new(),
            pauses: BTreeMap::new(),
            steps: 0,
            boots: 0,
            deaths: 0,
            homes: BTreeMap::new(),
            lost: Vec::new(),
        };
        world.boot();
        world
    }

    /// Starts all machines.
    fn boot(&mut self) {
        self.boots += 1;
        self.nodes.clear();
        for (index, name) in NODE_NAMES.iter().take(self.settings.node_count).enumerate() {
            let clock = SimulatedClock::new(Arc::clone(&self.now_ns), self.dice.fork());
            self.nodes.push(Node::start(name, self.boots * 2 + index as u64, self.settings.nr_ops, clock));
        }
    }

    /// All machines lose power, and start again.
    pub(crate) fn lose_power(&mut self) {
        for node in &mut self.nodes {
            ROLES.iter().for_each(|role| node.kill(*role));
        }
        self.revivals.clear();
        self.pauses.clear();
        self.lost.clear();
        self.disk.lose_power();
        // Who is not its owner cannot tell what the owner had not committed.
        for (name, home) in &mut self.homes {
            if let Some(owner) = self.disk.lock_owner(name) {
                *home = NODE_NAMES.iter().position(|node| *node == owner).unwrap_or(0);
            }
        }
        let unanswered = std::mem::take(&mut self.flights);
        self.give_up(unanswered);
        self.boot();
    }

    /// Nobody will hear what became of these.
    fn give_up(&mut self, unanswered: BTreeMap<u64, Flight>) {
        self.resume = None;
        for flight in unanswered.into_values() {
            match flight.kind {
                Kind::Write { write, .. } => self.model.end_write(write, false),
                Kind::Change(change) => self.doubts.push(change),
                _ => {}
            }
        }
    }

    /// The client dies as by SIGKILL; another one comes. What it had asked is done, without anybody hearing of it.
    pub(crate) fn kill_client(&mut self) -> Checked<()> {
        // A dead client cannot be kept from waiting for another node's lock for ever.
        if self.nodes.len() > 1 {
            return Ok(());
        }
        let dead = self.nodes[0].client.number().0;
        self.nodes[0].renew_client();
        let unanswered = std::mem::take(&mut self.flights);
        let is_left =
            |world: &World| world.nodes[0].segment.requests().iter().any(|left| left.id.port == dead);
        while is_left(self) {
            self.nodes[0].segment.reap();
            if is_left(self) && !self.step()? {
                return Err(format!("what a dead client asked is never done: {}", self.situation()));
            }
        }
        self.give_up(unanswered);
        Ok(())
    }

    /// Lets somebody do something. False if nobody has anything to do, ever.
    pub(crate) fn step(&mut self) -> Checked<bool> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(format!("no end after {STEPS_MAX} steps: {}", self.situation()));
        }
        self.now_ns.fetch_add(1000 * (1 + self.dice.below(20) as u64), Ordering::Relaxed);
        self.revive(|at, now| at <= now);
        let actors = self.nodes.len() * ACTORS;
        let start = self.dice.below(actors);
        for turn in 0..actors {
            let actor = (start + turn) % actors;
            if self.act(actor / ACTORS, actor % ACTORS)? {
                return Ok(true);
            }
        }
        Ok(self.let_time_pass())
    }

    fn act(&mut self, node: usize, actor: usize) -> Checked<bool> {
        let is_busy = match actor {
            0 | 1 => self.run_peer(node, ROLES[actor]),
            2 | 3 => self.nodes[node].stores[actor - 2].step(&mut self.disk, &mut self.dice),
            _ => self.hear(node)?,
        };
        match self.disk.complaint.take() {
            Some(complaint) => Err(format!("a store was asked what it must not be: {complaint}")),
            None => Ok(is_busy),
        }
    }

    fn run_peer(&mut self, node: usize, role: Role) -> bool {
        let Some(peer) = self.nodes[node].peer_mut(role) else { return false };
        let is_busy = peer.step();
        if peer.effects().has_died() {
            *self.nodes[node].peer_mut(role) = None;
            self.died(node, role);
        }
        is_busy
    }

    fn hear(&mut self, node: usize) -> Checked<bool> {
        let Some(received) = self.nodes[node].client.receive() else { return Ok(false) };
        let Received::Reply(reply) = received else { return Err("a client was asked something".to_owned()) };
        let result = self.judge(&reply);
        self.nodes[node].client.free(reply);
        result?;
        self.go_on_collecting(node)?;
        Ok(true)
    }

    /// Somebody died just now, and will come back.
    fn died(&mut self, node: usize, role: Role) {
        tell(format_args!("{role:?} of {node} died"));
        self.deaths += 1;
        self.ended.push((node, role));
        let pause = self.pauses.remove(&key(node, role)).unwrap_or(0);
        self.revivals.push((node, role, self.steps + pause));
    }

    /// Kills a role as SIGKILL does, at once or in the middle of what it does next.
    pub(crate) fn kill(&mut self, node: usize, role: Role, after: Option<u32>, pause: usize) {
        if !self.nodes[node].is_alive(role) {
            return;
        }
        self.pauses.insert(key(node, role), pause);
        match (after, self.nodes[node].peer(role)) {
            (Some(count), Some(peer)) => peer.effects().die_after(count),
            _ => {
                self.nodes[node].kill(role);
                self.died(node, role);
            }
        }
    }

    /// Stops a role in order, and starts its successor.
    pub(crate) fn restart(&mut self, node: usize, role: Role) -> Checked<()> {
        /// A peer that stops waits for stores at most; so many steps are no wait any more.
        const PATIENCE: usize = 20_000;
        let Some(peer) = self.nodes[node].peer_mut(role) else { return Ok(()) };
        peer.stop();
        self.ended.clear();
        for _ in 0..PATIENCE {
            if self.ended.contains(&(node, role)) {
                // It was killed before it was done: its successor was not asked to stop.
                return Ok(());
            }
            let Some(peer) = self.nodes[node].peer_mut(role) else { return Ok(()) };
            if peer.is_done() {
                *self.nodes[node].peer_mut(role) = None;
                self.deaths += 1;
                self.nodes[node].start_role(role);
                return Ok(());
            }
            self.step()?;
        }
        Err(format!("{role:?} does not stop: {}", self.situation()))
    }

    fn revive(&mut self, is_due: impl Fn(usize, usize) -> bool) -> bool {
        let now = self.steps;
        let (due, later): (Vec<_>, Vec<_>) = self.revivals.drain(..).partition(|(_, _, at)| is_due(*at, now));
        self.revivals = later;
        for (node, role, _) in &due {
            tell(format_args!("{role:?} of {node} starts"));
            self.nodes[*node].start_role(*role);
        }
        !due.is_empty()
    }

    /// Nobody has anything to do now: who is dead comes back, or the next alarm rings.
    fn let_time_pass(&mut self) -> bool {
        if self.revive(|_, _| true) {
            return true;
        }
        let peers = self.nodes.iter().flat_map(|node| [node.vlmc.as_ref(), node.mapper.as_ref()]).flatten();
        let next = peers.filter_map(|peer| peer.effects().wakes_at_ns()).min();
        if let Some(next) = next {
            self.now_ns.fetch_max(next, Ordering::Relaxed);
        }
        next.is_some()
    }

    /// Nobody dies any more, and all who are dead come back.
    pub(crate) fn calm(&mut self) {
        self.disk.failing = 0;
        self.revive(|_, _| true);
    }

    /// For whoever reads about a run that went wrong.
    pub(crate) fn situation(&self) -> String {
        let requests: Vec<_> = self.nodes.iter().map(|node| node.segment.requests()).collect();
        format!("under way: {:?}; in the segments: {requests:?}", self.flights)
    }
}

fn key(node: usize, role: Role) -> usize {
    node * ROLES.len() + ROLES.iter().position(|other| *other == role).unwrap_or(0)
}
