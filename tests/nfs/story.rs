//! What happens inside the machine.

use std::{path::Path, process::Command, sync::mpsc, time::Duration};

use protocol::{ErrorKind, Failure};
use tests::{TestStack, pattern, run};

const MIB: u64 = 1 << 20;
const PIECE: usize = 64 << 10;
/// How long something is waited for that must not happen.
const GLANCE: Duration = Duration::from_millis(300);

/// What happens to two hosts.
type Chapter = fn(&[TestStack; 2]);

/// Two hosts, each a client of the server.
pub(crate) fn tell() {
    mounts();
    // What many directories cost goes without the network.
    for store in ["blocks", "maps"].map(|name| Path::new("/srv").join(name)) {
        std::fs::create_dir(&store).unwrap();
        drop(filed::Files::open(&filed::Config::new(store), 1).unwrap());
    }
    let hosts = std::thread::scope(|threads| {
        ["1", "2"].map(|client| threads.spawn(|| host(client))).map(|host| host.join().unwrap())
    });
    let chapters: [(&str, Chapter); 4] = [
        ("locks", locks),
        ("hand-over", hand_over),
        ("a broken lock", broken),
        ("a former owner without a network", cut_off),
    ];
    for (name, chapter) in chapters {
        println!("{name}");
        chapter(&hosts);
    }
}

fn host(client: &str) -> TestStack {
    let place = Path::new("/clients").join(client);
    let [blocks, maps] = ["blocks", "maps"].map(|name| place.join(name).to_str().unwrap().to_owned());
    TestStack::start_with(&["--blocks", &blocks, "--maps", &maps], |configuration| {
        configuration.replace("type = \"filed\"\n", "type = \"filed\"\nshared = true\n")
    })
}

fn kind<T>(result: Result<T, Failure>) -> Option<ErrorKind> {
    result.err().map(|failure| failure.kind)
}

fn write(host: &TestStack, volume: &str, seed: u32) -> Result<(), Failure> {
    host.client().write(volume, 0, &pattern(seed, PIECE))
}

fn read(host: &TestStack, volume: &str) -> Vec<u8> {
    let mut bytes = vec![0; PIECE];
    host.client().read(volume, 0, &mut bytes).unwrap();
    bytes
}

fn create(host: &TestStack, volume: &str) {
    host.client().create(volume, Some(16 * MIB), None, None).unwrap();
}

fn shell(line: &str) {
    run(Command::new("sh").args(["-c", line])).done();
}

/// A mount under which hosts would see late what others do is refused by name.
fn mounts() {
    let check = |directory: &str| {
        let shared = filed::Config { shared: true, ..filed::Config::new(directory) };
        shared.check(1).map_err(|error| error.to_string())
    };
    assert_eq!(check("/clients/1"), Ok(()));
    let refused = check("/clients/plain").unwrap_err();
    assert!(refused.contains("/clients/plain is on NFS, mounted without lookupcache=none"), "{refused}");
}

fn locks([owner, other]: &[TestStack; 2]) {
    // What was looked for is found as soon as another host has made it.
    assert_eq!(kind(other.client().info("volume1")), Some(ErrorKind::NotFound));
    create(owner, "volume1");
    other.client().info("volume1").unwrap();
    write(owner, "volume1", 1).unwrap();
    owner.client().flush("volume1").unwrap();
    assert!(read(other, "volume1") == pattern(1, PIECE));
    assert_eq!(kind(other.client().open("volume1")), Some(ErrorKind::Busy));
    assert_eq!(kind(other.client().snapshot("volume1", "snapshot1")), Some(ErrorKind::Busy));
    assert_eq!(kind(other.client().remove("volume1")), Some(ErrorKind::Busy));
}

/// There and back again: what one wrote the other reads.
fn hand_over(hosts: &[TestStack; 2]) {
    create(&hosts[0], "volume2");
    write(&hosts[0], "volume2", 0).unwrap();
    for turn in 1..5 {
        let (from, to) = (&hosts[(turn + 1) % 2], &hosts[turn % 2]);
        let seed = u32::try_from(turn).unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                write(to, "volume2", seed).unwrap();
                sender.send(()).unwrap();
            });
            assert!(receiver.recv_timeout(GLANCE).is_err(), "the write did not wait");
            assert!(read(from, "volume2") == pattern(seed - 1, PIECE));
            from.client().close("volume2").unwrap();
            receiver.recv().unwrap();
        });
        to.client().flush("volume2").unwrap();
        assert!(read(from, "volume2") == pattern(seed, PIECE), "it reads what was there before turn {turn}");
    }
}

/// What the former owner was told that it wrote does not come later, though it was never flushed.
fn broken([former, owner]: &[TestStack; 2]) {
    create(former, "volume3");
    write(former, "volume3", 1).unwrap();
    former.client().flush("volume3").unwrap();
    write(former, "volume3", 2).unwrap();
    owner.client().unlock("volume3", true).unwrap();
    write(owner, "volume3", 3).unwrap();
    owner.client().flush("volume3").unwrap();
    assert_eq!(kind(write(former, "volume3", 4)), Some(ErrorKind::NotOwner));
    shell("sync -f /clients/1 && sync -f /clients/2");
    assert!(read(owner, "volume3") == pattern(3, PIECE), "what the former owner wrote came later");
}

/// A host without a network has the lock until it is broken; what it wants to write then waits, and is refused.
fn cut_off([former, owner]: &[TestStack; 2]) {
    create(former, "volume4");
    write(former, "volume4", 1).unwrap();
    former.client().flush("volume4").unwrap();
    shell("ip link set client1 down");
    std::thread::scope(|threads| {
        let late = threads.spawn(|| kind(write(former, "volume4", 2)));
        assert_eq!(kind(owner.client().open("volume4")), Some(ErrorKind::Busy));
        owner.client().unlock("volume4", true).unwrap();
        write(owner, "volume4", 3).unwrap();
        owner.client().flush("volume4").unwrap();
        shell("ip link set client1 up");
        assert_eq!(late.join().unwrap(), Some(ErrorKind::NotOwner));
    });
    assert!(read(owner, "volume4") == pattern(3, PIECE), "what the former owner wrote came later");
}
