//! Claims on copies and hashes.

use super::{Bench, Outcome, fails, pattern};
use crate::{ErrorKind, StoreOperation};

pub(super) fn copying_a_missing_source_fails_and_makes_nothing(bench: &Bench<'_>) -> Outcome {
    let (source, target) = (bench.name("s"), bench.name("t"));
    fails(bench.store.copy(&source, &target, 10), ErrorKind::NotFound);
    fails(bench.store.size(&target), ErrorKind::NotFound);
    bench.store.write(&target, 0, b"kept")?;
    fails(bench.store.copy(&source, &target, 10), ErrorKind::NotFound);
    assert_eq!(bench.store.read(&target, 0, 4)?, b"kept");
    Ok(())
}

pub(super) fn copying_twice_does_not_grow_the_target(bench: &Bench<'_>) -> Outcome {
    let (source, target) = (bench.name("s"), bench.name("t"));
    bench.store.write(&source, 0, &pattern(1, 8704))?;
    for _ in 0..3 {
        bench.store.copy(&source, &target, 8704)?;
        assert_eq!(bench.store.size(&target)?, 8704);
    }
    assert_eq!(bench.store.read(&target, 0, 8704)?, pattern(1, 8704));
    Ok(())
}

pub(super) fn a_longer_copy_is_zero_padded(bench: &Bench<'_>) -> Outcome {
    let (source, target) = (bench.name("s"), bench.name("t"));
    bench.store.write(&source, 0, b"abc")?;
    let operation = StoreOperation::Copy { source: Box::new(source), size: 10_000, is_durable: true };
    bench.store.ask(&target, operation)?;
    assert_eq!(bench.store.size(&target)?, 10_000);
    assert_eq!(bench.store.read(&target, 0, 10_000)?, [b"abc".to_vec(), vec![0; 9997]].concat());
    Ok(())
}

pub(super) fn a_shorter_copy_is_cut(bench: &Bench<'_>) -> Outcome {
    let (source, target) = (bench.name("s"), bench.name("t"));
    bench.store.write(&source, 0, &pattern(1, 10_000))?;
    bench.store.copy(&source, &target, 5001)?;
    assert_eq!(bench.store.size(&target)?, 5001);
    assert_eq!(bench.store.read(&target, 0, 5002)?, [pattern(1, 5001), vec![0]].concat());
    bench.store.copy(&source, &target, 0)?;
    assert_eq!(bench.store.size(&target)?, 0);
    Ok(())
}

pub(super) fn a_copy_replaces_what_was_there(bench: &Bench<'_>) -> Outcome {
    let (source, target) = (bench.name("s"), bench.name("t"));
    bench.store.write(&source, 0, b"short")?;
    bench.store.write(&target, 0, &vec![9; 50_000])?;
    assert_eq!(bench.store.read(&target, 0, 1)?, [9]);
    bench.store.copy(&source, &target, 5)?;
    assert_eq!(bench.store.read(&target, 0, 6)?, b"short\0");
    assert_eq!(bench.store.size(&target)?, 5);
    Ok(())
}

pub(super) fn a_copy_lives_on_its_own(bench: &Bench<'_>) -> Outcome {
    let (source, target) = (bench.name("s"), bench.name("t"));
    bench.store.write(&source, 0, &pattern(1, 100_000))?;
    bench.store.copy(&source, &target, 100_000)?;
    bench.store.write(&source, 0, b"changed")?;
    bench.store.write(&target, 50_000, b"own")?;
    bench.store.delete(&source)?;
    let mut expected = pattern(1, 100_000);
    expected[50_000..50_003].copy_from_slice(b"own");
    assert_eq!(bench.store.read(&target, 0, 100_000)?, expected);
    Ok(())
}

pub(super) fn a_copy_onto_itself_keeps_its_bytes(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 0, &pattern(1, 10_000))?;
    bench.store.copy(&object, &object, 10_001)?;
    assert_eq!(bench.store.read(&object, 0, 10_001)?, [pattern(1, 10_000), vec![0]].concat());
    Ok(())
}

pub(super) fn holes_stay_zeros_in_copies(bench: &Bench<'_>) -> Outcome {
    let (source, target) = (bench.name("s"), bench.name("t"));
    bench.store.write(&source, 1 << 20, &pattern(1, 9000))?;
    bench.store.write(&source, 3 << 20, &pattern(2, 9000))?;
    bench.store.copy(&source, &target, 4 << 20)?;
    assert_eq!(bench.store.read(&target, 0, 4 << 20)?, bench.store.read(&source, 0, 4 << 20)?);
    assert_eq!(bench.store.size(&target)?, 4 << 20);
    Ok(())
}

/// SHA-256 of nothing and of "abc", as FIPS 180-4 has them.
const HASHES: [&str; 2] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
];

fn hex(hash: [u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn hash_is_sha256_without_trailing_zeros(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    for (bytes, hash) in
        [(&b""[..], HASHES[0]), (b"\0\0\0", HASHES[0]), (b"abc", HASHES[1]), (b"abc\0\0\0\0", HASHES[1])]
    {
        bench.store.write_as(&object, 0, bytes, crate::WriteMode::Replace, false)?;
        assert_eq!(hex(bench.store.hash(&object)?), hash, "{bytes:?}");
    }
    bench.store.ask(&object, StoreOperation::Truncate { size: 5 << 20, is_durable: false })?;
    assert_eq!(hex(bench.store.hash(&object)?), HASHES[1]);
    Ok(())
}

pub(super) fn equal_contents_have_equal_hashes(bench: &Bench<'_>) -> Outcome {
    let (one, two) = (bench.name("1"), bench.name("2"));
    bench.store.write(&one, 0, &pattern(1, 600_000))?;
    bench.store.write(&two, 0, &pattern(1, 600_000))?;
    bench.store.write(&two, 700_000, b"\0")?;
    assert_eq!(bench.store.hash(&one)?, bench.store.hash(&two)?);
    Ok(())
}

pub(super) fn a_rewritten_object_has_a_new_hash(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    bench.store.write(&object, 0, b"abd")?;
    let before = bench.store.hash(&object)?;
    bench.store.write(&object, 2, b"c")?;
    let after = bench.store.hash(&object)?;
    assert_ne!(before, after);
    assert_eq!(hex(after), HASHES[1]);
    Ok(())
}
