//! Rules about the tree that neither the compiler nor clippy holds. A finding names its file and line, and says
//! what to do.

mod decisions;
mod formats;
mod layers;
mod links;
mod manifests;
mod size;
mod tasks;
mod tree;
mod unsafety;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::Result;

pub(crate) use formats::accept as accept_formats;
use tree::Tree;

use crate::metadata::Package;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.into(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Everything that breaks a rule, in the order of the files.
pub(crate) fn check(root: &Path, packages: &[Package]) -> Result<Vec<Finding>> {
    let tree = Tree::read(root)?;
    let mut findings = layers::check(packages, &tree);
    for rule in [
        size::check,
        words::check,
        unsafety::check,
        formats::check,
        decisions::check,
        links::check,
        manifests::check,
        tasks::check,
    ] {
        findings.extend(rule(&tree));
    }
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(findings)
}
