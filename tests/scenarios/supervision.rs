//! A stack in the background, and what may befall it.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    os::unix::{fs::FileExt, net::UnixStream},
    process::{Command, Stdio},
};

use tests::{Supervised, TestStack, is_root, is_stopped, run, skip};

#[test]
fn roles_whose_supervisor_died_are_told_so_and_taken_over() {
    let stack = Supervised::start();
    stack.vlmc(&["create", "volume1", "--size", "16"]).done();
    let uri = stack.vlmc(&["map", "volume1", "--via", "nbd"]).done();
    let before = stack.pid("vlmcd");
    let supervisor = stack.kill("supervisor");
    stack.await_true("the supervisor's end is not told", || {
        let told = stack.archipelago(&["status"]);
        told.code() == Some(1) && told.stdout().contains("`archipelago start` takes the roles over")
    });
    stack.archipelago(&["start"]).done();
    assert!(stack.pid("supervisor") != supervisor && stack.pid("vlmcd") == before);
    stack.archipelago(&["status"]).done();
    assert!(stack.vlmc(&["showmapped"]).done().contains(&uri));
}

#[test]
fn another_stack_on_the_same_segment_is_refused_and_harms_nothing() {
    let stack = Supervised::start();
    let other = stack.path("other.toml");
    let text = fs::read_to_string(stack.configuration()).unwrap();
    fs::create_dir(stack.path("other-run")).unwrap();
    let run_dir = |name: &str| format!("run_dir = \"{}\"", stack.path(name).display());
    fs::write(&other, text.replace(&run_dir("run"), &run_dir("other-run"))).unwrap();
    for command in ["start", "run"] {
        let told =
            run(&mut stack.command("archipelago", &["-c", other.to_str().unwrap(), command])).refused();
        let holder =
            format!("port 10 of role blockerb is held by process {}", stack.pid("blockerb").unwrap());
        assert!(told.contains(&holder), "{told}");
    }
    stack.archipelago(&["status"]).done();
    stack.vlmc(&["create", "volume1", "--size", "16"]).done();
}

#[test]
fn a_stack_whose_run_directory_is_gone_is_found_and_stopped() {
    let stack = Supervised::start();
    let supervisor = stack.pid("supervisor").unwrap();
    fs::remove_dir_all(stack.path("run")).unwrap();
    let told = stack.archipelago(&["status"]);
    assert!(told.code() == Some(1) && told.stdout().contains(&supervisor.to_string()), "{}", told.stdout());
    stack.archipelago(&["start"]).refused();
    stack.archipelago(&["stop"]).done();
    // One that nobody has reaped yet has no command line.
    assert!(fs::read(format!("/proc/{supervisor}/cmdline")).unwrap_or_default().is_empty());
    stack.archipelago(&["start"]).done();
}

#[test]
fn a_role_starts_again_as_it_was_started_while_its_configuration_is_edited() {
    let stack = Supervised::start();
    let text = fs::read_to_string(stack.configuration()).unwrap();
    fs::write(stack.configuration(), format!("{text}\nnoise = ")).unwrap();
    let before = stack.kill("vlmcd");
    stack.await_another("vlmcd", before);
    fs::write(stack.configuration(), format!("{text}\n# a remark\n")).unwrap();
    stack.await_true("the change is not told", || {
        let told = stack.archipelago(&["status"]);
        told.code() == Some(0) && told.stdout().contains("`archipelago restart` takes it over")
    });
}

#[test]
fn an_interrupted_import_leaves_nothing() {
    let stack = TestStack::start();
    for (signal, name) in [("INT", "volume1"), ("TERM", "volume2")] {
        let mut import = stack.command("vlmc", &["import", "-", name, "--size", "64M"]);
        let mut import = import.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        import.stdin.as_ref().unwrap().write_all(&tests::pattern(1, 3 << 20)).unwrap();
        while !stack.vlmc(&["list"]).stdout().contains(&format!("{name}.importing")) {
            assert!(import.try_wait().unwrap().is_none(), "the import ended");
        }
        run(Command::new("kill").args([&format!("-{signal}"), &import.id().to_string()])).done();
        let ended = import.wait_with_output().unwrap();
        assert!(!ended.status.success());
        assert!(String::from_utf8_lossy(&ended.stderr).contains("nothing of the import was kept"));
    }
    assert_eq!(stack.vlmc(&["list", "--json"]).done(), "[]");
}

#[test]
fn an_export_clobbers_nothing() {
    let stack = TestStack::start();
    stack.vlmc(&["create", "volume1", "--size", "8"]).done();
    let (image, beside) = (stack.path("image"), stack.path("image.exporting"));
    OpenOptions::new().create_new(true).write(true).open(&beside).unwrap().write_all(b"mine").unwrap();
    let export = ["export", "volume1", image.to_str().unwrap()];
    stack.vlmc(&export).done();
    assert_eq!(fs::read(&beside).unwrap(), b"mine");
    assert_eq!(fs::metadata(&image).unwrap().len(), 8 << 20);
    stack.vlmc(&export).refused();
}

#[test]
fn a_client_that_connects_while_nbd_is_away_is_served_when_it_is_back() {
    let stack = Supervised::start();
    let socket = stack.path("run").join("nbd.sock");
    let stopped = stack.pid("nbd").unwrap();
    run(Command::new("kill").args(["-STOP", &stopped.to_string()])).done();
    stack.await_true("nbd does not stop", || is_stopped(stopped));
    let mut client = UnixStream::connect(&socket).unwrap();
    let before = stack.kill("nbd");
    stack.await_another("nbd", before);
    let mut greeting = [0; 8];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"NBDMAGIC");
}

#[test]
fn a_mount_outlives_its_role_and_a_supervisor() {
    if !is_root() {
        return skip("a_mount_outlives_its_role_and_a_supervisor", "reading the mount needs root");
    }
    let stack = Supervised::start();
    stack.vlmc(&["create", "volume1", "--size", "16"]).done();
    stack.vlmc(&["map", "volume1", "--via", "fuse"]).done();
    let file = OpenOptions::new().read(true).write(true).open(stack.path("volumes/volume1")).unwrap();
    for round in 0..3 {
        if round == 1 {
            let kept = || {
                let log = fs::read_to_string(stack.path("log/supervisor.log")).unwrap();
                log.lines()
                    .filter(|line| line.contains("keeps a descriptor") && line.contains("mount"))
                    .count()
            };
            let before = kept();
            stack.kill("supervisor");
            stack.await_true("no new supervisor", || stack.archipelago(&["start"]).code() == Some(0));
            // The role gives the new supervisor what the old one kept.
            stack.await_true("the new supervisor is given nothing", || kept() > before);
        }
        let bytes = tests::pattern(round, 8192);
        file.write_all_at(&bytes, 4096).unwrap();
        let before = stack.kill("fuse");
        let mut read = vec![0; 8192];
        file.read_exact_at(&mut read, 4096).unwrap();
        assert!(read == bytes, "round {round}");
        stack.await_another("fuse", before);
    }
    drop(file);
    stack.vlmc(&["unmap", "volume1"]).done();
}

#[test]
fn a_stack_stops_though_another_mount_namespace_has_its_files() {
    let test = "a_stack_stops_though_another_mount_namespace_has_its_files";
    let stack = Supervised::start();
    if !is_root() || stack.pid("fuse").is_none() {
        return skip(test, "needs root and FUSE");
    }
    let mut other = Command::new("unshare");
    other.args(["--mount", "--propagation", "private", "sh", "-c", "echo && read -r _"]);
    let mut other = other.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let is_there = other.stdout.as_mut().unwrap().read_exact(&mut [0]).is_ok();
    stack.archipelago(&["stop"]).done();
    drop(other.stdin.take());
    other.wait().unwrap();
    if !is_there {
        return skip(test, "mount namespaces cannot be made here");
    }
    let log = fs::read_to_string(stack.path("log/fuse.log")).unwrap();
    assert!(log.lines().last().unwrap().contains("stopped"), "killed, as it did not stop: {log}");
}
