//! A request that a mapper served, in part or in full, before it died is served again by the next one: with success, once.

use std::rc::Rc;

use peer::{Effects, Event, Peer, tasks::Tasks};
use protocol::{Clone as CloneArgument, ErrorKind, Failure, Message, Op, Renamed, Resize, Snapshot};
use volume::BootId;
use xseg::{Held, PortNumber, Reserve};

use super::{
    memory_store::{Fault, World},
    rig::{BLOCK, Caller, Rig, common_of},
};
use crate::{Config, asked::Asked, mapper::Mapper, service::Service};

/// Serves each request twice, as two mappers of which the first died at some change.
struct Twice {
    effects: Effects,
    tasks: Tasks,
    world: World,
    fault: Fault,
}

impl Twice {
    fn service(&self) -> Rc<Service> {
        let config = Config::new(1, 2);
        Mapper::service(self.tasks.clone(), &config, "a", BootId([9; 16]))
    }
}

impl Peer for Twice {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(request) => {
                let (first, second) = (self.service(), self.service());
                let (world, fault, effects) = (self.world.clone(), self.fault, self.effects.clone());
                self.tasks
                    .spawn(async move { twice(&first, &second, request, &world, fault, &effects).await });
            }
            Event::Replied(reply) => self.tasks.replied(reply),
            Event::Tick | Event::Stopping => {}
        }
        self.tasks.run();
    }

    fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }
}

async fn twice(
    first: &Service,
    second: &Service,
    request: Held,
    world: &World,
    fault: Fault,
    effects: &Effects,
) {
    let mut asked = Asked::of(&request).unwrap();
    world.break_after(fault);
    let _lost = first.perform(&asked).await;
    world.heal();
    asked.is_again = true;
    let result = second.perform(&asked).await.map(drop);
    effects.respond(request, result.as_ref().copied());
}

/// Has `op` served twice, with the first mapper dying at each of its changes; all must succeed and lead to what `check` demands.
fn at_every_change(
    op: Op,
    name: &str,
    argument: &[u8],
    prepare: impl Fn(&mut Caller),
    check: impl Fn(&mut Caller),
) {
    for is_done in [false, true] {
        for after in 1..40 {
            let mut rig = Rig::new();
            prepare(&mut rig.client());
            // The lock is the node's, and stays with it.
            rig.crash();
            rig.stop(0);
            ask_twice(&rig, Fault { after, is_done }, op, name, argument)
                .unwrap_or_else(|failure| panic!("after {after}: {failure}"));
            rig.start(0);
            check(&mut rig.client());
        }
    }
}

fn ask_twice(rig: &Rig, fault: Fault, op: Op, name: &str, argument: &[u8]) -> Result<(), Failure> {
    let stop = peer::Stop::new();
    let (segment, world, theirs) = (rig.segment.clone(), rig.world.clone(), stop.clone());
    let serving = std::thread::spawn(move || {
        let reserve = Reserve { requests: 64, bytes: 4 << 20 };
        peer::run(
            &segment,
            &common_of(super::rig::FIRST, "a"),
            PortNumber(super::rig::FIRST),
            reserve,
            &theirs,
            |effects| Twice { tasks: Tasks::new(effects.clone()), effects, world, fault },
        )
        .unwrap();
    });
    super::rig::await_port(&rig.segment, super::rig::FIRST);
    let mut caller = rig.client();
    let result = caller.client.call(PortNumber(super::rig::FIRST), op, name.as_bytes(), 0, |request| {
        request.set_argument(argument).unwrap();
        Ok(())
    });
    let result = result.map(|reply| caller.client.done(reply));
    stop.set();
    serving.join().unwrap();
    result
}

fn written(caller: &mut Caller) {
    caller.create("volume", 8);
    caller.write_durably("volume", 1, 1).unwrap();
}

#[test]
fn a_create_is_done_once() {
    let argument =
        CloneArgument { source: None, size_bytes: Some(8 * u64::from(BLOCK)), block_size: Some(BLOCK) }
            .encode();
    at_every_change(
        Op::Clone,
        "volume",
        &argument,
        |_| {},
        |caller| {
            assert_eq!(caller.names(), ["volume"]);
            assert_eq!(caller.read_all("volume", 8).unwrap(), [0; 8]);
        },
    );
}

#[test]
fn a_snapshot_is_taken_once() {
    let argument = Snapshot { name: "snapshot".to_owned() }.encode();
    at_every_change(Op::Snapshot, "volume", &argument, written, |caller| {
        assert_eq!(caller.read_all("snapshot", 3).unwrap(), [0, 1, 0]);
        caller.write_durably("volume", 1, 2).unwrap();
        assert_eq!(caller.read_all("snapshot", 3).unwrap(), [0, 1, 0]);
    });
}

#[test]
fn a_delete_is_done_once() {
    at_every_change(Op::Delete, "volume", &[], written, |caller| {
        assert_eq!(caller.client.info("volume").unwrap_err().kind, ErrorKind::NotFound);
    });
}

#[test]
fn a_rename_is_done_once() {
    let argument = Renamed { name: "renamed".to_owned() }.encode();
    at_every_change(Op::Rename, "volume", &argument, written, |caller| {
        assert_eq!(caller.names(), ["renamed"]);
        assert_eq!(caller.read_all("renamed", 3).unwrap(), [0, 1, 0]);
    });
}

#[test]
fn a_resize_and_a_close_are_done_once() {
    let argument = Resize { size_bytes: u64::from(BLOCK) + 1, may_shrink: true }.encode();
    at_every_change(Op::Resize, "volume", &argument, written, |caller| {
        assert_eq!(caller.client.info("volume").unwrap().size_bytes, u64::from(BLOCK) + 1);
        assert_eq!(caller.read_all("volume", 2).unwrap(), [0, 1]);
    });
    at_every_change(Op::Close, "volume", &[], written, |caller| {
        assert_eq!(caller.read_all("volume", 2).unwrap(), [0, 1]);
    });
}
