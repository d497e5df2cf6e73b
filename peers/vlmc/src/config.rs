//! Settings of a composer as written, and what is wrong with them.

use serde::{Deserialize, Serialize};

/// A composer's table in the configuration, without the keys that all roles share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Port of the store that keeps blocks.
    pub blocker_port: u32,
    /// Port of the mapper.
    pub mapper_port: u32,
    /// How many bytes of map entries are kept in memory, for all volumes and ports together.
    #[serde(default = "default_entry_cache_bytes")]
    pub entry_cache_bytes: u64,
}

/// 64 MiB hold the entries of about 8 TiB of 4 MiB blocks, so those of what a node usually has in use.
fn default_entry_cache_bytes() -> u64 {
    64 << 20
}

/// Less does not hold a few leaves for each port.
const ENTRY_CACHE_BYTES_MIN: u64 = 1 << 20;
/// More is no cache any more.
const ENTRY_CACHE_BYTES_MAX: u64 = 1 << 40;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number is out of its range.
    #[error("entry_cache_bytes = {value} is not between {ENTRY_CACHE_BYTES_MIN} and {ENTRY_CACHE_BYTES_MAX}")]
    CacheSize {
        /// What was written.
        value: u64,
    },
    /// A store is no mapper.
    #[error("blocker_port and mapper_port are both {port}: they need to be ports of two different roles")]
    SamePort {
        /// What was written twice.
        port: u32,
    },
}

impl Config {
    /// Settings with all that may be left out at its default.
    #[must_use]
    pub fn new(blocker_port: u32, mapper_port: u32) -> Config {
        Config { blocker_port, mapper_port, entry_cache_bytes: default_entry_cache_bytes() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first that cannot work, with its value and what is allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.blocker_port == self.mapper_port {
            return Err(ConfigError::SamePort { port: self.mapper_port });
        }
        if !(ENTRY_CACHE_BYTES_MIN..=ENTRY_CACHE_BYTES_MAX).contains(&self.entry_cache_bytes) {
            return Err(ConfigError::CacheSize { value: self.entry_cache_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapper_that_is_also_the_store_is_refused() {
        assert!(Config::new(1000, 1000).check().unwrap_err().to_string().contains("both 1000"));
        assert_eq!(Config::new(1000, 1001).check(), Ok(()));
    }

    #[test]
    fn a_cache_without_room_is_refused_with_what_is_allowed() {
        let config = Config { entry_cache_bytes: 5, ..Config::new(1000, 1001) };
        let message = config.check().unwrap_err().to_string();
        assert!(message.starts_with("entry_cache_bytes = 5 is not between 1048576"), "{message}");
    }
}
