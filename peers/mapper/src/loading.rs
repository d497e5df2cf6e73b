//! Reading maps from the store.

use std::cell::RefCell;

use protocol::{ErrorKind, Failure};
use volume::{
    BootId, Header, Log, LogChain, Map, ObjectName, ObjectRange, ParsedName, ROOT_BYTES, Root, RootState,
    Wanted,
};

use crate::{
    failure::{InVolume, no_volume, unreadable},
    parallel,
    store_calls::{Place, Stores},
};

/// The most that is read at a time, in bytes.
const PIECE_BYTES: u64 = 256 << 10;
/// The longest object that is read whole: a log that a checkpoint could not shorten in time.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// No start of any machine: of what it finds in logs only what was committed counts.
pub(crate) const NO_BOOT: BootId = BootId([0; 16]);

/// What lies under a volume's name.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) header: Header,
    /// The header as it is at rest.
    pub(crate) bytes: Vec<u8>,
}

impl Found {
    pub(crate) fn root(&self) -> &Root {
        match &self.header {
            Header::Root(root) => root,
            Header::Legacy(legacy) => &legacy.root,
        }
    }

    fn is_of_original(&self) -> bool {
        matches!(self.header, Header::Legacy(_))
    }
}

/// Whether the name is one that only objects of maps have.
pub(crate) fn is_reserved(name: &ObjectName) -> bool {
    ParsedName::parse(name.as_str()) != ParsedName::Other
}

/// What the original put before the names of volumes until version 0.4.
pub(crate) const FORMER_PREFIX: &str = "archip_";

/// The object that a volume of the original may still lie in.
pub(crate) fn former_name(name: &ObjectName) -> Option<ObjectName> {
    let is_former = name.as_str().starts_with(FORMER_PREFIX);
    if is_former { None } else { ObjectName::new(format!("{FORMER_PREFIX}{name}")) }
}

impl Stores {
    /// What lies under `name`, dead or alive. `v0_size` is the size of a map without a signature.
    ///
    /// A map of the original may lie under the volume's former name; it is found under the proper one alone, so that it
    /// has one lock.
    pub(crate) async fn find(
        &self,
        name: &ObjectName,
        v0_size: Option<u64>,
    ) -> Result<Option<Found>, Failure> {
        if is_reserved(name) {
            return Ok(None);
        }
        if let Some(found) = self.header_of(name, v0_size).await? {
            let is_former = name.as_str().starts_with(FORMER_PREFIX);
            return Ok(Some(found).filter(|found| !(is_former && found.is_of_original())));
        }
        let Some(former) = former_name(name) else { return Ok(None) };
        Ok(self.header_of(&former, None).await?.filter(Found::is_of_original))
    }

    /// What the object of this very name says.
    pub(crate) async fn header_of(
        &self,
        name: &ObjectName,
        v0_size: Option<u64>,
    ) -> Result<Option<Found>, Failure> {
        let length = u64::try_from(ROOT_BYTES).unwrap_or(0);
        let bytes = match self.read(name, 0, length).await {
            Ok(bytes) => bytes,
            Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let header = Header::decode(name, &bytes, v0_size).map_err(|error| unreadable(name, &error))?;
        Ok(Some(Found { header, bytes }))
    }

    /// The volume called `name`, if it is alive.
    pub(crate) async fn find_live(&self, name: &ObjectName) -> Result<Option<Found>, Failure> {
        let Some(found) = self.find(name, None).await? else { return Ok(None) };
        let is_live = found.root().state.is_live() && !self.has_moved(found.root()).await?;
        Ok(is_live.then_some(found))
    }

    /// As [`Stores::find_live`], where a volume must be.
    pub(crate) async fn live(&self, name: &ObjectName) -> Result<Found, Failure> {
        self.find_live(name).await?.ok_or_else(|| no_volume(name))
    }

    /// Whether a rename of this volume got so far that the volume is to be found under its new name.
    pub(crate) async fn has_moved(&self, root: &Root) -> Result<bool, Failure> {
        Ok(self.gone_on(root).await?.is_some())
    }

    /// What a volume is, dead or alive, under the name that a rename brought it to.
    pub(crate) async fn gone_on(&self, root: &Root) -> Result<Option<Found>, Failure> {
        let Some(to) = root.moved_to.as_ref().filter(|_| root.state.is_live()) else { return Ok(None) };
        let there = self.find(to, None).await?;
        Ok(there.filter(|found| root.went_on_as(found.root())))
    }

    /// The map of a volume, as its root and its logs say. What a log has not committed counts if it was written since this
    /// start of the machine, `boot`; without one, if it can be seen at all: its writer may be alive elsewhere.
    pub(crate) async fn open_map(
        &self,
        name: &ObjectName,
        header: Header,
        boot: Option<BootId>,
    ) -> Result<RefCell<Map>, Failure> {
        let root = match header {
            Header::Legacy(legacy) => return Ok(RefCell::new(Map::open_legacy(legacy))),
            Header::Root(root) => root,
        };
        let is_changing = root.state == RootState::Changing;
        let logs = self.read_logs(name, &root, boot).await?;
        let map = RefCell::new(Map::open(root));
        if is_changing {
            self.load(name, &map, |map| map.wanted_for_replay(&logs)).await?;
            map.borrow_mut().replay(&logs).in_volume(name)?;
        }
        Ok(map)
    }

    pub(crate) async fn read_logs(
        &self,
        name: &ObjectName,
        root: &Root,
        boot: Option<BootId>,
    ) -> Result<LogChain, Failure> {
        let boot = match boot {
            Some(boot) => boot,
            None => self.boot_of_logs(name, root).await?,
        };
        let mut logs = root.logs(boot);
        while let Some(log) = logs.wanted() {
            match self.read_whole(&log).await {
                Ok(bytes) => logs.add(&bytes).in_volume(name)?,
                Err(failure) if failure.kind == ErrorKind::NotFound => logs.end(),
                Err(failure) => return Err(failure),
            }
        }
        Ok(logs)
    }

    /// Which start of which machine wrote the volume's logs; any, if there are none.
    async fn boot_of_logs(&self, name: &ObjectName, root: &Root) -> Result<BootId, Failure> {
        let Some(first) = root.logs(NO_BOOT).wanted() else { return Ok(NO_BOOT) };
        match self.read_whole(&first).await {
            Ok(bytes) => Ok(Log::decode(root.id, root.log_sequence, &bytes).in_volume(name)?.boot),
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(NO_BOOT),
            Err(failure) => Err(failure),
        }
    }

    /// Reads nodes until the map wants no more.
    pub(crate) async fn load(
        &self,
        name: &ObjectName,
        map: &RefCell<Map>,
        mut wanted: impl FnMut(&mut Map) -> Vec<Wanted>,
    ) -> Result<(), Failure> {
        loop {
            let nodes = wanted(&mut map.borrow_mut());
            if nodes.is_empty() {
                return Ok(());
            }
            let mut nodes = nodes.into_iter();
            parallel::each(|| nodes.next().map(|node| self.load_node(name, map, node))).await?;
        }
    }

    async fn load_node(&self, name: &ObjectName, map: &RefCell<Map>, node: Wanted) -> Result<(), Failure> {
        let bytes = self.read_ranges(&node.reads).await.map_err(|failure| missing(name, failure))?;
        map.borrow_mut().load(&node.key, &bytes).in_volume(name)
    }

    /// The bytes of all ranges, one after the other.
    pub(crate) async fn read_ranges(&self, ranges: &[ObjectRange]) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        for range in ranges {
            bytes.extend(self.read_range(range).await?);
        }
        Ok(bytes)
    }

    async fn read_range(&self, range: &ObjectRange) -> Result<Vec<u8>, Failure> {
        match range.length {
            None => self.read_whole(&range.name).await,
            Some(length) => self.read_pieces(&range.name, range.offset, length).await,
        }
    }

    pub(crate) async fn read_whole(&self, name: &ObjectName) -> Result<Vec<u8>, Failure> {
        let size = self.size(Place::Maps, name).await?;
        if size > WHOLE_BYTES_MAX {
            let message = format!("object {name} of {size} bytes is no part of a map");
            return Err(Failure::new(ErrorKind::Corrupt, message));
        }
        self.read_pieces(name, 0, size).await
    }

    async fn read_pieces(&self, name: &ObjectName, from: u64, length: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let mut done = 0;
        while done < length {
            let piece = (length - done).min(PIECE_BYTES);
            bytes.extend(self.read(name, from + done, piece).await?);
            done += piece;
        }
        Ok(bytes)
    }
}

/// A volume whose map lacks a part is there, but damaged.
fn missing(name: &ObjectName, failure: Failure) -> Failure {
    match failure.kind {
        ErrorKind::NotFound => Failure::new(ErrorKind::Corrupt, format!("volume {name}: {failure}")),
        _ => failure,
    }
}
