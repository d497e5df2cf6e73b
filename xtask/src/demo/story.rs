//! What the demo shows, step by step.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::mapped::Mapped;
use super::stage::Stage;

/// Real files that are on every machine which can build the project.
pub(super) const FILES: &str = "/usr/include";
const VOLUME: &str = "first-volume";
const SNAPSHOT: &str = "first-snapshot";
const CLONE: &str = "first-clone";
const SIZE: &str = "1G";

/// Tells the whole story, volumes mapped as `via` says; an error where something is not as it should be.
pub(super) fn tell(stage: &Stage, via: &str) -> Result<()> {
    stage.say("A volume; it takes no space until it is written");
    stage.run(&format!("vlmc create {VOLUME} --size {SIZE}"))?;
    let volume = Mapped::map(stage, VOLUME, via)?;
    stage.say(&format!("A real ext4 on it, with a copy of {FILES}"));
    volume.fill(SIZE)?;

    stage.say("A snapshot while it is in use, and a clone of the snapshot; neither copies data");
    let (before, after) = volume.freeze(|| {
        let before = used(stage)?;
        timed(stage, &format!("vlmc snapshot {VOLUME} {SNAPSHOT}"))?;
        timed(stage, &format!("vlmc create {CLONE} --snap {SNAPSHOT}"))?;
        Ok((before, used(stage)?))
    })?;
    stage.run("vlmc list")?;
    println!("(on disk: {before} KiB before them, {} KiB more with them)", after.saturating_sub(before));

    stage.say("The volume goes its own way");
    volume.enter()?;
    volume.remove("stdio.h")?;
    volume.write("note.txt", "written on the volume")?;
    volume.leave()?;

    let clone = Mapped::map(stage, CLONE, via)?;
    stage.say("The clone too");
    clone.enter()?;
    clone.write("stdio.h", "/* changed on the clone */")?;
    clone.leave()?;

    prove(stage, volume, clone, via)
}

/// Reads the three back and compares every file with where it came from.
fn prove(stage: &Stage, volume: Mapped<'_>, clone: Mapped<'_>, via: &str) -> Result<()> {
    let snapshot = Mapped::map_read_only(stage, SNAPSHOT, via)?;
    stage.say(&format!("Every file on the snapshot is as it was: it differs from {FILES} in nothing"));
    expect(&snapshot.differences()?, &[])?;
    stage.say("The volume lacks one file and has a new one");
    expect(&volume.differences()?, &["Only in /usr/include: stdio.h", "Only in THERE: note.txt"])?;
    stage.say("The clone has that file, changed");
    expect(&clone.differences()?, &["Files /usr/include/stdio.h and THERE/stdio.h differ"])?;
    stage.say("All three file systems are whole, and given back");
    for mapped in [volume, clone, snapshot] {
        mapped.check()?;
        mapped.unmap()?;
    }
    stage.run("archipelago status").map(drop)
}

/// The differences must be these, in any order.
fn expect(found: &str, expected: &[&str]) -> Result<()> {
    let mut lines: Vec<&str> = found.lines().collect();
    lines.sort_unstable();
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    ensure!(lines == wanted, "expected these differences: {wanted:?}, found: {lines:?}");
    if wanted.is_empty() {
        println!("(no difference)");
    }
    Ok(())
}

/// Runs a command, and says how long it took, the start of its process included.
fn timed(stage: &Stage, line: &str) -> Result<()> {
    let begun = Instant::now();
    stage.run(line)?;
    println!("({} ms)", begun.elapsed().as_millis());
    Ok(())
}

/// KiB that the stack takes on disk; volumes that are seen as files in it are on another file system.
fn used(stage: &Stage) -> Result<u64> {
    let text = stage.run_quietly("du -skx stack")?;
    Ok(text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_count_in_any_order() {
        assert!(expect("b\na\n", &["a", "b"]).is_ok());
        assert!(expect("", &[]).is_ok());
    }

    #[test]
    fn a_missing_or_further_difference_fails() {
        assert!(expect("a\n", &["a", "b"]).is_err() && expect("a\nc\n", &["a"]).is_err());
    }
}
