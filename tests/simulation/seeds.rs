//! Which seeds are run, and what is told of one that fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{minimise::minimise, plan::Plan, run::run, saved::save, store::Mutant, tell::tell};

/// Seeds of the usual test run, all lanes together.
const SEEDS_USUAL: u64 = 10_000;
/// Who runs them: each lane takes every so-manieth seed, in a thread of its own.
const LANES: u64 = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed and, if it fails, says all there is to say.
fn check(seed: u64) {
    let plan = Plan::of(seed, Mutant::None);
    let Err(first) = run(&plan) else { return };
    println!("seed {seed} fails, and is shortened");
    let short = minimise(&plan, &first);
    tell(format_args!("---- the shortened plan"));
    if let Ok(name) = std::env::var("SAVE") {
        save(&short, &name);
    }
    let reason = run(&short).err().unwrap_or_else(|| "it does not fail again".to_owned());
    let items: Vec<String> = short.items.iter().map(|item| format!("  {item:?}")).collect();
    panic!(
        "seed {seed} fails: {first}\nreplay: SEED={seed} cargo test -p tests --test simulation seeds_hold_in_lane_0\n\
         shortened to {} items, {:?}, schedule {}, which fails so: {reason}\n{}",
        items.len(),
        short.settings,
        short.schedule,
        items.join("\n")
    );
}

/// A lane of the seeds: `SEEDS=n` so many in all, from `FROM`; `SECONDS=n` for so long; `SURVEY` goes on after one that fails.
fn run_lane(lane: u64) {
    let first = number("FROM").unwrap_or(0);
    let count = number("SEEDS").or(number("SECONDS").is_none().then_some(SEEDS_USUAL)).unwrap_or(u64::MAX);
    let time = number("SECONDS").map(Duration::from_secs);
    let start = Instant::now();
    let (mut done, mut failed) = (0, 0);
    for seed in (lane..count).step_by(usize::try_from(LANES).expect("a few")) {
        if time.is_some_and(|time| start.elapsed() >= time) || tests::is_run_over() {
            break;
        }
        match std::env::var_os("SURVEY") {
            Some(_) => failed += u64::from(survey(first.wrapping_add(seed))),
            None => check(first.wrapping_add(seed)),
        }
        done += 1;
        time.into_iter().for_each(|time| tell_progress(start.elapsed(), time));
    }
    let seconds = start.elapsed().as_secs();
    println!("{} of {done} seeds hold in lane {lane} from {first}, in {seconds} s", done - failed);
}

/// Says now and then how many seeds all lanes have run.
fn tell_progress(elapsed: Duration, time: Duration) {
    const TELL_EVERY_S: u64 = 10;
    static DONE: AtomicU64 = AtomicU64::new(0);
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let (done, turn) = (DONE.fetch_add(1, Ordering::Relaxed) + 1, elapsed.as_secs() / TELL_EVERY_S);
    if TOLD.fetch_max(turn, Ordering::Relaxed) < turn {
        println!("{} s of {} s: {done} seeds", elapsed.as_secs(), time.as_secs());
    }
}

/// `SEED=n` runs this one alone.
#[test]
fn seeds_hold_in_lane_0() {
    match number("SEED") {
        Some(seed) => check(seed),
        None => run_lane(0),
    }
}

#[test]
fn seeds_hold_in_lane_1() {
    run_lane(1);
}

#[test]
fn seeds_hold_in_lane_2() {
    run_lane(2);
}

#[test]
fn seeds_hold_in_lane_3() {
    run_lane(3);
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
const MUTANT_SEEDS: u64 = 3000;

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
