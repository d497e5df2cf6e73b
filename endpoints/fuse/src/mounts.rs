//! Mounts that predecessors left.

use std::{fs, os::unix::ffi::OsStrExt, path::Path, process::Command};

/// What our mounts are called in the list of all.
pub(crate) const SOURCE: &str = "archipelago";
/// How many mounts on top of each other are taken away.
const MAX_LEFT: usize = 16;

/// Takes away what a predecessor left mounted, even while it is in use: nobody answers it any more.
///
/// The list tells it, and not an access: the kernel may answer one from its memory.
pub(crate) fn detach_left(mountpoint: &Path) {
    let left = count(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), mountpoint);
    for _ in 0..left.min(MAX_LEFT) {
        if rustix::mount::unmount(mountpoint, rustix::mount::UnmountFlags::DETACH).is_err() {
            // Without root it takes the set-user-id program; if that fails too, mounting will say so.
            let _status = Command::new("fusermount3").arg("-uz").arg(mountpoint).status();
        }
    }
}

/// How many mounts of ours the list has at this place.
fn count(list: &str, mountpoint: &Path) -> usize {
    let is_ours = |line: &&str| {
        let (place, what) = line.split_once(" - ").unwrap_or_default();
        let mut what = what.split(' ');
        let is_fuse = what.next().is_some_and(|kind| kind == "fuse");
        let place = place.split(' ').nth(4).map(unescaped);
        is_fuse && what.next() == Some(SOURCE) && place.as_deref() == Some(mountpoint.as_os_str().as_bytes())
    };
    list.lines().filter(is_ours).count()
}

/// The list writes blanks and backslashes as three octal digits.
fn unescaped(word: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), word.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = octal.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_ours_are_found_at_their_place_alone() {
        let list = "\
30 1 8:1 / / rw shared:1 - ext4 /dev/vda rw
40 30 0:50 / /srv/my\\040volumes rw,nosuid shared:2 - fuse archipelago rw,user_id=0
41 40 0:51 / /srv/my\\040volumes rw,nosuid shared:3 - fuse archipelago rw,user_id=0
42 30 0:52 / /srv/other rw - fuse sshfs rw
";
        assert_eq!(count(list, Path::new("/srv/my volumes")), 2);
        assert_eq!(count(list, Path::new("/srv/other")), 0);
        assert_eq!(count("noise\n - \n", Path::new("/")), 0);
    }
}
