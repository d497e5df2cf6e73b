//! Which seeds are run, and what is told of one that fails.

use std::time::{Duration, Instant};

use crate::{minimise::minimise, plan::Plan, run::run, store::Mutant, tell::tell};

/// How long the seeds of the usual test run take.
const USUAL: Duration = Duration::from_secs(60);
/// Seeds in that time, at most.
const SEEDS_MAX: u64 = 10_000;

/// Seeds that failed once, and why.
const REGRESSIONS: [(u64, &str); 8] = [
    (8, "vlmc read and wrote by old entries after a lost volume was opened again"),
    (201, "vlmc kept the size that a volume had before another node resized it"),
    (687, "a mapper went on with a session that had begun halfway"),
    (874, "a map write that was served twice told of no change, so a durable write was lost with the power"),
    (3600, "blocks made before another of the same request failed were never committed"),
    (20164, "a volume that a delete failed on was read by its old map when its name was given again"),
    (21483, "a snapshot saw what a failed write had done, and lost it with the power"),
    (30132, "a flush on one node was taken for one of what another node had written"),
];

#[test]
fn seeds_that_failed_once_hold() {
    for (seed, why) in REGRESSIONS {
        if let Err(reason) = run(&Plan::of(seed, Mutant::None)) {
            panic!("seed {seed} fails again ({why}): {reason}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed and, if it fails, says all there is to say.
fn check(seed: u64) {
    let plan = Plan::of(seed, Mutant::None);
    let Err(first) = run(&plan) else { return };
    let short = minimise(&plan, &first);
    tell(format_args!("---- the shortened plan"));
    let reason = run(&short).err().unwrap_or_else(|| "it does not fail again".to_owned());
    let items: Vec<String> = short.items.iter().map(|item| format!("  {item:?}")).collect();
    panic!(
        "seed {seed} fails: {first}\nreplay: SEED={seed} cargo test -p tests --test simulation seeds_hold\n\
         shortened to {} items, {:?}, schedule {}, which fails so: {reason}\n{}",
        items.len(),
        short.settings,
        short.schedule,
        items.join("\n")
    );
}

/// `SEED=n` runs one; `SEEDS=n` so many, from `FROM`; `SECONDS=n` for so long; `SURVEY` goes on after one that fails.
#[test]
fn seeds_hold() {
    if let Some(seed) = number("SEED") {
        return check(seed);
    }
    let first = number("FROM").unwrap_or(0);
    let count = number("SEEDS").unwrap_or(if number("SECONDS").is_some() { u64::MAX } else { SEEDS_MAX });
    let time = number("SECONDS").map_or(USUAL, Duration::from_secs);
    let start = Instant::now();
    let mut done = 0;
    let mut failed = 0;
    while done < count && start.elapsed() < time {
        let seed = first.wrapping_add(done);
        match std::env::var_os("SURVEY") {
            Some(_) => failed += u64::from(survey(seed)),
            None => check(seed),
        }
        done += 1;
    }
    println!("{} of {done} seeds from {first} hold, in {} s", done - failed, start.elapsed().as_secs());
}

/// Says in a line how a seed fails, if it does.
fn survey(seed: u64) -> bool {
    let plan = Plan::of(seed, Mutant::None);
    let result = run(&plan);
    if let Err(reason) = &result {
        println!("{seed} on {}: {}", plan.settings.node_count, reason.chars().take(300).collect::<String>());
    }
    result.is_err()
}

/// Seeds that are tried before a mutant counts as unnoticed.
const MUTANT_SEEDS: u64 = 600;

/// Whether some seed notices what a store does wrong.
fn is_noticed(mutant: Mutant) -> bool {
    let by = (0..MUTANT_SEEDS).find_map(|seed| Some((seed, run(&Plan::of(seed, mutant)).err()?)));
    if let Some((seed, reason)) = &by {
        println!("{mutant:?} is noticed by seed {seed}: {}", reason.chars().take(200).collect::<String>());
    }
    by.is_some()
}

#[test]
fn a_store_that_ignores_sync_is_noticed() {
    assert!(is_noticed(Mutant::IgnoresSync));
}

#[test]
fn a_store_that_drops_flushes_is_noticed() {
    assert!(is_noticed(Mutant::DropsFlush));
}

#[test]
fn a_store_that_forgets_names_is_noticed() {
    assert!(is_noticed(Mutant::ForgetsNames));
}

#[test]
fn a_store_that_answers_before_it_is_durable_is_noticed() {
    assert!(is_noticed(Mutant::AnswersBeforeDurable));
}

#[test]
fn a_store_that_checks_no_fences_is_noticed() {
    assert!(is_noticed(Mutant::ChecksNoFences));
}

#[test]
fn a_store_that_tears_replacements_is_noticed() {
    assert!(is_noticed(Mutant::TearsReplacements));
}

#[test]
fn a_store_that_copies_half_is_noticed() {
    assert!(is_noticed(Mutant::CopiesHalf));
}

#[test]
fn a_store_that_keeps_what_is_zeroed_is_noticed() {
    assert!(is_noticed(Mutant::KeepsWhatIsZeroed));
}

#[test]
fn a_store_that_drops_writes_is_noticed() {
    assert!(is_noticed(Mutant::DropsWrites));
}
