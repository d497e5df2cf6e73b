//! What is wrong with a configuration, and where.

use std::{fmt, ops::Range, path::PathBuf};

/// A position in the file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl Place {
    /// Where the byte `offset` of `text` is.
    pub fn of(text: &str, offset: usize) -> Place {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where; none if it is wrong with the file as a whole.
    pub place: Option<Place>,
    /// What, with the key, the value and what is allowed.
    pub message: String,
}

/// Everything that was found wrong so far in one text.
#[derive(Debug)]
pub(super) struct Findings<'t> {
    text: &'t str,
    list: Vec<Finding>,
}

impl<'t> Findings<'t> {
    /// Nothing is wrong yet with `text`.
    pub(super) fn new(text: &'t str) -> Self {
        Findings { text, list: Vec::new() }
    }

    /// The place of a byte range of the text.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        Place::of(self.text, span.start)
    }

    /// Notes what is wrong at a byte range of the text.
    pub(super) fn at(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let place = Some(self.place(span));
        self.list.push(Finding { place, message: message.into() });
    }

    /// All of them in the order of their lines, each once.
    pub(super) fn into_list(mut self) -> Vec<Finding> {
        self.list.sort();
        self.list.dedup();
        self.list
    }
}

/// A configuration that can't be used, with every reason.
#[derive(Debug)]
pub struct Rejected {
    /// The file.
    pub file: PathBuf,
    /// Why, in the order of lines; never empty.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, finding) in self.findings.iter().enumerate() {
            if position > 0 {
                writeln!(out)?;
            }
            write!(out, "{}:", self.file.display())?;
            if let Some(place) = finding.place {
                write!(out, "{}:{}:", place.line, place.column)?;
            }
            write!(out, " {}", finding.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\nß = 2\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, text.find('2').unwrap()), Place { line: 2, column: 5 });
        assert_eq!(Place::of(text, 999), Place { line: 3, column: 1 });
    }

    #[test]
    fn a_rejection_reads_as_compilers_write() {
        let mut findings = Findings::new("a = 1\nb = 2\n");
        findings.at(&(6..7), "second");
        findings.at(&(0..1), "first");
        let rejected = Rejected { file: "x.toml".into(), findings: findings.into_list() };
        assert_eq!(rejected.to_string(), "x.toml:1:1: first\nx.toml:2:1: second");
    }
}
