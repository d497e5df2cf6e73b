//! Starts a small Ceph cluster with the pools that its arguments name, prints the path of its configuration file, and ends it
//! when standard input does. For `cargo xtask bench --rados`, and for whoever wants to look at one.

use std::io::{Read, Write};

use tests::{Ceph, Disk};

fn main() -> std::io::Result<()> {
    if let Err(reason) = Ceph::is_possible() {
        return Err(std::io::Error::other(reason));
    }
    let ceph = Ceph::start(Disk::Pages, 1);
    std::env::args().skip(1).for_each(|pool| ceph.make_pool(&pool));
    println!("{}", ceph.configuration().display());
    std::io::stdout().flush()?;
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).map(drop)
}
