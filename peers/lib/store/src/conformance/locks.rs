//! Claims on locks.

use std::thread;

use super::{Bench, Outcome, fails};
use crate::{Data, ErrorKind, StoreOperation, StoreRequest};

pub(super) fn acquire_is_idempotent_for_the_owner(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    let number = bench.store.acquire(&lock, "a", false, false)?;
    assert_eq!(bench.store.acquire(&lock, "a", false, false)?, number);
    assert_eq!(bench.store.acquire(&lock, "a", true, true)?, number);
    fails(bench.store.acquire(&lock, "b", false, false), ErrorKind::Busy);
    let state = bench.store.lock_info(&lock)?;
    assert_eq!((state.owner.as_deref(), state.description.as_str()), (Some("a"), "conformance"));
    assert_eq!(state.number, number);
    assert!(state.since_unix_ms > 1_500_000_000_000);
    Ok(())
}

pub(super) fn an_owner_is_compared_whole(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    bench.store.acquire(&lock, "vm_10020", false, false)?;
    for other in ["vm_1002", "vm_100200", "vm_1002 ", "VM_10020"] {
        fails(bench.store.acquire(&lock, other, false, false), ErrorKind::Busy);
        fails(bench.store.release(&lock, other, false), ErrorKind::NotOwner);
    }
    bench.store.release(&lock, "vm_10020", false)
}

pub(super) fn release_needs_the_owner(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    fails(bench.store.release(&lock, "a", false), ErrorKind::NotFound);
    assert_eq!(bench.store.lock_info(&lock)?.owner, None);
    bench.store.acquire(&lock, "a", false, false)?;
    fails(bench.store.release(&lock, "b", false), ErrorKind::NotOwner);
    bench.store.release(&lock, "a", false)?;
    fails(bench.store.release(&lock, "a", false), ErrorKind::NotFound);
    assert_eq!(bench.store.lock_info(&lock)?.owner, None);
    Ok(())
}

pub(super) fn numbers_grow_with_every_owner(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    let mut last = 0;
    for owner in ["a", "b", "b", "a"] {
        let number = bench.store.acquire(&lock, owner, false, false)?;
        assert!(number > last, "{number} after {last}");
        last = number;
        bench.store.release(&lock, owner, false)?;
        assert!(bench.store.lock_info(&lock)?.number >= number);
    }
    Ok(())
}

pub(super) fn a_broken_lock_is_free_with_a_new_number(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    let number = bench.store.acquire(&lock, "a", false, false)?;
    bench.store.release(&lock, "b", true)?;
    let state = bench.store.lock_info(&lock)?;
    assert!(state.owner.is_none() && state.number > number);
    fails(bench.store.release(&lock, "a", false), ErrorKind::NotFound);
    assert!(bench.store.acquire(&lock, "c", false, false)? > number);
    Ok(())
}

pub(super) fn force_takes_a_lock_over(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    let number = bench.store.acquire(&lock, "a", false, false)?;
    assert!(bench.store.acquire(&lock, "b", false, true)? > number);
    fails(bench.store.release(&lock, "a", false), ErrorKind::NotOwner);
    bench.store.release(&lock, "b", false)
}

pub(super) fn a_lock_survives_its_store(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    let number = bench.another().acquire(&lock, "a", false, false)?;
    fails(bench.another().acquire(&lock, "b", false, false), ErrorKind::Busy);
    assert_eq!(bench.another().acquire(&lock, "a", false, false)?, number);
    bench.another().release(&lock, "a", false)?;
    assert!(bench.another().acquire(&lock, "b", false, false)? > number);
    Ok(())
}

pub(super) fn a_second_attempt_to_release_succeeds(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    bench.store.acquire(&lock, "a", false, false)?;
    let release = |owner: &str| {
        let operation = StoreOperation::Release { owner: owner.into(), force: false };
        let request = StoreRequest { is_second_attempt: true, ..StoreRequest::new(&lock, operation) };
        bench.store.call(request, Data::None)
    };
    release("a")?;
    release("a")?;
    bench.store.acquire(&lock, "b", false, false)?;
    fails(release("a"), ErrorKind::NotOwner);
    Ok(())
}

pub(super) fn a_waiting_acquire_gets_the_released_lock(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    let first = bench.store.acquire(&lock, "a", false, false)?;
    let numbers = thread::scope(|threads| {
        let waiting: Vec<_> = ["b", "c", "d"]
            .map(|owner| {
                let (store, lock) = (&bench.store, &lock);
                threads.spawn(move || {
                    let number = store.acquire(lock, owner, true, false)?;
                    store.release(lock, owner, false)?;
                    Ok(number)
                })
            })
            .into();
        bench.store.release(&lock, "a", false)?;
        waiting.into_iter().map(|thread| thread.join().expect("a claim's thread ends")).collect()
    });
    let numbers: Result<Vec<u64>, crate::StoreError> = numbers;
    let mut numbers = numbers?;
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.len() == 3 && numbers[0] > first);
    Ok(())
}

pub(super) fn a_waiting_acquire_hears_of_a_release_elsewhere(bench: &Bench<'_>) -> Outcome {
    let (lock, elsewhere) = (bench.name("l"), bench.another());
    elsewhere.acquire(&lock, "a", false, false)?;
    thread::scope(|threads| {
        let waiting = threads.spawn(|| bench.store.acquire(&lock, "b", true, false));
        elsewhere.release(&lock, "a", false)?;
        waiting.join().expect("a claim's thread ends")
    })?;
    assert_eq!(elsewhere.lock_info(&lock)?.owner.as_deref(), Some("b"));
    Ok(())
}

pub(super) fn a_crowd_of_waiters_does_not_keep_the_owner_out(bench: &Bench<'_>) -> Outcome {
    let (lock, other) = (bench.name("l"), bench.name("other"));
    bench.store.acquire(&lock, "owner", false, false)?;
    thread::scope(|threads| {
        for waiter in 0..12 {
            let (store, lock) = (&bench.store, &lock);
            threads.spawn(move || {
                let owner = format!("waiter {waiter}");
                store.acquire(lock, &owner, true, false).and_then(|_| store.release(lock, &owner, false))
            });
        }
        for _ in 0..20 {
            bench.store.acquire(&other, "owner", false, false)?;
            bench.store.release(&other, "owner", false)?;
        }
        bench.store.release(&lock, "owner", false)
    })?;
    assert_eq!(bench.store.lock_info(&lock)?.owner, None);
    Ok(())
}

pub(super) fn lock_and_object_of_one_name_are_two_things(bench: &Bench<'_>) -> Outcome {
    let name = bench.name("both");
    bench.store.acquire(&name, "a", false, false)?;
    fails(bench.store.read(&name, 0, 1), ErrorKind::NotFound);
    bench.store.write(&name, 0, b"object")?;
    bench.store.delete(&name)?;
    assert_eq!(bench.store.lock_info(&name)?.owner.as_deref(), Some("a"));
    Ok(())
}

pub(super) fn strange_owners_are_refused_or_kept(bench: &Bench<'_>) -> Outcome {
    let lock = bench.name("l");
    fails(bench.store.acquire(&lock, "", false, false), ErrorKind::Invalid);
    fails(bench.store.acquire(&lock, &"x".repeat(5000), false, false), ErrorKind::Invalid);
    for owner in ["../a", "a\nb", "ü", "%"] {
        bench.store.acquire(&lock, owner, false, false)?;
        assert_eq!(bench.store.lock_info(&lock)?.owner.as_deref(), Some(owner));
        bench.store.release(&lock, owner, false)?;
    }
    Ok(())
}
