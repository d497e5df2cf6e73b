//! Processes that share a directory, and die in it.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use filed::{Config, Files};
use store::{ErrorKind, ObjectName, Store};

const DIRECTORY: &str = "FILED_TEST_DIRECTORY";
const DUTY: &str = "FILED_TEST_DUTY";

fn open(directory: &Path) -> Files {
    Files::open(&Config::new(directory), 8).unwrap()
}

fn lock() -> ObjectName {
    ObjectName::new("volume").unwrap()
}

/// What another process does; in the process of the tests it is nothing.
#[test]
fn duty_of_another_process() {
    let (Ok(directory), Ok(duty)) = (std::env::var(DIRECTORY), std::env::var(DUTY)) else { return };
    let files = open(Path::new(&directory));
    match duty.as_str() {
        "hold" => {
            files.acquire(&lock(), "dead", false, false).unwrap();
            println!("ready");
            files.acquire(&ObjectName::new("nobody gives this back").unwrap(), "dead", true, false).unwrap();
        }
        "wait" => {
            println!("ready");
            files.acquire(&lock(), "dead", true, false).unwrap();
        }
        "count" => {
            for _ in 0..25 {
                files.acquire(&lock(), &duty_owner(), true, false).unwrap();
                let count = files.read(&counter(), 0, 1).unwrap()[0];
                files.write(&counter(), 0, &[count + 1]).unwrap();
                files.release(&lock(), &duty_owner(), false).unwrap();
            }
        }
        other => panic!("there is no duty {other}"),
    }
    std::thread::park();
}

fn duty_owner() -> String {
    format!("process {}", std::process::id())
}

fn counter() -> ObjectName {
    ObjectName::new("counter").unwrap()
}

fn spawn(directory: &Path, duty: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "duty_of_another_process", "--nocapture"]);
    command.env(DIRECTORY, directory).env(DUTY, duty).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn wait_until_ready(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready")), "the other process ended early");
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_lock_of_a_killed_process_stays_until_its_owner_or_force_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = spawn(directory.path(), "hold");
    wait_until_ready(&mut child);
    let files = open(directory.path());
    assert_eq!(files.acquire(&lock(), "other", false, false).unwrap_err().kind, ErrorKind::Busy);
    kill(child);
    assert_eq!(files.acquire(&lock(), "other", false, false).unwrap_err().kind, ErrorKind::Busy);
    let number = files.acquire(&lock(), "dead", false, false).unwrap();
    files.release(&lock(), "other", true).unwrap();
    assert!(files.acquire(&lock(), "other", false, false).unwrap() > number);
}

#[test]
fn a_process_killed_while_it_waits_leaves_nothing_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let files = open(directory.path());
    files.acquire(&lock(), "holder", false, false).unwrap();
    for _ in 0..3 {
        let mut child = spawn(directory.path(), "wait");
        wait_until_ready(&mut child);
        kill(child);
    }
    drop(files);
    let files = open(directory.path());
    assert_eq!(files.acquire(&lock(), "dead", false, false).unwrap_err().kind, ErrorKind::Busy);
    files.release(&lock(), "holder", false).unwrap();
    files.acquire(&lock(), "dead", false, false).unwrap();
    files.release(&lock(), "dead", false).unwrap();
    assert_eq!(std::fs::read_dir(directory.path().join("%temp")).unwrap().count(), 0);
}

#[test]
fn processes_that_contend_for_a_lock_never_hold_it_together() {
    let directory = tempfile::tempdir().unwrap();
    let files = open(directory.path());
    files.write(&counter(), 0, &[0]).unwrap();
    let children: Vec<Child> = (0..3).map(|_| spawn(directory.path(), "count")).collect();
    for _ in 0..25 {
        files.acquire(&lock(), "tests", true, false).unwrap();
        let count = files.read(&counter(), 0, 1).unwrap()[0];
        files.write(&counter(), 0, &[count + 1]).unwrap();
        files.release(&lock(), "tests", false).unwrap();
    }
    // Each of the others ends with its count; the lock is how we wait for it.
    loop {
        files.acquire(&lock(), "tests", true, false).unwrap();
        let count = files.read(&counter(), 0, 1).unwrap()[0];
        files.release(&lock(), "tests", false).unwrap();
        if count == 100 {
            break;
        }
        std::thread::yield_now();
    }
    children.into_iter().for_each(kill);
}
