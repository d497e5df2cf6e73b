//! The role: `GET /metrics`.

use std::{fs, io, os::unix::fs::FileTypeExt, path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use client::Stack;
use peer::{Common, Effects, Event, Peer, Stop};
use protocol::{ErrorKind, Failure};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Runtime,
    sync::{Semaphore, oneshot},
};
use xseg::{PortNumber, Reserve};

use crate::{CONTENT_TYPE, Config, Sample, text};

/// Why the role cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody could ask it.
    #[error("cannot listen at {at}")]
    Listen {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No threads or timers.
    #[error("cannot run an HTTP server")]
    Runtime(#[source] io::Error),
    /// The control port could not be served.
    #[error(transparent)]
    Control(#[from] peer::Error),
}

/// Samples taken at a time; each asks every role.
const SAMPLES_MAX: usize = 2;
/// How long a sample may take before whoever asked is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers `GET /metrics` until `stop`.
///
/// # Errors
/// If an address, a socket or the control port cannot be had.
pub fn serve(stack: &Stack, common: &Common, config: &Config, stop: &Stop) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let listeners = runtime.block_on(Listeners::open(config))?;
    let (end, ended) = oneshot::channel::<()>();
    let answers = Answers { stack: stack.clone(), turns: Arc::new(Semaphore::new(SAMPLES_MAX)) };
    let name = common.role.clone();
    let server = std::thread::Builder::new().name(name);
    let server = server.spawn(move || answer(&runtime, listeners, answers, ended)).map_err(Error::Runtime)?;
    let number = PortNumber(*common.ports.start());
    let result = peer::run(&stack.segment, common, number, RESERVE, stop, |effects| Control { effects });
    // The server's thread ends with its sender, also when the port could not be bound.
    drop(end);
    if server.join().is_err() {
        tracing::error!(role = common.role, "the HTTP server's thread ended badly");
    }
    if let Some(socket) = &config.socket {
        let _gone = fs::remove_file(socket);
    }
    Ok(result?)
}

/// The control port only answers pings.
const RESERVE: Reserve = Reserve { requests: 0, bytes: 0 };

struct Control {
    effects: Effects,
}

impl Peer for Control {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(request) => {
                let message = format!("the metrics role does not serve operation {}", request.op());
                self.effects.respond(request, Err(&Failure::new(ErrorKind::Unsupported, message)));
            }
            Event::Replied(reply) => self.effects.free(reply),
            Event::Tick | Event::Stopping => {}
        }
    }
}

struct Listeners {
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
}

impl Listeners {
    async fn open(config: &Config) -> Result<Listeners, Error> {
        let mut listeners = Listeners { tcp: None, unix: None };
        if let Some(address) = config.listen {
            let failed = |source| Error::Listen { at: format!("http://{address}"), source };
            listeners.tcp = Some(TcpListener::bind(address).await.map_err(failed)?);
        }
        if let Some(path) = &config.socket {
            let failed = |source| Error::Listen { at: path.display().to_string(), source };
            clear(path).map_err(failed)?;
            listeners.unix = Some(UnixListener::bind(path).map_err(failed)?);
        }
        Ok(listeners)
    }
}

/// Removes the socket of a predecessor that died; anything else there is somebody's.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        _ => Ok(()),
    }
}

#[derive(Clone)]
struct Answers {
    stack: Stack,
    turns: Arc<Semaphore>,
}

fn answer(runtime: &Runtime, listeners: Listeners, answers: Answers, ended: oneshot::Receiver<()>) {
    let router = Router::new().route("/metrics", get(metrics)).with_state(answers);
    runtime.block_on(async move {
        let tcp = async {
            match listeners.tcp {
                Some(listener) => axum::serve(listener, router.clone()).await,
                None => std::future::pending().await,
            }
        };
        let unix = async {
            match listeners.unix {
                Some(listener) => axum::serve(listener, router.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = tcp => complain(result),
            result = unix => complain(result),
            _ = ended => {}
        }
    });
}

fn complain(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "cannot go on answering metrics");
    }
}

async fn metrics(State(answers): State<Answers>) -> Response {
    let Ok(turn) = answers.turns.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "others are being answered: ask again\n").into_response();
    };
    let sampling = tokio::task::spawn_blocking(move || {
        let sampled = Sample::take(&answers.stack).map(text);
        drop(turn);
        sampled
    });
    match tokio::time::timeout(PATIENCE, sampling).await {
        Ok(Ok(Ok(text))) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Ok(Ok(Err(failure))) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n")).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the roles answer too slowly\n").into_response(),
    }
}
