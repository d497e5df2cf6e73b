//! What the tasks need on a machine. It is looked for by what runs (commands, headers), not by package name,
//! because the same command may come from another package; what is missing is installed.

use std::path::Path;

use crate::apt;
use crate::process::{cargo, find, program, succeeds, target};

/// A task that needs something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// `cargo xtask demo`
    Demo,
    /// `cargo xtask test`
    Test,
    /// `cargo xtask bench`
    Bench,
}

/// How one sees that something is there.
enum Sign {
    /// A command on PATH or in the system folders.
    Command(&'static str),
    /// A file.
    File(&'static str),
    /// A module that the system's own Python imports: another one may come first on PATH.
    Python(&'static str),
}

/// Something that a task needs.
struct Need {
    sign: Sign,
    package: &'static str,
    why: &'static str,
    tasks: &'static [Task],
}

const ALL: &[Task] = &[Task::Demo, Task::Test, Task::Bench];
const DEMO_AND_TEST: &[Task] = &[Task::Demo, Task::Test];
const TEST: &[Task] = &[Task::Test];
const TEST_AND_BENCH: &[Task] = &[Task::Test, Task::Bench];

const NEEDS: &[Need] = &[
    need(Sign::Command("cc"), "gcc", "links programs, builds the C peer", ALL),
    need(Sign::File("/usr/include/stdio.h"), "libc6-dev", "C headers", ALL),
    need(Sign::Command("fusermount3"), "fuse3", "volumes as files", ALL),
    need(Sign::Command("mkfs.ext4"), "e2fsprogs", "makes a file system", DEMO_AND_TEST),
    need(Sign::Command("e2fsck"), "e2fsprogs", "checks a file system", DEMO_AND_TEST),
    need(Sign::Command("debugfs"), "e2fsprogs", "reads a file system without mounting it", DEMO_AND_TEST),
    need(Sign::Command("losetup"), "mount", "loop devices over volumes", DEMO_AND_TEST),
    need(Sign::Command("mount"), "mount", "mounts a volume", DEMO_AND_TEST),
    need(Sign::Command("nbdinfo"), "libnbd-bin", "an NBD client to test against", TEST),
    need(Sign::Command("nbdcopy"), "libnbd-bin", "copies to and from NBD", DEMO_AND_TEST),
    need(Sign::Command("qemu-img"), "qemu-utils", "an NBD client to test against", TEST),
    need(Sign::Command("qemu-io"), "qemu-utils", "an NBD client to test against", TEST),
    need(
        Sign::Command("qemu-system-x86_64"),
        "qemu-system-x86",
        "a virtual machine on volumes, under Ganeti",
        TEST,
    ),
    need(Sign::Command("busybox"), "busybox-static", "a virtual machine's first file system", TEST),
    need(Sign::Command("cpio"), "cpio", "packs it", TEST),
    need(Sign::Command("modprobe"), "kmod", "finds a kernel's modules", TEST),
    need(Sign::Command("xz"), "xz-utils", "unpacks a kernel's modules", TEST),
    need(Sign::Command("zstd"), "zstd", "unpacks a store of the original", TEST),
    need(Sign::File("/usr/bin/python3"), "python3-minimal", "scripted NBD clients", TEST),
    need(Sign::Python("nbd"), "python3-libnbd", "scripted NBD clients", TEST),
    need(Sign::Command("nbdsh"), "python3-libnbd", "an NBD client to test against", TEST),
    need(Sign::Command("fio"), "fio", "load on volumes, verified", TEST_AND_BENCH),
    need(Sign::Command("nbdkit"), "nbdkit", "an NBD server to compare with", TEST_AND_BENCH),
    need(Sign::Command("ceph-mon"), "ceph-mon", "a Ceph cluster: its monitor", TEST_AND_BENCH),
    need(Sign::Command("ceph-osd"), "ceph-osd", "a Ceph cluster: its disks", TEST_AND_BENCH),
    need(Sign::Command("ceph-mgr"), "ceph-mgr", "a Ceph cluster: watches quotas", TEST),
    need(Sign::Command("rados"), "ceph-common", "a Ceph cluster: its commands and librados", TEST_AND_BENCH),
    need(Sign::Command("shellcheck"), "shellcheck", "looks at shell scripts", TEST),
    need(Sign::Command("unshare"), "util-linux", "a copy of this machine, for Ganeti", TEST),
    need(Sign::Command("ip"), "iproute2", "its network", TEST),
    need(Sign::Command("nbdfuse"), "libnbd-bin", "an NBD export as a file, to compare with", &[Task::Bench]),
    need(Sign::Command("qemu-nbd"), "qemu-utils", "a server to compare with", &[Task::Bench]),
    need(
        Sign::Command("qemu-storage-daemon"),
        "qemu-system-common",
        "an NBD client that connects again; a server to compare with",
        TEST_AND_BENCH,
    ),
];

/// The package that names the newest of Debian's kernels for a virtual machine.
const KERNEL: &str = "linux-image-6.12-amd64";
/// The release of fsx that is used: its configuration is written for this one.
const FSX_VERSION: &str = "0.3.2";

const fn need(sign: Sign, package: &'static str, why: &'static str, tasks: &'static [Task]) -> Need {
    Need { sign, package, why, tasks }
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Sign::Command(name) => find(name).is_some(),
            Sign::File(path) => Path::new(path).exists(),
            Sign::Python(module) => {
                succeeds(program("/usr/bin/python3").arg("-c").arg(format!("import {module}")))
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Sign::Command(name) | Sign::File(name) => (*name).to_owned(),
            Sign::Python(module) => format!("the Python module {module}"),
        }
    }
}

/// Sees to it that the machine has what a task needs, and says what it installs. What cannot be installed is
/// said too, with what to do about it; whatever runs without it then still runs.
pub(crate) fn prepare(task: Task) {
    let missing = missing(task);
    if !missing.is_empty() {
        install(&missing);
    }
    if task == Task::Test && find("fsx").is_none() {
        install_fsx();
    }
    if task == Task::Test && !has_ganeti() {
        fetch_ganeti();
    }
    if task == Task::Test && !has_machine() {
        fetch_machine();
    }
}

/// Whether Ganeti's packages were fetched.
fn has_ganeti() -> bool {
    let files = std::fs::read_dir(target("ganeti")).into_iter().flatten().flatten();
    files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("ganeti_"))
}

/// Ganeti is not installed here: it would run services. Tests unpack it in a copy of the machine, in memory.
fn fetch_ganeti() {
    println!("Fetching Ganeti's packages (21 MB, some seconds, once; they are not installed)");
    apt::fetch("ganeti", &target("ganeti"));
    if !has_ganeti() {
        println!("  still missing: Ganeti; what needs it is skipped");
    }
}

/// Whether there are a kernel and NFS for a virtual machine.
fn has_machine() -> bool {
    let modules = target("kernel").join("lib/modules");
    target("nfs").is_dir()
        && names(&modules).iter().any(|name| modules.join(name).join("modules.dep").is_file())
}

/// They are not installed here: the machine's own kernel would be another, and NFS would run services.
fn fetch_machine() {
    println!("Fetching a kernel and NFS's packages (100 MB, some seconds, once; they are not installed)");
    let kernel = target("kernel");
    apt::fetch("nfs-kernel-server", &target("nfs"));
    apt::fetch(KERNEL, &kernel);
    let is_image = |name: &&String| name.starts_with("linux-image-") && !name.starts_with(KERNEL);
    if let Some(image) = names(&kernel).iter().find(is_image) {
        succeeds(program("dpkg-deb").arg("--extract").args([kernel.join(image), kernel.clone()]));
    }
    for release in names(&kernel.join("lib/modules")) {
        succeeds(program("depmod").arg("--basedir").arg(&kernel).arg(release));
    }
    if !has_machine() {
        println!("  still missing: a kernel and NFS; what needs them is skipped");
    }
}

/// What is in a folder, if it is there.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The file system exerciser is no package of Debian's; cargo builds it.
fn install_fsx() {
    println!("Building fsx, which exercises devices (a minute, once)");
    let folder = target("tools");
    let mut command = cargo();
    command
        .args(["install", "--quiet", "--locked", "--version", FSX_VERSION, "--root"])
        .arg(&folder)
        .arg("fsx");
    command.env("CARGO_TARGET_DIR", folder.join("build"));
    if !succeeds(&mut command) {
        println!("  still missing: fsx; what needs it is skipped");
    }
}

fn install(missing: &[&Need]) {
    println!("This machine lacks, for this task:");
    for need in missing {
        println!("  {:<24} {} (package {})", need.sign.name(), need.why, need.package);
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    apt::install(&packages);
    for need in missing.iter().filter(|need| !need.sign.is_there()) {
        println!("  still missing: {}; what needs it is skipped", need.sign.name());
    }
}

fn missing(task: Task) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| need.tasks.contains(&task) && !need.sign.is_there()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_seen_by_what_is_there() {
        assert!(Sign::Command("sh").is_there());
        assert!(Sign::File("/proc/self/stat").is_there());
        assert!(!Sign::Command("no-such-command-anywhere").is_there());
        assert!(!Sign::Python("no_such_module").is_there());
    }

    #[test]
    fn every_package_is_named_as_debian_names_packages() {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        assert!(NEEDS.iter().all(|need| need.package.chars().all(is_name) && !need.tasks.is_empty()));
    }
}
