use proptest::prelude::*;

use super::*;
use crate::error::VolumeError;
use crate::root::{NewVolume, RequestId, Root};

const GOLDEN: &[u8] = include_bytes!("../../../../../tests/golden/map-v3/log.bin");
const VOLUME: VolumeId = VolumeId(0x0123_4567_89ab_cdef);
const SEQUENCE: LogSequence = LogSequence(2);
const BOOT: BootId = BootId(*b"0123456789abcdef");

fn set(index: u64, written_at: u64) -> Change {
    Change::Set { index: BlockIndex(index), written_at: Generation(written_at) }
}

fn golden_changes() -> Vec<Change> {
    vec![set(1538, 9), Change::Punch { index: BlockIndex(512), count: 1024 }, set(2047, 10)]
}

fn writer() -> LogWriter {
    LogWriter::new(VOLUME, SEQUENCE, BOOT)
}

#[test]
fn a_log_is_these_bytes() {
    let mut log = writer();
    log.change(golden_changes()[0]);
    log.change(golden_changes()[1]);
    log.commit();
    log.change(golden_changes()[2]);
    let append = log.take().expect("records");
    assert_eq!(append.offset, 0);
    assert_eq!(append.name.as_str(), "l.0123456789abcdef.0000000000000002");
    assert!(append.durable);
    assert_eq!(append.bytes, GOLDEN);
    let decoded = Log::decode(VOLUME, SEQUENCE, GOLDEN).expect("whole");
    assert_eq!(decoded, Log { boot: BOOT, changes: golden_changes(), committed: 2 });
}

#[test]
fn appends_follow_each_other() {
    let mut log = writer();
    assert_eq!(log.take(), None);
    log.commit();
    assert_eq!(log.take(), None, "there is nothing to commit");
    let mut bytes = Vec::new();
    for at in 0..3 {
        log.change(set(at, 1));
        let append = log.take().expect("a record");
        assert_eq!(append.offset, bytes.len() as u64);
        assert!(!append.durable);
        bytes.extend(append.bytes);
    }
    log.commit();
    let append = log.take().expect("a commit");
    assert!(append.durable);
    bytes.extend(append.bytes);
    assert_eq!(Log::decode(VOLUME, SEQUENCE, &bytes).expect("whole").committed, 3);
    log.commit();
    assert_eq!(log.take(), None);
}

#[test]
fn a_log_ends_where_it_is_torn() {
    for length in 0..GOLDEN.len() {
        let log = Log::decode(VOLUME, SEQUENCE, &GOLDEN[..length]).expect("a shorter log");
        let whole = length.saturating_sub(LOG_HEADER_BYTES) / LOG_RECORD_BYTES;
        assert_eq!(log.changes.len(), [0, 1, 2, 2, 3][whole]);
    }
    let mut holed = GOLDEN.to_vec();
    holed[LOG_HEADER_BYTES..LOG_HEADER_BYTES + LOG_RECORD_BYTES].fill(0);
    assert_eq!(Log::decode(VOLUME, SEQUENCE, &holed).expect("an empty log").changes, []);
    assert_eq!(Log::decode(VOLUME, SEQUENCE, &[0; 200]).expect("an empty log").changes, []);
}

#[test]
fn the_log_of_another_volume_is_refused() {
    let wrong = Log::decode(VolumeId(1), SEQUENCE, GOLDEN).unwrap_err();
    assert_eq!(wrong.to_string(), "map log at byte 16: volume id is 0x123456789abcdef");
    assert!(Log::decode(VOLUME, LogSequence(3), GOLDEN).is_err());
}

#[test]
fn a_record_of_another_log_ends_this_one() {
    let mut other = LogWriter::new(VOLUME, LogSequence(1), BOOT);
    other.change(set(7, 7));
    let other = other.take().expect("a record").bytes;
    let mut bytes = GOLDEN[..LOG_HEADER_BYTES].to_vec();
    bytes.extend_from_slice(&other[LOG_HEADER_BYTES..]);
    assert_eq!(Log::decode(VOLUME, SEQUENCE, &bytes).expect("an empty log").changes, []);
}

fn chain(boot: BootId, logs: &[&[u8]]) -> Vec<Change> {
    let mut chain = LogChain::new(VOLUME, Some(SEQUENCE), boot);
    for log in logs {
        if chain.wanted().is_some() {
            chain.add(log).expect("whole");
        }
    }
    chain.changes().to_vec()
}

fn next_log() -> Vec<u8> {
    let mut log = writer().next();
    log.change(set(1, 11));
    log.commit();
    log.take().expect("records").bytes
}

#[test]
fn what_was_not_committed_is_lost_with_the_power() {
    assert_eq!(chain(BOOT, &[GOLDEN]), golden_changes());
    assert_eq!(chain(BootId([9; 16]), &[GOLDEN]), golden_changes()[..2]);
}

#[test]
fn a_log_counts_only_after_a_sealed_one() {
    let sealed = &GOLDEN[..GOLDEN.len() - LOG_RECORD_BYTES];
    let next = next_log();
    let both = [golden_changes()[0], golden_changes()[1], set(1, 11)];
    assert_eq!(chain(BOOT, &[sealed, &next]), both);
    assert_eq!(chain(BootId([9; 16]), &[sealed, &next]), both);
    assert_eq!(chain(BOOT, &[GOLDEN, &next]), golden_changes());
}

#[test]
fn blocks_of_logs_are_what_their_last_change_left() {
    let mut log = writer();
    let partial =
        |index, written_at| Change::Partial { index: BlockIndex(index), written_at: Generation(written_at) };
    for change in [set(1, 4), set(2, 4), partial(3, 5), Change::Punch { index: BlockIndex(2), count: 2 }] {
        log.change(change);
    }
    for change in [partial(3, 6), partial(1, 6), set(4, 6), partial(5, 6), set(5, 6)] {
        log.change(change);
    }
    let mut logs = LogChain::new(VOLUME, Some(SEQUENCE), BOOT);
    logs.add(&log.take().expect("records").bytes).expect("whole");
    let root = |blocks: u64| {
        let (created_by, created_unix_ms) = (RequestId([1; 32]), 1);
        let new = NewVolume { id: VOLUME, size: blocks << 16, created_by, created_unix_ms, replaces: None };
        Root::blank(new, 1 << 16).expect("a volume")
    };
    let found = logs.blocks(&root(6)).expect("in range");
    let told: Vec<_> = found.iter().map(|block| (block.index.0, block.is_partial)).collect();
    assert_eq!(told, [(1, true), (3, true), (4, false), (5, false)]);
    assert_eq!(found[1].name.as_str(), "b.0123456789abcdef.0000000000000006.0000000000000003");
    let error = logs.blocks(&root(5)).expect_err("there is no block 5");
    assert_eq!(error, VolumeError::OutOfRange { index: BlockIndex(5), count: 5 });
}

#[test]
fn a_clean_root_has_no_logs() {
    assert_eq!(LogChain::new(VOLUME, None, BOOT).wanted(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_no_log(bytes in prop::collection::vec(any::<u8>(), 64..300)) {
        prop_assert!(Log::decode(VOLUME, SEQUENCE, &bytes).is_err());
    }

    #[test]
    fn a_changed_byte_ends_the_log(at in 0..GOLDEN.len(), flip in 1..=255u8) {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] ^= flip;
        match Log::decode(VOLUME, SEQUENCE, &bytes) {
            Err(_) => prop_assert!(at < LOG_HEADER_BYTES),
            Ok(log) => {
                let whole = (at - LOG_HEADER_BYTES) / LOG_RECORD_BYTES;
                prop_assert_eq!(log.changes.len(), [0, 1, 2, 2][whole]);
            }
        }
    }
}
