//! What is on the disk, and what happened to it.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

/// A file system in memory.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) nodes: HashMap<u64, Node>,
    next: u64,
    /// All that happened, oldest first.
    pub(crate) events: Vec<Event>,
    /// What goes wrong.
    pub(crate) rules: Vec<Rule>,
    /// How many bytes fit; none for as many as there is memory.
    pub(crate) space: Option<u64>,
}

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) content: Content,
    pub(crate) links: u32,
    pub(crate) modified: SystemTime,
    /// The last name it was given.
    pub(crate) name: Vec<u8>,
}

#[derive(Clone)]
pub(crate) enum Content {
    File(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, u64>),
}

/// Something that changed the disk, or that a test notes.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Made {
        inode: u64,
        is_directory: bool,
    },
    Wrote {
        inode: u64,
        at: usize,
        bytes: Vec<u8>,
    },
    Resized {
        inode: u64,
        size: usize,
    },
    /// The name leads to this, or to nothing.
    Named {
        parent: u64,
        name: Vec<u8>,
        inode: Option<u64>,
    },
    SyncedFile {
        inode: u64,
    },
    SyncedDirectory {
        inode: u64,
    },
    Noted(Note),
}

/// What a test knows of its own.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// A page of the volume is being written.
    Writing { page: usize, stamp: u64 },
    /// All that was answered so far is durable.
    Flushed,
    /// A snapshot is there, and holds all that was answered so far.
    Snapshot { name: String },
}

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Read,
    Write,
    Sync,
}

/// An answer that is not the right one.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) asked: Asked,
    /// Files whose name holds this.
    pub(crate) name: String,
    pub(crate) fault: Wrong,
    /// How often.
    pub(crate) times: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrong {
    Error(i32),
    Slow(Duration),
}

/// The top directory.
pub(crate) const ROOT: u64 = 1;

impl Model {
    pub(crate) fn new() -> Model {
        let root = Node {
            content: Content::Directory(BTreeMap::new()),
            links: 2,
            modified: SystemTime::now(),
            name: Vec::new(),
        };
        let nodes = HashMap::from([(ROOT, root)]);
        Model { nodes, next: ROOT + 1, events: Vec::new(), rules: Vec::new(), space: None }
    }

    pub(crate) fn child(&self, parent: u64, name: &[u8]) -> Option<u64> {
        match &self.nodes.get(&parent)?.content {
            Content::Directory(entries) => entries.get(name).copied(),
            Content::File(_) => None,
        }
    }

    pub(crate) fn make(&mut self, is_directory: bool) -> u64 {
        let inode = self.next;
        self.next += 1;
        let content =
            if is_directory { Content::Directory(BTreeMap::new()) } else { Content::File(Vec::new()) };
        let links = if is_directory { 2 } else { 0 };
        self.nodes.insert(inode, Node { content, links, modified: SystemTime::now(), name: Vec::new() });
        self.events.push(Event::Made { inode, is_directory });
        inode
    }

    /// Makes the name lead to `inode`, or to nothing.
    pub(crate) fn name(&mut self, parent: u64, name: &[u8], inode: Option<u64>) {
        let before = self.child(parent, name);
        if let Some(node) = before.and_then(|inode| self.nodes.get_mut(&inode)) {
            node.links = node.links.saturating_sub(1);
        }
        if let Some(node) = inode.and_then(|inode| self.nodes.get_mut(&inode)) {
            node.links += 1;
            node.name = name.to_vec();
        }
        if let Some(Node { content: Content::Directory(entries), .. }) = self.nodes.get_mut(&parent) {
            match inode {
                Some(inode) => drop(entries.insert(name.to_vec(), inode)),
                None => drop(entries.remove(name)),
            }
        }
        self.events.push(Event::Named { parent, name: name.to_vec(), inode });
    }

    /// Whether the bytes fit.
    pub(crate) fn write(&mut self, inode: u64, at: usize, bytes: &[u8]) -> bool {
        let used: usize = self.nodes.values().map(|node| node.bytes().map_or(0, Vec::len)).sum();
        let space = self.space.unwrap_or(u64::MAX);
        let Some(node) = self.nodes.get_mut(&inode) else { return false };
        let Content::File(file) = &mut node.content else { return false };
        let end = at + bytes.len();
        if (used + end.saturating_sub(file.len())) as u64 > space {
            return false;
        }
        write_into(file, at, bytes);
        node.modified = SystemTime::now();
        self.events.push(Event::Wrote { inode, at, bytes: bytes.to_vec() });
        true
    }

    pub(crate) fn resize(&mut self, inode: u64, size: usize) {
        let Some(node) = self.nodes.get_mut(&inode) else { return };
        if let Content::File(file) = &mut node.content {
            file.resize(size, 0);
            node.modified = SystemTime::now();
            self.events.push(Event::Resized { inode, size });
        }
    }

    /// What goes wrong with this, if anything.
    pub(crate) fn trouble(&mut self, asked: Asked, inode: u64) -> Option<Wrong> {
        let name = String::from_utf8_lossy(&self.nodes.get(&inode)?.name).into_owned();
        let mut rules = self.rules.iter_mut();
        let rule =
            rules.find(|rule| rule.asked == asked && rule.times > 0 && name.contains(rule.name.as_str()))?;
        rule.times -= 1;
        Some(rule.fault)
    }
}

impl Node {
    pub(crate) fn bytes(&self) -> Option<&Vec<u8>> {
        match &self.content {
            Content::File(bytes) => Some(bytes),
            Content::Directory(_) => None,
        }
    }
}

pub(crate) fn write_into(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}
