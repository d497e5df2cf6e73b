//! The collector, beside everything else, and what must be left when nothing is kept.

use protocol::{Collected, List, Message, Op};
use xseg::Held;

use crate::{
    client::Ask,
    flight::{Change, Kind},
    world::{Checked, NODE_NAMES, World},
};

impl World {
    /// Begins a collection, unless one is under way.
    pub(crate) fn collect(&mut self) -> Checked<()> {
        if self.flights.values().any(|flight| matches!(flight.kind, Kind::Collect)) {
            return Ok(());
        }
        self.collect_from(0, Vec::new())
    }

    fn collect_from(&mut self, node: usize, after: Vec<u8>) -> Checked<()> {
        let argument = List { prefix: Vec::new(), after };
        let ask = Ask { flags: protocol::Flags::FORCE, ..Ask::about(Op::Collect, "*", &argument) };
        self.send(node, &ask, Kind::Collect, None).map(drop)
    }

    /// A step was done.
    pub(crate) fn collected(&mut self, reply: &Held) -> Checked<()> {
        let step = Collected::decode(&reply.argument()).map_err(|error| error.to_string())?;
        self.resume = step.resume;
        Ok(())
    }

    /// Asks for the next step, if there is one.
    pub(crate) fn go_on_collecting(&mut self, node: usize) -> Checked<()> {
        self.resume.take().map_or(Ok(()), |after| self.collect_from(node, after))
    }

    /// Deletes everything and collects: then nothing is left that costs space.
    pub(crate) fn clean_up(&mut self) -> Checked<()> {
        let names: Vec<String> = self.model.volumes.keys().cloned().collect();
        for name in names {
            let owner = self.disk.lock_owner(&name);
            // Whoever held it when the power went comes back to it.
            let node = NODE_NAMES.iter().position(|node| Some(*node) == owner).unwrap_or(self.home(&name));
            let delete = Kind::Change(Change::Delete { name: name.clone() });
            self.send(node, &Ask::new(Op::Delete, &name), delete, None)?;
            self.drain()?;
        }
        self.collect()?;
        self.drain()?;
        let left = self.disk.names_that_cost_space();
        if left.is_empty() { Ok(()) } else { Err(format!("never collected: {}", left.join(", "))) }
    }
}
