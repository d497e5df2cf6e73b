//! A store that the original wrote, in place.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

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

/// All that lies where the original's file blocker looks.
fn files_of_the_original(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let found = run(Command::new("find").arg(folder).args(["-type", "f", "-path", "*/??/??/??/*"]));
    let files = found.done().lines().map(PathBuf::from).collect::<Vec<_>>().into_iter();
    files.map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

#[test]
fn the_original_finds_what_was_not_written_as_it_left_it_and_what_was_written_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = stack_on_the_original(folder.path());
    let before = files_of_the_original(folder.path());
    assert!(before.keys().any(|file| file.ends_with("goldvol1")));
    for (volume, told) in &expected() {
        assert_content(&mut stack.client(), volume, told);
    }
    let image = stack.path("image");
    let image = image.to_str().unwrap();
    stack.vlmc(&["export", "goldvol1", image]).done();
    stack.vlmc(&["import", image, "trial1"]).done();
    stack.client().write("trial1", 5, &[7; 5000]).unwrap();
    stack.vlmc(&["unlock", "-f", "goldvol1"]).done();
    stack.vlmc(&["open", "goldvol1"]).done();
    stack.vlmc(&["close", "goldvol1"]).done();
    stack.archipelago(&["fsck"]).done();
    stack.stop();
    assert!(files_of_the_original(folder.path()) == before);

    stack.run();
    stack.client().write("goldvol1", 5, &[7; 5000]).unwrap();
    stack.vlmc(&["create", "cloned1", "--snap", "goldsnap1"]).done();
    stack.vlmc(&["close", "goldvol1"]).done();
    let after = files_of_the_original(folder.path());
    let gone: Vec<_> = before.keys().filter(|file| !after.contains_key(*file)).collect();
    for name in ["goldvol1", "goldsnap1"] {
        assert!(gone.iter().any(|file| file.ends_with(name)), "{gone:?}");
    }
    // Its own blocks, and those of its maps that were replaced.
    let is_theirs = |file: &Path| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        ["goldvol1", "goldsnap1"].iter().any(|volume| name.starts_with(volume))
    };
    assert!(before.iter().all(|(file, bytes)| is_theirs(file) || after.get(file) == Some(bytes)));
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

/// Puts an object where the original's file blocker would.
fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let digest = Sha256::digest(name);
    let place = digest[..3].iter().fold(folder.to_owned(), |path, byte| path.join(format!("{byte:02x}")));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join(name), bytes).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ORIGINAL_BLOCK: usize = 4 << 20;

/// What block `index` of a golden map holds.
fn block_of(index: usize, hash: &[u8]) -> Vec<u8> {
    let is_zero = hex(hash) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    if is_zero {
        vec![0; ORIGINAL_BLOCK]
    } else {
        tests::pattern(u32::try_from(index).unwrap() + 1, ORIGINAL_BLOCK)
    }
}

/// A store with the golden maps of versions 0 and 1 and a block for each of their hashes, and what the volumes hold.
fn put_old_maps(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/archipelago");
    let (blocks, maps) = (folder.join("blocks"), folder.join("maps"));
    let (mut version_0, mut version_1) = (Vec::new(), Vec::new());
    let image = std::fs::read(golden.join("v0/goldimage")).unwrap();
    put(&maps, "goldimage", &image);
    for (index, hash) in image.chunks(32).enumerate() {
        put(&blocks, &hex(hash), &block_of(index, hash));
        version_0.extend(block_of(index, hash));
    }
    let map = std::fs::read(golden.join("v1/goldhash1")).unwrap();
    put(&maps, "goldhash1", &map);
    for (index, entry) in map[12..].chunks(33).enumerate() {
        let prefix = if entry[0] == 1 { "archip_" } else { "" };
        let content = tests::pattern(u32::try_from(index).unwrap() + 100, ORIGINAL_BLOCK);
        let is_hole = entry[0] == 0 && block_of(0, &entry[1..]) == vec![0; ORIGINAL_BLOCK];
        let content = if is_hole { vec![0; ORIGINAL_BLOCK] } else { content };
        put(&blocks, &format!("{prefix}{}", hex(&entry[1..])), &content);
        version_1.extend(content);
    }
    let size = u64::from_le_bytes(map[4..12].try_into().unwrap());
    version_1.truncate(usize::try_from(size).unwrap());
    (version_0, version_1)
}

fn read_all(client: &mut client::Client, volume: &str) -> Vec<u8> {
    let size = client.info(volume).unwrap().size_bytes;
    let mut bytes = vec![0xaa; usize::try_from(size).unwrap()];
    client.read(volume, 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn maps_of_versions_0_and_1_are_read_upgraded_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (version_0, mut version_1) = put_old_maps(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let stack = TestStack::start_with(&["--blocks", &path("blocks"), "--maps", &path("maps")], |text| text);
    let mut client = stack.client();
    assert!(read_all(&mut client, "goldhash1") == version_1);
    stack.vlmc(&["update", "goldhash1"]).done();
    assert_eq!(client.info("goldhash1").unwrap().map_version, 3);
    client.write("goldhash1", 4_194_300, &[7; 9]).unwrap();
    version_1[4_194_300..4_194_309].fill(7);
    assert!(read_all(&mut client, "goldhash1") == version_1);

    assert_eq!(stack.vlmc(&["update", "goldimage"]).code(), Some(1));
    let told = stack.vlmc(&["create", "goldcopy0", "--snap", "goldimage", "--assume-v0"]).refused();
    assert!(told.contains("--v0-size"), "{told}");
    stack.vlmc(&["update", "goldimage", "--assume-v0", "--v0-size", "12M"]).done();
    assert!(read_all(&mut client, "goldimage") == version_0);
    assert_eq!(client.write("goldimage", 0, &[1]).unwrap_err().kind, ErrorKind::ReadOnly);
    client.create("goldcopy1", None, Some("goldimage"), None).unwrap();
    client.write("goldcopy1", 0, &[1]).unwrap();
    let mut written = version_0.clone();
    written[0] = 1;
    assert!(read_all(&mut client, "goldcopy1") == written);
    assert!(read_all(&mut client, "goldimage") == version_0);
}

/// Names of the objects under a directory of the original.
fn objects_in(folder: &Path) -> Vec<String> {
    let found = run(Command::new("find")
        .arg(folder)
        .args(["-type", "f", "-not", "-path", "*/%*", "-printf", "%f\n"]));
    let mut names: Vec<String> = found.done().lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn a_collection_takes_what_of_the_original_no_volume_uses_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = folder.path().join("blocks");
    let stack = stack_on_the_original(folder.path());
    let stranger = "stranger1_0000000000000001_0000000000000000";
    put(&blocks, stranger, b"whose?");
    let leftover = "goldvol1_0000000000000001_0000000000000002";
    put(&blocks, leftover, b"nobody's");
    let before = objects_in(&blocks);
    stack.archipelago(&["gc"]).done();
    let without_leftover: Vec<String> = before.into_iter().filter(|name| name != leftover).collect();
    assert_eq!(objects_in(&blocks), without_leftover);
    let mut client = stack.client();
    for (volume, told) in &expected() {
        assert_content(&mut client, volume, told);
    }

    client.unlock("goldvol1", true).unwrap();
    for volume in ["goldvol1", "goldsnap1", "goldafter1", "goldempty"] {
        client.remove(volume).unwrap();
    }
    stack.archipelago(&["gc"]).done();
    for volume in ["goldsnap2", "goldclone1"] {
        assert_content(&mut client, volume, &expected()[volume]);
    }
    // Of the first snapshot alone, and of a block that was written after both.
    let left = objects_in(&blocks);
    for gone in ["goldafter1_", "goldbefore_", "goldvol1_0000000000000003_"] {
        assert!(!left.iter().any(|name| name.starts_with(gone)), "{left:?}");
    }
    for volume in ["goldsnap2", "goldclone1"] {
        client.remove(volume).unwrap();
    }
    stack.archipelago(&["gc"]).done();
    assert_eq!(objects_in(&blocks), [stranger]);
}

#[test]
fn a_map_of_version_0_spares_all_blocks_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = folder.path().join("blocks");
    let stack = stack_on_the_original(folder.path());
    put(&blocks, "goldvol1_0000000000000001_0000000000000002", b"nobody's");
    // Longer than a root of ours can be, so that it is not taken for a damaged one.
    put(&folder.path().join("maps"), "goldimage", &[0x5a; 64 * 32]);
    let before = objects_in(&blocks);
    let told = stack.archipelago(&["gc"]).done();
    assert!(told.contains("left alone: goldimage"), "{told}");
    assert_eq!(objects_in(&blocks), before);
}

#[test]
fn a_clone_of_a_version_0_image_is_made_when_its_size_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (version_0, _) = put_old_maps(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let stack = TestStack::start_with(&["--blocks", &path("blocks"), "--maps", &path("maps")], |text| text);
    let clone = |name| ["create", name, "--snap", "goldimage", "--assume_v0", "--v0_size", "12"];
    stack.vlmc(&clone("goldcopy1")).done();
    stack.vlmc(&clone("goldcopy2")).done();
    assert!(read_all(&mut stack.client(), "goldcopy2") == version_0);
}
