//! One client, from its first byte to its last.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use client::Stack;
use protocol::{ErrorKind, Failure};

use crate::{
    Config, Error,
    exports::{Export, Exports},
    guests::Guest,
    memory::Memory,
    negotiation::{Agreed, Negotiation, Step, Tls as TlsMode},
    opened::{Opened, describe},
    session::Session,
    stream::{Socket, Stream, Timed},
    tls::Tls,
};

/// How long connections that have ended may take to be over: longer than their sessions wait for the stack.
pub(crate) const ENDED_PATIENCE: Duration = Duration::from_secs(20);

/// What every connection needs.
pub(crate) struct Service {
    pub(crate) stack: Stack,
    pub(crate) exports: Exports,
    pub(crate) config: Config,
    pub(crate) memory: Memory,
    /// For TCP; none where TLS is not configured.
    pub(crate) tls: Option<Tls>,
}

/// What a client chose.
struct Chosen {
    export: Arc<Export>,
    user: Guest,
    opened: Opened,
    agreed: Agreed,
}

/// Serves a client until it leaves or must.
pub(crate) fn serve(service: &Service, socket: &Arc<Socket>) -> Result<(), Error> {
    let deadline = Instant::now() + service.config.handshake_timeout();
    let mut stream = Stream::Plain(Arc::clone(socket));
    let tls = service.tls.as_ref().filter(|_| matches!(**socket, Socket::Tcp(_)));
    let mode = if tls.is_some() { TlsMode::Required } else { TlsMode::Off };
    let mut negotiation = Negotiation::greet(Timed { stream: &stream, deadline }, &service.exports, mode)?;
    let mut chosen = choose(service, socket, &mut negotiation)?;
    if let (Choice::StartTls, Some(tls)) = (&chosen, tls) {
        let client = negotiation.client();
        stream = Stream::encrypted(Arc::clone(socket), tls.accept()?);
        let timed = Timed { stream: &stream, deadline };
        let mut negotiation = Negotiation::resume(timed, &service.exports, TlsMode::Active, client);
        chosen = choose(service, socket, &mut negotiation)?;
    }
    let Choice::Export(chosen) = chosen else {
        stream.close();
        return Ok(());
    };
    socket.set_patience(None)?;
    let Chosen { export, user, opened, agreed } = *chosen;
    tracing::debug!(volume = export.volume, "a client has come");
    let outcome = Session::new(&service.stack, &export, opened, stream, agreed).run();
    tracing::debug!(volume = export.volume, "a client has gone");
    drop(user);
    outcome
}

/// How haggling ended.
enum Choice {
    Export(Box<Chosen>),
    StartTls,
    Nothing,
}

fn choose<S: Read + Write>(
    service: &Service,
    socket: &Arc<Socket>,
    negotiation: &mut Negotiation<'_, S>,
) -> Result<Choice, Error> {
    loop {
        let wanted = match negotiation.step()? {
            Step::Wants(wanted) => wanted,
            Step::StartTls => return Ok(Choice::StartTls),
            Step::End => return Ok(Choice::Nothing),
        };
        let refused = if wanted.is_final {
            match enter(service, socket, &wanted.export) {
                Ok((user, opened)) => {
                    let agreed = negotiation.grant(&wanted, &opened.shape, opened.payload_max)?;
                    return Ok(Choice::Export(Box::new(Chosen {
                        export: wanted.export,
                        user,
                        opened,
                        agreed,
                    })));
                }
                Err(failure) => failure,
            }
        } else {
            match describe(&service.stack, &wanted.export) {
                Ok(shape) => {
                    negotiation.grant(&wanted, &shape, service.config.payload_max())?;
                    continue;
                }
                Err(failure) => failure,
            }
        };
        tracing::warn!(volume = wanted.export.volume, failure = %refused, "a client was refused");
        if !negotiation.refuse(&wanted, &refused)? {
            return Err(refused.into());
        }
    }
}

fn enter(service: &Service, socket: &Arc<Socket>, export: &Arc<Export>) -> Result<(Guest, Opened), Failure> {
    settle(service, export)?;
    let Some(user) = export.users.enter(socket, service.config.max_connections) else {
        let message = format!("volume {} is being detached", export.volume);
        return Err(Failure::new(ErrorKind::Unavailable, message));
    };
    let most = service.config.payload_max().into();
    let opened = Opened::open(&service.stack, export, &service.memory, most)?;
    Ok((user, opened))
}

/// Waits for what ended connections asked for, those of a killed predecessor too: a client that lost its connection asks again
/// on this one, and what it asked for first must not land after what comes then.
fn settle(service: &Service, export: &Export) -> Result<(), Failure> {
    export.users.await_leaving(ENDED_PATIENCE).map_err(|count| {
        let message =
            format!("{count} connections to volume {} have ended and are still served", export.volume);
        Failure::new(ErrorKind::Unavailable, message)
    })?;
    client::await_the_dead(&service.stack, &export.volume)
}
