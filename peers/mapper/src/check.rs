//! Check: whether what is at rest is whole, while volumes are in use.
//!
//! A check goes over the names of the map store in order; of each volume it looks at the root, the lock and the logs, walks
//! its tree, and asks for each block that these name. A step does a bounded amount of that, and deletes nothing. What looks wrong counts only
//! if the root is still the same afterwards: whoever deletes something that a root leads to has replaced the root before.

use protocol::{Checked, ErrorKind, Failure, Flags, List, Message};
use volume::{Header, ObjectName, ParsedName, ROOT_BYTES};

use crate::{
    asked::{Answer, Asked},
    check_tree::{Looked, Tree},
    checks::Check,
    failure::{InVolume, invalid, no_volume},
    findings::Findings,
    kinds::after_page,
    loading::{FORMER_PREFIX, former_name},
    service::Service,
    store_calls::{Place, Stores},
};

/// Nodes and roots that are looked at in one step, each with its blocks.
const STEP_WORK: u32 = if cfg!(test) { 3 } else { 16 };
/// How often a volume whose root was replaced meanwhile is begun again. What was seen to be whole is passed over.
const ATTEMPTS_MAX: u32 = if cfg!(test) { 10 } else { 1000 };
/// What resume points begin with: the volume after it is to be looked at; or it has been.
const AT: u8 = b'@';
const AFTER: u8 = b'>';

impl Service {
    /// One step: of one volume, or of all if the target is `*`. With the flag `FORCE` what can lose nothing is mended.
    pub(crate) async fn check(&self, asked: &Asked) -> Result<Answer, Failure> {
        let argument: List = asked.argument()?;
        let _one = self.checks.turn.enter().await;
        let only = (asked.name.as_str() != "*").then_some(&asked.name);
        let mut check = self.checks.take(&argument.after, self.tasks.effects().random())?;
        let mut findings = Findings::new(asked.flags.contains(Flags::FORCE));
        for _ in 0..STEP_WORK {
            let point = std::mem::take(&mut check.point);
            match self.check_some(&mut check, &point, only, &mut findings).await? {
                Some(next) => check.point = next,
                None => break,
            }
            if findings.is_full() {
                break;
            }
        }
        let Findings { found, seen, .. } = findings;
        let resume = self.checks.keep(check);
        Ok(Answer::Buffer(Checked { findings: found, seen, resume }.encode()))
    }

    /// A root, or a node, from `point` on. Where to go on; none at the end.
    async fn check_some(
        &self,
        check: &mut Check,
        point: &[u8],
        only: Option<&ObjectName>,
        findings: &mut Findings,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if check.volume.as_ref().is_some_and(|tree| at(AT, &tree.listed) == point) {
            return self.check_tree(check, only, findings).await;
        }
        check.volume = None;
        let name = match (point.split_first(), only) {
            (Some((&AT, name)), _) => name.to_vec(),
            (None, Some(only)) => only.as_bytes().to_vec(),
            (Some((&AFTER, _)), Some(_)) => return Ok(None),
            (Some((&AFTER, last)), None) => match self.next_name(check, last).await? {
                Some(name) => name,
                None => return Ok(None),
            },
            (None, None) => match self.next_name(check, b"").await? {
                Some(name) => name,
                None => return Ok(None),
            },
            (Some(_), _) => return Err(invalid("this is no point at which a check goes on")),
        };
        findings.seen += 1;
        let is_there = self.check_name(check, &name, 0, findings).await?;
        if let (Some(only), false) = (only, is_there) {
            return Err(no_volume(only));
        }
        Ok(Some(at(if check.volume.is_some() { AT } else { AFTER }, &name)))
    }

    /// The next name that may be a volume's.
    async fn next_name(&self, check: &mut Check, last: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let mut after = last.to_vec();
        loop {
            while let Some(name) = check.ahead.pop_front() {
                if name.as_slice() > last {
                    return Ok(Some(name));
                }
            }
            let page = self.stores.list(Place::Maps, &[], &after).await?;
            let Some(end) = page.names.last() else { return Ok(None) };
            after = after_page(end);
            let is_whole_name = |name: &Vec<u8>| {
                std::str::from_utf8(name).map_or(true, |name| ParsedName::parse(name) == ParsedName::Other)
            };
            check.ahead = page.names.into_iter().filter(is_whole_name).collect();
            if check.ahead.is_empty() && !page.more {
                return Ok(None);
            }
        }
    }

    /// Looks at what lies under a name; if it has a tree, that follows. Whether there is anything but a tombstone.
    async fn check_name(
        &self,
        check: &mut Check,
        listed: &[u8],
        attempts: u32,
        findings: &mut Findings,
    ) -> Result<bool, Failure> {
        let proper = std::str::from_utf8(listed).map(|name| name.strip_prefix(FORMER_PREFIX).unwrap_or(name));
        let Some(name) = proper.ok().and_then(ObjectName::new) else {
            findings.strange_name(listed);
            return Ok(true);
        };
        let Some((object, header)) = self.stores.header_bytes(&name).await? else { return Ok(false) };
        let decoded = match Header::decode(&object, &header, None) {
            Ok(decoded) => decoded,
            Err(error) => {
                let size = self.stores.size(Place::Maps, &object).await.unwrap_or(0);
                findings.unreadable_map(&object, &header, size, &error);
                return Ok(true);
            }
        };
        let root = match &decoded {
            Header::Root(root) => root,
            Header::Legacy(map) => &map.root,
        };
        if !root.state.is_live() {
            return Ok(false);
        }
        if self.check_root(&name, root, findings).await? {
            check.volume = self.tree_of(&name, listed, attempts).await?;
        }
        Ok(true)
    }

    /// What lies under a name now: to mend it may have changed it.
    async fn tree_of(
        &self,
        name: &ObjectName,
        listed: &[u8],
        attempts: u32,
    ) -> Result<Option<Tree>, Failure> {
        let Some((object, header)) = self.stores.header_bytes(name).await? else { return Ok(None) };
        let decoded = Header::decode(&object, &header, None).in_volume(name)?;
        let mut tree = Tree::new(name.clone(), listed, object, header, decoded);
        tree.attempts = attempts;
        Ok(Some(tree))
    }

    /// Looks at one more node of a volume's tree.
    async fn check_tree(
        &self,
        check: &mut Check,
        only: Option<&ObjectName>,
        findings: &mut Findings,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let Some(mut tree) = check.volume.take() else { return Ok(None) };
        let (here, after) = (at(AT, &tree.listed), at(AFTER, &tree.listed));
        let wrong = match tree.next(&self.stores, self.boot, &mut check.whole, findings).await? {
            Looked::End => return Ok(only.is_none().then_some(after)),
            Looked::Whole => Vec::new(),
            Looked::Wrong(wrong) => wrong,
        };
        if !wrong.is_empty() && !self.stores.is_still(&tree).await? {
            // Its root was replaced since: what was missing may be what the new one does not name.
            if tree.attempts == ATTEMPTS_MAX {
                findings.too_busy(&tree.name);
                return Ok(Some(after));
            }
            self.check_name(check, &tree.listed, tree.attempts + 1, findings).await?;
            return Ok(Some(if check.volume.is_some() { here } else { after }));
        }
        wrong.into_iter().for_each(|wrong| findings.add(wrong));
        check.volume = Some(tree);
        Ok(Some(here))
    }
}

fn at(kind: u8, name: &[u8]) -> Vec<u8> {
    [&[kind], name].concat()
}

impl Stores {
    /// The object of a volume's header and its first bytes, under its proper name or its former one.
    async fn header_bytes(&self, name: &ObjectName) -> Result<Option<(ObjectName, Vec<u8>)>, Failure> {
        let length = u64::try_from(ROOT_BYTES).unwrap_or(0);
        match self.read(name, 0, length).await {
            Ok(bytes) => Ok(Some((name.clone(), bytes))),
            Err(failure) if failure.kind == ErrorKind::NotFound => match former_name(name) {
                None => Ok(None),
                Some(former) => match self.read(&former, 0, length).await {
                    Ok(bytes) => Ok(Some((former, bytes))),
                    Err(failure) if failure.kind == ErrorKind::NotFound => Ok(None),
                    Err(failure) => Err(failure),
                },
            },
            Err(failure) => Err(failure),
        }
    }
}
