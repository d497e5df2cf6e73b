//! What threads do, because the library has no way that does not block.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use store::{ErrorKind, Lister, Page, StoreOperation, StoreReply, StoreRequest};

use crate::fault::Result;
use crate::hash::hash;
use crate::librados::Region;
use crate::link::Link;
use crate::names::{object_of, of_object};

/// Does one operation; blocks.
pub(crate) fn perform(
    link: &Link,
    request: &StoreRequest,
    region: Region,
    lister: &Lister,
    stop: &AtomicBool,
) -> Result<StoreReply> {
    let (name, locks) = (&request.object, &link.locks);
    match &request.operation {
        StoreOperation::Acquire { owner, description, force, .. } => {
            Ok(StoreReply::Granted(locks.acquire(name, owner, description, *force)?))
        }
        StoreOperation::Release { owner, force } => {
            locks.release(name, owner, *force, request.is_second_attempt)?;
            Ok(StoreReply::Done)
        }
        StoreOperation::LockInfo => Ok(StoreReply::Lock(locks.info(name)?)),
        StoreOperation::Nodes => Ok(StoreReply::Nodes(link.register.list()?)),
        StoreOperation::Hash => Ok(StoreReply::Hash(hash(&link.objects, &of_object(name), stop)?)),
        StoreOperation::List { prefix, after, max_bytes } => {
            let page = list(link, lister, (prefix, after, *max_bytes), stop)?;
            Ok(StoreReply::Names(page))
        }
        StoreOperation::Write { offset, .. } => compare(link, request, *offset, region),
        StoreOperation::Scrub { .. } => Err(io::Error::new(io::ErrorKind::Unsupported, SCRUB).into()),
        _ => Err(ErrorKind::Unsupported.into()),
    }
}

/// Why there is no scrub: a copy of what OSDs do beside the data, which would read all of a pool over the network and could
/// compare no replicas.
const SCRUB: &str = "Ceph scrubs pools itself (`ceph osd pool deep-scrub POOL`, then `ceph health detail`)";

fn list(link: &Link, lister: &Lister, wanted: (&[u8], &[u8], usize), stop: &AtomicBool) -> Result<Page> {
    lister.list(wanted, |smallest| {
        let scanned = link.objects.each_name(|rados| {
            if let Some(name) = object_of(rados) {
                smallest.take(&name);
            }
            if stop.load(Ordering::Relaxed) { Err(ErrorKind::Unavailable) } else { Ok(()) }
        });
        Ok(scanned??)
    })
}

/// A second attempt of an exclusive write is done if the object is what it would have made.
fn compare(link: &Link, request: &StoreRequest, offset: u64, region: Region) -> Result<StoreReply> {
    let name = of_object(&request.object);
    let len = region.len() as u64;
    let is_ours = link.objects.size_now(&name)? == if len == 0 { 0 } else { offset + len } && {
        let most = region.len().max(1);
        let (bytes, _) = link.objects.read_now(&name, offset, most)?;
        bytes == region.to_vec()
    };
    if is_ours { Ok(StoreReply::Done) } else { Err(ErrorKind::Exists.into()) }
}
