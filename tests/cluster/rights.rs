//! Clusters that ask for keys: what a user needs to be allowed, and what is said where it is not.

use std::fs;
use std::path::Path;

use radosd::{Config, Rados};
use tests::place::{Place, prepared_as};
use tests::{Ceph, Disk, Trust};

use crate::is_possible;
use crate::stacks::tell_the_story;

/// What peers/radosd/README.md tells to give.
const ENOUGH: [&str; 4] = ["mon", "profile rbd", "osd", "profile rbd pool=blocks, profile rbd pool=maps"];
/// The same, as narrow as can be.
const LEAST: [&str; 4] = [
    "mon",
    "allow r, allow command \"osd blocklist\" with blocklistop=add",
    "osd",
    "allow rw pool=blocks namespace=cloud, allow rw pool=maps namespace=cloud",
];

fn started() -> Ceph {
    let ceph = Ceph::start_for(Trust::Keys, Disk::Memory, 1);
    ["blocks", "maps"].iter().for_each(|pool| ceph.make_pool(pool));
    ceph
}

#[test]
fn a_user_with_rights_to_its_pools_does_everything_and_shuts_a_dead_one_out() {
    if !is_possible("rights::a_user_with_rights_to_its_pools_does_everything_and_shuts_a_dead_one_out") {
        return;
    }
    let ceph = started();
    for rights in [ENOUGH, LEAST] {
        let conf = ceph.user("storage", &rights);
        let (blocks, maps) = (Place::Pool("blocks", "cloud"), Place::Pool("maps", "cloud"));
        let mut stack = prepared_as("storage", &conf, blocks, maps);
        stack.run();
        tell_the_story(&stack);
        let before = ceph.ceph(&["osd", "blocklist", "ls"]).stdout().lines().count();
        stack.kill();
        stack.run();
        assert!(ceph.ceph(&["osd", "blocklist", "ls"]).stdout().lines().count() >= before + 2);
        tell_the_story(&stack);
    }
}

/// What is said to somebody who tries.
fn refusal(user: &str, conf: &Path) -> String {
    let config = Config { cephx_id: user.into(), ceph_conf: Some(conf.to_owned()), ..Config::new("blocks") };
    Rados::open(&config).map(drop).unwrap_err().to_string()
}

#[test]
fn who_lacks_a_key_or_a_right_is_told_which() {
    if !is_possible("rights::who_lacks_a_key_or_a_right_is_told_which") {
        return;
    }
    let ceph = started();
    let told = |rights: &[&str]| refusal("storage", &ceph.user("storage", rights));
    let [mon, allow, osd, _] = ENOUGH;
    let lacks_blocklist = told(&[mon, "allow r", osd, "allow rwx"]);
    assert!(
        lacks_blocklist.contains(
            "client.storage may not put clients on the cluster's blocklist: it needs mon 'profile rbd'"
        ),
        "{lacks_blocklist}"
    );
    for others in ["allow r", "allow rwx pool=maps", "allow rwx pool=blocks namespace=other"] {
        let lacks_pool = told(&[mon, allow, osd, others]);
        assert!(
            lacks_pool.contains(
                "client.storage may not read and write in pool blocks: it needs osd 'profile rbd pool=blocks'"
            ),
            "{lacks_pool}"
        );
    }
    let conf = ceph.user("storage", &ENOUGH);
    let stranger = refusal("stranger", &conf);
    assert!(stranger.contains("`ceph auth get client.stranger`"), "{stranger}");
    let keyring = conf.with_extension("keyring");
    let wrong = ceph.ceph(&["auth", "print-key", "client.admin"]).done();
    fs::write(keyring, format!("[client.storage]\nkey = {wrong}\n")).unwrap();
    let wrong = refusal("storage", &conf);
    assert!(wrong.contains("refuses client.storage") && wrong.contains("keyring"), "{wrong}");
}
