//! Clones: volumes that begin as a snapshot.

use protocol::ErrorKind;
use tests::{TestStack, pattern};

const MIB: u64 = 1 << 20;

fn read(client: &mut client::Client, volume: &str, offset: u64) -> Vec<u8> {
    let mut bytes = vec![0xaa; 4096];
    client.read(volume, offset, &mut bytes).unwrap();
    bytes
}

fn snapshotted(stack: &TestStack) -> client::Client {
    let mut client = stack.client();
    client.create("parent", Some(16 * MIB), None, None).unwrap();
    client.write("parent", 0, &pattern(1, 8192)).unwrap();
    client.snapshot("parent", "snapshot1").unwrap();
    client
}

#[test]
fn case_8_sizes_of_a_clone() {
    let stack = TestStack::start();
    let mut client = snapshotted(&stack);
    client.create("same-size", None, Some("snapshot1"), None).unwrap();
    assert_eq!(client.info("same-size").unwrap().size_bytes, 16 * MIB);
    assert_eq!(
        client.create("smaller", Some(2), Some("snapshot1"), None).unwrap_err().kind,
        ErrorKind::Invalid
    );
    client.create("larger", Some(40 * MIB), Some("snapshot1"), None).unwrap();
    assert_eq!(read(&mut client, "larger", 0), pattern(1, 8192)[..4096]);
    assert_eq!(read(&mut client, "larger", 30 * MIB), [0; 4096]);
    assert!(client.create("of-volume", None, Some("parent"), None).is_err());
    assert_eq!(
        client.create("of-nobody", None, Some("nobody1"), None).unwrap_err().kind,
        ErrorKind::NotFound
    );
}

#[test]
fn case_8_writes_to_a_clone_reach_nobody_else() {
    let stack = TestStack::start();
    let mut client = snapshotted(&stack);
    client.create("sibling", None, Some("snapshot1"), None).unwrap();
    client.create("myclone", None, Some("snapshot1"), None).unwrap();
    client.write("myclone", 100, &[9; 100]).unwrap();
    for other in ["parent", "snapshot1", "sibling"] {
        assert_eq!(read(&mut client, other, 0), pattern(1, 8192)[..4096], "{other}");
    }
    let mut expected = pattern(1, 8192)[..4096].to_vec();
    expected[100..200].fill(9);
    assert_eq!(read(&mut client, "myclone", 0), expected);
    assert_eq!(read(&mut client, "myclone", 4096), pattern(1, 8192)[4096..]);
}

#[test]
fn a_clone_outlives_its_parent_and_its_snapshot() {
    let stack = TestStack::start();
    let mut client = snapshotted(&stack);
    client.create("myclone", None, Some("snapshot1"), None).unwrap();
    client.remove("parent").unwrap();
    client.remove("snapshot1").unwrap();
    stack.archipelago(&["gc"]).done();
    assert_eq!(read(&mut client, "myclone", 0), pattern(1, 8192)[..4096]);
    client.snapshot("myclone", "again1").unwrap();
    client.create("grandchild", None, Some("again1"), None).unwrap();
    assert_eq!(read(&mut client, "grandchild", 0), pattern(1, 8192)[..4096]);
}
