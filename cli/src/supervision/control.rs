//! How commands speak with the process that runs the roles: one JSON line each way over a Unix socket.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Longest order, in bytes.
const MAX_ORDER_BYTES: u64 = 4096;
/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// How long a connection may take to say what it wants.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// How long an order may take: starting or stopping every role at its slowest.
const ANSWER_PATIENCE: Duration = Duration::from_secs(300);

/// How long telling how the roles are may take.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Tell how the roles are.
    Status,
    /// Start a role.
    Start(String),
    /// Stop a role.
    Stop(String),
    /// Stop a role and start it again.
    Restart(String),
    /// Stop all, and end.
    StopAll,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It was done.
    Done,
    /// How the roles are.
    Status(StackReport),
    /// It was not done, for this reason.
    Refused(String),
    /// A role failed, for this reason.
    Failed {
        /// Which.
        role: String,
        /// Why.
        reason: String,
    },
}

/// How a stack is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StackReport {
    /// The process that answers.
    pub(crate) pid: u32,
    /// True if all roles run in it.
    pub(crate) is_foreground: bool,
    /// True if the configuration's file says something else than at the start.
    pub(crate) is_changed: bool,
    /// Every role, in the order of the configuration.
    pub(crate) roles: Vec<RoleReport>,
}

/// How a role is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleReport {
    /// Its name.
    pub(crate) role: String,
    /// What it is doing.
    pub(crate) state: State,
    /// Its process, if it has one.
    pub(crate) pid: Option<u32>,
    /// Since when it is in this state, in milliseconds since 1970.
    pub(crate) since_unix_ms: u64,
    /// How often it died and was started again.
    pub(crate) restarts: u32,
    /// How it ended last.
    pub(crate) last_end: Option<String>,
}

/// What a role is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It serves.
    Running,
    /// It was started, and has not answered yet.
    Starting,
    /// It was asked to stop.
    Stopping,
    /// Nobody wants it to run.
    Stopped,
    /// It died; it is started again soon.
    Crashed,
}

/// An order that waits for its answer.
pub(crate) type Asked = (Order, Sender<Answer>);

/// Listens at `socket`; `deliver` gets each order.
pub(crate) fn serve(socket: &Path, deliver: impl Fn(Asked) + Send + Clone + 'static) -> io::Result<()> {
    // The pid file's lock proves that whoever made the old socket is gone.
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let deliver = deliver.clone();
            // A connection that can't be served is closed, and its command says so.
            let _refused =
                thread::Builder::new().name("control".into()).spawn(move || answer(stream, &deliver));
        }
    };
    thread::Builder::new().name("control-accept".into()).spawn(accept).map(drop)
}

fn answer(mut stream: UnixStream, deliver: &impl Fn(Asked)) {
    let answer = match read_order(&stream) {
        Err(error) => Answer::Refused(format!("the order makes no sense: {error}")),
        Ok(order) => {
            let (sender, answers) = mpsc::channel();
            deliver((order, sender));
            answers.recv().unwrap_or_else(|_| Answer::Refused("the supervisor is ending".to_owned()))
        }
    };
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        // A command that was interrupted doesn't wait for its answer.
        let _gone = stream.write_all(&line);
    }
}

fn read_order(stream: &UnixStream) -> io::Result<Order> {
    stream.set_read_timeout(Some(ORDER_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_ORDER_BYTES)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Asks the process that listens at `socket`.
///
/// # Errors
/// If nobody listens, or no answer comes.
pub(crate) fn ask(socket: &Path, order: &Order) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    let patience = if *order == Order::Status { STATUS_PATIENCE } else { ANSWER_PATIENCE };
    stream.set_read_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_line(&mut reply)?;
    Ok(serde_json::from_str(&reply)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(asked: Asked) {
        let (order, answers) = asked;
        // To all else the sender is dropped without an answer.
        if let Order::Start(role) = order {
            answers.send(Answer::Failed { role, reason: "because".into() }).unwrap();
        }
    }

    #[test]
    fn an_order_gets_its_answer() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        serve(&socket, echo).unwrap();
        let answer = ask(&socket, &Order::Start("nbd".into())).unwrap();
        assert_eq!(answer, Answer::Failed { role: "nbd".into(), reason: "because".into() });
        assert!(matches!(ask(&socket, &Order::StopAll).unwrap(), Answer::Refused(_)));
    }

    #[test]
    fn noise_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        serve(&socket, echo).unwrap();
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"\xff\x00{\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.contains("refused"), "{reply}");
    }

    #[test]
    fn an_old_socket_is_replaced_and_a_missing_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        assert!(ask(&socket, &Order::Status).is_err());
        drop(UnixListener::bind(&socket).unwrap());
        serve(&socket, echo).unwrap();
        assert!(ask(&socket, &Order::Start("x".into())).is_ok());
    }
}
