//! Whether the ranges of ports fit beside each other, and whether roles name ports of the right roles.

use std::ops::Range;

use super::{Draft, finding::Findings, role::Kind, section::Section, stack::Top};

/// A named range of ports and where the file says so.
struct Claim {
    name: String,
    first: u32,
    last: u32,
    span: Range<usize>,
}

/// Notes ranges that overlap or lie outside the static ports.
pub(super) fn check_ranges(
    top: Option<&Top>,
    top_section: &Section<'_>,
    roles: &[Draft<'_>],
    findings: &mut Findings<'_>,
) {
    let fixed = |name: &str, key: &str, first, last| Claim {
        name: name.to_owned(),
        first,
        last,
        span: top_section.span_of(key),
    };
    let mut claims = Vec::new();
    if let Some(top) = top {
        claims.push(fixed("xsegbd_start to xsegbd_end", "xsegbd_start", top.xsegbd_start, top.xsegbd_end));
        claims.push(fixed("vtool_start to vtool_end", "vtool_start", top.vtool_start, top.vtool_end));
    }
    claims.extend(roles.iter().map(|role| Claim {
        name: role.section.path("portno_start"),
        first: *role.outline.ports.start(),
        last: *role.outline.ports.end(),
        span: role.section.span_of("portno_start"),
    }));
    claims.retain(|claim| claim.first <= claim.last);
    for (position, claim) in claims.iter().enumerate() {
        if let Some(top) = top
            && claim.last >= top.segment_dynports
        {
            let limit = format!("ports from segment_dynports = {} on are dynamic", top.segment_dynports);
            findings.at(&claim.span, format!("{}: ports {} don't fit: {limit}", claim.name, claim.range()));
        }
        for other in claims.iter().take(position) {
            if claim.first <= other.last && other.first <= claim.last {
                let line = findings.place(&other.span).line;
                let (ours, theirs) = (claim.range(), other.range());
                let message =
                    format!("{}: overlapping ports: {ours} here, {theirs} for {}", claim.name, other.name);
                findings.at(&claim.span, format!("{message} (line {line})"));
            }
        }
    }
}

impl Claim {
    fn range(&self) -> String {
        if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{} to {}", self.first, self.last)
        }
    }
}

/// Notes references to ports that no role of the right kind serves, or that start later.
pub(super) fn check_references(roles: &[Draft<'_>], findings: &mut Findings<'_>) {
    for (position, Draft { outline: role, section, .. }) in roles.iter().enumerate() {
        for (key, kinds) in role.kind.references() {
            let Some(port) = integer(section, key) else { continue };
            let served_by = roles.iter().position(|other| other.outline.ports.contains(&port));
            let span = section.span_of(key);
            let path = section.path(key);
            match served_by.map(|found| (found, &roles[found].outline)) {
                None => findings.at(&span, format!("{path} = {port}: no role serves this port")),
                Some((_, other)) if !kinds.contains(&other.kind) => {
                    let is = format!("is a port of {}, of type {}", other.name, other.kind);
                    let wanted = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
                    findings.at(&span, format!("{path} = {port}: {is}; it must be one of type {wanted}"));
                }
                Some((found, other)) if found > position => {
                    let rule = format!("{} must come before {} in roles", other.name, role.name);
                    findings.at(&span, format!("{path} = {port}: {rule}, because it asks it"));
                }
                Some(_) => {}
            }
        }
    }
}

/// Notes kinds that must be there once and are not, and two roles that disagree about a third.
pub(super) fn check_completeness(roles: &[Draft<'_>], top: &Section<'_>, findings: &mut Findings<'_>) {
    for kind in [Kind::Mapper, Kind::Vlmc] {
        let mut of_kind = roles.iter().filter(|role| role.outline.kind == kind);
        let first = of_kind.next();
        if first.is_none() {
            findings.at(&top.span_of("roles"), format!("roles: none is of type {kind}; a stack needs one"));
        }
        for Draft { section, .. } in of_kind {
            let name = first.map_or("", |role| role.outline.name.as_str());
            findings.at(
                &section.span,
                format!("[{}]: a second role of type {kind}, beside {name}", section.name),
            );
        }
    }
    let find = |kind, key| {
        let role = roles.iter().find(|role| role.outline.kind == kind)?;
        Some((&role.section, integer(&role.section, key)?))
    };
    if let (Some((vlmc, asked)), Some((mapper, owned))) =
        (find(Kind::Vlmc, "blocker_port"), find(Kind::Mapper, "blockerb_port"))
        && asked != owned
    {
        let rule = "both must name the store of the blocks";
        let other = format!("{} = {owned}", mapper.path("blockerb_port"));
        findings.at(
            &vlmc.span_of("blocker_port"),
            format!("{} = {asked}, but {other}: {rule}", vlmc.path("blocker_port")),
        );
    }
}

/// A port number in a role's table.
pub(super) fn integer(section: &Section<'_>, key: &str) -> Option<u32> {
    let value = section.value(key)?.get_ref().as_integer()?;
    u32::from_str_radix(value.as_str(), value.radix()).ok()
}
