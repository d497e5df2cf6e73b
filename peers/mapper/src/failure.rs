//! How the model's errors become answers.

use protocol::{ErrorKind, Failure};
use volume::{FormatError, ObjectName, VolumeError};

/// Adds which volume it was about.
pub(crate) trait InVolume<T> {
    /// The value, or what to answer.
    fn in_volume(self, name: &ObjectName) -> Result<T, Failure>;
}

impl<T> InVolume<T> for Result<T, VolumeError> {
    fn in_volume(self, name: &ObjectName) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(kind_of(&error), format!("volume {name}: {error}")))
    }
}

impl<T> InVolume<T> for Result<T, FormatError> {
    fn in_volume(self, name: &ObjectName) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(ErrorKind::Corrupt, format!("volume {name}: {error}")))
    }
}

fn kind_of(error: &VolumeError) -> ErrorKind {
    match error {
        VolumeError::Format(_) => ErrorKind::Corrupt,
        VolumeError::ReadOnly => ErrorKind::ReadOnly,
        VolumeError::Overtaken(_) | VolumeError::Busy(_) => ErrorKind::Busy,
        VolumeError::NotLoaded(_) => ErrorKind::Unavailable,
        VolumeError::Name { .. }
        | VolumeError::OutOfRange { .. }
        | VolumeError::State { .. }
        | VolumeError::Writable(_)
        | VolumeError::Size { .. } => ErrorKind::Invalid,
    }
}

/// What lies under a volume's name is no map that anybody wrote.
pub(crate) fn unreadable(name: &ObjectName, error: &FormatError) -> Failure {
    let message = format!(
        "object {name} of the map store is damaged, or a map of version 0 ({error}): put back a copy of it, \
         or drop the volume with `vlmc remove {name} --force`"
    );
    Failure::new(ErrorKind::Corrupt, message)
}

pub(crate) fn no_volume(name: &ObjectName) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("there is no volume {name}"))
}

pub(crate) fn exists(name: &ObjectName) -> Failure {
    Failure::new(ErrorKind::Exists, format!("volume {name} exists"))
}

pub(crate) fn read_only(name: &ObjectName) -> Failure {
    Failure::new(ErrorKind::ReadOnly, format!("volume {name} is read-only"))
}

pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Invalid, message)
}

pub(crate) fn stopping(name: &ObjectName) -> Failure {
    Failure::new(ErrorKind::Unavailable, format!("the mapper stops; volume {name} was not opened"))
}
