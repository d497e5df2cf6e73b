//! Claims on what runs at the same time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Bench, Outcome};
use crate::{ErrorKind, ObjectName, Store, StoreError, WriteMode};

/// Rounds of each claim; enough to meet each other, few enough to be quick on a slow disk.
const ROUNDS: u8 = 20;

pub(super) fn replacements_are_seen_whole(bench: &Bench<'_>) -> Outcome {
    const LEN: usize = 50_000;
    let (object, is_over) = (bench.name("o"), AtomicBool::new(false));
    bench.store.write_as(&object, 0, &vec![0; LEN], WriteMode::Replace, false)?;
    thread::scope(|threads| {
        let reading = threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let bytes = bench.store.read(&object, 0, LEN)?;
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "old and new bytes in one read");
            }
            Ok(())
        });
        let written = (1..=ROUNDS).try_for_each(|round| {
            bench.store.write_as(&object, 0, &vec![round; LEN], WriteMode::Replace, false)
        });
        is_over.store(true, Ordering::Relaxed);
        reading.join().expect("what is read is whole").and(written)
    })
}

pub(super) fn one_of_many_exclusive_writes_wins(bench: &Bench<'_>) -> Outcome {
    let other = bench.another();
    for round in 0..ROUNDS {
        let object = bench.name(&round.to_string());
        let winners = AtomicU64::new(0);
        thread::scope(|threads| {
            for writer in 0..4_u8 {
                let store: &dyn Store = if writer % 2 == 0 { &*bench.store } else { &*other };
                let (object, winners) = (&object, &winners);
                threads.spawn(move || {
                    match store.write_as(object, 0, &[writer], WriteMode::Exclusive, false) {
                        Ok(()) => drop(winners.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.kind, ErrorKind::Exists, "{error}"),
                    }
                });
            }
        });
        assert_eq!(winners.load(Ordering::Relaxed), 1);
    }
    Ok(())
}

pub(super) fn a_contested_lock_has_one_owner(bench: &Bench<'_>) -> Outcome {
    let (lock, other) = (bench.name("l"), bench.another());
    let inside = AtomicU64::new(0);
    let contend = |store: &dyn Store, owner: &str| -> Result<Vec<u64>, StoreError> {
        let mut numbers = Vec::new();
        for _ in 0..ROUNDS {
            numbers.push(store.acquire(&lock, owner, true, false)?);
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two owners at once");
            inside.fetch_sub(1, Ordering::SeqCst);
            store.release(&lock, owner, false)?;
        }
        Ok(numbers)
    };
    let (ours, theirs) = thread::scope(|threads| {
        let theirs = threads.spawn(|| contend(&*other, "b"));
        (contend(&*bench.store, "a"), theirs.join().expect("one owner at a time"))
    });
    let mut numbers = [ours?, theirs?].concat();
    assert!(numbers[..usize::from(ROUNDS)].is_sorted());
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 2 * usize::from(ROUNDS));
    Ok(())
}

pub(super) fn parallel_writes_of_an_object_all_arrive(bench: &Bench<'_>) -> Outcome {
    const PART: usize = 5000;
    let object = bench.name("o");
    let results: Vec<Outcome> = thread::scope(|threads| {
        let writers: Vec<_> = (0..8_u8)
            .map(|writer| {
                let object = &object;
                threads.spawn(move || {
                    (0..ROUNDS).try_for_each(|_| {
                        bench.store.write(object, u64::from(writer) * PART as u64, &[writer + 1; PART])
                    })
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("a claim's thread ends")).collect()
    });
    results.into_iter().collect::<Outcome>()?;
    let expected: Vec<u8> = (0..8_u8).flat_map(|writer| [writer + 1; PART]).collect();
    assert_eq!(bench.store.read(&object, 0, 8 * PART)?, expected);
    Ok(())
}

pub(super) fn deletes_and_writes_in_a_row_never_mix(bench: &Bench<'_>) -> Outcome {
    let object = bench.name("o");
    let delete = |store: &dyn Store, object: &ObjectName| match store.delete(object) {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        result => result,
    };
    thread::scope(|threads| {
        let deleting = threads.spawn(|| (0..ROUNDS).try_for_each(|_| delete(&*bench.store, &object)));
        let written = (0..ROUNDS).try_for_each(|round| bench.store.write(&object, u64::from(round), &[1]));
        deleting.join().expect("a claim's thread ends").and(written)
    })?;
    bench.store.write(&object, 0, b"last")?;
    assert_eq!(bench.another().read(&object, 0, 4)?, b"last");
    Ok(())
}
