//! Live migration on one directory, as [`migrate`] tells it.

use tests::{Trouble, migrate};

use crate::folder::Folder;

#[test]
fn a_guest_moves_without_trouble() {
    moves("migration::a_guest_moves_without_trouble", Trouble::Nothing);
}

#[test]
fn a_guest_moves_from_a_host_that_is_killed_at_any_step() {
    moves("migration::a_guest_moves_from_a_host_that_is_killed_at_any_step", Trouble::Kill);
}

fn moves(test: &str, trouble: Trouble) {
    if let Some(folder) = Folder::new(test) {
        migrate(&folder.hosts(), trouble);
    }
}
