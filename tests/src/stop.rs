//! Runs that take as long as one likes end early when they are told to.

use std::{path::PathBuf, sync::LazyLock};

/// The environment variable with the path of a file: once it is there, a long run ends in order.
const STOP: &str = "ARCHIPELAGO_STOP";

/// Whether whoever started this run wants it to end now.
#[must_use]
pub fn is_run_over() -> bool {
    static FILE: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os(STOP).map(PathBuf::from));
    FILE.as_ref().is_some_and(|file| file.exists())
}
