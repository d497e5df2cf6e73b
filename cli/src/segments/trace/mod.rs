//! `xseg trace`: where requests were, and for how long.

mod journeys;

use std::{collections::BTreeMap, thread, time::Duration};

use serde::Serialize;
use xseg::{Event, Segment};

use self::journeys::{Hop, Journey, journeys};
use super::{arguments::Trace, look::identity};
use crate::output::{self, Cell, Table};

/// Watches requests for a while and shows the latest. Tracing costs the peers a little, so it is off before and after.
pub(super) fn run(segment: &Segment, wanted: &Trace) -> anyhow::Result<()> {
    segment.set_trace(true);
    thread::sleep(Duration::from_secs(wanted.seconds.into()));
    segment.set_trace(false);
    let events: Vec<_> = segment.trace().collect();
    if wanted.steps { steps(&events, wanted) } else { requests(events, wanted) }
}

#[derive(Serialize)]
struct Traced {
    nanoseconds: u64,
    step: String,
    port: u32,
    other: u32,
    request: String,
}

fn steps(events: &[Event], wanted: &Trace) -> anyhow::Result<()> {
    let latest = &events[events.len().saturating_sub(wanted.lines)..];
    let traced = |event: &Event| Traced {
        nanoseconds: event.nanoseconds,
        step: format!("{:?}", event.step).to_lowercase(),
        port: event.port.0,
        other: event.other.0,
        request: identity(event.request),
    };
    let found: Vec<_> = latest.iter().map(traced).collect();
    if wanted.output.json {
        return Ok(output::print_json(&found)?);
    }
    let mut table = Table::new(&["SECONDS", "STEP", "PORT", "OTHER", "REQUEST"]);
    for event in &found {
        let (seconds, rest) = (event.nanoseconds / 1_000_000_000, event.nanoseconds % 1_000_000_000);
        table.row([
            Cell::from(format!("{seconds}.{rest:09}")),
            Cell::from(&event.step),
            Cell::from(event.port),
            Cell::from(event.other),
            Cell::from(&event.request),
        ]);
    }
    Ok(output::print(&table.render())?)
}

fn requests(events: Vec<Event>, wanted: &Trace) -> anyhow::Result<()> {
    let mut found = journeys(events);
    let medians = medians(&found);
    let found = found.split_off(found.len().saturating_sub(wanted.lines));
    if wanted.output.json {
        return Ok(output::print_json(&found)?);
    }
    let headings = ["REQUEST", "OPERATION", "WAY", "WAITED", "WORKED", "RETURNED", "ALL µs"];
    let mut table = Table::new(&headings);
    found.iter().for_each(|journey| add(&mut table, journey, 0));
    let mut text = table.render();
    let mut table = Table::new(&["MEDIAN OF", "OPERATION", "WAY", "WAITED", "WORKED", "RETURNED", "ALL µs"]);
    for ((operation, from, to), times) in medians {
        let way = [Cell::from(times.count), Cell::from(operation), Cell::from(format!("{from} > {to}"))];
        table.row(way.into_iter().chain(times.median.map(|time| Cell::from(micros(time)))));
    }
    text += &format!("\n{}", table.render());
    Ok(output::print(&text)?)
}

/// A line for each hop; parts of a request are set in under it.
fn add(table: &mut Table, journey: &Journey, depth: usize) {
    for (index, hop) in journey.hops.iter().enumerate() {
        let inset = "  ".repeat(depth + index);
        let way = format!("{} > {}", hop.from, hop.to);
        let cells = [format!("{inset}{}", journey.request), journey.operation.clone(), way];
        table.row(cells.into_iter().chain(times(hop).map(micros)).map(Cell::from));
    }
    journey.children.iter().for_each(|child| add(table, child, depth + journey.hops.len()));
}

fn times(hop: &Hop) -> [Option<u64>; 4] {
    [hop.waited_ns, hop.worked_ns, hop.returned_ns, hop.total_ns()]
}

#[expect(clippy::cast_precision_loss, reason = "a digit behind the point is shown")]
fn micros(nanoseconds: Option<u64>) -> String {
    nanoseconds.map_or_else(|| "-".to_owned(), |nanoseconds| format!("{:.1}", nanoseconds as f64 / 1e3))
}

/// What requests of one kind took on one way.
struct Times {
    count: usize,
    median: [Option<u64>; 4],
}

/// By operation, and the ports it went from and to.
type Way = (String, u32, u32);

fn medians(found: &[Journey]) -> BTreeMap<Way, Times> {
    let mut all: BTreeMap<Way, Vec<[Option<u64>; 4]>> = BTreeMap::new();
    let mut left: Vec<&Journey> = found.iter().collect();
    while let Some(journey) = left.pop() {
        for hop in &journey.hops {
            let way = (journey.operation.clone(), hop.from, hop.to);
            all.entry(way).or_default().push(times(hop));
        }
        left.extend(&journey.children);
    }
    let of_way = |(way, samples): (Way, Vec<[Option<u64>; 4]>)| {
        let median = std::array::from_fn(|column| {
            let mut column: Vec<u64> = samples.iter().filter_map(|sample| sample[column]).collect();
            column.sort_unstable();
            column.get(column.len() / 2).copied()
        });
        (way, Times { count: samples.len(), median })
    };
    all.into_iter().map(of_way).collect()
}
