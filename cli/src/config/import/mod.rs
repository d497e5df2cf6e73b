//! The original's configuration files, read (never executed) and translated.

mod ini;
mod literal;
mod python;
mod translate;

use std::collections::BTreeMap;

use literal::Literal;
pub(super) use translate::quoted;

/// A configuration of the original, whatever its syntax.
#[derive(Debug, Default)]
struct Old {
    /// Which generation wrote it, for people.
    style: &'static str,
    /// Keys in capitals.
    globals: BTreeMap<String, Literal>,
    /// Names and types, in order.
    roles: Vec<(String, String)>,
    /// Each role's settings.
    tables: BTreeMap<String, BTreeMap<String, Literal>>,
}

/// A file that is no configuration of the original.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ImportError {
    line: usize,
    message: String,
}

impl ImportError {
    fn new(line: usize, message: impl Into<String>) -> Self {
        ImportError { line, message: message.into() }
    }
}

/// Our configuration for what the original's text says; `name` is what comments call the text.
///
/// # Errors
/// The first line that can't be read.
pub fn translate(name: &str, text: &str) -> Result<String, ImportError> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let old = match first {
        Some(line) if line.starts_with('[') => ini::read(text)?,
        Some(_) => python::read(text)?,
        None => return Err(ImportError::new(1, "the file is empty")),
    };
    if old.roles.is_empty() {
        return Err(ImportError::new(
            1,
            "no roles: this is not a configuration of release 0.4 or of the one before",
        ));
    }
    Ok(translate::translate(name, &old))
}

#[cfg(test)]
mod tests;
