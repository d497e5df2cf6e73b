//! The commands that pages promise are there.

use super::Finding;
use super::tree::Tree;
use crate::TASKS;

/// What a newcomer runs, and what CI runs.
const PROMISED: [(&str, &str); 3] =
    [("README.md", "cargo xtask demo"), ("README.md", "cargo xtask test"), (".ci/run", "cargo xtask test")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = PROMISED
        .iter()
        .filter(|(path, command)| !tree.get(path).is_some_and(|file| file.text.contains(command)))
        .map(|(path, command)| Finding::new(*path, 1, format!("does not name the command {command}")))
        .collect();
    for page in tree.files.iter().filter(|file| file.is("md")) {
        for (number, line) in page.lines() {
            let unknown = named(line).into_iter().filter(|task| !TASKS.contains(task));
            findings.extend(
                unknown.map(|task| Finding::new(&page.path, number, format!("there is no task {task}"))),
            );
        }
    }
    findings
}

/// The words behind each `cargo xtask`.
fn named(line: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_lowercase() || c == '-';
    line.split("cargo xtask ")
        .skip(1)
        .map(|rest| rest.split(|c| !is_word(c)).next().unwrap_or_default())
        .filter(|word| !word.is_empty() && !word.starts_with('-'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CI: (&str, &str) = (".ci/run", "exec cargo xtask test\n");

    #[test]
    fn the_two_commands_are_in_the_readme() {
        let readme = "`cargo xtask demo` and `cargo xtask test`\n";
        assert!(check(&Tree::of(&[("README.md", readme), CI])).is_empty());
        assert_eq!(check(&Tree::of(&[("README.md", "`cargo xtask demo`"), CI])).len(), 1);
    }

    #[test]
    fn pages_name_no_task_that_is_not_there() {
        let readme = "cargo xtask demo\ncargo xtask test\ncargo xtask fly\n";
        let findings = check(&Tree::of(&[("README.md", readme), CI]));
        assert_eq!(findings, [Finding::new("README.md", 3, "there is no task fly")]);
    }
}
