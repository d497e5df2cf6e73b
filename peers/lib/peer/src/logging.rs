//! Where a role's log goes, and how much of it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Where the log goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// Standard error.
    Stderr,
    /// A file, opened again when the process gets SIGUSR1, so that it can be rotated.
    File(PathBuf),
}

/// Starts logging for the whole process. `level` is the original's: 0 errors, 1 warnings, 2 what happens, 3 everything.
///
/// # Errors
/// If the file cannot be opened or the signal cannot be watched.
pub fn init(level: u8, target: &Target, is_json: bool) -> io::Result<()> {
    let filter = match level {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::WARN,
        2 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    match target {
        Target::Stderr => install(filter, is_json, io::stderr),
        Target::File(path) => {
            let writer = Reopening::open(path)?;
            writer.reopen_on_signal()?;
            install(filter, is_json, writer);
        }
    }
    Ok(())
}

fn install<W>(filter: LevelFilter, is_json: bool, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_max_level(filter).with_writer(writer).with_ansi(false);
    // A second call in one process (tests, roles as threads) keeps the first one's target.
    let _already_set = if is_json { builder.json().try_init() } else { builder.try_init() };
}

#[derive(Clone)]
struct Reopening {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl Reopening {
    fn open(path: &Path) -> io::Result<Reopening> {
        Ok(Reopening { path: path.to_owned(), file: Arc::new(Mutex::new(open_log(path)?)) })
    }

    fn reopen_on_signal(&self) -> io::Result<()> {
        let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGUSR1])?;
        let log = self.clone();
        std::thread::Builder::new().name("log-reopen".into()).spawn(move || {
            for _ in signals.forever() {
                // If the new file can't be opened, the old one goes on serving.
                if let Ok(file) = open_log(&log.path) {
                    *log.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
                }
            }
        })?;
        Ok(())
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for Reopening {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Reopening {
    type Writer = Reopening;
    fn make_writer(&'a self) -> Reopening {
        self.clone()
    }
}
