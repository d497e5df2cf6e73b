//! Decision pages: numbered without gaps, each under a title.

use super::Finding;
use super::tree::Tree;

const FOLDER: &str = "docs/decisions/";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let pages = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with(FOLDER) && file.path != "docs/decisions/README.md");
    let mut expected = 1;
    for page in pages {
        let name = &page.path[FOLDER.len()..];
        match number_of(name) {
            Some(number) if number == expected => expected += 1,
            Some(number) => {
                let what = format!("number {number:04} where {expected:04} is due; renumber the newer page");
                findings.push(Finding::new(&page.path, 1, what));
                expected = number + 1;
            }
            None => findings.push(Finding::new(&page.path, 1, "not named NNNN-title-in-words.md")),
        }
        if !page.text.starts_with("# ") {
            findings.push(Finding::new(&page.path, 1, "does not begin with its title (# …)"));
        }
    }
    findings
}

fn number_of(name: &str) -> Option<u32> {
    let (number, title) = name.strip_suffix(".md")?.split_once('-')?;
    let is_title =
        !title.is_empty() && title.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    (number.len() == 4 && is_title).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<String> {
        let paths: Vec<String> = names.iter().map(|name| format!("{FOLDER}{name}")).collect();
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "# Title\n")).collect();
        check(&Tree::of(&files)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn pages_follow_each_other() {
        assert!(found(&["0001-inbox.md", "0002-map-format.md", "README.md"]).is_empty());
    }

    #[test]
    fn gaps_doubles_and_odd_names_are_found() {
        assert_eq!(found(&["0001-a.md", "0003-b.md"]).len(), 1);
        assert_eq!(found(&["0001-a.md", "0001-b.md", "0002-c.md"]).len(), 1);
        assert_eq!(found(&["1-a.md", "0001-Two Words.md"]).len(), 2);
    }
}
