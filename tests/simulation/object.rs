//! One object on the simulated disk: what it is now, and what of that a loss of power would leave.

use std::collections::BTreeMap;

use xseg::RequestId;

use crate::dice::Dice;

/// An object, or what is left of one.
#[derive(Debug, Default)]
pub(crate) struct Object {
    /// As everybody reads it; none if there is no such object.
    pub(crate) now: Option<Vec<u8>>,
    /// As it is on the disk for certain.
    durable: Option<Vec<u8>>,
    /// What happened since, oldest first.
    log: Vec<Change>,
    /// Whether somebody deleted it, and that has lasted.
    pub(crate) was_deleted: bool,
    /// Who created it last.
    pub(crate) maker: Option<RequestId>,
}

/// Something that is done and may not be durable.
#[derive(Debug)]
struct Change {
    what: What,
    is_durable: bool,
}

#[derive(Debug)]
enum What {
    /// The name is that of a new, empty file.
    Create,
    /// The name is nobody's.
    Delete,
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    Resize {
        length: usize,
    },
}

impl Object {
    fn record(&mut self, what: What, is_durable: bool) {
        if is_durable {
            // A name is durable only together with what led to it.
            for change in self.log.iter_mut().filter(|change| change.what.is_naming()) {
                change.is_durable = true;
            }
        }
        self.log.push(Change { what, is_durable });
    }

    /// Makes it an empty file, if it is none.
    pub(crate) fn create(&mut self, maker: RequestId, is_durable: bool) {
        if self.now.is_none() {
            self.now = Some(Vec::new());
            self.was_deleted = false;
            self.maker = Some(maker);
            self.record(What::Create, is_durable);
        }
    }

    pub(crate) fn delete(&mut self, is_durable: bool) {
        self.now = None;
        self.was_deleted = true;
        self.record(What::Delete, is_durable);
    }

    pub(crate) fn write(&mut self, at: usize, bytes: Vec<u8>, is_durable: bool) {
        let Some(now) = &mut self.now else { return };
        write_into(now, at, &bytes);
        self.record(What::Write { at, bytes }, is_durable);
    }

    pub(crate) fn resize(&mut self, length: usize, is_durable: bool) {
        let Some(now) = &mut self.now else { return };
        now.resize(length, 0);
        self.record(What::Resize { length }, is_durable);
    }

    /// Everything so far is durable.
    pub(crate) fn sync(&mut self) {
        if !self.log.is_empty() {
            self.durable.clone_from(&self.now);
            self.log.clear();
        }
    }

    /// Everything so far but its name is durable: a store that forgets directories.
    pub(crate) fn sync_without_name(&mut self) {
        if self.durable.is_some() {
            self.sync();
        }
    }

    /// The object becomes these bytes, atomically and durably.
    pub(crate) fn become_durably(&mut self, bytes: Vec<u8>, maker: RequestId) {
        self.now = Some(bytes);
        self.maker = Some(maker);
        self.durable.clone_from(&self.now);
        self.log.clear();
    }

    /// What a loss of power leaves. Each page of `page_bytes` holds what one moment wrote; pages and names are cut off at
    /// moments of their own.
    pub(crate) fn lose_power(&mut self, page_bytes: usize, dice: &mut Dice) {
        if self.log.is_empty() {
            return;
        }
        let names_end = self.cut(dice, What::is_naming);
        let sizes_end = self.cut(dice, |what| matches!(what, What::Resize { .. }));
        let mut pages: BTreeMap<usize, usize> = BTreeMap::new();
        let mut state = self.durable.take();
        let mut is_current = true;
        for (position, change) in self.log.iter().enumerate() {
            match &change.what {
                What::Create | What::Delete => {
                    is_current = position < names_end;
                    if is_current {
                        state = matches!(change.what, What::Create).then(Vec::new);
                        pages.clear();
                    }
                }
                What::Resize { length } if is_current && position < sizes_end => {
                    if let Some(bytes) = &mut state {
                        bytes.resize(*length, 0);
                    }
                }
                What::Write { at, bytes } if is_current => {
                    let Some(file) = &mut state else { continue };
                    for page in at / page_bytes..(at + bytes.len()).div_ceil(page_bytes) {
                        let end =
                            *pages.entry(page).or_insert_with(|| page_cut(&self.log, page, page_bytes, dice));
                        if position < end {
                            let from = (page * page_bytes).max(*at);
                            let to = ((page + 1) * page_bytes).min(at + bytes.len());
                            write_into(file, from, &bytes[from - at..to - at]);
                        }
                    }
                }
                What::Resize { .. } | What::Write { .. } => {}
            }
        }
        self.was_deleted &= state.is_none();
        self.now.clone_from(&state);
        self.durable = state;
        self.log.clear();
    }

    /// A moment up to which changes of a kind are on the disk: not before the last that must be.
    fn cut(&self, dice: &mut Dice, is_kind: impl Fn(&What) -> bool) -> usize {
        let must = self.log.iter().rposition(|change| change.is_durable && is_kind(&change.what));
        cut_after(must.map_or(0, |last| last + 1), self.log.len(), dice)
    }
}

fn page_cut(log: &[Change], page: usize, page_bytes: usize, dice: &mut Dice) -> usize {
    let touches = |change: &Change| match &change.what {
        What::Write { at, bytes } => at / page_bytes <= page && page * page_bytes < at + bytes.len(),
        _ => false,
    };
    let must = log.iter().rposition(|change| change.is_durable && touches(change));
    cut_after(must.map_or(0, |last| last + 1), log.len(), dice)
}

/// All, nothing more than what must be, or something between.
fn cut_after(least: usize, most: usize, dice: &mut Dice) -> usize {
    match dice.below(3) {
        0 => least,
        1 => most,
        _ => least + dice.below(most - least + 1),
    }
}

impl What {
    fn is_naming(&self) -> bool {
        matches!(self, What::Create | What::Delete)
    }
}

fn write_into(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}
