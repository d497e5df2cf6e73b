//! Live migration on one RADOS, as [`migrate`] tells it.

use tests::{Trouble, migrate};

use crate::site::Site;

#[test]
fn a_guest_moves_without_trouble() {
    moves("migration::a_guest_moves_without_trouble", "moves", Trouble::Nothing);
}

#[test]
fn a_guest_moves_from_a_host_that_is_killed_at_any_step() {
    moves("migration::a_guest_moves_from_a_host_that_is_killed_at_any_step", "killed", Trouble::Kill);
}

#[test]
fn a_guest_moves_from_a_host_that_is_cut_off_at_any_step() {
    moves("migration::a_guest_moves_from_a_host_that_is_cut_off_at_any_step", "source-cut", Trouble::Cut(0));
}

#[test]
fn a_guest_moves_to_a_host_that_is_cut_off_at_any_step() {
    moves("migration::a_guest_moves_to_a_host_that_is_cut_off_at_any_step", "target-cut", Trouble::Cut(1));
}

fn moves(test: &str, namespace: &str, trouble: Trouble) {
    if let Some(site) = Site::shared(test) {
        migrate(&site.hosts(namespace), trouble);
    }
}
