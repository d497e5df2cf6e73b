//! What the original (libxseg 0.4.1 and the C peers of Archipelago's last development head) gave: built with
//! gcc 12 -O2 from unmodified sources, on a VM with two cores that was busy all the time, peers and load under
//! real-time scheduling. Medians of 4 or 5 runs. CPU-bound figures repeat within a fifth, those that wait for
//! the disk within a factor of 3; only runs on one host and under one scheduling can be compared in earnest.

use super::fio::Load;

/// Requests through shared memory that touch no data.
pub(super) const SPINNING: &str = "240 k/s, 2.4 us";
pub(super) const SLEEPING: &str = "20 k/s, 47 us";
pub(super) const SHARING_A_CORE: &str = "740/s, 1.4 ms";
/// The same as a number.
pub(super) const PER_SECOND_AT_DEPTH: f64 = 320e3;
pub(super) const RATE_AT_DEPTH: &str = "320 k/s (depth 64)";

/// A store on ext4, which synced every write: past the page cache with sleeping peers, else with spinning ones.
pub(super) fn store(load: Load, is_direct: bool) -> &'static str {
    match (is_direct, load.is_write, load.block_bytes, load.depth) {
        (true, false, 4096, 1) => "5.2 k/s, 192 us",
        (true, true, 4096, 1) => "2.8 k/s, 348 us",
        (true, false, 4096, _) => "30 k/s, 525 us (depth 16)",
        (true, true, 4096, _) => "15 k/s, 1.1 ms (depth 16)",
        (false, false, 4096, 1) => "137 k/s, 5 us",
        (false, true, 4096, 1) => "3.4 k/s, 297 us",
        (false, false, 4096, _) => "221 k/s, 70 us (depth 16)",
        (false, true, 4096, _) => "9.3 k/s, 1.7 ms (depth 16)",
        _ => "–",
    }
}

/// A volume of 256 MiB on the whole stack, ext4, sleeping peers; every write was synced here too.
pub(super) fn volume(load: Load, is_direct: bool) -> &'static str {
    match (is_direct, load.is_write, load.block_bytes, load.depth) {
        (true, false, 4096, 1) => "2.7 k/s, 363 us",
        (true, true, 4096, 1) => "2.1 k/s, 480 us",
        (true, false, 4096, _) => "27 k/s, 580 us (depth 16)",
        (true, true, 4096, _) => "13 k/s, 1.2 ms (depth 16)",
        (true, false, _, 32) => "780/s, 5.1 ms (depth 4)",
        (true, true, _, 32) => "1.8 k/s, 2.2 ms (depth 4)",
        (false, false, 4096, 1) => "3.9 k/s, 257 us",
        (false, true, 4096, 1) => "2.0 k/s, 500 us",
        (false, false, 4096, _) => "34 k/s, 473 us (depth 16)",
        (false, true, 4096, _) => "4.8 k/s, 3.4 ms (depth 16)",
        (false, false, _, 32) => "12 k/s, 322 us (depth 4)",
        (false, true, _, 32) => "1.9 k/s, 1.9 ms (depth 4)",
        _ => "–",
    }
}

/// Volume sizes of the map table, with the original's snapshot (ext4 past the cache) and clone (ext4 buffered), and
/// its creation (ext4 buffered), in milliseconds.
pub(super) const MAPS: [MapTimes; 4] = [
    MapTimes { size: "1G", create: "4.9–5.9", snapshot: "4.2–5.2", clone: "3.0" },
    MapTimes { size: "10G", create: "3.8–9.8", snapshot: "5.1–6.0", clone: "3.9–5.9" },
    MapTimes { size: "100G", create: "9.6–41", snapshot: "11–13", clone: "11–18" },
    MapTimes { size: "1T", create: "71–87", snapshot: "81–103", clone: "169–173" },
];

/// One row of [`MAPS`].
pub(super) struct MapTimes {
    pub(super) size: &'static str,
    pub(super) create: &'static str,
    pub(super) snapshot: &'static str,
    pub(super) clone: &'static str,
}
