//! What happens in a simulation, as a list that can be shortened: each item makes sense whatever is left of the others.

use serde::{Deserialize, Serialize};

use crate::{
    dice::Dice,
    node::{ROLES, Role},
    store::Mutant,
};

/// Everything that a run depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Decides the order in which peers run.
    pub(crate) schedule: u64,
    pub(crate) settings: Settings,
    pub(crate) items: Vec<Item>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) node_count: usize,
    pub(crate) nr_ops: u32,
    pub(crate) block_size: u32,
    /// Blocks of the largest volume.
    pub(crate) blocks_max: usize,
    #[serde(skip)]
    pub(crate) mutant: Mutant,
}

/// Something that happens `gap` steps after the one before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) gap: usize,
    pub(crate) action: Action,
}

/// Numbers choose among what there is when it happens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) volume: usize,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Action {
    Create {
        sectors: usize,
    },
    Clone {
        source: usize,
        growth: usize,
    },
    Snapshot {
        volume: usize,
    },
    Resize {
        volume: usize,
        sectors: usize,
    },
    Rename {
        volume: usize,
    },
    Delete {
        volume: usize,
    },
    Read(Range),
    Write {
        range: Range,
        is_durable: bool,
        /// What is written is all zeros.
        #[serde(default)]
        is_blank: bool,
    },
    Zero {
        range: Range,
        is_discard: bool,
        is_durable: bool,
        may_trim: bool,
    },
    Flush {
        volume: usize,
    },
    Open {
        volume: usize,
    },
    Close {
        volume: usize,
    },
    /// What must be refused.
    Senseless {
        volume: usize,
        which: usize,
    },
    /// SIGKILL, `after` so many effects of the next thing that it does; it is back after `pause` steps.
    Kill {
        role: Role,
        node: usize,
        after: Option<u32>,
        pause: usize,
    },
    /// An orderly stop, as for an upgrade.
    Restart {
        role: Role,
        node: usize,
    },
    PowerLoss,
    /// Of 1000 operations of the stores so many fail, for so many items.
    Failures {
        per_thousand: usize,
        items: usize,
    },
    /// Another node takes over a volume: in order, or by breaking the lock.
    Move {
        volume: usize,
        is_forced: bool,
    },
    /// Everything is read and compared.
    Check,
    /// What nothing refers to is deleted, step by step, while all else goes on.
    Collect,
    /// Who asks dies, with all that it has asked under way; another one comes.
    KillClient,
}

impl Plan {
    pub(crate) fn of(seed: u64, mutant: Mutant) -> Plan {
        let mut dice = Dice::new(seed);
        let node_count = 1 + usize::from(dice.chance(25));
        let nr_ops = [3, 8, 16][dice.below(3)];
        let block_size = [512, 4096, 4096, 8192, 16384][dice.below(5)];
        // More than 512 have a map of more than one leaf.
        let blocks_max = if block_size == 512 && dice.chance(40) { 1600 } else { 20 };
        let settings = Settings { node_count, nr_ops, block_size, blocks_max, mutant };
        let style = Style::of(&mut dice, settings.node_count);
        let count = 15 + dice.below(60);
        let mut items = vec![Item { gap: 0, action: Action::Create { sectors: dice.below(2000) } }];
        items.extend((0..count).map(|_| Item { gap: style.gap(&mut dice), action: style.action(&mut dice) }));
        Plan { schedule: dice.next(), settings, items }
    }
}

/// What a seed is mostly about.
struct Style {
    gap: usize,
    writes: usize,
    changes: usize,
    kills: usize,
    losses: usize,
    failures: usize,
    moves: usize,
}

impl Style {
    fn of(dice: &mut Dice, node_count: usize) -> Style {
        let some =
            |dice: &mut Dice, percent: usize, weight: usize| if dice.chance(percent) { weight } else { 0 };
        Style {
            gap: [0, 3, 10, 40, 150][dice.below(5)],
            writes: 20 + dice.below(60),
            changes: 5 + dice.below(40),
            kills: some(dice, 60, 10),
            losses: some(dice, 50, 5),
            failures: some(dice, 20, 4),
            moves: if node_count > 1 { 12 } else { 0 },
        }
    }

    fn gap(&self, dice: &mut Dice) -> usize {
        if dice.chance(20) { dice.below(200) } else { dice.below(self.gap + 1) }
    }

    fn action(&self, dice: &mut Dice) -> Action {
        let weights = [self.writes, self.changes, self.kills, self.losses, self.failures, self.moves, 20];
        let mut drawn = dice.below(weights.iter().sum());
        let kind = weights.iter().position(|weight| {
            let is_it = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it
        });
        match kind {
            Some(0) => write(dice),
            Some(1) => change(dice),
            Some(2) => kill(dice),
            Some(3) => Action::PowerLoss,
            Some(4) => Action::Failures { per_thousand: 5 + dice.below(200), items: 1 + dice.below(10) },
            Some(5) => Action::Move { volume: dice.below(100), is_forced: dice.chance(40) },
            _ => other(dice),
        }
    }
}

fn range(dice: &mut Dice) -> Range {
    Range { volume: dice.below(100), start: dice.below(4096), length: dice.below(4096) }
}

fn write(dice: &mut Dice) -> Action {
    let range = range(dice);
    match dice.below(10) {
        0..6 => Action::Write { range, is_durable: dice.chance(20), is_blank: false },
        6 => Action::Write { range, is_durable: dice.chance(20), is_blank: true },
        _ => Action::Zero {
            range,
            is_discard: dice.chance(50),
            is_durable: dice.chance(20),
            may_trim: dice.chance(50),
        },
    }
}

fn change(dice: &mut Dice) -> Action {
    let volume = dice.below(100);
    match dice.below(16) {
        0..2 => Action::Create { sectors: dice.below(2000) },
        2..5 => Action::Clone { source: volume, growth: if dice.chance(30) { dice.below(100) } else { 0 } },
        5..10 => Action::Snapshot { volume },
        10..13 => Action::Resize { volume, sectors: dice.below(2000) },
        13 => Action::Rename { volume },
        _ => Action::Delete { volume },
    }
}

fn other(dice: &mut Dice) -> Action {
    let volume = dice.below(100);
    match dice.below(22) {
        0..8 => Action::Read(range(dice)),
        8..14 => Action::Flush { volume },
        14..16 => Action::Open { volume },
        16..18 => Action::Close { volume },
        18 => Action::Senseless { volume, which: dice.below(8) },
        19..21 => Action::Collect,
        _ => Action::Check,
    }
}

fn kill(dice: &mut Dice) -> Action {
    let (role, node) = (ROLES[dice.below(4)], dice.below(2));
    if dice.chance(15) && matches!(role, Role::Vlmc | Role::Mapper) {
        return Action::Restart { role, node };
    }
    if dice.chance(10) {
        return Action::KillClient;
    }
    let after = dice.chance(70).then(|| u32::try_from(dice.below(12)).unwrap_or(0));
    Action::Kill { role, node, after, pause: dice.below(60) }
}
