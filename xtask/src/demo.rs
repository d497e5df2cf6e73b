//! `cargo xtask demo`: a stack of one's own, a file system on a volume, a snapshot, a clone, and proof that each
//! of the three holds what it should.

mod mapped;
mod stage;
mod story;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::process::{End, cargo, shown, target, watch};
use crate::setup::{self, Task};
use stage::Stage;

/// Time for the build on a slow machine that has built nothing yet.
const BUILD_LIMIT: Duration = Duration::from_secs(45 * 60);

/// Plays the demo, volumes mapped as `via` says; its folder stays if asked for.
pub(crate) fn run(is_kept: bool, via: &str) -> Result<()> {
    setup::prepare(Task::Demo);
    let programs = build()?;
    let stage = Stage::open(programs, is_kept)?;
    let told = story::tell(&stage, via);
    if told.is_err() {
        stage.show_logs();
    }
    stage.close()?;
    told?;
    println!("{}", where_to_go_next(is_kept));
    Ok(())
}

/// Builds the commands, and gives the folder they are in. The build is the one that `cargo test` uses too:
/// it is done in a third of the time of a release build, and fast enough to look at.
fn build() -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "cli", "--bins", "--locked"]);
    println!("Building the stack (minutes, the first time): {}", shown(&command));
    let end = watch(&mut command, BUILD_LIMIT, |line| println!("{line}"))?;
    ensure!(matches!(end, End::Exited(true)), "the stack does not build; what cargo said stands above");
    Ok(target("debug"))
}

fn where_to_go_next(is_kept: bool) -> String {
    let folder = if is_kept { "" } else { " (this demo's folder is gone; --keep leaves it)" };
    format!(
        "
All of this was true: the volume, its snapshot and its clone each hold what they should.

Where to go next{folder}:
  README.md         a volume on your own machine, in ten lines
  ARCHITECTURE.md   what the parts are, and what always holds
  cargo xtask test  every check and every test"
    )
}
