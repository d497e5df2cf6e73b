//! Names that are in use, within bounded memory.

/// An object's name as numbers that sort as the name does: owner, generation or checkpoint, place.
pub(crate) type Key = [u64; 3];

/// The first names after some name that are in use: as many as fit, and how far they reach.
#[derive(Debug)]
pub(crate) struct Marks<K = Key> {
    after: Option<K>,
    /// Nothing is known of names beyond.
    end: Option<K>,
    keys: Vec<K>,
    limit: usize,
}

impl<K: Ord + Clone> Marks<K> {
    /// Will hold the names after `after`, at most `limit` of them.
    pub(crate) fn new(after: Option<K>, limit: usize) -> Marks<K> {
        Marks { after, end: None, keys: Vec::new(), limit: limit.max(1) }
    }

    /// Notes that a name is in use.
    pub(crate) fn add(&mut self, key: K) {
        let is_inside = self.after.as_ref().is_none_or(|after| key > *after)
            && self.end.as_ref().is_none_or(|end| key <= *end);
        if !is_inside {
            return;
        }
        self.keys.push(key);
        if self.keys.len() >= self.limit.saturating_mul(2) {
            self.settle();
        }
    }

    /// Sorts; beyond the limit only the first names stay.
    pub(crate) fn settle(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        if self.keys.len() > self.limit {
            self.keys.truncate(self.limit);
            self.end = self.keys.last().cloned();
        }
    }

    /// The last name of which anything is known, unless all is.
    pub(crate) fn end(&self) -> Option<K> {
        self.end.clone()
    }

    /// Whether a name is in use; `None` if it lies beyond what is known. Settled before.
    pub(crate) fn contains(&self, key: &K) -> Option<bool> {
        let is_known = self.end.as_ref().is_none_or(|end| key <= end);
        is_known.then(|| self.keys.binary_search(key).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_names_than_fit_the_first_are_known_and_nothing_is_said_of_the_others() {
        let mut marks = Marks::new(Some([1, 0, 0]), 3);
        for owner in (0..10).rev().chain(0..10) {
            marks.add([owner, 0, 0]);
        }
        marks.settle();
        assert_eq!(marks.contains(&[3, 0, 0]), Some(true));
        assert_eq!(marks.contains(&[3, 0, 1]), Some(false));
        assert_eq!(marks.contains(&[4, 0, 0]), Some(true));
        assert_eq!(marks.contains(&[4, 0, 1]), None);
        assert_eq!(marks.contains(&[9, 0, 0]), None);
    }

    #[test]
    fn when_all_fit_all_is_known() {
        let mut marks = Marks::new(None, 3);
        marks.add([5, 0, 0]);
        marks.settle();
        assert_eq!(marks.contains(&[5, 0, 0]), Some(true));
        assert_eq!(marks.contains(&[9, 9, 9]), Some(false));
    }
}
