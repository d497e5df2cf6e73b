//! Values that keep their index until they are removed.

use std::ops::{Index, IndexMut};

/// The operations of an engine, or whatever else has a number while it is under way.
pub struct Slots<V> {
    all: Vec<Option<V>>,
    free: Vec<u32>,
}

impl<V> Default for Slots<V> {
    fn default() -> Self {
        Self { all: Vec::new(), free: Vec::new() }
    }
}

impl<V> Slots<V> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a value; its index.
    ///
    /// # Panics
    /// With more than 2^32 of them.
    pub fn insert(&mut self, value: V) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.all[place(index)] = Some(value);
                index
            }
            None => {
                self.all.push(Some(value));
                u32::try_from(self.all.len() - 1)
                    .expect("bounded by the requests of a segment, which are few")
            }
        }
    }

    /// Takes a value out; its index may be given again.
    ///
    /// # Panics
    /// If it is not there.
    pub fn remove(&mut self, index: u32) -> V {
        self.free.push(index);
        self.all[place(index)].take().expect("each slot is removed once")
    }
}

impl<V> Index<u32> for Slots<V> {
    type Output = V;
    fn index(&self, index: u32) -> &V {
        self.all[place(index)].as_ref().expect("a running operation keeps its slot")
    }
}

impl<V> IndexMut<u32> for Slots<V> {
    fn index_mut(&mut self, index: u32) -> &mut V {
        self.all[place(index)].as_mut().expect("a running operation keeps its slot")
    }
}

fn place(index: u32) -> usize {
    usize::try_from(index).expect("an index of 32 bits fits")
}
