//! A file tells one story.

use super::Finding;
use super::tree::Tree;

/// Lines of a source file, not counting its tests.
const MOST_LINES: usize = 500;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let sources = tree.files.iter().filter(|file| file.is("rs") || file.is("c") || file.is("h"));
    sources
        .filter_map(|file| {
            let count = file.code().count();
            (count > MOST_LINES).then(|| {
                let what = format!(
                    "{count} lines without tests, at most {MOST_LINES}; split it by what it is about"
                );
                Finding::new(&file.path, MOST_LINES + 1, what)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_five_hundred_lines_and_its_tests() {
        let fits = format!("{}#[cfg(test)]\n{}", "x\n".repeat(500), "x\n".repeat(300));
        let long = "x\n".repeat(501);
        let findings = check(&Tree::of(&[("a.rs", &fits), ("b.rs", &long), ("c.md", &long)]));
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].file.as_str(), findings[0].line), ("b.rs", 501));
    }
}
