//! Names of blocks, and how volumes are cut into them.

use protocol::{Entries, Entry, Message, Op};
use tests::{TestStack, pattern};
use xseg::PortNumber;

const MIB: u64 = 1 << 20;

fn entries(client: &mut client::Client, stack: &TestStack, volume: &str, first: u64, count: u64) -> Entries {
    let mapper = PortNumber(stack.stack().mapper);
    let reply = client.call(mapper, Op::MapRead, volume.as_bytes(), 1 << 16, |request| {
        request.set_offset(first);
        request.set_size(count);
        Ok(())
    });
    let reply = reply.unwrap();
    let mut bytes = vec![0; usize::try_from(reply.serviced()).unwrap()];
    reply.read(0, &mut bytes).unwrap();
    client.done(reply);
    Entries::decode(&bytes).unwrap()
}

#[test]
fn case_11_a_write_across_a_boundary_makes_the_blocks_on_both_sides() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    client.write("volume1", 4 * MIB - 2, &pattern(1, 512 << 10)).unwrap();
    let found = entries(&mut client, &stack, "volume1", 0, 4);
    let is_object = |entry: &Entry| matches!(entry, Entry::Object { is_writable: true, .. });
    assert_eq!(found.entries.iter().map(is_object).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(found.shape.block_size, 4 << 20);
}

#[test]
fn a_block_that_is_copied_gets_a_name_that_never_was() {
    let stack = TestStack::start();
    let mut client = stack.client();
    client.create("volume1", Some(16 * MIB), None, None).unwrap();
    let mut seen = Vec::new();
    for round in 0..4 {
        client.write("volume1", 0, &pattern(round, 4096)).unwrap();
        let now = entries(&mut client, &stack, "volume1", 0, 1).entries.remove(0);
        let (Entry::Object { owner, written_at, .. } | Entry::Partial { owner, written_at, .. }) = now else {
            panic!("{now:?}")
        };
        assert!(!seen.contains(&(owner, written_at)), "round {round}");
        seen.push((owner, written_at));
        client.snapshot("volume1", &format!("snapshot{round}")).unwrap();
    }
}
