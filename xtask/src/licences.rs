//! Whether everything that is built comes under a licence that the project accepts.

use crate::metadata::Package;

/// Licences whose terms a notice fulfils.
const ACCEPTED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "Unlicense",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
];
/// Exceptions that only widen what a licence allows.
const ACCEPTED_EXCEPTIONS: &[&str] = &["LLVM-exception"];
/// Crates under the Mozilla licence, which binds changes to their own files: each is named here.
const MOZILLA: &[&str] = &[];

/// What is wrong, one line a crate; none when all is well.
pub(crate) fn check(packages: &[Package]) -> Vec<String> {
    packages.iter().filter_map(fault).collect()
}

fn fault(package: &Package) -> Option<String> {
    let of = format!("{} {}", package.name, package.version);
    let Some(licence) = &package.licence else {
        return Some(format!("{of} names no licence; read its files, then accept it or do without it"));
    };
    let is_mozilla = |name: &str| name == "MPL-2.0" && MOZILLA.contains(&package.name.as_str());
    let mut words = words(licence);
    words.reverse();
    let is_accepted = any(&mut words, &|name| ACCEPTED.contains(&name) || is_mozilla(name));
    if is_accepted == Some(true) && words.is_empty() {
        return None;
    }
    Some(format!("{of} is under \"{licence}\", which xtask/src/licences.rs does not accept"))
}

/// SPDX words; older crates write "/" for OR.
fn words(licence: &str) -> Vec<String> {
    let spaced = licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// `all (OR all)*`, from the words' end; none if the words make no expression.
fn any(words: &mut Vec<String>, accepts: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut accepted = all(words, accepts)?;
    while words.last().is_some_and(|word| word == "OR") {
        words.pop();
        accepted |= all(words, accepts)?;
    }
    Some(accepted)
}

/// `one (AND one)*`
fn all(words: &mut Vec<String>, accepts: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut accepted = one(words, accepts)?;
    while words.last().is_some_and(|word| word == "AND") {
        words.pop();
        accepted &= one(words, accepts)?;
    }
    Some(accepted)
}

/// A licence, with an exception or without, or an expression in parentheses.
fn one(words: &mut Vec<String>, accepts: &dyn Fn(&str) -> bool) -> Option<bool> {
    let word = words.pop()?;
    if word == "(" {
        let accepted = any(words, accepts)?;
        return (words.pop()? == ")").then_some(accepted);
    }
    if words.last().is_some_and(|next| next == "WITH") {
        words.pop();
        let exception = words.pop()?;
        return Some(accepts(&word) && ACCEPTED_EXCEPTIONS.contains(&exception.as_str()));
    }
    Some(accepts(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_accepted(licence: &str) -> bool {
        let package = Package {
            name: "a".into(),
            version: "1".into(),
            licence: Some(licence.into()),
            manifest: "".into(),
            is_ours: false,
            uses: vec![],
            test_programs: vec![],
        };
        check(&[package]).is_empty()
    }

    #[test]
    fn one_accepted_choice_is_enough() {
        assert!(is_accepted("MIT") && is_accepted("GPL-3.0 OR MIT") && is_accepted("MIT/GPL-3.0"));
    }

    #[test]
    fn every_part_of_a_sum_must_be_accepted() {
        assert!(is_accepted("Apache-2.0 AND ISC") && !is_accepted("MIT AND GPL-3.0"));
        assert!(is_accepted("(MIT OR GPL-3.0) AND Unicode-3.0") && !is_accepted("(MIT OR ISC) AND GPL-3.0"));
    }

    #[test]
    fn exceptions_are_judged_too() {
        assert!(is_accepted("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
        assert!(!is_accepted("Apache-2.0 WITH Strange-exception"));
    }

    #[test]
    fn what_makes_no_expression_is_refused() {
        assert!(
            !is_accepted("MIT AND") && !is_accepted("(MIT") && !is_accepted("MIT ISC") && !is_accepted("")
        );
    }
}
