use super::*;

fn line(role: &str, state: &'static str) -> Line {
    let is_running = state == "running";
    Line {
        role: role.to_owned(),
        kind: "filed",
        state,
        pid: is_running.then_some(4711),
        ports: "1000".to_owned(),
        since: None,
        since_unix_ms: None,
        restarts: u32::from(!is_running),
        last_end: (!is_running).then(|| "signal: 9 (SIGKILL)".to_owned()),
        served: is_running.then_some(12),
        failed: is_running.then_some(1),
        in_flight: is_running.then_some(2),
        waiting: is_running.then_some(3),
        requests: None,
        details: serde_json::Value::Null,
    }
}

fn report(roles: Vec<Line>, supervisor: Option<u32>) -> Report {
    Report {
        file: "x.toml".into(),
        segment: "posix:x".into(),
        supervisor,
        is_foreground: false,
        is_changed: false,
        ok: false,
        alarms: Vec::new(),
        roles,
    }
}

#[test]
fn running_and_crashed_roles_stand_in_columns() {
    let report = report(vec![line("blockerb", "running"), line("mapperd", "crashed")], Some(1));
    let expected = "\
ROLE      TYPE   STATE    PID   PORTS  SINCE  RESTARTS  SERVED  FAILED  IN FLIGHT
blockerb  filed  running  4711  1000   -      0         12      1       5
mapperd   filed  crashed  -     1000   -      1         -       -       -
mapperd: signal: 9 (SIGKILL)
";
    assert_eq!(anstream::adapter::strip_str(&render(&report)).to_string(), expected);
}

#[test]
fn roles_without_a_supervisor_are_pointed_out() {
    let report = report(vec![line("blockerb", "running")], None);
    let ends = [
        (Supervision::Gone, true, "`archipelago start` takes the roles over\n"),
        (Supervision::Gone, false, "`archipelago restart`\n"),
        (Supervision::Lost(7), true, "(process 7) is gone: `archipelago restart`\n"),
        (Supervision::Silent(7), true, "once it is gone, `archipelago start` takes over\n"),
    ];
    for (supervision, has_segment, end) in ends {
        let text = told(&supervision, &report, has_segment);
        assert!(text.ends_with(end), "{text}");
    }
}

#[test]
fn a_role_of_many_ports_is_summed_up_without_pings() {
    let status = |port, reads| Status {
        role: "vlmcd".into(),
        pid: 1,
        port,
        since_unix_ms: 5,
        served: [("read".to_owned(), reads), ("ping".to_owned(), 9)].into(),
        failed: 1,
        in_flight: 0,
        waiting: 2,
        measured: None,
        details: serde_json::Value::Null,
    };
    let sum = Answers::of(&[status(500, 3), status(501, 4)]).unwrap();
    assert_eq!((sum.served, sum.failed, sum.waiting), (7, 2, 4));
    assert!(Answers::of(&[]).is_none());
}
