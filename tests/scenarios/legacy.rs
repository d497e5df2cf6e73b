//! A store that the original wrote, in place.

use std::{path::Path, process::Command};

use protocol::ErrorKind;
use sha2::{Digest, Sha256};
use tests::{TestStack, run};

/// Unpacks the store and starts a stack on it.
fn stack_on_the_original(folder: &Path) -> TestStack {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/archipelago/store.tar.zst");
    run(Command::new("tar").arg("--zstd").arg("-xf").arg(archive).arg("-C").arg(folder)).done();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    TestStack::start_with(&["--blocks", &path("blocks"), "--maps", &path("maps")], |configuration| {
        let locks = format!("archip_dir = \"{}\"\nlegacy_lock_dir = \"{}\"", path("maps"), path("locks"));
        configuration.replace(&format!("archip_dir = \"{}\"", path("maps")), &locks)
    })
}

fn expected() -> serde_json::Map<String, serde_json::Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/archipelago/expected.json");
    let parsed: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    parsed.as_object().unwrap().clone()
}

fn assert_content(client: &mut client::Client, volume: &str, told: &serde_json::Value) {
    let size = told["size"].as_u64().unwrap();
    assert_eq!(client.info(volume).unwrap().size_bytes, size, "{volume}");
    let mut bytes = vec![0xaa; usize::try_from(size).unwrap()];
    client.read(volume, 0, &mut bytes).unwrap();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, told["sha256"].as_str().unwrap(), "{volume}");
}

#[test]
fn every_volume_of_the_original_reads_as_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let stack = stack_on_the_original(folder.path());
    let mut client = stack.client();
    for (volume, told) in &expected() {
        assert_content(&mut client, volume, told);
    }
    let listed: Vec<String> = client.list().unwrap().into_iter().map(|volume| volume.name).collect();
    assert_eq!(listed, expected().keys().cloned().collect::<Vec<_>>());
}

#[test]
fn a_lock_of_the_original_is_honoured_until_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let stack = stack_on_the_original(folder.path());
    let mut client = stack.client();
    assert_eq!(client.open("goldvol1").unwrap_err().kind, ErrorKind::Busy);
    client.unlock("goldvol1", true).unwrap();
    client.open("goldvol1").unwrap();
}

#[test]
fn a_written_volume_of_the_original_is_upgraded_and_its_relatives_stay() {
    let folder = tempfile::tempdir().unwrap();
    let stack = stack_on_the_original(folder.path());
    let mut client = stack.client();
    client.unlock("goldvol1", true).unwrap();
    let mut model = vec![0; 64 << 20];
    client.read("goldvol1", 0, &mut model).unwrap();
    for offset in [0, 5 << 20, (20 << 20) - 3, 63 << 20] {
        let bytes = tests::pattern(7, 5000);
        client.write("goldvol1", u64::try_from(offset).unwrap(), &bytes).unwrap();
        model[offset..offset + 5000].copy_from_slice(&bytes);
    }
    client.snapshot("goldvol1", "goldsnap3").unwrap();
    client.write("goldvol1", 1, &[9]).unwrap();
    let mut now = vec![0; 64 << 20];
    client.read("goldsnap3", 0, &mut now).unwrap();
    assert!(now == model);
    assert_eq!(client.info("goldvol1").unwrap().map_version, 3);
    for (volume, told) in expected().iter().filter(|(volume, _)| *volume != "goldvol1") {
        assert_content(&mut client, volume, told);
    }
}

#[test]
fn a_name_that_the_original_removed_can_be_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let stack = stack_on_the_original(folder.path());
    let mut client = stack.client();
    assert_eq!(client.info("golddead1").unwrap_err().kind, ErrorKind::NotFound);
    client.create("golddead1", Some(8 << 20), None, None).unwrap();
    let mut bytes = vec![1; 8 << 20];
    client.read("golddead1", 0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
}
