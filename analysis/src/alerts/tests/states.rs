//! What rows do to an alert.

use serde_json::json;

use super::super::{Commit, Sample, step};
use super::{Desk, host, row, rule};

#[test]
fn without_for_the_first_row_fires_and_the_first_that_does_not_hold_resolves() {
    let mut desk = Desk::of(rule(json!({})));
    assert_eq!(desk.live(&[(1, false), (5, true), (6, true)]), ["firing a @5"]);
    assert_eq!(desk.state_of("a"), "firing");
    assert_eq!(desk.live(&[(7, false), (8, false)]), ["resolved a @7 cleared"]);
    assert_eq!(desk.state_of("a"), "resolved");
    assert_eq!(desk.live(&[(9, true)]), ["firing a @9"]);
}

#[test]
fn for_is_reached_exactly_and_not_a_microsecond_before() {
    let mut desk = Desk::of(rule(json!({"for": "10us"})));
    assert_eq!(desk.live(&[(5, true)]), ["pending a @5"]);
    assert_eq!(desk.state_of("a"), "pending");
    assert_eq!(desk.live(&[(14, true)]), [""; 0]);
    assert_eq!(desk.live(&[(15, true)]), ["firing a @15"]);
    // Rows alone: a gap proves nothing until a row holds again.
    let mut desk = Desk::of(rule(json!({"for": "10us"})));
    assert_eq!(desk.live(&[(5, true)]), ["pending a @5"]);
    assert_eq!((desk.tick(1_000_000), desk.next()), (vec![], None));
    assert_eq!(desk.live(&[(2_000_000, true)]), ["firing a @2000000"]);
}

#[test]
fn a_row_that_does_not_hold_ends_what_was_pending_without_a_word() {
    let mut desk = Desk::of(rule(json!({"for": "10us"})));
    assert_eq!(desk.live(&[(5, true), (14, false), (15, true)]), ["pending a @5", "pending a @15"]);
    assert_eq!(desk.live(&[(24, true)]), [""; 0]);
    assert_eq!(desk.live(&[(25, true)]), ["firing a @25"]);
    let events = desk.commit_events(30, &[row("a", 30, false)]);
    assert_eq!(events[0].since_us, 15);
}

#[test]
fn clear_is_reached_exactly_and_not_a_microsecond_before() {
    let mut desk = Desk::of(rule(json!({"clear": "10us"})));
    assert_eq!(desk.live(&[(5, true), (7, false), (16, false)]), ["firing a @5"]);
    assert_eq!(desk.live(&[(17, false)]), ["resolved a @17 cleared"]);
    // A row that holds begins it anew.
    assert_eq!(desk.live(&[(20, true), (21, false), (30, true), (31, false)]), ["firing a @20"]);
    assert_eq!(desk.live(&[(40, false)]), [""; 0]);
    assert_eq!(desk.live(&[(41, false)]), ["resolved a @41 cleared"]);
}

#[test]
fn where_each_row_is_an_event_none_ends_an_alert() {
    let mut desk = Desk::of(rule(json!({"clear": "never", "expires": "10us"})));
    assert_eq!(desk.live(&[(5, true), (6, false), (7, false)]), ["firing a @5"]);
    assert_eq!(desk.tick(14), [""; 0]);
    assert_eq!(desk.tick(15), ["resolved a @15 expired"]);
    // It counts from the newest event.
    assert_eq!(desk.live(&[(20, true), (25, true), (26, false)]), ["firing a @20"]);
    assert_eq!(desk.next(), Some(35));
    assert_eq!(desk.tick(34), [""; 0]);
    // One that comes at the same instant keeps it going.
    assert_eq!(desk.live(&[(35, true)]), [""; 0]);
    // Rows are proof of time as the clock is: one commit that brings both has both alerts.
    let rows = [row("a", 50, true), row("a", 39, false)];
    assert_eq!(
        desk.commit(46, &rows),
        ["resolved a @45", "firing a @50..46"].map(|text| match text {
            "resolved a @45" => "resolved a @45 expired",
            other => other,
        })
    );
}

#[test]
fn what_is_pending_expires_without_a_word() {
    let mut desk = Desk::of(rule(json!({"for": "10us", "expires": "10us", "clear": "never"})));
    assert_eq!(desk.live(&[(5, true)]), ["pending a @5"]);
    assert_eq!(desk.next(), Some(15));
    assert_eq!((desk.tick(14), desk.state_of("a")), (vec![], "pending"));
    assert_eq!((desk.tick(15), desk.state.alerts_held()), (vec![], 0));
    assert_eq!(desk.live(&[(16, true), (20, true), (26, true)]), ["pending a @16", "firing a @26"]);
}

#[test]
fn late_rows_are_counted_and_undo_nothing() {
    let mut desk = Desk::of(rule(json!({})));
    assert_eq!(desk.live(&[(10, true)]), ["firing a @10"]);
    assert_eq!(desk.commit(11, &[row("a", 9, false), row("a", 8, false)]), [""; 0]);
    let late = |desk: &Desk| desk.state.rule("cpu").unwrap().late();
    assert_eq!((desk.state_of("a"), late(&desk)), ("firing", 2));
    // Of the same instant is not late.
    assert_eq!(desk.commit(12, &[row("a", 10, false)]), ["resolved a @10..12 cleared"]);
    // What is over is not opened again by what was before.
    assert_eq!(desk.commit(13, &[row("a", 9, true)]), [""; 0]);
    assert_eq!((desk.state_of("a"), late(&desk)), ("resolved", 3));
    // Another group has its own newest row.
    assert_eq!(desk.commit(14, &[row("b", 1, true)]), ["firing b @1..14"]);
    assert_eq!(late(&desk), 3);
}

#[test]
fn what_is_resolved_is_remembered_for_a_day() {
    const DAY: i64 = 24 * 3_600_000_000;
    for (later, expected) in [(DAY, vec![]), (DAY + 1, vec![format!("firing a @3..{}", DAY + 8)])] {
        let mut desk = Desk::of(rule(json!({})));
        desk.live(&[(5, true), (7, false)]);
        assert_eq!(desk.commit(7 + later, &[row("a", 3, true)]), expected);
    }
}

#[test]
fn rows_are_taken_in_order_of_time_whatever_their_order_in_the_commit() {
    let mut desk = Desk::of(rule(json!({"for": "4us"})));
    let rows = [(9, false), (1, true), (5, true), (3, true), (7, true)];
    let rows = rows.map(|(at, holds)| row("a", at, holds));
    let expected = ["pending a @1..9", "firing a @5..9", "resolved a @9 cleared"];
    assert_eq!(desk.commit(9, &rows), expected);
}

#[test]
fn rows_of_one_instant_speak_with_one_voice() {
    let both = [row("a", 5, false), row("a", 5, true)];
    let mut desk = Desk::of(rule(json!({})));
    assert_eq!(desk.commit(5, &both), ["firing a @5"]);
    let mut desk = Desk::of(rule(json!({"for": "1us"})));
    assert_eq!(desk.commit(5, &both), [""; 0]);
    assert_eq!(desk.commit(5, &[row("a", 5, true)]), ["pending a @5"]);
    // The greatest number of those that say so.
    let mut desk = Desk::of(rule(json!({"value": "value"})));
    let with = |value: f64, holds: bool| Sample { value: Some(value), ..row("a", 6, holds) };
    let rows = [with(3.0, true), with(99.0, false), with(7.0, true), with(f64::NAN, true)];
    assert_eq!(desk.commit_events(6, &rows)[0].value, Some(7.0));
}

#[test]
fn the_number_is_that_of_the_newest_row_that_holds() {
    let mut desk = Desk::of(rule(json!({"value": "value", "clear": "2us"})));
    let with =
        |value: f64, at: i64, holds: bool| Sample { value: Some(value), ..row("a", at, holds) };
    assert_eq!(desk.commit_events(1, &[with(1.0, 1, true)])[0].value, Some(1.0));
    desk.commit(2, &[with(2.0, 2, true), with(3.0, 3, false)]);
    let events = desk.commit_events(5, &[with(4.0, 5, false)]);
    assert_eq!((events[0].value, events[0].summary.as_str()), (Some(2.0), "cpu of host=a: 2"));
}

#[test]
fn versions_that_were_read_are_left_out() {
    let mut desk = Desk::of(rule(json!({})));
    let commit = |version: u64, at: i64, holds: bool| Commit {
        version,
        at_us: at,
        rows: vec![row("a", at, holds)],
    };
    let (first, second, third) = (commit(0, 5, true), commit(1, 6, false), commit(2, 7, true));
    let mut take = |commits: &[Commit]| {
        super::shown(&step(&mut desk.state, &desk.rules[0], &[], commits).unwrap())
    };
    assert_eq!(take(std::slice::from_ref(&first)), ["firing a @5"]);
    assert_eq!(take(std::slice::from_ref(&first)), [""; 0]);
    // In any order.
    let expected = ["resolved a @6 cleared", "firing a @7"];
    assert_eq!(take(&[third, first, second]), expected);
    assert_eq!(take(&[]), [""; 0]);
    assert_eq!(desk.state.rule("cpu").unwrap().mark(), Some(2));
    // Without rows the mark moves on.
    step(&mut desk.state, &desk.rules[0], &[], &[Commit { version: 9, at_us: 8, rows: vec![] }])
        .unwrap();
    assert_eq!(desk.state.rule("cpu").unwrap().mark(), Some(9));
}

#[test]
fn a_commit_of_another_form_is_refused_and_changes_nothing() {
    let mut desk = Desk::of(rule(json!({})));
    let before = desk.state.clone();
    let wide = Sample { group: vec![None, None], ..row("a", 5, true) };
    let commit = |version: u64, rows: Vec<Sample>| Commit { version, at_us: 5, rows };
    let mut fail = |commits: &[Commit]| {
        step(&mut desk.state, &desk.rules[0], &[], commits).unwrap_err().to_string()
    };
    assert_eq!(
        fail(&[commit(1, vec![row("a", 5, true)]), commit(2, vec![wide])]),
        "alert cpu: by: expected rows of 1 values, found one of 2 in version 2"
    );
    assert_eq!(
        fail(&[commit(1, vec![]), commit(2, vec![]), commit(1, vec![])]),
        "alert cpu: dataset: expected each version once, found 1 twice"
    );
    let other = rule(json!({"for": "1us"}));
    let problem = step(&mut desk.state, &other, &[], &[]).unwrap_err().to_string();
    assert_eq!(problem, "alert cpu: expected a rule that the state has adopted as it is");
    assert_eq!(desk.state, before);
}

#[test]
fn groups_are_apart_and_inactive_ones_are_not_held() {
    let mut desk = Desk::of(rule(json!({"for": "2us"})));
    let rows: Vec<Sample> = (0..1_000).map(|n| row(&format!("h{n}"), 1, false)).collect();
    desk.commit(1, &rows);
    desk.commit(2, &[row("a", 2, true), row("b", 2, true)]);
    assert_eq!(desk.state.alerts_held(), 2);
    assert_eq!(desk.commit(4, &[row("a", 4, false), row("b", 4, true)]), ["firing b @4"]);
    assert_eq!(desk.state.alerts_held(), 1);
    assert!(desk.state.rule("cpu").unwrap().alert(&host("b")).unwrap().firing().is_some());
    // A null is a value of its own.
    let nobody = Sample { group: vec![None], ..row("", 5, true) };
    let named = row("null", 5, true);
    desk.commit(5, &[nobody, named]);
    assert_eq!(desk.state.alerts_held(), 3);
}
