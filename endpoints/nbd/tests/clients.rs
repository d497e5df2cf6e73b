//! Programs that people use, against the endpoint.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod stage;

use std::{fs, process::Command, time::Duration};

use stage::{Stage, Volume, pattern, run, tool};

const MIB: u64 = 1 << 20;

#[test]
fn nbdinfo_sees_size_flags_and_extents() {
    let Some(mut nbdinfo) = tool("nbdinfo") else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", 8 * MIB);
    stage.client().write("disk", MIB, &pattern(1, 65536)).unwrap();
    let json = run(nbdinfo.args(["--json", &uri]));
    let told: Vec<&str> = json.lines().map(str::trim).collect();
    for line in [
        "\"export-size\": 8388608,",
        "\"is_read_only\": false,",
        "\"can_multi_conn\": true,",
        "\"can_fua\": true,",
        "\"can_flush\": true,",
        "\"can_trim\": true,",
        "\"can_zero\": true,",
        "\"can_fast_zero\": true,",
        "\"can_df\": true,",
        "\"block_size_minimum\": 1,",
        "\"block_size_preferred\": 4096,",
        "\"block_size_maximum\": 33554432,",
    ] {
        assert!(told.contains(&line), "{line} is missing in {json}");
    }
    let map = run(tool("nbdinfo").unwrap().args(["--map", &uri]));
    let fields: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(fields, [["0", "1048576", "3"], ["1048576", "65536", "0"], ["1114112", "7274496", "3"]]);
}

#[test]
fn nbdinfo_lists_every_volume() {
    let Some(mut nbdinfo) = tool("nbdinfo") else { return };
    let stage = Stage::new();
    stage.attach("first", MIB);
    stage.attach("second one", MIB);
    let list = run(nbdinfo.arg("--list").arg(format!("nbd+unix:///?socket={}", stage.socket().display())));
    assert!(list.contains("export=\"first\":") && list.contains("export=\"second one\":"), "{list}");
}

#[test]
fn nbdcopy_brings_back_what_it_brought() {
    let Some(mut nbdcopy) = tool("nbdcopy") else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", 32 * MIB);
    let (source, target) = (stage.directory().join("source"), stage.directory().join("target"));
    let mut bytes = pattern(7, 24 << 20);
    bytes[4 << 20..12 << 20].fill(0);
    bytes.resize(32 << 20, 0);
    fs::write(&source, &bytes).unwrap();
    run(nbdcopy.arg("--flush").arg(&source).arg(&uri));
    assert!(stage.volumes.with("disk", |disk| disk.flushes > 0 && disk.blocks.len() <= 16 * 16));
    run(tool("nbdcopy").unwrap().arg(&uri).arg(&target));
    assert!(fs::read(&target).unwrap() == bytes);
}

#[test]
fn qemu_img_converts_and_compares() {
    let Some(mut qemu_img) = tool("qemu-img") else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", 16 * MIB);
    let source = stage.directory().join("source");
    let mut bytes = pattern(9, 10 << 20);
    bytes.resize(16 << 20, 0);
    fs::write(&source, &bytes).unwrap();
    run(qemu_img.args(["convert", "-n", "-f", "raw", "-O", "raw"]).arg(&source).arg(&uri));
    run(tool("qemu-img").unwrap().args(["compare", "-f", "raw", "-F", "raw"]).arg(&source).arg(&uri));
    let info = run(tool("qemu-img").unwrap().args(["info", "-f", "raw", &uri]));
    assert!(info.contains("16 MiB (16777216 bytes)"), "{info}");
    let map = run(tool("qemu-img").unwrap().args(["map", "-f", "raw", "--output=json", &uri]));
    assert!(map.contains("\"data\": false"), "{map}");
}

#[test]
fn qemu_io_writes_unaligned_ranges_zeroes_and_discards() {
    let Some(mut qemu_io) = tool("qemu-io") else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", 16 * MIB);
    let mut steps = Vec::new();
    for step in [
        "write -P 17 1001 70001",
        "read -P 17 1001 70001",
        "read -P 0 0 1001",
        "write -f -P 18 1M 3M",
        "write -z 2M 64k",
        "read -P 0 2M 64k",
        "write -z -u 2300k 100k",
        "read -P 0 2300k 100k",
        "discard 3M 512k",
        "flush",
        "read -P 18 1M 1M",
        "aio_write -P 19 8M 4M",
        "aio_write -P 20 12M 4M",
        "aio_flush",
        "read -P 19 8M 4M",
        "read -P 20 12M 4M",
    ] {
        steps.extend(["-c", step]);
    }
    let told = run(qemu_io.args(["-f", "raw"]).args(steps).arg(&uri));
    assert!(!told.contains("failed") && !told.contains("error"), "{told}");
    assert!(stage.volumes.with("disk", |disk| disk.durable_writes > 0 && disk.flushes > 0));
}

#[test]
fn fio_reads_back_what_it_wrote_at_depth_32() {
    let Some(mut fio) = tool("fio") else { return };
    if !run(Command::new("fio").arg("--enghelp")).contains("nbd") {
        eprintln!("skipped: no nbd engine in fio");
        return;
    }
    let stage = Stage::new();
    let uri = stage.attach("disk", 16 * MIB);
    for (rw, sizes) in [("randwrite", "512-64k"), ("write", "1m-1m")] {
        let job = fio_job(&mut fio, &uri);
        run(job
            .arg(format!("--rw={rw}"))
            .arg(format!("--bsrange={sizes}"))
            .arg("--verify=crc32c")
            .current_dir(stage.directory()));
        fio = tool("fio").unwrap();
    }
}

#[test]
fn fio_is_served_while_storage_is_slow() {
    let Some(mut fio) = tool("fio") else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", MIB);
    stage.volumes.with("disk", |disk| disk.delay = Duration::from_millis(1));
    let job = fio_job(&mut fio, &uri);
    run(job
        .args(["--rw=randrw", "--bs=4k", "--verify=crc32c", "--io_size=1m"])
        .current_dir(stage.directory()));
}

fn fio_job<'a>(fio: &'a mut Command, uri: &str) -> &'a mut Command {
    fio.args(["--name=verify", "--ioengine=nbd", "--iodepth=32", "--size=100%", "--verify_fatal=1"])
        .arg(format!("--uri={uri}"))
}

/// What libnbd reports when it is told to send what it knows to be wrong.
const STRICTLESS: &str = r#"
import nbd, sys
h = nbd.NBD()
h.add_meta_context("base:allocation")
h.connect_uri(sys.argv[1])
h.set_strict_mode(0)
size = h.get_size()
def say(name, call, *arguments):
    try:
        call(*arguments)
        print(name, "ok")
    except nbd.Error as error:
        print(name, error.errno)
say("read-past-end", h.pread, 512, size)
say("read-across-end", h.pread, 512, size - 1)
say("write-past-end", h.pwrite, b"x" * 512, size)
say("trim-past-end", h.trim, 4096, size - 512)
say("zero-past-end", h.zero, 4096, size - 512)
say("zero-length-read", h.pread, 0, 0)
say("zero-length-write", h.pwrite, b"", 0)
say("zero-length-trim", h.trim, 0, 0)
say("bad-flag", h.pwrite, b"x" * 512, 0, 1 << 9)
say("cache", h.cache, 512, 0)
say("status-past-end", h.block_status, 512, size, lambda *found: 0)
say("fast-zero", h.zero, 65536, 65536, nbd.CMD_FLAG_FAST_ZERO)
say("slow-zero", h.zero, 65536, 1, nbd.CMD_FLAG_FAST_ZERO)
say("huge-write", h.pwrite, b"y" * (33 << 20), 0)
say("large-write", h.pwrite, b"z" * (32 << 20), 0)
say("large-read", h.pread, 32 << 20, 0)
say("still-there", h.pread, 1, size - 1)
one = []
h.block_status(size, 0, lambda metacontext, offset, extents, error: one.extend(extents), nbd.CMD_FLAG_REQ_ONE)
print("one-extent", len(one) // 2, one[0] <= size)
"#;

/// A Python that has libnbd, if this machine has one.
fn python_with_libnbd() -> Option<Command> {
    for python in ["/usr/bin/python3", "python3"] {
        if Command::new(python)
            .args(["-c", "import nbd"])
            .output()
            .is_ok_and(|output| output.status.success())
        {
            return Some(Command::new(python));
        }
    }
    eprintln!("skipped: no libnbd for python3");
    None
}

#[test]
fn libnbd_without_its_own_checks_is_told_what_is_wrong() {
    let Some(mut python) = python_with_libnbd() else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", 64 * MIB);
    let told = run(python.args(["-c", STRICTLESS, &uri]));
    let wanted = "\
read-past-end EINVAL
read-across-end EINVAL
write-past-end ENOSPC
trim-past-end EINVAL
zero-past-end ENOSPC
zero-length-read ok
zero-length-write ok
zero-length-trim ok
bad-flag EINVAL
cache EINVAL
status-past-end EINVAL
fast-zero ok
slow-zero ENOTSUP
huge-write EINVAL
large-write ok
large-read ok
still-there ok
one-extent 1 True
";
    assert_eq!(told, wanted);
}

const LARGE_THEN_SMALL: &str = r#"
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
for _ in range(60):
    h.pread(32 << 20, 0)
    h.pread(1, 0)
"#;

#[test]
fn whoever_asks_while_the_last_buffer_is_just_given_back_has_it() {
    let Some(mut python) = python_with_libnbd() else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", 64 * MIB);
    // So slow that the relief answers, while the session hears the client's next request.
    stage.volumes.with("disk", |volume| volume.delay = Duration::from_millis(1));
    run(python.args(["-c", LARGE_THEN_SMALL, &uri]));
}

const PLAIN: &str = r#"
import nbd, sys
h = nbd.NBD()
h.set_request_structured_replies(False)
h.set_full_info(False)
h.connect_uri(sys.argv[1])
h.set_strict_mode(0)
h.pwrite(b"abc" * 100000, 77)
assert h.pread(300000, 77) == b"abc" * 100000
try:
    h.pread(512, h.get_size())
except nbd.Error as error:
    print(error.errno)
print(h.get_structured_replies_negotiated())
"#;

#[test]
fn a_client_without_structured_replies_is_served() {
    let Some(mut python) = python_with_libnbd() else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", MIB);
    assert_eq!(run(python.args(["-c", PLAIN, &uri])), "EINVAL\nFalse\n");
}

const READ_ONLY: &str = r#"
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
h.set_strict_mode(0)
print(h.is_read_only(), h.pread(4, 0) == b"\0" * 4)
for call in (lambda: h.pwrite(b"x" * 70000, 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)):
    try:
        call()
    except nbd.Error as error:
        print(error.errno)
h.flush()
"#;

#[test]
fn snapshots_and_volumes_attached_so_are_read_only() {
    let Some(mut python) = python_with_libnbd() else { return };
    let stage = Stage::new();
    stage.volumes.create("snapshot", Volume { is_snapshot: true, ..Volume::new(MIB) });
    stage.volumes.create("volume", Volume::new(MIB));
    for uri in [stage.attach_existing("snapshot", false), stage.attach_existing("volume", true)] {
        assert_eq!(run(python.args(["-c", READ_ONLY, &uri])), "True True\nEPERM\nEPERM\nEPERM\n");
        python = python_with_libnbd().unwrap();
    }
    assert!(!stage.volumes.with("volume", |volume| volume.is_open));
}

const FAILING: &str = r#"
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
for call in (lambda: h.pread(512, 4096), lambda: h.pwrite(b"x" * 512, 4096), lambda: h.pread(512, 8192)):
    try:
        call()
        print("ok")
    except nbd.Error as error:
        print(error.errno)
"#;

#[test]
fn failures_of_the_stack_reach_the_client_and_harm_nothing_else() {
    let Some(_) = python_with_libnbd() else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", MIB);
    for (kind, errno) in [
        (protocol::ErrorKind::NoSpace, "ENOSPC"),
        (protocol::ErrorKind::Corrupt, "EIO"),
        (protocol::ErrorKind::Unavailable, "EIO"),
        (protocol::ErrorKind::ReadOnly, "EPERM"),
        (protocol::ErrorKind::Unsupported, "ENOTSUP"),
    ] {
        stage.volumes.with("disk", |disk| disk.broken = Some((4096..8192, kind)));
        let told = run(python_with_libnbd().unwrap().args(["-c", FAILING, &uri]));
        assert_eq!(told, format!("{errno}\n{errno}\nok\n"), "{kind}");
    }
}

const GROWING: &str = r#"
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
h.set_strict_mode(0)
print(h.get_size())
sys.stdin.readline()
h.pwrite(b"x" * 512, 1 << 20)
print(h.pread(1, 1 << 20))
g = nbd.NBD()
g.connect_uri(sys.argv[1])
print(g.get_size())
"#;

#[test]
fn a_volume_that_grows_is_larger_for_old_and_new_connections() {
    use std::io::{BufRead, BufReader, Read, Write};
    let Some(mut python) = python_with_libnbd() else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", MIB);
    let mut client = python
        .args(["-c", GROWING, &uri])
        .env("PYTHONUNBUFFERED", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "1048576\n");
    stage.volumes.with("disk", |disk| disk.size_bytes = 2 * MIB);
    client.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "bytearray(b'x')\n2097152\n");
    assert!(client.wait().unwrap().success());
}
