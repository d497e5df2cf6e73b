//! Things by number, without hashing.

/// Keeps things under small numbers that are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Keeps a thing; its number.
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        match self.free.pop() {
            Some(key) => {
                self.items[index(key)] = Some(item);
                key
            }
            None => {
                self.items.push(Some(item));
                u32::try_from(self.items.len() - 1).expect("fewer than 2^32 things fit into memory")
            }
        }
    }

    /// Keeps a thing under a number of somebody else's choice. What was there before.
    pub(crate) fn put(&mut self, key: u32, item: T) -> Option<T> {
        if self.items.len() <= index(key) {
            self.items.resize_with(index(key) + 1, || None);
        }
        self.items[index(key)].replace(item)
    }

    /// Takes a thing out without giving its number free for `insert`.
    pub(crate) fn take(&mut self, key: u32) -> Option<T> {
        self.items.get_mut(index(key))?.take()
    }

    /// Takes a thing out; its number may be used again.
    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let item = self.take(key)?;
        self.free.push(key);
        Some(item)
    }

    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.items.get(index(key))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.items.get_mut(index(key))?.as_mut()
    }

    /// All things with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let keys = 0_u32..;
        keys.zip(&self.items).filter_map(|(key, item)| Some((key, item.as_ref()?)))
    }

    /// How many things are kept under numbers of `insert`.
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }
}

fn index(key: u32) -> usize {
    usize::try_from(key).expect("a usize has at least 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_after_its_thing_was_removed() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.insert('c'), a);
        assert_eq!((slab.get(b), slab.len()), (Some(&'b'), 2));
    }

    #[test]
    fn numbers_of_others_choice_may_be_far_apart() {
        let mut slab = Slab::default();
        assert_eq!(slab.put(1000, 'x'), None);
        assert_eq!(slab.take(7), None);
        assert_eq!(slab.take(1000), Some('x'));
    }
}
