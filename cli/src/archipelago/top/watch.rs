//! Two samples, and what happened between them.

use std::time::{Duration, Instant};

use client::{Client, Failure, Stack};
use metrics::{Rates, Sample};

use crate::archipelago::alarms::{Alarm, alarms};

/// How long a role may take to answer somebody who watches the screen, which stands still meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);
/// The same where one look is all there is: a machine that is busy for a moment does not make it incomplete.
const PATIENCE_ONCE: Duration = Duration::from_secs(10);

/// What is shown.
pub(super) struct Watch {
    client: Client,
    taken: Instant,
    /// The last look.
    pub(super) sample: Sample,
    /// What happened between it and the one before.
    pub(super) rates: Rates,
}

impl Watch {
    /// Takes the first look.
    pub(super) fn begin(stack: &Stack, is_once: bool) -> Result<Watch, Failure> {
        let mut client = Client::connect(stack)?;
        client.set_patience(if is_once { PATIENCE_ONCE } else { PATIENCE });
        let sample = Sample::take_with(&mut client);
        let rates = Rates::between(&sample, &sample, Duration::from_secs(1));
        Ok(Watch { client, taken: Instant::now(), sample, rates })
    }

    /// What somebody should know.
    pub(super) fn alarms(&self) -> Vec<Alarm> {
        alarms(self.sample.roles.iter().map(|status| (status.role.as_str(), &status.details)))
    }

    /// Takes the next look.
    pub(super) fn look(&mut self) {
        let sample = Sample::take_with(&mut self.client);
        let now = Instant::now();
        self.rates = Rates::between(&self.sample, &sample, now - self.taken);
        (self.sample, self.taken) = (sample, now);
    }
}
