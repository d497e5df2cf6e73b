//! Drawing.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Cell, Row, Table},
};

use super::{
    columns::{Columns, WIDTH, ports, roles, volumes},
    keys::{Pane, View},
    watch::Watch,
};
use crate::size;

/// Width of the first column, which has names.
const NAME_WIDTH: u16 = 24;
/// Width of the others.
const FIGURE_WIDTH: u16 = 11;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, watch: &Watch, view: &mut View) {
    let role_lines = u16::try_from(watch.rates.ports.len() + watch.sample.silent.len()).unwrap_or(u16::MAX);
    let heights = [
        Constraint::Length(1),
        Constraint::Length(role_lines.saturating_add(3).min(frame.area().height / 3)),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ];
    let [head, first, second, third, foot] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(summary(watch, view.is_paused), head);
    let tables = [(" roles ", roles(watch)), (" volumes ", volumes(watch)), (" ports ", ports(watch))];
    for ((position, (title, columns)), area) in tables.into_iter().enumerate().zip([first, second, third]) {
        table(frame, area, title, columns, position, view);
    }
    frame.render_widget(last_line(watch), foot);
}

/// What somebody should know, or what keys do.
fn last_line(watch: &Watch) -> Line<'static> {
    let alarms = watch.alarms();
    match alarms.as_slice() {
        [] => Line::from(" q quit   tab next table   arrows scroll   p pause")
            .style(Style::new().add_modifier(Modifier::DIM)),
        [first, others @ ..] => {
            let more =
                if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
            Line::from(format!(" {}{more}", first.text())).style(Style::new().fg(Color::Red))
        }
    }
}

fn summary(watch: &Watch, is_paused: bool) -> Line<'static> {
    let segment = &watch.sample.segment;
    let text = format!(
        " {}   requests {} of {}   reserved {} of {}   deaths {}   anomalies {}{}",
        segment.name,
        segment.requests_in_use,
        segment.requests,
        size::human(segment.reserved_bytes),
        size::human(segment.arena_bytes),
        segment.deaths,
        segment.anomalies,
        if is_paused { "   PAUSED" } else { "" },
    );
    let colour = if watch.sample.silent.is_empty() { Color::Green } else { Color::Red };
    Line::from(text).style(Style::new().fg(colour).add_modifier(Modifier::BOLD))
}

fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    (headings, rows): Columns<WIDTH>,
    position: usize,
    view: &mut View,
) {
    let is_chosen = Pane::ALL[position] == view.pane;
    let border = if is_chosen { Style::new().fg(Color::Cyan) } else { Style::new() };
    let mut widths = [Constraint::Length(FIGURE_WIDTH); WIDTH];
    widths[0] = Constraint::Min(NAME_WIDTH);
    let heading = Row::new(headings.map(Cell::from)).style(Style::new().add_modifier(Modifier::BOLD));
    let chosen = if is_chosen { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
    let table = Table::new(rows.into_iter().map(Row::new), widths)
        .header(heading)
        .row_highlight_style(chosen)
        .block(Block::bordered().title(title).border_style(border));
    frame.render_stateful_widget(table, area, &mut view.scrolled[position]);
}
