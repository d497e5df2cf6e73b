//! Items of a plan, made into requests and faults.

use std::rc::Rc;

use protocol::{Clone as CloneArgument, ErrorKind, Flags, Message, Op, Renamed, Resize, Snapshot};

use crate::{
    client::Ask,
    flight::{Change, Kind},
    model::{SECTOR, fill},
    node::Role,
    plan::{Action, Range},
    world::{Checked, World},
};

/// Names that volumes and snapshots have: few, so that they are used again.
const NAMES: [&str; 7] = ["alder-1", "birch-2", "cedar-3", "daphne-4", "elder-5", "fir-tree-6", "ginkgo-7"];
/// Requests under way at a time.
const FLIGHTS_MAX: usize = 20;

impl World {
    pub(crate) fn apply(&mut self, action: &Action) -> Checked<()> {
        while self.flights.len() >= FLIGHTS_MAX {
            self.step_on()?;
        }
        match action {
            Action::Create { sectors } => self.create(*sectors),
            Action::Clone { source, growth } => self.clone_one(*source, *growth),
            Action::Snapshot { volume } => self.snapshot(*volume),
            Action::Resize { volume, sectors } => self.resize(*volume, *sectors),
            Action::Rename { volume } => self.rename(*volume),
            Action::Delete { volume } => self.delete(*volume),
            Action::Read(range) => self.read(*range),
            Action::Write { range, is_durable, is_blank } => self.write(*range, *is_durable, *is_blank),
            Action::Zero { range, is_discard, is_durable, may_trim } => {
                self.zero(*range, *is_discard, *is_durable, *may_trim)
            }
            Action::Flush { volume } => self.flush(*volume),
            Action::Open { volume } => self.open(*volume),
            Action::Close { volume } => self.close(*volume),
            Action::Senseless { volume, which } => self.senseless(*volume, *which),
            Action::Kill { role, node, after, pause } => {
                self.kill(node % self.nodes.len(), *role, *after, *pause);
                Ok(())
            }
            Action::Restart { role, node } => self.restart_role(node % self.nodes.len(), *role),
            Action::PowerLoss => {
                self.lose_power();
                self.settle(true)
            }
            Action::Failures { per_thousand, .. } => {
                self.disk.failing = *per_thousand;
                self.excuse(|_| true);
                Ok(())
            }
            Action::Move { volume, is_forced } => self.move_volume(*volume, *is_forced),
            Action::Check => self.settle(false),
            Action::Collect => self.collect(),
            Action::KillClient => self.kill_client(),
        }
    }

    fn restart_role(&mut self, node: usize, role: Role) -> Checked<()> {
        // Orderly stops while stores fail or another node waits are not told apart from deaths: too much is excused.
        if self.disk.failing > 0 || self.nodes.len() > 1 { Ok(()) } else { self.restart(node, role) }
    }

    /// Steps where there must be something to do.
    pub(crate) fn step_on(&mut self) -> Checked<()> {
        if self.step()? || self.untangle()? {
            Ok(())
        } else {
            Err(format!("all sleep: {}", self.situation()))
        }
    }

    /// A volume of those there are, that nobody keeps from being used.
    fn pick(&mut self, number: usize, is_wanted: impl Fn(&World, &str) -> bool) -> Checked<Option<String>> {
        let names = self.model.volumes.keys().filter(|name| is_wanted(self, name));
        let names: Vec<String> = names.cloned().collect();
        let Some(name) = names.get(number % names.len().max(1)).cloned() else { return Ok(None) };
        while self.flights.values().any(|flight| flight.kind.blocks(&name)) {
            self.step_on()?;
        }
        // It may be gone by now, and a change that failed leaves doubts.
        if !self.doubts.is_empty() {
            self.settle(false)?;
        }
        Ok(self.model.volumes.contains_key(&name).then_some(name))
    }

    /// As `pick`, when nothing at all is under way on it.
    fn pick_quiet(
        &mut self,
        number: usize,
        is_wanted: impl Fn(&World, &str) -> bool,
    ) -> Checked<Option<String>> {
        let Some(name) = self.pick(number, is_wanted)? else { return Ok(None) };
        while self
            .flights
            .values()
            .any(|flight| flight.kind.volume() == Some(&name) || flight.kind.blocks(&name))
        {
            self.step_on()?;
        }
        if !self.doubts.is_empty() {
            self.settle(false)?;
        }
        Ok(self.model.volumes.contains_key(&name).then_some(name))
    }

    fn free_name(&mut self, number: usize) -> Checked<Option<String>> {
        if !self.doubts.is_empty() {
            self.settle(false)?;
        }
        let is_free = |name: &&&str| {
            !self.model.volumes.contains_key(**name)
                && !self.flights.values().any(|flight| flight.kind.blocks(name))
        };
        let names: Vec<&&str> = NAMES.iter().filter(is_free).collect();
        Ok(names.get(number % names.len().max(1)).map(|name| (**name).to_owned()))
    }

    fn is_volume(&self, name: &str) -> bool {
        self.model.volumes.get(name).is_some_and(|volume| !volume.is_snapshot)
    }

    fn sectors_of(&self, name: &str) -> usize {
        self.model.volumes.get(name).map_or(0, |volume| volume.sectors.len())
    }

    fn block_sectors(&self) -> usize {
        usize::try_from(self.settings.block_size).unwrap_or(0) / SECTOR
    }

    fn some_size(&self, number: usize) -> usize {
        let most = self.settings.blocks_max * self.block_sectors();
        // Every other size is a number of whole blocks.
        let size = 1 + number % most;
        if number.is_multiple_of(2) { size } else { size.next_multiple_of(self.block_sectors()) }
    }

    pub(crate) fn home(&self, name: &str) -> usize {
        self.homes.get(name).copied().unwrap_or(0) % self.nodes.len()
    }

    fn send_home(&mut self, ask: &Ask, kind: Kind) -> Checked<u64> {
        let name = ask.target.clone();
        let node = self.home(&name);
        if self.lost.contains(&(node, name.clone())) {
            self.regain(node, &name)?;
        }
        self.send(node, ask, kind, None)
    }

    fn create(&mut self, number: usize) -> Checked<()> {
        let Some(name) = self.free_name(number)? else { return Ok(()) };
        let sectors = self.some_size(number);
        let node = number % self.nodes.len();
        let argument = CloneArgument {
            source: None,
            size_bytes: Some((sectors * SECTOR) as u64),
            block_size: Some(self.settings.block_size),
        };
        self.homes.insert(name.clone(), node);
        let ask = Ask::about(Op::Clone, &name, &argument);
        self.send(node, &ask, Kind::Change(Change::Create { name, sectors }), None).map(drop)
    }

    fn clone_one(&mut self, number: usize, growth: usize) -> Checked<()> {
        let is_snapshot = |world: &World, name: &str| !world.is_volume(name);
        let Some(source) = self.pick(number, is_snapshot)? else { return Ok(()) };
        let Some(name) = self.free_name(number)? else { return Ok(()) };
        if !self.model.volumes.contains_key(&source) {
            return Ok(());
        }
        let sectors = self.sectors_of(&source) + growth;
        let size_bytes = (growth > 0).then_some((sectors * SECTOR) as u64);
        let argument = CloneArgument { source: Some(source.clone()), size_bytes, block_size: None };
        let node = number % self.nodes.len();
        self.homes.insert(name.clone(), node);
        let ask = Ask::about(Op::Clone, &name, &argument);
        self.send(node, &ask, Kind::Change(Change::Clone { source, name, sectors }), None).map(drop)
    }

    fn snapshot(&mut self, number: usize) -> Checked<()> {
        let Some(name) = self.free_name(number)? else { return Ok(()) };
        let Some(volume) = self.pick(number, |_, _| true)? else { return Ok(()) };
        let is_taken = self.model.volumes.contains_key(&name);
        let Some(content) = self.model.volumes.get(&volume).map(|volume| Rc::from(&volume.sectors[..]))
        else {
            return Ok(());
        };
        if is_taken {
            return Ok(());
        }
        self.homes.insert(name.clone(), self.home(&volume));
        let ask = Ask::about(Op::Snapshot, &volume, &Snapshot { name: name.clone() });
        self.send_home(&ask, Kind::Change(Change::Snapshot { volume, name, content })).map(drop)
    }

    fn resize(&mut self, number: usize, sectors: usize) -> Checked<()> {
        let Some(volume) = self.pick_quiet(number, World::is_volume)? else { return Ok(()) };
        let sectors = self.some_size(sectors);
        let argument = Resize { size_bytes: (sectors * SECTOR) as u64, may_shrink: true };
        let ask = Ask::about(Op::Resize, &volume, &argument);
        self.send_home(&ask, Kind::Change(Change::Resize { volume, sectors })).map(drop)
    }

    fn rename(&mut self, number: usize) -> Checked<()> {
        let Some(from) = self.pick_quiet(number, |_, _| true)? else { return Ok(()) };
        let Some(to) = self.free_name(number)? else { return Ok(()) };
        if !self.model.volumes.contains_key(&from) {
            return Ok(());
        }
        self.homes.insert(to.clone(), self.home(&from));
        let ask = Ask::about(Op::Rename, &from, &Renamed { name: to.clone() });
        self.send_home(&ask, Kind::Change(Change::Rename { from, to })).map(drop)
    }

    fn delete(&mut self, number: usize) -> Checked<()> {
        let Some(name) = self.pick_quiet(number, |_, _| true)? else { return Ok(()) };
        let ask = Ask::new(Op::Delete, &name);
        self.send_home(&ask, Kind::Change(Change::Delete { name })).map(drop)
    }

    /// Sectors of a volume: where a request begins, and how many.
    fn span(&self, name: &str, range: Range) -> (usize, usize) {
        /// Most requests are short.
        const USUAL: usize = 40;
        let sectors = self.sectors_of(name);
        let mut first = range.start % sectors.max(1);
        let most = if range.length.is_multiple_of(7) { sectors } else { USUAL };
        let mut count = 1 + range.length % most.max(1);
        if !range.length.is_multiple_of(3) {
            // Whole pages, as file systems write them.
            first -= first % 8;
            count = count.next_multiple_of(8);
        }
        (first, count.min(sectors - first))
    }

    /// A range of a volume that no write is under way to, not even to its pages.
    fn span_to_write(&mut self, range: Range) -> Checked<Option<(String, usize, usize)>> {
        let Some(name) = self.pick(range.volume, World::is_volume)? else { return Ok(None) };
        let (first, count) = self.span(&name, range);
        let pages = |first: usize, count: usize| first / 8..(first + count).div_ceil(8);
        let wanted = pages(first, count);
        while self.flights.values().any(|flight| match &flight.kind {
            Kind::Write { volume, first, count, .. } if *volume == name => {
                let theirs = pages(*first, *count);
                theirs.start < wanted.end && wanted.start < theirs.end
            }
            kind => kind.blocks(&name) && !matches!(kind, Kind::Change(Change::Snapshot { .. })),
        }) {
            self.step_on()?;
        }
        let is_inside =
            self.is_volume(&name) && first + count <= self.sectors_of(&name) && self.doubts.is_empty();
        Ok(is_inside.then_some((name, first, count)))
    }

    fn read(&mut self, range: Range) -> Checked<()> {
        let Some(volume) = self.pick(range.volume, |_, _| true)? else { return Ok(()) };
        let (first, count) = self.span(&volume, range);
        let ask = Ask::new(Op::Read, &volume).at(first, count);
        let expected = self.model.expect(&volume, first, count);
        self.send_home(&ask, Kind::Read { volume, first, expected }).map(drop)
    }

    fn write(&mut self, range: Range, is_durable: bool, is_blank: bool) -> Checked<()> {
        let Some((volume, first, count)) = self.span_to_write(range)? else { return Ok(()) };
        self.prepare(&volume)?;
        let write = self.model.begin_write(&volume, first, count, is_blank);
        let data = if is_blank { vec![0; count * SECTOR] } else { fill(write, first, count) };
        let flags = if is_durable { Flags::FUA } else { Flags::empty() };
        let ask = Ask { flags, data, ..Ask::new(Op::Write, &volume).at(first, count) };
        self.send_home(&ask, Kind::Write { volume, write, first, count, is_durable }).map(drop)
    }

    fn zero(&mut self, range: Range, is_discard: bool, is_durable: bool, may_trim: bool) -> Checked<()> {
        let Some((volume, first, count)) = self.span_to_write(range)? else { return Ok(()) };
        self.prepare(&volume)?;
        let write = self.model.begin_write(&volume, first, count, true);
        let mut flags = Flags::empty();
        flags.set(Flags::FUA, is_durable);
        flags.set(Flags::MAY_TRIM, may_trim && !is_discard);
        let op = if is_discard { Op::Discard } else { Op::WriteZeroes };
        let ask = Ask { flags, ..Ask::new(op, &volume).at(first, count) };
        self.send_home(&ask, Kind::Write { volume, write, first, count, is_durable }).map(drop)
    }

    /// So that nothing has to be waited for between the model's knowing of a write and its being sent.
    fn prepare(&mut self, volume: &str) -> Checked<()> {
        let node = self.home(volume);
        if self.lost.contains(&(node, volume.to_owned())) { self.regain(node, volume) } else { Ok(()) }
    }

    fn flush(&mut self, number: usize) -> Checked<()> {
        let Some(volume) = self.pick(number, |_, _| true)? else { return Ok(()) };
        self.prepare(&volume)?;
        let moment = self.model.tick();
        self.send_home(&Ask::new(Op::Flush, &volume), Kind::Flush { volume, moment }).map(drop)
    }

    fn open(&mut self, number: usize) -> Checked<()> {
        let Some(volume) = self.pick(number, |_, _| true)? else { return Ok(()) };
        self.send_home(&Ask::new(Op::Open, &volume), Kind::Open { volume }).map(drop)
    }

    fn close(&mut self, number: usize) -> Checked<()> {
        let Some(volume) = self.pick(number, |_, _| true)? else { return Ok(()) };
        self.send_home(&Ask::new(Op::Close, &volume), Kind::Close { volume }).map(drop)
    }

    /// Asks what must be refused, and does no harm.
    fn senseless(&mut self, number: usize, which: usize) -> Checked<()> {
        let Some(volume) = self.pick_quiet(number, |_, _| true)? else { return Ok(()) };
        self.prepare(&volume)?;
        let end = self.sectors_of(&volume);
        let is_snapshot = !self.is_volume(&volume);
        let one = vec![1; SECTOR];
        let clone = |source: &str| CloneArgument {
            source: Some(source.to_owned()),
            size_bytes: None,
            block_size: None,
        };
        let (ask, kind) = match which {
            0 if is_snapshot => {
                (Ask { data: one, ..Ask::new(Op::Write, &volume).at(0, 1) }, ErrorKind::ReadOnly)
            }
            0 | 1 => (Ask::new(Op::Read, &volume).at(end, 1), ErrorKind::Invalid),
            2 => (Ask { data: one, ..Ask::new(Op::Write, "unknown-volume").at(0, 1) }, ErrorKind::NotFound),
            3 => (Ask::new(Op::Delete, "unknown-volume"), ErrorKind::NotFound),
            4 => (Ask::about(Op::Clone, &volume, &clone("unknown-snapshot")), ErrorKind::Exists),
            5 => (Ask::about(Op::Clone, "unknown-volume", &clone("unknown-snapshot")), ErrorKind::NotFound),
            6 => (
                Ask::about(Op::Snapshot, "unknown-volume", &Snapshot { name: volume.clone() }),
                ErrorKind::NotFound,
            ),
            _ => (
                Ask {
                    argument: Snapshot { name: volume.clone() }.encode(),
                    ..Ask::new(Op::Snapshot, &volume)
                },
                ErrorKind::Exists,
            ),
        };
        let node = self.home(&volume);
        self.send(node, &ask, Kind::Senseless { volume }, Some(kind)).map(drop)
    }
}
