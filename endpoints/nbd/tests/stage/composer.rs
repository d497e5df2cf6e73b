//! Volumes in memory, served as a composer serves them.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use peer::{Effects, Event, Peer};
use protocol::{ErrorKind, Extent, Extents, Failure, Flags, Message, Op, VolumeInfo, VolumeKind};
use xseg::Held;

/// What is allocated at a time, in bytes.
const BLOCK: u64 = 64 << 10;

/// All volumes; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Volumes(Arc<Mutex<BTreeMap<String, Volume>>>);

/// One volume.
#[derive(Default)]
pub(crate) struct Volume {
    pub(crate) size_bytes: u64,
    pub(crate) is_snapshot: bool,
    /// Each request takes so long.
    pub(crate) delay: Duration,
    /// Writes wait until this ends and another request comes.
    pub(crate) holds_writes: bool,
    /// Requests that touch this range fail so.
    pub(crate) broken: Option<(Range<u64>, ErrorKind)>,
    pub(crate) blocks: BTreeMap<u64, Vec<u8>>,
    pub(crate) is_open: bool,
    pub(crate) flushes: u64,
    pub(crate) durable_writes: u64,
    pub(crate) writes: u64,
}

impl Volume {
    pub(crate) fn new(size_bytes: u64) -> Volume {
        Volume { size_bytes, ..Volume::default() }
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        (offset..)
            .take(length)
            .map(|at| self.blocks.get(&(at / BLOCK)).map_or(0, |block| block[index(at % BLOCK)]))
            .collect()
    }

    fn pieces(offset: u64, size: u64) -> impl Iterator<Item = (u64, Range<usize>, u64)> {
        let end = offset + size;
        let mut at = offset;
        std::iter::from_fn(move || {
            let (block, from, start) = (at / BLOCK, at % BLOCK, at - offset);
            let length = (BLOCK - from).min(end - at);
            at += length;
            (length > 0).then(|| (block, index(from)..index(from + length), start))
        })
    }

    fn read_into(&self, request: &Held) {
        for (block, range, at) in Self::pieces(request.offset(), request.size()) {
            match self.blocks.get(&block) {
                Some(bytes) => request.write(at, &bytes[range]).unwrap(),
                None => request.zero(at..at + u64::try_from(range.len()).unwrap()).unwrap(),
            }
        }
    }

    fn write_from(&mut self, request: &Held) {
        self.writes += 1;
        for (block, range, at) in Self::pieces(request.offset(), request.size()) {
            let bytes = self.blocks.entry(block).or_insert_with(|| vec![0; index(BLOCK)]);
            request.read(at, &mut bytes[range]).unwrap();
        }
    }

    fn zero(&mut self, request: &Held, keeps_space: bool) {
        for (block, range, _) in Self::pieces(request.offset(), request.size()) {
            if range.len() == index(BLOCK) && !keeps_space {
                self.blocks.remove(&block);
            } else if keeps_space {
                self.blocks.entry(block).or_insert_with(|| vec![0; index(BLOCK)])[range].fill(0);
            } else if let Some(bytes) = self.blocks.get_mut(&block) {
                bytes[range].fill(0);
            }
        }
    }

    fn extents(&self, request: &Held) -> Vec<u8> {
        let extents = Self::pieces(request.offset(), request.size())
            .map(|(block, range, _)| Extent {
                size_bytes: u64::try_from(range.len()).unwrap(),
                is_data: self.blocks.contains_key(&block),
            })
            .take(1000);
        Extents { extents: extents.collect() }.encode()
    }

    fn info(&self, name: &str) -> VolumeInfo {
        VolumeInfo {
            name: name.into(),
            kind: if self.is_snapshot { VolumeKind::Snapshot } else { VolumeKind::Volume },
            size_bytes: self.size_bytes,
            block_size: u32::try_from(BLOCK).unwrap(),
            generation: 1,
            map_version: 3,
            parent: None,
            created_unix_ms: 0,
            lock: None,
            id: 1,
        }
    }

    fn check(&self, request: &Held) -> Result<(), Failure> {
        let end = request.offset().checked_add(request.size());
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(Failure::new(ErrorKind::Invalid, "range is outside the volume"));
        }
        match &self.broken {
            Some((range, kind))
                if request.offset() < range.end && range.start < request.offset() + request.size() =>
            {
                Err(Failure::new(*kind, "block is broken"))
            }
            _ => Ok(()),
        }
    }
}

impl Volumes {
    pub(crate) fn create(&self, name: &str, volume: Volume) {
        self.lock().insert(name.into(), volume);
    }

    pub(crate) fn with<T>(&self, name: &str, act: impl FnOnce(&mut Volume) -> T) -> T {
        act(self.lock().get_mut(name).unwrap())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Volume>> {
        self.0.lock().unwrap()
    }
}

/// The peer.
pub(crate) struct Composer {
    pub(crate) volumes: Volumes,
    pub(crate) effects: Effects,
    pub(crate) waiting: Vec<Held>,
}

impl Peer for Composer {
    fn handle(&mut self, event: Event) {
        if let Event::Accepted(request) = event {
            self.waiting.push(request);
            for mut request in std::mem::take(&mut self.waiting) {
                if self.must_wait(&request) {
                    self.waiting.push(request);
                } else {
                    let result = self.serve(&mut request);
                    self.effects.respond(request, result.as_ref().copied());
                }
            }
        }
    }
}

impl Composer {
    fn must_wait(&self, request: &Held) -> bool {
        let name = String::from_utf8(request.target().as_ref().to_vec()).unwrap();
        request.op() == Op::Write.number()
            && self.volumes.lock().get(&name).is_some_and(|volume| volume.holds_writes)
    }

    fn serve(&mut self, request: &mut Held) -> Result<(), Failure> {
        let name = String::from_utf8(request.target().as_ref().to_vec()).unwrap();
        let mut volumes = self.volumes.lock();
        let Some(volume) = volumes.get_mut(&name) else {
            return Err(Failure::new(ErrorKind::NotFound, format!("no volume {name}")));
        };
        thread::sleep(volume.delay);
        let flags = Flags::from_bits_truncate(request.flags());
        volume.durable_writes += u64::from(flags.contains(Flags::FUA));
        match Op::from_number(request.op()).unwrap() {
            Op::Info => request.set_argument(&volume.info(&name).encode()).unwrap(),
            Op::Open => volume.is_open = true,
            Op::Close => volume.is_open = false,
            Op::Flush => volume.flushes += 1,
            op => {
                volume.check(request)?;
                return volume.serve(op, flags, request);
            }
        }
        Ok(())
    }
}

impl Volume {
    fn serve(&mut self, op: Op, flags: Flags, request: &mut Held) -> Result<(), Failure> {
        match op {
            Op::Read => self.read_into(request),
            Op::Write => self.write_from(request),
            Op::Discard => self.zero(request, false),
            Op::WriteZeroes if flags.contains(Flags::FAST) && !request.offset().is_multiple_of(BLOCK) => {
                return Err(Failure::new(ErrorKind::Unsupported, "not fast"));
            }
            Op::WriteZeroes => self.zero(request, !flags.contains(Flags::MAY_TRIM)),
            Op::Extents => {
                let bytes = self.extents(request);
                request.write(0, &bytes).unwrap();
                request.set_serviced(u64::try_from(bytes.len()).unwrap());
                return Ok(());
            }
            op => return Err(Failure::new(ErrorKind::Unsupported, op.name())),
        }
        request.set_serviced(request.size());
        Ok(())
    }
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap()
}
