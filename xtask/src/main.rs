//! The project's tasks, run as `cargo xtask TASK`.

mod apt;
mod bench;
mod checks;
mod deaths;
mod demo;
mod licences;
mod long_run;
mod metadata;
mod process;
mod setup;
mod sim;
mod suites;
mod tally;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

use suites::Selection;

/// Every task there is.
pub(crate) const TASKS: &[&str] = &["demo", "test", "ci", "tidy", "bench", "sim", "deaths", "setup"];

const USAGE: &str = "\
usage: cargo xtask TASK, or help TASK

  demo [--keep] [--via KIND]
        set up what is missing, build, and show what the project does, in a folder that is removed afterwards
        --keep  leave the folder
        --via   map volumes so (auto, fuse, nbd)
  test [--fast-only | --slow-only | FILTER]
        set up what is missing, then run every check and every test
        --fast-only  without real file systems and clients, processes that die, and models
        --slow-only  these alone
        FILTER       only the tests whose names contain it, and no checks
  ci    the same as test: what CI runs
  tidy  the rules about the tree that no compiler holds
        --accept-formats  record that docs/formats.md tells the formats as they are now
  bench [--direct] [--rounds N] [--seconds N]
        figures, beside those of others in the same run
        --direct  everybody past the page cache; without it, everybody through it
  bench --rados [--write] [--rounds N] [--seconds N]
        stores in RADOS alone, beside rados bench and RBD on a cluster in memory
  bench --goals [--only SECTION] [--write] [--rounds N] [--seconds N]
        every goal as a ratio, at least five rounds of each; takes about a quarter of an hour
        --only    one of segment, store, nbd, fuse, snapshot, maps, life
        --write   all into docs/performance.md
  sim [--hours N] [--from SEED] | sim SEED
        the simulation for N hours (1; 0.01 is 36 seconds), or of one seed, with every request
        --from  the first seed; without it, seeds that no earlier run had
        Ctrl-C ends it with what it came to so far
  deaths [--minutes N]
        roles and clients of a stack killed under verified load, each for N minutes (5)
        Ctrl-C ends it in order, twice at once
  setup install what the other tasks need
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(if error.is::<Misused>() { 2 } else { 1 })
        }
    }
}

/// The words make no task.
#[derive(Debug)]
struct Misused(String);

impl std::error::Error for Misused {}

impl std::fmt::Display for Misused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}\n\n{USAGE}", self.0)
    }
}

/// The part of the usage that is about a task: from its lines to those of another.
fn usage_of(task: &str) -> String {
    let mut is_about = false;
    let mut text = String::new();
    for line in USAGE.lines() {
        if let Some(rest) = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')) {
            is_about = rest.split(' ').next() == Some(task);
        }
        if is_about {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Runs a task; true when all went well.
fn run(words: &[&str]) -> Result<bool> {
    match words {
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(true)
        }
        [task, "--help" | "-h"] | ["help", task] if TASKS.contains(task) => {
            print!("usage: cargo xtask TASK\n\n{}", usage_of(task));
            Ok(true)
        }
        ["setup"] => {
            [setup::Task::Test, setup::Task::Demo, setup::Task::Bench].into_iter().for_each(setup::prepare);
            Ok(true)
        }
        ["demo", rest @ ..] => demo(rest),
        ["test" | "ci"] => suites::run(&Selection::Everything),
        ["test", "--fast-only"] => suites::run(&Selection::Fast),
        ["test", "--slow-only"] => suites::run(&Selection::Slow),
        ["test", filter] if !filter.starts_with('-') => suites::run(&Selection::Named((*filter).to_owned())),
        ["bench", rest @ ..] => bench(rest),
        ["sim", rest @ ..] => sim::run(&seeds(rest)?),
        ["deaths"] => deaths::run(5),
        ["deaths", "--minutes", minutes] => deaths::run(minutes_of(minutes)?),
        ["tidy"] => checks::tidy_alone(),
        ["tidy", "--accept-formats"] => tidy::accept_formats(&process::root()).map(|()| true),
        _ => bail!(Misused(format!("there is no task \"{}\"", words.join(" ")))),
    }
}

fn demo(mut words: &[&str]) -> Result<bool> {
    let (mut is_kept, mut via) = (false, "auto");
    loop {
        words = match words {
            [] => return demo::run(is_kept, via).map(|()| true),
            ["--keep", rest @ ..] => {
                is_kept = true;
                rest
            }
            ["--via", kind, rest @ ..] => {
                via = kind;
                rest
            }
            [word, ..] => bail!(Misused(format!("demo does not know \"{word}\""))),
        }
    }
}

fn bench(mut words: &[&str]) -> Result<bool> {
    let mut effort = bench::Effort::default();
    let (mut has_goals, mut is_written, mut is_rados) = (false, false, false);
    let mut only = None;
    let number = |word: &str| word.parse().ok().filter(|number| (1..=1000).contains(number));
    loop {
        words = match words {
            [] if only.is_some() && (is_written || !has_goals) => {
                bail!(Misused("--only goes with --goals, and not with --write".into()))
            }
            [] if has_goals => {
                effort.rounds = effort.rounds.max(bench::goals::ROUNDS);
                return bench::goals::run(effort, only, is_written).map(|()| true);
            }
            [] if is_rados => {
                effort.rounds = effort.rounds.max(bench::goals::ROUNDS);
                return bench::run_rados(effort, is_written).map(|()| true);
            }
            [] if is_written => bail!(Misused("--write needs --goals or --rados".into())),
            [] => return bench::run(effort).map(|()| true),
            ["--rados", rest @ ..] => {
                is_rados = true;
                rest
            }
            ["--goals", rest @ ..] => {
                has_goals = true;
                effort.seconds = bench::goals::SECONDS;
                rest
            }
            ["--only", section, rest @ ..] if bench::goals::is_section(section) => {
                only = Some(*section);
                rest
            }
            ["--write", rest @ ..] => {
                is_written = true;
                rest
            }
            ["--direct", rest @ ..] => {
                effort.is_direct = true;
                rest
            }
            [name @ ("--rounds" | "--seconds"), value, rest @ ..] => {
                let place = if *name == "--rounds" { &mut effort.rounds } else { &mut effort.seconds };
                *place =
                    number(value).ok_or_else(|| Misused(format!("{name} takes a number from 1 to 1000")))?;
                rest
            }
            [word, ..] => bail!(Misused(format!("bench does not know \"{word}\", or it lacks a number"))),
        }
    }
}

/// What `deaths` is told.
fn minutes_of(word: &str) -> Result<u32> {
    let minutes = word.parse().ok().filter(|minutes| (1..=10_000).contains(minutes));
    minutes.ok_or_else(|| Misused("--minutes takes a number from 1 to 10000".into()).into())
}

/// What `sim` is told.
fn seeds(mut words: &[&str]) -> Result<sim::Seeds> {
    if let [seed] = words
        && let Ok(seed) = seed.parse()
    {
        return Ok(sim::Seeds::One(seed));
    }
    let (mut hours, mut from) = (1.0, None);
    loop {
        words = match words {
            [] => return Ok(sim::Seeds::For { hours, from }),
            ["--hours", value, rest @ ..] => {
                let number = value.parse().ok().filter(|hours| (0.001..=10_000.0).contains(hours));
                hours = number.ok_or_else(|| Misused("--hours takes a number from 0.001 to 10000".into()))?;
                rest
            }
            ["--from", value, rest @ ..] => {
                from = Some(value.parse().map_err(|_| Misused("--from takes the number of a seed".into()))?);
                rest
            }
            [word, ..] => bail!(Misused(format!("sim does not know \"{word}\", or it lacks a number"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_explained() {
        assert!(TASKS.iter().all(|task| USAGE.contains(&format!("\n  {task} "))));
        for task in TASKS {
            let text = usage_of(task);
            assert!(text.starts_with(&format!("  {task} ")), "{text}");
            let others = TASKS.iter().filter(|other| *other != task);
            others.for_each(|other| assert!(!text.contains(&format!("\n  {other} ")), "{text}"));
            assert!(run(&[task, "--help"]).unwrap());
        }
        assert!(usage_of("bench").contains("bench --goals"));
    }

    #[test]
    fn seeds_are_one_or_many() {
        assert_eq!(seeds(&["7"]).unwrap(), sim::Seeds::One(7));
        assert_eq!(seeds(&[]).unwrap(), sim::Seeds::For { hours: 1.0, from: None });
        let many = seeds(&["--from", "9", "--hours", "0.5"]).unwrap();
        assert_eq!(many, sim::Seeds::For { hours: 0.5, from: Some(9) });
    }

    #[test]
    fn words_that_make_no_task_are_misuse() {
        for words in [
            vec!["fly"],
            vec!["test", "--quickly"],
            vec!["tidy", "up", "now"],
            vec!["demo", "--quickly"],
            vec!["bench", "--rounds"],
            vec!["bench", "--only", "nbd"],
            vec!["bench", "--goals", "--only", "fly"],
            vec!["bench", "--goals", "--only", "nbd", "--write"],
            vec!["sim", "--hours", "0"],
            vec!["deaths", "--minutes", "0"],
            vec!["sim", "7", "8"],
        ] {
            assert!(run(&words).unwrap_err().is::<Misused>());
        }
    }
}
