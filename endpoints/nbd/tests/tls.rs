//! Encrypted connections over TCP.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod stage;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use stage::{Stage, pattern, run, tool};

const MIB: u64 = 1 << 20;

/// Makes an authority and certificates of it for server and client, as libnbd looks for them.
fn make_certificates(directory: &Path) {
    let openssl = |arguments: &str| {
        run(Command::new("openssl").current_dir(directory).args(arguments.split(' ')));
    };
    fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca-cert.pem -days 2 -subj /CN=ca",
    );
    for name in ["server", "client"] {
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}-key.pem -out {name}.csr -subj /CN={name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca-cert.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {name}-cert.pem"
        ));
    }
}

/// An endpoint on TCP that requires TLS, and the URI of a volume there.
fn stage(certificates: &Path, asks_clients: bool) -> (Stage, String) {
    let stage = Stage::with(|config| {
        config.socket = None;
        config.handshake_timeout_s = 5;
        config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.tls_certificate = Some(certificates.join("server-cert.pem"));
        config.tls_key = Some(certificates.join("server-key.pem"));
        config.tls_client_ca = asks_clients.then(|| certificates.join("ca-cert.pem"));
    });
    let uri = stage.attach("disk", 4 * MIB);
    assert!(uri.starts_with("nbds://127.0.0.1:"), "{uri}");
    (stage, uri)
}

fn size(uri: &str, certificates: &Path) -> Output {
    let uri = format!("{uri}?tls-certificates={}", certificates.display());
    Command::new("nbdinfo").args(["--size", &uri]).output().unwrap()
}

#[test]
fn encrypted_clients_are_served_and_others_refused() {
    let (Some(_), Some(_), Some(mut nbdcopy)) = (tool("openssl"), tool("nbdinfo"), tool("nbdcopy")) else {
        return;
    };
    let certificates = tempfile::tempdir().unwrap();
    make_certificates(certificates.path());
    let (stage, uri) = stage(certificates.path(), false);
    let bytes = pattern(3, 4 << 20);
    let (source, target) = (certificates.path().join("source"), certificates.path().join("target"));
    fs::write(&source, &bytes).unwrap();
    let encrypted = format!("{uri}?tls-certificates={}", certificates.path().display());
    run(nbdcopy.arg(&source).arg(&encrypted));
    run(tool("nbdcopy").unwrap().args(["--request-size=1048576"]).arg(&encrypted).arg(&target));
    assert!(fs::read(&target).unwrap() == bytes);
    let plain = Command::new("nbdinfo").args(["--size", &uri.replace("nbds:", "nbd:")]).output().unwrap();
    assert!(!plain.status.success());
    assert!(String::from_utf8_lossy(&plain.stderr).contains("TLS"), "{plain:?}");
    drop(stage);
}

#[test]
fn where_clients_need_certificates_those_without_are_refused() {
    let (Some(_), Some(_)) = (tool("openssl"), tool("nbdinfo")) else { return };
    let certificates = tempfile::tempdir().unwrap();
    make_certificates(certificates.path());
    let (_stage, uri) = stage(certificates.path(), true);
    assert_eq!(size(&uri, certificates.path()).stdout, b"4194304\n");
    fs::remove_file(certificates.path().join("client-cert.pem")).unwrap();
    assert!(!size(&uri, certificates.path()).status.success());
}

#[test]
fn a_handshake_of_single_bytes_ends_in_time() {
    let Some(_) = tool("openssl") else { return };
    let certificates = tempfile::tempdir().unwrap();
    make_certificates(certificates.path());
    let (_stage, uri) = stage(certificates.path(), false);
    let address = uri.trim_start_matches("nbds://").trim_end_matches("/disk");
    let mut slow = TcpStream::connect(address).unwrap();
    slow.read_exact(&mut [0; 18]).unwrap();
    slow.write_all(&[0, 0, 0, 3]).unwrap();
    slow.write_all(b"IHAVEOPT\0\0\0\x05\0\0\0\0").unwrap();
    slow.read_exact(&mut [0; 20]).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // A handshake record that is never whole.
    let record = [0x16, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc, 3, 3].into_iter().chain(std::iter::repeat(7));
    let ended = record.take(600).any(|byte| {
        let is_open = slow.write_all(&[byte]).is_ok();
        !is_open || slow.read(&mut [0]).is_ok_and(|count| count == 0)
    });
    assert!(ended, "it was listened to for a minute");
}

#[test]
fn a_certificate_that_is_none_is_named() {
    let stage = Stage::new();
    let file = stage.directory().join("certificate");
    fs::write(&file, "nothing of the kind").unwrap();
    let error = stage.try_another(|config| {
        config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.tls_certificate = Some(file.clone());
        config.tls_key = Some(file.clone());
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains(&file.display().to_string()) && message.contains("certificate"), "{message}");
}
