//! What a package installs besides the commands: completions, man pages and systemd units from the same definitions as these,
//! and what Ganeti runs.

mod ganeti;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::{
    archipelago::arguments::Archipelago, config::DEFAULT_FILE, segments::arguments::Xseg,
    volumes::arguments::Vlmc,
};

/// A file to be written: its path below the directory, and its content.
type Made = (String, Vec<u8>);

/// Writes everything below `dir`.
pub(crate) fn write(dir: &Path) -> anyhow::Result<()> {
    for (name, content) in everything()? {
        let path = dir.join(&name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let is_program = content.starts_with(b"#!");
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        if is_program {
            let made = fs::set_permissions(&path, Permissions::from_mode(0o755));
            made.with_context(|| format!("cannot make {} a program", path.display()))?;
        }
    }
    Ok(())
}

fn everything() -> anyhow::Result<Vec<Made>> {
    let units = [
        ("systemd/archipelago.service", unit()),
        ("systemd/archipelago-scrub.service", scrub_unit()),
        ("systemd/archipelago-scrub.timer", scrub_timer()),
    ];
    let mut made: Vec<Made> =
        units.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect();
    for command in [Archipelago::command(), Vlmc::command(), Xseg::command()] {
        made.extend(completions(&command));
        manuals(command, &mut made)?;
    }
    made.extend(ganeti::files());
    Ok(made)
}

fn completions(command: &clap::Command) -> Vec<Made> {
    let name = command.get_name();
    let shells = [
        (Shell::Bash, format!("completions/bash/{name}")),
        (Shell::Zsh, format!("completions/zsh/_{name}")),
        (Shell::Fish, format!("completions/fish/{name}.fish")),
    ];
    let make = |(shell, file)| {
        let mut content = Vec::new();
        generate(shell, &mut command.clone(), name, &mut content);
        (file, content)
    };
    shells.map(make).into()
}

/// One page a command, and one a subcommand.
fn manuals(command: clap::Command, made: &mut Vec<Made>) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let section = if name == "vlmc" { "1" } else { "8" };
    let mut command = command.disable_help_subcommand(true);
    command.build();
    page(&command, &name, section, made)?;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        let name = format!("{name}-{}", inner.get_name());
        page(inner, &name, section, made)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str, section: &str, made: &mut Vec<Made>) -> anyhow::Result<()> {
    let mut content = Vec::new();
    // The date and version of a build would make each build another text.
    let title = name.to_uppercase();
    let man = Man::new(command.clone()).title(title).section(section).source("Archipelago").date("");
    man.render(&mut content).with_context(|| format!("cannot make the page of {name}"))?;
    made.push((format!("man/man{section}/{name}.{section}"), content));
    Ok(())
}

fn unit() -> String {
    let program = "/usr/bin/archipelago";
    format!(
        "\
[Unit]
Description=Archipelago: volumes on shared storage
Documentation=man:archipelago(8)
ConditionPathExists={DEFAULT_FILE}
After=network-online.target remote-fs.target
Wants=network-online.target

[Service]
# `start` returns when every role answers; its supervisor is the process that stays.
Type=forking
PIDFile=/run/archipelago/supervisor.pid
ExecStartPre={program} check
ExecStart={program} start
# Volumes that are mapped keep an operator from stopping the stack, not the machine from going down.
ExecStop={program} stop --force
RuntimeDirectory=archipelago
# A supervisor that was killed leaves its roles serving; the next one takes them over.
RuntimeDirectoryPreserve=yes
LogsDirectory=archipelago
KillMode=process
Restart=on-failure
TimeoutStartSec=300
TimeoutStopSec=120
LimitNOFILE=1048576
LimitMEMLOCK=infinity

[Install]
WantedBy=multi-user.target
"
    )
}

fn scrub_unit() -> String {
    let program = "/usr/bin/archipelago";
    format!(
        "\
[Unit]
Description=Archipelago: compare what is at rest with its checksums
Documentation=man:archipelago-scrub(8)
ConditionPathExists={DEFAULT_FILE}
Requisite=archipelago.service
After=archipelago.service

[Service]
# Fails if damage is found, so that whatever watches units tells of it. A scrub that was interrupted goes on.
Type=oneshot
ExecStart={program} scrub --rate 100MiB
Nice=10
IOSchedulingClass=idle
"
    )
}

fn scrub_timer() -> String {
    "\
[Unit]
Description=Archipelago: scrub every week

[Timer]
OnCalendar=weekly
RandomizedDelaySec=1d
Persistent=yes

[Install]
WantedBy=timers.target
"
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The folder of committed files.
    fn etc() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc")
    }

    #[test]
    fn the_committed_units_are_what_is_generated() {
        let units = everything().unwrap().into_iter().filter(|(name, _)| name.starts_with("systemd/"));
        for (name, content) in units {
            let committed = fs::read(etc().join(&name)).unwrap();
            assert!(
                committed == content,
                "etc/{name} is old: run `archipelago generate --dir DIR` and copy it"
            );
        }
    }

    #[test]
    fn every_command_has_completions_and_a_page() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        for file in [
            "completions/bash/archipelago",
            "completions/zsh/_vlmc",
            "completions/fish/xseg.fish",
            "man/man8/archipelago.8",
            "man/man8/archipelago-config.8",
            "man/man1/vlmc-map.1",
            "man/man8/xseg-route.8",
        ] {
            assert!(fs::metadata(dir.path().join(file)).unwrap().len() > 100, "{file}");
        }
        assert!(!dir.path().join("man/man8/archipelago-supervise.8").exists());
        let page = fs::read_to_string(dir.path().join("man/man1/vlmc-unlock.1")).unwrap();
        assert!(page.contains("force"), "{page}");
    }

    #[test]
    fn ganetis_files_are_all_there_and_its_programs_can_be_run() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ganeti-ext");
        for folder in ["extstorage/archipelago", "hooks/instance-migrate-pre.d"] {
            for file in fs::read_dir(committed.join(folder)).unwrap() {
                let file = file.unwrap();
                let written = dir.path().join("ganeti").join(folder).join(file.file_name());
                let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o111;
                assert_eq!(mode(&written), mode(&file.path()), "{}", written.display());
            }
        }
    }

    #[test]
    fn generating_twice_gives_the_same_bytes() {
        assert!(everything().unwrap() == everything().unwrap());
    }
}
