//! `vlmc export`: writes a volume or snapshot out as a raw image.
//!
//! A file is written under another name and gets its own when it is whole; holes stay holes. Anything else, as a pipe or a
//! disk, is written from its beginning to its end.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{FileExt, FileTypeExt},
    path::{Path, PathBuf},
};

use client::{Completion, Failure, Io};
use indicatif::ProgressBar;
use protocol::ErrorKind;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use xseg::Held;

use super::{
    Session,
    arguments::Export,
    interruption::Interruption,
    transfer::{Part, Pipeline, chunks, parts, progress},
};
use crate::failure::Failed;

/// Where the image goes.
enum Target {
    /// A new file, under the name it has until it is whole.
    File { file: File, unfinished: PathBuf },
    /// What can only be written in order: a pipe.
    Stream(Box<dyn Write>),
    /// A disk: written in order, too, because what it held before shows where nothing is written.
    Disk(File),
}

/// Why the data did not all get there.
enum Stopped {
    /// The volume can't be read.
    Reading(Failure),
    /// The image can't be written.
    Writing(io::Error),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Reading(failure)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Writing(error)
    }
}

/// Exports a volume, or leaves nothing behind.
pub(super) fn run(session: &mut Session, wanted: &Export) -> anyhow::Result<()> {
    let volume = &wanted.volume;
    let action = format!("export {volume} to {}", wanted.target.display());
    let by_peer = |failure: Failure| Failed::by_peer(action.clone(), &failure);
    let size_bytes = session.client.info(volume).map_err(by_peer)?.size_bytes;
    let found = parts(&mut session.client, volume, size_bytes).map_err(by_peer)?;
    let interruption = Interruption::watch().map_err(|error| Failed::new(action.clone(), error))?;
    let mut target = open(wanted, size_bytes, &interruption).map_err(|error| {
        let failed = Failed::new(action.clone(), &error);
        if error.kind() == io::ErrorKind::AlreadyExists { failed.hint("--force replaces it") } else { failed }
    })?;
    let bar = progress(size_bytes, wanted.quiet);
    let copied = copy(session, volume, &found, &mut target, &bar);
    bar.finish_and_clear();
    interruption.end(|| match copied.and_then(|()| Ok(target.finish(wanted, size_bytes)?)) {
        Ok(()) => Ok(()),
        Err(stopped) => Err(undo(target, stopped, action)),
    })
}

fn open(wanted: &Export, size_bytes: u64, interruption: &Interruption) -> io::Result<Target> {
    if wanted.target.as_os_str() == "-" {
        return Ok(Target::Stream(Box::new(io::stdout().lock())));
    }
    match fs::metadata(&wanted.target) {
        Ok(_) if !wanted.force => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already")),
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if found.file_type().is_block_device() => {
            Ok(Target::Disk(File::options().write(true).open(&wanted.target)?))
        }
        Ok(found) if !found.is_file() => {
            Ok(Target::Stream(Box::new(File::options().write(true).open(&wanted.target)?)))
        }
        _ => {
            let mut name = wanted.target.as_os_str().to_owned();
            name.push(format!(".exporting-{}", std::process::id()));
            let (unfinished, begun) = (PathBuf::from(&name), PathBuf::from(name));
            let create = || File::create_new(&unfinished);
            let file = interruption.begin(create, move || match fs::remove_file(&begun) {
                Ok(()) => "nothing of the export was kept".to_owned(),
                Err(error) => format!("a part is left in {} ({error})", begun.display()),
            })?;
            file.set_len(size_bytes)?;
            Ok(Target::File { file, unfinished })
        }
    }
}

fn undo(target: Target, stopped: Stopped, action: String) -> anyhow::Error {
    if let Target::File { unfinished, .. } = target {
        // What stays carries a name that says what it is.
        let _kept = fs::remove_file(unfinished);
    }
    match stopped {
        Stopped::Writing(error) if error.kind() == io::ErrorKind::BrokenPipe => error.into(),
        Stopped::Writing(error) => Failed::new(action, error).into(),
        Stopped::Reading(failure) => Failed::by_peer(action, &failure).into(),
    }
}

fn copy(
    session: &Session,
    volume: &str,
    found: &[Part],
    target: &mut Target,
    bar: &ProgressBar,
) -> Result<(), Stopped> {
    let mut pipeline = Pipeline::open(&session.stack, volume, true)?;
    let mut copying = Copying { arrived: BTreeMap::new(), expected: 0, target, bar };
    let mut sequence = 0;
    for part in found {
        if !part.is_data {
            copying.arrived.insert(sequence, Arrival::Hole { offset: part.offset, size: part.size });
            copying.drain(&mut pipeline)?;
            sequence += 1;
            continue;
        }
        for (offset, size) in chunks(*part) {
            let held = loop {
                match pipeline.buffer()? {
                    Some(held) => break held,
                    None => copying.settle(&mut pipeline)?,
                }
            };
            pipeline.submit(held, Io::Read { offset, size }, sequence)?;
            copying.arrived.insert(sequence, Arrival::Awaited { offset, size });
            sequence += 1;
        }
    }
    while copying.expected < sequence {
        copying.settle(&mut pipeline)?;
    }
    Ok(())
}

/// One chunk on its way; bounded by what the pipeline holds, holes aside, which are a few words each.
enum Arrival {
    Awaited { offset: u64, size: u64 },
    Data { offset: u64, size: u64, held: Held },
    Hole { offset: u64, size: u64 },
}

/// Brings what arrives in any order into the order of the volume.
struct Copying<'c> {
    arrived: BTreeMap<u64, Arrival>,
    expected: u64,
    target: &'c mut Target,
    bar: &'c ProgressBar,
}

impl Copying<'_> {
    /// Takes the next request that comes home, and writes what is due.
    fn settle(&mut self, pipeline: &mut Pipeline) -> Result<(), Stopped> {
        let Some(Completion { token, result, held }) = pipeline.next()? else {
            return self.drain(pipeline);
        };
        if let Err(failure) = result {
            pipeline.done(held);
            return Err(failure.into());
        }
        match self.arrived.get(&token) {
            Some(Arrival::Awaited { offset, size }) => {
                let (offset, size) = (*offset, *size);
                self.arrived.insert(token, Arrival::Data { offset, size, held });
            }
            _ => pipeline.done(held),
        }
        self.drain(pipeline)
    }

    /// Writes what has arrived without a gap before it.
    fn drain(&mut self, pipeline: &mut Pipeline) -> Result<(), Stopped> {
        while let Some(arrival) = self.arrived.remove(&self.expected) {
            let end = match arrival {
                Arrival::Awaited { .. } => {
                    self.arrived.insert(self.expected, arrival);
                    return Ok(());
                }
                Arrival::Data { offset, size, held } => {
                    let written = self.target.write(offset, size, &held);
                    pipeline.done(held);
                    written?;
                    offset + size
                }
                Arrival::Hole { offset, size } => {
                    self.target.write_hole(size)?;
                    offset + size
                }
            };
            self.bar.set_position(end);
            self.expected += 1;
        }
        Ok(())
    }
}

impl Target {
    fn write(&mut self, offset: u64, size: u64, held: &Held) -> Result<(), Stopped> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let read = held.read(0, &mut bytes);
        read.map_err(|error| Failure::new(ErrorKind::Corrupt, error.to_string()))?;
        match self {
            Target::File { file, .. } => file.write_all_at(&bytes, offset)?,
            Target::Stream(stream) => stream.write_all(&bytes)?,
            Target::Disk(disk) => disk.write_all(&bytes)?,
        }
        Ok(())
    }

    fn write_hole(&mut self, size: u64) -> io::Result<()> {
        static ZEROS: [u8; 65536] = [0; 65536];
        let out: &mut dyn Write = match self {
            Target::File { .. } => return Ok(()),
            Target::Stream(stream) => stream,
            Target::Disk(disk) => disk,
        };
        let mut rest = size;
        while rest > 0 {
            let step = rest.min(65536);
            out.write_all(&ZEROS[..usize::try_from(step).unwrap_or(0)])?;
            rest -= step;
        }
        Ok(())
    }

    /// All is written: makes it durable, and gives a file its name.
    fn finish(&mut self, wanted: &Export, size_bytes: u64) -> io::Result<()> {
        match self {
            Target::Stream(stream) => stream.flush(),
            Target::Disk(disk) => disk.sync_all(),
            Target::File { file, unfinished } => {
                let length = file.metadata()?.len();
                if length != size_bytes {
                    return Err(io::Error::other(format!("it has {length} bytes, not {size_bytes}")));
                }
                file.sync_all()?;
                if wanted.force {
                    fs::rename(unfinished, &wanted.target)
                } else {
                    name(unfinished, &wanted.target)
                }
            }
        }
    }
}

/// Gives a file its name, unless another one got it meanwhile.
fn name(unfinished: &Path, target: &Path) -> io::Result<()> {
    match renameat_with(CWD, unfinished, CWD, target, RenameFlags::NOREPLACE) {
        // Not every file system can.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(unfinished, target)?;
            fs::remove_file(unfinished)
        }
        other => Ok(other?),
    }
}
