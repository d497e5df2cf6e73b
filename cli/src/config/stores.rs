//! How the stores of a stack fit together: whose objects lie where, and whose locks refuse whose writes.

use super::{Draft, Kind, Settings, finding::Findings, ports::integer};

/// Notes stores in one place, and a store of blocks that would not refuse writes under a lock that was broken.
pub(super) fn check(roles: &[Draft<'_>], findings: &mut Findings<'_>) {
    let stores: Vec<_> = roles.iter().filter(|role| Kind::STORES.contains(&role.outline.kind)).collect();
    for (position, role) in stores.iter().enumerate() {
        let same = stores.iter().take(position).find(|other| place(&other.settings) == place(&role.settings));
        if let (Some(other), Some((key, shown, _))) = (same, place(&role.settings)) {
            let message = format!("{} = {shown:?}: also {}'s", role.section.path(key), other.outline.name);
            findings.at(&role.section.span_of(key), message);
        }
    }
    let Some(mapper) = roles.iter().find(|role| role.outline.kind == Kind::Mapper) else { return };
    let serving = |key| {
        let port = integer(&mapper.section, key)?;
        stores.iter().find(|role| role.outline.ports.contains(&port)).copied()
    };
    if let (Some(blocks), Some(maps)) = (serving("blockerb_port"), serving("blockerm_port")) {
        check_fence(blocks, maps, findings);
    }
}

/// Where a store's objects are: the key that says so, its value, and what else tells places apart.
fn place(settings: &Settings) -> Option<(&'static str, String, String)> {
    match settings {
        Settings::Filed(config) => {
            Some(("archip_dir", config.archip_dir.display().to_string(), String::new()))
        }
        Settings::Radosd(config) => {
            Some(("pool", config.pool.clone(), format!("{:?} {:?}", config.namespace, config.ceph_conf)))
        }
        _ => None,
    }
}

fn check_fence(blocks: &Draft<'_>, maps: &Draft<'_>, findings: &mut Findings<'_>) {
    let mut wrong = |role: &Draft<'_>, key: &str, what: String| {
        findings.at(&role.section.span_of(key), format!("{}: {what}", role.section.path(key)));
    };
    if has_foreign_locks(&maps.settings) {
        wrong(maps, "foreign_locks", "must be false: the locks are kept with the maps".to_owned());
    }
    let is_foreign = has_foreign_locks(&blocks.settings);
    let reason = "the locks there tell whose writes are refused";
    match (&blocks.settings, &maps.settings) {
        (Settings::Filed(_), Settings::Filed(_)) | (Settings::Radosd(_), Settings::Radosd(_))
            if is_foreign =>
        {
            let what = format!("must be false: {} is of the same kind", maps.outline.name);
            wrong(blocks, "foreign_locks", what);
        }
        (Settings::Filed(of_blocks), Settings::Filed(of_maps)) => {
            let wanted = of_maps.lock_directory();
            if of_blocks.lock_directory() != wanted {
                wrong(blocks, "lock_dir", format!("must be {:?}: {reason}", wanted.display().to_string()));
            }
        }
        (Settings::Radosd(of_blocks), Settings::Radosd(of_maps)) => {
            let (pool, namespace) = of_maps.lock_place();
            if of_blocks.lock_place() != (pool, namespace) {
                let what = format!("must be {pool:?}, with lock_namespace = {namespace:?}: {reason}");
                wrong(blocks, "lock_pool", what);
            }
        }
        _ if !is_foreign => {
            let what =
                format!("must be true: {}, which keeps the locks, is of another kind", maps.outline.name);
            wrong(blocks, "foreign_locks", what);
        }
        _ => {}
    }
}

fn has_foreign_locks(settings: &Settings) -> bool {
    match settings {
        Settings::Filed(config) => config.foreign_locks,
        Settings::Radosd(config) => config.foreign_locks,
        _ => false,
    }
}
