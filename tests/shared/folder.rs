//! A directory that hosts share.

use std::path::{Path, PathBuf};

use tests::{Host, Network, TestStack, skip};

/// A directory for blocks and maps, and a network of hosts.
pub(crate) struct Folder {
    network: Network,
    directory: tempfile::TempDir,
}

impl Folder {
    /// One of the test's own, if there can be hosts here.
    pub(crate) fn new(test: &str) -> Option<Folder> {
        if let Err(reason) = Network::is_possible() {
            skip(test, &reason);
            return None;
        }
        let directory = tempfile::Builder::new().prefix("archipelago-").tempdir().unwrap();
        Some(Folder { network: Network::start(), directory })
    }

    /// Where maps and locks are.
    pub(crate) fn maps(&self) -> PathBuf {
        self.directory.path().join("maps")
    }

    /// So many hosts on it.
    pub(crate) fn hosts<const COUNT: usize>(&self) -> [Host; COUNT] {
        std::array::from_fn(|_| self.network.host(prepared(self.directory.path())))
    }
}

/// A stack of a host whose folders others change, too; nobody runs it yet.
fn prepared(directory: &Path) -> TestStack {
    let [blocks, maps] = ["blocks", "maps"].map(|name| directory.join(name).to_str().unwrap().to_owned());
    TestStack::prepared(&["--blocks", &blocks, "--maps", &maps], |configuration| {
        configuration.replace("type = \"filed\"\n", "type = \"filed\"\nshared = true\n")
    })
}
