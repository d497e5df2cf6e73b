//! Directories that hosts share over NFS.
//!
//! An NFS client of Linux that has a file open for writing takes every change of it for its own: until all have closed the file, what
//! is in the page cache is not read anew, whoever changed it meanwhile, and whether it is looked at or opened again. So shared files
//! on NFS are opened with `O_DIRECT`, which there needs no alignment. What a client knows of names it may keep by its
//! mount alone: so mounts are looked at before a store starts.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether the directory is on NFS.
pub(crate) fn is_on_nfs(directory: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(directory)?.f_type == rustix::fs::NFS_SUPER_MAGIC)
}

/// What the mount of a directory on NFS lacks for several hosts.
pub(crate) fn lack_of_mount(directory: &Path) -> io::Result<Option<&'static str>> {
    let device = std::fs::metadata(directory)?.dev();
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let options = mounts.lines().find_map(|mount| options_of(mount, &device));
    Ok(lack_of(options.ok_or(io::ErrorKind::NotFound)?))
}

/// The options of the file system, if it is this device's: proc_pid_mountinfo(5).
fn options_of<'a>(mount: &'a str, device: &str) -> Option<&'a str> {
    let (of_mount, of_system) = mount.split_once(" - ")?;
    let is_it = of_mount.split(' ').nth(2) == Some(device);
    of_system.split(' ').nth(2).filter(|_| is_it)
}

fn lack_of(options: &str) -> Option<&'static str> {
    let has = |wanted: &dyn Fn(&str) -> bool| options.split(',').any(wanted);
    if !has(&|option| option == "vers=4" || option.starts_with("vers=4.")) {
        // A server of version 3 keeps the locks of a host that died.
        Some("vers=4.2")
    } else if !has(&|option| option == "hard") {
        // A write that failed here might still come.
        Some("hard")
    } else if !has(&|option| option == "lookupcache=none") {
        // What another host made, replaced or removed would not be seen for up to a minute.
        Some("lookupcache=none")
    } else if !has(&|option| option == "local_lock=none") {
        // A broken lock would not wait for writes that are under way.
        Some("local_lock=none")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNT: &str =
        "42 29 0:36 / /srv rw,relatime shared:1 - nfs4 10.0.0.1:/ rw,vers=4.2,hard,local_lock=none";

    #[test]
    fn the_options_are_those_of_the_device() {
        assert_eq!(options_of(MOUNT, "0:36"), Some("rw,vers=4.2,hard,local_lock=none"));
        assert_eq!(options_of(MOUNT, "0:3"), None);
        assert_eq!(options_of("noise", "0:36"), None);
    }

    #[test]
    fn what_a_mount_lacks_is_named() {
        assert_eq!(lack_of("rw,vers=4.2,hard,lookupcache=none,local_lock=none"), None);
        assert_eq!(lack_of("rw,vers=3,hard,lookupcache=none,local_lock=none"), Some("vers=4.2"));
        assert_eq!(lack_of("rw,vers=4.1,soft,lookupcache=none,local_lock=none"), Some("hard"));
        assert_eq!(lack_of("rw,vers=4.1,hard,local_lock=none"), Some("lookupcache=none"));
        assert_eq!(lack_of("rw,vers=4.0,hard,lookupcache=none,local_lock=all"), Some("local_lock=none"));
    }

    #[test]
    fn a_directory_of_ones_own_is_not_on_nfs() {
        assert!(!is_on_nfs(Path::new("/dev/shm")).unwrap());
    }
}
