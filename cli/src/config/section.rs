//! One table of the file: typed settings out of it, or everything that is wrong with it.

use std::{borrow::Cow, ops::Range};

use serde::{de::DeserializeOwned, de::IntoDeserializer};
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::finding::Findings;

/// No value of a file begins here: marks what stands in for a missing key.
const NOWHERE: Range<usize> = usize::MAX - 1..usize::MAX;

/// A table of the file with the name that messages use.
#[derive(Debug, Clone)]
pub(super) struct Section<'t> {
    /// `roles` table's name; empty for the top of the file.
    pub(super) name: String,
    /// Where its heading is.
    pub(super) span: Range<usize>,
    table: DeTable<'t>,
}

impl<'t> Section<'t> {
    /// A section over a table of the file.
    pub(super) fn new(name: impl Into<String>, span: Range<usize>, table: DeTable<'t>) -> Self {
        Section { name: name.into(), span, table }
    }

    /// Its keys with where each stands.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.table.keys().map(|key| (key.get_ref().as_ref(), key.span()))
    }

    /// A key's value as it stands in the file.
    pub(super) fn value(&self, key: &str) -> Option<&Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// Where a key stands, or the heading if it is not there.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.keys().find(|(name, _)| *name == key).map_or_else(|| self.span.clone(), |(_, span)| span)
    }

    /// The key as a message names it: `mapperd.portno_start`.
    pub(super) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Takes the keys that `wanted` names into a section of their own.
    pub(super) fn split_off(&mut self, wanted: impl Fn(&str, &DeValue<'t>) -> bool) -> Section<'t> {
        let (taken, kept) = std::mem::take(&mut self.table)
            .into_iter()
            .partition(|(key, value)| wanted(key.get_ref().as_ref(), value.get_ref()));
        self.table = kept;
        Section { name: self.name.clone(), span: self.span.clone(), table: taken }
    }

    /// The tables in this section, each as a section; other values stay out.
    pub(super) fn tables(&self) -> impl Iterator<Item = Section<'t>> + '_ {
        self.table.iter().filter_map(|(key, value)| match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(key.get_ref().as_ref(), key.span(), table.clone())),
            _ => None,
        })
    }

    /// The settings in this section; none if anything is wrong, and then all of it is among the findings.
    pub(super) fn adopt<T: DeserializeOwned>(&self, findings: &mut Findings<'_>) -> Option<T> {
        let mut rest = self.clone();
        let mut is_whole = true;
        loop {
            let error = match rest.deserialize::<T>() {
                Ok(settings) => return is_whole.then_some(settings),
                Err(error) => error,
            };
            is_whole = false;
            let culprit = error.span().and_then(|span| rest.key_at(&span));
            match (culprit, missing_key(error.message())) {
                (Some(key), _) => {
                    findings.at(&rest.span_of(&key), self.describe(&key, error.message()));
                    rest.table.remove(key.as_str());
                }
                (None, Some(key)) => {
                    if self.value(&key).is_none() {
                        findings.at(&self.span, format!("{} is missing", self.path(&key)));
                    }
                    if !rest.stand_in::<T>(&key) {
                        return None;
                    }
                }
                (None, None) => {
                    findings.at(&self.span, self.describe("", error.message()));
                    return None;
                }
            }
        }
    }

    fn deserialize<T: DeserializeOwned>(&self) -> Result<T, toml::de::Error> {
        T::deserialize(Spanned::new(self.span.clone(), self.table.clone()).into_deserializer())
    }

    /// The key at whose name or value the range lies.
    fn key_at(&self, span: &Range<usize>) -> Option<String> {
        let within = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
        let entry = self.table.iter().find(|(key, value)| within(key.span()) || within(value.span()));
        entry.map(|(key, _)| key.get_ref().clone().into_owned())
    }

    /// Puts a value that does for a missing key, so that what else is missing shows too.
    fn stand_in<T: DeserializeOwned>(&mut self, key: &str) -> bool {
        let candidates = [
            DeValue::Integer(DeInteger::default()),
            DeValue::String(Cow::Borrowed("")),
            DeValue::Boolean(false),
            DeValue::Array(toml::de::DeArray::new()),
        ];
        candidates.into_iter().any(|candidate| {
            let name = Spanned::new(NOWHERE, Cow::Owned(key.to_owned()));
            self.table.insert(name, Spanned::new(NOWHERE, candidate));
            self.deserialize::<T>().err().is_none_or(|error| error.span() != Some(NOWHERE))
        })
    }

    fn describe(&self, key: &str, message: &str) -> String {
        let message = message.replace('\n', "; ");
        match message.split_once("unknown field ") {
            Some((_, rest)) => {
                let known: Vec<&str> = rest.split('`').skip(3).step_by(2).collect();
                let hint =
                    nearest(key, &known).map_or_else(String::new, |name| format!("; did you mean {name}?"));
                format!("unknown key {}{hint} (known: {})", self.path(key), known.join(", "))
            }
            None if key.is_empty() => message,
            None => format!("{}: {message}", self.path(key)),
        }
    }
}

fn missing_key(message: &str) -> Option<String> {
    message.strip_prefix("missing field `")?.split('`').next().map(str::to_owned)
}

/// The name that a mistyped one most likely meant: at most two edits away.
pub(super) fn nearest<'n>(typed: &str, names: &[&'n str]) -> Option<&'n str> {
    let close = names.iter().map(|name| (edits(typed, name), *name)).filter(|(count, _)| *count <= 2);
    close.min().map(|(_, name)| name)
}

/// Insertions, deletions and replacements between two words.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::config::finding::Finding;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be made matters")]
    struct Sample {
        count: u32,
        label: String,
        is_on: bool,
        #[serde(default)]
        nested: Option<Vec<u8>>,
    }

    fn findings_of(text: &str) -> (bool, Vec<(usize, String)>) {
        let document = DeTable::parse(text).unwrap();
        let section = Section::new("", 0..0, document.into_inner());
        let mut findings = Findings::new(text);
        let adopted = section.adopt::<Sample>(&mut findings).is_some();
        let line = |finding: Finding| (finding.place.unwrap().line, finding.message);
        (adopted, findings.into_list().into_iter().map(line).collect())
    }

    #[test]
    fn a_right_table_has_no_findings() {
        assert_eq!(findings_of("count = 1\nlabel = 'x'\nis_on = true"), (true, vec![]));
    }

    #[test]
    fn every_mistake_is_found_in_one_go() {
        let (adopted, found) = findings_of("count = -1\nlabe = 'x'\nnested = [1, 'a']\nzzz = 1\n");
        assert!(!adopted);
        let expected = [
            (1, "is_on is missing"),
            (1, "label is missing"),
            (1, "count: invalid value: integer `-1`, expected u32"),
            (2, "unknown key labe; did you mean label? (known: count, label, is_on, nested)"),
            (3, "nested: invalid type: string \"a\", expected u8"),
            (4, "unknown key zzz (known: count, label, is_on, nested)"),
        ];
        let mut sorted: Vec<_> = expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect();
        sorted.sort();
        let mut found = found;
        found.sort();
        assert_eq!(found, sorted);
    }

    #[test]
    fn a_word_two_edits_away_is_near_and_three_is_not() {
        assert_eq!(nearest("portno_strat", &["portno_start", "portno_end"]), Some("portno_start"));
        assert_eq!(nearest("poolname", &["pool"]), None);
    }
}
