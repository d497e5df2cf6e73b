//! A client that remembers what it asked and was told.

use std::time::Duration;

use client::{Client, Failure};
use protocol::ErrorKind;

use super::{Action, End, History, Operation, Value};
use crate::TestStack;

/// A register's size in bytes.
const REGISTER: usize = 4096;
/// After so long a question counts as never answered if nobody says: its host may be gone.
const PATIENCE: Duration = Duration::from_secs(6);

/// A client on one host, and its volume.
pub struct Witness<'a> {
    stack: &'a TestStack,
    host: usize,
    volume: &'a str,
    history: &'a History,
    client: Option<Client>,
    patience: Duration,
}

impl<'a> Witness<'a> {
    /// A client on the `host`th host. It connects when it is asked to do something.
    #[must_use]
    pub fn new(stack: &'a TestStack, host: usize, volume: &'a str, history: &'a History) -> Witness<'a> {
        Witness { stack, host, volume, history, client: None, patience: PATIENCE }
    }

    /// After so long a question counts as never answered.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Witness<'a> {
        Witness { patience, ..self }
    }

    /// Writes a value to the register at `offset`. Whether that was done.
    pub fn write(&mut self, register: usize, offset: u64, value: Value) -> bool {
        let bytes = content(value);
        self.note(Action::Write(register, value), |client, volume| client.write(volume, offset, &bytes))
    }

    /// Flushes, after this client wrote this value to the register. Whether that was done.
    pub fn flush(&mut self, register: usize, value: Value) -> bool {
        self.note(Action::Flush(register, value), Client::flush)
    }

    /// What the register at `offset` holds, if that is to be had.
    ///
    /// # Panics
    /// If it holds what nobody wrote, or parts of two values.
    pub fn read(&mut self, register: usize, offset: u64) -> Option<Value> {
        let (volume, begun, mut bytes) = (self.volume, self.history.now(), vec![0; REGISTER]);
        if let Err(failure) = self.client()?.read(volume, offset, &mut bytes) {
            self.lose_if_silent(&failure);
            return None;
        }
        let value = Value::from_le_bytes(bytes[..8].try_into().unwrap());
        assert!(bytes == content(value), "register {register} holds parts of several values");
        let (action, end) = (Action::Read(register, value), End::Done(self.history.now()));
        self.history.add(Operation { host: self.host, action, begun, end });
        Some(value)
    }

    /// Takes the lock. Whether that was done.
    pub fn open(&mut self) -> bool {
        self.note(Action::Open, Client::open)
    }

    /// Gives the lock back. Whether that was done.
    pub fn close(&mut self) -> bool {
        self.note(Action::Close, Client::close)
    }

    /// Breaks the lock. Whether that was done.
    pub fn break_lock(&mut self) -> bool {
        self.note(Action::Break, |client, volume| client.unlock(volume, true))
    }

    /// Asks, and notes what came of it. Whether it was done.
    fn note(&mut self, action: Action, ask: impl FnOnce(&mut Client, &str) -> Result<(), Failure>) -> bool {
        let (volume, begun) = (self.volume, self.history.now());
        let Some(client) = self.client() else { return false };
        let end = match ask(client, volume) {
            Ok(()) => End::Done(self.history.now()),
            // What a store could not be asked it may still be about to do.
            Err(failure) if failure.kind == ErrorKind::Unavailable => {
                self.lose_if_silent(&failure);
                End::Never
            }
            Err(_) => End::Failed(self.history.now()),
        };
        self.history.add(Operation { host: self.host, action, begun, end });
        matches!(end, End::Done(_))
    }

    /// A client of a host that does not answer is of no use any more: what it asked last may still be under way.
    fn lose_if_silent(&mut self, failure: &Failure) {
        if failure.kind == ErrorKind::Unavailable {
            self.client = None;
        }
    }

    /// None while the host is away.
    fn client(&mut self) -> Option<&mut Client> {
        if self.client.is_none() {
            let mut client = Client::connect(&self.stack.try_stack().ok()?).ok()?;
            client.set_patience(self.patience);
            self.client = Some(client);
        }
        self.client.as_mut()
    }
}

/// What a register holds that has this value.
fn content(value: Value) -> Vec<u8> {
    value.to_le_bytes().repeat(REGISTER / 8)
}
