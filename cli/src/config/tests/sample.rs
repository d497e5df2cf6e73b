//! The sample in `etc/` is right, and leaves out no key.

use serde::de::{DeserializeOwned, IntoDeserializer, value::MapDeserializer};

use crate::config::*;

fn sample() -> (PathBuf, String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/archipelago.toml");
    let text = fs::read_to_string(&file).unwrap();
    (file, text)
}

/// The keys that a table can have, from what its reader says when it meets another.
fn keys_of<T: DeserializeOwned>() -> Vec<String> {
    let stranger = [("no such key", 0_u8)].into_iter();
    let fields: MapDeserializer<'_, _, serde::de::value::Error> = MapDeserializer::new(stranger);
    let message = T::deserialize(fields.into_deserializer()).err().unwrap().to_string();
    message.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// Whether a line of the table sets the key, or shows it in a comment.
fn shows(text: &str, table: Option<&str>, key: &str) -> bool {
    let heading = table.map(|table| format!("[{table}]"));
    let mut is_inside = heading.is_none();
    text.lines().any(|line| {
        if line.starts_with('[') {
            is_inside = heading.as_deref() == Some(line.trim());
        }
        let setting = line.trim_start_matches("# ").split_once('=').map(|(name, _)| name.trim());
        is_inside && setting == Some(key)
    })
}

#[test]
fn the_sample_is_accepted() {
    let (file, text) = sample();
    let configuration = parse(&file, &text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(configuration.roles.len(), 7);
}

#[test]
fn the_sample_shows_every_key() {
    let (_, text) = sample();
    let shared = ["type", "portno_start", "portno_end", "log_level", "nr_ops"].map(str::to_owned).to_vec();
    let tables = [
        (None, keys_of::<Top>()),
        (Some("blockerb"), shared),
        (Some("blockerb"), keys_of::<filed::Config>()),
        (Some("mapperd"), keys_of::<mapper::Config>()),
        (Some("vlmcd"), keys_of::<vlmc::Config>()),
        (Some("nbd"), keys_of::<nbd::Config>()),
        (Some("fuse"), keys_of::<fuse::Config>()),
        (Some("metrics"), keys_of::<metrics::Config>()),
    ];
    for (table, keys) in tables {
        assert!(keys.len() > 1, "{table:?}: {keys:?}");
        for key in keys {
            assert!(shows(&text, table, &key), "{key} is not in table {table:?} of the sample");
        }
    }
}

#[test]
fn the_sample_shows_the_defaults_of_the_top() {
    let (file, text) = sample();
    let sample = parse(&file, &text).unwrap().top;
    let defaults = Top { roles: sample.roles.clone(), ..Top::default() };
    assert_eq!(format!("{sample:?}"), format!("{defaults:?}"));
}
