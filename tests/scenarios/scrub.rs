//! What is at rest is looked after: `archipelago scrub`.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tests::{TestStack, pattern};

/// Files of objects whose names begin so, in a directory of a store.
fn files(folder: &Path, beginning: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path(), beginning));
        } else if name.starts_with(beginning) {
            found.push(entry.path());
        }
    }
    found
}

/// A stack whose one volume has five blocks, all written long ago.
fn at_rest() -> (TestStack, Vec<PathBuf>) {
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    let mut client = stack.client();
    for block in 0..5 {
        client.write("volume1", block << 22, &pattern(1, 10_000)).unwrap();
    }
    client.flush("volume1").unwrap();
    client.close("volume1").unwrap();
    let blocks = files(&stack.path("blocks"), "b.");
    for path in &blocks {
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
    }
    (stack, blocks)
}

fn scrub(stack: &TestStack, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let all = [&["scrub", "--json", "--role", "blockerb"], arguments].concat();
    let outcome = stack.archipelago(&all);
    (outcome.code(), serde_json::from_str(&outcome.stdout()).unwrap())
}

#[test]
fn rot_is_told_with_volume_block_and_place() {
    let (stack, blocks) = at_rest();
    let (code, told) = scrub(&stack, &[]);
    assert_eq!((code, &told[0]["summed"], &told[0]["damaged"]), (Some(0), &5.into(), &0.into()));
    assert_eq!(scrub(&stack, &[]).1[0]["verified"], 5);
    let rotten = blocks.iter().find(|path| path.to_str().unwrap().ends_with("3")).unwrap();
    let file = File::options().write(true).open(rotten).unwrap();
    file.write_all_at(b"?", 4100).unwrap();
    let (code, told) = scrub(&stack, &["--rate", "1GiB"]);
    let line = &told[0]["damages"][0];
    assert_eq!((code, &told[0]["damaged"]), (Some(1), &1.into()));
    assert_eq!(
        (&line["volume"], &line["block"], &line["offset"]),
        (&"volume1".into(), &3.into(), &4096.into())
    );
    let told = stack.archipelago(&["scrub"]).stdout();
    assert!(
        told.contains("differs from its checksum at 4096") && told.contains("block 3 of volume1"),
        "{told}"
    );
}

#[test]
fn a_scrub_that_was_killed_goes_on_where_it_was() {
    let (stack, _) = at_rest();
    let mut slow = stack.command("archipelago", &["scrub", "--role", "blockerb", "--rate", "1K"]);
    let mut killed = slow.spawn().unwrap();
    while files(&stack.path("blocks"), "%sb.").is_empty() {
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (code, told) = scrub(&stack, &[]);
    assert_eq!((code, &told[0]["objects"], &told[0]["summed"]), (Some(0), &5.into(), &5.into()));
    assert_eq!(scrub(&stack, &["--restart"]).1[0]["verified"], 5);
}

#[test]
fn what_cannot_be_done_is_not_called_damage() {
    let mut stack = TestStack::start();
    let nobody = stack.archipelago(&["scrub", "--role", "mapperd"]);
    assert_eq!(nobody.code(), Some(2), "{}", nobody.stderr());
    stack.stop();
    let down = stack.archipelago(&["scrub"]);
    assert_eq!(down.code(), Some(2), "{}", down.stderr());
}
