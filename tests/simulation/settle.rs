//! When nothing is under way: what is left is looked at, and must be what the model says.

use protocol::Op;

use crate::{
    client::Ask,
    flight::{Change, Kind},
    model::SECTOR,
    world::{Checked, Found, World},
};

impl World {
    /// Waits until everything is answered and everybody sleeps.
    pub(crate) fn drain(&mut self) -> Checked<()> {
        loop {
            if self.step()? {
                continue;
            }
            if self.flights.is_empty() {
                return Ok(());
            }
            if !self.untangle()? {
                return Err(format!("never answered: {}", self.situation()));
            }
        }
    }

    /// Ends all that is under way and all faults, resolves doubts, and compares everything.
    pub(crate) fn settle(&mut self, has_lost_power: bool) -> Checked<()> {
        self.calm();
        self.drain()?;
        self.check_segments()?;
        // What settling itself asks must succeed.
        for doubt in std::mem::take(&mut self.doubts) {
            self.resolve(doubt)?;
        }
        let names: Vec<String> = self.model.volumes.keys().cloned().collect();
        for name in names {
            self.compare(&name, has_lost_power)?;
        }
        self.drain()?;
        self.check_segments()
    }

    /// Nothing is held, nothing is on its way, and the tables are whole.
    fn check_segments(&self) -> Checked<()> {
        for node in &self.nodes {
            let (requests, findings) = (node.segment.requests(), node.segment.verify());
            if !requests.is_empty() || !findings.is_empty() || node.segment.anomalies() > 0 {
                let anomalies = node.segment.anomalies();
                return Err(format!(
                    "the segment is not clean: {requests:?} {findings:?}, {anomalies} anomalies"
                ));
            }
        }
        Ok(())
    }

    /// Asks and waits for what is found.
    fn ask(&mut self, ask: &Ask, kind: Kind) -> Checked<Found> {
        let node = self.home(&ask.target);
        let flow = self.send(node, ask, kind, None)?;
        loop {
            if let Some(found) = self.found.remove(&flow) {
                return Ok(found);
            }
            if !self.step()? && !self.untangle()? {
                return Err(format!("never answered: {}", self.situation()));
            }
        }
    }

    fn size(&mut self, name: &str) -> Checked<Option<usize>> {
        let found = self.ask(&Ask::new(Op::Info, name), Kind::Look { volume: name.to_owned() })?;
        Ok(match found {
            Found::Size(bytes) => Some(usize::try_from(bytes).unwrap_or(0) / SECTOR),
            _ => None,
        })
    }

    /// Finds out whether a change was done.
    fn resolve(&mut self, change: Change) -> Checked<()> {
        let is_done = match &change {
            Change::Create { name, .. } | Change::Clone { name, .. } | Change::Snapshot { name, .. } => {
                self.size(name)?.is_some()
            }
            Change::Resize { volume, sectors } => self.size(volume)? == Some(*sectors),
            Change::Delete { name } => self.size(name)?.is_none(),
            Change::Rename { from, to } => match (self.size(from)?, self.size(to)?) {
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (old, new) => {
                    return Err(format!("a rename of {from} to {to} left {old:?} and {new:?} sectors"));
                }
            },
        };
        if is_done {
            self.changed(change, false);
        }
        Ok(())
    }

    fn compare(&mut self, name: &str, has_lost_power: bool) -> Checked<()> {
        let node = self.home(name);
        if self.lost.contains(&(node, name.to_owned())) {
            self.regain(node, name)?;
        }
        let sectors = self.model.volumes.get(name).map_or(0, |volume| volume.sectors.len());
        let found = self.size(name)?;
        if found != Some(sectors) {
            return Err(format!("{name} has {sectors} sectors, and is found with {found:?}"));
        }
        let ask = Ask::new(Op::Read, name).at(0, sectors);
        let expected = self.model.expect(name, 0, sectors);
        match self.ask(&ask, Kind::Scan { volume: name.to_owned() })? {
            Found::Bytes(bytes) if has_lost_power => self.model.check_after_loss(name, &bytes),
            Found::Bytes(bytes) => self.model.check_read(name, 0, &expected, &bytes),
            other => Err(format!("{name} cannot be read: {other:?}")),
        }
    }
}
