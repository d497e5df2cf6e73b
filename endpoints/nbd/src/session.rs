//! Transmission with one client.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use client::{Client, Io, Sender, Stack};
use protocol::{ErrorKind, Failure, Flags};
use xseg::Held;

use crate::{
    Error,
    exports::Export,
    inbound::Inbound,
    lock,
    memory::Share,
    negotiation::Agreed,
    opened::Opened,
    pending::Duty,
    relief::{LEND_AFTER, Relief},
    replies::{Replier, Shared, errno_of},
    rules::{Limits, Refused},
    stream::Stream,
    wire::{Command, CommandFlags, Errno, PAYLOAD_MAX, Request},
};

/// How long a session that ends waits for what is under way.
const FINISH_PATIENCE: Duration = Duration::from_secs(10);
/// How often a session that waits for its relief looks whether it shall end.
const LOOK_UP: Duration = Duration::from_secs(1);
/// The longest payload of a refused write that is received and dropped, in bytes; a longer one ends the connection.
const SKIP_MAX: u64 = 2 * PAYLOAD_MAX as u64;
/// Room for the extents of one block status request, in bytes.
const EXTENTS_BYTES: u64 = 64 << 10;

/// One client's use of one volume.
pub(crate) struct Session {
    stack: Stack,
    export: Arc<Export>,
    limits: Limits,
    shared: Arc<Shared>,
    inbound: Inbound,
    sender: Sender,
    /// None while the relief has it.
    replier: Option<Replier>,
    relief: Option<Relief>,
    /// Replies that need nothing of the stack, to be sent before anything is waited for.
    early: Vec<u8>,
    /// Last, so that the memory is free again before others may take it.
    _share: Share,
}

impl Session {
    pub(crate) fn new(
        stack: &Stack,
        export: &Arc<Export>,
        device: Opened,
        stream: Stream,
        agreed: Agreed,
    ) -> Session {
        let limits = Limits {
            size_bytes: device.shape.size_bytes,
            payload_max: device.payload_max,
            is_read_only: device.shape.is_read_only,
            has_block_status: agreed.allocation,
            style: agreed.style,
        };
        let Opened { sender, completions, share, .. } = device;
        Session {
            stack: stack.clone(),
            export: Arc::clone(export),
            limits,
            shared: Arc::new(Shared::new(stream, agreed.style)),
            inbound: Inbound::new(),
            sender,
            replier: Some(Replier::new(completions)),
            relief: None,
            early: Vec::new(),
            _share: share,
        }
    }

    /// Serves until the client leaves or breaks the protocol. What is under way then is answered first.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let outcome = self.serve();
        self.finish();
        outcome
    }

    fn serve(&mut self) -> Result<(), Error> {
        while let Some(request) = self.next_request()? {
            if request.command == Command::Disconnect {
                return Ok(());
            }
            self.accept(request)?;
        }
        Ok(())
    }

    /// The client's next request; answers what completes meanwhile.
    fn next_request(&mut self) -> Result<Option<Request>, Error> {
        loop {
            if let Some(request) = self.inbound.request(self.shared.style)? {
                return Ok(Some(request));
            }
            self.send_early();
            let is_open = if self.must_answer()? {
                if self.inbound.receive_now(&self.shared.stream)? {
                    self.answer_if_drained()?;
                    true
                } else {
                    false
                }
            } else {
                self.inbound.receive(&self.shared.stream)?
            };
            if !is_open {
                return Ok(None);
            }
        }
    }

    /// Whether this thread has to hear completions. If not, it may wait for its client.
    fn must_answer(&mut self) -> Result<bool, Error> {
        let mut pending = lock(&self.shared.pending);
        if pending.duty == Duty::Wanted {
            pending.duty = Duty::Relief;
        }
        let (duty, is_busy) = (pending.duty, !pending.is_empty());
        drop(pending);
        if duty == Duty::Session {
            self.take_back()?;
        }
        Ok(duty == Duty::Session && is_busy)
    }

    fn answer_if_drained(&mut self) -> Result<(), Error> {
        if self.inbound.is_drained() {
            self.answer_or_lend()?;
            self.inbound.expect_more();
        }
        Ok(())
    }

    /// Waits shortly for completions and answers them; lets the relief wait if none comes.
    fn answer_or_lend(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + LEND_AFTER;
        let has_answered = self.replier.as_mut().is_none_or(|replier| replier.answer(&self.shared, deadline));
        if has_answered { Ok(()) } else { self.lend() }
    }

    /// Lets the relief answer, before this thread waits for something else.
    fn lend(&mut self) -> Result<(), Error> {
        if !self.must_answer()? {
            return Ok(());
        }
        if self.relief.is_none() {
            let started = Relief::start(&self.shared);
            self.relief = Some(started.map_err(|source| Error::Thread { name: "nbd-replies", source })?);
        }
        if let (Some(relief), Some(replier)) = (&self.relief, self.replier.take()) {
            relief.lend(replier, &self.shared);
        }
        Ok(())
    }

    /// Takes back what was lent to the relief, which has given duty up or is about to. A session that shall end does not
    /// wait for that.
    fn take_back(&mut self) -> Result<(), Error> {
        while self.replier.is_none()
            && let Some(relief) = &self.relief
        {
            let returned = relief.take_back(LOOK_UP);
            self.replier = returned.map_err(|_| Error::ThreadDied { name: "nbd-replies" })?;
            if self.replier.is_none() && self.export.users.is_closing() {
                let message = format!("volume {} is being detached", self.export.volume);
                return Err(Failure::new(ErrorKind::Unavailable, message).into());
            }
        }
        Ok(())
    }

    fn send_early(&mut self) {
        if !self.early.is_empty() {
            self.shared.send(&mut self.early);
        }
    }

    fn accept(&mut self, request: Request) -> Result<(), Error> {
        let allowed = match self.limits.check(&request) {
            Err(refused) if refused.is_beyond_end => self.check_size(&request)?,
            allowed => allowed,
        };
        let allowed = if self.export.users.is_closing() { Err(Refused::SHUTTING_DOWN) } else { allowed };
        match allowed {
            Err(refused) => self.refuse(&request, refused.errno, refused.message),
            Ok(()) if request.length == 0 && request.command != Command::Flush => {
                self.shared.style.done(&mut self.early, &request);
                Ok(())
            }
            Ok(()) => self.submit(request),
        }
    }

    /// Looks whether the volume has grown.
    fn check_size(&mut self, request: &Request) -> Result<Result<(), Refused>, Error> {
        self.lend()?;
        let info = Client::connect(&self.stack).and_then(|mut client| client.info(&self.export.volume));
        if let Ok(info) = info {
            self.limits.size_bytes = info.size_bytes;
        }
        Ok(self.limits.check(request))
    }

    fn refuse(&mut self, request: &Request, errno: Errno, message: &str) -> Result<(), Error> {
        if request.payload > SKIP_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "payload too long to be skipped").into());
        }
        if request.payload > 0 {
            self.wait_for_payload(request.payload)?;
            self.inbound.skip(&self.shared.stream, request.payload)?;
        }
        self.shared.style.error(&mut self.early, request, errno, message);
        Ok(())
    }

    /// Before a payload is waited for that is not here yet, somebody must be there to answer.
    fn wait_for_payload(&mut self, length: u64) -> Result<(), Error> {
        if self.inbound.holds(length) {
            return Ok(());
        }
        self.send_early();
        self.lend()
    }

    fn submit(&mut self, request: Request) -> Result<(), Error> {
        let held = match self.buffer(buffer_bytes(&request)) {
            Ok(held) => held,
            Err(Error::Stack(failure)) => return self.fail(&request, &failure),
            Err(error) => return Err(error),
        };
        if request.command == Command::Write {
            let received = self.receive_payload(&request, &held);
            if let Err(error) = received {
                self.sender.cancel(held);
                return Err(error);
            }
        }
        let token = self.keep(request);
        if let Err(failure) = self.sender.submit(held, io_of(&request), token) {
            lock(&self.shared.pending).remove(token);
            let errno = errno_of(failure.kind, request.command);
            self.shared.style.error(&mut self.early, &request, errno, &failure.message);
        }
        Ok(())
    }

    fn receive_payload(&mut self, request: &Request, held: &Held) -> Result<(), Error> {
        self.wait_for_payload(request.length)?;
        self.inbound.payload(&self.shared.stream, held, request.length)
    }

    fn fail(&mut self, request: &Request, failure: &Failure) -> Result<(), Error> {
        self.refuse(request, errno_of(failure.kind, request.command), &failure.message)
    }

    /// Remembers a request that is about to be submitted, and asks duty back if the relief has it.
    fn keep(&mut self, request: Request) -> u64 {
        let mut pending = lock(&self.shared.pending);
        if pending.duty == Duty::Relief {
            pending.duty = Duty::Wanted;
        }
        pending.insert(request)
    }

    /// A request of the segment with a buffer; waits while all of them are under way.
    fn buffer(&mut self, bytes: u64) -> Result<Held, Error> {
        loop {
            // Looked at first: the relief may give the last buffer back at any time.
            let is_idle = lock(&self.shared.pending).is_empty();
            if let Some(held) = self.sender.try_buffer(bytes)? {
                return Ok(held);
            }
            self.send_early();
            if is_idle {
                let message = format!("no buffer of {bytes} bytes is free in the segment");
                return Err(Failure::new(ErrorKind::Unavailable, message).into());
            }
            if self.must_answer()? {
                self.answer_or_lend()?;
            } else {
                self.need_completion()?;
            }
        }
    }

    /// Takes duty back from the relief after the next completion.
    fn need_completion(&mut self) -> Result<(), Error> {
        let mut pending = lock(&self.shared.pending);
        if pending.duty != Duty::Session {
            pending.duty = Duty::Needed;
        }
        drop(pending);
        self.take_back()
    }

    /// Answers what is under way, as far as the stack does in time.
    fn finish(&mut self) {
        self.send_early();
        let deadline = Instant::now() + FINISH_PATIENCE;
        if self.replier.is_none()
            && let Some(relief) = &self.relief
        {
            self.replier = relief.take_back(FINISH_PATIENCE).unwrap_or(None);
        }
        if let Some(replier) = &mut self.replier {
            while !lock(&self.shared.pending).is_empty() && replier.answer(&self.shared, deadline) {}
        }
        self.shared.end();
    }
}

fn buffer_bytes(request: &Request) -> u64 {
    match request.command {
        Command::Read | Command::Write => request.length,
        Command::BlockStatus => EXTENTS_BYTES,
        _ => 0,
    }
}

/// What the stack is asked for. Commands without a counterpart were refused before.
fn io_of(request: &Request) -> Io {
    let (offset, size) = (request.offset, request.length);
    let mut flags = Flags::empty();
    flags.set(Flags::FUA, request.flags.contains(CommandFlags::FUA));
    match request.command {
        Command::Read => Io::Read { offset, size },
        Command::Write => Io::Write { offset, size, flags },
        Command::Trim => Io::Discard { offset, size, flags },
        Command::WriteZeroes => {
            flags.set(Flags::MAY_TRIM, !request.flags.contains(CommandFlags::NO_HOLE));
            flags.set(Flags::FAST, request.flags.contains(CommandFlags::FAST_ZERO));
            Io::WriteZeroes { offset, size, flags }
        }
        Command::BlockStatus => Io::Extents { offset, size },
        Command::Flush | Command::Disconnect | Command::Unknown(_) => Io::Flush,
    }
}
