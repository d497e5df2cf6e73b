//! A store whose operations block the caller.

use crate::{
    Action, ErrorKind, LockState, ObjectName, Page, StoreError, StoreOperation, StoreReply, StoreRequest,
    WriteMode,
};

/// The bytes of a request, where the caller has them.
#[derive(Debug)]
pub enum Data<'a> {
    /// It has none.
    None,
    /// What to write.
    From(&'a [u8]),
    /// Where to read to.
    Into(&'a mut [u8]),
}

type Result<T> = std::result::Result<T, StoreError>;

/// A store that any number of threads may call; each call blocks until it is answered.
///
/// Stores implement [`Store::call`]; the rest says the same in fewer words.
pub trait Store: Send + Sync {
    /// Does what is asked.
    ///
    /// # Errors
    /// By kind, as docs/protocols.md says for each operation.
    fn call(&self, request: StoreRequest, data: Data<'_>) -> Result<StoreReply>;

    /// An unfenced first attempt without bytes.
    ///
    /// # Errors
    /// As [`Store::call`], so for all that follow.
    fn ask(&self, object: &ObjectName, operation: StoreOperation) -> Result<StoreReply> {
        self.call(StoreRequest::new(object, operation), Data::None)
    }

    /// `size` bytes from `offset`.
    fn read(&self, object: &ObjectName, offset: u64, size: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0xee; size];
        self.call(StoreRequest::new(object, StoreOperation::Read { offset }), Data::Into(&mut bytes))?;
        Ok(bytes)
    }

    /// Overwrites a range.
    fn write(&self, object: &ObjectName, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_as(object, offset, bytes, WriteMode::Update, false)
    }

    /// Writes in any mode.
    fn write_as(
        &self,
        object: &ObjectName,
        offset: u64,
        bytes: &[u8],
        mode: WriteMode,
        is_durable: bool,
    ) -> Result<()> {
        let operation = StoreOperation::Write { offset, mode, is_durable };
        self.call(StoreRequest::new(object, operation), Data::From(bytes)).map(drop)
    }

    /// Removes an object.
    fn delete(&self, object: &ObjectName) -> Result<()> {
        self.ask(object, StoreOperation::Delete { is_durable: false }).map(drop)
    }

    /// Copies the front of another object here.
    fn copy(&self, source: &ObjectName, target: &ObjectName, size: u64) -> Result<()> {
        let source = Box::new(source.clone());
        self.ask(target, StoreOperation::Copy { source, size, is_durable: false }).map(drop)
    }

    /// Size of an object in bytes.
    fn size(&self, object: &ObjectName) -> Result<u64> {
        match self.ask(object, StoreOperation::Info)? {
            StoreReply::Size(size) => Ok(size),
            _ => Err(StoreError::new(ErrorKind::Corrupt, Action::Info, object)),
        }
    }

    /// SHA-256 of an object without its trailing zeros.
    fn hash(&self, object: &ObjectName) -> Result<[u8; 32]> {
        match self.ask(object, StoreOperation::Hash)? {
            StoreReply::Hash(hash) => Ok(hash),
            _ => Err(StoreError::new(ErrorKind::Corrupt, Action::Hash, object)),
        }
    }

    /// A page of names.
    fn list(&self, object: &ObjectName, prefix: &[u8], after: &[u8], max_bytes: usize) -> Result<Page> {
        let operation = StoreOperation::List { prefix: prefix.into(), after: after.into(), max_bytes };
        match self.ask(object, operation)? {
            StoreReply::Names(page) => Ok(page),
            _ => Err(StoreError::new(ErrorKind::Corrupt, Action::List, object)),
        }
    }

    /// Takes a lock, and says the number of the grant.
    fn acquire(&self, lock: &ObjectName, owner: &str, wait: bool, force: bool) -> Result<u64> {
        let description = "conformance".to_owned();
        let operation = StoreOperation::Acquire { owner: owner.into(), description, wait, force };
        match self.ask(lock, operation)? {
            StoreReply::Granted(number) => Ok(number),
            _ => Err(StoreError::new(ErrorKind::Corrupt, Action::Acquire, lock)),
        }
    }

    /// Gives a lock back, or breaks it.
    fn release(&self, lock: &ObjectName, owner: &str, force: bool) -> Result<()> {
        self.ask(lock, StoreOperation::Release { owner: owner.into(), force }).map(drop)
    }

    /// Who holds a lock.
    fn lock_info(&self, lock: &ObjectName) -> Result<LockState> {
        match self.ask(lock, StoreOperation::LockInfo)? {
            StoreReply::Lock(state) => Ok(state),
            _ => Err(StoreError::new(ErrorKind::Corrupt, Action::LockInfo, lock)),
        }
    }
}
