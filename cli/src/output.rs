//! Results on standard output: text in columns for people, JSON for programs.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

/// One field of a line.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

/// What a state amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Fair,
    /// To be dealt with.
    Bad,
}

impl Cell {
    /// A field in a state's colour.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Cell {
        let colour = match tone {
            Tone::Good => AnsiColor::Green,
            Tone::Fair => AnsiColor::Yellow,
            Tone::Bad => AnsiColor::Red,
        };
        Cell { text: printable(&text.into()), style: Style::new().fg_color(Some(colour.into())) }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell { text: printable(&text.to_string()), style: Style::new() }
    }
}

/// Lines under headings, in columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Table {
        let bold = |text: &&str| Cell { text: (*text).to_owned(), style: Style::new().bold() };
        Table { rows: vec![headings.iter().map(bold).collect()] }
    }

    /// Adds a line.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The text, with colours; whoever prints it takes them out where they have no place.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let style = cell.style;
                text.push_str(&format!("{style}{}{style:#}", cell.text));
                if column + 1 < row.len() {
                    let missing = widths[column].saturating_sub(cell.text.chars().count());
                    text.push_str(&" ".repeat(missing + 2));
                }
            }
            text.push('\n');
        }
        text
    }
}

/// Names come from disks and other processes: what would move a terminal's cursor is shown as `?`.
pub(crate) fn printable(text: &str) -> String {
    // Nor what turns the direction of writing: such names are refused now, and may be there.
    let is_hidden = |c: char| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    text.chars().map(|c| if c.is_control() || is_hidden(c) { '?' } else { c }).collect()
}

/// Writes text to standard output.
///
/// # Errors
/// `BrokenPipe` if nobody reads it.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes one JSON document to standard output.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// A point in time for people, in their own zone.
pub(crate) fn local_time(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match moment {
        Some(moment) if unix_ms > 0 => {
            moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_field_and_lines_have_no_blanks_at_their_end() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row([Cell::from("überlang"), Cell::toned("running", Tone::Good)]);
        table.row([Cell::from("b"), Cell::from(7)]);
        assert_eq!(plain(&table.render()), "NAME      STATE\nüberlang  running\nb         7\n");
        assert!(table.render().contains("\u{1b}[32mrunning"));
    }

    #[test]
    fn a_name_can_not_command_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row([Cell::from("a\u{1b}[2Jb\n")]);
        assert_eq!(plain(&table.render()), "NAME\na?[2Jb?\n");
    }

    #[test]
    fn an_unknown_time_is_a_dash() {
        assert_eq!(local_time(0), "-");
        assert_eq!(local_time(u64::MAX), "-");
    }
}
