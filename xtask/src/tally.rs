//! Counting what passed, failed and was skipped, over all runs of a task.
//!
//! A test that cannot do its work on this machine returns early, having appended a line
//! `skipped: NAME: REASON` to the file that the environment names in [`SKIPS`]. The test framework counts it
//! as passed; we do not. A reason that says that a tool is not there fails in CI, where set-up installs tools.

use std::collections::BTreeMap;

use anyhow::Result;

/// The environment variable with the path of the file to which tests append their skips.
pub(crate) const SKIPS: &str = "ARCHIPELAGO_SKIPS";
/// What reasons say when what is missing is a program that set-up should have installed.
const MISSING_TOOL: [&str; 2] = ["missing tool", "not installed"];

/// What was run and how it went.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: Vec<String>,
    /// Names and reasons.
    skipped: BTreeMap<String, String>,
}

impl Tally {
    /// Counts a check as one test.
    pub(crate) fn judge(&mut self, name: &str, result: Result<bool>) {
        match result {
            Ok(true) => self.passed += 1,
            Ok(false) => self.failed.push(name.to_owned()),
            Err(error) => self.failed.push(format!("{name}: {error:#}")),
        }
    }

    /// Adds what one run of a test framework showed, and what its tests said they skipped.
    pub(crate) fn add(&mut self, run: Run, skips: &str, is_ci: bool) {
        self.passed += run.passed;
        self.failed.extend(run.failed);
        self.skipped.extend(run.ignored);
        for (name, reason) in skips.lines().filter_map(skip) {
            if self.skipped.contains_key(name) {
                continue;
            }
            self.passed = self.passed.saturating_sub(1);
            if is_ci && MISSING_TOOL.iter().any(|words| reason.contains(words)) {
                self.failed.push(format!("{name}: skipped in CI, {reason}"));
            } else {
                self.skipped.insert(name.to_owned(), reason.to_owned());
            }
        }
    }

    /// The closing lines: what was skipped and why, what failed, and the counts alone on the last line.
    pub(crate) fn report(&self) -> String {
        let mut text = String::from("\n");
        for (name, reason) in &self.skipped {
            text.push_str(&format!("skipped: {name}: {reason}\n"));
        }
        for name in &self.failed {
            text.push_str(&format!("failed: {name}\n"));
        }
        text.push_str(&format!(
            "{} passed, {} failed, {} skipped\n",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        ));
        text
    }

    /// True when nothing failed and something was run.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }
}

fn skip(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("skipped: ")?.split_once(": ")
}

/// What the output of one `cargo test` shows, read line by line.
#[derive(Default)]
pub(crate) struct Run {
    passed: u64,
    failed: Vec<String>,
    ignored: Vec<(String, String)>,
    /// Failures named since the last result line.
    named: Vec<String>,
    /// Test programs that began without having told their result yet.
    running: u64,
}

impl Run {
    /// Reads one line of standard output.
    pub(crate) fn line(&mut self, line: &str) {
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.running += 1;
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.result(result);
        } else if let Some((name, end)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        {
            let name = name.trim_end_matches(" - should panic");
            match end.split_once(", ").unwrap_or((end, "ignored")) {
                ("FAILED", _) => self.named.push(name.to_owned()),
                ("ignored", reason) => self.ignored.push((name.to_owned(), reason.to_owned())),
                _ => {}
            }
        }
    }

    /// What the tests came to so far, in words.
    pub(crate) fn counts(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed.len())
    }

    /// `ok. 3 passed; 0 failed; 0 ignored; …`
    fn result(&mut self, text: &str) {
        self.running = self.running.saturating_sub(1);
        self.passed += count(text, "passed");
        let failed = count(text, "failed");
        let mut named = std::mem::take(&mut self.named);
        while (named.len() as u64) < failed {
            named.push("a test whose name was not seen".to_owned());
        }
        self.failed.extend(named);
    }

    /// The run is over. A program that never told its result died, with a test that we name if it was seen;
    /// and what ended badly without any failure so far has failed as a whole.
    pub(crate) fn end(mut self, what: &str, is_good: bool) -> Self {
        self.failed.append(&mut self.named);
        for _ in 0..self.running {
            self.failed.push(format!("{what}: a test program ended without a result"));
        }
        if !is_good && self.failed.is_empty() {
            self.failed.push(format!("{what}: did not build, or ended badly"));
        }
        self
    }

    /// The run had to be ended because it took too long.
    pub(crate) fn out_of_time(mut self, what: &str, minutes: u64) -> Self {
        self.running = 0;
        self.failed.append(&mut self.named);
        self.failed.push(format!("{what}: not done after {minutes} minutes"));
        self
    }
}

/// The number before `word` in `3 passed; 0 failed`.
fn count(text: &str, word: &str) -> u64 {
    let parts = text.split([';', '.']).map(str::trim);
    parts
        .filter_map(|part| part.strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &str, is_good: bool) -> Run {
        let mut run = Run::default();
        lines.lines().for_each(|line| run.line(line));
        run.end("the tests", is_good)
    }

    fn last_line(tally: &Tally) -> String {
        tally.report().lines().last().unwrap().to_owned()
    }

    const GOOD: &str = "
running 3 tests
test map::keeps_its_bytes ... ok
test map::needs_a_disk ... ignored, no disk
test doc - should panic ... ok

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s";

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        tally.add(run(&GOOD.repeat(2), true), "", false);
        assert_eq!(last_line(&tally), "4 passed, 0 failed, 1 skipped");
        assert!(tally.is_good());
        assert!(tally.report().contains("skipped: map::needs_a_disk: no disk\n"));
    }

    #[test]
    fn failures_are_named() {
        let failing = "running 2 tests\ntest a::b ... FAILED\ntest c ... ok\n\
                       test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        let mut tally = Tally::default();
        tally.add(run(failing, false), "", false);
        assert_eq!(tally.report(), "\nfailed: a::b\n1 passed, 1 failed, 0 skipped\n");
        assert!(!tally.is_good());
    }

    #[test]
    fn a_program_that_died_has_failed() {
        let mut tally = Tally::default();
        tally.add(run(&format!("{GOOD}\nrunning 9 tests\ntest x ... ok"), false), "", false);
        assert_eq!(last_line(&tally), "2 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn what_does_not_build_has_failed() {
        let mut tally = Tally::default();
        tally.add(run("", false), "", false);
        assert_eq!(last_line(&tally), "0 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn a_skipped_test_is_not_counted_as_passed() {
        let mut tally = Tally::default();
        let skips = "skipped: map::keeps_its_bytes: no loop devices: here\nnoise\n";
        tally.add(run(GOOD, true), &skips.repeat(2), false);
        assert_eq!(last_line(&tally), "1 passed, 0 failed, 2 skipped");
        assert!(tally.report().contains("skipped: map::keeps_its_bytes: no loop devices: here\n"));
    }

    #[test]
    fn a_missing_tool_fails_in_ci_alone() {
        let skips = "skipped: map::keeps_its_bytes: missing tool: fio\n";
        for (is_ci, failed) in [(false, 0), (true, 1)] {
            let mut tally = Tally::default();
            tally.add(run(GOOD, true), skips, is_ci);
            assert_eq!(tally.failed.len(), failed);
        }
    }

    #[test]
    fn a_task_that_ran_nothing_is_not_good() {
        assert!(!Tally::default().is_good());
    }
}
