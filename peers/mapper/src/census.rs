//! Which volumes there are, for a collection.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
};

use protocol::{ErrorKind, Failure};
use volume::{
    Header, LegacyMap, MAGIC, NodeRef, ObjectName, ParsedName, ROOT_BYTES, Root, RootState, VolumeId,
};

use crate::{
    failure::unreadable,
    originals::Originals,
    parallel,
    store_calls::{Place, Stores},
};

/// All that was there at one moment: what came later is no collector's business.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Ids that had been given to a volume.
    ids: HashSet<VolumeId>,
    /// Each tree that was seen, once.
    trees: Vec<Root>,
    tops: HashSet<NodeRef>,
    /// What is said of the objects of an id: of a live root, or of what is left of a deleted one.
    owners: BTreeMap<VolumeId, Vec<Root>>,
    originals: Originals,
}

/// What a census says of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may have come after the census, or is about to be used.
    Protected,
    /// It is in use if a tree refers to it.
    Candidate,
    /// As `Candidate`, if the volume that its id was drawn for has not come since.
    Ownerless(VolumeId),
}

impl Census {
    /// The trees that may refer to objects.
    pub(crate) fn trees(&self) -> &[Root] {
        &self.trees
    }

    /// What is known of the original's volumes.
    pub(crate) fn originals(&self) -> &Originals {
        &self.originals
    }

    /// What is to become of an object, apart from trees that refer to it.
    pub(crate) fn standing(&self, name: &ParsedName) -> Standing {
        let owner = match name {
            ParsedName::Block { owner, .. }
            | ParsedName::Node { owner, .. }
            | ParsedName::Log { owner, .. } => *owner,
            ParsedName::Id(_)
            | ParsedName::LegacyBlock { .. }
            | ParsedName::LegacyTable { .. }
            | ParsedName::Other => return Standing::Protected,
        };
        if !self.ids.contains(&owner) {
            return Standing::Protected;
        }
        match self.owners.get(&owner) {
            None => Standing::Ownerless(owner),
            Some(roots) if roots.iter().any(|root| is_protected_by(root, name)) => Standing::Protected,
            Some(_) => Standing::Candidate,
        }
    }

    fn add(&mut self, root: Root) {
        // Where a volume was before its last rename says nothing of it: the root that it moved to was written first.
        if root.id != VolumeId(0) && root.state != RootState::Moved {
            self.owners.entry(root.id).or_default().push(root.clone());
        }
        let top = root.top.filter(|_| root.state.is_live());
        if top.is_some_and(|top| self.tops.insert(top)) {
            self.trees.push(root);
        }
    }
}

/// Of a deleted volume nothing is in use, but one that was made in its place goes on with its numbers.
fn is_protected_by(root: &Root, name: &ParsedName) -> bool {
    if root.state.is_live() {
        return root.protects(name);
    }
    match name {
        ParsedName::Block { written_at, .. } => *written_at > root.generation,
        ParsedName::Node { checkpoint, .. } => *checkpoint > root.checkpoint,
        ParsedName::Log { sequence, .. } => *sequence > root.log_sequence,
        _ => true,
    }
}

/// The longest identity of an owner in a lock file of the original, in bytes.
pub(crate) const LOCK_BYTES_MAX: u64 = 256;

/// What lies under a name of the map store.
enum Looked {
    Nothing,
    Map(Box<Header>),
    /// It may be a map of version 0, whose blocks have the names of their contents.
    Unreadable,
}

impl Stores {
    /// Takes a census. Ids come first: a volume whose id is drawn later is not touched. Roots are read twice: a tree that is
    /// handed on to a clone or a new name while its old root is deleted is seen at one of them.
    ///
    /// # Errors
    /// `Corrupt` if the root of a volume cannot be read: what it uses is not known then.
    pub(crate) async fn census(&self) -> Result<Census, Failure> {
        let census = RefCell::new(Census { ids: self.ids().await?, ..Census::default() });
        for _ in 0..2 {
            let mut after = Vec::new();
            loop {
                let page = self.list(Place::Maps, &[], &after).await?;
                let names = page.names.iter().filter_map(|name| std::str::from_utf8(name).ok());
                let names: Vec<_> = names.filter_map(ObjectName::new).collect();
                self.count_all(&census, &names).await?;
                match page.names.last().filter(|_| page.more) {
                    Some(last) => after = crate::kinds::after_page(last),
                    None => break,
                }
            }
        }
        Ok(census.into_inner())
    }

    async fn count_all(&self, census: &RefCell<Census>, names: &[ObjectName]) -> Result<(), Failure> {
        let mut names = names.iter();
        parallel::each(|| {
            names.next().map(|name| async move {
                match ParsedName::parse(name.as_str()) {
                    ParsedName::Other => self.count(census, name).await,
                    ParsedName::LegacyTable { .. } => self.count_table(census, name).await,
                    _ => Ok(()),
                }
            })
        })
        .await
    }

    async fn count(&self, census: &RefCell<Census>, name: &ObjectName) -> Result<(), Failure> {
        match self.look_for_map(name).await? {
            Looked::Nothing => {}
            Looked::Unreadable => census.borrow_mut().originals.add_unreadable(name),
            Looked::Map(header) => {
                census.borrow_mut().originals.add(name, &header);
                if let Header::Root(root) = *header {
                    // An intent that was carried out names a tree that is not kept any more.
                    let gone_on = self.gone_on(&root).await?.map(|found| found.root().clone());
                    census.borrow_mut().add(gone_on.unwrap_or(root));
                }
            }
        }
        Ok(())
    }

    /// A volume of the original with a name that is forbidden now would look like a table, and is not read here.
    async fn count_table(&self, census: &RefCell<Census>, name: &ObjectName) -> Result<(), Failure> {
        /// As long as the first entry of a table can be told from a header.
        const HEAD_BYTES: u64 = 8;
        let head = match self.read(name, 0, HEAD_BYTES).await {
            Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if LegacyMap::has_signature(&head) {
            census.borrow_mut().originals.add_unreadable(name);
        }
        Ok(())
    }

    /// The map that is named `name`, if it is one.
    ///
    /// A map of version 0 has no header: whatever is as short as a root and is no map that we know may be a damaged root, and
    /// then nobody knows what it uses.
    async fn look_for_map(&self, name: &ObjectName) -> Result<Looked, Failure> {
        let length = u64::try_from(ROOT_BYTES).unwrap_or(0);
        let bytes = match self.read(name, 0, length).await {
            Ok(bytes) => bytes,
            Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(Looked::Nothing),
            Err(failure) => return Err(failure),
        };
        let error = match Header::decode(name, &bytes, None) {
            Ok(header) => return Ok(Looked::Map(Box::new(header))),
            Err(error) => error,
        };
        let has_magic = bytes.starts_with(&MAGIC);
        match self.size(Place::Maps, name).await {
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(Looked::Nothing),
            // A lock of the original, where maps and locks are in one directory: no volume has such a name.
            Ok(size) if !has_magic && size <= LOCK_BYTES_MAX && name.as_str().ends_with("_lock") => {
                Ok(Looked::Nothing)
            }
            Ok(size) if !has_magic && size > length => Ok(Looked::Unreadable),
            Ok(_) => {
                let unreadable = unreadable(name, &error);
                let message = format!("nobody knows what volume {name} uses: {}", unreadable.message);
                Err(Failure::new(unreadable.kind, message))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The root of version 3 under a name; maps of the original refer to nothing that we made.
    async fn root_of_ours(&self, name: &ObjectName) -> Result<Option<Root>, Failure> {
        let Looked::Map(header) = self.look_for_map(name).await? else { return Ok(None) };
        match *header {
            Header::Root(root) => Ok(Some(root)),
            Header::Legacy(_) => Ok(None),
        }
    }

    /// All ids that were given to a volume.
    async fn ids(&self) -> Result<HashSet<VolumeId>, Failure> {
        let mut ids = HashSet::new();
        let mut after = Vec::new();
        loop {
            let page = self.list(Place::Maps, b"i.", &after).await?;
            let names = page.names.iter().filter_map(|name| std::str::from_utf8(name).ok());
            ids.extend(names.filter_map(|name| match ParsedName::parse(name) {
                ParsedName::Id(id) => Some(id),
                _ => None,
            }));
            match page.names.last().filter(|_| page.more) {
                Some(last) => after.clone_from(last),
                None => return Ok(ids),
            }
        }
    }

    /// Whether the volume that an id was drawn for exists by now.
    pub(crate) async fn has_come(&self, id: VolumeId) -> Result<bool, Failure> {
        /// A volume's name has at most 82 bytes.
        const NAME_BYTES: u64 = 256;
        let bytes = match self.read(&ObjectName::id(id), 0, NAME_BYTES).await {
            Ok(bytes) => bytes,
            // Without its reservation nothing is known of it.
            Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(true),
            Err(failure) => return Err(failure),
        };
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let name = std::str::from_utf8(&bytes[..length]).ok().and_then(ObjectName::new);
        let Some(name) = name else { return Ok(true) };
        let root = self.root_of_ours(&name).await?;
        Ok(root.is_some_and(|root| root.id == id && root.state != RootState::Moved))
    }
}
