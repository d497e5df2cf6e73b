//! Where the demo plays: a private folder with a running stack, and somebody who clears up whatever happens.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{End, program, search_path, succeeds, watch};

/// Time for one command of the demo.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// Time for the stack to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Lines of each log that a failure shows.
const LOG_TAIL: usize = 25;

/// Clears up when its input ends, which it does when the demo ends, in whatever way. It unmounts, stops the
/// stack, and deletes the folder unless something is still mounted in it or it is to be kept ($1).
const CARETAKER: &str = r#"
trap '' INT TERM HUP
cat > /dev/null
here=$(pwd -P)
for mounted in $(awk -v here="$here/mnt/" 'index($2, here) == 1 { print $2 }' /proc/mounts); do
    fsfreeze --unfreeze "$mounted" 2> /dev/null
    umount "$mounted"
done
for volume in $(cat mapped 2> /dev/null); do vlmc unmap "$volume" > /dev/null 2>&1; done
runs() { case $(cut -d ')' -f 2 "/proc/$1/stat" 2> /dev/null) in '' | ' Z'* | ' X'*) return 1 ;; esac; }
stack=$(cat stack.pid 2> /dev/null)
if [ -n "$stack" ]; then
    kill "$stack" 2> /dev/null
    for _ in $(seq 100); do runs "$stack" || break; sleep 0.1; done
    if runs "$stack"; then echo "the stack does not stop; killed" >&2; kill -9 "$stack"; fi
fi
if grep -q " $here/" /proc/mounts; then echo "something is still mounted in $here; left there" >&2; exit 1; fi
if [ "$1" = keep ]; then echo "kept: $here"; else cd / && rm -rf "$here"; fi
"#;

/// The folder, the stack, the caretaker.
pub(super) struct Stage {
    folder: PathBuf,
    programs: PathBuf,
    caretaker: Child,
    stack: Option<Child>,
}

impl Stage {
    /// Makes the folder and starts the stack in it.
    pub(super) fn open(programs: PathBuf, is_kept: bool) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("archipelago-demo-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| format!("cannot create {}", folder.display()))?;
        let mut caretaker = in_folder(program("sh"), &folder, &programs);
        caretaker.args(["-c", CARETAKER, "caretaker", if is_kept { "keep" } else { "delete" }]);
        let caretaker = caretaker.stdin(Stdio::piped()).spawn().context("cannot start a shell")?;
        let mut stage = Self { folder, programs, caretaker, stack: None };
        println!("\nEverything happens in {}; no root, no configuration needed.", stage.folder.display());
        if let Err(error) = stage.start() {
            stage.show_logs();
            stage.close()?;
            return Err(error);
        }
        Ok(stage)
    }

    fn start(&mut self) -> Result<()> {
        self.say("A configuration for a stack of your own, with everything it makes in one folder");
        self.run("archipelago config init --dir stack")?;
        println!("$ export ARCHIPELAGO_CONFIG=$PWD/stack/archipelago.toml");
        self.say("The whole stack in one process");
        println!("$ archipelago run &");
        let log = std::fs::File::create(self.folder.join("run.log")).context("cannot create run.log")?;
        let mut command =
            in_folder(Command::new(self.programs.join("archipelago")), &self.folder, &self.programs);
        command.arg("run").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let stack = command.spawn().context("cannot start archipelago run")?;
        std::fs::write(self.folder.join("stack.pid"), stack.id().to_string())?;
        self.stack = Some(stack);
        self.wait_until_it_answers()?;
        self.run("archipelago status").map(drop)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let mut asked =
                in_folder(Command::new(self.programs.join("archipelago")), &self.folder, &self.programs);
            if succeeds(asked.arg("status")) {
                return Ok(());
            }
            if let Some(status) = self.stack.as_mut().and_then(|stack| stack.try_wait().ok()).flatten() {
                bail!("the stack ended at once: {status}");
            }
            ensure!(Instant::now() < deadline, "the stack does not answer after {START_LIMIT:?}");
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Says what comes next.
    pub(super) fn say(&self, what: &str) {
        println!("\n# {what}");
    }

    /// Runs a line as one would type it, showing it and what it prints; gives what it printed.
    pub(super) fn run(&self, line: &str) -> Result<String> {
        println!("$ {line}");
        self.lines(line, |output| println!("{output}"))
    }

    /// The same with a line whose last line of output says it all.
    pub(super) fn run_for_its_last_line(&self, line: &str) -> Result<()> {
        println!("$ {line}");
        let printed = self.run_quietly(line)?;
        println!("…\n{}", printed.lines().last().unwrap_or_default());
        Ok(())
    }

    /// Runs a line without a word.
    pub(super) fn run_quietly(&self, line: &str) -> Result<String> {
        self.lines(line, |_| {})
    }

    fn lines(&self, line: &str, mut show: impl FnMut(&str)) -> Result<String> {
        let mut command = in_folder(program("sh"), &self.folder, &self.programs);
        command.args(["-c", line]);
        let mut text = String::new();
        let end = watch(&mut command, COMMAND_LIMIT, |output| {
            show(output);
            text.push_str(output);
            text.push('\n');
        })?;
        match end {
            End::Exited(true) => Ok(text),
            End::Exited(false) => bail!("failed: {line}"),
            End::OutOfTime | End::Stopped => bail!("not done after {COMMAND_LIMIT:?}: {line}"),
        }
    }

    /// Notes that a volume is mapped, for the caretaker.
    pub(super) fn note_mapped(&self, volume: &str) -> Result<()> {
        self.run_quietly(&format!("echo {volume} >> mapped")).map(drop)
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Prints the end of every log.
    pub(super) fn show_logs(&self) {
        for log in logs(&self.folder) {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("\n-- the end of {}", log.display());
            lines[lines.len().saturating_sub(LOG_TAIL)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }

    /// Lets the caretaker do its work, and waits for it.
    pub(super) fn close(mut self) -> Result<()> {
        drop(self.caretaker.stdin.take());
        // The caretaker sees a stopped stack as a zombie until we, its parent, wait for it.
        let status = self.caretaker.wait().context("cannot wait for the caretaker")?;
        if let Some(mut stack) = self.stack.take() {
            stack.wait().context("cannot wait for the stack")?;
        }
        ensure!(status.success(), "clearing up failed");
        Ok(())
    }
}

/// A command as the demo runs it: in its folder, with the programs just built first on PATH.
fn in_folder(mut command: Command, folder: &Path, programs: &Path) -> Command {
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(search_path());
    command.current_dir(folder).env("PATH", path).env("LC_ALL", "C.UTF-8");
    command.env("ARCHIPELAGO_CONFIG", folder.join("stack/archipelago.toml"));
    command
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let folders = [folder.to_path_buf(), folder.join("stack"), folder.join("stack/log")];
    let entries = folders.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_log(path)).collect();
    found.sort();
    found
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "log")
}
