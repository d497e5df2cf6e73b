//! Syncs of one open file that meet: one thread syncs for all who wait, so that a slow disk holds up no other object.

use std::collections::HashMap;
use std::sync::Arc;

/// Who waits for which sync. Operations are told apart by their slot.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    /// By the address of the file's handle, which whoever waits keeps.
    running: HashMap<usize, Round>,
}

/// A sync that runs, and the one after it.
#[derive(Debug, Default)]
struct Round {
    /// Asked before it began: what it makes durable is what they asked for.
    sharing: Vec<u32>,
    /// Asked since.
    next: Vec<u32>,
}

impl Syncs {
    /// Whether the operation is to sync the file; else it is among those that `end` returns some time.
    pub(crate) fn begin<T>(&mut self, file: &Arc<T>, slot: u32) -> bool {
        match self.running.get_mut(&address(file)) {
            Some(round) => {
                round.next.push(slot);
                false
            }
            None => {
                self.running.insert(address(file), Round::default());
                true
            }
        }
    }

    /// Ends a sync: who shared it, and who is to sync the file now.
    pub(crate) fn end<T>(&mut self, file: &Arc<T>) -> (Vec<u32>, Option<u32>) {
        let Some(mut round) = self.running.remove(&address(file)) else { return (Vec::new(), None) };
        let next = round.next.pop();
        if next.is_some() {
            self.running.insert(address(file), Round { sharing: round.next, next: Vec::new() });
        }
        (round.sharing, next)
    }
}

fn address<T>(file: &Arc<T>) -> usize {
    Arc::as_ptr(file).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_during_a_sync_shares_the_next_one() {
        let mut syncs = Syncs::default();
        let (one, two) = (Arc::new(0), Arc::new(0));
        assert!(syncs.begin(&one, 10) && syncs.begin(&two, 20));
        assert!(!syncs.begin(&one, 11) && !syncs.begin(&one, 12) && !syncs.begin(&one, 13));
        assert_eq!(syncs.end(&one), (vec![], Some(13)));
        assert!(!syncs.begin(&one, 14));
        assert_eq!(syncs.end(&one), (vec![11, 12], Some(14)));
        assert_eq!(syncs.end(&one), (vec![], None));
        assert!(syncs.begin(&one, 15));
    }
}
