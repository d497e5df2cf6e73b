//! `archipelago fsck` on real stores.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tests::{TestStack, run};

/// The files below a directory of the stack whose names begin so.
fn files(stack: &TestStack, folder: &str, prefix: &str) -> Vec<PathBuf> {
    let pattern = format!("{prefix}*");
    let found =
        run(Command::new("find").arg(stack.path(folder)).args(["-type", "f", "-name", &pattern])).done();
    found.lines().map(PathBuf::from).collect()
}

fn fill(stack: &TestStack) {
    let mut client = stack.client();
    client.create("volume1", Some(64 << 20), None, None).unwrap();
    for offset in [0, 9 << 20, 40 << 20] {
        client.write("volume1", offset, &[7; 4096]).unwrap();
    }
    client.snapshot("volume1", "snapshot1").unwrap();
    client.write("volume1", 0, &[8; 4096]).unwrap();
    client.close("volume1").unwrap();
}

#[test]
fn a_busy_store_is_clean() {
    let stack = TestStack::start();
    fill(&stack);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = stack.client();
            for round in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                client.write("volume1", round * 5000 % (60 << 20), &[9; 5000]).unwrap();
                client.snapshot("volume1", "between").unwrap();
                client.discard("volume1", round * 7000 % (60 << 20), 4 << 20).unwrap();
                client.remove("between").unwrap();
            }
        });
        for _ in 0..5 {
            let told = stack.archipelago(&["fsck"]);
            assert_eq!(told.code(), Some(0), "{}", told.stdout());
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Whether a block's object is of the block with this index.
fn is_of(file: &Path, index: &str) -> bool {
    file.to_str().unwrap().ends_with(&format!(".{index:0>16}"))
}

fn first_bytes(stack: &TestStack, offset: u64) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    stack.client().read("volume1", offset, &mut bytes).unwrap();
    bytes
}

#[test]
fn blocks_that_only_a_log_names_are_safe_from_a_collection_and_looked_at() {
    let mut stack = TestStack::start();
    fill(&stack);
    let before = files(&stack, "blocks", "b.");
    let mut client = stack.client();
    // One that was never written, and one that a snapshot shares: it becomes partial.
    for offset in [20 << 20, 40 << 20] {
        client.write("volume1", offset, &[9; 4096]).unwrap();
    }
    client.flush("volume1").unwrap();
    stack.kill();
    stack.run();
    assert_eq!(stack.archipelago(&["fsck", "volume1"]).code(), Some(0));
    stack.archipelago(&["gc"]).done();
    assert_eq!(first_bytes(&stack, 20 << 20), [9; 4096]);
    assert_eq!(first_bytes(&stack, 40 << 20), [9; 4096]);

    stack.kill();
    let is_new = |file: &PathBuf| !before.contains(file);
    let of = |index: &str| {
        files(&stack, "blocks", "b.").into_iter().filter(is_new).find(|file| is_of(file, index)).unwrap()
    };
    std::fs::remove_file(of("5")).unwrap();
    std::fs::remove_file(of("a")).unwrap();
    stack.run();
    let told = stack.archipelago(&["fsck", "--repair"]);
    assert_eq!(told.code(), Some(1));
    assert!(told.stdout().contains("block-missing: volume1, block 5"), "{}", told.stdout());
    assert_eq!(told.stdout().lines().filter(|line| line.contains("block-missing")).count(), 1);
    // Of a partial block what was not written is in its base: all, when its own object is gone.
    assert_eq!(first_bytes(&stack, 40 << 20), [7; 4096]);
}

#[test]
fn damage_is_told_with_its_exit_status() {
    let mut stack = TestStack::start();
    fill(&stack);
    assert_eq!(stack.archipelago(&["fsck", "nothing1"]).code(), Some(2));
    let block = files(&stack, "blocks", "b.").pop().unwrap();
    std::fs::remove_file(block).unwrap();
    let told = stack.archipelago(&["fsck", "--json"]);
    assert_eq!(told.code(), Some(1));
    let parsed: serde_json::Value = serde_json::from_str(&told.stdout()).unwrap();
    assert_eq!(parsed["findings"][0]["kind"], "block-missing");
    assert_eq!(parsed["findings"][0]["severity"], "error");
    for node in files(&stack, "maps", "n.") {
        std::fs::write(node, b"noise").unwrap();
    }
    let told = stack.archipelago(&["fsck", "--repair"]);
    assert_eq!(told.code(), Some(1));
    assert!(told.stdout().contains("node-damaged: snapshot1"), "{}", told.stdout());
    assert!(told.stdout().contains("next: put back"), "{}", told.stdout());
    stack.stop();
    assert_eq!(stack.archipelago(&["fsck"]).code(), Some(2));
}

#[test]
fn a_damaged_lock_is_told_and_left_to_the_operator() {
    let stack = TestStack::start();
    fill(&stack);
    let records = files(&stack, "maps", "0000").into_iter();
    let record = &records.filter(|path| path.parent().unwrap().ends_with("%lvolume1")).max().unwrap();
    std::fs::write(record, b"noise").unwrap();
    let told = stack.archipelago(&["fsck", "--repair"]);
    assert_eq!(told.code(), Some(1));
    assert!(told.stdout().contains("lock-unreadable: volume1"), "{}", told.stdout());
    assert!(told.stdout().contains("then `vlmc unlock -f volume1`"), "{}", told.stdout());
    assert_eq!(std::fs::read(record).unwrap(), b"noise");
    stack.vlmc(&["unlock", "-f", "volume1"]).done();
    assert_eq!(stack.archipelago(&["fsck"]).code(), Some(0));
    let mut bytes = [0; 4096];
    let mut client = stack.client();
    client.read("volume1", 0, &mut bytes).unwrap();
    assert_eq!(bytes, [8; 4096]);
    client.write("volume1", 0, &[9; 4096]).unwrap();
}
