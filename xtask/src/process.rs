//! Starting other programs: finding them, running them in view, and ending them when they take too long.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Folders of system programs that an ordinary user's PATH may lack.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// How often a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long after its end a program's output is still waited for, should a child of it hold the pipe.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// PATH, with the system folders and that of programs built for the tests at its end.
pub(crate) fn search_path() -> OsString {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    for folder in SYSTEM_FOLDERS.map(PathBuf::from).into_iter().chain([target("tools").join("bin")]) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    std::env::join_paths(folders).unwrap_or_default()
}

/// Where a command would be found.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A program, found as [`find`] does, so that system programs start for everybody.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", search_path()).stdin(Stdio::null());
    command
}

/// The cargo that runs us, without what it told us about ourselves: build scripts that watch those
/// variables would run again for nothing.
pub(crate) fn cargo() -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_about_this_crate) {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    command
}

fn is_about_this_crate(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

/// The top folder of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where builds go: what cargo would choose, with a folder of our own beneath it for `purpose`.
pub(crate) fn target(purpose: &str) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join(purpose)
}

/// A command as one would type it: the program without its folder.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = std::iter::once(program.file_name().unwrap_or(program.as_os_str())).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs a program silently and gives what it printed on its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let ended = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        bail!("{} failed ({}): {}", shown(command), ended.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// True when the program starts and ends well; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// How a watched program ended.
pub(crate) enum End {
    /// By itself; true for exit status 0.
    Exited(bool),
    /// By us, because its time was over.
    OutOfTime,
    /// By us, because it was to.
    Stopped,
}

/// Runs a program for at most `limit`, giving each line of its standard output to `line`. Its error output
/// goes to ours. Out of time, it ends with all that it started.
pub(crate) fn watch(command: &mut Command, limit: Duration, line: impl FnMut(&str)) -> Result<End> {
    watch_until(command, limit, line, || false)
}

/// As [`watch`], until `is_over`, which is asked several times a second.
pub(crate) fn watch_until(
    command: &mut Command,
    limit: Duration,
    mut line: impl FnMut(&str),
    mut is_over: impl FnMut() -> bool,
) -> Result<End> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    let (sender, lines) = mpsc::sync_channel::<String>(1024);
    let stdout = child.stdout.take().context("the program's output is not ours to read")?;
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
            bytes.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + limit;
    let mut ended_at = None;
    loop {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => return Ok(wait(&mut child, deadline)),
            Err(RecvTimeoutError::Timeout) => {
                if ended_at.is_none() && child.try_wait()?.is_some() {
                    ended_at = Some(Instant::now());
                }
            }
        }
        if is_over() {
            end_tree(&mut child);
            return Ok(End::Stopped);
        }
        if ended_at.is_some_and(|moment| moment.elapsed() > LAST_WORDS) || Instant::now() > deadline {
            return Ok(wait(&mut child, deadline));
        }
    }
}

/// Waits for the end until the deadline, then brings it about.
fn wait(child: &mut Child, deadline: Instant) -> End {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return End::Exited(status.success()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            Ok(None) | Err(_) => {
                end_tree(child);
                return End::OutOfTime;
            }
        }
    }
}

/// Ends a program and everything it started.
pub(crate) fn end_tree(child: &mut Child) {
    let pids: Vec<String> = descendants(child.id()).iter().map(u32::to_string).collect();
    succeeds(program("sh").arg("-c").arg(format!("kill -9 {}", pids.join(" "))));
    drop(child.wait());
}

fn descendants(top: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent_of(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![top];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The fourth field of `/proc/PID/stat`; the second is a name in parentheses that may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        let mut command = Command::new("/usr/bin/vlmc");
        command.args(["create", "my volume", "--size", "10", "it's", ""]);
        assert_eq!(shown(&command), r"vlmc create 'my volume' --size 10 'it'\''s' ''");
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("7 (a) b (c)) S 42 7 7 0"), Some(42));
        assert_eq!(parent_of("nonsense"), None);
    }

    #[test]
    fn lines_come_one_by_one_and_the_exit_status_counts() {
        let mut lines = Vec::new();
        let end =
            watch(program("sh").args(["-c", "echo a; echo b; exit 3"]), Duration::from_secs(60), |line| {
                lines.push(line.to_owned())
            });
        assert!(matches!(end, Ok(End::Exited(false))));
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn a_program_out_of_time_ends_with_what_it_started() {
        let end = watch(
            program("sh").args(["-c", "sleep 600 & sleep 600; echo late"]),
            Duration::from_millis(300),
            |_| {},
        );
        assert!(matches!(end, Ok(End::OutOfTime)));
    }

    #[test]
    fn a_program_ends_when_it_is_to() {
        let end = watch_until(
            program("sh").args(["-c", "sleep 600 & echo begun; sleep 600"]),
            Duration::from_secs(60),
            |_| {},
            || true,
        );
        assert!(matches!(end, Ok(End::Stopped)));
    }

    #[test]
    fn variables_about_this_crate_are_told_from_the_users() {
        assert!(is_about_this_crate("CARGO_MANIFEST_DIR") && is_about_this_crate("CARGO_PKG_NAME"));
        assert!(!is_about_this_crate("CARGO_HOME") && !is_about_this_crate("CARGO_TARGET_DIR"));
    }
}
