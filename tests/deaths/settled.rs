//! What must hold when nobody dies any more.

use std::path::Path;

use tests::{Supervised, run};

/// All roles run, the segment is whole, and nothing of the dead is left in it.
pub(crate) fn assert_settled(stack: &Supervised) {
    stack.await_true("a role does not come back", || stack.archipelago(&["status"]).code() == Some(0));
    run(&mut stack.command("xseg", &["reap"])).done();
    stack.await_true("requests are left in the segment", || {
        let told = run(&mut stack.command("xseg", &["info", "--json"])).done();
        let info: serde_json::Value = serde_json::from_str(&told).unwrap();
        info["requests_in_use"] == 0 && info["dead_ports"] == 0
    });
    run(&mut stack.command("xseg", &["verify"])).done();
}

/// A check finds no damage; sessions that ended badly and the like are no more than notices.
fn assert_whole(stack: &Supervised) {
    let told = stack.archipelago(&["fsck", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&told.stdout()).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().all(|found| found["severity"] == "notice"), "{report}");
}

/// Nothing is damaged, a collection takes all that nobody uses, and when every volume is removed, it leaves no block.
pub(crate) fn assert_no_orphans(stack: &Supervised) {
    assert_whole(stack);
    stack.archipelago(&["gc"]).done();
    let told = stack.archipelago(&["gc", "--dry-run", "--json"]).done();
    let second: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(second["removed"], 0, "a second collection finds more: {told}");
    let mut client = stack.client();
    loop {
        let volumes = client.list().unwrap();
        let removed = volumes.iter().filter(|volume| client.remove(&volume.name).is_ok()).count();
        if volumes.is_empty() {
            break;
        }
        assert!(removed > 0, "{} volumes cannot be removed", volumes.len());
    }
    stack.archipelago(&["gc"]).done();
    let left = files_below(&stack.path("blocks"));
    assert!(left.is_empty(), "{} blocks that nobody uses, as {:?}", left.len(), left.first());
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What the store keeps for itself begins with a percent sign.
        let is_own = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('%'));
        if path.is_dir() && !is_own {
            found.extend(files_below(&path));
        } else if !is_own {
            found.push(path);
        }
    }
    found
}
