//! What volumes must hold: for every sector the value that must be there, or those that may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The unit of all I/O of the simulation, in bytes.
pub(crate) const SECTOR: usize = 512;
/// What is old or new after a loss of power, in sectors: 4 KiB.
const PAGE: usize = 8;
/// The write that everything begins with.
pub(crate) const BASE: usize = 0;
/// A write of which nobody knows whether it was done.
pub(crate) const UNSURE: usize = 1;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Running,
    Acknowledged { at: u64 },
    Failed,
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) write: usize,
    pub(crate) value: u64,
    /// Somebody read it when nothing else was under way.
    pub(crate) is_seen: bool,
}

/// What a sector was given, oldest first; what is before the last durable version is forgotten.
#[derive(Clone)]
pub(crate) struct Sector {
    pub(crate) versions: Vec<Version>,
    /// The last write that zeroed it, even if it is forgotten.
    last_zero: usize,
}

#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) sectors: Vec<Sector>,
    pub(crate) block_size: u32,
    pub(crate) is_snapshot: bool,
    /// Two nodes may see it differently, since one of them lost it and what it had not committed.
    pub(crate) is_disputed: bool,
}

pub(crate) struct Model {
    pub(crate) volumes: BTreeMap<String, Volume>,
    writes: Vec<Fate>,
    /// Writes that were under way when their volume was taken away.
    overtaken: BTreeSet<usize>,
    now: u64,
}

/// What a read may find, as known when it was sent.
pub(crate) struct Expected {
    values: Vec<Vec<u64>>,
    is_quiet: Vec<bool>,
    next_write: usize,
}

/// There are too many to be told.
impl fmt::Debug for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sectors", self.values.len())
    }
}

impl Sector {
    pub(crate) fn holding(value: u64) -> Sector {
        Sector { versions: vec![Version { write: BASE, value, is_seen: false }], last_zero: BASE }
    }
}

impl Model {
    pub(crate) fn new() -> Model {
        let writes = vec![Fate::Acknowledged { at: 0 }, Fate::Failed];
        Model { volumes: BTreeMap::new(), writes, overtaken: BTreeSet::new(), now: 1 }
    }

    /// The moment, for [`Model::flushed`].
    pub(crate) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    pub(crate) fn create(&mut self, name: &str, sectors: usize, block_size: u32) {
        let sectors = vec![Sector::holding(0); sectors];
        self.volumes
            .insert(name.to_owned(), Volume { sectors, block_size, is_snapshot: false, is_disputed: false });
    }

    /// The first that may be there now.
    fn live_from(&self, sector: &Sector) -> usize {
        let is_sure = |version: &Version| {
            version.is_seen || matches!(self.writes[version.write], Fate::Acknowledged { .. })
        };
        sector.versions.iter().rposition(is_sure).unwrap_or(0)
    }

    /// What of a sector may be there now, as the beginning of another volume.
    fn frozen(&self, sector: &Sector) -> Sector {
        let mut versions = sector.versions[self.live_from(sector)..].to_vec();
        for (position, version) in versions.iter_mut().enumerate() {
            version.write = if position == 0 { BASE } else { UNSURE };
            version.is_seen = false;
        }
        versions.dedup_by_key(|version| version.value);
        Sector { versions, last_zero: BASE }
    }

    /// The sectors of a volume as they may be now.
    pub(crate) fn frozen_sectors(&self, sectors: &[Sector]) -> Vec<Sector> {
        sectors.iter().map(|sector| self.frozen(sector)).collect()
    }

    /// A write of these sectors begins; its number. `None` for zeros.
    pub(crate) fn begin_write(&mut self, name: &str, first: usize, count: usize, is_zero: bool) -> usize {
        let write = self.writes.len();
        self.writes.push(Fate::Running);
        let sectors = self.volumes.get_mut(name).map_or(&mut [][..], |volume| &mut volume.sectors[..]);
        for (index, sector) in sectors.iter_mut().enumerate().skip(first).take(count) {
            let value = if is_zero { 0 } else { value_of(write, index) };
            sector.versions.push(Version { write, value, is_seen: false });
            if is_zero {
                sector.last_zero = write;
            }
        }
        write
    }

    pub(crate) fn end_write(&mut self, write: usize, is_done: bool) {
        let at = self.tick();
        let is_sure = is_done && !self.overtaken.remove(&write);
        self.writes[write] = if is_sure { Fate::Acknowledged { at } } else { Fate::Failed };
    }

    /// What was acknowledged before `moment` is durable.
    pub(crate) fn flushed(&mut self, name: &str, moment: u64) {
        let writes = &self.writes;
        let Some(volume) = self.volumes.get_mut(name) else { return };
        for sector in &mut volume.sectors {
            let is_durable =
                |version: &Version| matches!(writes[version.write], Fate::Acknowledged { at } if at < moment);
            let floor = sector.versions.iter().rposition(is_durable).unwrap_or(0);
            sector.versions.drain(..floor);
        }
    }

    /// What was not flushed may be lost: who takes a volume from a live node goes on from its last commit.
    pub(crate) fn taken(&mut self, name: &str) {
        let Some(volume) = self.volumes.get_mut(name) else { return };
        volume.is_disputed = true;
        for sector in &mut volume.sectors {
            for version in &mut sector.versions {
                version.is_seen = false;
            }
            for version in sector.versions.iter().skip(1).filter(|version| version.write > UNSURE) {
                match self.writes[version.write] {
                    Fate::Acknowledged { .. } => self.writes[version.write] = Fate::Failed,
                    Fate::Running => drop(self.overtaken.insert(version.write)),
                    Fate::Failed => {}
                }
            }
        }
    }

    /// This write is durable, where it is.
    pub(crate) fn made_durable(&mut self, name: &str, write: usize) {
        let Some(volume) = self.volumes.get_mut(name) else { return };
        for sector in &mut volume.sectors {
            if let Some(floor) = sector.versions.iter().position(|version| version.write == write) {
                sector.versions.drain(..floor);
            }
        }
    }

    pub(crate) fn expect(&self, name: &str, first: usize, count: usize) -> Expected {
        let sectors = self.volumes.get(name).map_or(&[][..], |volume| &volume.sectors[..]);
        let range = || sectors.iter().skip(first).take(count);
        let live = |sector: &Sector| {
            sector.versions[self.live_from(sector)..].iter().map(|version| version.value).collect()
        };
        let is_quiet = |sector: &Sector| {
            sector.versions.iter().all(|version| self.writes[version.write] != Fate::Running)
        };
        Expected {
            values: range().map(live).collect(),
            is_quiet: range().map(is_quiet).collect(),
            next_write: self.writes.len(),
        }
    }

    /// Checks what a read found; what it says is then known.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check_read(
        &mut self,
        name: &str,
        first: usize,
        expected: &Expected,
        bytes: &[u8],
    ) -> Result<(), String> {
        let Some(volume) = self.volumes.get_mut(name) else { return Ok(()) };
        for (position, found) in bytes.chunks(SECTOR).enumerate() {
            let index = first + position;
            let value = uniform(found).ok_or_else(|| format!("sector {index} of {name} is torn inside"))?;
            let Some(sector) = volume.sectors.get_mut(index) else { continue };
            let has_new = sector.versions.iter().any(|version| version.write >= expected.next_write);
            // Forgotten or not: what was written after the read was sent.
            let written = if value == 0 { sector.last_zero } else { write_of(value, index) };
            // It may have been taken away since the read was sent.
            let is_old = volume.is_disputed && sector.versions.iter().any(|version| version.value == value);
            if !expected.values[position].contains(&value) && written < expected.next_write && !is_old {
                return Err(wrong(name, index, value, &expected.values[position]));
            }
            if expected.is_quiet[position] && !has_new && !volume.is_disputed {
                see(sector, value, volume.is_snapshot);
            }
        }
        Ok(())
    }

    /// Checks what a volume holds after a loss of power; that is what it holds from now on.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check_after_loss(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let Some(volume) = self.volumes.get_mut(name) else { return Ok(()) };
        let mut found = Vec::new();
        for (index, (sector, bytes)) in volume.sectors.iter().zip(bytes.chunks(SECTOR)).enumerate() {
            let value = uniform(bytes).ok_or_else(|| format!("sector {index} of {name} is torn inside"))?;
            let matching = sector.versions.iter().filter(|version| version.value == value);
            let matching: Vec<usize> = matching.map(|version| version.write).collect();
            if matching.is_empty() {
                let allowed: Vec<u64> = sector.versions.iter().map(|version| version.value).collect();
                return Err(format!("after a loss of power: {}", wrong(name, index, value, &allowed)));
            }
            found.push(matching);
        }
        if volume.block_size >= 4096 {
            check_pages(name, volume, &found)?;
        }
        volume.is_disputed = false;
        for (sector, bytes) in volume.sectors.iter_mut().zip(bytes.chunks(SECTOR)) {
            *sector = Sector::holding(uniform(bytes).unwrap_or_default());
        }
        Ok(())
    }
}

/// No page holds parts of a write that covered it whole beside something older. `found`: the writes that each sector may
/// be of.
fn check_pages(name: &str, volume: &Volume, found: &[Vec<usize>]) -> Result<(), String> {
    for (page, (sectors, found)) in volume.sectors.chunks(PAGE).zip(found.chunks(PAGE)).enumerate() {
        let is_in = |write: usize| {
            move |sector: &Sector| sector.versions.iter().any(|version| version.write == write)
        };
        let writes = sectors[0].versions.iter().map(|version| version.write).filter(|write| *write > UNSURE);
        let covering: Vec<usize> = writes.filter(|write| sectors.iter().all(is_in(*write))).collect();
        let is_newest = |newest: usize| {
            let fits = |write: &usize| *write >= newest && (*write == newest || !covering.contains(write));
            found.iter().all(|writes| writes.iter().any(fits))
        };
        if !covering.iter().any(|write| is_newest(*write)) && !is_newest(BASE) {
            let text = format!(
                "page {page} of {name} is mixed after a loss of power: {found:?}, {covering:?} cover it"
            );
            return Err(text);
        }
    }
    Ok(())
}

/// A sector is known to hold this value.
fn see(sector: &mut Sector, value: u64, is_snapshot: bool) {
    let Some(position) = sector.versions.iter().rposition(|version| version.value == value) else { return };
    sector.versions.truncate(position + 1);
    if is_snapshot {
        *sector = Sector::holding(value);
    } else if let Some(last) = sector.versions.last_mut() {
        last.is_seen = true;
    }
}

fn wrong(name: &str, index: usize, found: u64, allowed: &[u64]) -> String {
    let show = |value: &u64| match value {
        0 => "zeros".to_owned(),
        value => format!("write {} of sector {}", value >> 20, value & 0xf_ffff),
    };
    let allowed: Vec<String> = allowed.iter().map(show).collect();
    format!("sector {index} of {name} holds {}, and may hold {}", show(&found), allowed.join(" or "))
}

fn value_of(write: usize, sector: usize) -> u64 {
    (write as u64) << 20 | sector as u64
}

/// The write that left this value in a sector; the first of all if it is not this sector's.
fn write_of(value: u64, sector: usize) -> usize {
    let is_right = value & 0xf_ffff == sector as u64;
    if is_right { usize::try_from(value >> 20).unwrap_or(BASE) } else { BASE }
}

/// The bytes that a write puts into a sector.
pub(crate) fn fill(write: usize, first: usize, count: usize) -> Vec<u8> {
    (first..first + count)
        .flat_map(|sector| value_of(write, sector).to_le_bytes().repeat(SECTOR / 8))
        .collect()
}

/// The number that a sector is full of.
fn uniform(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(bytes[..8].try_into().ok()?);
    bytes.chunks(8).all(|chunk| *chunk == number.to_le_bytes()).then_some(number)
}
