//! A plan from beginning to end.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use crate::{
    plan::{Action, Plan},
    tell::tell,
    world::{Checked, World},
};

/// Runs a plan; a panic of a peer is as wrong as a wrong answer.
pub(crate) fn run(plan: &Plan) -> Checked<()> {
    silence_panics();
    IS_PLAYING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| play(plan)));
    IS_PLAYING.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("somebody panicked: {}", text.unwrap_or_default()))
    })
}

fn play(plan: &Plan) -> Checked<()> {
    let mut world = World::new(plan.settings.clone(), plan.schedule);
    let mut failing_items = 0;
    for item in &plan.items {
        for _ in 0..item.gap {
            world.step()?;
        }
        if failing_items > 0 {
            failing_items -= 1;
            if failing_items == 0 {
                world.settle(false)?;
            }
        }
        if let Action::Failures { items, .. } = &item.action {
            failing_items = *items;
        }
        tell(format_args!("{:?}", item.action));
        world.apply(&item.action)?;
    }
    world.settle(false)?;
    world.lose_power();
    world.settle(true)?;
    world.clean_up()
}

thread_local! {
    static IS_PLAYING: Cell<bool> = const { Cell::new(false) };
}

/// Panics of a run are reported as results; `SHOW_PANICS` tells where they were.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        let shows = std::env::var_os("SHOW_PANICS").is_some();
        std::panic::set_hook(Box::new(move |info| {
            if shows || !IS_PLAYING.get() {
                usual(info);
            }
        }));
    });
}
