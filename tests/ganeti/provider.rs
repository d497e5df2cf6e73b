//! The provider's scripts as Ganeti runs them.

use std::{
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::Command,
};

use tests::{Outcome, TestStack, is_root, run, skip};

/// What Ganeti calls a disk.
pub(crate) const DISK: &str = "11111111-2222-3333-4444-555555555555.ext.disk0";

/// The folder of what is installed for Ganeti.
pub(crate) fn extension() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ganeti-ext").canonicalize().unwrap()
}

/// The provider's folder.
pub(crate) fn folder() -> PathBuf {
    extension().join("extstorage/archipelago")
}

/// Where our programs are.
pub(crate) fn programs(stack: &TestStack) -> PathBuf {
    Path::new(stack.command("vlmc", &[]).get_program()).parent().unwrap().to_owned()
}

/// Runs a script with what Ganeti tells it, on a stack that a parameter of the disk names.
pub(crate) fn script(stack: &TestStack, action: &str, told: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(folder().join(action));
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs(stack).display());
    command.env_clear().current_dir(folder()).env("PATH", path);
    command.env("EXTP_PROVIDER", "archipelago").env("EXTP_ACCESS", "kernelspace");
    command.env("EXTP_CONFIG", stack.configuration()).env("VOL_NAME", DISK);
    command.env("VOL_UUID", "99999999-0000-0000-0000-000000000000").envs(told.iter().copied());
    run(&mut command)
}

/// Whether volumes can be block devices here.
pub(crate) fn has_devices(test: &str) -> bool {
    let reason = if !is_root() {
        "not root"
    } else if !fs::metadata("/dev/loop-control").is_ok_and(|control| control.file_type().is_char_device()) {
        "no loop devices here"
    } else if !Path::new("/dev/fuse").exists() {
        "no FUSE here"
    } else {
        return true;
    };
    skip(test, reason);
    false
}
