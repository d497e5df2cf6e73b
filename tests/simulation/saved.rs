//! Plans that failed once, kept as files: they say the same whatever becomes of the dice.

use std::{fs, path::PathBuf};

use crate::{plan::Plan, run::run};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("simulation/regressions")
}

/// Keeps a plan under a name.
pub(crate) fn save(plan: &Plan, name: &str) {
    let text = serde_json::to_string(plan).expect("numbers and names always encode");
    let path = folder().join(format!("{name}.json"));
    fs::write(&path, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[test]
fn plans_that_failed_once_hold() {
    let mut paths: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 9, "{paths:?}");
    for path in paths {
        let plan: Plan = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if let Err(reason) = run(&plan) {
            panic!("{} fails again: {reason}", path.display());
        }
    }
}
