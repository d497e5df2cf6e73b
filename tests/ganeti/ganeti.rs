//! Ganeti itself. Its packages are fetched by `cargo xtask setup`, and installed nowhere but in the sandbox.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tests::{TestStack, run, skip, tool};

use crate::provider::{extension, has_devices, programs};

/// What the sandbox says where there can be none.
const IMPOSSIBLE: i32 = 77;

/// Ganeti's packages, if they were fetched: beside what is built.
fn packages() -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(3)?.join("ganeti");
    let mut files = std::fs::read_dir(&folder).ok()?.flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("ganeti_")).then_some(folder)
}

/// Runs a command where Ganeti is, on the first of two nodes.
fn in_sandbox(test: &str, command: &[&str]) {
    if !has_devices(test) {
        return;
    }
    let Some(packages) = packages() else {
        return skip(test, "Ganeti's packages were not fetched (`cargo xtask setup` does)");
    };
    let programs = programs(&TestStack::prepared(&[], |configuration| configuration));
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("ganeti");
    let folders = [packages, programs, extension(), scripts.clone()];
    let outcome = run(Command::new(scripts.join("sandbox.sh")).args(folders).args(command));
    if outcome.code() == Some(IMPOSSIBLE) {
        return skip(test, outcome.stderr().trim());
    }
    if outcome.code() != Some(0) {
        eprintln!("{}", outcome.stdout());
    }
    outcome.done();
}

#[test]
fn ganetis_storage_code_makes_grows_snapshots_clones_and_removes_disks() {
    let story = ["/usr/bin/python3", "/mnt/scripts/storage.py", "life"];
    in_sandbox("ganetis_storage_code_makes_grows_snapshots_clones_and_removes_disks", &story);
}

#[test]
fn ganetis_storage_code_is_given_the_address_that_qemu_opens() {
    let test = "ganetis_storage_code_is_given_the_address_that_qemu_opens";
    if tool("nbdcopy").is_none() {
        return skip(test, "missing tool: nbdcopy");
    }
    in_sandbox(test, &["/usr/bin/python3", "/mnt/scripts/storage.py", "userspace"]);
}

#[test]
fn a_migration_hands_a_disk_over_while_both_nodes_write() {
    let story = ["/usr/bin/python3", "/mnt/scripts/storage.py", "migrate"];
    in_sandbox("a_migration_hands_a_disk_over_while_both_nodes_write", &story);
}

#[test]
fn a_cluster_of_two_nodes_keeps_a_guest_writing_through_migration_failover_and_the_death_of_a_node() {
    let test =
        "a_cluster_of_two_nodes_keeps_a_guest_writing_through_migration_failover_and_the_death_of_a_node";
    let hypervisor = if tool("qemu-system-x86_64").is_some() {
        "kvm"
    } else {
        skip(test, "missing tool: qemu-system-x86_64; the instance is a fake one, without a guest");
        "fake"
    };
    in_sandbox(test, &["/mnt/scripts/cluster.sh", hypervisor]);
}
