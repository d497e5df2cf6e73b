//! The virtual machine.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tests::{TestStack, run, skip, tool};

/// Set inside.
const INSIDE: &str = "ARCHIPELAGO_INSIDE_MACHINE";
/// What it takes to have one.
const TOOLS: [&str; 6] = ["qemu-system-x86_64", "busybox", "modprobe", "cpio", "xz", "dpkg-deb"];

/// Whether this is it.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Boots one, with an NFS server and two clients, and runs the test in it.
pub(crate) fn boot(test: &str) {
    if let Some(missing) = TOOLS.into_iter().find(|program| tool(program).is_none()) {
        return skip(test, &format!("missing tool: {missing}"));
    }
    let [kernel, packages] = [fetched("kernel"), fetched("nfs")];
    if !kernel.join("boot").is_dir() || !packages.is_dir() {
        return skip(test, "a kernel and NFS's packages were not fetched (`cargo xtask setup` does)");
    }
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("nfs");
    let shared = tempfile::tempdir().unwrap();
    let mut machine = Command::new(scripts.join("machine.sh"));
    machine.arg(kernel).arg(shared.path());
    // Inside there is no cargo: what it would build is built by whoever prepares a stack here.
    drop(TestStack::prepared(&[], |configuration| configuration));
    machine.args(["env", &format!("{INSIDE}=1"), "CARGO=true"]).arg(scripts.join("server.sh")).arg(packages);
    machine.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let outcome = run(&mut machine);
    println!("{}", outcome.stdout());
    // Where no such machine can run, nothing is said of the stores.
    if !outcome.stdout().contains("running 1 test") {
        return skip(test, &format!("no virtual machine with NFS here: {}", outcome.stderr().trim()));
    }
    outcome.done();
}

/// What was fetched for the tests lies beside what is built.
fn fetched(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join(name)
}
