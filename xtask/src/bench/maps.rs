//! Creating, snapshotting and cloning against the size of the volume: it should not matter.

use anyhow::Result;

use super::Effort;
use super::original::{MAPS, MapTimes};
use super::series::Series;
use super::stack::Stack;
use super::table::Table;

/// A size that the original was not measured at; its own tables would be 32 GiB.
const BEYOND: MapTimes = MapTimes { size: "1P", create: "–", snapshot: "–", clone: "–" };

pub(super) fn measure(stack: &Stack, effort: Effort) -> Result<()> {
    let head = ["size", "create", "original", "snapshot", "original", "clone", "original"];
    let title = "Maps against volume size: the whole command, its process included; the original's requests \
                 alone, in ms, elsewhere";
    let mut table = Table::new(title, &head);
    let mut idle = Series::default();
    for _ in 0..effort.rounds {
        idle.add(stack.time_vlmc(&["--version"])?);
    }
    let mut cells = vec!["(a command that asks nothing)".to_owned(), idle.to_string()];
    cells.resize(head.len(), "–".to_owned());
    table.row(cells);
    for times in MAPS.iter().chain([&BEYOND]) {
        table.row(of_size(stack, times, effort)?);
    }
    print!("{}", table.text());
    Ok(())
}

fn of_size(stack: &Stack, times: &MapTimes, effort: Effort) -> Result<Vec<String>> {
    let (mut create, mut snapshot, mut clone) = (Series::default(), Series::default(), Series::default());
    for round in 0..effort.rounds {
        let volume = format!("bench-{}-{round}", times.size);
        let (frozen, copy) = (format!("{volume}-frozen"), format!("{volume}-clone"));
        create.add(stack.time_vlmc(&["create", &volume, "--size", times.size])?);
        snapshot.add(stack.time_vlmc(&["snapshot", &volume, &frozen])?);
        clone.add(stack.time_vlmc(&["create", &copy, "--snap", &frozen])?);
        for name in [&copy, &frozen, &volume] {
            stack.vlmc(&["remove", name])?;
        }
    }
    Ok(vec![
        times.size.to_owned(),
        create.to_string(),
        times.create.to_owned(),
        snapshot.to_string(),
        times.snapshot.to_owned(),
        clone.to_string(),
        times.clone.to_owned(),
    ])
}
