use super::{Action, End, History, Moment, News, Operation, Value};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

fn done(host: usize, action: Action, begun: u64, ended: u64) -> Operation {
    Operation { host, action, begun: at(begun), end: End::Done(at(ended)) }
}

fn failed(host: usize, action: Action, begun: u64, ended: u64) -> Operation {
    Operation { end: End::Failed(at(ended)), ..done(host, action, begun, ended) }
}

fn unanswered(host: usize, action: Action, begun: u64) -> Operation {
    Operation { end: End::Never, ..done(host, action, begun, begun) }
}

fn write(value: Value) -> Action {
    Action::Write(0, value)
}

fn flush(value: Value) -> Action {
    Action::Flush(0, value)
}

fn read(value: Value) -> Action {
    Action::Read(0, value)
}

fn is_possible(operations: &[Operation]) -> bool {
    is_possible_with(News::AtOnce, operations)
}

fn is_possible_with(news: News, operations: &[Operation]) -> bool {
    let history = History::new(news);
    operations.iter().for_each(|operation| history.add(*operation));
    history.verify(1).is_ok()
}

#[test]
fn the_owner_reads_what_was_written_last() {
    assert!(is_possible(&[done(A, read(0), 0, 1), done(A, write(1), 2, 3), done(A, read(1), 4, 5)]));
    assert!(!is_possible(&[done(A, write(1), 0, 1), done(A, read(0), 2, 3)]));
    assert!(!is_possible(&[done(A, write(1), 0, 1), done(A, write(2), 2, 3), done(A, read(1), 4, 5)]));
}

#[test]
fn what_overlaps_comes_in_either_order() {
    assert!(is_possible(&[done(A, write(1), 0, 9), done(A, read(0), 1, 2), done(A, read(1), 3, 4)]));
    assert!(!is_possible(&[done(A, write(1), 0, 9), done(A, read(1), 1, 2), done(A, read(0), 3, 4)]));
}

#[test]
fn what_was_never_answered_may_happen_later_or_never() {
    let history = [unanswered(A, write(1), 0), done(A, read(0), 1, 2)];
    assert!(is_possible(&history));
    assert!(is_possible(&[&history[..], &[done(A, read(1), 3, 4)]].concat()));
    assert!(!is_possible(&[&history[..], &[done(A, read(1), 3, 4), done(A, read(0), 5, 6)]].concat()));
}

#[test]
fn what_was_refused_does_not_happen_later() {
    let refused = failed(A, write(1), 0, 5);
    assert!(is_possible(&[refused, done(A, read(1), 3, 7), done(A, read(1), 8, 9)]));
    assert!(!is_possible(&[refused, done(A, read(0), 6, 7), done(A, read(1), 8, 9)]));
}

#[test]
fn one_host_at_a_time_writes() {
    let history = [done(A, write(1), 0, 1), done(B, write(2), 2, 9)];
    assert!(!is_possible(&history));
    assert!(is_possible(&[&history[..], &[done(A, Action::Close, 3, 4)]].concat()));
    assert!(is_possible(&[&history[..], &[unanswered(A, Action::Close, 3)]].concat()));
    assert!(is_possible(&[&history[..], &[done(B, Action::Break, 3, 4)]].concat()));
    assert!(!is_possible(&[done(A, Action::Open, 0, 1), done(B, Action::Open, 2, 3)]));
}

#[test]
fn a_write_that_was_under_way_when_its_lock_was_broken_does_not_land_under_the_next_owner() {
    let late = unanswered(A, write(2), 2);
    let history = [
        done(A, write(1), 0, 1),
        late,
        done(B, Action::Break, 3, 4),
        done(B, Action::Open, 5, 6),
        done(B, write(3), 7, 8),
        done(B, flush(3), 9, 10),
    ];
    assert!(is_possible(&[&history[..], &[done(B, read(3), 20, 21)]].concat()));
    assert!(!is_possible(&[&history[..], &[done(B, read(2), 20, 21)]].concat()));
    // Before the lock was broken it may have.
    assert!(is_possible(&[
        late,
        done(B, Action::Break, 3, 4),
        done(B, Action::Open, 5, 6),
        done(B, read(2), 7, 8)
    ]));
    assert!(!is_possible(&[
        late,
        done(B, Action::Break, 3, 4),
        done(B, Action::Open, 5, 6),
        done(B, read(0), 7, 8),
        done(B, read(2), 9, 10)
    ]));
}

#[test]
fn a_former_owner_is_not_told_that_it_wrote() {
    let history = [done(A, write(1), 0, 1), done(B, Action::Break, 2, 3), done(B, Action::Open, 4, 5)];
    assert!(!is_possible(&[&history[..], &[done(A, write(2), 6, 7)]].concat()));
    assert!(!is_possible(&[&history[..], &[done(A, Action::Close, 6, 7)]].concat()));
    assert!(is_possible(&[&history[..], &[failed(A, write(2), 6, 7)]].concat()));
}

#[test]
fn what_was_not_flushed_may_be_gone_once_the_lock_was_broken() {
    let written = [done(A, write(1), 0, 1), done(A, flush(1), 2, 3), done(A, write(2), 4, 5)];
    let taken = [done(B, Action::Break, 6, 7), done(B, Action::Open, 8, 9)];
    for (seen, is_right) in [(2, true), (1, true), (0, false)] {
        assert_eq!(is_possible(&[&written[..], &taken, &[done(B, read(seen), 10, 11)]].concat()), is_right);
    }
    let gone = [&written[..], &taken, &[done(B, read(1), 10, 11)]].concat();
    assert!(!is_possible(&[&gone[..], &[done(B, read(2), 12, 13)]].concat()));
    assert!(!is_possible(&[&gone[..], &[done(A, flush(2), 12, 13)]].concat()));
    assert!(is_possible(&[&gone[..], &[failed(A, flush(2), 12, 13)]].concat()));
}

#[test]
fn what_was_flushed_or_closed_upon_stays() {
    for end in [flush(1), Action::Close] {
        let history = [
            done(A, write(1), 0, 1),
            done(A, end, 2, 3),
            done(B, Action::Break, 4, 5),
            done(B, read(0), 6, 7),
        ];
        assert!(!is_possible(&history));
    }
}

#[test]
fn another_host_may_not_see_what_was_not_flushed_but_sees_what_was() {
    let history = [done(A, write(1), 0, 1), done(B, read(0), 2, 3), done(A, flush(1), 4, 5)];
    assert!(is_possible(&[&history[..], &[done(B, read(1), 6, 7)]].concat()));
    assert!(!is_possible(&[&history[..], &[done(B, read(0), 6, 7)]].concat()));
}

#[test]
fn registers_are_looked_at_one_by_one() {
    let history = History::default();
    for operation in [done(A, Action::Write(0, 1), 0, 1), done(A, Action::Read(1, 0), 2, 3)] {
        history.add(operation);
    }
    history.verify(2).unwrap();
    history.add(done(A, Action::Read(1, 1), 4, 5));
    assert!(history.verify(2).unwrap_err().starts_with("register 1: no order"));
}

#[test]
fn long_histories_are_searched_quickly() {
    let mut operations = Vec::new();
    for round in 1..2000 {
        let begun = round * 10;
        operations.push(done(A, write(round), begun, begun + 14));
        operations.push(done(A, read(round), begun + 12, begun + 18));
    }
    assert!(is_possible(&operations));
}

#[test]
fn who_hears_late_of_a_broken_lock_may_read_what_was_until_it_is_owner_again() {
    let taken = [
        done(A, write(1), 0, 1),
        done(A, flush(1), 2, 3),
        done(B, Action::Break, 4, 5),
        done(B, write(2), 6, 7),
        done(B, flush(2), 8, 9),
    ];
    let then = |more: &[Operation]| [&taken[..], more].concat();
    let old_read = then(&[done(A, read(1), 10, 11)]);
    assert!(!is_possible(&old_read));
    assert!(is_possible_with(News::Late, &old_read));
    assert!(!is_possible_with(News::Late, &then(&[done(B, read(1), 10, 11)])));
    assert!(!is_possible_with(News::Late, &then(&[done(C, read(1), 10, 11)])));
    assert!(!is_possible_with(News::Late, &then(&[done(A, write(3), 10, 11)])));
    let again = [done(B, Action::Close, 10, 11), done(A, Action::Open, 12, 13), done(A, read(1), 14, 15)];
    assert!(!is_possible_with(News::Late, &then(&again)));
}

#[test]
fn who_reads_while_nobody_is_owner_may_be_owner_then() {
    let taken = [
        done(A, read(0), 0, 1),
        done(B, Action::Break, 2, 3),
        done(B, write(1), 4, 5),
        done(B, flush(1), 6, 7),
    ];
    let history = [&taken[..], &[done(A, read(0), 8, 9)]].concat();
    assert!(is_possible_with(News::Late, &history));
    assert!(!is_possible_with(News::Late, &history[1..]));
}
