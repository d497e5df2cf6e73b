//! Claims on scrubs.

use super::{Bench, Outcome, pattern};
use crate::{ErrorKind, ScrubState, StoreError, StoreOperation, StoreReply};

/// More steps than a store of a few objects can need.
const STEPS_MAX: usize = 100_000;

/// Scrubs to the end, in the smallest steps; none if the store does not do that.
fn scrub(bench: &Bench<'_>) -> Result<Option<ScrubState>, StoreError> {
    for step in 0..STEPS_MAX {
        let operation = StoreOperation::Scrub { is_restart: step == 0, max_bytes: 1 };
        match bench.store.ask(&bench.name("any"), operation) {
            Ok(StoreReply::Scrubbed(state)) if state.is_done() => return Ok(Some(*state)),
            Ok(StoreReply::Scrubbed(_)) => {}
            Ok(other) => panic!("a scrub was answered with {other:?}"),
            Err(error) if error.kind == ErrorKind::Unsupported => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    panic!("a scrub does not end within {STEPS_MAX} steps")
}

pub(super) fn a_scrub_ends_and_finds_no_damage_where_there_is_none(bench: &Bench<'_>) -> Outcome {
    let (object, bytes) = (bench.name("o"), pattern(1, 10_000));
    bench.store.write(&object, 0, &bytes)?;
    let Some(state) = scrub(bench)? else { return Ok(()) };
    assert_eq!((state.damaged, state.damages.as_slice()), (0, [].as_slice()));
    assert!(state.objects >= 1);
    bench.store.write(&object, 5000, b"later")?;
    assert_eq!(bench.store.read(&object, 0, 5000)?, bytes[..5000]);
    Ok(())
}
