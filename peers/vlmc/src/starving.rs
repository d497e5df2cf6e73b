//! Operations that wait for a free slot.

use crate::{composer::Composer, operation::Wait};

impl Composer {
    /// Lets an operation wait for its volume's turn.
    pub(crate) fn starve(&mut self, key: u32) {
        let Some(operation) = self.operations.get_mut(key) else { return };
        operation.wait = Wait::Slot;
        let Some(volume) = self.volumes.get_mut(operation.volume) else { return };
        if volume.starved.is_empty() {
            self.starved.push_back(operation.volume);
        }
        volume.starved.push_back(key);
    }

    /// Lets operations that wait for a slot try again: volumes in turn, until one finds none.
    pub(crate) fn feed(&mut self) {
        while let Some(volume) = self.starved.pop_front() {
            let Some(starved) = self.volumes.get_mut(volume).map(|volume| &mut volume.starved) else {
                continue;
            };
            let Some(key) = starved.pop_front() else { continue };
            if !starved.is_empty() {
                self.starved.push_back(volume);
            }
            let Some(operation) = self.operations.get_mut(key).filter(|it| it.wait == Wait::Slot) else {
                continue;
            };
            operation.wait = Wait::Nothing;
            self.advance(key);
            if self.operations.get(key).is_some_and(|it| it.wait == Wait::Slot) {
                return;
            }
        }
    }
}
