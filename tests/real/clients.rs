//! Other people's programs on our endpoints.

use std::{path::Path, process::Command};

use tests::{TestStack, is_root, skip, tool};

const MIB: u64 = 1 << 20;

fn must(command: &mut Command) -> String {
    let outcome = tests::run(command);
    assert_eq!(outcome.code(), Some(0), "{command:?}: {} {}", outcome.stdout(), outcome.stderr());
    outcome.stdout()
}

/// A stack with one volume mapped through NBD, if the program is there.
fn mapped(test: &str, program: &str) -> Option<(TestStack, String)> {
    if tool(program).is_none() {
        skip(test, &format!("{program} is not installed"));
        return None;
    }
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "256"]).done();
    let uri = stack.vlmc(&["map", "volume1", "--via", "nbd"]).done();
    assert!(uri.starts_with("nbd"), "{uri}");
    Some((stack, uri))
}

#[test]
fn nbdinfo_and_nbdcopy_see_the_volume() {
    let Some((stack, uri)) = mapped("nbdinfo_and_nbdcopy_see_the_volume", "nbdcopy") else { return };
    assert_eq!(must(Command::new("nbdinfo").args(["--size", &uri])), (256 * MIB).to_string());
    let (image, copy) = (stack.path("image"), stack.path("copy"));
    let mut bytes = vec![0; 256 << 20];
    bytes[..5 << 20].copy_from_slice(&tests::pattern(1, 5 << 20));
    bytes[200 << 20..][..3 << 20].copy_from_slice(&tests::pattern(2, 3 << 20));
    std::fs::write(&image, &bytes).unwrap();
    must(Command::new("nbdcopy").arg(&image).arg(&uri));
    must(Command::new("nbdcopy").arg(&uri).arg(&copy));
    assert!(std::fs::read(&copy).unwrap() == bytes);
    let map = must(Command::new("nbdinfo").args(["--map", &uri]));
    assert!(map.contains("hole") && map.contains("data"), "{map}");
}

#[test]
fn nbdsh_reads_and_writes_the_volume() {
    let Some((_stack, uri)) = mapped("nbdsh_reads_and_writes_the_volume", "nbdsh") else { return };
    let lines = [
        "h.pwrite(b'x' * 5000, 4095)",
        "h.zero(100, 5000)",
        "h.flush()",
        "assert h.pread(5002, 4094) == b'\\0' + b'x' * 905 + b'\\0' * 100 + b'x' * 3995 + b'\\0'",
        "print(h.get_size())",
    ];
    let commands = lines.iter().flat_map(|line| ["--command", line]);
    // It runs on the system's Python, which alone has the module.
    let told = must(Command::new("nbdsh").env("PATH", "/usr/bin:/bin").args(["--uri", &uri]).args(commands));
    assert_eq!(told, (256 * MIB).to_string());
}

#[test]
fn qemu_reads_and_writes_the_volume() {
    let Some((stack, uri)) = mapped("qemu_reads_and_writes_the_volume", "qemu-io") else { return };
    let qemu_io = |command: &str| must(Command::new("qemu-io").args(["-f", "raw", "-c", command, &uri]));
    qemu_io("write -P 7 1000000 1000000");
    assert!(!qemu_io("read -P 7 1000000 1000000").contains("failed"));
    qemu_io("discard 1M 1M");
    qemu_io("write -z 4M 8M");
    qemu_io("flush");
    let copy = stack.path("copy.qcow2");
    must(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2", &uri]).arg(&copy));
    must(Command::new("qemu-img").args(["compare", "-f", "raw", "-F", "qcow2", &uri]).arg(&copy));
}

#[test]
fn fio_verifies_what_it_wrote_through_nbd() {
    let Some((_stack, uri)) = mapped("fio_verifies_what_it_wrote_through_nbd", "fio") else { return };
    must(
        Command::new("fio")
            .args(["--name=verify", "--ioengine=nbd", "--rw=randwrite", "--bsrange=512-256k"])
            .args([
                &format!("--uri={uri}"),
                "--size=64M",
                "--iodepth=32",
                "--verify=crc32c",
                "--verify_state_save=0",
                "--bs_unaligned",
            ]),
    );
}

#[test]
fn fio_verifies_what_it_wrote_on_a_loop_device() {
    let test = "fio_verifies_what_it_wrote_on_a_loop_device";
    if !is_root() || tool("fio").is_none() {
        return skip(test, "needs root and fio");
    }
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "128"]).done();
    let device = stack.vlmc(&["map", "volume1", "--via", "fuse"]).done();
    must(
        Command::new("fio").args(["--name=verify", "--ioengine=io_uring", "--direct=1", "--rw=randrw"]).args(
            [
                &format!("--filename={device}"),
                "--bs=4k",
                "--size=64M",
                "--iodepth=32",
                "--verify=crc32c",
                "--verify_state_save=0",
            ],
        ),
    );
    assert!(Path::new(&device).exists());
    stack.vlmc(&["unmap", &device]).done();
}

/// What fsx does to a device: everything that keeps its size.
const FSX: &str = "blockmode = true
[opsize]
max = 262144
align = 512
[weights]
close_open = 0
truncate = 0
posix_fallocate = 0
copy_file_range = 0
sendfile = 0
read = 10
write = 10
mapread = 5
mapwrite = 5
invalidate = 1
fsync = 1
fdatasync = 1
punch_hole = 2
";

#[test]
fn fsx_finds_nothing_wrong_with_a_loop_device() {
    let test = "fsx_finds_nothing_wrong_with_a_loop_device";
    let Some(fsx) = tool("fsx").filter(|_| is_root()) else { return skip(test, "needs root and fsx") };
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "64"]).done();
    let device = stack.vlmc(&["map", "volume1", "--via", "fuse"]).done();
    let configuration = stack.path("fsx.toml");
    std::fs::write(&configuration, FSX).unwrap();
    let mut command = Command::new(fsx);
    command
        .arg("-f")
        .arg(&configuration)
        .arg("-P")
        .arg(stack.path("."))
        .args(["-N", "3000", "-S", "7", &device]);
    must(&mut command);
    stack.vlmc(&["unmap", &device]).done();
}

#[test]
fn two_clients_at_once_do_not_disturb_each_other() {
    let Some((_stack, uri)) = mapped("two_clients_at_once_do_not_disturb_each_other", "fio") else { return };
    std::thread::scope(|scope| {
        for part in 0..2 {
            let uri = &uri;
            scope.spawn(move || {
                must(
                    Command::new("fio")
                        .args(["--name=verify", "--ioengine=nbd", "--rw=randwrite", "--bs=4k"])
                        .args([
                            format!("--uri={uri}"),
                            format!("--offset={}M", part * 64),
                            "--size=32M".to_owned(),
                            "--iodepth=16".to_owned(),
                            "--verify=crc32c".to_owned(),
                            "--verify_state_save=0".to_owned(),
                        ]),
                );
            });
        }
    });
}
