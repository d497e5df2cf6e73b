//! Settings of a mapper as written, and what is wrong with them.

use serde::{Deserialize, Serialize};

/// A mapper's table in the configuration, without the keys that all roles share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Port of the store that keeps blocks.
    pub blockerb_port: u32,
    /// Port of the store that keeps maps and locks.
    pub blockerm_port: u32,
    /// How many bytes of maps are kept in memory beyond those being changed.
    #[serde(default = "default_map_cache_bytes")]
    pub map_cache_bytes: u64,
}

/// 64 MiB hold the map of about 10 TiB of 4 MiB blocks, so the maps of what a node usually has in use.
fn default_map_cache_bytes() -> u64 {
    64 << 20
}

/// Less does not hold one path of the tallest tree.
const MAP_CACHE_BYTES_MIN: u64 = 1 << 20;
/// More is no cache any more.
const MAP_CACHE_BYTES_MAX: u64 = 1 << 40;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number is out of its range.
    #[error("map_cache_bytes = {value} is not between {MAP_CACHE_BYTES_MIN} and {MAP_CACHE_BYTES_MAX}")]
    CacheSize {
        /// What was written.
        value: u64,
    },
    /// Maps are replaced whole and fenced by locks beside them; blocks are neither.
    #[error("blockerb_port and blockerm_port are both {port}: blocks and maps need stores of their own")]
    SamePort {
        /// What was written twice.
        port: u32,
    },
}

impl Config {
    /// Settings with all that may be left out at its default.
    #[must_use]
    pub fn new(blockerb_port: u32, blockerm_port: u32) -> Config {
        Config { blockerb_port, blockerm_port, map_cache_bytes: default_map_cache_bytes() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first that cannot work, with its value and what is allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.blockerb_port == self.blockerm_port {
            return Err(ConfigError::SamePort { port: self.blockerb_port });
        }
        if !(MAP_CACHE_BYTES_MIN..=MAP_CACHE_BYTES_MAX).contains(&self.map_cache_bytes) {
            return Err(ConfigError::CacheSize { value: self.map_cache_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_store_for_blocks_and_maps_is_refused() {
        let error = Config::new(1000, 1000).check().unwrap_err();
        assert!(error.to_string().contains("both 1000"));
    }

    #[test]
    fn a_cache_without_room_is_refused_with_what_is_allowed() {
        let config = Config { map_cache_bytes: 5, ..Config::new(1000, 1002) };
        assert!(
            config.check().unwrap_err().to_string().starts_with("map_cache_bytes = 5 is not between 1048576")
        );
        assert_eq!(Config::new(1000, 1002).check(), Ok(()));
    }
}
