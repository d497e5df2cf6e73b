//! Where unsafe code may stand; that each block says why it is sound is clippy's rule.

use super::Finding;
use super::tree::Tree;

/// Modules that may, by the beginning of their path. A new one needs a page in docs/decisions/.
const ALLOWED: [&str; 3] = ["xseg/src/memory", "peers/filed/src/ring/", "peers/radosd/src/librados/"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let sources = tree.files.iter().filter(|file| file.is("rs") && !is_allowed(&file.path));
    sources
        .flat_map(|file| file.lines().map(move |(number, line)| (file, number, line)))
        .filter(|(_, _, line)| lifts(line))
        .map(|(file, number, _)| {
            let what = "unsafe outside the modules in xtask/src/tidy/unsafety.rs; move it into one of them, or \
                        decide in docs/decisions/ and list the module";
            Finding::new(&file.path, number, what)
        })
        .collect()
}

/// The compiler denies unsafe code but where this attribute stands, so this alone needs to be looked for.
fn lifts(line: &str) -> bool {
    let line = line.trim_start();
    (line.starts_with("#[") || line.starts_with("#![")) && line.contains(concat!("(unsafe", "_code"))
}

fn is_allowed(path: &str) -> bool {
    ALLOWED.iter().any(|beginning| path.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lint_is_lifted_in_listed_modules_only() {
        let lifting = "//! x\n#![expect(unsafe_code, reason = \"mapped memory\")]\n";
        let findings = check(&Tree::of(&[("xseg/src/memory/map.rs", lifting), ("cli/src/main.rs", lifting)]));
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].file.as_str(), findings[0].line), ("cli/src/main.rs", 2));
    }
}
