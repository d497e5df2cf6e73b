//! What clients ask, and whether what they hear is right.

use protocol::{ErrorKind, Failure, Flags, Message, Op, VolumeInfo};
use xseg::{Held, PortNumber};

use crate::{
    flight::{Change, Flight, Kind},
    model::{SECTOR, Sector, UNSURE, Version, Volume},
    node::{MAPPER, VLMC},
    tell::tell,
    world::{Checked, Found, NODE_NAMES, World},
};

/// A request as a client makes it.
pub(crate) struct Ask {
    pub(crate) op: Op,
    pub(crate) flags: Flags,
    pub(crate) target: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) argument: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(op: Op, target: &str) -> Ask {
        let target = target.to_owned();
        let (flags, argument, data) = (Flags::empty(), Vec::new(), Vec::new());
        Ask { op, flags, target, offset: 0, size: 0, argument, data }
    }

    pub(crate) fn about(op: Op, target: &str, argument: &impl Message) -> Ask {
        Ask { argument: argument.encode(), ..Ask::new(op, target) }
    }

    pub(crate) fn at(self, first: usize, count: usize) -> Ask {
        Ask { offset: (first * SECTOR) as u64, size: (count * SECTOR) as u64, ..self }
    }

    fn room(&self) -> u64 {
        if self.op == Op::Read { self.size } else { self.data.len() as u64 }
    }

    fn fill(&self, request: &mut Held) -> xseg::Result<()> {
        request.set_op(self.op.number());
        request.set_flags(self.flags.bits());
        request.set_target(self.target.as_bytes())?;
        request.set_offset(self.offset);
        request.set_size(self.size);
        request.set_argument(&self.argument)?;
        if self.op == Op::Read {
            // Whatever is not filled in is found.
            request.write(0, &vec![0xee; usize::try_from(self.size).unwrap_or(0)])?;
        }
        request.write(0, &self.data)
    }
}

impl World {
    /// Sends a request through a node's composer; its number.
    pub(crate) fn send(
        &mut self,
        node: usize,
        ask: &Ask,
        kind: Kind,
        refusal: Option<ErrorKind>,
    ) -> Checked<u64> {
        let mut request = loop {
            match self.nodes[node].client.allocate(ask.room()) {
                Ok(request) => break request,
                Err(_) if self.step()? => {}
                Err(error) => return Err(format!("a client got no room: {error}: {}", self.situation())),
            }
        };
        let flow = self.next_flow;
        self.next_flow += 1;
        request.set_flow(flow);
        ask.fill(&mut request).map_err(|error| error.to_string())?;
        let to = if ask.op == Op::Collect { MAPPER } else { VLMC };
        let sent = self.nodes[node].client.submit(request, PortNumber(to));
        sent.map_err(|refused| refused.to_string())?;
        tell(format_args!(
            "client {node} asks {flow}: {kind:?} of {}, {}+{}",
            ask.target, ask.offset, ask.size
        ));
        let has_lost = kind.names().into_iter().any(|name| self.lost.contains(&(node, name)));
        let is_excused = self.disk.failing > 0 || has_lost;
        self.flights.insert(flow, Flight { node, kind, refusal, is_excused, deaths: self.deaths });
        Ok(flow)
    }

    /// From now on what is under way may fail without a peer being wrong.
    pub(crate) fn excuse(&mut self, is_meant: impl Fn(&Kind) -> bool) {
        for flight in self.flights.values_mut().filter(|flight| is_meant(&flight.kind)) {
            flight.is_excused = true;
        }
    }

    /// Deals with a reply.
    pub(crate) fn judge(&mut self, reply: &Held) -> Checked<()> {
        let flight = self.flights.remove(&reply.flow());
        let flight = flight.ok_or_else(|| format!("request {} was answered twice", reply.flow()))?;
        let failure = peer::failure_of(reply);
        tell(format_args!("client {} hears {}: {:?} {failure:?}", flight.node, reply.flow(), flight.kind));
        let is_done = match (&failure, flight.refusal) {
            (None, None) => true,
            (None, Some(kind)) => return Err(format!("{:?} should have been refused: {kind}", flight.kind)),
            (Some(failure), Some(kind)) if failure.kind == kind => false,
            (Some(failure), _) if self.is_excused(&flight, failure) => false,
            (Some(failure), _) => {
                return Err(format!("{:?} failed: {:?} {failure}", flight.kind, failure.kind));
            }
        };
        if is_done
            && matches!(flight.kind, Kind::Read { .. } | Kind::Write { .. })
            && reply.serviced() != reply.size()
        {
            return Err(format!("{:?} served {} of {} bytes", flight.kind, reply.serviced(), reply.size()));
        }
        self.learn(flight, is_done, failure.as_ref(), reply)
    }

    fn learn(
        &mut self,
        flight: Flight,
        is_done: bool,
        failure: Option<&Failure>,
        reply: &Held,
    ) -> Checked<()> {
        let flow = reply.flow();
        match flight.kind {
            Kind::Read { volume, first, expected } if is_done => {
                self.model.check_read(&volume, first, &expected, &contents(reply))?;
            }
            Kind::Write { volume, write, is_durable, .. } => {
                self.model.end_write(write, is_done);
                if is_done && is_durable && !flight.is_excused {
                    self.model.made_durable(&volume, write);
                }
            }
            Kind::Flush { volume, moment } if is_done && self.owns(flight.node, &volume) => {
                self.model.flushed(&volume, moment);
            }
            Kind::Change(change) if is_done => self.changed(change, flight.deaths == self.deaths),
            Kind::Change(change) if flight.refusal.is_none() => self.doubts.push(change),
            Kind::Look { .. } => {
                let found = match failure {
                    None => {
                        let info = VolumeInfo::decode(&reply.argument());
                        Found::Size(info.map_err(|error| error.to_string())?.size_bytes)
                    }
                    Some(_) => Found::Nothing,
                };
                self.found.insert(flow, found);
            }
            Kind::Scan { .. } => {
                let found = if is_done { Found::Bytes(contents(reply)) } else { Found::Nothing };
                self.found.insert(flow, found);
            }
            Kind::Collect if is_done => self.collected(reply)?,
            Kind::Open { volume } if is_done => {
                let is_snapshot = self.model.volumes.get(&volume).is_some_and(|volume| volume.is_snapshot);
                if is_snapshot || self.owns(flight.node, &volume) {
                    self.lost.retain(|lost| *lost != (flight.node, volume.clone()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A change was done. `is_strict`: nobody died meanwhile, so that nothing can have overtaken it.
    pub(crate) fn changed(&mut self, change: Change, is_strict: bool) {
        match change {
            Change::Create { name, sectors } => self.model.create(&name, sectors, self.settings.block_size),
            Change::Clone { source, name, sectors } => {
                let Some(source) = self.model.volumes.get(&source) else { return };
                let (block_size, mut content) =
                    (source.block_size, self.model.frozen_sectors(&source.sectors));
                content.resize(sectors, Sector::holding(0));
                self.add(name, content, block_size, false);
            }
            Change::Snapshot { volume, name, content } => {
                let Some(volume) = self.model.volumes.get(&volume) else { return };
                let mut content = content.to_vec();
                if volume.is_disputed {
                    // Taken away since the snapshot was asked for: what was seen then may be lost.
                    let versions = content.iter_mut().flat_map(|sector| &mut sector.versions);
                    versions.for_each(|version| version.is_seen = false);
                }
                let mut frozen = self.model.frozen_sectors(&content);
                // Where blocks can be partial they are completed first, while the volume is written.
                if !is_strict || volume.block_size >= 8192 {
                    frozen
                        .iter_mut()
                        .zip(content.iter())
                        .zip(&volume.sectors)
                        .for_each(|((frozen, then), now)| loosen(frozen, then, now));
                }
                let block_size = volume.block_size;
                self.add(name, frozen, block_size, true);
            }
            Change::Resize { volume, sectors } => {
                if let Some(volume) = self.model.volumes.get_mut(&volume) {
                    volume.sectors.resize(sectors, Sector::holding(0));
                }
            }
            Change::Rename { from, to } => {
                if let Some(volume) = self.model.volumes.remove(&from) {
                    self.model.volumes.insert(to.clone(), volume);
                    let home = self.homes.remove(&from).unwrap_or(0);
                    self.homes.insert(to, home);
                }
            }
            Change::Delete { name } => {
                self.model.volumes.remove(&name);
            }
        }
    }

    /// Whether what a node flushes is all there is: not what another one has not written back.
    fn owns(&self, node: usize, volume: &str) -> bool {
        self.nodes.len() == 1 || self.disk.lock_owner(volume) == Some(NODE_NAMES[node])
    }

    fn is_excused(&self, flight: &Flight, failure: &Failure) -> bool {
        match failure.kind {
            ErrorKind::NotOwner if matches!(flight.kind, Kind::Close { .. }) => true,
            // The lock that was broken is nobody's.
            ErrorKind::NotFound if matches!(flight.kind, Kind::Close { .. }) => flight.is_excused,
            ErrorKind::NotFound if matches!(flight.kind, Kind::Look { .. }) => true,
            // A node that died, or was cut off, may have left a lock that nobody gives back.
            ErrorKind::Busy if self.nodes.len() > 1 => {
                matches!(flight.kind, Kind::Change(_) | Kind::Open { .. } | Kind::Senseless { .. })
            }
            ErrorKind::Unavailable | ErrorKind::NoSpace | ErrorKind::Busy | ErrorKind::NotOwner => {
                flight.is_excused
            }
            _ => false,
        }
    }

    fn add(&mut self, name: String, sectors: Vec<Sector>, block_size: u32, is_snapshot: bool) {
        self.model.volumes.insert(name, Volume { sectors, block_size, is_snapshot, is_disputed: false });
    }
}

/// What was written after a snapshot was asked for may be in it.
fn loosen(frozen: &mut Sector, then: &Sector, now: &Sector) {
    let last = then.versions.iter().map(|version| version.write).max().unwrap_or(0);
    let later = now.versions.iter().filter(|version| version.write > last);
    let later: Vec<Version> = later.map(|version| Version { write: UNSURE, ..version.clone() }).collect();
    frozen.versions.extend(later);
}

fn contents(reply: &Held) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(reply.size().min(reply.buffer_bytes())).unwrap_or(0)];
    match reply.read(0, &mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}
