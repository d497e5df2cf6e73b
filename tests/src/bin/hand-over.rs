//! How long a volume in RADOS takes from a host that closes it to one whose write waits: prints the milliseconds of each time, a line
//! each. For `cargo xtask bench --rados`.

use std::{
    thread,
    time::{Duration, Instant},
};

use tests::{
    Ceph, Network,
    place::{Place, prepared},
};

const VOLUME: &str = "bench-volume";
const SIZE: u64 = 64 << 20;
/// So often the volume changes hands.
const ROUNDS: usize = 100;
/// Before a host closes, the other has waited so long.
const WAIT: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ceph::is_possible()?;
    Network::is_possible()?;
    let network = Network::start();
    let ceph = Ceph::start_on(&network);
    ["blocks", "maps"].iter().for_each(|pool| ceph.make_pool(pool));
    let hosts =
        [(); 2].map(|()| network.host(prepared(&ceph, Place::Pool("blocks", ""), Place::Pool("maps", ""))));
    hosts[0].client().create(VOLUME, Some(SIZE), None, None)?;
    hosts[0].client().write(VOLUME, 0, &[1; 4096])?;
    for round in 0..ROUNDS {
        let (owner, next) = (&hosts[round % 2], &hosts[(round + 1) % 2]);
        let (mut leaving, mut arriving) = (owner.client(), next.client());
        let took = thread::scope(|threads| {
            let waiting = threads.spawn(move || arriving.write(VOLUME, 0, &[2; 4096]));
            thread::sleep(WAIT);
            let begun = Instant::now();
            leaving.close(VOLUME)?;
            waiting.join().map_err(|_| "a client panicked")??;
            Ok::<_, Box<dyn std::error::Error>>(begun.elapsed())
        })?;
        println!("{:.3}", took.as_secs_f64() * 1e3);
    }
    Ok(())
}
