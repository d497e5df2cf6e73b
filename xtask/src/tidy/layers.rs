//! Which crate may use which: the picture of ARCHITECTURE.md as data.

use super::Finding;
use super::tree::Tree;
use crate::metadata::Package;

const PAGE: &str = "ARCHITECTURE.md";

/// What the processes on the segment share.
const LIB: &[&str] = &["xseg", "store", "volume", "protocol", "peer"];
const LIB_AND_CLIENT: &[&str] = &["xseg", "store", "volume", "protocol", "peer", "client"];
/// What the commands start and ask.
const ROLES: &[&str] = &[
    "xseg", "store", "volume", "protocol", "peer", "client", "filed", "radosd", "mapper", "vlmc", "bench",
    "nbd", "fuse", "metrics",
];
const ROLES_AND_COMMANDS: &[&str] = &[
    "xseg", "store", "volume", "protocol", "peer", "client", "filed", "radosd", "mapper", "vlmc", "bench",
    "nbd", "fuse", "metrics", "cli",
];

/// Each crate, bottom up, with those that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("xseg", &[]),
    ("store", &[]),
    ("volume", &[]),
    ("protocol", &["store"]),
    ("peer", &["xseg", "protocol", "store"]),
    ("client", LIB),
    ("filed", LIB_AND_CLIENT),
    ("radosd", LIB_AND_CLIENT),
    ("mapper", LIB_AND_CLIENT),
    ("vlmc", LIB_AND_CLIENT),
    ("bench", LIB_AND_CLIENT),
    ("metrics", LIB_AND_CLIENT),
    ("nbd", LIB_AND_CLIENT),
    ("fuse", LIB_AND_CLIENT),
    ("cli", ROLES),
    ("tests", ROLES_AND_COMMANDS),
    ("xtask", &[]),
];

pub(super) fn check(packages: &[Package], tree: &Tree) -> Vec<Finding> {
    let ours = packages.iter().filter(|package| package.is_ours);
    ours.flat_map(|package| of_package(package, tree)).collect()
}

fn of_package(package: &Package, tree: &Tree) -> Vec<Finding> {
    let name = package.name.as_str();
    let manifest = manifest_of(package, tree);
    let mut findings = Vec::new();
    match LAYERS.iter().find(|(layer, _)| *layer == name) {
        None => findings.push(Finding::new(
            &manifest,
            1,
            format!("{name} has no row in xtask/src/tidy/layers.rs; give it one"),
        )),
        Some((_, allowed)) => {
            for used in package.uses.iter().filter(|used| !allowed.contains(&used.as_str())) {
                let line = line_of(tree, &manifest, used);
                let what = format!(
                    "{name} may not use {used} (see {PAGE}); what both need belongs in a crate below"
                );
                findings.push(Finding::new(&manifest, line, what));
            }
        }
    }
    if !tree.get(PAGE).is_some_and(|page| page.text.contains(&format!("`{name}`"))) {
        findings.push(Finding::new(PAGE, 1, format!("does not name the crate {name} in its code map")));
    }
    findings
}

/// The manifest's path below the top folder: the file of ours that cargo's absolute path ends with.
fn manifest_of(package: &Package, tree: &Tree) -> String {
    let ours = tree.files.iter().filter(|file| package.manifest.ends_with(&file.path));
    ours.map(|file| file.path.clone()).max_by_key(String::len).unwrap_or_else(|| "Cargo.toml".to_owned())
}

fn line_of(tree: &Tree, manifest: &str, dependency: &str) -> usize {
    let is_it =
        |line: &str| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    tree.get(manifest)
        .and_then(|file| file.lines().find(|(_, line)| is_it(line)))
        .map_or(1, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[&str]) -> Package {
        Package {
            name: name.into(),
            version: "0.1.0".into(),
            licence: None,
            manifest: format!("/anywhere/{name}/Cargo.toml").into(),
            is_ours: true,
            uses: uses.iter().map(|used| (*used).to_owned()).collect(),
            test_programs: vec![],
        }
    }

    #[test]
    fn a_peer_that_uses_another_peer_is_found_where_it_says_so() {
        let tree = Tree::of(&[
            (PAGE, "`vlmc` `peer`"),
            ("vlmc/Cargo.toml", "[dependencies]\npeer = 1\nmapper.workspace = true\n"),
        ]);
        let findings = check(&[package("vlmc", &["peer", "mapper"])], &tree);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].file.as_str(), findings[0].line), ("vlmc/Cargo.toml", 3));
    }

    #[test]
    fn a_new_crate_needs_a_row_and_a_place_in_the_picture() {
        let findings = check(&[package("journal", &[])], &Tree::of(&[(PAGE, "`vlmc`")]));
        assert_eq!(findings.len(), 2);
    }

    #[test]
    fn rows_only_name_rows_below_them() {
        for (index, (name, allowed)) in LAYERS.iter().enumerate() {
            let below: Vec<&str> = LAYERS[..index].iter().map(|(lower, _)| *lower).collect();
            assert!(allowed.iter().all(|used| below.contains(used)), "{name}");
        }
    }
}
