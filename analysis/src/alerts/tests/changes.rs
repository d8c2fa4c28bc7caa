//! Rules that change.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::{State, adopt};
use super::{Desk, MINUTE, row, rule};

#[test]
fn a_rule_that_watches_the_same_goes_on_where_it_was() {
    let mut desk = Desk::of(rule(json!({"for": "10us"})));
    desk.commit(5, &[row("a", 5, true), row("b", 1, true)]);
    desk.commit(11, &[row("b", 11, true)]);
    let mark = desk.state.rule("cpu").unwrap().mark();
    let other = rule(
        json!({"for": "4us", "summary": "{host} is hot", "value": "value", "labels": {"team": "ops"}}),
    );
    assert_eq!(desk.adopt(&[other], 12), [""; 0]);
    assert_eq!(desk.state.rule("cpu").unwrap().mark(), mark);
    assert_eq!((desk.state_of("a"), desk.state_of("b")), ("pending", "firing"));
    let events = desk.commit_events(13, &[row("a", 13, true)]);
    assert_eq!((events[0].since_us, events[0].summary.as_str()), (5, "a is hot"));
}

#[test]
fn a_rule_that_watches_something_else_begins_anew() {
    let others = [
        json!({"condition": "value > 80"}),
        json!({"dataset": "others"}),
        json!({"where": "ok"}),
        json!({"time": "at"}),
        json!({"by": ["host", "disk"]}),
        json!({"by": null, "condition": null, "freshness": "1m"}),
    ];
    for fields in others {
        let mut desk = Desk::of(rule(json!({"stands": true, "for": "3us"})));
        desk.commit(
            4,
            &[row("a", 1, true), row("a", 4, true), row("b", 2, true), row("c", 4, true)],
        );
        // What was due comes as the old rule says.
        let expected = ["firing b @5", "resolved a @6 rule changed", "resolved b @6 rule changed"];
        let other = rule(fields.clone());
        assert_eq!(desk.adopt(std::slice::from_ref(&other), 6), expected, "{fields}");
        assert_eq!(desk.state.alerts_held(), 0);
        let mark = (other.dataset == "metrics").then_some(1);
        assert_eq!(desk.state.rule("cpu").unwrap().mark(), mark);
    }
}

#[test]
fn a_rule_that_goes_resolves_its_alerts() {
    let mut desk = Desk::of(rule(json!({"group": []})));
    desk.commit(5, &[row("a", 5, true), row("b", 5, true)]);
    desk.commit(6, &[row("b", 6, false)]);
    assert_eq!(desk.adopt(&[], 7), ["resolved a @7 rule removed"]);
    assert_eq!((desk.state.rules().count(), desk.next()), (0, None));
    // When it comes again it is new.
    assert_eq!(desk.adopt(&[rule(json!({}))], 8), [""; 0]);
    assert_eq!(desk.state_of("a"), "inactive");
}

#[test]
fn the_same_rules_again_change_nothing() {
    let mut desk = Desk::of(rule(json!({"for": "3us", "stands": true})));
    desk.commit(5, &[row("a", 5, true)]);
    let before = desk.state.clone();
    let rules = desk.rules.clone();
    assert_eq!(desk.adopt(&rules, 100), [""; 0]);
    assert_eq!(desk.state, before);
}

#[test]
fn a_changed_severity_is_told_at_once() {
    let mut desk = Desk::of(rule(json!({})));
    desk.commit(5, &[row("a", 5, true)]);
    assert_eq!(desk.adopt(&[rule(json!({"severity": "critical"}))], 7), ["severity a @7 critical"]);
    let steps =
        json!([{"after": "2us", "severity": "warning"}, {"after": "9us", "severity": "critical"}]);
    let other = rule(json!({"severity": "info", "escalate": steps}));
    // A step whose time is past is taken now, and the next when it is due.
    assert_eq!(desk.adopt(&[other], 7), ["severity a @7 warning"]);
    assert_eq!(desk.next(), Some(14));
}

#[test]
fn who_has_an_alert_keeps_it_and_its_severity_under_new_steps() {
    let mut desk = Desk::of(rule(json!({})));
    desk.commit(5, &[row("a", 5, true)]);
    desk.acknowledge("a", "ann", 6).unwrap();
    let steps = json!([{"after": "2us", "severity": "critical"}]);
    assert_eq!(desk.adopt(&[rule(json!({"escalate": steps}))], 100), [""; 0]);
    assert_eq!((desk.state_of("a"), desk.next()), ("acknowledged", None));
}

#[test]
fn new_times_count_from_now_at_the_earliest() {
    // Reminders of the past are not made up for.
    let mut desk = Desk::of(rule(json!({})));
    desk.commit(5, &[row("a", 5, true)]);
    let now = 100 * MINUTE;
    assert_eq!(desk.adopt(&[rule(json!({"repeat": "1m"}))], now), [""; 0]);
    assert_eq!(desk.next(), Some(101 * MINUTE));
    // Nor does what stands fire in the past.
    let mut desk = Desk::of(rule(json!({"for": "1h", "stands": true})));
    desk.commit(5, &[row("a", 5, true)]);
    desk.adopt(&[rule(json!({"for": "10us", "stands": true}))], 50);
    assert_eq!(desk.tick(50), ["firing a @15..50"]);
    // Nor is a dataset stale since then.
    let fresh = |span: &str| rule(json!({"condition": null, "by": null, "freshness": span}));
    let mut desk = Desk::of(fresh("1h"));
    desk.adopt(&[fresh("10us")], 50);
    assert_eq!(desk.tick(50), ["firing - @10..50"]);
    // What was due under the old rule is as that says.
    let mut desk = Desk::of(rule(json!({"repeat": "1m"})));
    desk.commit(0, &[row("a", 0, true)]);
    let expected = ["reminder a @60000000"];
    assert_eq!(desk.adopt(&[rule(json!({"repeat": "5m"}))], 2 * MINUTE), expected);
    assert_eq!(desk.next(), Some(7 * MINUTE));
}

#[test]
fn wrong_rules_are_not_adopted() {
    let mut state = State::default();
    let mut fail = |rules: &[super::super::Rule]| {
        adopt(&mut state, rules, &[], &BTreeMap::new(), 0).unwrap_err().to_string()
    };
    let twice = [rule(json!({})), rule(json!({}))];
    assert_eq!(
        fail(&twice),
        "alert cpu: name: expected a name that no other rule has, found it twice"
    );
    let mut wrong = rule(json!({}));
    wrong.condition = None;
    assert!(fail(&[wrong]).starts_with("alert cpu: condition: "));
    assert_eq!(state, State::default());
}
