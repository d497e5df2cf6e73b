//! A process that is watched: our child, or one that an earlier supervisor left running.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Child, Command},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// A process, by a descriptor that never means another one.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    descriptor: OwnedFd,
}

impl Process {
    /// Starts a child and calls `ended` with how it ended, from a thread of its own.
    pub(crate) fn spawn(
        command: &mut Command,
        ended: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Process> {
        let child = command.spawn()?;
        let process = Process { pid: child.id(), descriptor: open(child.id())? };
        watch(process.pid, move || ended(wait(child)))?;
        Ok(process)
    }

    /// Watches a process that runs already.
    pub(crate) fn adopt(pid: u32, ended: impl FnOnce(String) + Send + 'static) -> io::Result<Process> {
        let process = Process { pid, descriptor: open(pid)? };
        let watched = process.descriptor.try_clone()?;
        watch(pid, move || {
            wait_for(&watched);
            ended("ended".to_owned());
        })?;
        Ok(process)
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Whoever has ended needs no signal, and its watcher tells of it.
        let _ended = pidfd_send_signal(&self.descriptor, signal);
    }
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{pid} is no process number"));
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(invalid)?;
    Ok(pidfd_open(number, PidfdFlags::empty())?)
}

fn watch(pid: u32, wait: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(format!("watch-{pid}")).spawn(wait).map(drop)
}

fn wait(mut child: Child) -> String {
    child.wait().map_or_else(|error| format!("ended ({error})"), |status| status.to_string())
}

/// The descriptor becomes readable when the process ends, whoever reaps it and however late.
fn wait_for(descriptor: &OwnedFd) {
    let mut interest = [PollFd::new(descriptor, PollFlags::IN)];
    while matches!(poll(&mut interest, None), Err(rustix::io::Errno::INTR) | Ok(0)) {}
}

/// Ends a process that is nobody's child here: asks, waits, then kills. True if asking was enough.
pub(crate) fn end(pid: u32, patience: std::time::Duration) -> io::Result<bool> {
    let process = Process { pid, descriptor: open(pid)? };
    process.terminate();
    let has_ended = |seconds: std::time::Duration| {
        let limit =
            rustix::time::Timespec { tv_sec: i64::try_from(seconds.as_secs()).unwrap_or(0), tv_nsec: 0 };
        let mut interest = [PollFd::new(&process.descriptor, PollFlags::IN)];
        matches!(poll(&mut interest, Some(&limit)), Ok(1..))
    };
    if has_ended(patience) {
        return Ok(true);
    }
    process.kill();
    has_ended(patience);
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn the_end_of_a_child_is_told_with_its_reason() {
        let (sender, ends) = mpsc::channel();
        let mut command = Command::new("sh");
        Process::spawn(command.args(["-c", "exit 3"]), move |how| sender.send(how).unwrap()).unwrap();
        assert_eq!(ends.recv().unwrap(), "exit status: 3");
    }

    #[test]
    fn the_end_of_a_process_that_is_not_ours_is_told() {
        let (sender, ends) = mpsc::channel();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let adopted = Process::adopt(child.id(), move |how| sender.send(how).unwrap()).unwrap();
        adopted.terminate();
        assert_eq!(ends.recv().unwrap(), "ended");
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_ignores_the_wish_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo; read forever"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
            .unwrap();
        assert!(!end(child.id(), Duration::ZERO).unwrap());
        assert_eq!(child.wait().unwrap().to_string(), "signal: 9 (SIGKILL)");
    }
}
