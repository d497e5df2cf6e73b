//! `archipelago top`: what a stack does at this moment, live.

mod columns;
mod keys;
mod screen;
mod watch;

use std::{
    io::IsTerminal,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use self::{
    columns::{ports, roles, volumes},
    keys::{Action, View},
    watch::Watch,
};
use crate::{
    arguments::Output,
    config::Configuration,
    failure::Failed,
    output::{self, Table},
    supervision::reach,
};

/// `archipelago top`
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// Look for one interval, print what happened in it, and end; so it is without a terminal too
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: Output,
}

/// Shortest and longest time between two looks.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.1..=3600.0;

/// Shows the stack until somebody has seen enough.
pub(super) fn run(configuration: &Configuration, wanted: &Top) -> anyhow::Result<ExitCode> {
    if !INTERVALS.contains(&wanted.interval) {
        let allowed = format!("{} to {} seconds are possible", INTERVALS.start(), INTERVALS.end());
        return Err(Failed::new(format!("look every {} s", wanted.interval), allowed).into());
    }
    let interval = Duration::from_secs_f64(wanted.interval);
    let stack = reach::join(configuration)?;
    let is_once = wanted.once || wanted.output.json || !std::io::stdout().is_terminal();
    let mut watch =
        Watch::begin(&stack, is_once).map_err(|failure| Failed::by_peer("look at the stack", &failure))?;
    if is_once {
        thread::sleep(interval);
        watch.look();
        print(&watch, wanted.output)?;
    } else {
        let terminal = ratatui::try_init()?;
        let shown = show(terminal, &mut watch, interval);
        ratatui::restore();
        shown?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(watch: &Watch, output: Output) -> anyhow::Result<()> {
    if output.json {
        return Ok(output::print_json(&watch.rates)?);
    }
    let mut text = String::new();
    for (headings, rows) in [roles(watch), volumes(watch), ports(watch)] {
        let mut table = Table::new(&headings);
        rows.into_iter().for_each(|row| table.row(row.into_iter().map(output::Cell::from)));
        text += &format!("{}{}", if text.is_empty() { "" } else { "\n" }, table.render());
    }
    for alarm in watch.alarms() {
        text += &format!("{}\n", alarm.text());
    }
    Ok(output::print(&text)?)
}

fn show(
    mut terminal: ratatui::DefaultTerminal,
    watch: &mut Watch,
    interval: Duration,
) -> std::io::Result<()> {
    let mut view = View::default();
    let mut next_look = Instant::now() + interval;
    loop {
        terminal.draw(|frame| screen::draw(frame, watch, &mut view))?;
        let until_look = next_look.saturating_duration_since(Instant::now());
        if keys::wait(until_look)?.is_some_and(|key| view.act(key) == Action::Quit) {
            return Ok(());
        }
        if Instant::now() >= next_look {
            if !view.is_paused {
                watch.look();
            }
            next_look = Instant::now() + interval;
        }
    }
}
