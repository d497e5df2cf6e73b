//! Loop devices over shown files, made and unmade with `losetup`.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
};

/// A loop device that this role made. Dropping it does not unmake it: that may fail, and somebody must hear of it.
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
}

impl LoopDevice {
    /// Whether this process could make one.
    pub(crate) fn is_possible() -> bool {
        fs::OpenOptions::new().read(true).write(true).open("/dev/loop-control").is_ok()
    }

    /// Puts a loop device over `file`.
    pub(crate) fn attach(file: &Path, is_read_only: bool) -> io::Result<LoopDevice> {
        let mut command = Command::new("losetup");
        command.args(["--find", "--show", "--direct-io=on"]);
        if is_read_only {
            command.arg("--read-only");
        }
        let path = run(command.arg(file))?;
        Ok(LoopDevice { path: PathBuf::from(path.trim()) })
    }

    /// The devices over files below `folder`, by the files' names: those of a predecessor that was killed.
    pub(crate) fn all_below(folder: &Path) -> HashMap<String, LoopDevice> {
        let listed =
            run(Command::new("losetup").args(["--list", "--noheadings", "--output", "NAME,BACK-FILE"]));
        let below = |line: &str| {
            let (name, file) = line.split_once(' ')?;
            let file = Path::new(file.trim()).strip_prefix(folder).ok()?.to_str()?.to_owned();
            Some((file, LoopDevice { path: PathBuf::from(name) }))
        };
        listed.unwrap_or_default().lines().filter_map(below).collect()
    }

    /// Takes away the devices over files below `folder`.
    pub(crate) fn detach_all_below(folder: &Path) {
        for device in LoopDevice::all_below(folder).values() {
            if let Err(error) = device.detach() {
                let name = device.path.display();
                tracing::warn!(device = %name, %error, "cannot take away a loop device that was left");
            }
        }
    }

    /// Takes the device away.
    pub(crate) fn detach(&self) -> io::Result<()> {
        run(Command::new("losetup").arg("--detach").arg(&self.path)).map(drop)
    }

    /// Takes over the file's new size.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        run(Command::new("losetup").arg("--set-capacity").arg(&self.path)).map(drop)
    }

    /// How many users are seen: a mount counts as one, every process that has it open as one. What only a claim would tell, as
    /// a mount in another namespace, is not: somebody who mounts it at that moment would be refused.
    pub(crate) fn user_count(&self) -> u32 {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let Ok(number) = fs::metadata(&self.path).map(|metadata| metadata.rdev()) else { return 0 };
        u32::from(is_mounted(&mounts, number)) + processes_with(&self.path)
    }

    /// Whether somebody has it for itself, as every mount does, wherever it is. Nobody else can claim it meanwhile.
    pub(crate) fn is_claimed(&self) -> bool {
        let claimed = fs::OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&self.path);
        claimed.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
    }
}

/// Whether the list of mounts has this device.
fn is_mounted(list: &str, device: u64) -> bool {
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    list.lines().any(|line| line.split(' ').nth(2) == Some(&number))
}

/// How many processes that we may look into have this device open. Links are read and never followed: what is behind one may
/// be a file that nobody serves now.
fn processes_with(device: &Path) -> u32 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let has_it = |process: &fs::DirEntry| {
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { return false };
        descriptors
            .flatten()
            .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|open| open == device))
    };
    u32::try_from(processes.flatten().filter(has_it).count()).unwrap_or(u32::MAX)
}

fn run(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_mounted_if_the_list_has_its_number() {
        let list = "40 30 7:11 / /mnt rw shared:2 - ext4 /dev/loop11 rw\n";
        assert!(is_mounted(list, libc::makedev(7, 11)));
        assert!(!is_mounted(list, libc::makedev(7, 1)));
    }
}
