//! Which RADOS object is which of ours: docs/formats.md#rados-store

use std::ffi::CString;

use store::ObjectName;

/// What the names of the original's lock objects end with.
const LEGACY_LOCK_END: &[u8] = b"_lock";
/// Begins the names of objects that cannot have their own.
const OBJECT_MARK: &[u8] = b"%o";
/// Begins the names of locks.
const LOCK_MARK: &[u8] = b"%l";

/// The RADOS object of an object.
pub(crate) fn of_object(name: &ObjectName) -> CString {
    let bytes = name.as_bytes();
    match CString::new(bytes) {
        Ok(plain) if is_plain(bytes) => plain,
        _ => escaped(OBJECT_MARK, bytes),
    }
}

/// The RADOS object of a lock.
pub(crate) fn of_lock(name: &ObjectName) -> CString {
    escaped(LOCK_MARK, name.as_bytes())
}

/// The RADOS object of a lock of the original; none if it could not have one of that name.
pub(crate) fn of_legacy_lock(name: &ObjectName) -> Option<CString> {
    CString::new([name.as_bytes(), LEGACY_LOCK_END].concat()).ok()
}

/// The object whose RADOS object has this name; none for locks, and for what is nobody's.
pub(crate) fn object_of(rados: &[u8]) -> Option<ObjectName> {
    let name = match rados.strip_prefix(OBJECT_MARK) {
        Some(escaped) => unescaped(escaped)?,
        None => rados.to_vec(),
    };
    let name = ObjectName::new(name).ok()?;
    (of_object(&name).as_bytes() == rados).then_some(name)
}

fn is_plain(name: &[u8]) -> bool {
    !name.starts_with(b"%") && !name.ends_with(LEGACY_LOCK_END)
}

fn escaped(mark: &[u8], name: &[u8]) -> CString {
    let mut rados = mark.to_vec();
    for byte in name {
        match byte {
            0 => rados.extend_from_slice(b"%00"),
            b'%' => rados.extend_from_slice(b"%25"),
            other => rados.push(*other),
        }
    }
    CString::new(rados).expect("zero bytes were escaped")
}

fn unescaped(mut rados: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    while let Some((byte, rest)) = rados.split_first() {
        rados = rest;
        if *byte == b'%' {
            let (code, rest) = rados.split_at_checked(2)?;
            rados = rest;
            match code {
                b"00" => name.push(0),
                b"25" => name.push(b'%'),
                _ => return None,
            }
        } else {
            name.push(*byte);
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_original_are_kept_as_they_are() {
        for name in ["goldvol1", "goldvol1_0000000000000001", "b.01.02.03", "archip_ab", "ü x/y"] {
            let object = ObjectName::new(name).unwrap();
            assert_eq!(of_object(&object).as_bytes(), name.as_bytes());
            assert_eq!(object_of(name.as_bytes()), Some(object));
        }
    }

    #[test]
    fn every_name_has_one_rados_object_and_gets_back_from_it() {
        let strange: [&[u8]; 9] =
            [b"%", b"%o", b"%la", b"a_lock", b"_lock", b"\0", b"a\0b_lock", &[0; 256], &[255; 256]];
        for name in strange {
            let object = ObjectName::new(name).unwrap();
            assert_eq!(object_of(of_object(&object).as_bytes()), Some(object));
        }
    }

    #[test]
    fn locks_and_what_is_nobodys_are_no_objects() {
        let object = ObjectName::new("volume").unwrap();
        assert_eq!(object_of(of_lock(&object).as_bytes()), None);
        assert_eq!(object_of(of_legacy_lock(&object).unwrap().as_bytes()), None);
        for name in ["%", "%oplain", "%o%", "%o%41", "%x", ""] {
            assert_eq!(object_of(name.as_bytes()), None, "{name}");
        }
    }
}
