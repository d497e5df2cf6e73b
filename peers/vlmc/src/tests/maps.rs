//! The played mapper: maps without a tree.

use std::collections::BTreeMap;

use protocol::{Entries, Entry, ErrorKind, Message, Op, Resize, Shape, Snapshot};
use xseg::{Held, RequestId};

use super::store::{Disk, Object, index};
use crate::object::{Object as Name, Place};

#[derive(Default)]
pub(super) struct Maps {
    pub(super) volumes: BTreeMap<Vec<u8>, Map>,
    /// The most entries of an answer; 0 for as many as are asked for.
    pub(super) page: usize,
    /// Another node holds all locks: entries may be used once.
    pub(super) is_foreign: bool,
    /// The store knows that a lock is gone, the mapper does not.
    pub(super) is_revoked: bool,
    done: Option<RequestId>,
    latest_id: u64,
}

#[derive(Clone)]
pub(super) struct Map {
    pub(super) shape: Shape,
    pub(super) entries: Vec<Entry>,
    durable: Vec<Entry>,
    id: u64,
    generation: u64,
    pub(super) fence: u64,
}

impl Maps {
    pub(super) fn create(&mut self, name: &str, size_bytes: u64, block_size: u32) {
        let shape = Shape { size_bytes, block_size, is_read_only: false };
        let entries = vec![Entry::Hole; index(size_bytes.div_ceil(u64::from(block_size)))];
        self.latest_id += 1;
        let map =
            Map { shape, durable: entries.clone(), entries, id: self.latest_id, generation: 1, fence: 7 };
        self.volumes.insert(name.as_bytes().to_vec(), map);
    }

    pub(super) fn map(&mut self, name: &str) -> &mut Map {
        self.volumes.get_mut(name.as_bytes()).unwrap()
    }

    pub(super) fn is_current(&self, lock: &[u8], number: u64) -> bool {
        !self.is_revoked && self.volumes.get(lock).is_some_and(|map| map.fence == number)
    }

    pub(super) fn serve(&mut self, op: Op, request: &mut Held, disk: &mut Disk) -> Result<(), ErrorKind> {
        let name = request.target().as_ref().to_vec();
        let (page, is_foreign) = (self.page, self.is_foreign);
        let map = self.volumes.get_mut(&name).ok_or(ErrorKind::NotFound)?;
        let first = request.offset();
        let end = first.saturating_add(request.size());
        match op {
            Op::MapRead => answer(request, map, page, is_foreign, false),
            Op::MapWrite if map.shape.is_read_only => return Err(ErrorKind::ReadOnly),
            Op::MapWrite => {
                let has_changed = map.make_writable(first, end, disk);
                answer(request, map, 0, false, has_changed);
            }
            Op::MapPunch => map.punch(first, end, disk),
            Op::Commit if map.shape.is_read_only => return Err(ErrorKind::ReadOnly),
            Op::Commit if is_foreign => return Err(ErrorKind::Busy),
            Op::Commit => map.commit(disk),
            Op::Snapshot => {
                let argument = Snapshot::decode(request.argument().as_ref()).unwrap();
                self.snapshot(&name, &argument.name, request.id(), disk)?;
            }
            Op::Resize => {
                let argument = Resize::decode(request.argument().as_ref()).unwrap();
                map.resize(argument.size_bytes);
            }
            Op::Delete => drop(self.volumes.remove(&name)),
            Op::Info | Op::Open | Op::Close => {}
            other => panic!("the mapper is not asked to {}", other.name()),
        }
        Ok(())
    }

    fn snapshot(
        &mut self,
        volume: &[u8],
        name: &str,
        id: RequestId,
        disk: &mut Disk,
    ) -> Result<(), ErrorKind> {
        if self.done == Some(id) {
            return Ok(());
        }
        if self.volumes.contains_key(name.as_bytes()) {
            return Err(ErrorKind::Exists);
        }
        let map = self.volumes.get_mut(volume).unwrap();
        map.entries.iter_mut().for_each(freeze);
        map.generation += 1;
        map.commit(disk);
        let mut frozen = map.clone();
        frozen.shape.is_read_only = true;
        self.volumes.insert(name.as_bytes().to_vec(), frozen);
        self.done = Some(id);
        Ok(())
    }

    pub(super) fn durable(&self, volume: &str, disk: &Disk) -> Vec<u8> {
        let map = &self.volumes[volume.as_bytes()];
        let mut bytes = Vec::new();
        for (block, entry) in (0..).zip(&map.durable) {
            let mut contents = match Place::of(entry, block) {
                Place::Hole => Vec::new(),
                Place::At { object, .. } => {
                    let object = object.with_name(|name| disk.objects.get(name));
                    object.and_then(|object| object.durable.clone()).expect("a committed object is durable")
                }
                Place::Partial { .. } => panic!("nobody asked for a partial block"),
            };
            contents.resize(index(u64::from(map.shape.block_size)), 0);
            bytes.extend(contents);
        }
        bytes.truncate(index(map.shape.size_bytes));
        bytes
    }
}

fn freeze(entry: &mut Entry) {
    if let Entry::Object { is_writable, .. } | Entry::Named { is_writable, .. } = entry {
        *is_writable = false;
    }
}

fn answer(request: &mut Held, map: &Map, page: usize, is_foreign: bool, has_changed: bool) {
    let (first, count) = (index(request.offset()), index(request.size()));
    assert!(first + count <= map.entries.len(), "only blocks of the volume are asked for");
    let count = if page == 0 { count } else { count.min(page) };
    let holes = map.entries[first + count..].iter().take_while(|entry| **entry == Entry::Hole).count();
    let entries = Entries {
        shape: map.shape.clone(),
        fence: (!is_foreign).then_some(map.fence),
        first: request.offset(),
        entries: map.entries[first..first + count].to_vec(),
        holes_after: holes.try_into().unwrap(),
        has_changed,
        fresh: None,
    };
    let bytes = entries.encode();
    request.write(0, &bytes).unwrap();
    request.set_serviced(u64::try_from(bytes.len()).unwrap());
}

impl Map {
    fn make_writable(&mut self, first: u64, end: u64, disk: &mut Disk) -> bool {
        let mut has_changed = false;
        for block in first..end {
            let place = Place::of(&self.entries[index(block)], block);
            let now = match place {
                Place::At { is_writable: true, .. } | Place::Partial { .. } => continue,
                Place::Hole => Vec::new(),
                Place::At { object, .. } => object.with_name(|name| disk.objects[name].now.clone()),
            };
            let name = Name::Ours { owner: self.id, written_at: self.generation, index: block };
            let earlier =
                name.with_name(|name| disk.objects.insert(name.to_vec(), Object { now, durable: None }));
            assert!(earlier.is_none(), "an object name is used once");
            let entry = Entry::Object { owner: self.id, written_at: self.generation, is_writable: true };
            self.entries[index(block)] = entry;
            has_changed = true;
        }
        has_changed
    }

    fn punch(&mut self, first: u64, end: u64, disk: &mut Disk) {
        for block in first..end {
            let place = Place::of(&self.entries[index(block)], block);
            if let Place::At { object, is_writable: true } = place {
                object.with_name(|name| disk.objects.remove(name));
            }
            self.entries[index(block)] = Entry::Hole;
        }
        self.generation += 1;
        // Objects are deleted after the map that no longer refers to them is durable.
        self.commit(disk);
    }

    /// Objects that the map refers to are there before it does.
    fn commit(&mut self, disk: &mut Disk) {
        for (block, entry) in (0..).zip(&self.entries) {
            if let Place::At { object, .. } = Place::of(entry, block) {
                let object = object.with_name(|name| disk.objects.get_mut(name)).unwrap();
                if object.durable.is_none() {
                    object.sync();
                }
            }
        }
        self.durable.clone_from(&self.entries);
    }

    fn resize(&mut self, size_bytes: u64) {
        self.shape.size_bytes = size_bytes;
        self.entries.resize(index(size_bytes.div_ceil(u64::from(self.shape.block_size))), Entry::Hole);
        self.durable.clone_from(&self.entries);
    }
}
