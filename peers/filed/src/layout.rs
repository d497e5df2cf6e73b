//! Where the file of an object is: docs/formats.md#file-store.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use store::ObjectName;

/// Directory of files that are being written, below the store's directory.
pub(crate) const TEMP_DIRECTORY: &str = "%temp";
/// Directory of the files that are there for their space alone, below the store's directory.
pub(crate) const RESERVE_DIRECTORY: &str = "%reserve";
/// File that tells whether the store may hold files of the original, below the store's directory.
pub(crate) const MARKER: &str = "%store";
/// File that keeps how far a scrub is, below the store's directory.
pub(crate) const SCRUB: &str = "%scrub";
/// Directory of the nodes that use the locks here, below the lock directory.
pub(crate) const NODES_DIRECTORY: &str = "%nodes";
/// What a lock's directory begins with. `l` is no hex digit, so no object's file can begin so.
const LOCK_PREFIX: &str = "%l";
/// What the file of an object's checksums begins with.
const SUMS_PREFIX: &str = "%s";
/// What a directory that holds the front part of a long name begins with.
const FRONT_PREFIX: &str = "%n";
/// What the file of a long name begins with.
const LAST_PREFIX: &str = "%o";
/// Longest part of an encoded name in one file name, in bytes; leaves room for prefixes below the usual limit of 255.
const PART_MAX: usize = 200;

/// What of a byte of an object's hash names a level: 256 directories in all, few enough to be there before they are needed.
const LEVEL: u8 = 0xf0;

/// Every directory that objects lie in, below the store's directory.
pub(crate) fn directories() -> impl Iterator<Item = PathBuf> {
    let levels = || (0..=LEVEL).step_by(0x10);
    levels().flat_map(move |upper| levels().map(move |lower| directory(upper, lower)))
}

fn directory(upper: u8, lower: u8) -> PathBuf {
    PathBuf::from(format!("{:02x}/{:02x}", upper & LEVEL, lower & LEVEL))
}

/// Where the object's file is, relative to the store's directory.
pub(crate) fn object_path(name: &ObjectName) -> PathBuf {
    place(name, "", LAST_PREFIX)
}

/// Where the lock's directory is, relative to the lock directory.
pub(crate) fn lock_path(name: &ObjectName) -> PathBuf {
    place(name, LOCK_PREFIX, LOCK_PREFIX)
}

/// Where the object's checksums are, relative to the store's directory, wherever its file is.
pub(crate) fn sums_path(name: &ObjectName) -> PathBuf {
    place(name, SUMS_PREFIX, SUMS_PREFIX)
}

/// The object whose file of checksums this is; none if the file is no such.
pub(crate) fn summed_object_at(path: &Path) -> Option<ObjectName> {
    let parts: Vec<&[u8]> = path.components().map(|part| part.as_os_str().as_bytes()).collect();
    let [_, _, fronts @ .., last] = parts.as_slice() else { return None };
    let name = ObjectName::new(decode(&join(fronts, last, SUMS_PREFIX)?)?).ok()?;
    (sums_path(&name) == path).then_some(name)
}

/// Where the original may have put the object, newest place first. Empty if it could not have.
pub(crate) fn legacy_paths(name: &ObjectName) -> Vec<PathBuf> {
    let bytes = name.as_bytes();
    let is_file_name = bytes.len() <= 255 && !bytes.iter().any(|b| matches!(b, b'/' | 0));
    if !is_file_name || bytes == b"." || bytes == b".." {
        return Vec::new();
    }
    let leaf = std::ffi::OsStr::from_bytes(bytes);
    let [a, b, c] = hash_levels(name);
    let mut paths = vec![PathBuf::from(format!("{a:02x}/{b:02x}/{c:02x}")).join(leaf)];
    if bytes.len() == 64 && bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        let text = String::from_utf8_lossy(bytes);
        paths.push(PathBuf::from(format!("{}/{}/{}", &text[0..2], &text[2..4], &text[4..6])).join(leaf));
    }
    paths
}

/// The object whose file this is; none if the file is no object's.
pub(crate) fn object_at(path: &Path) -> Option<ObjectName> {
    let parts: Vec<&[u8]> = path.components().map(|part| part.as_os_str().as_bytes()).collect();
    let name = match parts.as_slice() {
        [_, _, leaf] => ObjectName::new(decode(leaf)?).ok()?,
        [_, _, fronts @ .., last] => ObjectName::new(decode(&join(fronts, last, LAST_PREFIX)?)?).ok()?,
        _ => return None,
    };
    // A file in the wrong place could not be found by its name, so it is nobody's.
    (object_path(&name) == path).then_some(name)
}

/// The object whose file of the original this is; none if the file is no object's.
pub(crate) fn legacy_object_at(path: &Path) -> Option<ObjectName> {
    let Some(Component::Normal(leaf)) = path.components().next_back() else { return None };
    let name = ObjectName::new(leaf.as_bytes()).ok()?;
    legacy_paths(&name).iter().any(|legacy| legacy == path).then_some(name)
}

/// Whether this is a directory name of the two hashed levels, or of the original's third.
pub(crate) fn is_hash_level(name: &[u8]) -> bool {
    matches!(name, [a, b] if is_lower_hex(*a) && is_lower_hex(*b))
}

/// Whether this directory holds the front part of long names.
pub(crate) fn is_front(name: &[u8]) -> bool {
    name.starts_with(FRONT_PREFIX.as_bytes())
}

fn place(name: &ObjectName, prefix: &str, last_prefix: &str) -> PathBuf {
    let [a, b, _] = hash_levels(name);
    let mut path = directory(a, b);
    let encoded = encode(name.as_bytes());
    if encoded.len() <= PART_MAX {
        path.push(format!("{prefix}{encoded}"));
        return path;
    }
    let mut rest = encoded.as_str();
    while rest.len() > PART_MAX {
        let (front, back) = rest.split_at(PART_MAX);
        path.push(format!("{FRONT_PREFIX}{front}"));
        rest = back;
    }
    path.push(format!("{last_prefix}{rest}"));
    path
}

fn hash_levels(name: &ObjectName) -> [u8; 3] {
    let hash = Sha256::digest(name.as_bytes());
    [hash[0], hash[1], hash[2]]
}

/// Letters, digits, `.`, `_` and `-` as they are, the rest as `%XX`. Escaped too are a dot in front (`.` and `..` are
/// directories) and the first of two hex digits (a directory of the original may have that name).
fn encode(name: &[u8]) -> String {
    let mut encoded = String::with_capacity(name.len());
    for (index, byte) in name.iter().enumerate() {
        let is_special = index == 0 && (*byte == b'.' || is_hash_level(name));
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' if !is_special => {
                encoded.push(char::from(*byte));
            }
            _ => write!(encoded, "%{byte:02X}").expect("a string takes what is written to it"),
        }
    }
    encoded
}

fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = encoded.iter();
    let mut name = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => name.push(upper_hex(*bytes.next()?)? << 4 | upper_hex(*bytes.next()?)?),
            _ => name.push(*byte),
        }
    }
    Some(name)
}

/// An encoded name, put together from its parts.
fn join(fronts: &[&[u8]], last: &[u8], last_prefix: &str) -> Option<Vec<u8>> {
    let mut encoded = Vec::new();
    for front in fronts {
        encoded.extend_from_slice(front.strip_prefix(FRONT_PREFIX.as_bytes())?);
    }
    encoded.extend_from_slice(last.strip_prefix(last_prefix.as_bytes())?);
    Some(encoded)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn upper_hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn name(bytes: &[u8]) -> ObjectName {
        ObjectName::new(bytes).unwrap()
    }

    fn hostile_names() -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = [
            "a",
            ".",
            "..",
            "../../../../outside01",
            "/etc/passwd",
            "%",
            "%temp",
            "%lx",
            "a/b",
            "5b",
            "%35b",
        ]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
        names.extend((0..=255).map(|byte| vec![byte]));
        names.extend([vec![b'.'; 256], vec![b'/'; 256], vec![b'a'; 200], vec![b'a'; 201], vec![0xff; 256]]);
        names.push([vec![b'a'; 199], b"../..".to_vec()].concat());
        names.push([vec![b'a'; 200], b"..".to_vec()].concat());
        names
    }

    #[test]
    fn every_name_has_one_safe_path_that_leads_back_to_it() {
        let mut paths = HashSet::new();
        let names: HashSet<_> = hostile_names().into_iter().collect();
        for bytes in names {
            let name = name(&bytes);
            let path = object_path(&name);
            assert!(
                path.components().all(|part| matches!(part, Component::Normal(text) if text.len() <= 255)),
                "{name}"
            );
            assert!(path.components().count() >= 3, "{name}");
            assert_eq!(object_at(&path), Some(name.clone()));
            assert!(paths.insert(path), "{name}");
            assert!(paths.insert(lock_path(&name)), "{name}");
            assert_eq!(summed_object_at(&sums_path(&name)), Some(name.clone()));
            assert_eq!(object_at(&sums_path(&name)), None);
            assert!(paths.insert(sums_path(&name)), "{name}");
        }
    }

    #[test]
    fn no_object_has_the_name_of_our_own_files_or_of_a_level_of_the_original() {
        for bytes in hostile_names() {
            let path = object_path(&name(&bytes));
            let leaf = path.file_name().unwrap().as_bytes();
            assert!(!is_hash_level(leaf) && !is_front(leaf));
            assert!(!(leaf[0] == b'%' && matches!(leaf[1], b'l' | b't' | b's' | b'n')), "{leaf:?}");
        }
    }

    #[test]
    fn every_object_lies_in_one_of_the_directories() {
        let directories: HashSet<PathBuf> = directories().collect();
        assert_eq!(directories.len(), 256);
        for bytes in hostile_names() {
            let directory: PathBuf = object_path(&name(&bytes)).components().take(2).collect();
            assert!(directories.contains(&directory));
        }
    }

    #[test]
    fn a_short_name_stays_readable() {
        let path = object_path(&name(b"goldvol1"));
        assert!(path.ends_with("goldvol1"));
    }

    #[test]
    fn the_original_had_no_place_for_names_that_are_paths() {
        assert!(legacy_paths(&name(b"a/b")).is_empty());
        assert!(legacy_paths(&name(b"..")).is_empty());
        assert!(legacy_paths(&name(&[b'a'; 256])).is_empty());
    }

    #[test]
    fn a_content_hash_had_two_places() {
        let hash = name("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".as_bytes());
        let paths = legacy_paths(&hash);
        assert_eq!(paths.len(), 2);
        assert!(paths[1].starts_with("e3/b0/c4"));
        assert_eq!(legacy_object_at(&paths[1]), Some(hash));
    }

    #[test]
    fn the_original_put_this_block_there() {
        let block = name(b"goldvol1_0000000000000001_000000000000000f");
        assert_eq!(legacy_paths(&block), [Path::new("7b/51/5b/goldvol1_0000000000000001_000000000000000f")]);
    }

    #[test]
    fn files_that_no_name_leads_to_are_nobodys() {
        for path in
            ["00/00/goldvol1", "00/00/%g", "00/00/%", "00/00/%2f", "00", "00/00/%nabc/def", "00/00/%l1/5"]
        {
            assert_eq!(object_at(Path::new(path)), None, "{path}");
        }
    }
}
