//! What changes volumes.

use client::Failure;
use protocol::ErrorKind;

use super::{
    Session,
    arguments::{Create, Resize, Update},
    mapping,
};
use crate::{failure::Failed, output, size};

/// Adds what was tried to what the peer says.
fn tried(action: impl Into<String>) -> impl FnOnce(Failure) -> anyhow::Error {
    let action = action.into();
    move |failure| Failed::by_peer(action, &failure).into()
}

/// A blank volume, or a clone.
pub(super) fn create(session: &mut Session, wanted: &Create) -> anyhow::Result<()> {
    let name = &wanted.volume;
    let origin = wanted.snap.as_ref().map_or_else(String::new, |snap| format!(" from snapshot {snap}"));
    let action = format!("create volume {name}{origin}");
    if let Some(snap) = wanted.snap.as_ref().filter(|_| wanted.assume_v0) {
        upgrade_v0(session, snap, wanted.v0_size, &action)?;
    }
    let created = session.client.create(name, wanted.size, wanted.snap.as_deref(), wanted.block_size);
    created.map_err(tried(action))
}

/// Brings a snapshot's map to the current version, also from version 0 if its size is told; one that is current stays.
fn upgrade_v0(session: &mut Session, snap: &str, v0_size: Option<u64>, action: &str) -> Result<(), Failed> {
    session.client.update(snap, v0_size).map_err(|failure| {
        let failed = Failed::by_peer(action, &failure);
        if failure.kind == ErrorKind::Corrupt && v0_size.is_none() {
            failed
                .hint(format!("a map of version 0 does not know its size: add --v0-size, the size of {snap}"))
        } else {
            failed
        }
    })
}

/// A frozen copy.
pub(super) fn snapshot(session: &mut Session, volume: &str, snapshot: &str) -> anyhow::Result<()> {
    session.client.snapshot(volume, snapshot).map_err(tried(format!("take snapshot {snapshot} of {volume}")))
}

/// Refused while it is mapped. With `is_forced` a map that cannot be read goes, too.
pub(super) fn remove(session: &mut Session, volume: &str, is_forced: bool) -> anyhow::Result<()> {
    let action = format!("remove {volume}");
    mapping::refuse_mapped(session, volume, &action)?;
    let removed = match is_forced {
        true => session.client.remove_unreadable(volume),
        false => session.client.remove(volume),
    };
    removed.map_err(tried(action))
}

/// Refused while it is mapped.
pub(super) fn rename(session: &mut Session, volume: &str, new_name: &str) -> anyhow::Result<()> {
    let action = format!("rename {volume} to {new_name}");
    mapping::refuse_mapped(session, volume, &action)?;
    session.client.rename(volume, new_name).map_err(tried(action))?;
    Ok(output::print(&format!("Renamed {volume} to {new_name}\n"))?)
}

/// Endpoints that show the volume see its new size.
pub(super) fn resize(session: &mut Session, wanted: &Resize) -> anyhow::Result<()> {
    let name = &wanted.named.volume;
    let action = format!("resize {name} to {}", size::human(wanted.size));
    let resized = session.client.resize(name, wanted.size, wanted.shrink);
    resized.map_err(|failure| {
        let failed = Failed::by_peer(action, &failure);
        if failure.kind == ErrorKind::Invalid && !wanted.shrink && wanted.size > 0 {
            failed.hint("a smaller size needs --shrink: what lies beyond it is lost")
        } else {
            failed
        }
    })?;
    for (port, _) in mapping::shown(session, name) {
        let refreshed = session.client.refresh(port, name);
        refreshed.map_err(tried(format!("show the new size of {name} where it is mapped")))?;
    }
    Ok(())
}

/// Brings a map of the original to the current version.
pub(super) fn update(session: &mut Session, wanted: &Update) -> anyhow::Result<()> {
    let action = format!("update the map of {}", wanted.volume);
    session.client.update(&wanted.volume, wanted.v0_size).map_err(|failure| {
        let failed = Failed::by_peer(action, &failure);
        if failure.kind == ErrorKind::Corrupt && !wanted.assume_v0 {
            failed.hint("a map of version 0 has no signature: --assume-v0 --v0-size SIZE")
        } else {
            failed
        }
    })?;
    Ok(output::print("Map updated\n")?)
}

/// Takes the lock for this node.
pub(super) fn open(session: &mut Session, volume: &str) -> anyhow::Result<()> {
    session.client.open(volume).map_err(tried(format!("open {volume}")))?;
    Ok(output::print("Volume opened\n")?)
}

/// Gives the lock back.
pub(super) fn close(session: &mut Session, volume: &str) -> anyhow::Result<()> {
    session.client.close(volume).map_err(|failure| {
        let failed = Failed::by_peer(format!("close {volume}"), &failure);
        if failure.kind == ErrorKind::NotOwner {
            failed.hint("`vlmc info` shows who has it open")
        } else {
            failed
        }
    })?;
    Ok(output::print("Volume closed\n")?)
}

/// Takes the lock in the store.
pub(super) fn lock(session: &mut Session, volume: &str) -> anyhow::Result<()> {
    session.client.lock(volume).map_err(tried(format!("lock {volume}")))?;
    Ok(output::print("Volume locked\n")?)
}

/// Gives the lock in the store back, or breaks it.
pub(super) fn unlock(session: &mut Session, volume: &str, is_forced: bool) -> anyhow::Result<()> {
    let action = format!("unlock {volume}");
    session.client.unlock(volume, is_forced).map_err(|failure| match failure.kind {
        ErrorKind::NotFound => Failed::new(action, "it is not locked"),
        ErrorKind::Corrupt => Failed::new(action, "the record of its lock is damaged").hint(format!(
            "nobody can tell who holds it: make sure that no node uses it, then `vlmc unlock -f {volume}`"
        )),
        _ => Failed::by_peer(action, &failure),
    })?;
    Ok(output::print("Volume unlocked\n")?)
}
