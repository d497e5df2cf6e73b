//! Objects of the original, under the names that it gave them.

use std::{fs, path::Path, process::Command};

use protocol::ErrorKind;
use sha2::{Digest, Sha256};
use tests::{
    Ceph,
    place::{Place, started},
    run,
};

use crate::shared;

/// Puts every file below a folder into a pool, under its own name, as the original would have.
fn put_all(ceph: &Ceph, folder: &Path, pool: &str) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            put_all(ceph, &path, pool);
        } else {
            let (name, file) = (entry.file_name(), path.to_str().unwrap().to_owned());
            ceph.rados(&["-p", pool, "-N", "golden", "put", name.to_str().unwrap(), &file]).done();
        }
    }
}

#[test]
fn volumes_and_locks_of_the_original_are_found_in_place() {
    let Some(ceph) = shared("original::volumes_and_locks_of_the_original_are_found_in_place") else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/archipelago");
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("tar")
        .arg("--zstd")
        .arg("-xf")
        .arg(golden.join("store.tar.zst"))
        .arg("-C")
        .arg(folder.path()))
    .done();
    put_all(&ceph, &folder.path().join("blocks"), "blocks");
    put_all(&ceph, &folder.path().join("maps"), "maps");
    let rados = |words: &[&str]| ceph.rados(&[&["-p", "maps", "-N", "golden"], words].concat()).done();
    rados(&["create", "goldvol1_lock"]);
    rados(&["lock", "get", "goldvol1_lock", "RadosLock", "--lock-cookie", "foo"]);

    let stack = started(&ceph, Place::Pool("blocks", "golden"), Place::Pool("maps", "golden"));
    let mut client = stack.client();
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(golden.join("expected.json")).unwrap()).unwrap();
    for (volume, told) in expected.as_object().unwrap() {
        let mut bytes = vec![0; usize::try_from(told["size"].as_u64().unwrap()).unwrap()];
        client.read(volume, 0, &mut bytes).unwrap();
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, told["sha256"].as_str().unwrap(), "{volume}");
    }
    assert_eq!(client.open("goldvol1").unwrap_err().kind, ErrorKind::Busy);
    assert!(client.lock_info("goldvol1").unwrap().owner.unwrap().starts_with("client."));
    client.unlock("goldvol1", true).unwrap();
    client.open("goldvol1").unwrap();
    client.write("goldvol1", 5, b"ours").unwrap();
    let mut bytes = [0; 4];
    client.read("goldvol1", 5, &mut bytes).unwrap();
    assert_eq!(&bytes, b"ours");
}
