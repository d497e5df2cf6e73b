//! An ext4 image full of real files: imported, mounted, changed, snapshotted, cloned.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use tests::{Outcome, TestStack, is_root, skip};

/// How much is taken from the machine's own packages, in bytes.
const WANTED_BYTES: u64 = 256 << 20;
/// The image: twice that, so that there is room to change things.
const IMAGE_BYTES: u64 = 768 << 20;

type Hashes = BTreeMap<PathBuf, [u8; 32]>;

#[test]
fn every_file_is_right_on_volume_snapshot_and_clone() {
    if !is_root() {
        return skip("every_file_is_right_on_volume_snapshot_and_clone", "mounting needs root");
    }
    let stack = TestStack::start();
    let source = stack.path("source");
    gather(&source);
    let image = stack.path("image");
    fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(&source).arg(&image));
    stack.vlmc(&["import", text(&image), "volume1"]).done();

    let original = hashes(&source);
    let device = Mapped::new(&stack, "volume1", &[]);
    let mounted = device.mount("mnt-volume");
    assert!(hashes(&mounted.path) == original, "the imported volume differs");
    let changed = change(&mounted.path);
    run(Command::new("fsfreeze").arg("--freeze").arg(&mounted.path));
    stack.vlmc(&["snapshot", "volume1", "snapshot1"]).done();
    run(Command::new("fsfreeze").arg("--unfreeze").arg(&mounted.path));
    stack.vlmc(&["create", "clone01", "--snap", "snapshot1"]).done();
    let later = change_again(&mounted.path);
    drop(mounted);
    device.check();

    let clone = Mapped::new(&stack, "clone01", &[]);
    let mounted = clone.mount("mnt-clone");
    assert!(hashes(&mounted.path) == changed, "the clone differs");
    fs::write(mounted.path.join("only-in-the-clone"), tests::pattern(3, 1 << 20)).unwrap();
    drop(mounted);
    clone.check();

    let snapshot = Mapped::new(&stack, "snapshot1", &["--read-only"]);
    snapshot.check();
    let mounted = snapshot.mount("mnt-snapshot");
    assert!(hashes(&mounted.path) == changed, "the snapshot differs");
    drop(mounted);
    drop(snapshot);

    let mounted = device.mount("mnt-again");
    assert!(hashes(&mounted.path) == later, "the volume differs");
    drop(mounted);
    device.check();
}

/// Copies real files of installed packages.
fn gather(target: &Path) {
    fs::create_dir(target).unwrap();
    let mut bytes = 0;
    let mut folders: Vec<PathBuf> = ["/usr/share", "/usr/lib", "/usr/bin"].map(PathBuf::from).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.path().symlink_metadata() else { continue };
            if metadata.is_dir() {
                folders.insert(0, entry.path());
            } else if metadata.is_file() && bytes < WANTED_BYTES && metadata.len() < 16 << 20 {
                let to = target.join(entry.path().strip_prefix("/usr").unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(entry.path(), to).unwrap();
                bytes += metadata.len();
            }
        }
    }
    assert!(bytes >= WANTED_BYTES / 4, "this machine has too few files to copy: {bytes} bytes");
}

/// Adds, changes, removes and renames files; gives what must be there then.
fn change(root: &Path) -> Hashes {
    let files: Vec<PathBuf> = hashes(root).into_keys().collect();
    for (index, file) in files.iter().enumerate() {
        let path = root.join(file);
        match index % 10 {
            0 => fs::remove_file(path).unwrap(),
            1 => fs::write(&path, tests::pattern(1, index * 7 % 50_000)).unwrap(),
            2 => fs::rename(&path, path.with_extension("renamed")).unwrap(),
            _ => {}
        }
    }
    hashes(root)
}

fn change_again(root: &Path) -> Hashes {
    for index in 0..50 {
        fs::write(root.join(format!("new-{index}")), tests::pattern(2, index * 40_000)).unwrap();
    }
    hashes(root)
}

fn hashes(root: &Path) -> Hashes {
    let mut found = Hashes::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("lost+found") {
                    folders.push(path);
                }
            } else {
                let mut bytes = Vec::new();
                fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
                found.insert(path.strip_prefix(root).unwrap().to_owned(), Sha256::digest(&bytes).into());
            }
        }
    }
    found
}

/// A volume as a block device; unmapped when dropped.
struct Mapped<'a> {
    stack: &'a TestStack,
    device: String,
}

impl Mapped<'_> {
    fn new<'a>(stack: &'a TestStack, volume: &str, more: &[&str]) -> Mapped<'a> {
        let device = stack.vlmc(&[&["map", volume, "--via", "fuse"], more].concat()).done();
        assert!(device.starts_with("/dev/loop"), "{device}");
        Mapped { stack, device }
    }

    fn mount(&self, name: &str) -> Mounted {
        let path = self.stack.path(name);
        fs::create_dir(&path).unwrap();
        let options = if name == "mnt-snapshot" { "ro,noload" } else { "discard" };
        run(Command::new("mount").args(["-t", "ext4", "-o", options, &self.device]).arg(&path));
        Mounted { path }
    }

    fn check(&self) {
        run(Command::new("e2fsck").args(["-f", "-n", &self.device]));
    }
}

impl Drop for Mapped<'_> {
    fn drop(&mut self) {
        let told = self.stack.vlmc(&["unmap", &self.device]);
        if !std::thread::panicking() {
            told.done();
        }
    }
}

struct Mounted {
    path: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.path).status().unwrap();
        assert!(status.success() || std::thread::panicking(), "cannot unmount {}", self.path.display());
    }
}

fn run(command: &mut Command) -> Outcome {
    let outcome = tests::run(command);
    assert_eq!(outcome.code(), Some(0), "{command:?}: {} {}", outcome.stdout(), outcome.stderr());
    outcome
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
