//! Clients that are broken, slow or malicious: they lose their connection, nobody else loses anything.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod stage;

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::Duration,
};

use stage::{Stage, pattern};

const MIB: u64 = 1 << 20;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const BLOCK_STATUS: u16 = 7;

/// A client that says what the test wants.
struct Raw(UnixStream);

impl Raw {
    /// Connected, and greeted.
    fn connect(stage: &Stage) -> Raw {
        let mut raw = Raw(UnixStream::connect(stage.socket()).unwrap());
        assert_eq!(raw.hear(18)[..8], *b"NBDMAGIC");
        raw
    }

    /// In transmission, with simple replies.
    fn enter(stage: &Stage, volume: &str) -> Raw {
        let mut raw = Raw::connect(stage);
        raw.say(&[0, 0, 0, 3]);
        raw.say(&option(1, volume.as_bytes()));
        raw.hear(10);
        raw
    }

    /// In transmission, with structured replies.
    fn enter_structured(stage: &Stage, volume: &str) -> Raw {
        let mut raw = Raw::connect(stage);
        raw.say(&[0, 0, 0, 3]);
        raw.say(&option(8, b""));
        raw.hear(20);
        raw.say(&option(1, volume.as_bytes()));
        raw.hear(10);
        raw
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The error and cookie of the next simple reply.
    fn reply(&mut self) -> (u32, u64) {
        let bytes = self.hear(16);
        assert_eq!(bytes[..4], [0x67, 0x44, 0x66, 0x98]);
        (
            u32::from_be_bytes(bytes[4..8].try_into().unwrap()),
            u64::from_be_bytes(bytes[8..].try_into().unwrap()),
        )
    }

    /// Whatever is said before the server hangs up.
    fn hear_to_the_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Hanging up on what was not read is a reset.
        let _reset = self.0.read_to_end(&mut bytes);
        bytes
    }
}

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [&b"IHAVEOPT"[..], &number.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

/// An honest client still reads and writes.
fn assert_others_are_served(stage: &Stage) {
    let mut raw = Raw::enter(stage, "disk");
    raw.say(&request(0, WRITE, 1, 0, 3));
    raw.say(b"abc");
    assert_eq!(raw.reply(), (0, 1));
    raw.say(&request(0, READ, 2, 0, 3));
    assert_eq!(raw.reply(), (0, 2));
    assert_eq!(raw.hear(3), b"abc");
}

fn stage() -> Stage {
    let stage = Stage::new();
    stage.attach("disk", 64 * MIB);
    stage
}

#[test]
fn a_write_cut_off_in_its_payload_writes_nothing() {
    let stage = stage();
    for (length, sent) in [(4096_u32, 100), (1 << 20, 300_000), (32 << 20, 20 << 20)] {
        let mut raw = Raw::enter(&stage, "disk");
        raw.say(&request(0, WRITE, 1, 4096, length));
        raw.say(&pattern(1, sent));
        raw.0.shutdown(Shutdown::Write).unwrap();
        assert!(raw.hear_to_the_end().is_empty());
    }
    assert_eq!(stage.volumes.with("disk", |disk| (disk.writes, disk.blocks.len())), (0, 0));
    assert_others_are_served(&stage);
}

#[test]
fn what_was_asked_before_a_disconnect_is_answered() {
    let stage = stage();
    let mut raw = Raw::enter(&stage, "disk");
    let mut said = Vec::new();
    for cookie in 0..100 {
        said.extend(request(0, WRITE, cookie, cookie * 4096, 4096));
        said.extend(pattern(cookie, 4096));
    }
    said.extend(request(0, DISCONNECT, 0, 0, 0));
    raw.say(&said);
    let told = raw.hear_to_the_end();
    assert_eq!(told.len(), 100 * 16);
    assert_eq!(stage.volumes.with("disk", |disk| disk.read(99 * 4096, 4096)), pattern(99, 4096));
}

#[test]
fn who_connects_again_comes_in_after_what_was_asked_on_the_connection_before() {
    let stage = stage();
    stage.attach("other", MIB);
    stage.volumes.with("disk", |disk| disk.holds_writes = true);
    let mut first = Raw::enter(&stage, "disk");
    first.say(&request(0, WRITE, 1, 0, 3));
    first.say(b"old");
    drop(first);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| Raw::enter(&stage, "disk"));
        // Those who come later are let in elsewhere meanwhile.
        (0..8).for_each(|_| drop(Raw::enter(&stage, "other")));
        let user_count = stage.attached()[0].user_count;
        stage.volumes.with("disk", |disk| disk.holds_writes = false);
        stage.client().info("disk").unwrap();
        second.join().unwrap();
        assert_eq!(user_count, 1, "came in before the write had ended");
    });
    assert_eq!(stage.volumes.with("disk", |disk| disk.read(0, 3)), b"old");
}

#[test]
fn a_request_cut_off_in_its_header_ends_the_connection() {
    let stage = stage();
    for length in 0..28 {
        let mut raw = Raw::enter(&stage, "disk");
        raw.say(&request(0, READ, 1, 0, 1)[..length]);
        raw.0.shutdown(Shutdown::Write).unwrap();
        assert!(raw.hear_to_the_end().is_empty(), "{length} bytes");
    }
    assert_others_are_served(&stage);
}

#[test]
fn noise_ends_the_connection() {
    let stage = stage();
    for seed in 0..32 {
        let mut raw = Raw::connect(&stage);
        let _refused = raw.0.write_all(&pattern(seed, 4096));
        assert!(raw.hear_to_the_end().is_empty());
        let mut raw = Raw::enter(&stage, "disk");
        let _refused = raw.0.write_all(&pattern(seed, 4096));
        assert!(raw.hear_to_the_end().is_empty());
    }
    assert_others_are_served(&stage);
}

#[test]
fn noise_after_a_right_magic_is_answered_or_ends_the_connection() {
    let stage = stage();
    for seed in 0..64 {
        let mut raw = Raw::enter_structured(&stage, "disk");
        let mut said = pattern(seed, 28);
        said[..4].copy_from_slice(&[0x25, 0x60, 0x95, 0x13]);
        said[6] = 0;
        said[7] &= 7;
        raw.say(&said);
        let _reset = raw.0.shutdown(Shutdown::Write);
        raw.hear_to_the_end();
    }
    assert_others_are_served(&stage);
}

#[test]
fn a_payload_that_is_too_long_is_dropped_and_a_far_too_long_one_ends_the_connection() {
    let stage = stage();
    let mut raw = Raw::enter(&stage, "disk");
    let length = (32 << 20) + 1_u32;
    raw.say(&request(0, WRITE, 1, 0, length));
    raw.say(&vec![7; usize::try_from(length).unwrap()]);
    assert_eq!(raw.reply(), (22, 1));
    raw.say(&request(0, WRITE, 2, 0, u32::MAX));
    assert!(raw.hear_to_the_end().is_empty());
    assert_eq!(stage.volumes.with("disk", |disk| disk.writes), 0);
    assert_others_are_served(&stage);
}

#[test]
fn a_read_that_is_too_long_is_an_overflow() {
    let stage = stage();
    let mut raw = Raw::enter(&stage, "disk");
    raw.say(&request(0, READ, 1, 0, u32::MAX));
    assert_eq!(raw.reply(), (75, 1));
}

#[test]
fn block_status_without_its_context_is_invalid() {
    let stage = stage();
    let mut raw = Raw::enter(&stage, "disk");
    raw.say(&request(0, BLOCK_STATUS, 1, 0, 4096));
    assert_eq!(raw.reply(), (22, 1));
}

#[test]
fn who_takes_too_long_to_choose_is_sent_away() {
    let stage = Stage::with(|config| config.handshake_timeout_s = 1);
    stage.attach("disk", MIB);
    let mut silent = Raw::connect(&stage);
    let mut half = Raw::connect(&stage);
    // If it takes until here, both were sent away already.
    let _late = half.0.write_all(&[&[0, 0, 0, 3], &option(7, &[0; 100])[..50]].concat());
    assert!(silent.hear_to_the_end().is_empty());
    assert!(half.hear_to_the_end().is_empty());
}

#[test]
fn an_option_of_4_gib_is_not_kept() {
    let stage = stage();
    let mut raw = Raw::connect(&stage);
    raw.say(&[0, 0, 0, 3]);
    raw.say(&[&b"IHAVEOPT"[..], &7_u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat());
    raw.say(&vec![0; 8 << 20]);
    drop(raw);
    assert_others_are_served(&stage);
}

#[test]
fn more_connections_than_allowed_are_turned_away() {
    let stage = Stage::with(|config| config.max_connections = 2);
    stage.attach("disk", MIB);
    let first = Raw::enter(&stage, "disk");
    let _second = Raw::enter(&stage, "disk");
    let mut third = UnixStream::connect(stage.socket()).unwrap();
    assert_eq!(third.read(&mut [0; 1]).unwrap(), 0);
    drop(first);
    loop {
        // The first one's thread may need a moment to notice.
        let mut again = UnixStream::connect(stage.socket()).unwrap();
        if again.read(&mut [0; 18]).unwrap() > 0 {
            break;
        }
    }
}

#[test]
fn who_never_reads_replies_is_ended_by_a_forced_detach() {
    let stage = stage();
    let mut deaf = Raw::enter(&stage, "disk");
    deaf.say(&request(0, READ, 0, 0, 32 << 20));
    deaf.hear(1);
    deaf.0.set_nonblocking(true).unwrap();
    for cookie in 1.. {
        if deaf.0.write(&request(0, READ, cookie, 0, 1 << 20)).is_err() {
            break;
        }
    }
    assert_eq!(stage.detach("disk", false).unwrap_err().kind, protocol::ErrorKind::Busy);
    stage.detach("disk", true).unwrap();
    assert!(stage.attached().is_empty());
}

#[test]
fn a_stopping_endpoint_answers_everything_it_received() {
    let mut stage = stage();
    stage.volumes.with("disk", |disk| disk.delay = Duration::from_millis(5));
    let mut raw = Raw::enter(&stage, "disk");
    // So many that the last are far from being served when the endpoint stops.
    let said: Vec<u8> = (0..4000).flat_map(|cookie| request(0, READ, cookie, 0, 1)).collect();
    raw.say(&said);
    assert_eq!(raw.reply(), (0, 0));
    assert_eq!(raw.hear(1), [0]);
    let listener = std::thread::spawn(move || {
        let told = raw.hear_to_the_end();
        let mut rest = told.as_slice();
        let mut errors = Vec::new();
        while !rest.is_empty() {
            errors.push(u32::from_be_bytes(rest[4..8].try_into().unwrap()));
            rest = &rest[if errors.last() == Some(&0) { 17 } else { 16 }..];
        }
        errors
    });
    stage.stop_endpoint();
    let errors = listener.join().unwrap();
    assert_eq!(errors.len(), 3999);
    assert!(errors.iter().all(|error| [0, 108].contains(error)) && errors.contains(&108), "{errors:?}");
}

#[test]
fn nothing_is_mixed_up_when_four_clients_load_slow_storage() {
    let stage = stage();
    stage.volumes.with("disk", |disk| disk.delay = Duration::from_micros(200));
    std::thread::scope(|threads| {
        for client in 0..4_u64 {
            let stage = &stage;
            threads.spawn(move || {
                let mut raw = Raw::enter(stage, "disk");
                let sizes = [512_u32, 100_000, 4096, 70_000];
                let base = client * 16 * MIB;
                let mut said = Vec::new();
                for (cookie, size) in (0..).zip(sizes.into_iter().cycle().take(40)) {
                    said.extend(request(0, WRITE, cookie, base + cookie * 131_072, size));
                    said.extend(pattern(client * 1000 + cookie, usize::try_from(size).unwrap()));
                }
                let mut sender = Raw(raw.0.try_clone().unwrap());
                threads.spawn(move || sender.say(&said));
                let mut cookies: Vec<u64> = (0..40)
                    .map(|_| raw.reply())
                    .map(|(error, cookie)| cookie + u64::from(error) * 1000)
                    .collect();
                cookies.sort_unstable();
                assert_eq!(cookies, (0..40).collect::<Vec<_>>());
                for (cookie, size) in (0..).zip(sizes.into_iter().cycle().take(40)) {
                    raw.say(&request(0, READ, cookie, base + cookie * 131_072, size));
                    assert_eq!(raw.reply(), (0, cookie));
                    let length = usize::try_from(size).unwrap();
                    assert!(raw.hear(length) == pattern(client * 1000 + cookie, length));
                }
            });
        }
    });
}
