//! Values that keep their index until they are removed.

use std::ops::{Index, IndexMut};

pub(crate) struct Slots<V> {
    all: Vec<Option<V>>,
    free: Vec<u32>,
}

impl<V> Slots<V> {
    pub(crate) fn new() -> Self {
        Self { all: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, value: V) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.all[index as usize] = Some(value);
                index
            }
            None => {
                self.all.push(Some(value));
                u32::try_from(self.all.len() - 1).expect("bounded by the segment's requests, which are few")
            }
        }
    }

    pub(crate) fn remove(&mut self, index: u32) -> V {
        self.free.push(index);
        self.all[index as usize].take().expect("each slot is removed once")
    }
}

impl<V> Index<u32> for Slots<V> {
    type Output = V;
    fn index(&self, index: u32) -> &V {
        self.all[index as usize].as_ref().expect("a running operation keeps its slot")
    }
}

impl<V> IndexMut<u32> for Slots<V> {
    fn index_mut(&mut self, index: u32) -> &mut V {
        self.all[index as usize].as_mut().expect("a running operation keeps its slot")
    }
}
