//! List: all volumes, by their roots alone.

use std::cell::RefCell;

use protocol::{ErrorKind, Failure, List, Listed, ListedVolume, ListedVolumes, LockInfo, Message};
use volume::{ObjectName, RootState};

use crate::{
    asked::{Answer, Asked, cut},
    info::describe,
    kinds::after_page,
    loading::{FORMER_PREFIX, is_reserved},
    parallel,
    service::Service,
    store_calls::{Place, Stores},
};

/// What the list takes beside its lines, in bytes.
const HEAD_BYTES: usize = 32;
/// Longest name or reason in a line, in bytes.
const TEXT_MAX: usize = 400;
/// Most pages of the store that one answer is made of.
const PAGES_MAX: u32 = 64;

impl Service {
    /// A page of volumes in byte order of their names. One whose map can't be read is listed with the reason.
    pub(crate) async fn list(&self, asked: &Asked) -> Result<Answer, Failure> {
        let argument: List = asked.argument()?;
        let room = usize::try_from(asked.room).unwrap_or(usize::MAX).saturating_sub(HEAD_BYTES);
        let mut page = Page { room, volumes: Vec::new(), more: false };
        let mut after = argument.after;
        for _ in 0..PAGES_MAX {
            let listed = self.stores.list_volumes(&argument.prefix, &after).await?;
            let Some(last) = listed.names.last() else { break };
            after = after_page(last);
            let names: Vec<Vec<u8>> = listed.names.into_iter().filter(|name| may_be_volume(name)).collect();
            for line in self.lines(names).await? {
                if !page.add(line) {
                    return Ok(page.answer());
                }
            }
            if !listed.more {
                return Ok(page.answer());
            }
            page.more = true;
            if !page.volumes.is_empty() && page.room < TEXT_MAX {
                return Ok(page.answer());
            }
            page.more = false;
        }
        page.more = true;
        Ok(page.answer())
    }

    /// A line for each live volume, in order.
    async fn lines(&self, names: Vec<Vec<u8>>) -> Result<Vec<ListedVolume>, Failure> {
        let all: RefCell<Vec<Option<ListedVolume>>> = RefCell::new(vec![None; names.len()]);
        let lines = &all;
        let mut left = names.iter().enumerate();
        parallel::each(|| {
            left.next().map(|(at, name)| async move {
                let line = self.line(name).await;
                lines.borrow_mut()[at] = line;
                Ok::<(), Failure>(())
            })
        })
        .await?;
        Ok(all.into_inner().into_iter().flatten().collect())
    }

    /// Who holds a volume's lock; a record that cannot be read keeps nobody from seeing the volume.
    async fn lock_shown(&self, name: &ObjectName) -> Option<LockInfo> {
        match self.stores.lock_info(name).await {
            Err(failure) if failure.kind == ErrorKind::Corrupt => {
                let owner = Some("a damaged record".to_owned());
                Some(LockInfo { owner, description: String::new(), number: 0, since_unix_ms: 0 })
            }
            lock => lock.ok(),
        }
    }

    async fn line(&self, name: &[u8]) -> Option<ListedVolume> {
        let shown = String::from_utf8_lossy(name).into_owned();
        let Some(object) = std::str::from_utf8(name).ok().and_then(ObjectName::new) else {
            return Some(ListedVolume {
                name: cut(shown, TEXT_MAX),
                info: Err("the name is not UTF-8".to_owned()),
            });
        };
        match self.stores.find_live(&object).await {
            Ok(Some(found)) => {
                let is_volume = found.root().state != RootState::ReadOnly;
                let lock = if is_volume { self.lock_shown(&object).await } else { None };
                Some(ListedVolume { name: shown, info: Ok(describe(&object, &found, lock)) })
            }
            Ok(None) => None,
            // It is listed under its proper name.
            Err(_) if name.starts_with(FORMER_PREFIX.as_bytes()) => None,
            Err(failure) => {
                Some(ListedVolume { name: cut(shown, TEXT_MAX), info: Err(cut(failure.message, TEXT_MAX)) })
            }
        }
    }
}

impl Stores {
    /// A page of names in the map store, of which those that lie under a former name are told as the proper ones as well.
    async fn list_volumes(&self, prefix: &[u8], after: &[u8]) -> Result<Listed, Failure> {
        let former = |name: &[u8]| [FORMER_PREFIX.as_bytes(), name].concat();
        let present = self.list(Place::Maps, prefix, after).await?;
        let mut earlier = self.list(Place::Maps, &former(prefix), &former(after)).await?;
        for name in &mut earlier.names {
            name.drain(..FORMER_PREFIX.len().min(name.len()));
        }
        Ok(merged(present, earlier))
    }
}

/// Two pages as one that reaches as far as the shorter of them does.
fn merged(one: Listed, other: Listed) -> Listed {
    let end_of = |page: &Listed| page.names.last().filter(|_| page.more).cloned();
    let end = [end_of(&one), end_of(&other)].into_iter().flatten().min();
    let mut names = [one.names, other.names].concat();
    names.retain(|name| end.as_ref().is_none_or(|end| name <= end));
    names.sort();
    names.dedup();
    Listed { names, more: end.is_some() }
}

struct Page {
    room: usize,
    volumes: Vec<ListedVolume>,
    more: bool,
}

impl Page {
    /// Whether there was room for it.
    fn add(&mut self, line: ListedVolume) -> bool {
        let bytes = ListedVolumes { volumes: vec![line.clone()], more: false }.encode().len();
        let Some(left) = self.room.checked_sub(bytes) else {
            self.more = true;
            return false;
        };
        self.room = left;
        self.volumes.push(line);
        true
    }

    fn answer(self) -> Answer {
        Answer::Buffer(ListedVolumes { volumes: self.volumes, more: self.more }.encode())
    }
}

fn may_be_volume(name: &[u8]) -> bool {
    std::str::from_utf8(name).ok().and_then(ObjectName::new).is_none_or(|name| !is_reserved(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pages_become_one_without_a_gap() {
        let page = |names: &[&str], more| Listed {
            names: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
            more,
        };
        assert_eq!(merged(page(&["a", "d"], false), page(&["a", "b"], false)), page(&["a", "b", "d"], false));
        assert_eq!(merged(page(&["a", "d"], true), page(&["b", "e"], false)), page(&["a", "b", "d"], true));
        assert_eq!(merged(page(&["a", "d"], true), page(&["b", "c"], true)), page(&["a", "b", "c"], true));
        assert_eq!(merged(page(&[], false), page(&["b"], true)), page(&["b"], true));
    }
}
