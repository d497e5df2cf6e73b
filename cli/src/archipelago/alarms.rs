//! What a stack's roles tell that somebody should know: volumes lost and waited for, a client shut out.

use serde::Serialize;
use serde_json::Value;

use crate::output::{local_time, printable};

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Alarm {
    pub(crate) kind: AlarmKind,
    /// The role that tells it.
    pub(crate) role: String,
    /// The volume, if it is about one.
    pub(crate) volume: Option<String>,
    /// Whose lock it is, if that is known.
    pub(crate) holder: Option<String>,
    pub(crate) since_unix_ms: Option<u64>,
    /// How often, where that counts.
    pub(crate) times: Option<u64>,
}

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlarmKind {
    /// A volume's lock was broken, and another node may have it.
    VolumeLost,
    /// A writer waits for a lock that another node has.
    WriterWaits,
    /// The cluster refuses the client of a store, or did.
    ShutOut,
}

/// All that the details of these roles tell; a role with many ports tells in an array.
pub(crate) fn alarms<'a>(roles: impl Iterator<Item = (&'a str, &'a Value)>) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for (role, details) in roles {
        let ports = details.as_array().map_or_else(|| std::slice::from_ref(details), Vec::as_slice);
        for port in ports {
            let lines = |key: &str| port.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            alarms.extend(lines("lost").iter().map(|line| of_volume(AlarmKind::VolumeLost, role, line)));
            alarms.extend(lines("waiting").iter().map(|line| of_volume(AlarmKind::WriterWaits, role, line)));
            let times = port.get("shut_outs").and_then(Value::as_u64).filter(|times| *times > 0);
            alarms.extend(times.map(|times| shut_out(role, times)));
        }
    }
    alarms
}

fn of_volume(kind: AlarmKind, role: &str, line: &Value) -> Alarm {
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    Alarm {
        kind,
        role: role.to_owned(),
        volume: text("volume"),
        holder: text("holder"),
        since_unix_ms: line.get("since_unix_ms").and_then(Value::as_u64),
        times: None,
    }
}

fn shut_out(role: &str, times: u64) -> Alarm {
    Alarm {
        kind: AlarmKind::ShutOut,
        role: role.to_owned(),
        volume: None,
        holder: None,
        since_unix_ms: None,
        times: Some(times),
    }
}

impl Alarm {
    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let volume = self.volume.as_deref().unwrap_or_default();
        let since = self.since_unix_ms.map(local_time).unwrap_or_default();
        let text = match self.kind {
            AlarmKind::VolumeLost => format!(
                "volume {volume} is lost since {since}: its lock was broken; `vlmc locks {volume}` shows who has it"
            ),
            AlarmKind::WriterWaits => {
                let holder = self.holder.as_deref().unwrap_or("another node");
                format!("a writer of volume {volume} waits since {since} for the lock that {holder} holds")
            }
            AlarmKind::ShutOut => format!(
                "{}: the cluster shut its client out {} times since it started; it connected anew",
                self.role,
                self.times.unwrap_or(0)
            ),
        };
        printable(&text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_port_is_heard_and_what_is_well_is_not_told() {
        let vlmcd = json!([{ "lost": [] }, { "lost": [{ "volume": "disk-1", "since_unix_ms": 7 }] }]);
        let mapperd = json!({ "waiting": [{ "volume": "disk-2", "holder": "n2", "since_unix_ms": 8 }] });
        let blockerm = json!({ "shut_outs": 0, "lock_waiters": 1 });
        let roles =
            [("vlmcd", &vlmcd), ("mapperd", &mapperd), ("blockerm", &blockerm), ("nbd", &Value::Null)];
        let alarms = alarms(roles.into_iter());
        let kinds: Vec<_> = alarms.iter().map(|alarm| (alarm.kind, alarm.volume.as_deref())).collect();
        assert_eq!(
            kinds,
            [(AlarmKind::VolumeLost, Some("disk-1")), (AlarmKind::WriterWaits, Some("disk-2"))]
        );
        assert!(alarms[1].text().contains("for the lock that n2 holds"));
    }
}
