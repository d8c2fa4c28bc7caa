//! What time alone does.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::{Commit, Sample, State, What, adopt, step};
use super::{Desk, MINUTE, row, rule};

#[test]
fn where_the_last_row_stands_for_is_reached_by_the_clock() {
    let mut desk = Desk::of(rule(json!({"for": "10us", "stands": true})));
    assert_eq!(desk.live(&[(5, true), (8, true)]), ["pending a @5"]);
    assert_eq!(desk.next(), Some(15));
    assert_eq!(desk.tick(14), [""; 0]);
    assert_eq!(desk.tick(15), ["firing a @15"]);
    assert_eq!((desk.tick(1_000), desk.next()), (vec![], None));
    // A row that comes at the same instant speaks first.
    let mut desk = Desk::of(rule(json!({"for": "10us", "stands": true})));
    assert_eq!(desk.live(&[(5, true), (15, false)]), ["pending a @5"]);
    assert_eq!(desk.tick(1_000), [""; 0]);
    // One that comes a microsecond later is too late for that: it resolves.
    let expected = ["pending a @20", "firing a @30", "resolved a @31 cleared"];
    assert_eq!(desk.live(&[(20, true), (31, false)]), expected);
}

#[test]
fn between_rows_of_one_commit_the_last_one_stands_too() {
    let mut desk = Desk::of(rule(json!({"for": "10us", "clear": "5us", "stands": true})));
    let rows = [row("a", 5, true), row("a", 16, false), row("a", 30, true)];
    let expected =
        ["pending a @5..40", "firing a @15..40", "resolved a @21..40 cleared", "pending a @30..40"];
    assert_eq!(desk.commit(40, &rows), expected);
    assert_eq!(desk.next(), Some(40));
    assert_eq!(desk.tick(40), ["firing a @40"]);
}

#[test]
fn where_the_last_row_stands_clear_is_reached_by_the_clock() {
    let mut desk = Desk::of(rule(json!({"clear": "10us", "stands": true})));
    assert_eq!(desk.live(&[(1, true), (5, false), (8, false)]), ["firing a @1"]);
    assert_eq!(desk.next(), Some(15));
    assert_eq!(desk.tick(14), [""; 0]);
    assert_eq!(desk.tick(15), ["resolved a @15 cleared"]);
    // Without, it takes a row.
    let mut desk = Desk::of(rule(json!({"clear": "10us"})));
    assert_eq!(desk.live(&[(1, true), (5, false)]), ["firing a @1"]);
    assert_eq!((desk.tick(1_000), desk.next()), (vec![], None));
}

#[test]
fn what_was_due_before_a_commit_comes_with_its_own_instant() {
    let mut desk = Desk::of(rule(json!({"for": "10us", "stands": true})));
    // Rows of long ago are known only now.
    assert_eq!(desk.commit(100, &[row("a", 5, true)]), ["pending a @5..100"]);
    assert_eq!(desk.next(), Some(100));
    // Nobody ticked: the next commit does first what the clock would have.
    let expected = ["firing a @15..100", "resolved a @12..101 cleared"];
    assert_eq!(desk.commit(101, &[row("a", 12, false)]), expected);
}

#[test]
fn an_expiry_also_ends_what_rows_would() {
    let mut desk = Desk::of(rule(json!({"expires": "10us", "clear": "100us"})));
    assert_eq!(desk.live(&[(5, true), (9, false)]), ["firing a @5"]);
    assert_eq!(desk.tick(15), ["resolved a @15 expired"]);
    let mut desk = Desk::of(rule(json!({"expires": "10us", "clear": "6us", "stands": true})));
    assert_eq!(desk.live(&[(5, true), (9, false)]), ["firing a @5"]);
    // Both at once: rows decide.
    assert_eq!(desk.tick(100), ["resolved a @15 cleared"]);
}

#[test]
fn an_alert_that_nobody_has_escalates_step_by_step() {
    let steps = json!([{"after": "10us", "severity": "warning"}, {"after": "30us", "severity": "critical"}]);
    let mut desk = Desk::of(rule(json!({"severity": "info", "escalate": steps})));
    // It counts from when it could be known.
    assert_eq!(desk.commit(100, &[row("a", 5, true)]), ["firing a @5..100"]);
    assert_eq!(desk.next(), Some(110));
    assert_eq!(desk.tick(109), [""; 0]);
    assert_eq!(desk.tick(110), ["severity a @110 warning"]);
    assert_eq!(desk.next(), Some(130));
    assert_eq!(desk.tick(129), [""; 0]);
    assert_eq!(desk.tick(500), ["severity a @130 critical"]);
    assert_eq!((desk.tick(1_000), desk.next()), (vec![], None));
    let events = desk.commit_events(600, &[row("a", 600, false)]);
    assert_eq!(events[0].severity, super::Severity::Critical);
    // The next time from the start.
    assert_eq!(desk.commit_events(700, &[row("a", 700, true)])[0].severity, super::Severity::Info);
}

#[test]
fn a_reminder_comes_every_so_long_while_it_fires() {
    let mut desk = Desk::of(rule(json!({"repeat": "1m"})));
    assert_eq!(desk.live(&[(5, true)]), ["firing a @5"]);
    assert_eq!(desk.next(), Some(MINUTE + 5));
    assert_eq!(desk.tick(MINUTE + 4), [""; 0]);
    assert_eq!(desk.tick(MINUTE + 5), ["reminder a @60000005"]);
    assert_eq!(desk.tick(MINUTE + 6), [""; 0]);
    assert_eq!(desk.tick(3 * MINUTE + 5), ["reminder a @120000005", "reminder a @180000005"]);
    assert_eq!(desk.live(&[(3 * MINUTE + 6, false)]), ["resolved a @180000006 cleared"]);
    assert_eq!((desk.tick(9 * MINUTE), desk.next()), (vec![], None));
}

#[test]
fn a_dataset_is_as_old_as_its_newest_row_also_where_that_was_there_before_the_rule() {
    let fields = json!({"condition": null, "by": null, "freshness": "10us", "time": "at"});
    let sample = |at_us| Sample { group: Vec::new(), at_us, holds: false, value: None };
    let begun = |newest: Option<i64>| {
        let mut desk = Desk::of(rule(fields.clone()));
        desk.state = State::with_room(super::super::ALERTS_MAX);
        adopt(&mut desk.state, &desk.rules, &[], &BTreeMap::new(), 50).unwrap();
        let rows: Vec<Sample> = newest.into_iter().map(sample).collect();
        // What is there is read as it was committed: before the rule began.
        assert_eq!(desk.commit(45, &rows), [""; 0]);
        desk
    };
    // Its newest row is old enough, and that is known as soon as the rule is.
    assert_eq!(begun(Some(40)).tick(50), ["firing - @50"]);
    assert_eq!(begun(Some(30)).tick(50), ["firing - @40..50"]);
    let mut desk = begun(Some(41));
    assert_eq!((desk.tick(50), desk.next()), (vec![], Some(51)));
    assert_eq!(desk.tick(51), ["firing - @51"]);
    // Of one without rows it counts from when the rule began.
    let mut desk = begun(None);
    assert_eq!((desk.tick(59), desk.next()), (vec![], Some(60)));
    // Older rows that come later change nothing.
    let mut desk = begun(Some(48));
    assert_eq!(desk.commit(52, &[sample(30)]), [""; 0]);
    assert_eq!(desk.next(), Some(58));
}

#[test]
fn a_dataset_without_commits_is_not_fresh() {
    let fields = json!({"condition": null, "by": null, "freshness": "10us"});
    let mut desk = Desk::of(rule(fields));
    // The first time counts from when the rule began.
    assert_eq!(desk.next(), Some(10));
    assert_eq!(desk.commit(6, &[]), [""; 0]);
    assert_eq!(desk.next(), Some(16));
    assert_eq!(desk.tick(15), [""; 0]);
    let events = desk.tick_events(16);
    assert_eq!(super::shown(&events), ["firing - @16"]);
    assert_eq!(events[0].summary, "cpu: nothing new for 10us");
    assert_eq!((desk.tick(1_000), desk.next()), (vec![], None));
    assert_eq!(desk.commit(1_001, &[]), ["resolved - @1001 fresh again"]);
    assert_eq!(desk.next(), Some(1_011));
    // A commit at the very instant is in time.
    assert_eq!(desk.commit(1_011, &[]), [""; 0]);
    assert_eq!(desk.commit(1_022, &[]), ["firing - @1021", "resolved - @1022 fresh again"]);
}

#[test]
fn with_time_rows_make_a_dataset_fresh_and_commits_do_not() {
    let fields =
        json!({"condition": null, "by": null, "freshness": "10us", "time": "at", "where": "ok"});
    let mut desk = Desk::of(rule(fields));
    let of = |at_us: i64| Sample { group: vec![], at_us, holds: false, value: None };
    assert_eq!(desk.commit(6, &[]), [""; 0]);
    assert_eq!(desk.next(), Some(10));
    assert_eq!(desk.commit(7, &[of(4), of(2)]), [""; 0]);
    assert_eq!(desk.next(), Some(14));
    assert_eq!(desk.tick(14), ["firing - @14"]);
    // Newer, and not new enough: 10 us old is too old, 9 is not.
    assert_eq!(desk.commit(30, &[of(20)]), [""; 0]);
    assert_eq!(desk.commit(30, &[of(21)]), ["resolved - @21..30 fresh again"]);
    assert_eq!(desk.next(), Some(31));
    // An older row is no news.
    assert_eq!(desk.commit(30, &[of(3)]), [""; 0]);
    assert_eq!(desk.next(), Some(31));
    // What was too old as it came is known with its commit.
    let mut desk =
        Desk::of(rule(json!({"condition": null, "by": null, "freshness": "50us", "time": "at"})));
    desk.commit(10, &[of(60)]);
    assert_eq!(desk.next(), Some(110));
}

#[test]
fn a_stale_dataset_escalates_and_is_told_again() {
    let steps = json!([{"after": "1m", "severity": "critical"}]);
    let fields = json!({"condition": null, "by": null, "freshness": "10us", "repeat": "1m", "escalate": steps});
    let mut desk = Desk::of(rule(fields));
    assert_eq!(desk.tick(10), ["firing - @10"]);
    let expected =
        ["severity - @60000010 critical", "reminder - @60000010", "reminder - @120000010"];
    assert_eq!(desk.tick(2 * MINUTE + 10), expected);
}

#[test]
fn what_is_due_in_several_alerts_comes_in_order_of_time() {
    let mut desk = Desk::of(rule(json!({"expires": "10us", "clear": "never", "repeat": "1m"})));
    desk.commit(9, &[row("b", 7, true), row("a", 9, true), row("c", 7, true)]);
    let expected = ["resolved b @17 expired", "resolved c @17 expired", "resolved a @19 expired"];
    assert_eq!(desk.tick(100), expected);
}

/// A rule that begins at an instant.
fn begun(fields: serde_json::Value, at_us: i64) -> Desk {
    let mut desk = Desk::of(rule(fields));
    desk.state = State::with_room(super::super::ALERTS_MAX);
    adopt(&mut desk.state, &desk.rules, &[], &BTreeMap::new(), at_us).unwrap();
    desk
}

#[test]
fn nothing_is_told_of_a_time_before_the_rule_and_reminders_come_ever_less_often() {
    // A commit of a year before.
    let mut desk = begun(json!({"repeat": "1m"}), 500_000 * MINUTE);
    assert_eq!(desk.commit(5, &[row("a", 5, true)]), ["firing a @5..30000000000000"]);
    assert_eq!(desk.next(), Some(500_001 * MINUTE));
    // 24 each minute, 24 each second one, 24 each fourth.
    let told = desk.tick_events((500_000 + 24 + 48 + 95) * MINUTE);
    assert_eq!(told.len(), 24 + 24 + 23);
    assert_eq!(desk.next(), Some((500_000 + 24 + 48 + 96) * MINUTE));
    // A thousand years.
    let told = desk.tick_events(1_000 * 365 * 24 * 60 * MINUTE);
    assert!((300..700).contains(&told.len()), "{}", told.len());
}

#[test]
fn a_rule_that_is_removed_and_added_again_reports_new_events() {
    let mut ids = std::collections::BTreeSet::new();
    let mut desk = Desk::of(rule(json!({})));
    for at_us in [10, 20, 30] {
        desk.version = 0;
        ids.extend(desk.commit_events(5, &[row("a", 5, true)]).into_iter().map(|event| event.id));
        let rules = desk.rules.clone();
        let marks = BTreeMap::new();
        let ended = adopt(&mut desk.state, &[], &[], &marks, at_us).unwrap();
        ids.extend(ended.into_iter().map(|event| event.id));
        adopt(&mut desk.state, &rules, &[], &marks, at_us + 1).unwrap();
    }
    assert_eq!(ids.len(), 6);
}

#[test]
fn runs_that_start_from_the_same_state_give_events_the_same_ids() {
    let commit = || Commit { version: 1, at_us: 5, rows: vec![row("a", 5, true)] };
    let next = rule(json!({"severity": "critical"}));
    let ids_of = |now_us: i64| {
        let (mut state, first) = (State::with_room(10), rule(json!({})));
        let marks = BTreeMap::new();
        adopt(&mut state, std::slice::from_ref(&first), &[], &marks, now_us).unwrap();
        let mut events = step(&mut state, &first, &[], &[commit()]).unwrap();
        let changed = std::slice::from_ref(&next);
        events.extend(adopt(&mut state, changed, &[], &marks, now_us + 10).unwrap());
        events.extend(adopt(&mut state, &[], &[], &marks, now_us + 20).unwrap());
        events.into_iter().map(|event| (event.what, event.id)).collect::<Vec<_>>()
    };
    let ids = ids_of(100);
    assert_eq!(
        ids.iter().map(|(what, _)| *what).collect::<Vec<_>>(),
        [What::Firing, What::Severity, What::Resolved]
    );
    // The clocks of the two runs differ.
    assert_eq!(ids, ids_of(777));
}

#[test]
fn a_row_of_a_time_to_come_does_not_blind_it() {
    let mut desk = Desk::of(rule(json!({})));
    assert_eq!(desk.commit(10, &[row("a", i64::MAX, true)]), ["firing a @10"]);
    assert_eq!(desk.commit(12, &[row("a", 11, false)]), ["resolved a @11..12 cleared"]);
    // Clocks may be ahead by ten minutes.
    let ahead = 12 + 10 * MINUTE;
    assert_eq!(desk.commit(12, &[row("a", ahead, true)]), [format!("firing a @{ahead}..12")]);
    let fields = json!({"condition": null, "by": null, "freshness": "10us", "time": "at"});
    let mut desk = Desk::of(rule(fields));
    let sample =
        Sample { group: Vec::new(), at_us: 5 + 10 * MINUTE + 1, holds: false, value: None };
    assert_eq!(desk.commit(5, &[sample]), [""; 0]);
    assert_eq!(desk.next(), Some(15));
}

#[test]
fn what_a_group_is_called_stays_within_its_line() {
    let mut desk = Desk::of(rule(json!({"summary": "{host} is hot"})));
    let name = "a\nresolved: fine\u{1b}[2J\u{202e}é\"";
    let events = desk.commit_events(5, &[row(name, 5, true)]);
    assert_eq!(events[0].summary, "a\\nresolved: fine\\u{1b}[2J\\u{202e}é\" is hot");
}
