//! What a dead process still has under way.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use protocol::{ErrorKind, Failure};
use xseg::Segment;

use crate::Stack;

/// How long requests of the dead may take to end: a peer that serves them may itself be started again meanwhile.
const PATIENCE: Duration = Duration::from_secs(50);
/// How often they are looked for.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until nothing is under way on a volume that a process asked for that is dead: what is asked for again must not be
/// overtaken by what was asked for first.
///
/// # Errors
/// `Unavailable` if it does not end.
pub fn await_the_dead(stack: &Stack, volume: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while is_haunted(&stack.segment, volume) {
        if Instant::now() >= deadline {
            let message = format!("what a dead process asked of volume {volume} does not end");
            return Err(Failure::new(ErrorKind::Unavailable, message));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn is_haunted(segment: &Segment, volume: &str) -> bool {
    let living: HashMap<u32, u32> = segment
        .ports()
        .into_iter()
        .filter(|port| port.is_alive && !port.is_static)
        .map(|port| (port.number.0, port.incarnation))
        .collect();
    let first_dynamic = segment.geometry().static_ports();
    segment.requests().iter().any(|request| {
        let id = request.id;
        id.port >= first_dynamic
            && living.get(&id.port) != Some(&id.incarnation)
            && request.target.as_ref() == volume.as_bytes()
            && !request.is_reply
            && request.to.unwrap_or(request.port).0 < first_dynamic
    })
}
