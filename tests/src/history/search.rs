//! Looks for an order in which everything that was answered makes sense.

use std::collections::HashSet;

use super::{Action, End, News, Operation, state::State};

/// So many states are looked at, at most.
const STATES_MAX: usize = 2_000_000;

/// Some operations in some order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    /// Which were taken, a bit each.
    taken: Vec<u64>,
    /// What they led to.
    state: State,
}

/// # Errors
/// Why there is no such order, or that none was found in time.
pub(super) fn search(operations: &[Operation], news: News) -> Result<(), String> {
    let mut operations: Vec<Operation> =
        operations.iter().filter(|it| is_of_use(it, operations)).copied().collect();
    operations.sort_by_key(|operation| operation.begun);
    let first = Node { taken: vec![0; operations.len().div_ceil(64)], state: State::first(news) };
    let mut furthest = first.clone();
    let (mut seen, mut open) = (HashSet::new(), vec![first]);
    while let Some(node) = open.pop() {
        if seen.len() == STATES_MAX {
            return Err(format!("undecided after {STATES_MAX} states: {}", node.report(&operations)));
        }
        if !seen.insert(node.clone()) {
            continue;
        }
        if node.count() > furthest.count() {
            furthest = node.clone();
        }
        let before = open.len();
        if !node.extend(&operations, &mut open) {
            return Ok(());
        }
        // What ended first is tried first: mostly it is right.
        open[before..].reverse();
    }
    Err(furthest.report(&operations))
}

/// An operation that need not have happened is of use only if that explains something.
fn is_of_use(operation: &Operation, operations: &[Operation]) -> bool {
    match operation.action {
        _ if operation.is_done() => true,
        Action::Write(_, written) => operations
            .iter()
            .any(|other| other.is_done() && matches!(other.action, Action::Read(_, seen) if seen == written)),
        Action::Close | Action::Break => true,
        Action::Flush(..) | Action::Read(..) | Action::Open => false,
    }
}

impl Node {
    fn has(&self, index: usize) -> bool {
        self.taken[index / 64] >> (index % 64) & 1 == 1
    }

    fn with(&self, index: usize, state: State) -> Node {
        let mut taken = self.taken.clone();
        taken[index / 64] |= 1 << (index % 64);
        Node { taken, state }
    }

    fn count(&self) -> u32 {
        self.taken.iter().map(|word| word.count_ones()).sum()
    }

    /// Adds all nodes that have one operation more. False if no operation is missing.
    fn extend(&self, operations: &[Operation], open: &mut Vec<Node>) -> bool {
        let left = || operations.iter().enumerate().filter(|(index, _)| !self.has(*index));
        let Some(deadline) = left().filter(|(_, it)| it.is_done()).map(|(_, it)| it.ended()).min() else {
            return false;
        };
        let newest = operations.iter().enumerate().rev().find(|(index, _)| self.has(*index));
        let newest = newest.map_or_else(Default::default, |(_, it)| it.begun);
        // Not what began after another had ended that is not taken yet, nor what ended before another began that is.
        let mut next: Vec<(usize, &Operation)> =
            left().filter(|(_, it)| it.begun <= deadline && it.ended() >= newest).collect();
        next.sort_by_key(|(_, it)| it.ended());
        for (index, operation) in next {
            open.extend(self.state.after(operation).into_iter().map(|state| self.with(index, state)));
        }
        true
    }

    fn report(&self, operations: &[Operation]) -> String {
        /// So many operations are enough to see what is wrong.
        const SHOWN: usize = 12;
        let (taken, left): (Vec<_>, Vec<_>) =
            operations.iter().enumerate().partition(|(index, _)| self.has(*index));
        let lines = |list: &[(usize, &Operation)]| {
            list.iter().map(|(_, operation)| format!("\n  {operation}")).collect::<String>()
        };
        let mut left: Vec<_> = left.into_iter().filter(|(_, it)| it.end != End::Never).collect();
        left.sort_by_key(|(_, it)| it.ended());
        format!(
            "no order explains what was answered. {} operations lead to {:?}, the last of them{}\nnone of these can follow{}",
            taken.len(),
            self.state,
            lines(&taken[taken.len().saturating_sub(SHOWN)..]),
            lines(&left[..left.len().min(SHOWN)]),
        )
    }
}
