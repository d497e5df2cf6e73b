//! The control port of an endpoint: which volumes it shows, kept over restarts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peer::{Common, Effects, Event, Peer, Stop};
use protocol::{Attach, Attached, AttachedList, ErrorKind, Failure, Flags, Message, Op};
use serde::{Deserialize, Serialize};
use xseg::{Held, PortNumber, Reserve, Segment};

/// Something that shows volumes to the world outside.
pub trait Endpoint {
    /// Shows a volume.
    ///
    /// # Errors
    /// `NotFound`, `Exists` when it is shown already, `Unavailable` when the host can't.
    fn attach(&mut self, volume: &str, is_read_only: bool) -> Result<Attached, Failure>;

    /// Stops showing it, with everything written back and the volume closed.
    ///
    /// # Errors
    /// `NotFound`; `Busy` while somebody uses it, unless forced.
    fn detach(&mut self, volume: &str, is_forced: bool) -> Result<(), Failure>;

    /// What is shown, in order of volume names.
    fn attached(&self) -> Vec<Attached>;

    /// Looks again at a volume whose size was changed.
    ///
    /// # Errors
    /// `NotFound` if it is not shown; what the volume says.
    fn refresh(&mut self, volume: &str) -> Result<(), Failure>;

    /// What was attached before the role was started is attached again: clients may come.
    fn resumed(&mut self) {}

    /// Stops showing everything, because the role stops; it is shown again after a restart.
    fn suspend(&mut self);
}

/// What a control port needs: few requests at a time, no buffers of its own.
const RESERVE: Reserve = Reserve { requests: 4, bytes: 1 << 20 };

/// Serves an endpoint's control port until `stop`. What was attached before is attached again first.
///
/// Attaching asks peers and the host, so this port may be silent for moments; it carries no I/O.
///
/// # Errors
/// If the port cannot be bound.
pub fn serve_control<E: Endpoint>(
    segment: &Segment,
    common: &Common,
    stop: &Stop,
    endpoint: E,
) -> Result<(), peer::Error> {
    let memory = Memory { path: common.run_dir.join(format!("{}.attached.json", common.role)) };
    peer::run(segment, common, PortNumber(*common.ports.start()), RESERVE, stop, |effects| {
        let mut control = Control { endpoint, memory, effects };
        control.resume();
        control.endpoint.resumed();
        control
    })
}

struct Control<E> {
    endpoint: E,
    memory: Memory,
    effects: Effects,
}

impl<E: Endpoint> Peer for Control<E> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted(mut request) => {
                let result = self.serve(&mut request);
                self.effects.respond(request, result.as_ref().copied());
            }
            Event::Replied(reply) => self.effects.free(reply),
            Event::Tick => {}
            Event::Stopping => self.endpoint.suspend(),
        }
    }

    fn details(&self) -> serde_json::Value {
        let attached = self.endpoint.attached();
        let users: u32 = attached.iter().map(|volume| volume.user_count).sum();
        serde_json::json!({ "attached": attached.len(), "users": users })
    }
}

impl<E: Endpoint> Control<E> {
    fn serve(&mut self, request: &mut Held) -> Result<(), Failure> {
        match Op::from_number(request.op()) {
            Some(Op::Attach) => self.attach(request),
            Some(Op::Detach) => {
                let volume = target(request)?;
                let is_forced = Flags::from_bits_truncate(request.flags()).contains(Flags::FORCE);
                self.endpoint.detach(&volume, is_forced)?;
                self.memory.forget(&volume)
            }
            Some(Op::Update) => self.endpoint.refresh(&target(request)?),
            Some(Op::Attached) => {
                let bytes = AttachedList { volumes: self.endpoint.attached() }.encode();
                request
                    .write(0, &bytes)
                    .map_err(|error| invalid(&format!("the list does not fit: {error}")))?;
                request.set_serviced(u64::try_from(bytes.len()).unwrap_or(0));
                Ok(())
            }
            _ => Err(Failure::new(
                ErrorKind::Unsupported,
                format!("an endpoint does not serve operation {}", request.op()),
            )),
        }
    }

    fn attach(&mut self, request: &mut Held) -> Result<(), Failure> {
        let volume = target(request)?;
        let wish =
            Attach::decode(request.argument().as_ref()).map_err(|error| invalid(&error.to_string()))?;
        let already = self.endpoint.attached().into_iter().find(|shown| shown.volume == volume);
        let shown = match already {
            // The one who asked before may have died before it heard the answer.
            Some(shown) if request.attempts() > 0 && shown.is_read_only == wish.is_read_only => shown,
            _ => self.endpoint.attach(&volume, wish.is_read_only)?,
        };
        self.memory.remember(&volume, wish.is_read_only)?;
        request
            .set_argument(&shown.encode())
            .map_err(|error| invalid(&format!("the location is too long: {error}")))
    }

    fn resume(&mut self) {
        let shown: Vec<_> = self.endpoint.attached().into_iter().map(|shown| shown.volume).collect();
        for kept in self.memory.load().into_iter().filter(|kept| !shown.contains(&kept.volume)) {
            if let Err(failure) = self.endpoint.attach(&kept.volume, kept.is_read_only) {
                tracing::error!(volume = kept.volume, %failure, "cannot attach again what was attached before");
            }
        }
    }
}

fn target(request: &Held) -> Result<String, Failure> {
    String::from_utf8(request.target().as_ref().to_vec())
        .map_err(|_| invalid("the volume's name is not UTF-8"))
}

fn invalid(message: &str) -> Failure {
    Failure::new(ErrorKind::Invalid, message)
}

/// What was attached, in a small file.
struct Memory {
    path: PathBuf,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    volume: String,
    is_read_only: bool,
}

impl Memory {
    fn load(&self) -> Vec<Kept> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(path = %self.path.display(), %error, "the list of attached volumes makes no sense");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        }
    }

    fn remember(&self, volume: &str, is_read_only: bool) -> Result<(), Failure> {
        let mut kept = self.load();
        kept.retain(|other| other.volume != volume);
        kept.push(Kept { volume: volume.to_owned(), is_read_only });
        self.store(&kept)
    }

    fn forget(&self, volume: &str) -> Result<(), Failure> {
        let mut kept = self.load();
        kept.retain(|other| other.volume != volume);
        self.store(&kept)
    }

    fn store(&self, kept: &[Kept]) -> Result<(), Failure> {
        let bytes = serde_json::to_vec_pretty(kept).expect("names and flags always encode");
        replace(&self.path, &bytes).map_err(|error| {
            let message = format!("cannot remember what is attached in {}: {error}", self.path.display());
            Failure::new(ErrorKind::of_io(&error), message)
        })
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_there_after_a_restart_and_what_is_forgotten_is_not() {
        let path = std::env::temp_dir().join(format!("archipelago-memory-{}", std::process::id()));
        let memory = Memory { path: path.clone() };
        memory.remember("first1", false).unwrap();
        memory.remember("second", true).unwrap();
        memory.remember("first1", true).unwrap();
        memory.forget("second").unwrap();
        let kept = Memory { path: path.clone() }.load();
        assert!(kept == [Kept { volume: "first1".into(), is_read_only: true }]);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_list_that_makes_no_sense_counts_as_empty() {
        let path = std::env::temp_dir().join(format!("archipelago-noise-{}", std::process::id()));
        fs::write(&path, b"{").unwrap();
        assert!(Memory { path: path.clone() }.load().is_empty());
        fs::remove_file(path).unwrap();
    }
}
