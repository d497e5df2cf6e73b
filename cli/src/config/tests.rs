use super::*;

mod sample;

const GOOD: &str = r#"segment_name = "test"
run_dir = "/run/test"
log_dir = "/run/test"
roles = ["blockerb", "blockerm", "mapperd", "vlmcd", "nbd"]

[blockerb]
type = "file_blocker"
portno_start = 1000
archip_dir = "/srv/archip/blocks"
lock_dir = "/srv/archip/maps"

[blockerm]
type = "filed"
portno_start = 1002
archip_dir = "/srv/archip/maps"

[mapperd]
type = "mapperd"
portno_start = 1001
blockerb_port = 1000
blockerm_port = 1002

[vlmcd]
type = "vlmcd"
portno_start = 500
portno_end = 503
blocker_port = 1000
mapper_port = 1001

[nbd]
type = "nbd"
portno_start = 1010
socket = "/run/test/nbd.sock"
"#;

/// The findings in a text, each as `line: message`.
fn findings(text: &str) -> Vec<String> {
    let Err(rejected) = parse(Path::new("x.toml"), text) else { return Vec::new() };
    let line = |finding: &Finding| finding.place.map_or(0, |place| place.line);
    rejected.findings.iter().map(|finding| format!("{}: {}", line(finding), finding.message)).collect()
}

#[test]
fn the_good_file_is_good() {
    assert_eq!(findings(GOOD), Vec::<String>::new());
    let configuration = parse(Path::new("x.toml"), GOOD).unwrap();
    let kinds: Vec<_> = configuration.roles.iter().map(|role| role.outline.kind).collect();
    assert_eq!(kinds, [Kind::Filed, Kind::Filed, Kind::Mapper, Kind::Vlmc, Kind::Nbd]);
    assert_eq!(configuration.role("vlmcd").unwrap().outline.ports, 500..=503);
    assert_eq!(configuration.role("nbd").unwrap().outline.log_level, 2);
}

#[test]
fn roles_keep_the_order_of_their_list() {
    let text = GOOD.replace("\"blockerb\", \"blockerm\"", "\"blockerm\", \"blockerb\"");
    let configuration = parse(Path::new("x.toml"), &text).unwrap();
    assert_eq!(configuration.roles[0].outline.name, "blockerm");
}

const NBD: &str = "type = \"nbd\"\nportno_start = 1010\nsocket = \"/run/test/nbd.sock\"";

/// What is changed in the good file, and what must be said about it.
const CASES: [(&str, &str, &str); 38] = [
    (
        "segment_name = \"test\"",
        "segment_name = \"a/b\"",
        "1: segment_name = \"a/b\": must be 1 to 200 letters",
    ),
    ("segment_name", "segmentname", "1: unknown key segmentname; did you mean segment_name?"),
    (
        "segment_name = \"test\"",
        "segment_name = 7",
        "1: segment_name: invalid type: integer `7`, expected a string",
    ),
    ("segment_name = \"test\"", "segment_name = \"test", "1: not TOML: "),
    (
        "log_dir",
        "segment_dynports = 4096\nlog_dir",
        "3: segment_dynports = 4096: must be from 1 to segment_ports - 1",
    ),
    ("log_dir", "segment_size = 1\nlog_dir", "3: segment_size = 1 MiB: must be from 16 to"),
    ("log_dir", "segment_ports = 99999\nlog_dir", "3: segment_ports = 99999: must be from 2 to 65536"),
    ("log_dir", "umask = \"9\"\nlog_dir", "3: umask = \"9\": must be octal"),
    ("log_dir", "xsegbd_start = 500\nlog_dir", "3: xsegbd_end = 499: must not be below xsegbd_start = 500"),
    (
        "log_dir",
        "vtool_start = 1001\nlog_dir",
        "20: mapperd.portno_start: overlapping ports: 1001 here, 1001 to 1003 for vtool_start",
    ),
    ("run_dir = \"/run/test\"", "run_dir = \"run\"", "2: run_dir = \"run\": must be an absolute path"),
    ("\"nbd\"]", "\"nbd\", \"nbd\"]", "4: roles: \"nbd\" is named twice"),
    ("\"nbd\"]", "\"nbd\", \"fuse\"]", "4: roles: \"fuse\" has no table [fuse]"),
    (", \"nbd\"]", "]", "30: [nbd]: this table is no role: name it in roles, or remove it"),
    (", \"vlmcd\", \"nbd\"]", "]", "4: roles: none is of type vlmc; a stack needs one"),
    (
        "\"mapperd\", \"vlmcd\"",
        "\"vlmcd\", \"mapperd\"",
        "28: vlmcd.mapper_port = 1001: mapperd must come before vlmcd",
    ),
    (
        NBD,
        "type = \"vlmc\"\nportno_start = 600\nblocker_port = 1000\nmapper_port = 1001",
        "30: [nbd]: a second role of type vlmc, beside vlmcd",
    ),
    (
        "type = \"nbd\"",
        "type = \"ndb\"",
        "31: nbd.type = \"ndb\": there is no such type (known: filed, radosd, mapper",
    ),
    ("type = \"nbd\"\n", "", "30: nbd.type is missing"),
    (
        "portno_start = 1010",
        "portno_start = 1001",
        "32: nbd.portno_start: overlapping ports: 1001 here, 1001 for mapperd.portno_start (line 19)",
    ),
    (
        "portno_start = 1010",
        "portno_start = 400",
        "32: nbd.portno_start: overlapping ports: 400 here, 0 to 499 for xsegbd_start",
    ),
    (
        "portno_start = 1010",
        "portno_start = 1024",
        "32: nbd.portno_start: ports 1024 don't fit: ports from segment_dynports = 1024",
    ),
    (
        "portno_end = 503",
        "portno_end = 499",
        "26: vlmcd.portno_end = 499: must not be below portno_start = 500",
    ),
    ("portno_end = 503", "portno_end = 503\nlog_level = 4", "27: vlmcd.log_level = 4: must be from 0"),
    ("portno_end = 503", "portno_end = 503\nnr_ops = 0", "27: vlmcd.nr_ops = 0: must be from 1 to 65536"),
    ("blocker_port = 1000", "blocker_port = 1005", "27: vlmcd.blocker_port = 1005: no role serves this port"),
    (
        "blocker_port = 1000",
        "blocker_port = 1001",
        "27: vlmcd.blocker_port = 1001: is a port of mapperd, of type mapper",
    ),
    (
        "blocker_port = 1000",
        "blocker_port = 1002",
        "27: vlmcd.blocker_port = 1002, but mapperd.blockerb_port = 1000",
    ),
    (
        "archip_dir = \"/srv/archip/maps\"",
        "archip_dir = \"maps\"",
        "15: blockerm.archip_dir = \"maps\": must be an absolute",
    ),
    ("portno_end = 503", "portno_ende = 503", "26: unknown key vlmcd.portno_ende"),
    ("portno_end = 503", "entry_cache_bytes = 5", "26: vlmcd: entry_cache_bytes = 5 is not between"),
    ("blockerb_port = 1000\n", "", "17: mapperd.blockerb_port is missing"),
    ("socket = \"/run/test/nbd.sock\"\n", "", "30: nbd: "),
    ("socket = \"/run/test/nbd.sock\"", "socket = 7", "33: nbd.socket: invalid type: integer `7`"),
    ("lock_dir = \"/srv/archip/maps\"\n", "", "6: blockerb.lock_dir: must be \"/srv/archip/maps\""),
    (
        "lock_dir = \"/srv/archip/maps\"",
        "lock_dir = \"/srv/x\"",
        "10: blockerb.lock_dir: must be \"/srv/archip/maps\"",
    ),
    (
        "lock_dir = \"/srv/archip/maps\"",
        "fdcach = 5",
        "10: unknown key blockerb.fdcach; did you mean fdcache?",
    ),
    (
        "archip_dir = \"/srv/archip/maps\"",
        "archip_dir = \"/srv/archip/blocks\"",
        "15: blockerm.archip_dir = \"/srv/archip/blocks\": also blockerb's",
    ),
];

#[test]
fn each_mistake_is_named_with_its_line() {
    let mut wrong = Vec::new();
    for (from, to, expected) in CASES {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from:?} is in the good file");
        let found = findings(&text);
        if !found.iter().any(|line| line.starts_with(expected)) {
            wrong.push(format!("{to:?} gave {found:#?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_of_a_file_are_named_at_once() {
    let text = GOOD
        .replace("segment_name", "segmentname")
        .replace("portno_start = 1010", "portno_start = 1001\nlog_level = 7")
        .replace("blockerb_port = 1000", "blockerb_port = 999");
    let lines: Vec<String> =
        findings(&text).iter().map(|line| line.split(':').next().unwrap().into()).collect();
    assert_eq!(lines, ["1", "20", "27", "32", "33"]);
}

#[test]
fn noise_is_rejected_without_a_panic() {
    for text in
        ["", "\u{0}", "[[roles]]\n", "roles = [1]", "a.b.c = 1", "[roles]\nx = 1", "roles = []\n[x]\n[x.y]\n"]
    {
        assert!(!findings(text).is_empty(), "{text:?}");
    }
}
