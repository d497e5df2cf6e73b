//! A stack as threads of this process, on two directories.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
};

use client::{Client, Stack};
use peer::{Common, Stop};
use xseg::{Geometry, Segment};

const VLMC: u32 = 1;
const MAPPER: u32 = 2;
const BLOCKS: u32 = 3;
const MAPS: u32 = 4;

/// The roles that keep and compose volumes.
pub(crate) struct Node {
    stack: Stack,
    name: String,
    stop: Stop,
    stores_stop: Stop,
    peers: Vec<JoinHandle<()>>,
    stores: Vec<JoinHandle<()>>,
    _run_dir: tempfile::TempDir,
}

impl Node {
    /// Starts it on `folder/blocks` and `folder/maps`.
    pub(crate) fn start(folder: &Path) -> Node {
        Node::start_with(folder, |config| config)
    }

    pub(crate) fn start_with(folder: &Path, edit: impl Fn(filed::Config) -> filed::Config) -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "posix:archipelago-crash-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let geometry = Geometry::new(32, 8, 1024, 64 << 20).unwrap();
        let segment = Segment::create(&name, geometry).unwrap();
        let run_dir = tempfile::tempdir().unwrap();
        let common = |role: &str, port: u32| Common {
            role: role.to_owned(),
            ports: port..=port,
            nr_ops: 32,
            node: "node".to_owned(),
            run_dir: run_dir.path().to_owned(),
        };
        let (stop, stores_stop) = (Stop::new(), Stop::new());
        let lock_dir = folder.join("maps");
        let mut stores = Vec::new();
        for (role, port, directory) in [("blockerb", BLOCKS, "blocks"), ("blockerm", MAPS, "maps")] {
            let config = filed::Config {
                lock_dir: Some(lock_dir.clone()),
                nr_threads: 4,
                ..filed::Config::new(folder.join(directory))
            };
            let (segment, stop, config) = (segment.clone(), stores_stop.clone(), edit(config));
            let common = common(role, port);
            stores.push(std::thread::spawn(move || filed::serve(&segment, &common, &config, &stop).unwrap()));
        }
        let mut peers = Vec::new();
        let (of_mapper, config) = (common("mapperd", MAPPER), mapper_config());
        let (its_segment, its_stop) = (segment.clone(), stop.clone());
        peers.push(std::thread::spawn(move || {
            mapper::serve(&its_segment, &of_mapper, &config, &its_stop).unwrap();
        }));
        let (of_vlmc, config) = (common("vlmcd", VLMC), vlmc::Config::new(BLOCKS, MAPPER));
        let (its_segment, its_stop) = (segment.clone(), stop.clone());
        peers.push(std::thread::spawn(move || {
            vlmc::serve(&its_segment, &of_vlmc, &config, &its_stop).unwrap();
        }));
        let stack = Stack {
            segment,
            vlmc: VLMC..=VLMC,
            mapper: MAPPER,
            blocker_maps: MAPS,
            blocker_blocks: BLOCKS,
            endpoints: Vec::new(),
            node: "node".to_owned(),
        };
        Node { stack, name, stop, stores_stop, peers, stores, _run_dir: run_dir }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.stack).unwrap()
    }

    /// The ports of the stores of blocks and of maps.
    pub(crate) const STORES: [u32; 2] = [BLOCKS, MAPS];
}

fn mapper_config() -> mapper::Config {
    mapper::Config::new(BLOCKS, MAPS)
}

impl Drop for Node {
    fn drop(&mut self) {
        // Peers close their volumes, for which they need the stores.
        for (stop, threads) in [(&self.stop, &mut self.peers), (&self.stores_stop, &mut self.stores)] {
            stop.set();
            for thread in threads.drain(..) {
                assert!(thread.join().is_ok() || std::thread::panicking(), "a role has panicked");
            }
        }
        let _gone = Segment::destroy(&self.name);
    }
}
