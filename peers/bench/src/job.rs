//! What a load consists of.

use std::time::Duration;

use protocol::{ErrorKind, Failure};
use serde::Serialize;

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Target {
    /// A volume, as its endpoints would ask.
    Volume {
        /// Its name.
        name: String,
    },
    /// A store, without volumes: objects `<prefix>-<seed>-<number>`.
    Objects {
        /// The store's port.
        port: u32,
        /// What the objects' names begin with.
        prefix: String,
        /// Size of an object in bytes.
        object_bytes: u64,
    },
    /// Any role: round trips without I/O.
    Ping {
        /// Its port.
        port: u32,
    },
}

/// In which order blocks are touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// One after the other.
    Sequential,
    /// In an order that looks random, each once before any again.
    Random,
}

/// A load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Who is asked.
    pub target: Target,
    /// In which order.
    pub pattern: Pattern,
    /// How many of a hundred requests write; the others read.
    pub write_percent: u8,
    /// Size of a request in bytes.
    pub io_bytes: u64,
    /// How much of the target is used, from its start; the whole volume if none.
    pub span_bytes: Option<u64>,
    /// How many requests are under way at a time.
    pub depth: u32,
    /// How much is moved at most, in bytes. With neither this nor a duration: each block once.
    pub amount_bytes: Option<u64>,
    /// How long it goes on at most.
    pub duration: Option<Duration>,
    /// How many requests are sent in a second at most.
    pub rate_per_second: Option<u64>,
    /// Whether every write is to be durable when it is answered.
    pub is_durable: bool,
    /// Whether what is written says what it is, and what is read is compared with what was written.
    pub is_verified: bool,
    /// What the order and the content derive from.
    pub seed: u64,
}

/// Requests under way at a time.
const DEPTH_MAX: u32 = 1024;
/// Size of a request in bytes.
const IO_BYTES_MAX: u64 = 16 << 20;
/// Blocks whose versions are remembered in memory, at four bytes each.
const VERIFIED_BLOCKS_MAX: u64 = 1 << 26;
/// What says of itself what it is, in bytes.
pub(crate) const UNIT_BYTES: u64 = 512;

impl Job {
    /// Reads of 4 KiB in random order, one at a time, each block of the volume once.
    #[must_use]
    pub fn on_volume(name: &str) -> Job {
        Job::on(Target::Volume { name: name.to_owned() })
    }

    /// As [`Job::on_volume`], for any target.
    #[must_use]
    pub fn on(target: Target) -> Job {
        Job {
            target,
            pattern: Pattern::Random,
            write_percent: 0,
            io_bytes: 4096,
            span_bytes: None,
            depth: 1,
            amount_bytes: None,
            duration: None,
            rate_per_second: None,
            is_durable: false,
            is_verified: false,
            seed: 1,
        }
    }

    /// Checks what can be checked without asking anybody.
    ///
    /// # Errors
    /// `Invalid`, with the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), Failure> {
        let io_bytes = self.io_bytes;
        within("write percent", u64::from(self.write_percent), 0, 100)?;
        within("depth", u64::from(self.depth), 1, u64::from(DEPTH_MAX))?;
        within("block size", io_bytes, 1, IO_BYTES_MAX)?;
        within("rate", self.rate_per_second.unwrap_or(1), 1, u64::MAX)?;
        if self.is_verified && !io_bytes.is_multiple_of(UNIT_BYTES) {
            return Err(invalid(format!(
                "verified blocks of {io_bytes} bytes: not a multiple of {UNIT_BYTES}"
            )));
        }
        match self.target {
            Target::Objects { object_bytes, .. }
                if object_bytes == 0 || !object_bytes.is_multiple_of(io_bytes) =>
            {
                Err(invalid(format!(
                    "objects of {object_bytes} bytes are not whole blocks of {io_bytes} bytes"
                )))
            }
            Target::Objects { .. } if self.span_bytes.is_none() => {
                Err(invalid("objects have no end of their own: say how much is used of them".to_owned()))
            }
            Target::Ping { .. } if self.amount_bytes.is_none() && self.duration.is_none() => {
                Err(invalid("pings have no end of their own: say how many or how long".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// How many blocks of a target of `target_bytes` are used.
    pub(crate) fn block_count(&self, target_bytes: u64) -> Result<u64, Failure> {
        let span = self.span_bytes.unwrap_or(target_bytes);
        let blocks = span.min(target_bytes) / self.io_bytes;
        if span > target_bytes || blocks == 0 {
            let message =
                format!("{span} bytes in blocks of {} bytes do not fit {target_bytes} bytes", self.io_bytes);
            return Err(invalid(message));
        }
        if self.is_verified {
            within("number of verified blocks", blocks, 1, VERIFIED_BLOCKS_MAX)?;
        }
        Ok(blocks)
    }
}

fn within(what: &str, value: u64, least: u64, most: u64) -> Result<(), Failure> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(invalid(format!("{what} {value} is not between {least} and {most}")))
}

pub(crate) fn invalid(message: String) -> Failure {
    Failure::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let job = Job { depth: 0, ..Job::on_volume("volume1") };
        assert_eq!(job.check().unwrap_err().message, "depth 0 is not between 1 and 1024");
        let job = Job { io_bytes: 700, is_verified: true, ..Job::on_volume("volume1") };
        assert!(job.check().unwrap_err().message.contains("700"));
        assert!(Job::on(Target::Ping { port: 1 }).check().is_err());
        assert!(Job::on_volume("volume1").check().is_ok());
    }

    #[test]
    fn a_span_beyond_the_end_is_refused() {
        let job = Job { span_bytes: Some(9000), ..Job::on_volume("volume1") };
        assert_eq!(job.block_count(9000).unwrap(), 2);
        assert!(job.block_count(8999).is_err());
    }
}
