//! Data of a volume, one call at a time. [`crate::Device`] is for those who are in a hurry.

use protocol::{Failure, Flags, Op};

use crate::{Client, client::unsent};

/// The most data that one request of [`Client::read`] and [`Client::write`] moves, in bytes.
const DATA_BYTES: u64 = 1 << 20;

impl Client {
    /// Fills `bytes` from the volume.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` outside the volume, or what the stores say.
    pub fn read(&mut self, volume: &str, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        let to = self.stack().vlmc_port(volume);
        let mut at = offset;
        for part in bytes.chunks_mut(usize::try_from(DATA_BYTES).unwrap_or(usize::MAX)) {
            let length = u64::try_from(part.len()).unwrap_or(0);
            let reply = self.call(to, Op::Read, volume.as_bytes(), length, |request| {
                request.set_offset(at);
                request.set_size(length);
                Ok(())
            })?;
            let result = reply.read(0, part).map_err(|error| unsent(Op::Read, &error));
            self.done(reply);
            result?;
            at += length;
        }
        Ok(())
    }

    /// Writes `bytes` into the volume.
    ///
    /// # Errors
    /// `NotFound`, `ReadOnly`, `Invalid` outside the volume, or what the stores say.
    pub fn write(&mut self, volume: &str, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let to = self.stack().vlmc_port(volume);
        let mut at = offset;
        for part in bytes.chunks(usize::try_from(DATA_BYTES).unwrap_or(usize::MAX)) {
            let length = u64::try_from(part.len()).unwrap_or(0);
            let reply = self.call(to, Op::Write, volume.as_bytes(), length, |request| {
                request.set_offset(at);
                request.set_size(length);
                request.write(0, part).map_err(|error| unsent(Op::Write, &error))
            })?;
            self.done(reply);
            at += length;
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// What the stores say.
    pub fn flush(&mut self, volume: &str) -> Result<(), Failure> {
        self.order(self.stack().vlmc_port(volume), Op::Flush, volume, Flags::empty(), &[])
    }

    /// Makes a range read zeros and gives its space back.
    ///
    /// # Errors
    /// As [`Client::write`].
    pub fn discard(&mut self, volume: &str, offset: u64, size: u64) -> Result<(), Failure> {
        self.zero(Op::Discard, volume, offset, size)
    }

    /// Makes a range read zeros.
    ///
    /// # Errors
    /// As [`Client::write`].
    pub fn write_zeroes(&mut self, volume: &str, offset: u64, size: u64) -> Result<(), Failure> {
        self.zero(Op::WriteZeroes, volume, offset, size)
    }

    fn zero(&mut self, op: Op, volume: &str, offset: u64, size: u64) -> Result<(), Failure> {
        let reply = self.call(self.stack().vlmc_port(volume), op, volume.as_bytes(), 0, |request| {
            request.set_offset(offset);
            request.set_size(size);
            Ok(())
        })?;
        self.done(reply);
        Ok(())
    }
}
