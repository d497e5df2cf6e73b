//! Tests that cannot run everywhere say so.

use std::{fs::OpenOptions, io::Write, path::PathBuf};

/// Says that a test did not run, and why: on standard error, and in the file that the test command counts.
pub fn skip(test: &str, reason: &str) {
    let line = format!("skipped: {test}: {reason}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("ARCHIPELAGO_SKIPS")
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
    {
        // Not counted is the worst that can happen, and the line above was printed.
        let _written = writeln!(file, "{line}");
    }
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

/// Where a program is, if it is installed.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}
