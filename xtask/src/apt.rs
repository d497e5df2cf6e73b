//! Installing Debian packages: as root, or by sudo where it asks nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{find, program, succeeds};

/// How often apt-get is tried while another one holds its lock.
const LOCK_TRIES: u32 = 12;
/// How long to wait between two tries.
const LOCK_PAUSE: Duration = Duration::from_secs(5);

/// What came of one apt-get.
enum Outcome {
    Done,
    Locked,
    Failed(String),
}

/// Who apt-get runs as.
enum Right {
    Root,
    Sudo,
    None,
}

/// Installs packages, or says what to run. Whether they are there afterwards is for the caller to see.
pub(crate) fn install(packages: &[&str]) {
    let right = right();
    if find("apt-get").is_none() || matches!(right, Right::None) {
        println!("They cannot be installed from here. As root, run:");
        println!("  apt-get update && apt-get install -y --no-install-recommends {}", packages.join(" "));
        println!("(elsewhere than on Debian: what gives these commands). Going on with what can run.\n");
        return;
    }
    println!("Installing: {}", packages.join(" "));
    let has_lists = has_lists();
    let first = if has_lists { install_all(&right, packages) } else { Err(String::new()) };
    if first.is_ok() {
        return;
    }
    println!("Bringing the package lists up to date (apt-get update)");
    if let Err(said) = retried(&right, &["update", "-q"]) {
        println!("apt-get update failed: {said}");
    }
    if install_all(&right, packages).is_err() {
        each_alone(&right, packages);
    }
}

/// Puts a package and what it needs beyond this machine into a folder, without installing anything. What comes of it is for the
/// caller to see.
pub(crate) fn fetch(package: &str, folder: &Path) {
    let right = right();
    if find("apt-get").is_none() || matches!(right, Right::None) {
        println!("  that takes apt-get, as root");
        return;
    }
    let archives = format!("Dir::Cache::archives={}", folder.display());
    let arguments = [
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
        "--download-only",
        "--reinstall",
        "-o",
        &archives,
        package,
    ];
    let fetched = std::fs::create_dir_all(folder.join("partial")).map_err(|error| error.to_string());
    if let Err(said) = fetched.and_then(|()| retried(&right, &arguments)) {
        println!("  {package} cannot be fetched: {said}");
    }
}

/// One that cannot be installed (a conflict with what is there) does not keep the others out.
fn each_alone(right: &Right, packages: &[&str]) {
    for package in packages {
        if let Err(said) = install_all(right, &[package]) {
            println!("  {package} cannot be installed: {said}");
        }
    }
}

fn install_all(right: &Right, packages: &[&str]) -> Result<(), String> {
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(packages);
    retried(right, &arguments)
}

fn retried(right: &Right, arguments: &[&str]) -> Result<(), String> {
    for _ in 0..LOCK_TRIES {
        match once(right, arguments) {
            Outcome::Done => return Ok(()),
            Outcome::Failed(said) => return Err(said),
            Outcome::Locked => {
                println!("  another apt-get is at work; waiting for it");
                std::thread::sleep(LOCK_PAUSE);
            }
        }
    }
    Err("another apt-get held the lock all the time".to_owned())
}

fn once(right: &Right, arguments: &[&str]) -> Outcome {
    match apt_get(right).args(arguments).stdout(Stdio::null()).output() {
        Err(error) => Outcome::Failed(error.to_string()),
        Ok(ended) if ended.status.success() => Outcome::Done,
        Ok(ended) => judged(&String::from_utf8_lossy(&ended.stderr)),
    }
}

/// Tells a lock, which passes, from a failure, which does not.
fn judged(said: &str) -> Outcome {
    if said.contains("Could not get lock") || said.contains("Unable to acquire the dpkg frontend lock") {
        return Outcome::Locked;
    }
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("E:")).collect();
    Outcome::Failed(if errors.is_empty() { said.trim().to_owned() } else { errors.join("; ") })
}

fn apt_get(right: &Right) -> Command {
    let mut command = match right {
        Right::Sudo => {
            let mut sudo = program("sudo");
            sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        }
        Right::Root | Right::None => program("apt-get"),
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    command
}

fn right() -> Right {
    if is_root() {
        Right::Root
    } else if succeeds(program("sudo").args(["-n", "true"])) {
        Right::Sudo
    } else {
        Right::None
    }
}

/// True for root: the owner of our own entry in /proc.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}

fn has_lists() -> bool {
    let lists = std::fs::read_dir("/var/lib/apt/lists");
    lists.into_iter().flatten().flatten().any(|file| file.file_name().to_string_lossy().contains("_Packages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for_and_a_failure_is_told() {
        let locked = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt-get)\n";
        assert!(matches!(judged(locked), Outcome::Locked));
        let said = "W: something\nE: Unable to locate package nothing\n";
        let Outcome::Failed(message) = judged(said) else { panic!("a missing package is a failure") };
        assert_eq!(message, "E: Unable to locate package nothing");
    }
}
