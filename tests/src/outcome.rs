//! What became of a command.

use std::process::Output;

/// A command that has ended.
pub struct Outcome {
    line: String,
    output: Output,
}

impl Outcome {
    pub(crate) fn new(line: String, output: Output) -> Outcome {
        Outcome { line, output }
    }

    /// Standard output, without the last line's end.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).trim_end().to_owned()
    }

    /// Standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The exit status.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// It must have succeeded; gives its standard output.
    ///
    /// # Panics
    /// If it failed.
    pub fn done(self) -> String {
        assert!(
            self.output.status.success(),
            "`{}` failed ({}): {}",
            self.line,
            self.output.status,
            self.stderr()
        );
        self.stdout()
    }

    /// It must have failed with exit status 1; gives its standard error.
    ///
    /// # Panics
    /// If it succeeded, or failed in another way.
    pub fn refused(self) -> String {
        let told = self.stderr();
        assert_eq!(self.code(), Some(1), "`{}` must fail with 1: {}{told}", self.line, self.stdout());
        assert!(!told.trim().is_empty(), "`{}` failed without a word", self.line);
        told
    }
}
