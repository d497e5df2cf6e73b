//! What a stack tells of itself to those who watch it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use tests::TestStack;

/// A stack with a role that answers for Prometheus.
fn watched() -> TestStack {
    TestStack::start_with(&[], |written| {
        let directory = written.lines().find_map(|line| line.strip_prefix("run_dir = ")).unwrap();
        let socket = format!("{}/metrics.sock\"", directory.trim_end_matches('"'));
        let role = format!("\n[metrics]\ntype = \"metrics\"\nportno_start = 60\nsocket = {socket}\n");
        written.replacen("\"nbd\"", "\"nbd\", \"metrics\"", 1) + &role
    })
}

fn get(stack: &TestStack, path: &str) -> String {
    let mut stream = UnixStream::connect(stack.path("run/metrics.sock")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: stack\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The number behind the first line that begins so.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("{series} is not in:\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn prometheus_learns_what_was_done_to_a_volume() {
    let stack = watched();
    stack.vlmc(&["create", "measured", "--size", "8"]).done();
    let job = ["bench", "measured", "--write-percent", "100", "--amount", "256K", "--block-size", "4K"];
    stack.archipelago(&job).done();
    let answer = get(&stack, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    let of_writes = "{volume=\"measured\",operation=\"write\"}";
    assert_eq!(value(&answer, &format!("archipelago_volume_moved_bytes_total{of_writes}")), 262_144.0);
    let count = format!("archipelago_volume_request_duration_seconds_count{of_writes}");
    assert_eq!(value(&answer, &count), 64.0);
    let all = "archipelago_volume_request_duration_seconds_bucket{le=\"+Inf\",volume=\"measured\",operation=\"write\"}";
    assert_eq!(value(&answer, all), 64.0);
    assert_eq!(value(&answer, "archipelago_up{role=\"mapperd\""), 1.0);
    assert!(value(&answer, "archipelago_free_bytes{role=\"blockerb\"") > 0.0);
    assert!(answer.trim_end().ends_with("# EOF"), "{answer}");
}

#[test]
fn the_command_prints_what_the_role_answers_and_other_pages_do_not_exist() {
    let stack = watched();
    let printed = stack.archipelago(&["metrics"]).done();
    let answered = get(&stack, "/metrics");
    let series = |text: &str| {
        let up = text.lines().filter(|line| line.starts_with("archipelago_up{"));
        up.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(series(&printed), series(&answered));
    assert!(series(&printed).len() > 6, "{printed}");
    assert!(get(&stack, "/").starts_with("HTTP/1.1 404"));
}

#[test]
fn top_shows_roles_volumes_and_ports_to_a_script_too() {
    let stack = TestStack::start();
    stack.vlmc(&["create", "looked-at", "--size", "8"]).done();
    let text = stack.archipelago(&["top", "--interval", "0.1"]).done();
    for expected in ["mapperd", "looked-at", "REQUESTS/s", "FLUSHES/s", "asleep"] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
    let json = stack.archipelago(&["top", "--json", "--interval", "0.1"]).done();
    let rates: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(rates["ports"].as_array().unwrap().iter().any(|port| port["role"] == "blockerm"));
    let refused = stack.archipelago(&["top", "--interval", "0"]);
    assert_ne!(refused.code(), Some(0));
}
