//! The mapper as a peer: a set of conversations.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use peer::{Effects, Event, Peer, tasks::Tasks};
use volume::BootId;
use xseg::PortNumber;

use crate::{
    checks::Checks, collect::Collector, config::Config, parallel::Signal, serve::serve, service::Service,
    store_calls::Stores, volumes::Volumes, waiting::Waiting,
};

/// How long a mapper takes to write back and close its maps before it leaves them to the next one.
const STOP_LIMIT_NS: u64 = 20_000_000_000;

/// The state of a mapper, and when it must have stopped.
pub(crate) struct Mapper {
    service: Rc<Service>,
    stop_at_ns: Cell<Option<u64>>,
}

impl Mapper {
    pub(crate) fn new(effects: Effects, config: &Config, node: &str, boot: BootId) -> Mapper {
        let service = Mapper::service(Tasks::new(effects), config, node, boot);
        Mapper { service, stop_at_ns: Cell::new(None) }
    }

    pub(crate) fn service(tasks: Tasks, config: &Config, node: &str, boot: BootId) -> Rc<Service> {
        let (blocks, maps) = (PortNumber(config.blockerb_port), PortNumber(config.blockerm_port));
        let giving_up = Signal::default();
        let stores = Stores::new(tasks.clone(), blocks, maps, node, giving_up.clone());
        Rc::new(Service {
            collector: Collector::new(stores.clone()),
            stores,
            tasks,
            volumes: Volumes::new(config.map_cache_bytes),
            boot,
            waiting: Waiting::default(),
            breath: RefCell::default(),
            checks: Checks::default(),
            stopping: Signal::default(),
            giving_up,
        })
    }

    fn begin_stop(&self) {
        let service = Rc::clone(&self.service);
        service.stopping.give();
        let stop_at_ns = service.tasks.effects().now_ns().saturating_add(STOP_LIMIT_NS);
        self.stop_at_ns.set(Some(stop_at_ns));
        service.tasks.effects().wake_at(stop_at_ns);
        self.service.stores.spawn(async move { service.close_all().await });
    }

    fn tick(&self) {
        self.service.breath.take().give();
        let Some(stop_at_ns) = self.stop_at_ns.get() else { return };
        let effects = self.service.tasks.effects();
        if effects.now_ns() < stop_at_ns {
            effects.wake_at(stop_at_ns);
        } else {
            self.service.giving_up.give();
        }
    }
}

impl Peer for Mapper {
    fn handle(&mut self, event: Event) {
        let tasks = &self.service.tasks;
        match event {
            Event::Accepted(request) => tasks.spawn(serve(Rc::clone(&self.service), request)),
            Event::Replied(reply) => tasks.replied(reply),
            Event::Tick => self.tick(),
            Event::Stopping => self.begin_stop(),
        }
        tasks.run();
    }

    fn details(&self) -> serde_json::Value {
        let (names_in_use, open_maps, loaded_nodes) = self.service.volumes.counts();
        let (collected_objects, collected_bytes) = self.service.collector.deleted();
        serde_json::json!({
            "names_in_use": names_in_use,
            "open_maps": open_maps,
            "locks_held": self.service.volumes.lock_count(),
            "loaded_nodes": loaded_nodes,
            "writers_waiting": self.service.waiting.count(),
            "waiting": self.service.waiting.told(),
            "collected_objects": collected_objects,
            "collected_bytes": collected_bytes,
        })
    }

    fn is_idle(&self) -> bool {
        self.service.tasks.is_empty()
    }

    fn forget(&mut self) {
        self.service.tasks.forget();
    }
}
