//! The configuration file: read once, checked whole, every mistake named with its line.
//!
//! What a file says is judged here; what the machine offers, in [`machine`].

mod finding;
mod identity;
pub mod import;
pub mod init;
pub mod machine;
mod ports;
mod role;
mod section;
mod settings;
mod stack;
mod stores;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use finding::Findings;
pub use finding::{Finding, Place, Rejected};
pub use identity::Identity;
pub use role::{Kind, Needed, Outline};
use section::Section;
pub use settings::Settings;
pub use stack::Top;

/// The file that is read when nobody names another.
pub const DEFAULT_FILE: &str = "/etc/archipelago/archipelago.toml";
/// The variable of the environment that names another.
pub const VARIABLE: &str = "ARCHIPELAGO_CONFIG";
/// Largest file that can be a configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A configuration that fits together.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The file it came from.
    pub file: PathBuf,
    /// What it said.
    pub(crate) text: String,
    /// The keys at its top.
    pub top: Top,
    /// The roles in the order in which they start.
    pub roles: Vec<Role>,
    /// Where each key of the top stands.
    places: BTreeMap<String, Place>,
}

/// One role, checked.
#[derive(Debug, Clone)]
pub struct Role {
    /// What all roles have.
    pub outline: Outline,
    /// What only its kind of peer has.
    pub settings: Settings,
    /// Where its table begins.
    pub place: Place,
    /// Where each key of its table stands.
    places: BTreeMap<String, Place>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("cannot read configuration {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

/// The file to read: the one named on the command line or in the environment, else [`DEFAULT_FILE`].
pub fn locate(named: Option<&OsStr>) -> PathBuf {
    named.map_or_else(|| PathBuf::from(DEFAULT_FILE), PathBuf::from)
}

/// Reads and checks a file.
///
/// # Errors
/// If it can't be read, or with everything that is wrong with it.
pub fn load(file: &Path) -> Result<Configuration, LoadError> {
    Ok(parse(file, &read_text(file)?)?)
}

/// Reads a file and checks it, and this machine too.
///
/// # Errors
/// If it can't be read, or with everything that is wrong with it or lacking here.
pub fn load_here(file: &Path) -> Result<Configuration, LoadError> {
    let (configuration, mut findings) = examine(file, &read_text(file)?);
    if let Some(configuration) = &configuration {
        findings.extend(machine::findings(configuration));
    }
    Ok(accept(file, configuration, findings)?)
}

fn read_text(file: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Unreadable { file: file.to_owned(), source };
    let size = fs::metadata(file).map_err(unreadable)?.len();
    if size > MAX_FILE_BYTES {
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
    }
    fs::read_to_string(file).map_err(unreadable)
}

/// Checks a text as if it were in `file`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &Path, text: &str) -> Result<Configuration, Rejected> {
    let (configuration, findings) = examine(file, text);
    accept(file, configuration, findings)
}

/// What a text says as far as it can be understood, and what is wrong with it.
fn examine(file: &Path, text: &str) -> (Option<Configuration>, Vec<Finding>) {
    let mut findings = Findings::new(text);
    let configuration = read(file, text, &mut findings);
    (configuration, findings.into_list())
}

fn accept(
    file: &Path,
    configuration: Option<Configuration>,
    mut findings: Vec<Finding>,
) -> Result<Configuration, Rejected> {
    findings.sort();
    findings.dedup();
    match configuration {
        Some(configuration) if findings.is_empty() => Ok(configuration),
        _ => Err(Rejected { file: file.to_owned(), findings }),
    }
}

fn read(file: &Path, text: &str, findings: &mut Findings<'_>) -> Option<Configuration> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        findings.at(&error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        return None;
    }
    let mut top_section = Section::new("", 0..0, document.into_inner());
    let role_sections = top_section.split_off(|_, value| matches!(value, DeValue::Table(_)));
    let top = top_section.adopt::<Top>(findings);
    if let Some(top) = &top {
        top.check(&top_section, findings);
    }
    // What is wrong at the top shall not hide what is wrong in the tables.
    let names = role_names(&top_section);
    let roles = read_roles(&names, &top_section, &role_sections, findings);
    ports::check_ranges(top.as_ref(), &top_section, &roles, findings);
    ports::check_references(&roles, findings);
    if roles.len() == names.len() {
        ports::check_completeness(&roles, &top_section, findings);
        stores::check(&roles, findings);
    }
    let top = top?;
    let places = top_section.keys().map(|(key, span)| (key.to_owned(), findings.place(&span))).collect();
    let roles = roles.into_iter().map(|draft| draft.finish(findings)).collect();
    Some(Configuration { file: file.to_owned(), text: text.to_owned(), top, roles, places })
}

fn role_names(top: &Section<'_>) -> Vec<String> {
    let list = top.value("roles").and_then(|value| value.get_ref().as_array());
    let names = list.into_iter().flatten().filter_map(|name| name.get_ref().as_str());
    names.map(str::to_owned).collect()
}

fn read_roles<'t>(
    names: &[String],
    top: &Section<'t>,
    tables: &Section<'t>,
    findings: &mut Findings<'_>,
) -> Vec<Draft<'t>> {
    let mut roles = Vec::new();
    for (position, name) in names.iter().enumerate() {
        if names.iter().take(position).any(|earlier| earlier == name) {
            findings.at(&top.span_of("roles"), format!("roles: {name:?} is named twice"));
        } else if !tables.keys().any(|(table, _)| table == name) {
            findings.at(&top.span_of("roles"), format!("roles: {name:?} has no table [{name}]"));
        }
    }
    let mut found: Vec<_> = tables.tables().collect();
    found.sort_by_key(|section| names.iter().position(|name| *name == section.name));
    for section in found {
        let is_role = names.contains(&section.name);
        if !is_role && !names.is_empty() {
            let hint = "name it in roles, or remove it";
            findings.at(&section.span, format!("[{}]: this table is no role: {hint}", section.name));
        }
        if let Some(draft) = Draft::read(section, findings)
            && is_role
        {
            roles.push(draft);
        }
    }
    roles
}

/// A role whose own table is in order, on its way to being checked beside the others.
struct Draft<'t> {
    outline: Outline,
    settings: Settings,
    /// Its table as written.
    section: Section<'t>,
}

impl<'t> Draft<'t> {
    fn read(section: Section<'t>, findings: &mut Findings<'_>) -> Option<Self> {
        let mut own = section.clone();
        let outline = Outline::take(&mut own, findings)?;
        let settings = Settings::take(outline.kind, &own, findings)?;
        Some(Draft { outline, settings, section })
    }

    fn finish(self, findings: &Findings<'_>) -> Role {
        let place = findings.place(&self.section.span);
        let places = self.section.keys().map(|(key, span)| (key.to_owned(), findings.place(&span))).collect();
        Role { outline: self.outline, settings: self.settings, place, places }
    }
}

impl Configuration {
    /// Whether its file says something else by now.
    pub(crate) fn is_changed(&self) -> bool {
        fs::read_to_string(&self.file).ok().as_ref() != Some(&self.text)
    }

    /// The role with this name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.outline.name == name)
    }
}
