//! Beginning and ending changes, so that what is at rest is whole at every step.

use super::{DIRTY_LIMIT, Map};
use crate::error::VolumeError;
use crate::log::{BootId, LOG_LIMIT, LogAppend, LogWriter};
use crate::name::{Checkpoint, Generation, LogSequence, ObjectName, VolumeId};
use crate::released::RELEASED_LIMIT;
use crate::root::{RequestId, Root, RootState, SESSION_SPAN};
use crate::tree::Write;

/// Where a map is between reading and changing.
///
/// Reading → (begin, done) → Changing, or Recovering if the last session ended badly → (checkpoint, done) → Changing,
/// or Reading when it closes. Building → (checkpoint, done) → Reading.
#[derive(Debug)]
pub(super) enum Session {
    /// Nothing may be changed. `replayed`: up to which log, if the root names some.
    Reading { replayed: Option<LogSequence> },
    /// There is no root at rest yet, or one of the original.
    Building,
    /// Replayed; a checkpoint is due, because nobody may append to the logs of a session that ended badly.
    Recovering { boot: BootId, old_logs: LogSequence },
    /// Changes are logged. `resized`: the root must say so before the next change.
    Changing { log: LogWriter, old_records: u64, resized: bool },
}

/// A plan that is being carried out.
#[derive(Debug)]
pub(super) struct Flight {
    root: Root,
    /// What follows; `None`: changes go on.
    next: Option<Session>,
}

/// What a checkpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Go on changing.
    Continue,
    /// Go on changing, and leave the tree to a snapshot: from now on all of it is shared.
    Share,
    /// End the session.
    Close,
}

/// What to write, in this order, and then to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The end of the log: durable before anything is appended to the next one.
    pub seal: Option<LogAppend>,
    /// The beginning of the next log, after the seal: with REPLACE, durable before the root is written.
    pub carried: Option<LogAppend>,
    /// Nodes: new objects (EXCLUSIVE) in the map store, durable before the root is written.
    pub writes: Vec<Write>,
    /// The root: under the volume's name, with REPLACE, durable before [`Map::done`].
    pub root: Vec<u8>,
    /// Then, in the map store: logs and nodes that nothing refers to any more. A missing one is no error.
    pub map_deletes: Vec<ObjectName>,
    /// Then, in the block store: blocks that nothing refers to any more. Reads that were under way may still want them.
    pub block_deletes: Vec<ObjectName>,
}

impl Map {
    /// Begins to change the map. `boot` is that of this machine, now; `cause` is the request to remember, zeros for none.
    ///
    /// # Errors
    /// [`VolumeError::ReadOnly`]; [`VolumeError::State`] if it has begun, must be replayed or upgraded first, or is no volume.
    pub fn begin(&mut self, boot: BootId, cause: RequestId) -> Result<Plan, VolumeError> {
        let refuse = |reason| Err(VolumeError::State { action: "begin a session", reason });
        let Session::Reading { replayed } = self.session else { return refuse("it has begun") };
        if self.flight.is_some() {
            return refuse("a checkpoint is under way");
        }
        if self.legacy.is_some() {
            return refuse("the original's map must be upgraded first");
        }
        let next = match (self.now.state, replayed) {
            (RootState::Clean, _) => {
                self.now.log_sequence.0 += 1;
                let log = LogWriter::new(self.now.id, self.now.log_sequence, boot);
                Session::Changing { log, old_records: 0, resized: false }
            }
            (RootState::Changing, Some(old_logs)) => self.recover(boot, old_logs),
            (RootState::Changing, None) => return refuse("its logs must be replayed first"),
            (RootState::ReadOnly, _) => return Err(VolumeError::ReadOnly),
            (RootState::Deleted | RootState::Moved, _) => return refuse("there is no volume"),
        };
        self.now.state = RootState::Changing;
        self.remember(cause);
        let root = self.now.encode();
        self.flight = Some(Flight { root: self.now.clone(), next: Some(next) });
        Ok(Plan {
            seal: None,
            carried: None,
            writes: Vec::new(),
            root,
            map_deletes: Vec::new(),
            block_deletes: Vec::new(),
        })
    }

    /// Starts beyond every node that the last session may have written. The root still names its logs, and so its
    /// generation: what is only in them must stay protected.
    fn recover(&mut self, boot: BootId, old_logs: LogSequence) -> Session {
        self.now.checkpoint = self.now.settled().checkpoint;
        Session::Recovering { boot, old_logs }
    }

    /// Takes over a map of the original whose leaves are all loaded; the first checkpoint writes it in our format. `id` is
    /// freshly drawn, also when an upgrade is tried again: its nodes may have been written.
    ///
    /// # Errors
    /// [`VolumeError::NotLoaded`]; [`VolumeError::State`] if it is none of the original's, or deleted.
    pub fn upgrade(&mut self, id: VolumeId, cause: RequestId) -> Result<(), VolumeError> {
        if self.legacy.is_none() || !self.now.state.is_live() {
            return Err(VolumeError::State { action: "upgrade", reason: "there is nothing to upgrade" });
        }
        self.tree.adopt_legacy().map_err(VolumeError::NotLoaded)?;
        self.legacy = None;
        self.now.is_legacy = false;
        self.now.id = id;
        self.remember(cause);
        self.session = Session::Building;
        Ok(())
    }

    /// Records that all changes so far are to be durable; [`Map::take_log`] then ends in a commit, if anything changed.
    pub fn commit(&mut self) {
        if let Session::Changing { log, .. } = &mut self.session {
            log.commit();
        }
    }

    /// What was logged since the last call. Answer no change before its append, and all earlier ones, are written.
    pub fn take_log(&mut self) -> Option<LogAppend> {
        match &mut self.session {
            Session::Changing { log, .. } => log.take(),
            Session::Reading { .. } | Session::Building | Session::Recovering { .. } => None,
        }
    }

    /// Whether changes may be made; if not, [`Map::begin`], or carry the plan out that is under way.
    pub fn is_changing(&self) -> bool {
        matches!(self.session, Session::Changing { resized: false, .. })
    }

    /// Whether a checkpoint is due: changes will be refused if it does not come.
    pub fn needs_checkpoint(&self) -> bool {
        if self.flight.is_some() {
            return false;
        }
        match &self.session {
            Session::Reading { .. } => false,
            Session::Building | Session::Recovering { .. } | Session::Changing { resized: true, .. } => true,
            Session::Changing { log, .. } => {
                self.logged(log) >= LOG_LIMIT
                    || self.tree.dirty_leaves() >= DIRTY_LIMIT
                    || self.released.len() >= RELEASED_LIMIT / 2
                    || self.now.generation.0 - self.at_rest.generation.0 >= SESSION_SPAN / 2
            }
        }
    }

    /// Records since the last checkpoint, in the current log and in those before it that it follows.
    pub(super) fn logged(&self, log: &LogWriter) -> u64 {
        match &self.session {
            Session::Changing { old_records, .. } => old_records + log.records(),
            Session::Reading { .. } | Session::Building | Session::Recovering { .. } => log.records(),
        }
    }

    /// Encodes all changes. Changes may go on at once, unless it is the first checkpoint of a session that recovers, the
    /// size changed, or it closes: then they wait for [`Map::done`]. `cause` is the request to remember, zeros for none.
    ///
    /// # Errors
    /// [`VolumeError::State`] if a plan is under way, nothing has begun, or blocks are still being allocated when it closes.
    pub fn checkpoint(&mut self, purpose: Purpose, cause: RequestId) -> Result<Plan, VolumeError> {
        let refuse = |reason| Err(VolumeError::State { action: "checkpoint", reason });
        if self.flight.is_some() {
            return refuse("another one is under way");
        }
        if purpose == Purpose::Close && !self.allocating.is_empty() {
            return refuse("blocks are being allocated");
        }
        if purpose != Purpose::Continue && self.has_partial() {
            return refuse("blocks are partial");
        }
        let old = self.now.log_sequence;
        let (seal, mut next, old_logs) = match &self.session {
            Session::Reading { .. } => return refuse("no session has begun"),
            Session::Building => (None, Some(Session::Reading { replayed: None }), old),
            &Session::Recovering { boot, old_logs } => {
                let settled = self.now.settled();
                self.now.generation = settled.generation;
                self.now.log_sequence = settled.log_sequence;
                (None, Some(self.after_recovery(purpose, boot)), old_logs)
            }
            Session::Changing { .. } => self.turn_log(purpose),
        };
        let mut map_deletes: Vec<_> =
            (old.0..old_logs.0).map(|at| ObjectName::log(self.now.id, LogSequence(at))).collect();
        let carried = self.carry(next.as_mut());
        let writes = self.write_tree();
        self.restate(purpose, cause);
        let (block_deletes, nodes) = self.released.take(self.now.id);
        map_deletes.extend(nodes);
        let root = self.root_to_write();
        let bytes = root.encode();
        self.flight = Some(Flight { root, next });
        Ok(Plan { seal, carried, writes, root: bytes, map_deletes, block_deletes })
    }

    /// Begins the next log with what the tree does not say.
    fn carry(&mut self, next: Option<&mut Session>) -> Option<LogAppend> {
        let carried: Vec<_> = self.carried().collect();
        // A recovery that was interrupted before its root left its log under the same name.
        let replaces = matches!(self.session, Session::Recovering { .. });
        let log = match (next, &mut self.session) {
            (Some(Session::Changing { log, .. }), _) | (None, Session::Changing { log, .. }) => log,
            _ => return None,
        };
        log.carry(carried.into_iter(), replaces)
    }

    fn after_recovery(&self, purpose: Purpose, boot: BootId) -> Session {
        match purpose {
            Purpose::Close => Session::Reading { replayed: None },
            Purpose::Continue | Purpose::Share => {
                let log = LogWriter::new(self.now.id, self.now.log_sequence, boot);
                Session::Changing { log, old_records: 0, resized: false }
            }
        }
    }

    /// Seals the log and turns to the next one, so that changes can go on while nodes are written.
    fn turn_log(&mut self, purpose: Purpose) -> (Option<LogAppend>, Option<Session>, LogSequence) {
        let Session::Changing { log, old_records, .. } = &mut self.session else {
            return (None, None, self.now.log_sequence);
        };
        let used = log.records() > 0;
        let is_left = used || (purpose == Purpose::Close && log.is_begun());
        let old_logs = LogSequence(log.sequence().0 + u64::from(is_left));
        if purpose == Purpose::Close {
            self.session = Session::Reading { replayed: None };
            return (None, Some(Session::Reading { replayed: None }), old_logs);
        }
        let mut seal = None;
        if used {
            log.seal();
            seal = log.take();
            *old_records = log.records();
            *log = log.next();
        }
        self.now.log_sequence = log.sequence();
        (seal, None, old_logs)
    }

    fn write_tree(&mut self) -> Vec<Write> {
        let owned = self.ownership();
        self.now.checkpoint = Checkpoint(self.now.checkpoint.0 + 1);
        let (height, top, writes) =
            self.tree.write(self.now.id, self.now.checkpoint, &owned, &mut self.released);
        (self.now.height, self.now.top) = (height, top);
        writes
    }

    fn restate(&mut self, purpose: Purpose, cause: RequestId) {
        self.remember(cause);
        self.now.partial_since = self.partial_since();
        if purpose == Purpose::Close && self.now.state == RootState::Changing {
            self.now.state = RootState::Clean;
        }
        if purpose == Purpose::Share {
            self.allocating.clear();
            self.now.generation.0 += 1;
            self.now.shared_before = self.now.generation;
            self.now.shared_checkpoint = self.now.checkpoint;
        }
    }

    /// What nobody asked for leaves the last request as it was.
    fn remember(&mut self, cause: RequestId) {
        if cause != RequestId::default() {
            self.now.last_request = cause;
        }
    }

    /// The root never claims a generation beyond one that is still being allocated: a collector would take that block
    /// for one that nobody wants.
    fn root_to_write(&self) -> Root {
        let oldest = self.allocating.values().copied().min().unwrap_or(self.now.generation);
        let generation = Generation(oldest.0.min(self.now.generation.0));
        Root { generation, partial_since: self.now.partial_since.min(generation), ..self.now.clone() }
    }

    /// The plan was carried out: its root is durable.
    pub fn done(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        self.at_rest = flight.root;
        match (flight.next, &mut self.session) {
            (Some(next), _) => self.session = next,
            (None, Session::Changing { old_records, resized, .. }) => {
                *old_records = 0;
                *resized = false;
            }
            (None, Session::Reading { .. } | Session::Building | Session::Recovering { .. }) => {}
        }
    }
}
