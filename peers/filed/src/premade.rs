//! Files made before the objects they will be: to make one takes ext4 ten times as long as to give it a name.
//!
//! They have no name until then, so none outlives its process. A thread makes them once objects were made, so that the
//! next ones find some; a store whose objects are all there has none.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use store::{ErrorKind, ObjectName};

use crate::backoff::Backoff;
use crate::config::PREMADE;
use crate::error::Error;
use crate::fault::Result;
use crate::handle::{Handle, Purpose};
use crate::layout::directories;
use crate::objects::Objects;
use crate::pool::Fatal;
use crate::root::Space;

/// With fewer left, more are made.
const FEW: usize = PREMADE / 2;
/// To name a file that takes longer was held up by the disk.
const SLOW: Duration = Duration::from_micros(500);

/// The files, and the thread that makes them.
pub(crate) struct Premade {
    objects: Arc<Objects>,
    made: Receiver<Handle>,
    /// One that was taken in vain.
    left: Option<Handle>,
    /// None when no more shall be made.
    wanted: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Whether objects that are asked for tend to be new. Nobody says so, but new ones come in crowds.
    guesses: Backoff,
}

/// What the thread has.
struct Maker {
    objects: Arc<Objects>,
    made: Sender<Handle>,
}

impl Premade {
    pub(crate) fn start(objects: &Arc<Objects>) -> std::result::Result<Self, Error> {
        let (sender, made) = bounded(PREMADE);
        let (wanted, wants) = bounded(1);
        let mut premade = Self {
            objects: objects.clone(),
            made,
            left: None,
            wanted: None,
            thread: None,
            guesses: Backoff::default(),
        };
        // What another host or the original made is elsewhere, and would not be in the way of a new name.
        if !objects.opening.is_shared && !objects.opening.has_legacy {
            let maker = Maker { objects: objects.clone(), made: sender };
            let builder = std::thread::Builder::new().name("filed-maker".into());
            premade.thread = Some(builder.spawn(move || maker.serve(&wants)).map_err(Error::Thread)?);
            premade.wanted = Some(wanted);
        }
        Ok(premade)
    }

    /// Makes an object of one of the files, if it is likely to be new and turns out to be.
    pub(crate) fn give(&mut self, name: &ObjectName, purpose: Purpose) -> Option<Handle> {
        if purpose != (Purpose::Change { creates: true }) || !self.guesses.may_try() {
            return None;
        }
        let mut file = self.left.take().or_else(|| self.made.try_recv().ok())?;
        let start = Instant::now();
        let is_object = file.become_object(&self.objects.root, name);
        self.guesses.note(is_object && start.elapsed() < SLOW);
        if is_object {
            self.ask_for_more();
            return Some(file);
        }
        self.left = Some(file);
        None
    }

    /// An object was opened in another way.
    pub(crate) fn see(&mut self, open: &Handle) {
        if open.is_new() {
            self.guesses.note(true);
            self.ask_for_more();
        }
    }

    fn ask_for_more(&self) {
        if self.made.len() < FEW {
            // Fails if the thread was told already, or is gone.
            let _is_new = self.wanted.as_ref().map(|wanted| wanted.try_send(()));
        }
    }
}

impl Maker {
    /// Makes files whenever some are wanted, until nobody can want any more or the filesystem cannot make such.
    fn serve(&self, wants: &Receiver<()>) {
        let _fatal = Fatal;
        let mut directories = directories().collect::<Vec<_>>().into_iter().cycle();
        while wants.recv().is_ok() {
            if let Err(fault) = self.fill(&mut directories) {
                tracing::debug!(kind = %fault.kind(), "no files are made beforehand");
                return;
            }
        }
    }

    fn fill(&self, directories: &mut impl Iterator<Item = PathBuf>) -> Result<()> {
        if !Space::of(&self.objects.root)?.is_plenty() {
            return Ok(());
        }
        for directory in directories.take(PREMADE) {
            if self.made.is_full() || self.objects.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            match self.objects.opening.make(&self.objects.root, &directory) {
                Ok(file) => drop(self.made.try_send(file)),
                Err(fault) if matches!(fault.kind(), ErrorKind::NoSpace | ErrorKind::NotFound) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

impl Drop for Premade {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on its own.
            let _has_ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::layout::object_path;
    use crate::prepare::prepare;

    const NEW: Purpose = Purpose::Change { creates: true };

    fn premade(config: &Config) -> Premade {
        Premade::start(&Arc::new(prepare(config, None, None).unwrap())).unwrap()
    }

    fn object(name: &str) -> ObjectName {
        ObjectName::new(name).unwrap()
    }

    #[test]
    fn after_one_object_was_made_the_next_ones_find_files() {
        let directory = tempfile::tempdir().unwrap();
        let mut premade = premade(&Config::new(directory.path()));
        assert!(premade.give(&object("first"), NEW).is_none());
        premade.see(&premade.objects.open(&object("first"), NEW).unwrap());
        premade.left = Some(premade.made.recv().unwrap());
        let open = premade.give(&object("second"), NEW).unwrap();
        rustix::io::pwrite(open.file(), b"bytes", 0).unwrap();
        assert!(
            open.is_claimed()
                && open.is_new()
                && open.is_current(&premade.objects.root, premade.objects.opening)
        );
        assert_eq!(std::fs::read(directory.path().join(object_path(&object("second")))).unwrap(), b"bytes");
    }

    #[test]
    fn an_object_that_is_there_stays_and_what_is_asked_for_next_is_believed_to_be_there_too() {
        let directory = tempfile::tempdir().unwrap();
        let mut premade = premade(&Config::new(directory.path()));
        let first = premade.objects.open(&object("first"), NEW).unwrap();
        rustix::io::pwrite(first.file(), b"bytes", 0).unwrap();
        premade.see(&first);
        premade.left = Some(premade.made.recv().unwrap());
        let [first, second] = ["first", "second"].map(object);
        assert!(premade.give(&first, NEW).is_none() && premade.left.is_some());
        assert!(premade.give(&second, NEW).is_none(), "one chance passes by");
        assert!(premade.give(&second, NEW).is_some());
        assert_eq!(std::fs::read(directory.path().join(object_path(&first))).unwrap(), b"bytes");
    }

    #[test]
    fn what_only_reads_and_a_store_that_others_change_too_make_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut alone = premade(&Config::new(directory.path()));
        alone.see(&alone.objects.open(&object("first"), NEW).unwrap());
        alone.left = Some(alone.made.recv().unwrap());
        assert!(alone.give(&object("second"), Purpose::Read).is_none());
        let mut shared = premade(&Config { shared: true, ..Config::new(directory.path()) });
        shared.see(&shared.objects.open(&object("third"), NEW).unwrap());
        assert!(shared.made.recv().is_err(), "nobody makes any");
    }
}
