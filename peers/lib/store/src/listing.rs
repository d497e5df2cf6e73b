//! Pages of names in byte order, from a store that gives its names in any order.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{ErrorKind, ObjectName, Page};

/// The smallest names that fit into some memory, whatever order they come in.
pub struct Smallest<'a> {
    prefix: &'a [u8],
    after: &'a [u8],
    max_bytes: usize,
    bytes: usize,
    names: BTreeSet<Vec<u8>>,
    more: bool,
}

/// Lists a store. Pages that follow each other come from one scan.
#[derive(Default)]
pub struct Lister {
    ahead: Mutex<Option<Ahead>>,
}

/// Names found by an earlier scan, for whoever goes on where it ended.
struct Ahead {
    prefix: Vec<u8>,
    after: Vec<u8>,
    names: VecDeque<Vec<u8>>,
    more: bool,
}

/// How many bytes of names one scan keeps for later pages.
const AHEAD_BYTES: usize = 16 << 20;

impl Lister {
    /// The first names after `after` that begin with `prefix`, at most `max_bytes` of them. `scan` gives every name of the
    /// store, and is not called if an earlier scan has them.
    ///
    /// # Errors
    /// What `scan` says; `Invalid` if not even one name fits.
    pub fn list<E: From<ErrorKind>>(
        &self,
        (prefix, after, max_bytes): (&[u8], &[u8], usize),
        scan: impl FnOnce(&mut Smallest<'_>) -> Result<(), E>,
    ) -> Result<Page, E> {
        let kept = self.ahead().take();
        let is_next =
            |ahead: &Ahead| ahead.prefix == prefix && ahead.after == after && !ahead.names.is_empty();
        let mut ahead = match kept.filter(is_next) {
            Some(ahead) => ahead,
            None => Ahead::scanned((prefix, after, max_bytes.max(AHEAD_BYTES)), scan)?,
        };
        let page = ahead.take_page(max_bytes)?;
        if page.more
            && let Some(last) = page.names.last()
        {
            ahead.after.clone_from(last);
            *self.ahead() = Some(ahead);
        }
        Ok(page)
    }

    fn ahead(&self) -> MutexGuard<'_, Option<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ahead {
    fn scanned<E>(
        (prefix, after, max_bytes): (&[u8], &[u8], usize),
        scan: impl FnOnce(&mut Smallest<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut smallest = Smallest::new(prefix, after, max_bytes);
        scan(&mut smallest)?;
        let Smallest { names, more, .. } = smallest;
        Ok(Self { prefix: prefix.into(), after: after.into(), names: names.into_iter().collect(), more })
    }

    fn take_page(&mut self, max_bytes: usize) -> Result<Page, ErrorKind> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        while let Some(name) = self.names.front()
            && bytes + name.len() + Page::NAME_COST <= max_bytes
        {
            bytes += name.len() + Page::NAME_COST;
            names.extend(self.names.pop_front());
        }
        let more = self.more || !self.names.is_empty();
        if names.is_empty() && more { Err(ErrorKind::Invalid) } else { Ok(Page { names, more }) }
    }
}

impl<'a> Smallest<'a> {
    fn new(prefix: &'a [u8], after: &'a [u8], max_bytes: usize) -> Self {
        Self { prefix, after, max_bytes, bytes: 0, names: BTreeSet::new(), more: false }
    }

    /// Considers one name.
    pub fn take(&mut self, object: &ObjectName) {
        let name = object.as_bytes();
        if !name.starts_with(self.prefix) || name <= self.after {
            return;
        }
        // With the memory full, only what sorts before its end is of use.
        if self.more && self.names.last().is_some_and(|last| name > last.as_slice()) {
            return;
        }
        if !self.names.insert(name.to_vec()) {
            return;
        }
        self.bytes += name.len() + Page::NAME_COST;
        while self.bytes > self.max_bytes {
            let Some(dropped) = self.names.pop_last() else { break };
            self.bytes -= dropped.len() + Page::NAME_COST;
            self.more = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(names: &[&str], smallest: &mut Smallest<'_>) {
        names.iter().for_each(|name| smallest.take(&ObjectName::new(name).unwrap()));
    }

    #[test]
    fn a_full_page_keeps_the_smallest_names_in_any_order() {
        let mut page = Smallest::new(b"d", b"da", 8);
        give(&["de", "da", "dc", "x", "dd", "db", "dc"], &mut page);
        assert_eq!(page.names.into_iter().collect::<Vec<_>>(), [b"db", b"dc"]);
        assert!(page.more);
    }

    #[test]
    fn pages_that_follow_each_other_come_from_one_scan_and_a_new_listing_scans_anew() {
        let (lister, scans) = (Lister::default(), std::cell::Cell::new(0));
        let page = |after: &[u8]| {
            let page = lister.list::<ErrorKind>((b"", after, 4), |smallest| {
                scans.set(scans.get() + 1);
                give(&["b", "c", "a"], smallest);
                Ok(())
            });
            (page.unwrap().names.concat(), scans.get())
        };
        assert_eq!(page(b""), (b"a".to_vec(), 1));
        assert_eq!(page(b"a"), (b"b".to_vec(), 1));
        assert_eq!(page(b""), (b"a".to_vec(), 2));
        assert_eq!(page(b"b"), (b"c".to_vec(), 3));
    }
}
