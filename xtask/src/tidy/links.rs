//! Links of one page to another file or heading must lead somewhere.

use super::Finding;
use super::tree::{File, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|file| file.is("md")).flat_map(|page| of_page(page, tree)).collect()
}

fn of_page(page: &File, tree: &Tree) -> Vec<Finding> {
    let mut is_quoted = false;
    let mut findings = Vec::new();
    for (number, line) in page.lines() {
        if line.trim_start().starts_with("```") {
            is_quoted = !is_quoted;
        }
        if !is_quoted {
            let faults = targets(line).into_iter().filter_map(|target| fault(page, target, tree));
            findings.extend(faults.map(|what| Finding::new(&page.path, number, what)));
        }
    }
    findings
}

/// What stands between `](` and `)`.
fn targets(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

fn fault(page: &File, target: &str, tree: &Tree) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) =
        target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { page.path.clone() } else { beside(&page.path, file) };
    if !tree.has(&path) {
        return Some(format!("links to {target}, but there is no {path}"));
    }
    let heading = heading?;
    let found = tree.get(&path).is_none_or(|file| has_heading(file, heading));
    (!found).then(|| format!("links to {target}, but {path} has no such heading"))
}

/// The path of a file named from within a page.
fn beside(page: &str, file: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// True if the page has a heading that links name so.
pub(super) fn has_heading(page: &File, heading: &str) -> bool {
    page.lines().filter(|(_, line)| line.starts_with('#')).any(|(_, line)| anchor(line) == heading)
}

/// How links name a heading: lower case, words joined, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_a_file_or_is_found() {
        let page = "see [a](docs/a.md), [b](docs/b.md) and [web](https://example.org)\n";
        let findings = check(&Tree::of(&[("README.md", page), ("docs/a.md", "[up](../README.md)\n")]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.contains("docs/b.md"));
    }

    #[test]
    fn a_link_leads_to_a_heading_or_is_found() {
        let page = "# Map entry, 24 bytes\n[good](#map-entry-24-bytes) [bad](#map)\n";
        assert_eq!(check(&Tree::of(&[("docs/formats.md", page)])).len(), 1);
    }

    #[test]
    fn what_is_quoted_is_no_link() {
        assert!(check(&Tree::of(&[("a.md", "```\n[x](nowhere.md)\n```\n")])).is_empty());
    }
}
