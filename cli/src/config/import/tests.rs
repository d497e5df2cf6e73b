use std::path::Path;

use super::*;

const INI: &str = "\
# /etc/archipelago/archipelago.conf
[ARCHIPELAGO]
USER = archipelago
GROUP = archipelago
BLKTAP_ENABLED = True
UMASK = 0o007

[XSEG]
SEGMENT_PORTS = 2048
SEGMENT_DYNPORTS = 1024
SEGMENT_SIZE = 512
VTOOL_START = 1003
VTOOL_END = 1003

[PEERS]
ROLES = blockerb blockerm
  mapperd vlmcd
ORDER = blockerb blockerm mapperd vlmcd

[blockerb]
type = file_blocker
portno_start = 1000
portno_end = 1000
nr_ops = 64
log_level = 3
archip_dir: /srv/archip/blocks ; the blocks
lock_dir = /srv/archip/locks
fdcache = 512
direct = True
threshold = 1000

[blockerm]
type = file_blocker
portno_start = 1002
portno_end = 1002
archip_dir = /srv/archip/maps

[mapperd]
type = mapperd
portno_start = 1001
portno_end = 1001
blockerb_port = 1000
blockerm_port = 1002

[vlmcd]
type = vlmcd
portno_start = 500
portno_end = 999
blocker_port = 1000
mapper_port = 1001
";

const PYTHON: &str = r#"# -*- coding: utf-8 -*-
SEGMENT_TYPE = 'segdev'
SEGMENT_NAME = 'xsegbd'
SEGMENT_PORTS = 1024
SEGMENT_SIZE = 5120
XSEGBD_START=0
XSEGBD_END=499
VTOOL_START=1022
VTOOL_END=1022
roles = [('blockerb', 'file_blocker'),
         ('blockerm', 'file_blocker'),  # maps
         ('mapperd', 'mapperd'), ('vlmcd', 'vlmcd'), ]

blockerb = {
    'type': 'file_blocker',
    'portno_start': 1000, 'portno_end': 1000,
    "archip_dir": "/srv/archip/blocks",
    'nr_ops': 64, 'nr_threads': 64,
}
blockerm = {'portno_start': 1002, 'portno_end': 1002, 'archip_dir': '/srv/archip/maps'}
mapperd = {'portno_start': 1001, 'portno_end': 1001, 'blockerb_port': 1000, 'blockerm_port': 1002}
vlmcd = {'portno_start': 500, 'portno_end': 999, 'blocker_port': 1000, 'mapper_port': 1001, 'log_level': 3}
"#;

fn accepted(text: &str) -> crate::config::Configuration {
    crate::config::parse(Path::new("imported.toml"), text)
        .unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

#[test]
fn an_ini_file_becomes_a_configuration_that_is_accepted() {
    let text = translate("old.conf", INI).unwrap();
    let configuration = accepted(&text);
    assert_eq!(configuration.top.user, "archipelago");
    assert_eq!(configuration.top.umask, "007");
    assert_eq!(configuration.top.segment_size, 512);
    let names: Vec<_> = configuration.roles.iter().map(|role| role.outline.name.as_str()).collect();
    assert_eq!(names, ["blockerb", "blockerm", "mapperd", "vlmcd", "nbd"]);
    assert_eq!(configuration.role("vlmcd").unwrap().outline.ports, 500..=503);
    for line in [
        "lock_dir = \"/srv/archip/maps\"",
        "legacy_lock_dir = \"/srv/archip/locks\"",
        "direct = true",
        "# - BLKTAP_ENABLED = True is gone: it has no meaning here",
        "# - [blockerb] threshold = 1000 is gone: it has no meaning here",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_python_file_becomes_a_configuration_that_is_accepted() {
    let text = translate("old.conf", PYTHON).unwrap();
    let configuration = accepted(&text);
    assert_eq!((configuration.top.segment_ports, configuration.top.segment_dynports), (2048, 1024));
    assert_eq!(configuration.top.segment_name, "xsegbd");
    assert_eq!(configuration.role("mapperd").unwrap().outline.kind, crate::config::Kind::Mapper);
    assert_eq!(configuration.role("blockerb").unwrap().outline.nr_ops, 64);
}

#[test]
fn a_store_in_rados_becomes_one_of_ours_and_is_fenced_by_the_locks_of_the_maps() {
    let rados = "type = rados_blocker\nnr_threads = 2\ncephx_id = archip\npool = blocks";
    let blocks = INI.replacen("type = file_blocker", rados, 1);
    let blocks: Vec<_> = blocks
        .lines()
        .filter(|line| {
            !["archip_dir:", "lock_dir", "fdcache", "direct"].iter().any(|key| line.starts_with(key))
        })
        .collect();
    let mixed = translate("old.conf", &blocks.join("\n")).unwrap();
    assert!(mixed.contains("\nforeign_locks = true\n"), "{mixed}");
    let maps = "type = rados_blocker\npool = maps";
    let both = blocks.join("\n").replacen("type = file_blocker", maps, 1);
    let both = translate("old.conf", &both.replace("archip_dir = /srv/archip/maps\n", "")).unwrap();
    for text in [&mixed, &both] {
        let configuration = accepted(text);
        let role = configuration.role("blockerb").unwrap();
        assert_eq!(role.outline.kind, crate::config::Kind::Radosd);
        assert!(
            text.contains("\npool = \"blocks\"\n") && text.contains("\ncephx_id = \"archip\"\n"),
            "{text}"
        );
    }
    assert!(both.contains("\nlock_pool = \"maps\"\n"), "{both}");
}

#[test]
fn what_would_have_to_be_executed_is_refused_with_its_line() {
    for (text, expected) in [
        ("A = 1\nimport os\n", "line 2: import: only NAME = value is read, nothing is executed"),
        ("A = open('/etc/passwd').read()\n", "line 1: open: not a literal value; nothing is executed"),
        ("A = 1 + 1\n", "line 1: A: more than a literal value; nothing is executed"),
        ("A = 'x\n", "a string has no end"),
        ("A = [1\n", "the file ends before ]"),
        ("roles = [1]\n", "roles: each must be a pair"),
        ("A = 1\n", "no roles"),
        ("", "the file is empty"),
        ("[x\n", "line 1: a section's heading has no ]"),
        ("[x]\ny\n", "line 2: neither key = value nor [section]"),
    ] {
        let error = translate("x", text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?} gave {error}");
    }
    assert!(translate("x", &format!("A = {}", "[".repeat(9999))).unwrap_err().message.contains("too deeply"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(roles|A|\\[x\\])?[ =:'\\[\\](){},a-z0-9\\n#\\\\-]{0,60}") {
        drop(translate("x", &text));
    }
}
