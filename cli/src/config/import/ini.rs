//! The INI files of release 0.4.

use std::collections::BTreeMap;

use super::{ImportError, Old, literal::Literal};

/// Sections whose keys are about the stack; all others are roles.
const GLOBAL_SECTIONS: [&str; 3] = ["ARCHIPELAGO", "XSEG", "PEERS"];

type Sections = BTreeMap<String, BTreeMap<String, Literal>>;

/// Reads the sections, and the roles that `ROLES` names.
pub(super) fn read(text: &str) -> Result<Old, ImportError> {
    let mut sections = split(text)?;
    let mut globals = BTreeMap::new();
    for name in GLOBAL_SECTIONS {
        let keys = sections.remove(name).unwrap_or_default();
        globals.extend(keys.into_iter().map(|(key, value)| (key.to_ascii_uppercase(), value)));
    }
    let listed = globals.remove("ROLES").map(|value| value.text()).unwrap_or_default();
    let names = listed.split(|c: char| c.is_whitespace() || c == ',').filter(|name| !name.is_empty());
    let type_of = |name: &str| sections.get(name).and_then(|table| table.get("type")).map(Literal::text);
    let roles = names.map(|name| (name.to_owned(), type_of(name).unwrap_or_default())).collect();
    Ok(Old { style: "INI, release 0.4", globals, roles, tables: sections })
}

/// Keys are case-insensitive and come out in lower case, as the original's reader had it.
fn split(text: &str) -> Result<Sections, ImportError> {
    let mut sections = Sections::new();
    let mut section: Option<String> = None;
    let mut last_key: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let wrong = |message: &str| ImportError::new(index + 1, message);
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = content.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| wrong("a section's heading has no ]"))?;
            sections.entry(name.to_owned()).or_default();
            section = Some(name.to_owned());
            last_key = None;
            continue;
        }
        let name = section.as_ref().ok_or_else(|| wrong("a key before the first [section]"))?;
        let table = sections.entry(name.clone()).or_default();
        if line.starts_with([' ', '\t']) {
            let key = last_key.as_ref().ok_or_else(|| wrong("an indented line continues nothing"))?;
            if let Some(Literal::Text(value)) = table.get_mut(key) {
                value.push('\n');
                value.push_str(content);
                continue;
            }
        }
        let (key, value) =
            content.split_once(['=', ':']).ok_or_else(|| wrong("neither key = value nor [section]"))?;
        let key = key.trim().to_ascii_lowercase();
        table.insert(key.clone(), Literal::Text(without_comment(value).trim().to_owned()));
        last_key = Some(key);
    }
    Ok(sections)
}

/// A semicolon after a blank begins a comment.
fn without_comment(value: &str) -> &str {
    value.split_once(" ;").map_or(value, |(before, _)| before)
}
