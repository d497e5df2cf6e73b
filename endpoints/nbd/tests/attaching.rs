//! Attaching and detaching, by the control port.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod stage;

use std::{fs, io::Read, os::unix::net::UnixStream};

use protocol::ErrorKind;
use stage::{Stage, Volume, run, tool};

const MIB: u64 = 1 << 20;

#[test]
fn attaching_opens_the_volume_and_detaching_flushes_and_closes_it() {
    let stage = Stage::new();
    let uri = stage.attach("disk 1", MIB);
    assert_eq!(uri, format!("nbd+unix:///disk%201?socket={}", stage.socket().display()));
    assert!(stage.volumes.with("disk 1", |disk| disk.is_open));
    let attached = stage.attached();
    assert_eq!((attached.len(), attached[0].location.as_str(), attached[0].user_count), (1, uri.as_str(), 0));
    stage.detach("disk 1", false).unwrap();
    assert!(stage.volumes.with("disk 1", |disk| !disk.is_open && disk.flushes == 1));
    assert!(stage.attached().is_empty());
    assert_eq!(stage.detach("disk 1", false).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn what_does_not_exist_or_is_attached_is_refused() {
    let stage = Stage::new();
    stage.attach("disk", MIB);
    let mut client = stage.client();
    assert_eq!(client.attach(2, "nothing", false).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.attach(2, "disk", false).unwrap_err().kind, ErrorKind::Exists);
}

#[test]
fn a_volume_in_use_is_busy_and_its_user_is_counted() {
    let Some(mut qemu_io) = tool("qemu-io") else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", MIB);
    let mut user = qemu_io
        .args(["-f", "raw", &uri])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut prompt = [0; 9];
    user.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"qemu-io> ");
    assert_eq!(stage.attached()[0].user_count, 1);
    assert_eq!(stage.detach("disk", false).unwrap_err().kind, ErrorKind::Busy);
    drop(user.stdin.take());
    assert!(user.wait().unwrap().success());
    stage.detach("disk", false).unwrap();
}

#[test]
fn a_detached_volume_is_unknown_to_clients() {
    let Some(mut nbdinfo) = tool("nbdinfo") else { return };
    let stage = Stage::new();
    let uri = stage.attach("disk", MIB);
    stage.detach("disk", false).unwrap();
    let output = nbdinfo.args(["--size", &uri]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no export named 'disk'"), "{output:?}");
}

#[test]
fn a_restarted_endpoint_shows_what_it_showed() {
    let Some(mut nbdinfo) = tool("nbdinfo") else { return };
    let mut stage = Stage::new();
    let uri = stage.attach("disk", MIB);
    stage.volumes.create("snapshot", Volume { is_snapshot: true, ..Volume::new(MIB) });
    stage.attach_existing("snapshot", false);
    stage.restart_endpoint();
    assert_eq!(
        stage.attached().iter().map(|one| one.volume.clone()).collect::<Vec<_>>(),
        ["disk", "snapshot"]
    );
    assert!(stage.volumes.with("disk", |disk| disk.is_open));
    assert_eq!(run(nbdinfo.args(["--size", &uri])), "1048576\n");
}

#[test]
fn a_stopping_endpoint_ends_its_connections_closes_its_volumes_and_takes_its_socket_along() {
    let mut stage = Stage::new();
    stage.attach("disk", MIB);
    let mut greeted = UnixStream::connect(stage.socket()).unwrap();
    greeted.read_exact(&mut [0; 18]).unwrap();
    stage.stop_endpoint();
    assert_eq!(greeted.read(&mut [0; 1]).unwrap(), 0);
    assert!(stage.volumes.with("disk", |disk| !disk.is_open && disk.flushes == 1));
    assert!(!stage.socket().exists());
}

#[test]
fn a_socket_that_a_dead_endpoint_left_is_replaced_but_a_live_one_is_not() {
    let stage = Stage::new();
    assert!(matches!(stage.try_another(|_| {}), Err(nbd::Error::Listen { .. })));
    let left = stage.directory().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let other = Stage::with(|config| config.socket = Some(left.clone()));
    UnixStream::connect(&left).unwrap().read_exact(&mut [0; 18]).unwrap();
    drop(other);
    assert!(fs::metadata(left).is_err());
}
