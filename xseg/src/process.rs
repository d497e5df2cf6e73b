//! Who a process is, and whether it still lives.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt};

/// Bits for the start time in an owner word; the pid is above them.
const START_BITS: u32 = 42;

/// A process in one word: pid and start time, so that a reused pid is not taken for the dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process(u64);

impl Process {
    /// The word of a process that never ran: no kernel gives out the last pid, let alone so late.
    #[cfg(feature = "simulation")]
    pub(crate) const NOBODY_ALIVE: u64 = u64::MAX;

    /// The calling process. Read anew each time: it differs after a fork.
    pub(crate) fn current() -> Process {
        let pid = std::process::id();
        let start = match Stat::read(pid) {
            Some(stat) => stat.start_ticks,
            None => 1, // no /proc: pids alone must do, here and in `is_alive`
        };
        Process::new(pid, start)
    }

    fn new(pid: u32, start_ticks: u64) -> Process {
        Process(u64::from(pid) << START_BITS | start_ticks & ((1 << START_BITS) - 1))
    }

    /// `None` for nobody.
    pub(crate) fn from_word(word: u64) -> Option<Process> {
        (word != 0).then_some(Process(word))
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    pub(crate) fn pid(self) -> u32 {
        u32::try_from(self.0 >> START_BITS).expect("22 bits are left")
    }

    /// Whether some thread of the process can still run.
    pub(crate) fn is_alive(self) -> bool {
        match Stat::read(self.pid()) {
            Some(stat) => !stat.is_over && Process::new(self.pid(), stat.start_ticks) == self,
            None => !proc_works() && exists(self.pid()),
        }
    }
}

/// What `/proc/PID/stat` says.
struct Stat {
    /// A zombie whose other threads are gone too: none of its code runs again.
    is_over: bool,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields are counted from the last ')': the name before it may hold anything.
    fn parse(text: &[u8]) -> Option<Stat> {
        let name_end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(&text[name_end + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let threads: u64 = fields.nth(16)?.parse().ok()?;
        let start_ticks = fields.nth(1)?.parse().ok()?;
        Some(Stat { is_over: matches!(state, "Z" | "X" | "x") && threads <= 1, start_ticks })
    }
}

fn proc_works() -> bool {
    fs::exists("/proc/self/stat").unwrap_or(false)
}

fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

/// Which pid namespace this process is in: its inode number, 0 if unknown.
pub(crate) fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino())
}

/// Remembers for the length of one scan who was alive: a process is looked up once.
#[derive(Default)]
pub(crate) struct Census(HashMap<u64, bool>);

impl Census {
    pub(crate) fn is_alive(&mut self, owner_word: u64) -> bool {
        let Some(process) = Process::from_word(owner_word) else { return false };
        *self.0.entry(owner_word).or_insert_with(|| process.is_alive())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_pid_survives_the_word() {
        let me = Process::current();
        assert!(me.is_alive());
        assert_eq!(me.pid(), std::process::id());
    }

    #[test]
    fn a_reused_pid_is_not_the_dead_process() {
        assert!(!Process::new(std::process::id(), 7).is_alive());
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let stat = Stat::read(child.id()).unwrap();
        let process = Process::new(child.id(), stat.start_ticks);
        assert!(process.is_alive());
        child.kill().unwrap();
        while process.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let text = b"7 (a) Z (b) S 1 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 0 3 0 4711 5";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.start_ticks, 4711);
        assert!(!stat.is_over);
    }
}
