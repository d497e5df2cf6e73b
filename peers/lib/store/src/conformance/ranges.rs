//! Claims on ranges that become zeros.

use super::{Bench, Outcome, fails};
use crate::{ErrorKind, ObjectName, StoreError, StoreOperation, StoreReply};

fn discard(bench: &Bench<'_>, object: &ObjectName, offset: u64, size: u64) -> Result<StoreReply, StoreError> {
    bench.store.ask(object, StoreOperation::Discard { offset, size, is_durable: true })
}

fn zeroes(bench: &Bench<'_>, object: &ObjectName, (offset, size): (u64, u64), may_trim: bool) -> Outcome {
    let operation = StoreOperation::WriteZeroes { offset, size, may_trim, is_fast: false, is_durable: false };
    bench.store.ask(object, operation).map(drop)
}

pub(super) fn a_discarded_range_reads_zeros_and_the_size_stays(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 0, &vec![7; 20_000])?;
    discard(bench, &object, 100, 9000)?;
    let mut expected = vec![7; 20_000];
    expected[100..9100].fill(0);
    assert_eq!(bench.store.read(&object, 0, 20_000)?, expected);
    discard(bench, &object, 15_000, 50_000)?;
    expected[15_000..].fill(0);
    assert_eq!(bench.store.read(&object, 0, 20_000)?, expected);
    assert_eq!(bench.store.size(&object)?, 20_000);
    Ok(())
}

pub(super) fn discard_past_the_end_changes_nothing(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 0, b"abc")?;
    discard(bench, &object, 3, 5000)?;
    discard(bench, &object, 1 << 40, 5000)?;
    discard(bench, &object, 1, 0)?;
    assert_eq!(bench.store.size(&object)?, 3);
    assert_eq!(bench.store.read(&object, 0, 3)?, b"abc");
    Ok(())
}

pub(super) fn written_zeroes_grow_the_object(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    zeroes(bench, &object, (10, 20), false)?;
    assert_eq!(bench.store.size(&object)?, 30);
    bench.store.write(&object, 0, &[7; 10_000])?;
    zeroes(bench, &object, (5000, 10_000), false)?;
    assert_eq!(bench.store.size(&object)?, 15_000);
    assert_eq!(bench.store.read(&object, 4999, 5002)?, [vec![7], vec![0; 5001]].concat());
    zeroes(bench, &object, (0, 0), false)?;
    fails(zeroes(bench, &object, (u64::MAX, 9), false), ErrorKind::Invalid);
    Ok(())
}

pub(super) fn written_zeroes_may_give_space_back(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 0, &[7; 10_000])?;
    zeroes(bench, &object, (4000, 10_000), true)?;
    assert_eq!(bench.store.size(&object)?, 14_000);
    assert_eq!(bench.store.read(&object, 3999, 10_001)?, [vec![7], vec![0; 10_000]].concat());
    Ok(())
}
