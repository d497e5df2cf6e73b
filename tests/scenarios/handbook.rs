//! The operator's handbook, typed as it stands.

use std::{collections::BTreeMap, path::Path, process::Command};

use tests::{Supervised, TestStack, is_root, run, skip};

/// What the page wants done.
#[derive(Debug, PartialEq, Eq)]
enum Step<'p> {
    /// A command on a host, and its line in the page.
    Type(&'p str, &'p str, usize),
    Kill(&'p str),
    Start(&'p str),
}

/// The page's steps, in order: commands after a host's prompt in its blocks, and what happens in between in its comments.
fn steps(page: &str) -> Vec<Step<'_>> {
    let lines = page.lines().zip(1..);
    lines.filter_map(|(line, number)| step(line.trim(), number)).collect()
}

fn step(line: &str, number: usize) -> Option<Step<'_>> {
    if let Some(comment) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
        let (host, rest) = comment.split_at_checked(2)?;
        return match rest {
            " dies" => Some(Step::Kill(host)),
            " comes back" => Some(Step::Start(host)),
            _ => Some(Step::Type(host, rest.strip_prefix(": ")?, number)),
        };
    }
    let (host, command) = line.split_once("# ")?;
    let is_host = host.len() == 2 && host.starts_with('n');
    is_host.then_some(Step::Type(host, command, number))
}

fn node(name: &str, beside: Option<&TestStack>) -> Supervised {
    let places = beside.map(|first| [first.path("blocks"), first.path("maps")]);
    let arguments = places
        .iter()
        .flat_map(|[blocks, maps]| ["--blocks", blocks.to_str().unwrap(), "--maps", maps.to_str().unwrap()]);
    let stack = TestStack::prepared(&arguments.collect::<Vec<_>>(), |text| {
        let own = text.lines().find(|line| line.starts_with("node = ")).unwrap().to_owned();
        text.replace(&own, &format!("node = \"{name}\""))
    });
    Supervised::start_as(stack)
}

/// Ends all its processes, as a power switch does.
fn kill(host: &Supervised) {
    // The supervisor first, which would start the others again.
    let all = ["supervisor", "blockerb", "blockerm", "mapperd", "vlmcd", "nbd", "fuse"];
    host.await_true("it lives on", || all.iter().all(|role| host.kill(role).is_none()));
}

/// A shell that finds our commands, and the host's stack.
fn shell(host: &TestStack, command: &str) -> Command {
    let ours = host.command("vlmc", &[]);
    let folder = Path::new(ours.get_program()).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-euc", command]).env("PATH", path).env("ARCHIPELAGO_CONFIG", host.configuration());
    shell
}

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    std::fs::read_to_string(page).unwrap()
}

#[test]
fn every_command_of_the_handbook_does_what_it_says() {
    let page = page();
    let first = node("n1", None);
    let second = node("n2", Some(&first));
    let hosts = BTreeMap::from([("n1", first), ("n2", second)]);
    let desk = tempfile::tempdir().unwrap();
    for step in steps(&page) {
        match step {
            Step::Type(NEW_HOST, ..) => {}
            Step::Type(host, command, line) => {
                let ended = shell(&hosts[host], command).current_dir(desk.path()).output().unwrap();
                let said = String::from_utf8_lossy(&ended.stderr);
                assert!(ended.status.success(), "docs/operating.md:{line}: {host}# {command}: {said}");
            }
            Step::Kill(host) => kill(&hosts[host]),
            Step::Start(host) => drop(hosts[host].archipelago(&["start"]).done()),
        }
    }
}

/// The host on which it is installed, where the original ran before.
const NEW_HOST: &str = "n3";
/// Volumes of the page, and which of those that the original left they are.
const VOLUMES: [(&str, &str); 2] = [("web-1-base", "goldsnap1"), ("web-1", "goldvol1")];
/// What `machine.sh` says where there can be no such host.
const IMPOSSIBLE: i32 = 77;

#[test]
fn a_host_of_the_original_is_taken_over_as_the_handbook_says() {
    let test = "a_host_of_the_original_is_taken_over_as_the_handbook_says";
    if !is_root() {
        return skip(test, "a view of the machine needs root");
    }
    if !Path::new("/dev/fuse").exists() {
        return skip(test, "there is no /dev/fuse, which the sample configuration needs");
    }
    let page = page();
    let mut lines = String::new();
    for step in steps(&page) {
        if let Step::Type(NEW_HOST, command, _) = step {
            let named = |command: String, (told, is): (&str, &str)| command.replace(told, is);
            lines += &VOLUMES.into_iter().fold(command.to_owned(), named);
            lines.push('\n');
        }
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let ours = TestStack::prepared(&[], |text| text).command("vlmc", &[]);
    let mut machine = Command::new(checkout.join("tests/scenarios/machine/machine.sh"));
    machine.arg(Path::new(ours.get_program()).parent().unwrap()).arg(checkout);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, lines).unwrap();
    let outcome = run(machine.arg(file.path()));
    if outcome.code() == Some(IMPOSSIBLE) {
        return skip(test, outcome.stderr().trim());
    }
    outcome.done();
}

#[test]
fn prompts_and_comments_are_steps_and_all_else_is_not() {
    let page = "text n1# no\n```console\n# archipelago stop\n  n1# vlmc list   # all\n```\n<!-- n2 dies -->\n<!-- n1: true -->\n<!-- told -->";
    assert_eq!(
        steps(page),
        [Step::Type("n1", "vlmc list   # all", 4), Step::Kill("n2"), Step::Type("n1", "true", 7)]
    );
}
