//! One look at everything.

use std::{collections::BTreeSet, time::Duration};

use client::{Client, Stack};
use peer::status::Status;
use xseg::{PortInfo, Segment};

/// How long a role may take to answer: whoever asks waits for all of them.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a stack tells of itself at one moment.
#[derive(Debug)]
pub struct Sample {
    /// What each port of each role answered, in order of ports.
    pub roles: Vec<Status>,
    /// Ports that belong to roles and did not answer.
    pub silent: Vec<u32>,
    /// What the segment shows.
    pub segment: SegmentSample,
}

/// What can be seen of a segment without asking anybody.
#[derive(Debug)]
pub struct SegmentSample {
    /// Its name.
    pub name: String,
    /// Its ports that are bound or were.
    pub ports: Vec<PortInfo>,
    /// Requests it has room for.
    pub requests: u32,
    /// Requests under way or held.
    pub requests_in_use: u64,
    /// Bytes for the data of requests.
    pub arena_bytes: u64,
    /// Bytes of those that ports have reserved.
    pub reserved_bytes: u64,
    /// Owners of ports that were found dead.
    pub deaths: u64,
    /// Words in it that made no sense.
    pub anomalies: u64,
}

impl Sample {
    /// Asks every role.
    ///
    /// # Errors
    /// If the segment has no room for one more client.
    pub fn take(stack: &Stack) -> Result<Sample, protocol::Failure> {
        let mut client = Client::connect(stack)?;
        client.set_patience(PATIENCE);
        Ok(Sample::take_with(&mut client))
    }

    /// Asks every role through a client that is there already.
    pub fn take_with(client: &mut Client) -> Sample {
        let segment = SegmentSample::of(&client.stack().segment);
        let (mut roles, mut silent) = (Vec::new(), Vec::new());
        // A process that does not answer at one port will not at another either.
        let mut silent_pids = BTreeSet::new();
        for port in segment.ports.iter().filter(|port| port.is_static) {
            let is_hopeless = !port.is_alive || port.pid.is_some_and(|pid| silent_pids.contains(&pid));
            match (!is_hopeless).then(|| client.measure(port.number.0)) {
                Some(Ok(status)) => roles.push(status),
                _ => {
                    silent.push(port.number.0);
                    silent_pids.extend(port.pid);
                }
            }
        }
        Sample { roles, silent, segment }
    }
}

impl SegmentSample {
    fn of(segment: &Segment) -> SegmentSample {
        let (geometry, ports) = (segment.geometry(), segment.ports());
        SegmentSample {
            name: segment.name().to_owned(),
            requests: geometry.requests(),
            requests_in_use: ports.iter().map(|port| u64::from(port.held) + u64::from(port.waiting)).sum(),
            arena_bytes: geometry.arena_bytes(),
            reserved_bytes: ports.iter().map(|port| port.arena_bytes).sum(),
            deaths: segment.deaths(),
            anomalies: segment.anomalies(),
            ports,
        }
    }
}
