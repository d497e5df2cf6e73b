//! One table of lints, one of dependencies: crates refer to those of the workspace.

use super::Finding;
use super::tree::{File, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let crates = tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    crates.flat_map(of_manifest).collect()
}

fn of_manifest(manifest: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut section = "";
    let mut has_lints = false;
    for (number, line) in manifest.lines().map(|(number, line)| (number, line.trim())) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[lints]" && line.replace(' ', "") == "workspace=true" {
            has_lints = true;
        } else if section.ends_with("dependencies]") && is_versioned(line) {
            let what = "a version of its own; put it into the table of the top manifest and write `workspace = true`";
            findings.push(Finding::new(&manifest.path, number, what));
        }
    }
    if !has_lints {
        findings.push(Finding::new(&manifest.path, 1, "lacks `[lints]` with `workspace = true`"));
    }
    findings
}

fn is_versioned(line: &str) -> bool {
    let is_entry = line.split_once('=').is_some_and(|_| !line.starts_with('#'));
    is_entry && !line.replace(' ', "").contains("workspace=true")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\n[dependencies]\n# why\nxseg.workspace = true\n\
                        libc = { workspace = true }\n[lints]\nworkspace = true\n";

    #[test]
    fn a_manifest_that_refers_to_the_workspace_passes() {
        assert!(check(&Tree::of(&[("a/Cargo.toml", GOOD), ("Cargo.toml", "[workspace]\n")])).is_empty());
    }

    #[test]
    fn versions_and_missing_lints_are_found() {
        let versioned = GOOD.replace("xseg.workspace = true", "xseg = \"1\"");
        let findings = check(&Tree::of(&[("a/Cargo.toml", &versioned)]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 5);
        assert_eq!(check(&Tree::of(&[("a/Cargo.toml", &GOOD.replace("[lints]", "[other]"))])).len(), 1);
    }
}
