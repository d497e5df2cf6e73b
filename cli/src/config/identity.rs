//! Who runs the roles when root starts them.

use std::fs;

use super::Top;

/// A user and a group, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub user: u32,
    /// Group.
    pub group: u32,
}

impl Identity {
    /// Who is configured; none if nobody is, or if this process is not root and can't become anybody.
    ///
    /// # Errors
    /// Which name there is not.
    pub fn of(top: &Top) -> Result<Option<Identity>, String> {
        if !rustix::process::geteuid().is_root() || (top.user.is_empty() && top.group.is_empty()) {
            return Ok(None);
        }
        let read =
            |file: &str| fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"));
        resolve(&top.user, &top.group, &read("/etc/passwd")?, &read("/etc/group")?).map(Some)
    }
}

/// The numbers of names, or of numbers written out.
fn resolve(user: &str, group: &str, passwd: &str, groups: &str) -> Result<Identity, String> {
    let number = |text: &str, field: usize| text.split(':').nth(field).and_then(|number| number.parse().ok());
    let line = |file: &str, name: &str| {
        file.lines().find(|line| line.split(':').next() == Some(name)).map(str::to_owned)
    };
    let entry = line(passwd, user);
    let user_number = match (user, &entry) {
        ("", _) => Some(0),
        (_, Some(entry)) => number(entry, 2),
        (_, None) => user.parse().ok(),
    };
    let group_number = match group {
        "" => entry.as_deref().and_then(|entry| number(entry, 3)).or(user_number),
        _ => line(groups, group).and_then(|entry| number(&entry, 2)).or_else(|| group.parse().ok()),
    };
    match (user_number, group_number) {
        (Some(user), Some(group)) => Ok(Identity { user, group }),
        (None, _) => Err(format!("there is no user {user}")),
        (_, None) => Err(format!("there is no group {group}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\narchip:x:990:991::/:/bin/false\n";
    const GROUPS: &str = "root:x:0:\ndisk:x:6:archip\n";

    #[test]
    fn names_and_numbers_become_an_identity() {
        let resolved = |user, group| resolve(user, group, PASSWD, GROUPS);
        assert_eq!(resolved("archip", ""), Ok(Identity { user: 990, group: 991 }));
        assert_eq!(resolved("archip", "disk"), Ok(Identity { user: 990, group: 6 }));
        assert_eq!(resolved("", "disk"), Ok(Identity { user: 0, group: 6 }));
        assert_eq!(resolved("1234", "5"), Ok(Identity { user: 1234, group: 5 }));
        assert_eq!(resolved("nobody1", ""), Err("there is no user nobody1".into()));
        assert_eq!(resolved("archip", "none"), Err("there is no group none".into()));
    }
}
