//! A mapped volume with a file system, and the ways at its files that this machine allows.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::stage::Stage;
use super::story::FILES;
use crate::apt::is_root;

/// How the file system is reached.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// A block device, mounted as usual.
    Mount,
    /// A file: its file system is read and written in place, without mounting it.
    File,
    /// A URI for NBD clients: the file system is worked on in a copy.
    Copy,
}

/// A mapped volume.
pub(super) struct Mapped<'s> {
    stage: &'s Stage,
    volume: &'static str,
    /// The device, file or URI that `vlmc map` printed.
    location: String,
    way: Way,
    is_read_only: bool,
}

impl<'s> Mapped<'s> {
    pub(super) fn map(stage: &'s Stage, volume: &'static str, via: &str) -> Result<Self> {
        Self::map_as(stage, volume, via, false)
    }

    pub(super) fn map_read_only(stage: &'s Stage, volume: &'static str, via: &str) -> Result<Self> {
        Self::map_as(stage, volume, via, true)
    }

    fn map_as(stage: &'s Stage, volume: &'static str, via: &str, is_read_only: bool) -> Result<Self> {
        let via = if via == "auto" { String::new() } else { format!(" --via {via}") };
        let read_only = if is_read_only { " --read-only" } else { "" };
        let printed = stage.run(&format!("vlmc map {volume}{via}{read_only}"))?;
        stage.note_mapped(volume)?;
        let location = printed.trim().to_owned();
        let way = way_to(&location)?;
        Ok(Self { stage, volume, location, way, is_read_only })
    }

    /// Makes the file system, with the files on it.
    pub(super) fn fill(&self, size: &str) -> Result<()> {
        let (location, image) = (&self.location, self.image());
        match self.way {
            Way::Mount => {
                self.run(&format!("mkfs.ext4 -q {location}"))?;
                self.enter()?;
                self.run(&format!("cp -a {FILES}/. {}", self.folder()))?;
            }
            Way::File => self.run(&format!("mkfs.ext4 -q -F -d {FILES} {image}"))?,
            Way::Copy => {
                self.run(&format!("truncate -s {size} {image}"))?;
                self.run(&format!("mkfs.ext4 -q -F -d {FILES} {image}"))?;
                self.leave()?;
            }
        }
        Ok(())
    }

    /// Before files are looked at or changed.
    pub(super) fn enter(&self) -> Result<()> {
        let (location, folder) = (&self.location, self.folder());
        match self.way {
            Way::Mount if self.is_mounted() => Ok(()),
            Way::Mount => {
                // A snapshot of a frozen file system is clean: there is nothing to recover, nor may it be tried.
                let options = if self.is_read_only { "-o ro,noload " } else { "" };
                self.run(&format!("mkdir -p {folder} && mount {options}{location} {folder}"))
            }
            Way::File => Ok(()),
            Way::Copy => self.run(&format!("nbdcopy '{location}' {}", self.image())),
        }
    }

    /// After files were changed.
    pub(super) fn leave(&self) -> Result<()> {
        match self.way {
            Way::Mount | Way::File => Ok(()),
            Way::Copy => self.run(&format!("nbdcopy --flush {} '{}'", self.image(), self.location)),
        }
    }

    /// Does something while the file system holds still.
    pub(super) fn freeze<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.way != Way::Mount {
            return act();
        }
        let folder = self.folder();
        self.run(&format!("fsfreeze --freeze {folder}"))?;
        let done = act();
        self.run(&format!("fsfreeze --unfreeze {folder}"))?;
        done
    }

    /// Removes a file.
    pub(super) fn remove(&self, file: &str) -> Result<()> {
        match self.way {
            Way::Mount => self.run(&format!("rm {}/{file}", self.folder())),
            Way::File | Way::Copy => {
                self.run(&format!("debugfs -w -R 'rm {file}' {} 2> /dev/null", self.image()))
            }
        }
    }

    /// Writes a file; one that is there is replaced.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<()> {
        if self.way == Way::Mount {
            return self.run(&format!("echo '{text}' > {}/{file}", self.folder()));
        }
        if Path::new(FILES).join(file).exists() {
            self.remove(file)?;
        }
        self.run(&format!("echo '{text}' > {file}"))?;
        self.run(&format!("debugfs -w -R 'write {file} {file}' {} 2> /dev/null", self.image()))
    }

    /// How the files differ from where they came from, as diff says it; the volume's own folder reads THERE.
    pub(super) fn differences(&self) -> Result<String> {
        self.enter()?;
        let folder = self.folder();
        if self.way != Way::Mount {
            self.run(&format!(
                "mkdir -p {folder} && debugfs -R 'rdump / {folder}' {} 2> /dev/null",
                self.image()
            ))?;
        }
        let diff = format!("diff -rq --no-dereference -x lost+found {FILES} {folder}");
        let found = self.stage.run(&format!("{diff}; test $? -le 1"))?;
        Ok(found.replace(&folder, "THERE"))
    }

    /// Checks the file system, not mounted.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_mounted() {
            self.run(&format!("umount {}", self.folder()))?;
        }
        self.stage.run_for_its_last_line(&format!("e2fsck -fn {} 2> /dev/null", self.image()))
    }

    /// Gives the device back.
    pub(super) fn unmap(self) -> Result<()> {
        self.run(&format!("vlmc unmap {}", self.volume))
    }

    fn run(&self, line: &str) -> Result<()> {
        self.stage.run(line).map(drop)
    }

    /// Where the files are seen.
    fn folder(&self) -> String {
        format!("mnt/{}", self.volume)
    }

    /// What file system tools are given.
    fn image(&self) -> String {
        match self.way {
            Way::Mount | Way::File => self.location.clone(),
            Way::Copy => format!("{}.img", self.volume),
        }
    }

    fn is_mounted(&self) -> bool {
        let folder = self.stage.folder().join(self.folder());
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at) == folder))
    }
}

fn way_to(location: &str) -> Result<Way> {
    use std::os::unix::fs::FileTypeExt;
    if location.starts_with("nbd") {
        return Ok(Way::Copy);
    }
    let kind =
        Path::new(location).metadata().with_context(|| format!("vlmc map printed {location}"))?.file_type();
    if kind.is_block_device() && is_root() {
        Ok(Way::Mount)
    } else if kind.is_file() {
        Ok(Way::File)
    } else {
        bail!(
            "vlmc map printed {location}, which is neither a device, a file nor a URI that can be used here"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_follows_from_what_map_printed() {
        assert_eq!(way_to("nbd+unix:///first-volume?socket=/run/x/nbd.sock").unwrap(), Way::Copy);
        assert_eq!(way_to("/proc/self/stat").unwrap(), Way::File);
        assert!(way_to("/dev/null").is_err() && way_to("/nowhere/at/all").is_err());
    }
}
