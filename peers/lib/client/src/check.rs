//! Asking whether what is at rest is whole, and dropping what is not.

use protocol::{Checked, ErrorKind, Failure, Flags, List, Message, Op};
use xseg::PortNumber;

use crate::Client;

/// Room for the findings of one step, in bytes.
const FINDINGS_BYTES: u64 = 512 << 10;

impl Client {
    /// One step of a check of `volume`, or of everything if it is `*`: looks at some objects after `resume`. Mends what can
    /// lose nothing, if wanted.
    ///
    /// # Errors
    /// `NotFound` for a volume that is not there, and what the stores say.
    pub fn check(&mut self, volume: &str, resume: &[u8], mends: bool) -> Result<Checked, Failure> {
        let flags = if mends { Flags::FORCE } else { Flags::empty() };
        let argument = List { prefix: Vec::new(), after: resume.to_vec() }.encode();
        let to = PortNumber(self.stack().mapper);
        let reply = self.call(to, Op::Check, volume.as_bytes(), FINDINGS_BYTES, |request| {
            request.set_flags(flags.bits());
            request
                .set_argument(&argument)
                .map_err(|error| Failure::new(ErrorKind::Invalid, format!("cannot ask for a check: {error}")))
        })?;
        let garbled = |error: &dyn std::fmt::Display| {
            Failure::new(ErrorKind::Corrupt, format!("the answer to check makes no sense: {error}"))
        };
        let mut bytes = vec![0; usize::try_from(reply.serviced().min(FINDINGS_BYTES)).unwrap_or(0)];
        let result = match reply.read(0, &mut bytes) {
            Ok(()) => Checked::decode(&bytes).map_err(|error| garbled(&error)),
            Err(error) => Err(garbled(&error)),
        };
        self.done(reply);
        result
    }

    /// Removes a volume, even one whose map cannot be read.
    ///
    /// # Errors
    /// `NotFound`, `Busy`.
    pub fn remove_unreadable(&mut self, volume: &str) -> Result<(), Failure> {
        let to = self.stack().vlmc_port(volume);
        let reply = self.call(to, Op::Delete, volume.as_bytes(), 0, |request| {
            request.set_flags(Flags::FORCE.bits());
            Ok(())
        })?;
        self.done(reply);
        Ok(())
    }
}
