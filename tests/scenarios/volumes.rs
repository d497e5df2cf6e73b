//! Making, writing, reading, resizing, renaming and removing volumes.

use protocol::{BlockList, BlockSource, ErrorKind};
use tests::{TestStack, pattern};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn read(client: &mut client::Client, volume: &str, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; length];
    client.read(volume, offset, &mut bytes).unwrap();
    bytes
}

#[test]
fn case_1_an_unknown_volume_can_only_be_flushed() {
    let stack = TestStack::start();
    let mut client = stack.client();
    let mut bytes = [0; 512];
    assert_eq!(client.open("nobody1").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.info("nobody1").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.read("nobody1", 0, &mut bytes).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.write("nobody1", 0, &bytes).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.remove("nobody1").unwrap_err().kind, ErrorKind::NotFound);
    assert!(client.close("nobody1").is_err());
    client.flush("nobody1").unwrap();
}

#[test]
fn case_2_sizes_and_names_that_cannot_be_are_refused() {
    let stack = TestStack::start();
    let mut client = stack.client();
    let mut create = |name: &str, size| client.create(name, size, None, None).map_err(|failure| failure.kind);
    assert_eq!(create("volume1", Some(0)), Err(ErrorKind::Invalid));
    assert_eq!(create("volume1", None), Err(ErrorKind::Invalid));
    assert_eq!(create("volume1", Some(10 * MIB)), Ok(()));
    assert_eq!(create("volume1", Some(10 * MIB)), Err(ErrorKind::Exists));
    assert_eq!(create("short", Some(10 * MIB)), Err(ErrorKind::Invalid));
    assert_eq!(create(&"n".repeat(83), Some(10 * MIB)), Err(ErrorKind::Invalid));
    assert_eq!(create(&"n".repeat(82), Some(10 * MIB)), Ok(()));
}

#[test]
fn case_3_open_and_close_know_what_is_open() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(10 * MIB), None, None).unwrap();
    assert!(client.close("volume1").is_err());
    client.open("volume1").unwrap();
    client.open("volume1").unwrap();
    client.close("volume1").unwrap();
    assert!(client.close("volume1").is_err());
}

#[test]
fn case_4_what_was_written_is_there_after_a_restart() {
    let mut stack = TestStack::start();
    let written = pattern(4, 1024);
    let mut client = stack.client();
    client.create("volume1", Some(10 * MIB), None, None).unwrap();
    client.write("volume1", 5000, &written).unwrap();
    assert_eq!(read(&mut client, "volume1", 5000, 1024), written);
    let before = client.info("volume1").unwrap();
    drop(client);
    stack.stop();
    stack.run();
    let mut client = stack.client();
    assert_eq!(read(&mut client, "volume1", 5000, 1024), written);
    assert_eq!(client.info("volume1").unwrap().size_bytes, before.size_bytes);
}

#[test]
fn what_was_acknowledged_survives_a_kill_of_everything() {
    let mut stack = TestStack::start();
    let written = pattern(9, 3 << 20);
    let mut client = stack.client();
    client.create("volume1", Some(100 * MIB), None, None).unwrap();
    client.write("volume1", 3 * MIB, &written).unwrap();
    drop(client);
    stack.kill();
    stack.run();
    assert_eq!(read(&mut stack.client(), "volume1", 3 * MIB, written.len()), written);
}

#[test]
fn case_6_volumes_are_thin() {
    let stack = TestStack::start();
    let written = pattern(6, 10 << 20);
    let mut client = stack.client();
    client.create("volume1", Some(100 * GIB), None, None).unwrap();
    client.write("volume1", 90 * GIB, &written).unwrap();
    assert_eq!(read(&mut client, "volume1", 90 * GIB, written.len()), written);
    for offset in [0, 50 * GIB, 90 * GIB - 4096, 90 * GIB + 10 * MIB, 100 * GIB - 4096] {
        assert_eq!(read(&mut client, "volume1", offset, 4096), [0; 4096], "at {offset}");
    }
}

#[test]
fn a_petabyte_is_written_at_its_end_and_snapshotted() {
    let stack = TestStack::start();
    let size = 1 << 50;
    let written = pattern(50, 8192);
    let mut client = stack.client();
    client.create("petabyte", Some(size), None, None).unwrap();
    client.write("petabyte", size - 8192, &written).unwrap();
    client.snapshot("petabyte", "petabyte-then").unwrap();
    client.write("petabyte", size - 8192, &[1; 4096]).unwrap();
    assert_eq!(read(&mut client, "petabyte-then", size - 8192, 8192), written);
    assert_eq!(read(&mut client, "petabyte", size - 4096, 4096), written[4096..]);
    assert_eq!(client.info("petabyte").unwrap().size_bytes, size);
}

#[test]
fn io_of_any_offset_and_length_is_right() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    let mut model = vec![0; 16 << 20];
    for (step, (offset, length)) in [
        (0, 1),
        (4194303, 2),
        (511, 513),
        (4194304 - 7, 4194304 + 14),
        (16777215, 1),
        (8388608, 4096),
        (1, 1 << 20),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = pattern(u32::try_from(step).unwrap(), length);
        client.write("volume1", u64::try_from(offset).unwrap(), &bytes).unwrap();
        model[offset..offset + length].copy_from_slice(&bytes);
    }
    assert!(read(&mut client, "volume1", 0, model.len()) == model);
    assert_eq!(client.write("volume1", 16 * MIB - 1, &[0; 2]).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(client.read("volume1", u64::MAX, &mut [0; 2]).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn discarded_and_zeroed_ranges_read_zeros() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    let mut model = pattern(1, 16 << 20);
    client.write("volume1", 0, &model).unwrap();
    client.discard("volume1", 1000, 5000).unwrap();
    client.write_zeroes("volume1", 4 * MIB - 10, 4 * MIB + 20).unwrap();
    model[1000..6000].fill(0);
    model[(4 << 20) - 10..(8 << 20) + 10].fill(0);
    assert!(read(&mut client, "volume1", 0, model.len()) == model);
    let extents = client.extents("volume1", 0, 16 * MIB).unwrap();
    assert_eq!(extents.iter().map(|extent| extent.size_bytes).sum::<u64>(), 16 * MIB);
    assert!(extents.iter().any(|extent| !extent.is_data), "{extents:?}");
}

#[test]
fn case_10_a_removed_volume_is_gone_and_its_name_starts_anew() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    client.write("volume1", 0, &pattern(1, 4096)).unwrap();
    let before = client.info("volume1").unwrap();
    client.snapshot("volume1", "snapshot1").unwrap();
    client.remove("volume1").unwrap();
    assert_eq!(client.remove("volume1").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.write("volume1", 0, &[1; 512]).unwrap_err().kind, ErrorKind::NotFound);
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    assert_eq!(read(&mut client, "volume1", 0, 4096), [0; 4096]);
    assert!(client.info("volume1").unwrap().generation > before.generation);
    assert_eq!(read(&mut client, "snapshot1", 0, 4096), pattern(1, 4096));
}

#[test]
fn case_13_many_may_ask_at_once() {
    let stack = TestStack::start();
    stack.client().create("volume1", Some(16 * MIB), None, None).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = stack.client();
                for _ in 0..20 {
                    client.info("volume1").unwrap();
                    client.open("volume1").unwrap();
                    client.extents("volume1", 0, 16 * MIB).unwrap();
                }
            });
        }
    });
}

#[test]
fn case_14_a_renamed_volume_takes_its_data_along() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("oldname", Some(16 * MIB), None, None).unwrap();
    client.create("another", Some(16 * MIB), None, None).unwrap();
    client.write("oldname", 0, &pattern(1, 4096)).unwrap();
    assert_eq!(client.rename("nobody1", "newname").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.rename("oldname", "another").unwrap_err().kind, ErrorKind::Exists);
    client.rename("oldname", "newname").unwrap();
    assert_eq!(client.info("oldname").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(read(&mut client, "newname", 0, 4096), pattern(1, 4096));
    client.create("oldname", Some(16 * MIB), None, None).unwrap();
    client.write("oldname", 0, &pattern(2, 4096)).unwrap();
    client.snapshot("newname", "snapshot1").unwrap();
    client.write("newname", 0, &pattern(3, 4096)).unwrap();
    assert_eq!(read(&mut client, "oldname", 0, 4096), pattern(2, 4096));
    assert_eq!(read(&mut client, "snapshot1", 0, 4096), pattern(1, 4096));
    assert_eq!(read(&mut client, "newname", 0, 4096), pattern(3, 4096));
}

#[test]
fn case_15_a_volume_is_made_from_a_list_of_blocks() {
    let stack = TestStack::start();
    let mut client = stack.client();
    for (name, seed) in [("shared-block", 1), ("owned-block", 2)] {
        write_object(&mut client, &stack, name, &pattern(seed, 4 << 20));
    }
    let block = |name: &str, is_read_only| BlockSource { name: name.into(), is_read_only };
    let mut list = BlockList {
        size_bytes: 12 * MIB,
        block_size: 4 << 20,
        read_only: false,
        blocks: vec![block("shared-block", true), block("owned-block", false)],
    };
    assert_eq!(client.create_from_blocks("fromlist", &list).unwrap_err().kind, ErrorKind::Invalid);
    list.blocks.push(block("", true));
    client.create_from_blocks("fromlist", &list).unwrap();
    assert_eq!(client.create_from_blocks("fromlist", &list).unwrap_err().kind, ErrorKind::Exists);
    client.write("fromlist", 0, &[7; 512]).unwrap();
    client.write("fromlist", 4 * MIB, &[8; 512]).unwrap();
    assert_eq!(read_object(&mut client, &stack, "shared-block", 512), pattern(1, 512));
    assert_eq!(read_object(&mut client, &stack, "owned-block", 512), [8; 512]);
    assert_eq!(read(&mut client, "fromlist", 512, 512), pattern(1, 1024)[512..]);
    assert_eq!(read(&mut client, "fromlist", 8 * MIB, 512), [0; 512]);
    list.read_only = true;
    client.create_from_blocks("readonly", &list).unwrap();
    assert_eq!(client.write("readonly", 0, &[1; 512]).unwrap_err().kind, ErrorKind::ReadOnly);
}

fn write_object(client: &mut client::Client, stack: &TestStack, name: &str, bytes: &[u8]) {
    let to = xseg::PortNumber(stack.stack().blocker_blocks);
    for (part, at) in bytes.chunks(1 << 20).zip((0_u64..).step_by(1 << 20)) {
        let length = u64::try_from(part.len()).unwrap();
        let reply = client.call(to, protocol::Op::Write, name.as_bytes(), length, |request| {
            request.set_offset(at);
            request.set_size(length);
            request.write(0, part).unwrap();
            Ok(())
        });
        client.done(reply.unwrap());
    }
}

fn read_object(client: &mut client::Client, stack: &TestStack, name: &str, length: usize) -> Vec<u8> {
    let to = xseg::PortNumber(stack.stack().blocker_blocks);
    let size = u64::try_from(length).unwrap();
    let reply = client.call(to, protocol::Op::Read, name.as_bytes(), size, |request| {
        request.set_size(size);
        Ok(())
    });
    let reply = reply.unwrap();
    let mut bytes = vec![0; length];
    reply.read(0, &mut bytes).unwrap();
    client.done(reply);
    bytes
}

#[test]
fn shrinking_and_growing_brings_nothing_back() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    client.write("volume1", 0, &pattern(1, 16 << 20)).unwrap();
    assert_eq!(client.resize("volume1", 5 * MIB, false).unwrap_err().kind, ErrorKind::Invalid);
    client.resize("volume1", 5 * MIB, true).unwrap();
    assert!(client.read("volume1", 5 * MIB, &mut [0; 1]).is_err());
    client.resize("volume1", 16 * MIB, false).unwrap();
    client.write("volume1", 9 * MIB, &[1]).unwrap();
    let now = read(&mut client, "volume1", 0, 16 << 20);
    assert!(now[..5 << 20] == pattern(1, 16 << 20)[..5 << 20]);
    assert!(now[5 << 20..9 << 20].iter().all(|byte| *byte == 0));
    assert_eq!(now[9 << 20], 1);
    assert!(now[(9 << 20) + 1..].iter().all(|byte| *byte == 0));
}

#[test]
fn case_32_clients_beyond_what_the_segment_holds_are_refused_until_others_leave() {
    let stack = TestStack::start();
    let told = stack.stack();
    let mut clients = Vec::new();
    let failure = loop {
        match client::Client::connect(&told) {
            Ok(client) => clients.push(client),
            Err(failure) => break failure,
        }
        assert!(clients.len() < 2000, "the segment has no bound");
    };
    assert_eq!(failure.kind, ErrorKind::Unavailable, "{failure}");
    clients.truncate(clients.len() - 2);
    let mut newcomer = client::Client::connect(&told).unwrap();
    newcomer.create("volume1", Some(MIB), None, None).unwrap();
}
