//! Roles as processes or threads: who starts them, watches them, and how commands speak with it.

pub(crate) mod background;
mod backoff;
pub(crate) mod control;
pub(crate) mod foreground;
pub(crate) mod ground;
mod keeping;
pub(crate) mod lost;
pub(crate) mod one_role;
pub(crate) mod pid_file;
pub(crate) mod process;
pub(crate) mod reach;
mod supervisor;
mod thread;
mod watched;
