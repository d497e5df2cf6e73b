//! The objects in use: who may touch each now, who waits, and the bounded cache of open files.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use store::ObjectName;

use crate::handle::Handle;

/// What an operation does to an object, as far as it concerns others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads and writes run side by side.
    Shared,
    /// What changes the object's existence or its file runs alone.
    Exclusive,
}

/// All objects that are open or in use. Operations are told apart by their slot.
pub(crate) struct Entries {
    by_name: HashMap<ObjectName, u32>,
    all: Vec<Entry>,
    free: Vec<u32>,
    open_count: usize,
    open_max: usize,
    /// Where the search for a file to close goes on.
    hand: usize,
}

struct Entry {
    name: ObjectName,
    open: Option<Arc<Handle>>,
    was_used: bool,
    running: Running,
    waiting: VecDeque<(u32, Access)>,
    /// Who waits for the file to be opened, while somebody opens it.
    opening: Option<Vec<u32>>,
}

enum Running {
    /// So many side by side; 0: nobody.
    Shared(u32),
    Exclusive,
}

impl Entries {
    /// Keeps at most `open_max` files open beside those in use.
    pub(crate) fn new(open_max: usize) -> Self {
        Self { by_name: HashMap::new(), all: Vec::new(), free: Vec::new(), open_count: 0, open_max, hand: 0 }
    }

    /// How many files are kept open.
    pub(crate) fn open_count(&self) -> usize {
        self.open_count
    }

    /// The object's entry, and whether the operation may run now. If not, `leave` of another one says when.
    pub(crate) fn enter(&mut self, name: &ObjectName, slot: u32, access: Access) -> (u32, bool) {
        let index = match self.by_name.get(name.as_bytes()) {
            Some(index) => *index,
            None => self.insert(name),
        };
        let entry = &mut self.all[index as usize];
        let may_run = entry.waiting.is_empty() && entry.running.admit(access);
        if !may_run {
            entry.waiting.push_back((slot, access));
        }
        (index, may_run)
    }

    /// Ends an operation; those that may run now are put into `ready`.
    pub(crate) fn leave(&mut self, index: u32, ready: &mut VecDeque<u32>) {
        let entry = &mut self.all[index as usize];
        entry.running = match entry.running {
            Running::Shared(count) => Running::Shared(count.saturating_sub(1)),
            Running::Exclusive => Running::Shared(0),
        };
        while let Some((slot, access)) = entry.waiting.front()
            && entry.running.admit(*access)
        {
            ready.push_back(*slot);
            entry.waiting.pop_front();
        }
        if !entry.is_idle() {
            return;
        }
        if self.open_count > self.open_max && entry.open.take().is_some() {
            self.open_count -= 1;
        }
        if self.all[index as usize].open.is_none() {
            self.remove(index);
        }
    }

    /// The open file of the object, if it is kept.
    pub(crate) fn open(&mut self, index: u32) -> Option<&Arc<Handle>> {
        let entry = &mut self.all[index as usize];
        entry.was_used = true;
        entry.open.as_ref()
    }

    /// Keeps an open file, closing another one if there are too many.
    pub(crate) fn keep(&mut self, index: u32, open: Arc<Handle>) {
        let entry = &mut self.all[index as usize];
        entry.was_used = true;
        if entry.open.replace(open).is_none() {
            self.open_count += 1;
        }
        if self.open_count > self.open_max {
            self.close_one();
        }
    }

    /// Closes the object's file as soon as nobody uses it any more; the next use opens it anew.
    pub(crate) fn forget(&mut self, index: u32) {
        if self.all[index as usize].open.take().is_some() {
            self.open_count -= 1;
        }
    }

    /// Closes the files that nobody uses and that `is_over` says so of.
    pub(crate) fn close_idle(&mut self, is_over: impl Fn(&Handle) -> bool) {
        for index in 0..self.all.len() {
            let entry = &mut self.all[index];
            if entry.is_idle() && entry.open.take_if(|open| is_over(open)).is_some() {
                self.open_count -= 1;
                let index = u32::try_from(index).expect("an index of an entry");
                self.remove(index);
            }
        }
    }

    /// Gives the only operation on an object the object for itself; false if there are others.
    pub(crate) fn take_alone(&mut self, index: u32) -> bool {
        let running = &mut self.all[index as usize].running;
        let is_alone = matches!(running, Running::Shared(1) | Running::Exclusive);
        if is_alone {
            *running = Running::Exclusive;
        }
        is_alone
    }

    /// Whether this operation is to open the file; else it is among those whom `opened` returns.
    pub(crate) fn begin_opening(&mut self, index: u32, slot: u32) -> bool {
        match &mut self.all[index as usize].opening {
            Some(others) => {
                others.push(slot);
                false
            }
            none => {
                *none = Some(Vec::new());
                true
            }
        }
    }

    /// Who else waited for the file.
    pub(crate) fn opened(&mut self, index: u32) -> Vec<u32> {
        self.all[index as usize].opening.take().unwrap_or_default()
    }

    fn insert(&mut self, name: &ObjectName) -> u32 {
        let entry = Entry {
            name: name.clone(),
            open: None,
            was_used: true,
            running: Running::Shared(0),
            waiting: VecDeque::new(),
            opening: None,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.all[index as usize] = entry;
                index
            }
            None => {
                self.all.push(entry);
                u32::try_from(self.all.len() - 1).expect("bounded by fdcache and nr_ops, which are small")
            }
        };
        self.by_name.insert(name.clone(), index);
        index
    }

    fn remove(&mut self, index: u32) {
        self.by_name.remove(self.all[index as usize].name.as_bytes());
        self.free.push(index);
    }

    /// Closes the file of the first object, from where the last search ended, that is neither in use nor was used since.
    fn close_one(&mut self) {
        for _ in 0..2 * self.all.len() {
            self.hand = (self.hand + 1) % self.all.len();
            let entry = &mut self.all[self.hand];
            if entry.open.is_none() || !entry.is_idle() {
                continue;
            }
            if !std::mem::take(&mut entry.was_used) {
                entry.open = None;
                self.open_count -= 1;
                let index = u32::try_from(self.hand).expect("an index of an entry");
                return self.remove(index);
            }
        }
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        matches!(self.running, Running::Shared(0)) && self.waiting.is_empty()
    }
}

impl Running {
    fn admit(&mut self, access: Access) -> bool {
        match (&mut *self, access) {
            (Self::Shared(count), Access::Shared) => *count += 1,
            (Self::Shared(0), Access::Exclusive) => *self = Self::Exclusive,
            (Self::Shared(_) | Self::Exclusive, _) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::{Opening, Purpose};
    use crate::root::Root;

    const CREATE: Purpose = Purpose::Change { creates: true };

    fn name(text: &str) -> ObjectName {
        ObjectName::new(text).unwrap()
    }

    #[test]
    fn exclusive_waits_for_shared_and_later_shared_waits_behind_it() {
        let mut entries = Entries::new(1);
        let mut ready = VecDeque::new();
        let (index, first) = entries.enter(&name("a"), 1, Access::Shared);
        let (_, second) = entries.enter(&name("a"), 2, Access::Shared);
        let (_, third) = entries.enter(&name("a"), 3, Access::Exclusive);
        let (_, fourth) = entries.enter(&name("a"), 4, Access::Shared);
        assert_eq!([first, second, third, fourth], [true, true, false, false]);
        entries.leave(index, &mut ready);
        assert!(ready.is_empty());
        entries.leave(index, &mut ready);
        assert_eq!(ready, [3]);
        entries.leave(index, &mut ready);
        assert_eq!(ready, [3, 4]);
    }

    #[test]
    fn objects_do_not_wait_for_each_other() {
        let mut entries = Entries::new(1);
        assert!(entries.enter(&name("a"), 1, Access::Exclusive).1);
        assert!(entries.enter(&name("b"), 2, Access::Exclusive).1);
    }

    #[test]
    fn the_cache_keeps_its_bound_and_what_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let opening = Opening {
            is_direct: false,
            has_legacy: false,
            is_shared: false,
            is_on_nfs: false,
            claim: None,
            verifies: false,
        };
        let mut entries = Entries::new(3);
        let mut ready = VecDeque::new();
        let (busy, _) = entries.enter(&name("busy"), 0, Access::Shared);
        entries.keep(busy, Arc::new(opening.open(&root, &name("busy"), CREATE).unwrap()));
        for number in 0..20 {
            let object = name(&format!("o{number}"));
            let (index, _) = entries.enter(&object, 1, Access::Shared);
            entries.keep(index, Arc::new(opening.open(&root, &object, CREATE).unwrap()));
            entries.leave(index, &mut ready);
            // The one just in use cannot be closed until it has left.
            assert!(entries.open_count() <= 4);
        }
        assert!(entries.open(busy).is_some());
    }

    #[test]
    fn an_object_that_is_neither_open_nor_in_use_is_forgotten() {
        let mut entries = Entries::new(3);
        let mut ready = VecDeque::new();
        for number in 0..100 {
            let (index, _) = entries.enter(&name(&number.to_string()), 1, Access::Exclusive);
            entries.leave(index, &mut ready);
        }
        assert_eq!((entries.by_name.len(), entries.all.len()), (0, 1));
    }
}
