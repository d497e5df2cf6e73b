//! `vlmc import`: fills a new volume from a raw image.
//!
//! The volume is made under another name and gets its own when it is whole, so that nobody takes half an image for one.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use client::{Client, Failure, Io};
use indicatif::ProgressBar;
use protocol::{ErrorKind, Flags};
use rustix::fs::SeekFrom as Whence;
use volume::VolumeName;

use super::{
    Session,
    arguments::Import,
    interruption::Interruption,
    transfer::{CHUNK_BYTES, Part, Pipeline, chunks, progress},
};
use crate::{failure::Failed, size};

/// What a name ends in while its volume is being filled.
const UNFINISHED: &str = ".importing";

/// Where the image comes from.
enum Source {
    /// A file or disk: its holes can be found.
    File(File),
    /// Standard input.
    Stream(io::StdinLock<'static>),
}

/// Why the data did not all get there.
enum Stopped {
    /// The image can't be read.
    Reading(io::Error),
    /// The volume can't be written.
    Writing(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Writing(failure)
    }
}

/// Imports an image, or leaves nothing behind.
pub(super) fn run(session: &mut Session, wanted: &Import) -> anyhow::Result<()> {
    let name = &wanted.volume;
    let action = format!("import {} as {name}", wanted.source.display());
    // The name is given last, so it is judged first.
    VolumeName::new(name).map_err(|error| Failed::new(action.clone(), error))?;
    let mut source = open(wanted).map_err(|error| Failed::new(action.clone(), error))?;
    let image_bytes = source.size().map_err(|error| Failed::new(action.clone(), error))?;
    let size_bytes =
        volume_size(wanted, image_bytes).map_err(|reason| Failed::new(action.clone(), reason))?;
    refuse_existing(session, name, &action)?;
    let unfinished = format!("{name}{UNFINISHED}");
    let interruption = Interruption::watch().map_err(|error| Failed::new(action.clone(), error))?;
    begin(session, wanted, &unfinished, size_bytes, &interruption).map_err(|failure| {
        let failed = Failed::by_peer(action.clone(), &failure);
        let hint = format!("an import that was killed left it: `vlmc remove {unfinished}`, then try again");
        if failure.kind == ErrorKind::Exists { failed.hint(hint) } else { failed }
    })?;
    let bar = progress(image_bytes.unwrap_or(size_bytes), wanted.quiet);
    let filled = fill(session, &unfinished, &mut source, size_bytes, &bar);
    bar.finish_and_clear();
    interruption.end(|| match filled {
        Ok(()) => finish(session, &unfinished, name, size_bytes, &action),
        Err(stopped) => Err(undo(session, &unfinished, &stopped, action).into()),
    })
}

/// Makes the volume that is to be filled; an interruption removes it.
fn begin(
    session: &mut Session,
    wanted: &Import,
    unfinished: &str,
    size_bytes: u64,
    interruption: &Interruption,
) -> Result<(), Failure> {
    let (stack, volume) = (session.stack.clone(), unfinished.to_owned());
    let remove = move || match Client::connect(&stack).and_then(|mut client| client.remove(&volume)) {
        Ok(()) => "nothing of the import was kept".to_owned(),
        Err(failure) => {
            format!("a part is left ({failure}): `vlmc remove {volume}` takes it away")
        }
    };
    let create = || session.client.create(unfinished, Some(size_bytes), None, wanted.block_size);
    interruption.begin(create, remove)
}

fn open(wanted: &Import) -> io::Result<Source> {
    if wanted.source.as_os_str() == "-" {
        return Ok(Source::Stream(io::stdin().lock()));
    }
    Ok(Source::File(File::open(&wanted.source)?))
}

fn volume_size(wanted: &Import, image_bytes: Option<u64>) -> Result<u64, String> {
    match (wanted.size, image_bytes) {
        (Some(size), Some(image)) if size < image => {
            Err(format!("the image has {}, more than {}", size::human(image), size::human(size)))
        }
        (Some(size), _) => Ok(size),
        (None, Some(0)) => Err("the image is empty".to_owned()),
        (None, Some(image)) => Ok(image),
        (None, None) => Err("standard input doesn't tell its size: add --size".to_owned()),
    }
}

fn refuse_existing(session: &mut Session, name: &str, action: &str) -> Result<(), Failed> {
    match session.client.info(name) {
        Ok(_) => Err(Failed::new(action, format!("{name} exists already"))),
        Err(failure) if failure.kind == ErrorKind::NotFound => Ok(()),
        Err(failure) => Err(Failed::by_peer(action, &failure)),
    }
}

fn finish(
    session: &mut Session,
    unfinished: &str,
    name: &str,
    size_bytes: u64,
    action: &str,
) -> anyhow::Result<()> {
    let failed = |failure: Failure| {
        Failed::by_peer(action, &failure).hint(format!("all data is in volume {unfinished}, under that name"))
    };
    let found = session.client.info(unfinished).map_err(failed)?.size_bytes;
    if found != size_bytes {
        return Err(
            Failed::new(action, format!("volume {unfinished} has {found} bytes, not {size_bytes}")).into()
        );
    }
    match session.client.close(unfinished) {
        // Nothing but zeros was written, so that nobody had to open it.
        Err(failure) if matches!(failure.kind, ErrorKind::NotOwner | ErrorKind::NotFound) => {}
        other => other.map_err(failed)?,
    }
    Ok(session.client.rename(unfinished, name).map_err(failed)?)
}

/// Takes away what was begun, and says so if that fails.
fn undo(session: &mut Session, unfinished: &str, stopped: &Stopped, action: String) -> Failed {
    let failed = match stopped {
        Stopped::Reading(error) => Failed::new(action, format!("the image can't be read: {error}")),
        Stopped::Writing(failure) => Failed::by_peer(action, failure),
    };
    match session.client.remove(unfinished) {
        Ok(()) => failed.hint("nothing of it was kept"),
        Err(_) => {
            failed.hint(format!("a part of it is left in volume {unfinished}: `vlmc remove {unfinished}`"))
        }
    }
}

fn fill(
    session: &Session,
    volume: &str,
    source: &mut Source,
    size_bytes: u64,
    bar: &ProgressBar,
) -> Result<(), Stopped> {
    let mut pipeline = Pipeline::open(&session.stack, volume, false)?;
    let mut bytes = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or(0)];
    let mut offset = 0;
    while let Some(part) = source.next_data(offset, size_bytes).map_err(Stopped::Reading)? {
        for (at, length) in chunks(part) {
            let chunk = &mut bytes[..usize::try_from(length).unwrap_or(0)];
            let count = source.read(at, chunk).map_err(Stopped::Reading)?;
            write(&mut pipeline, at, &chunk[..count])?;
            bar.set_position(at + length);
            if count < chunk.len() {
                return Ok(pipeline.flush()?);
            }
        }
        offset = part.offset + part.size;
    }
    source.refuse_more().map_err(Stopped::Reading)?;
    Ok(pipeline.flush()?)
}

/// Writes a chunk, unless it is what a new volume holds anyway.
fn write(pipeline: &mut Pipeline, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let held = loop {
        match pipeline.buffer()? {
            Some(held) => break held,
            None => drop(pipeline.settle()?),
        }
    };
    if let Err(error) = held.write(0, bytes) {
        pipeline.cancel(held);
        return Err(Failure::new(ErrorKind::Invalid, error.to_string()));
    }
    let size = u64::try_from(bytes.len()).unwrap_or(0);
    pipeline.submit(held, Io::Write { offset, size, flags: Flags::empty() }, offset)
}

impl Source {
    /// How many bytes the image has; none if it doesn't tell.
    fn size(&mut self) -> io::Result<Option<u64>> {
        match self {
            // Seeking tells the size of disks too, which have no length.
            Source::File(file) => file.seek(SeekFrom::End(0)).map(Some),
            Source::Stream(_) => Ok(None),
        }
    }

    /// The next range from `offset` on that holds data.
    fn next_data(&self, offset: u64, size_bytes: u64) -> io::Result<Option<Part>> {
        if offset >= size_bytes {
            return Ok(None);
        }
        let rest = Part { offset, size: size_bytes - offset, is_data: true };
        let Source::File(file) = self else { return Ok(Some(rest)) };
        let start = match rustix::fs::seek(file, Whence::Data(offset)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // A disk, or a filesystem that doesn't know its holes.
            Err(_) => return Ok(Some(rest)),
        };
        let end = rustix::fs::seek(file, Whence::Hole(start)).unwrap_or(size_bytes).min(size_bytes);
        Ok((start < end).then(|| Part { offset: start, size: end - start, is_data: true }))
    }

    /// Fills `bytes` from `offset` on, as far as there is something. A stream is read in order.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < bytes.len() {
            let into = &mut bytes[count..];
            let at = offset + u64::try_from(count).unwrap_or(0);
            let step = match self {
                Source::File(file) => std::os::unix::fs::FileExt::read_at(file, into, at),
                Source::Stream(stream) => stream.read(into),
            };
            match step {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// An error if a stream has more than the volume holds.
    fn refuse_more(&mut self) -> io::Result<()> {
        let Source::Stream(stream) = self else { return Ok(()) };
        match stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is longer than --size")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn data_of_a_sparse_file_is_found_between_its_holes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"x", 10 << 20).unwrap();
        let mut source = Source::File(file);
        assert_eq!(source.size().unwrap(), Some(64 << 20));
        let part = source.next_data(0, 64 << 20).unwrap().unwrap();
        assert!(part.offset <= 10 << 20 && part.offset + part.size > 10 << 20);
        let mut bytes = [0; 4];
        assert_eq!(source.read(10 << 20, &mut bytes).unwrap(), 4);
        assert_eq!(&bytes, b"x\0\0\0");
        assert_eq!(source.next_data(64 << 20, 64 << 20).unwrap(), None);
    }
}
