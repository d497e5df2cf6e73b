//! A sample in the text format that Prometheus reads.

use std::{collections::BTreeMap, fmt};

use peer::{latency::bucket_end, measures::Measure, status::Status};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{Sample, SegmentSample};

/// The media type of [`text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Buckets that are told: every power of two; between them a percentile is interpolated anyway.
const STEPS_TOLD: usize = 4;

/// The sample as lines for Prometheus.
#[must_use]
pub fn text(sample: Sample) -> String {
    let mut registry = Registry::with_prefix("archipelago");
    registry.register_collector(Box::new(Collected(sample)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes everything");
    text
}

#[derive(Debug)]
struct Collected(Sample);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Sample { roles, silent, segment } = &self.0;
        up(&mut encoder, roles, silent)?;
        load(&mut encoder, roles)?;
        operations(&mut encoder, roles)?;
        volumes(&mut encoder, roles)?;
        details(&mut encoder, roles)?;
        of_segment(&mut encoder, segment)
    }
}

/// Labels of one port of a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPort {
    role: String,
    port: u32,
}

impl OfPort {
    fn of(status: &Status) -> OfPort {
        OfPort { role: status.role.clone(), port: status.port }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    role: String,
    port: u32,
    operation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVolume {
    volume: String,
    operation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSegment {
    segment: String,
}

fn up(encoder: &mut DescriptorEncoder<'_>, roles: &[Status], silent: &[u32]) -> fmt::Result {
    let answered = roles.iter().map(|status| (OfPort::of(status), 1));
    let silent = silent.iter().map(|port| (OfPort { role: String::new(), port: *port }, 0));
    gauges(encoder, "up", "Whether a port answers", answered.chain(silent))?;
    let since = roles.iter().map(|status| (OfPort::of(status), float(status.since_unix_ms) / 1000.0));
    gauges(encoder, "start_time_seconds", "When a port's owner started, since 1970", since)
}

fn load(encoder: &mut DescriptorEncoder<'_>, roles: &[Status]) -> fmt::Result {
    let in_flight = roles.iter().map(|status| (OfPort::of(status), status.in_flight));
    gauges(encoder, "requests_in_flight", "Requests being worked on", in_flight)?;
    let waiting = roles.iter().map(|status| (OfPort::of(status), status.waiting));
    gauges(encoder, "requests_waiting", "Requests that wait for their turn at a port", waiting)
}

fn operations(encoder: &mut DescriptorEncoder<'_>, roles: &[Status]) -> fmt::Result {
    let all: Vec<_> = roles.iter().flat_map(of_role).collect();
    let failed = all.iter().map(|(labels, measure)| (labels.clone(), measure.failed));
    counters(encoder, "requests_failed", "Requests answered with an error", None, failed)?;
    let bytes = all.iter().map(|(labels, measure)| (labels.clone(), measure.bytes));
    counters(encoder, "requests_moved", "Bytes read and written", Some(&Unit::Bytes), bytes)?;
    let help = "Time from a request's arrival to its answer";
    histograms(encoder, "request_duration", help, all)
}

fn of_role(status: &Status) -> Vec<(OfOperation, &Measure)> {
    let operations = status.measured.iter().flat_map(|measured| &measured.operations);
    let labelled = |(operation, measure)| {
        let (role, operation): (_, &String) = (status.role.clone(), operation);
        (OfOperation { role, port: status.port, operation: operation.clone() }, measure)
    };
    operations.map(labelled).collect()
}

fn volumes(encoder: &mut DescriptorEncoder<'_>, roles: &[Status]) -> fmt::Result {
    let volumes = roles.iter().flat_map(|status| &status.measured).flat_map(|measured| &measured.volumes);
    let labelled = |(volume, operation, measure): (&String, &String, _)| {
        (OfVolume { volume: volume.clone(), operation: operation.clone() }, measure)
    };
    let all: Vec<(OfVolume, &Measure)> = volumes
        .flat_map(|(volume, operations)| {
            operations.iter().map(move |(name, measure)| (volume, name, measure))
        })
        .map(labelled)
        .collect();
    let bytes = all.iter().map(|(labels, measure)| (labels.clone(), measure.bytes));
    counters(encoder, "volume_moved", "Bytes read from and written to a volume", Some(&Unit::Bytes), bytes)?;
    let help = "Time from the arrival of a request to a volume to its answer";
    histograms(encoder, "volume_request_duration", help, all)
}

/// What only one kind of role knows: each of its numbers under its own name.
fn details(encoder: &mut DescriptorEncoder<'_>, roles: &[Status]) -> fmt::Result {
    let mut by_name: BTreeMap<&str, Vec<(OfPort, f64)>> = BTreeMap::new();
    for status in roles {
        for (name, value) in status.details.as_object().into_iter().flatten() {
            let number = value.as_f64().or(value.as_bool().map(|is| f64::from(u8::from(is))));
            if let Some(number) = number {
                by_name.entry(name).or_default().push((OfPort::of(status), number));
            }
        }
    }
    for (name, values) in by_name {
        match COUNTED.iter().find(|(counted, _)| *counted == name) {
            Some((_, help)) => counters(encoder, name, help, None, values.into_iter())?,
            None => {
                let told = TOLD.iter().find(|(told, _)| *told == name).map(|(_, help)| *help);
                gauges(encoder, name, told.unwrap_or("As the role's status has it"), values.into_iter())?;
            }
        }
    }
    Ok(())
}

/// Numbers of roles that only grow.
const COUNTED: [(&str, &str); 1] =
    [("shut_outs", "How often the cluster put the client of a store on its blocklist")];
/// Numbers of roles that somebody may want to be woken for.
const TOLD: [(&str, &str); 6] = [
    ("free_bytes", "Free space on the filesystem of a store"),
    ("is_connected", "Whether a store has a connection to its cluster"),
    ("lock_waiters", "Requests that wait for a lock at a store"),
    ("locks_held", "Volumes whose locks this node has"),
    ("volumes_lost", "Volumes that this node had and has no more, because their locks were broken"),
    ("writers_waiting", "Volumes that are written here and whose locks another node has"),
];

fn of_segment(encoder: &mut DescriptorEncoder<'_>, segment: &SegmentSample) -> fmt::Result {
    let SegmentSample { requests, requests_in_use, arena_bytes, reserved_bytes, deaths, anomalies, .. } =
        segment;
    let labels = OfSegment { segment: segment.name.clone() };
    let mut tell =
        |name, help, value: u64| gauges(encoder, name, help, std::iter::once((labels.clone(), value)));
    tell("segment_requests", "Requests that the segment has room for", u64::from(*requests))?;
    tell("segment_requests_in_use", "Requests that ports hold or that wait for them", *requests_in_use)?;
    tell("segment_arena_bytes", "Bytes for the data of requests", *arena_bytes)?;
    tell("segment_reserved_bytes", "Bytes for data that ports have reserved", *reserved_bytes)?;
    let alive = segment.ports.iter().filter(|port| port.is_alive).count();
    tell("segment_ports_bound", "Ports with a living owner", u64::try_from(alive).unwrap_or(0))?;
    let mut count = |name, help, value: u64| {
        counters(encoder, name, help, None, std::iter::once((labels.clone(), value)))
    };
    count("segment_deaths", "Owners of ports that were found dead", *deaths)?;
    count("segment_anomalies", "Words in the segment that made no sense", *anomalies)
}

fn gauges<L: EncodeLabelSet, N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, N)>,
) -> fmt::Result
where
    ConstGauge<N>: EncodeMetric,
{
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters<L: EncodeLabelSet, N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = (L, N)>,
) -> fmt::Result
where
    ConstCounter<N>: EncodeMetric,
{
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn histograms<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(L, &Measure)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (labels, measure) in values {
        histogram(metric.encode_family(&labels)?, measure)?;
    }
    Ok(())
}

fn histogram(mut metric: MetricEncoder<'_>, measure: &Measure) -> fmt::Result {
    metric.encode_histogram::<NoLabelSet>(
        float(measure.nanoseconds) / 1e9,
        measure.latency.iter().map(|(_, count)| count).sum(),
        &buckets(&measure.latency),
        None,
    )
}

/// Upper bounds in seconds, with what lies between each and the one before.
fn buckets(sparse: &[(usize, u64)]) -> Vec<(f64, u64)> {
    let mut told = Vec::new();
    let ends = (0..).map_while(|bucket| bucket_end(bucket).map(|end| (bucket, end)));
    let mut rest = sparse.iter().peekable();
    for (bucket, end) in ends.step_by(STEPS_TOLD) {
        let mut count = 0;
        while let Some((_, more)) = rest.next_if(|(index, _)| *index <= bucket) {
            count += more;
        }
        told.push((float(end) / 1e9, count));
    }
    told.push((f64::INFINITY, rest.map(|(_, count)| count).sum()));
    told
}

#[expect(clippy::cast_precision_loss, reason = "people read fifteen digits at most")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_is_left_out_of_the_buckets() {
        let sparse = [(0, 3), (1, 1), (4, 5), (5, 7), (97, 2)];
        let told = buckets(&sparse);
        assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 18);
        assert_eq!(told[..3].iter().map(|(_, count)| *count).collect::<Vec<_>>(), [3, 6, 7]);
        assert_eq!(told.last().map(|(_, count)| *count), Some(2));
        assert!(told.is_sorted_by(|(before, _), (after, _)| before < after));
    }
}
