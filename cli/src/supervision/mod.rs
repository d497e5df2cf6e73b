//! Roles as processes: who starts them, watches them, and how commands speak with it.

mod backoff;
pub(crate) mod control;
pub(crate) mod pid_file;
pub(crate) mod process;
pub(crate) mod supervisor;
mod watched;
