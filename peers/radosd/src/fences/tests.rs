use super::*;

type Subject = Fences<&'static str>;

fn lock() -> ObjectName {
    ObjectName::new("volume").unwrap()
}

fn fence(number: u64) -> Fence {
    Fence { lock: lock(), number }
}

/// What is wished, in few words.
fn wishes(fences: &mut Subject) -> Vec<String> {
    std::iter::from_fn(|| fences.wish())
        .map(|wish| match wish {
            Wish::Watch(_) => "watch".to_owned(),
            Wish::Enlist(_, number, epoch) => format!("enlist {number} in {epoch}"),
            Wish::Acquire(slot) => format!("acquire {slot}"),
            Wish::Answer(_, notification) => format!("answer {notification}"),
            Wish::Forget(_) => "forget".to_owned(),
            Wish::Pass(slot) => format!("pass {slot}"),
            Wish::Refuse(slot, fault) => format!("refuse {slot}: {}", fault.kind()),
        })
        .collect()
}

/// One operation runs under number 7.
fn held(is_foreign: bool) -> Subject {
    let mut fences = Subject::new(is_foreign);
    fences.enter(1, &fence(7));
    assert_eq!(wishes(&mut fences), ["watch"]);
    fences.watching(&lock(), Ok("watch"));
    assert_eq!(wishes(&mut fences), ["enlist 7 in 0"]);
    fences.enlisted(&lock(), 7, 0, Ok(()));
    assert_eq!(wishes(&mut fences), ["pass 1"]);
    fences
}

#[test]
fn once_enlisted_a_number_passes_at_once_and_others_are_refused() {
    let mut fences = held(false);
    for (slot, number) in [(2, 7), (3, 6), (4, 8)] {
        fences.enter(slot, &fence(number));
    }
    let not_owner = ErrorKind::NotOwner;
    assert_eq!(
        wishes(&mut fences),
        ["pass 2".to_owned(), format!("refuse 3: {not_owner}"), format!("refuse 4: {not_owner}")]
    );
}

#[test]
fn a_notification_is_answered_when_nothing_runs_and_until_then_nothing_begins() {
    let mut fences = held(false);
    fences.heard(&lock(), Heard::Notification(42));
    fences.enter(2, &fence(7));
    assert!(wishes(&mut fences).is_empty());
    fences.leave(&lock());
    assert_eq!(wishes(&mut fences), ["answer 42", "enlist 7 in 1"]);
    fences.enlisted(&lock(), 7, 1, Err(ErrorKind::NotOwner.into()));
    assert_eq!(wishes(&mut fences), [format!("refuse 2: {}", ErrorKind::NotOwner)]);
}

#[test]
fn who_was_notified_once_answers_again_for_a_while_though_it_needs_the_lock_no_more() {
    let mut fences = held(false);
    fences.leave(&lock());
    fences.heard(&lock(), Heard::Notification(42));
    fences.heard(&lock(), Heard::Notification(43));
    assert_eq!(wishes(&mut fences), ["answer 42", "answer 43"]);
    for _ in 0..LINGERS {
        assert!(fences.needs_look() && wishes(&mut fences).is_empty());
        fences.look_again();
    }
    assert_eq!(wishes(&mut fences), ["forget"]);
    assert!(fences.locks.is_empty() && !fences.needs_look());
}

#[test]
fn what_was_granted_before_a_notification_is_asked_again() {
    let mut fences = Subject::new(false);
    fences.enter(1, &fence(7));
    fences.watching(&lock(), Ok("watch"));
    wishes(&mut fences);
    fences.heard(&lock(), Heard::Notification(42));
    assert_eq!(wishes(&mut fences), ["answer 42"]);
    fences.enlisted(&lock(), 7, 0, Ok(()));
    assert_eq!(wishes(&mut fences), ["enlist 7 in 1"]);
}

#[test]
fn a_notification_that_comes_before_the_watch_is_answered_through_it() {
    let mut fences = Subject::new(false);
    fences.enter(1, &fence(7));
    fences.heard(&lock(), Heard::Notification(42));
    assert_eq!(wishes(&mut fences), ["watch"]);
    fences.watching(&lock(), Ok("watch"));
    assert_eq!(wishes(&mut fences), ["answer 42", "enlist 7 in 1"]);
}

#[test]
fn a_lock_that_nobody_ever_took_refuses() {
    let mut fences = Subject::new(false);
    fences.enter(1, &fence(7));
    wishes(&mut fences);
    fences.watching(&lock(), Err(ErrorKind::NotFound.into()));
    assert_eq!(wishes(&mut fences), [format!("refuse 1: {}", ErrorKind::NotOwner)]);
    assert!(fences.locks.is_empty());
}

#[test]
fn a_higher_number_of_a_foreign_lock_is_asked_for_and_a_lower_one_refused() {
    let mut fences = held(true);
    fences.enter(2, &fence(6));
    assert_eq!(wishes(&mut fences), [format!("refuse 2: {}", ErrorKind::NotOwner)]);
    fences.enter(3, &fence(8));
    assert_eq!(wishes(&mut fences), ["enlist 8 in 0"]);
}

#[test]
fn waiters_are_tried_in_their_order_whenever_something_happens() {
    let mut fences = Subject::new(false);
    fences.wait(1, &lock());
    fences.wait(2, &lock());
    assert_eq!(wishes(&mut fences), ["watch", "acquire 1"]);
    fences.watching(&lock(), Ok("watch"));
    fences.heard(&lock(), Heard::Notification(42));
    assert_eq!(wishes(&mut fences), ["answer 42"]);
    // It was asked before the notification, so it is asked again.
    fences.tried(&lock(), true);
    assert_eq!(wishes(&mut fences), ["acquire 1"]);
    fences.tried(&lock(), true);
    assert!(wishes(&mut fences).is_empty() && fences.needs_look());
    fences.look_again();
    assert_eq!(wishes(&mut fences), ["acquire 1"]);
    fences.tried(&lock(), false);
    assert_eq!(wishes(&mut fences), ["acquire 2"]);
    fences.tried(&lock(), false);
    (0..LINGERS).for_each(|_| fences.look_again());
    assert_eq!(wishes(&mut fences), ["forget"]);
    assert!(fences.locks.is_empty());
}

#[test]
fn a_lost_connection_ends_every_grant_and_a_new_one_begins_from_the_record() {
    let mut fences = held(false);
    fences.down();
    fences.enter(2, &fence(7));
    assert_eq!(wishes(&mut fences), ["forget"]);
    fences.leave(&lock());
    fences.up();
    assert_eq!(wishes(&mut fences), ["watch"]);
    fences.watching(&lock(), Ok("another"));
    assert_eq!(wishes(&mut fences), ["enlist 7 in 1"]);
}

#[test]
fn a_lost_watch_is_begun_anew_for_those_who_need_it() {
    let mut fences = held(false);
    fences.heard(&lock(), Heard::Lost);
    assert_eq!(wishes(&mut fences), ["forget"]);
    fences.enter(2, &fence(7));
    assert_eq!(wishes(&mut fences), ["watch"]);
}
