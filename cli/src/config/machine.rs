//! What a configuration needs of this machine, and whether it is there.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use super::{Configuration, Finding, Identity, Kind, Place, settings};

/// Where POSIX shared memory is.
const SHARED_MEMORY: &str = "/dev/shm";
/// What FUSE needs.
const FUSE_DEVICE: &str = "/dev/fuse";

/// Everything that this machine lacks.
pub fn findings(configuration: &Configuration) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_memory(configuration, &mut findings);
    settings::check_machine(configuration, &mut findings);
    for role in &configuration.roles {
        for needed in &role.outline.needed {
            if let Err(reason) = usable(&needed.directory) {
                let message =
                    format!("{} = {:?}: {reason}", needed.key, needed.directory.display().to_string());
                findings.push(Finding { place: Some(needed.place), message });
            }
        }
        if role.outline.kind == Kind::Fuse && !has_fuse() {
            let message =
                format!("[{}]: {FUSE_DEVICE} can't be opened here; remove the role", role.outline.name);
            findings.push(Finding { place: Some(role.place), message });
        }
    }
    let top = &configuration.top;
    if let Err(missing) = Identity::of(top) {
        let key = if missing.contains("group") { "group" } else { "user" };
        findings.push(Finding { place: configuration.place_of(key), message: format!("{key}: {missing}") });
    }
    for (key, directory) in [("run_dir", &top.run_dir), ("log_dir", &top.log_dir)] {
        if let Err(reason) = usable_or_makeable(directory) {
            let message = format!("{key} = {:?}: {reason}", directory.display().to_string());
            findings.push(Finding { place: configuration.place_of(key), message });
        }
    }
    findings.sort();
    findings
}

/// Whether files can be shown through FUSE here.
pub(super) fn has_fuse() -> bool {
    is_openable(Path::new(FUSE_DEVICE))
}

fn check_memory(configuration: &Configuration, findings: &mut Vec<Finding>) {
    let place = configuration.place_of("segment_size");
    let mut wrong = |message| findings.push(Finding { place, message });
    match rustix::fs::statvfs(SHARED_MEMORY) {
        Err(error) => wrong(format!("segment_size: {SHARED_MEMORY} can't be used: {error}")),
        Ok(memory) => {
            let total_mib = (memory.f_blocks.saturating_mul(memory.f_frsize)) >> 20;
            let wanted = configuration.top.segment_size;
            if wanted > total_mib {
                wrong(format!("segment_size = {wanted} MiB: {SHARED_MEMORY} holds {total_mib} MiB in all"));
            }
        }
    }
}

/// A directory that is there, and in which files can be made.
fn usable(directory: &Path) -> Result<(), String> {
    let metadata = fs::metadata(directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory".to_owned(),
        _ => error.to_string(),
    })?;
    if !metadata.is_dir() {
        return Err("is not a directory".to_owned());
    }
    let name = CString::new(directory.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    rustix::fs::access(&name, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|error| format!("can't be written by user {}: {error}", rustix::process::geteuid().as_raw()))
}

/// As [`usable`], or the nearest directory above it is.
fn usable_or_makeable(directory: &Path) -> Result<(), String> {
    match directory.ancestors().find(|above| above.symlink_metadata().is_ok()) {
        Some(found) => usable(found),
        None => Err("there is no such directory".to_owned()),
    }
}

fn is_openable(device: &Path) -> bool {
    fs::metadata(device).is_ok_and(|found| found.rdev() != 0)
        && fs::File::options().read(true).write(true).open(device).is_ok()
}

impl Configuration {
    /// Where a key of the file's top stands.
    fn place_of(&self, key: &str) -> Option<Place> {
        self.places.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{init, load, load_here};

    #[test]
    fn a_private_stack_lacks_nothing_but_what_is_taken_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = init::init(&dir.path().join("s"), None, None).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let without_fuse = text.replace(", \"fuse\"]", "]");
        let without_fuse = without_fuse.split("[fuse]").next().unwrap();
        fs::write(&file, without_fuse.replace("segment_size = 256", "segment_size = 16")).unwrap();
        let configuration = load(&file).unwrap();
        assert_eq!(findings(&configuration), []);
        fs::remove_dir(dir.path().join("s/blocks")).unwrap();
        fs::remove_dir(dir.path().join("s/maps")).unwrap();
        fs::write(dir.path().join("s/maps"), "").unwrap();
        let findings = findings(&configuration);
        let said: Vec<_> =
            findings.iter().map(|finding| finding.message.rsplit(": ").next().unwrap()).collect();
        assert_eq!(said, ["there is no such directory", "is not a directory", "is not a directory"]);
        assert!(findings.iter().all(|finding| finding.place.is_some()));
    }

    #[test]
    fn what_is_wrong_in_the_file_does_not_hide_what_is_missing_here() {
        let dir = tempfile::tempdir().unwrap();
        let file = init::init(&dir.path().join("s"), None, None).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("portno_start = 40", "portno_start = 11")).unwrap();
        fs::remove_dir(dir.path().join("s/blocks")).unwrap();
        let rejected = load_here(&file).unwrap_err().to_string();
        assert!(
            rejected.contains("overlapping ports") && rejected.contains("no such directory"),
            "{rejected}"
        );
    }

    #[test]
    fn a_segment_larger_than_shared_memory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = init::init(&dir.path().join("s"), None, None).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("segment_size = 256", "segment_size = 1048576")).unwrap();
        let rejected = load_here(&file).unwrap_err();
        assert!(
            rejected.to_string().contains("archipelago.toml:4:1: segment_size = 1048576 MiB: /dev/shm holds")
        );
    }
}
