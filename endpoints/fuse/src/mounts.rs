//! Mounting and unmounting: as root by ourselves, else through `fusermount3`.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::Path,
    process::Command,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    mount::{MountFlags, UnmountFlags, mount, unmount},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};

/// What our mounts are called in the list of all.
pub(crate) const SOURCE: &str = "archipelago";
/// How many mounts on top of each other are taken away.
const MAX_LEFT: usize = 16;

/// Mounts the file system; its connection to the kernel.
pub(crate) fn attach(mountpoint: &Path) -> io::Result<OwnedFd> {
    if rustix::process::geteuid().is_root() { by_ourselves(mountpoint) } else { by_program(mountpoint) }
}

fn by_ourselves(mountpoint: &Path) -> io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let options = format!("fd={},rootmode=40000,user_id={user},group_id={group}", device.as_raw_fd());
    let options = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(SOURCE, mountpoint, "fuse", flags, options.as_c_str())?;
    Ok(device.into())
}

/// The set-user-id program mounts, and sends the connection back over a socket that it inherits.
fn by_program(mountpoint: &Path) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    fcntl_setfd(&theirs, FdFlags::empty())?;
    let mut command = Command::new("fusermount3");
    command.args(["-o", &format!("fsname={SOURCE},nosuid,nodev,noexec"), "--"]).arg(mountpoint);
    let output = command.env("_FUSE_COMMFD", theirs.as_raw_fd().to_string()).output()?;
    drop(theirs);
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(ours.as_fd(), &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let missing = || io::Error::other("fusermount3 sent no connection");
    descriptors.flatten().last().ok_or_else(missing)
}

/// Unmounts the file system.
///
/// # Errors
/// While it is in use.
pub(crate) fn detach(mountpoint: &Path) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(unmount(mountpoint, UnmountFlags::empty())?);
    }
    let output = Command::new("fusermount3").arg("-u").arg(mountpoint).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Takes away what a predecessor left mounted, even while it is in use: nobody answers it any more.
///
/// The list tells it, and not an access: the kernel may answer one from its memory.
pub(crate) fn detach_left(mountpoint: &Path) {
    let left = count(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), mountpoint);
    for _ in 0..left.min(MAX_LEFT) {
        if unmount(mountpoint, UnmountFlags::DETACH).is_err() {
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
