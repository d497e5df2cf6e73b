//! The configurations that the original executed as Python, before release 0.4: assignments of literals. They are parsed;
//! anything that would have to be executed is refused with its line.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

use super::{ImportError, Old, literal::Literal};

/// Deepest nesting of lists and dictionaries.
const MAX_DEPTH: usize = 16;

/// Reads the assignments; dictionaries are roles' tables, `roles` says which and in which order.
pub(super) fn read(text: &str) -> Result<Old, ImportError> {
    let mut reader = Reader { rest: text.chars().peekable(), line: 1 };
    let mut old = Old { style: "Python, before release 0.4", ..Old::default() };
    while let Some((name, value)) = reader.assignment()? {
        match value {
            Literal::List(items) if name == "roles" => old.roles = roles(items, reader.line)?,
            Literal::Table(entries) => {
                drop(old.tables.insert(name, entries.into_iter().collect::<BTreeMap<_, _>>()))
            }
            value => drop(old.globals.insert(name, value)),
        }
    }
    Ok(old)
}

fn roles(items: Vec<Literal>, line: usize) -> Result<Vec<(String, String)>, ImportError> {
    let pair = |item| match item {
        Literal::List(pair) => match pair.as_slice() {
            [Literal::Text(name), Literal::Text(kind)] => Ok((name.clone(), kind.clone())),
            _ => Err(ImportError::new(line, "roles: each must be a pair (name, type)")),
        },
        _ => Err(ImportError::new(line, "roles: each must be a pair (name, type)")),
    };
    items.into_iter().map(pair).collect()
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    line: usize,
}

impl Reader<'_> {
    /// The next `NAME = literal`; none at the end.
    fn assignment(&mut self) -> Result<Option<(String, Literal)>, ImportError> {
        self.skip_blank(true);
        if self.rest.peek().is_none() {
            return Ok(None);
        }
        let name = self.word();
        if name.is_empty() {
            return Err(self.wrong("not an assignment NAME = value"));
        }
        self.skip_blank(false);
        if self.next() != Some('=') {
            return Err(self.wrong(&format!("{name}: only NAME = value is read, nothing is executed")));
        }
        self.skip_blank(false);
        let value = self.literal(0)?;
        self.skip_blank(false);
        match self.rest.peek() {
            None | Some('\n' | ';') => Ok(Some((name, value))),
            Some(_) => Err(self.wrong(&format!("{name}: more than a literal value; nothing is executed"))),
        }
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, ImportError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("nested too deeply"));
        }
        match self.rest.peek() {
            Some('\'' | '"') => self.text().map(Literal::Text),
            Some('[') => self.list(']', depth),
            Some('(') => self.list(')', depth),
            Some('{') => self.table(depth),
            Some(c) if c.is_ascii_digit() || *c == '-' => self.number(),
            _ => match self.word().as_str() {
                "True" => Ok(Literal::Truth(true)),
                "False" => Ok(Literal::Truth(false)),
                "None" => Ok(Literal::Nothing),
                "" => Err(self.wrong("a value is missing")),
                word => Err(self.wrong(&format!("{word}: not a literal value; nothing is executed"))),
            },
        }
    }

    fn list(&mut self, end: char, depth: usize) -> Result<Literal, ImportError> {
        let mut items = Vec::new();
        self.next();
        while !self.ends_with(end)? {
            items.push(self.literal(depth + 1)?);
            self.comma(end)?;
        }
        Ok(Literal::List(items))
    }

    fn table(&mut self, depth: usize) -> Result<Literal, ImportError> {
        let mut entries = Vec::new();
        self.next();
        while !self.ends_with('}')? {
            let key = self.literal(depth + 1)?.text();
            self.skip_blank(true);
            if self.next() != Some(':') {
                return Err(self.wrong(&format!("{key:?} in a dictionary has no value")));
            }
            self.skip_blank(true);
            entries.push((key, self.literal(depth + 1)?));
            self.comma('}')?;
        }
        Ok(Literal::Table(entries))
    }

    /// Whether the bracket closes here; then it is taken.
    fn ends_with(&mut self, end: char) -> Result<bool, ImportError> {
        self.skip_blank(true);
        match self.rest.peek() {
            None => Err(self.wrong(&format!("the file ends before {end}"))),
            Some(c) if *c == end => Ok(self.next().is_some()),
            Some(_) => Ok(false),
        }
    }

    fn comma(&mut self, end: char) -> Result<(), ImportError> {
        self.skip_blank(true);
        match self.rest.peek() {
            Some(',') => drop(self.next()),
            Some(c) if *c == end => {}
            None => return Err(self.wrong(&format!("the file ends before {end}"))),
            _ => return Err(self.wrong(&format!("neither , nor {end} after a value"))),
        }
        Ok(())
    }

    fn text(&mut self) -> Result<String, ImportError> {
        let quote = self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(self.wrong("a string has no end")),
                Some('\\') => text.extend(self.next()),
                c if c == quote => return Ok(text),
                Some(c) => text.push(c),
            }
        }
    }

    fn number(&mut self) -> Result<Literal, ImportError> {
        let mut digits = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)) {
            digits.push(c);
        }
        let plain = digits.replace('_', "");
        let number = match plain.get(..2) {
            Some("0o") => i64::from_str_radix(plain.trim_start_matches("0o"), 8),
            Some("0x") => i64::from_str_radix(plain.trim_start_matches("0x"), 16),
            _ => plain.parse(),
        };
        number.map(Literal::Integer).map_err(|_| self.wrong(&format!("{digits}: not a whole number")))
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            word.push(c);
        }
        word
    }

    /// Skips blanks, comments and, between brackets and statements, line ends.
    fn skip_blank(&mut self, over_lines: bool) {
        while let Some(c) = self.rest.peek().copied() {
            match c {
                '#' => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '\\' if !over_lines => drop(self.next()),
                '\n' | ';' if !over_lines => return,
                ';' => drop(self.next()),
                c if c.is_whitespace() => drop(self.next()),
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn wrong(&self, message: &str) -> ImportError {
        ImportError::new(self.line, message)
    }
}
