//! Two machines that want the same volume.

use protocol::Op;

use crate::{
    client::Ask,
    flight::Kind,
    world::{Checked, NODE_NAMES, World},
};

impl World {
    /// From now on another node uses a volume; `is_forced`: although the first has not given it back.
    pub(crate) fn move_volume(&mut self, number: usize, is_forced: bool) -> Checked<()> {
        if self.nodes.len() < 2 {
            return Ok(());
        }
        let names: Vec<String> = self.model.volumes.keys().cloned().collect();
        let Some(name) = names.get(number % names.len().max(1)).cloned() else { return Ok(()) };
        let from = self.home(&name);
        let is_changing = self
            .flights
            .values()
            .any(|flight| flight.kind.names().contains(&name) && matches!(flight.kind, Kind::Change(_)));
        if is_changing || !self.doubts.is_empty() {
            return Ok(());
        }
        if is_forced {
            self.take_away(&name, from);
        } else {
            let flow =
                self.send(from, &Ask::new(Op::Close, &name), Kind::Close { volume: name.clone() }, None)?;
            while self.flights.contains_key(&flow) {
                self.step_on()?;
            }
        }
        self.homes.insert(name, 1 - from);
        Ok(())
    }

    fn take_away(&mut self, name: &str, from: usize) {
        if self.disk.lock_owner(name) == Some(NODE_NAMES[from]) {
            self.disk.break_lock(name);
        }
        self.lost.push((from, name.to_owned()));
        self.model.taken(name);
        self.excuse(|kind| is_about(kind, name));
    }

    /// A node that lost a volume opens it anew before it uses it.
    pub(crate) fn regain(&mut self, node: usize, name: &str) -> Checked<()> {
        if self.disk.lock_owner(name).is_some_and(|owner| owner != NODE_NAMES[node]) {
            self.take_away(name, 1 - node);
        }
        self.send(node, &Ask::new(Op::Open, name), Kind::Open { volume: name.to_owned() }, None)?;
        self.excuse(|kind| is_about(kind, name));
        self.drain()
    }

    /// Everybody waits for somebody on the other node: the lock of the first who waits is broken. False if nobody does.
    pub(crate) fn untangle(&mut self) -> Checked<bool> {
        if self.nodes.len() < 2 {
            return Ok(false);
        }
        let waiting = self.flights.values().find_map(|flight| {
            let names: Vec<String> = flight.kind.names();
            let held = names.into_iter().find(|name| {
                self.disk.lock_owner(name).is_some_and(|owner| owner != NODE_NAMES[flight.node])
            });
            held.map(|name| (flight.node, name))
        });
        let Some((node, name)) = waiting else { return Ok(false) };
        self.take_away(&name, 1 - node);
        Ok(true)
    }
}

fn is_about(kind: &Kind, name: &str) -> bool {
    kind.names().iter().any(|other| other == name)
}
