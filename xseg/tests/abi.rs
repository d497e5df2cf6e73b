//! The C header says the same as `xseg::abi`, and a peer in C is a peer among peers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    mem::{offset_of, size_of},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use xseg::{
    Geometry, Port, PortNumber, Received, Reserve, Segment,
    abi::{self, Counters, Header, PortRecord, Slot, TraceEvent},
};

const C_PEER: PortNumber = PortNumber(1);
const RUST_PEER: PortNumber = PortNumber(2);
const ROUNDS: u32 = 20_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Compiles a C program of these tests, with all warnings as errors, for one `user`.
fn compile(program: &str, user: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}-{user}"));
    let done = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(root.join("include"))
        .arg(root.join(format!("tests/c/{program}.c")))
        .arg("-o")
        .arg(&out)
        .status()
        .unwrap();
    assert!(done.success(), "cc {program}.c: {done}");
    out
}

macro_rules! fields {
    ($map:ident, $name:literal, $type:ty: $($field:ident)*) => {
        $map.insert($name.to_owned(), size_of::<$type>() as u64);
        $($map.insert(concat!($name, ".", stringify!($field)).to_owned(), offset_of!($type, $field) as u64);)*
    };
}

fn rust_layout() -> BTreeMap<String, u64> {
    let mut map = BTreeMap::new();
    fields!(map, "header", Header: magic version header_bytes features segment_id ports static_ports requests
        request_bytes arena_bytes total_bytes port_table table_slabs arena_slabs request_table trace arena
        pid_namespace reserved);
    fields!(map, "counters", Counters: anomalies deaths tracing trace_cursor);
    fields!(map, "port", PortRecord: inbox audit owner incarnation via);
    fields!(map, "slot", Slot: state next to arrival buffer_at buffer_bytes serviced status result_bytes path op flags
        target_bytes argument_bytes offset size fence flow serial incarnation parent reserved target argument result);
    fields!(map, "trace_event", TraceEvent: number at_ns port step slot origin incarnation other serial parent op);
    let numbers = [
        ("XSEG_VERSION", u64::from(abi::VERSION)),
        ("XSEG_MAGIC", abi::MAGIC),
        ("XSEG_FEATURES", abi::FEATURES),
        ("XSEG_SLAB_REQUESTS", u64::from(abi::SLAB_REQUESTS)),
        ("XSEG_SLAB_BYTES", abi::SLAB_BYTES),
        ("XSEG_HEADER_BYTES", abi::HEADER_BYTES),
        ("XSEG_COUNTERS_AT", abi::COUNTERS_AT),
        ("XSEG_TRACE_EVENTS", u64::from(abi::TRACE_EVENTS)),
        ("XSEG_INBOX_EMPTY", u64::from(abi::INBOX_EMPTY)),
        ("XSEG_INBOX_SLEEPING", u64::from(abi::INBOX_SLEEPING)),
        ("XSEG_INBOX_FIRST", u64::from(abi::INBOX_FIRST)),
    ];
    map.extend(numbers.map(|(name, number)| (name.to_owned(), number)));
    map
}

#[test]
fn the_header_in_c_lays_out_what_rust_lays_out() {
    let output = Command::new(compile("layout", "test")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let c_layout: BTreeMap<String, u64> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, number)| (name.to_owned(), number.parse().unwrap()))
        .collect();
    assert_eq!(c_layout, rust_layout());
}

struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        Segment::destroy(&self.0).unwrap();
    }
}

fn segment(kind: &str) -> (Segment, Named) {
    let name = format!("xseg-c-{kind}-{}", std::process::id());
    (Segment::create(&name, Geometry::new(8, 4, 64, 1 << 20).unwrap()).unwrap(), Named(name))
}

fn next(port: &mut Port) -> Received {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(received) = port.receive() {
            return received;
        }
        assert_ne!(port.wait(Some(end)), xseg::Woken::Deadline, "the peer in c is silent");
    }
}

#[test]
fn a_server_in_c_answers_a_client_in_rust() {
    let (segment, name) = segment("server");
    let args = ["serve", &name.0, "1", &ROUNDS.to_string()];
    let mut peer = Command::new(compile("peer", "server")).args(args).spawn().unwrap();
    let mut client = segment.bind_dynamic(Reserve { requests: 16, bytes: 64 * 1024 }).unwrap();
    let (mut sent, mut answered) = (0, 0);
    while answered < ROUNDS {
        while sent < ROUNDS
            && let Ok(mut held) = client.allocate(64)
        {
            held.write(0, &[u8::try_from(sent % 200).unwrap(); 64]).unwrap();
            held.set_argument(&sent.to_le_bytes()).unwrap();
            client.submit(held, C_PEER).unwrap();
            sent += 1;
        }
        let Received::Reply(held) = next(&mut client) else { panic!("a request") };
        let byte = u8::try_from(answered % 200).unwrap();
        let mut bytes = [0; 64];
        held.read(0, &mut bytes).unwrap();
        assert_eq!((held.status(), held.serviced(), bytes), (0, 64 * u64::from(byte), [!byte; 64]));
        assert_eq!(&*held.argument(), answered.to_le_bytes());
        client.free(held);
        answered += 1;
    }
    assert!(peer.wait().unwrap().success());
    assert_eq!((segment.verify(), segment.anomalies()), (vec![], 0));
}

#[test]
fn a_client_in_c_is_served_in_rust() {
    let (segment, name) = segment("client");
    let mut server = segment.bind(RUST_PEER, Reserve { requests: 16, bytes: 0 }).unwrap();
    let args = ["ask", &name.0, "1", "2", &ROUNDS.to_string()];
    let mut peer = Command::new(compile("peer", "client")).args(args).spawn().unwrap();
    for round in 0..ROUNDS {
        let Received::Request(mut held) = next(&mut server) else { panic!("a reply") };
        assert_eq!((held.offset(), held.from(), &*held.target()), (round.into(), C_PEER, &b"volume"[..]));
        held.write(0, &u64::from(round).to_le_bytes()).unwrap();
        held.set_serviced(round.into());
        server.respond(held).unwrap();
    }
    assert!(peer.wait().unwrap().success());
    assert_eq!((segment.verify(), segment.anomalies()), (vec![], 0));
}
