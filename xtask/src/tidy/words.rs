//! What no line may hold.

use super::Finding;
use super::tree::{File, Tree};

/// Promises: done now, or written down where work is planned. Spelled in halves, so as not to find themselves.
const PROMISES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
/// Folders of the machines that the project happens to be written on.
const MACHINE_FOLDERS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/tm", "p/t/"), concat!("/fa", "rm/")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|file| file.path != "Cargo.lock").flat_map(of_file).collect()
}

fn of_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        let mut add = |what: String| findings.push(Finding::new(&file.path, number, what));
        for promise in PROMISES.into_iter().filter(|promise| has_word(line, promise)) {
            add(format!("{promise}: do it, or say it where work is planned"));
        }
        for folder in MACHINE_FOLDERS.into_iter().filter(|folder| names_folder(line, folder)) {
            add(format!("names {folder}, a folder of one machine; use a path that everybody has"));
        }
        if line.contains('\t') && file.is("rs") {
            add("a tab; cargo fmt, or \\t in a string".to_owned());
        }
        if let Some(character) = line.chars().find(|&c| is_hidden(c)) {
            add(format!("holds the unseen character U+{:04X}; delete it or escape it", u32::from(character)));
        }
    }
    findings
}

/// Control characters, and those that change how text reads without being seen.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

/// The folder as the beginning of a path.
fn names_folder(line: &str, folder: &str) -> bool {
    let is_path = |c: char| c.is_alphanumeric() || "-_.}/".contains(c);
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(is_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        check(&Tree::of(&[("a.rs", text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn promises_are_found_as_whole_words() {
        assert_eq!(found(&format!("fine\n// {} later\n", PROMISES[0])), [2]);
        assert_eq!(found(&format!("// {}\n", PROMISES[2])), [1]);
        assert!(found("mktemp -d x.XXXXXX\n// todos\n").is_empty());
    }

    #[test]
    fn folders_of_one_machine_are_found_where_a_path_begins() {
        assert_eq!(found(&format!("let a = \"{}main\";\n", MACHINE_FOLDERS[0])), [1]);
        assert!(found(&format!("https://x.org{}main\n", MACHINE_FOLDERS[0])).is_empty());
    }

    #[test]
    fn unseen_characters_and_tabs_are_found() {
        assert_eq!(found("a\n\u{7}\n\u{202e}\n\tx\n"), [2, 3, 4]);
        assert!(found("naïve – über\n").is_empty());
    }
}
