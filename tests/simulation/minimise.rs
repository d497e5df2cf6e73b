//! A shorter plan that fails as well.

use crate::{plan::Plan, run::run};

/// Runs of a plan that minimising may take.
const RUNS_MAX: usize = 1500;

/// Leaves out what a failure does not need: halves first, then less and less.
pub(crate) fn minimise(plan: &Plan, reason: &str) -> Plan {
    let wanted = kind_of(reason);
    let mut best = plan.clone();
    let mut size = best.items.len() / 2;
    let mut runs = 0;
    while size > 0 && runs < RUNS_MAX {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < best.items.len() && runs < RUNS_MAX {
            let mut shorter = best.clone();
            shorter.items.drain(at..(at + size).min(best.items.len()));
            runs += 1;
            if run(&shorter).is_err_and(|reason| kind_of(&reason) == wanted) {
                best = shorter;
                has_shrunk = true;
            } else {
                at += size;
            }
        }
        if !has_shrunk || size > 1 {
            size /= 2;
        }
    }
    best
}

/// A failure without the numbers and names in it.
fn kind_of(reason: &str) -> String {
    /// Words that tell failures apart.
    const WORDS: usize = 12;
    let is_plain = |word: &&str| word.chars().all(|letter| letter.is_ascii_alphabetic() || letter == ',');
    reason.split_whitespace().filter(is_plain).take(WORDS).collect()
}
