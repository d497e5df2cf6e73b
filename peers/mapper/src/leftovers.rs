//! The last part of a collection: block tables of the original whose volumes do not use them any more.

use std::collections::BTreeMap;

use protocol::Failure;
use volume::{Header, ObjectName, ParsedName};

use crate::{
    kinds::after_page,
    loading::FORMER_PREFIX,
    store_calls::{Place, Stores},
};

/// What one step of it found.
pub(crate) struct Leftovers {
    /// How many names were looked at.
    pub(crate) seen: usize,
    /// Tables that nobody reads.
    pub(crate) tables: Vec<ObjectName>,
    /// The name to go on after; none at the end.
    pub(crate) after: Option<Vec<u8>>,
}

impl Stores {
    /// Looks at names of the map store after `after`, at least `work` of them.
    pub(crate) async fn leftovers(&self, after: &[u8], work: usize) -> Result<Leftovers, Failure> {
        let mut found = Leftovers { seen: 0, tables: Vec::new(), after: Some(after.to_vec()) };
        let mut is_unused = BTreeMap::new();
        while found.seen < work {
            let page = self.list(Place::Maps, &[], found.after.as_deref().unwrap_or_default()).await?;
            found.seen += page.names.len();
            found.after = page.names.last().filter(|_| page.more).map(|last| after_page(last));
            for name in page.names.iter().filter_map(|name| std::str::from_utf8(name).ok()) {
                let ParsedName::LegacyTable { volume, .. } = ParsedName::parse(name) else { continue };
                let (Some(volume), Some(table)) = (ObjectName::new(volume), ObjectName::new(name)) else {
                    continue;
                };
                let unused = match is_unused.get(&volume) {
                    Some(unused) => *unused,
                    None => self.has_left_its_tables(&volume).await?,
                };
                is_unused.insert(volume, unused);
                if unused {
                    found.tables.push(table);
                }
            }
            if found.after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Whether a volume was upgraded or deleted. Of one that is not there nothing is known, so its tables stay.
    async fn has_left_its_tables(&self, volume: &ObjectName) -> Result<bool, Failure> {
        let mut found = self.header_of(volume, None).await?;
        let proper = volume.as_str().strip_prefix(FORMER_PREFIX).and_then(ObjectName::new);
        if let (None, Some(proper)) = (&found, proper) {
            // Its header went when it was upgraded to its proper name.
            found = self.header_of(&proper, None).await?;
        }
        Ok(found.is_some_and(|found| match found.header {
            Header::Root(_) => true,
            Header::Legacy(legacy) => !legacy.root.state.is_live(),
        }))
    }
}
