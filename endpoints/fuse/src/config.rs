//! The role's own keys.

use std::path::PathBuf;

use serde::Deserialize;

/// Settings of a FUSE role.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The directory in which the volumes appear.
    pub mountpoint: PathBuf,
    /// Whether to put a loop device over each file: by default where this process may.
    #[serde(default)]
    pub loop_devices: LoopDevices,
    /// How many requests of one volume may be under way.
    #[serde(default = "default_depth")]
    pub depth: u32,
    /// How much data of one volume may be under way, in MiB.
    #[serde(default = "default_buffer_mib")]
    pub buffer_mib: u32,
}

/// When to make loop devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopDevices {
    /// Where the host lets us.
    #[default]
    Auto,
    /// Never: the file is what is shown.
    Never,
    /// Always: attaching fails without one.
    Always,
}

/// Deep enough for the kernel's own queue over a loop device.
fn default_depth() -> u32 {
    128
}

/// Sixteen of the kernel's largest requests.
fn default_buffer_mib() -> u32 {
    16
}

/// A key with a value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {allowed}")]
pub struct ConfigError {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What would do.
    pub allowed: &'static str,
}

impl Config {
    /// Checks what can be checked without touching the host.
    ///
    /// # Errors
    /// The first key with a value that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.mountpoint.is_absolute() {
            let value = self.mountpoint.display().to_string();
            return Err(ConfigError { key: "mountpoint", value, allowed: "an absolute path is needed" });
        }
        if !(1..=4096).contains(&self.depth) {
            return Err(ConfigError {
                key: "depth",
                value: self.depth.to_string(),
                allowed: "1 to 4096 requests",
            });
        }
        if !(2..=4096).contains(&self.buffer_mib) {
            return Err(ConfigError {
                key: "buffer_mib",
                value: self.buffer_mib.to_string(),
                allowed: "2 to 4096 MiB",
            });
        }
        Ok(())
    }
}
