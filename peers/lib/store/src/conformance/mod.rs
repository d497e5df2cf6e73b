//! What every store must keep, as claims that run against one.
//!
//! ```text
//! store::conformance::run(|| Files::open(&config, 16).expect("the directory is there"));
//! ```

mod copies;
mod fences;
mod locks;
mod names;
mod objects;
mod races;
mod ranges;
mod scrubs;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{ErrorKind, ObjectName, Store, StoreError};

/// What a claim gets: ways to the same store, and names that no other claim uses.
pub struct Bench<'a> {
    claim: &'a str,
    open: &'a Opener<'a>,
    /// The store.
    pub store: Box<dyn Store>,
}

type Opener<'a> = dyn Fn() -> Box<dyn Store> + Sync + 'a;

/// A claim that fails returns what the store answered, or panics with what is wrong with it.
pub type Outcome = Result<(), StoreError>;

/// A claim and its name.
pub type Claim = (&'static str, fn(&Bench<'_>) -> Outcome);

macro_rules! claims {
    ($($module:ident: $($name:ident)*;)*) => {
        /// Every claim.
        pub const CLAIMS: &[Claim] = &[$($((stringify!($name), $module::$name),)*)*];
    };
}

claims! {
    objects: what_was_written_is_read missing_objects_are_not_found past_the_end_are_zeros
        before_the_first_write_are_zeros an_empty_write_creates_an_empty_object size_is_the_end_of_the_last_write
        a_deleted_object_is_gone_and_a_new_one_is_new a_second_attempt_to_delete_succeeds truncate_cuts_and_grows
        exclusive_writes_never_overwrite a_second_attempt_of_an_exclusive_write_succeeds
        replace_leaves_exactly_its_bytes durable_writes_and_syncs_are_answered
        impossible_ranges_are_invalid bytes_of_any_length_survive another_way_to_the_store_sees_the_same;
    names: any_name_is_an_object_of_its_own listing_pages_names_in_order a_listing_has_only_its_prefix
        deleted_names_are_not_listed;
    ranges: a_discarded_range_reads_zeros_and_the_size_stays discard_past_the_end_changes_nothing
        written_zeroes_grow_the_object written_zeroes_may_give_space_back;
    copies: copying_a_missing_source_fails_and_makes_nothing copying_twice_does_not_grow_the_target
        a_longer_copy_is_zero_padded a_shorter_copy_is_cut a_copy_replaces_what_was_there
        a_copy_lives_on_its_own a_copy_onto_itself_keeps_its_bytes holes_stay_zeros_in_copies
        hash_is_sha256_without_trailing_zeros equal_contents_have_equal_hashes a_rewritten_object_has_a_new_hash;
    locks: acquire_is_idempotent_for_the_owner an_owner_is_compared_whole release_needs_the_owner
        numbers_grow_with_every_owner a_broken_lock_is_free_with_a_new_number force_takes_a_lock_over
        a_lock_survives_its_store a_second_attempt_to_release_succeeds a_waiting_acquire_gets_the_released_lock
        a_crowd_of_waiters_does_not_keep_the_owner_out
        a_waiting_acquire_hears_of_a_release_elsewhere lock_and_object_of_one_name_are_two_things
        strange_owners_are_refused_or_kept;
    fences: only_the_current_number_may_write a_broken_owner_can_write_no_more every_change_can_be_fenced;
    races: replacements_are_seen_whole one_of_many_exclusive_writes_wins a_contested_lock_has_one_owner
        parallel_writes_of_an_object_all_arrive deletes_and_writes_in_a_row_never_mix;
    scrubs: a_scrub_ends_and_finds_no_damage_where_there_is_none;
}

/// Runs every claim against the store that each call of `open` gives another way to.
///
/// # Panics
/// If claims do not hold, with their names.
pub fn run<S: Store + 'static>(open: impl Fn() -> S + Sync) {
    run_without(&[], open);
}

/// As [`run`], without the claims that this way to the store cannot ask: those are named in `left_out`.
///
/// # Panics
/// If claims do not hold, with their names.
pub fn run_without<S: Store + 'static>(left_out: &[&str], open: impl Fn() -> S + Sync) {
    let open = move || -> Box<dyn Store> { Box::new(open()) };
    let asked = CLAIMS.iter().filter(|(name, _)| !left_out.contains(name));
    let failed: Vec<_> = asked.filter(|claim| !holds(claim, &open)).map(|(name, _)| *name).collect();
    assert!(failed.is_empty(), "these claims do not hold: {failed:?}");
}

fn holds((name, claim): &Claim, open: &Opener<'_>) -> bool {
    let bench = Bench { claim: name, open, store: open() };
    match catch_unwind(AssertUnwindSafe(|| claim(&bench))) {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            eprintln!("{name}: {error}: {:?}", std::error::Error::source(&error));
            false
        }
        Err(_) => {
            eprintln!("{name}: panicked");
            false
        }
    }
}

impl Bench<'_> {
    /// A name that belongs to this claim alone.
    #[must_use]
    pub fn name(&self, label: &str) -> ObjectName {
        self.name_of(label.as_bytes())
    }

    /// As `name`, with any bytes.
    #[must_use]
    pub fn name_of(&self, label: &[u8]) -> ObjectName {
        let name = [self.claim.as_bytes(), b".", label].concat();
        ObjectName::new(name).expect("claims choose short labels")
    }

    /// Another way to the same store.
    #[must_use]
    pub fn another(&self) -> Box<dyn Store> {
        (self.open)()
    }
}

/// Checks how something failed.
fn fails<T: std::fmt::Debug>(result: Result<T, StoreError>, kind: ErrorKind) {
    match result {
        Err(error) => assert_eq!(error.kind, kind, "{error}"),
        Ok(done) => panic!("expected {kind:?}, but it was done: {done:?}"),
    }
}

/// Bytes that differ at every offset below 64 KiB.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| seed ^ (at % 251).to_le_bytes()[0] ^ (at / 251).to_le_bytes()[0]).collect()
}
