//! Claims on single objects.

use super::{Bench, Outcome, fails, pattern};
use crate::{Data, ErrorKind, StoreOperation, StoreRequest, WriteMode};

pub(super) fn what_was_written_is_read(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 0, b"first")?;
    bench.store.write(&object, 3, b"second")?;
    assert_eq!(bench.store.read(&object, 0, 9)?, b"firsecond");
    assert_eq!(bench.store.read(&object, 4, 2)?, b"ec");
    Ok(())
}

pub(super) fn missing_objects_are_not_found(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    fails(bench.store.read(&object, 0, 1), ErrorKind::NotFound);
    fails(bench.store.read(&object, 0, 0), ErrorKind::NotFound);
    fails(bench.store.size(&object), ErrorKind::NotFound);
    fails(bench.store.delete(&object), ErrorKind::NotFound);
    fails(bench.store.hash(&object), ErrorKind::NotFound);
    fails(bench.store.ask(&object, StoreOperation::Sync), ErrorKind::NotFound);
    let discard = StoreOperation::Discard { offset: 0, size: 1, is_durable: false };
    fails(bench.store.ask(&object, discard), ErrorKind::NotFound);
    fails(bench.store.read(&object, 0, 1), ErrorKind::NotFound);
    Ok(())
}

pub(super) fn past_the_end_are_zeros(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 0, b"abc")?;
    assert_eq!(bench.store.read(&object, 1, 5)?, b"bc\0\0\0");
    assert_eq!(bench.store.read(&object, 1 << 40, 3)?, [0; 3]);
    assert_eq!(bench.store.size(&object)?, 3);
    Ok(())
}

pub(super) fn before_the_first_write_are_zeros(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 70_000, b"x")?;
    assert_eq!(bench.store.read(&object, 0, 70_000)?, vec![0; 70_000]);
    Ok(())
}

pub(super) fn an_empty_write_creates_an_empty_object(bench: &Bench<'_>) -> Outcome {
    for (label, is_durable) in [("a", false), ("b", true)] {
        let object = bench.name(label);
        bench.store.write_as(&object, 7, b"", WriteMode::Update, is_durable)?;
        assert_eq!(bench.store.size(&object)?, 0);
        assert_eq!(bench.store.read(&object, 0, 0)?, b"");
    }
    Ok(())
}

pub(super) fn size_is_the_end_of_the_last_write(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    for (offset, size) in [(0, 1), (4095, 4096), (10, 4096), (100_000, 100_001)] {
        bench.store.write(&object, offset, b"x")?;
        assert_eq!(bench.store.size(&object)?, size);
    }
    Ok(())
}

pub(super) fn a_deleted_object_is_gone_and_a_new_one_is_new(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    for round in 0..3_u8 {
        bench.store.write(&object, 0, &[round + 1; 9000])?;
        assert_eq!(bench.store.read(&object, 8999, 1)?, [round + 1]);
        bench.store.delete(&object)?;
        fails(bench.store.read(&object, 0, 1), ErrorKind::NotFound);
        fails(bench.store.delete(&object), ErrorKind::NotFound);
        bench.store.write(&object, 0, b"new")?;
        assert_eq!(bench.store.size(&object)?, 3);
        assert_eq!(bench.another().read(&object, 0, 5)?, b"new\0\0");
        bench.store.ask(&object, StoreOperation::Delete { is_durable: true })?;
    }
    Ok(())
}

pub(super) fn a_second_attempt_to_delete_succeeds(bench: &Bench<'_>) -> Outcome {
    let operation = StoreOperation::Delete { is_durable: false };
    let request = StoreRequest { is_second_attempt: true, ..StoreRequest::new(&bench.name("o"), operation) };
    bench.store.call(request, Data::None)?;
    Ok(())
}

pub(super) fn truncate_cuts_and_grows(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    let truncate =
        |size| bench.store.ask(&object, StoreOperation::Truncate { size, is_durable: size == 8192 });
    truncate(10)?;
    assert_eq!(bench.store.read(&object, 0, 12)?, [0; 12]);
    bench.store.write(&object, 0, &[7; 6000])?;
    truncate(5)?;
    truncate(8192)?;
    assert_eq!(bench.store.size(&object)?, 8192);
    assert_eq!(bench.store.read(&object, 0, 8)?, [7, 7, 7, 7, 7, 0, 0, 0]);
    Ok(())
}

pub(super) fn exclusive_writes_never_overwrite(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    let exclusive = |bytes: &[u8]| bench.store.write_as(&object, 2, bytes, WriteMode::Exclusive, true);
    exclusive(b"mine")?;
    fails(exclusive(b"other"), ErrorKind::Exists);
    fails(exclusive(b"mine"), ErrorKind::Exists);
    assert_eq!(bench.store.read(&object, 0, 7)?, b"\0\0mine\0");
    Ok(())
}

pub(super) fn a_second_attempt_of_an_exclusive_write_succeeds(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    let operation = StoreOperation::Write { offset: 0, mode: WriteMode::Exclusive, is_durable: true };
    let again = |bytes: &[u8]| {
        let request =
            StoreRequest { is_second_attempt: true, ..StoreRequest::new(&object, operation.clone()) };
        bench.store.call(request, Data::From(bytes))
    };
    again(b"mine")?;
    again(b"mine")?;
    fails(again(b"minf"), ErrorKind::Exists);
    fails(again(b"min"), ErrorKind::Exists);
    Ok(())
}

pub(super) fn replace_leaves_exactly_its_bytes(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    for bytes in [pattern(1, 5000), pattern(2, 3), pattern(3, 0), pattern(4, 9000)] {
        bench.store.write_as(&object, 0, &bytes, WriteMode::Replace, false)?;
        assert_eq!(bench.store.size(&object)?, bytes.len() as u64);
        assert_eq!(bench.store.read(&object, 0, bytes.len())?, bytes);
        bench.store.write(&object, 1, b"?")?;
    }
    fails(bench.store.write_as(&object, 1, b"x", WriteMode::Replace, false), ErrorKind::Invalid);
    Ok(())
}

pub(super) fn durable_writes_and_syncs_are_answered(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write_as(&object, 0, b"durable", WriteMode::Update, true)?;
    bench.store.write_as(&object, 3, b"again", WriteMode::Update, true)?;
    bench.store.write(&object, 5, b"x")?;
    bench.store.ask(&object, StoreOperation::Sync)?;
    bench.store.ask(&object, StoreOperation::Sync)?;
    bench.store.ask(&object, StoreOperation::Flush)?;
    assert_eq!(bench.store.read(&object, 0, 9)?, b"duragxin\0");
    Ok(())
}

pub(super) fn impossible_ranges_are_invalid(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 0, b"x")?;
    fails(bench.store.read(&object, u64::MAX, 1), ErrorKind::Invalid);
    fails(bench.store.write(&object, u64::MAX - 1, b"abc"), ErrorKind::Invalid);
    fails(bench.store.write(&object, i64::MAX as u64, b"abc"), ErrorKind::Invalid);
    let discard = StoreOperation::Discard { offset: u64::MAX, size: 2, is_durable: false };
    fails(bench.store.ask(&object, discard), ErrorKind::Invalid);
    let truncate = StoreOperation::Truncate { size: u64::MAX, is_durable: false };
    fails(bench.store.ask(&object, truncate), ErrorKind::Invalid);
    assert_eq!(bench.store.size(&object)?, 1);
    Ok(())
}

pub(super) fn bytes_of_any_length_survive(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    let ranges =
        [(0, 1), (511, 513), (4095, 2), (4096, 8192), (12_288, 65_536), (3, 300_000), (70_001, 1_100_000)];
    for (seed, (offset, len)) in ranges.into_iter().enumerate() {
        let bytes = pattern(seed.to_le_bytes()[0], len);
        bench.store.write(&object, offset, &bytes)?;
        assert_eq!(bench.store.read(&object, offset, len)?, bytes, "{len} bytes at {offset}");
    }
    Ok(())
}

pub(super) fn another_way_to_the_store_sees_the_same(bench: &Bench<'_>) -> Outcome {
    let (object, other) = (bench.name("o"), bench.another());
    bench.store.write(&object, 0, b"one")?;
    assert_eq!(other.read(&object, 0, 3)?, b"one");
    other.write_as(&object, 0, b"replaced", WriteMode::Replace, false)?;
    assert_eq!(bench.store.read(&object, 0, 8)?, b"replaced");
    other.delete(&object)?;
    fails(bench.store.read(&object, 0, 1), ErrorKind::NotFound);
    bench.store.write(&object, 0, b"two")?;
    assert_eq!(other.read(&object, 0, 3)?, b"two");
    Ok(())
}
