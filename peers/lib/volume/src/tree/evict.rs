//! Forgetting nodes that can be read again.

use super::{Body, Slot, Tree};

impl Tree {
    /// Drops clean nodes that were not used for longest, until about `keep` nodes are loaded.
    pub(crate) fn evict(&mut self, keep: usize) {
        let Some(surplus) = self.counts.loaded.checked_sub(keep).filter(|&n| n > 0) else { return };
        let mut ticks = Vec::new();
        collect(&self.top, &mut ticks);
        if ticks.is_empty() {
            return;
        }
        let last = surplus.min(ticks.len()) - 1;
        let (_, &mut cutoff, _) = ticks.select_nth_unstable(last);
        self.counts.loaded -= drop_until(&mut self.top, cutoff).dropped;
    }
}

/// When each clean node was used last.
fn collect(slot: &Slot, ticks: &mut Vec<u64>) {
    let Some(node) = &slot.node else { return };
    if !node.dirty {
        ticks.push(node.used);
    }
    if let Body::Inner(children) = &node.body {
        children.iter().for_each(|child| collect(child, ticks));
    }
}

#[derive(Default)]
struct Outcome {
    dropped: usize,
    still_loaded: bool,
}

/// Drops clean nodes used at `cutoff` or before, but none above a node that stays.
fn drop_until(slot: &mut Slot, cutoff: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(node) = &mut slot.node else { return outcome };
    if let Body::Inner(children) = &mut node.body {
        for child in children {
            let below = drop_until(child, cutoff);
            outcome.dropped += below.dropped;
            outcome.still_loaded |= below.still_loaded;
        }
    }
    if node.dirty || node.used > cutoff || outcome.still_loaded {
        outcome.still_loaded = true;
        return outcome;
    }
    slot.node = None;
    outcome.dropped += 1;
    outcome
}
