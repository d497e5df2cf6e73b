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

/// When every volume is removed, a collection leaves no block.
pub(crate) fn assert_no_orphans(stack: &Supervised) {
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
