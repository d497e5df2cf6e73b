//! Ganeti's provider and hook, as they are in `ganeti-ext`.

use super::Made;

/// One file, below Ganeti's folders for such things.
macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../ganeti-ext/", $name)))
    };
}

const FILES: [(&str, &str); 13] = [
    file!("extstorage/archipelago/attach"),
    file!("extstorage/archipelago/close"),
    file!("extstorage/archipelago/create"),
    file!("extstorage/archipelago/detach"),
    file!("extstorage/archipelago/grow"),
    file!("extstorage/archipelago/open"),
    file!("extstorage/archipelago/parameters.list"),
    file!("extstorage/archipelago/remove"),
    file!("extstorage/archipelago/setinfo"),
    file!("extstorage/archipelago/snapshot"),
    file!("extstorage/archipelago/verify"),
    file!("extstorage/archipelago/volume.sh"),
    file!("hooks/instance-migrate-pre.d/archip-openvolumes"),
];

/// Below `ganeti/`.
pub(super) fn files() -> impl Iterator<Item = Made> {
    FILES.iter().map(|(name, text)| (format!("ganeti/{name}"), text.as_bytes().to_vec()))
}
