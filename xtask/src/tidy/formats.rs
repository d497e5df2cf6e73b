//! Whoever changes a layout changes its table in docs/formats.md.
//!
//! A module that lays out bytes names its table there, as a link with a heading. The page records a digest of
//! each such module's code, in a comment that readers do not see; when the code changes, tidy fails until the
//! table was looked at and the digest brought up to date (`cargo xtask tidy --accept-formats`).

use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use super::links::has_heading;
use super::tree::{File, Tree};

const PAGE: &str = "docs/formats.md";
/// How a module refers to the page; in halves, so that this file does not.
const REFERENCE: &str = concat!("docs/formats", ".md#");
const MARK: &str = "<!-- told: ";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let modules: Vec<&File> = modules(tree);
    let Some(page) = tree.get(PAGE) else {
        return modules
            .iter()
            .map(|module| Finding::new(&module.path, 1, format!("refers to {PAGE}, which is missing")))
            .collect();
    };
    let mut findings: Vec<Finding> = modules.iter().filter_map(|module| untold(module, page)).collect();
    findings.extend(modules.iter().flat_map(|module| dangling(module, page)));
    for (number, path) in records(page).map(|(number, path, _)| (number, path)) {
        if !modules.iter().any(|module| module.path == path) {
            findings.push(Finding::new(
                PAGE,
                number,
                format!("records {path}, which does not refer to this page"),
            ));
        }
    }
    findings
}

/// Modules with a layout: they refer to the page.
fn modules(tree: &Tree) -> Vec<&File> {
    let sources = tree.files.iter().filter(|file| file.is("rs") || file.is("h"));
    sources.filter(|file| file.text.contains(REFERENCE)).collect()
}

fn untold(module: &File, page: &File) -> Option<Finding> {
    let digest = digest(module);
    let recorded = records(page).find(|(_, path, _)| *path == module.path);
    let what = match recorded {
        Some((_, _, told)) if told == digest => return None,
        Some(_) => "its code changed",
        None => "it is not recorded there",
    };
    let do_it = format!(
        "lays out bytes told in {PAGE}, but {what}: bring the table up to date, then run \
                         cargo xtask tidy --accept-formats"
    );
    Some(Finding::new(&module.path, 1, do_it))
}

/// References to headings that the page does not have.
fn dangling(module: &File, page: &File) -> Vec<Finding> {
    let references =
        module.lines().filter_map(|(number, line)| Some((number, line.split_once(REFERENCE)?.1)));
    references
        .map(|(number, rest)| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
            (number, &rest[..end])
        })
        .filter(|(_, heading)| !has_heading(page, heading))
        .map(|(number, heading)| {
            Finding::new(&module.path, number, format!("{PAGE} has no heading #{heading}"))
        })
        .collect()
}

/// Line, module and digest of each record on the page.
fn records(page: &File) -> impl Iterator<Item = (usize, &str, &str)> {
    page.lines().filter_map(|(number, line)| {
        let record = line.strip_prefix(MARK)?.strip_suffix(" -->")?;
        let (path, digest) = record.split_once(' ')?;
        Some((number, path, digest))
    })
}

/// A number that changes with the code (FNV-1a), not with comments, blank lines, indentation or tests.
fn digest(module: &File) -> String {
    let lines = module.code().map(|(_, line)| line.trim());
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    let bytes = code.flat_map(|line| line.bytes().chain([b'\n']));
    let number = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{number:016x}")
}

/// Writes the digests of today into the page.
pub(crate) fn accept(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let page = tree.get(PAGE).with_context(|| format!("there is no {PAGE}"))?;
    let path = root.join(PAGE);
    std::fs::write(&path, told(page, &tree)).with_context(|| format!("cannot write {}", path.display()))
}

/// The page with its records replaced by true ones, at its end.
fn told(page: &File, tree: &Tree) -> String {
    let kept: Vec<&str> = page.text.lines().filter(|line| !line.starts_with(MARK)).collect();
    let mut text = kept.join("\n").trim_end().to_owned();
    text.push_str("\n\n");
    for module in modules(tree) {
        text.push_str(&format!("{MARK}{} {} -->\n", module.path, digest(module)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "a/src/format.rs";

    fn code(field: &str) -> String {
        format!("/// Layout: {REFERENCE}map-entry\nstruct Entry {{ {field} }}\n")
    }

    fn page(module: &str) -> String {
        let tree = Tree::of(&[(PAGE, "# Formats\n## Map entry\n"), (MODULE, module)]);
        told(tree.get(PAGE).unwrap(), &tree)
    }

    #[test]
    fn a_recorded_module_passes_whatever_its_comments_say() {
        let page = page(&code("x: u64"));
        let commented = code("x: u64").replace("/// ", "// more\n\n/// ");
        assert!(check(&Tree::of(&[(PAGE, &page), (MODULE, &commented)])).is_empty());
    }

    #[test]
    fn a_changed_layout_is_found_until_it_is_told() {
        let page = page(&code("x: u64"));
        let findings = check(&Tree::of(&[(PAGE, &page), (MODULE, &code("x: u32"))]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.contains("its code changed"));
    }

    #[test]
    fn records_are_replaced_not_added() {
        let once = page(&code("x: u64"));
        let tree = Tree::of(&[(PAGE, &once), (MODULE, &code("x: u64"))]);
        assert_eq!(told(tree.get(PAGE).unwrap(), &tree), once);
    }

    #[test]
    fn missing_headings_and_leftover_records_are_found() {
        let page = page(&code("x: u64")).replace("## Map entry", "## Map");
        assert_eq!(check(&Tree::of(&[(PAGE, &page), (MODULE, &code("x: u64"))])).len(), 1);
        assert_eq!(check(&Tree::of(&[(PAGE, &page), (MODULE, "struct Entry;\n")])).len(), 1);
    }
}
