//! Claims on changes that carry a lock's number.

use super::{Bench, Outcome, fails};
use crate::{
    Data, ErrorKind, Fence, ObjectName, Store, StoreError, StoreOperation, StoreReply, StoreRequest,
    WriteMode,
};

fn write(
    store: &dyn Store,
    object: &ObjectName,
    lock: &ObjectName,
    number: u64,
) -> Result<StoreReply, StoreError> {
    let operation = StoreOperation::Write { offset: 0, mode: WriteMode::Update, is_durable: false };
    let fence = Some(Fence { lock: lock.clone(), number });
    store.call(
        StoreRequest { fence, ..StoreRequest::new(object, operation) },
        Data::From(&number.to_le_bytes()),
    )
}

pub(super) fn only_the_current_number_may_write(bench: &Bench<'_>) -> Outcome {
    let (object, lock) = (bench.name("o"), bench.name("l"));
    fails(write(&*bench.store, &object, &lock, 0), ErrorKind::NotOwner);
    fails(write(&*bench.store, &object, &lock, 1), ErrorKind::NotOwner);
    fails(bench.store.size(&object), ErrorKind::NotFound);
    let first = bench.store.acquire(&lock, "a", false, false)?;
    write(&*bench.store, &object, &lock, first)?;
    write(&*bench.store, &object, &lock, first)?;
    fails(write(&*bench.store, &object, &lock, first + 1), ErrorKind::NotOwner);
    bench.store.release(&lock, "a", false)?;
    fails(write(&*bench.store, &object, &lock, first), ErrorKind::NotOwner);
    let second = bench.store.acquire(&lock, "a", false, false)?;
    fails(write(&*bench.store, &object, &lock, first), ErrorKind::NotOwner);
    write(&*bench.store, &object, &lock, second)?;
    assert_eq!(bench.store.read(&object, 0, 8)?, second.to_le_bytes());
    Ok(())
}

pub(super) fn a_broken_owner_can_write_no_more(bench: &Bench<'_>) -> Outcome {
    let (object, lock, elsewhere) = (bench.name("o"), bench.name("l"), bench.another());
    let number = bench.store.acquire(&lock, "a", false, false)?;
    write(&*bench.store, &object, &lock, number)?;
    elsewhere.release(&lock, "b", true)?;
    fails(write(&*bench.store, &object, &lock, number), ErrorKind::NotOwner);
    let taken = elsewhere.acquire(&lock, "b", false, false)?;
    fails(write(&*bench.store, &object, &lock, number), ErrorKind::NotOwner);
    write(&*bench.store, &object, &lock, taken)?;
    Ok(())
}

pub(super) fn every_change_can_be_fenced(bench: &Bench<'_>) -> Outcome {
    let (object, lock) = (bench.name("o"), bench.name("l"));
    bench.store.write(&object, 0, b"kept")?;
    let changes = [
        StoreOperation::Delete { is_durable: false },
        StoreOperation::Truncate { size: 1, is_durable: false },
        StoreOperation::Discard { offset: 0, size: 4, is_durable: false },
        StoreOperation::WriteZeroes { offset: 0, size: 4, may_trim: true, is_fast: false, is_durable: false },
        StoreOperation::Write { offset: 0, mode: WriteMode::Replace, is_durable: true },
    ];
    let number = bench.store.acquire(&lock, "a", false, false)?;
    for operation in changes {
        let fence = Some(Fence { lock: lock.clone(), number: number + 1 });
        let request = StoreRequest { fence, ..StoreRequest::new(&object, operation) };
        fails(bench.store.call(request, Data::From(b"")), ErrorKind::NotOwner);
        assert_eq!(bench.store.read(&object, 0, 5)?, b"kept\0");
    }
    Ok(())
}
