//! Rows of the datasets, and notices.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::{Event, Notice, Sample, alert_rows, notices};
use super::{Desk, MINUTE, row, rule, silence};

fn lines(notices: &[Notice]) -> Vec<Vec<&str>> {
    notices.iter().map(|notice| notice.lines.iter().map(String::as_str).collect()).collect()
}

#[test]
fn each_alert_that_is_not_inactive_has_a_row() {
    let fields = json!({"for": "2us", "value": "value", "summary": "{host} at {value}", "labels": {"team": "ops"}});
    let mut desk = Desk::of(rule(fields));
    desk.silences = vec![silence("night", &["c"], 5, 50)];
    let with =
        |host: &str, at: i64, holds: bool| Sample { value: Some(95.5), ..row(host, at, holds) };
    let rows = ["a", "b", "c", "d"].map(|host| with(host, 1, true));
    desk.commit(1, &rows);
    let rows = ["b", "c", "d"].map(|host| with(host, 5, true));
    desk.commit(5, &rows);
    desk.commit(6, &[with("d", 6, false), with("e", 6, false)]);
    desk.acknowledge("b", "ann", 7).unwrap();
    let rows = alert_rows(&desk.state);
    let short: Vec<_> = rows.iter().map(|row| (row.group.as_str(), row.state.as_str())).collect();
    let expected = [
        ("host=a", "pending"),
        ("host=b", "acknowledged"),
        ("host=c", "firing"),
        ("host=d", "resolved"),
    ];
    assert_eq!(short, expected);
    let [a, b, c, d] = &rows[..] else { panic!("4 rows") };
    assert_eq!((a.since_us, a.firing_us, a.resolved_us), (1, None, None));
    assert_eq!((b.since_us, b.firing_us, b.resolved_us), (1, Some(5), None));
    assert_eq!(
        (b.acknowledged_by.as_deref(), b.acknowledged_us, b.comment.as_deref()),
        (Some("ann"), Some(7), Some(""))
    );
    assert_eq!((c.silenced.as_deref(), c.acknowledged_by.as_deref()), (Some("night"), None));
    assert_eq!((d.resolved_us, d.silenced.as_deref(), d.value), (Some(6), None, Some(95.5)));
    assert_eq!((a.summary.as_str(), a.labels["team"].as_str()), ("a at 95.5", "ops"));
}

#[test]
fn without_group_each_alert_is_told_by_itself() {
    let mut desk = Desk::of(rule(json!({})));
    let events = desk.commit_events(5, &[row("a", 5, true), row("b", 5, true)]);
    let told = notices(&desk.rules, &events);
    assert_eq!(lines(&told), [["warning: cpu of host=a"], ["warning: cpu of host=b"]]);
    assert_eq!((told[0].group.as_str(), told[0].known_us), ("host=a", 5));
    assert_ne!(told[0].id, told[1].id);
    // The same events have the same id.
    assert_eq!(notices(&desk.rules, &events), told);
}

#[test]
fn alerts_with_equal_values_of_group_are_one_notice() {
    let steps = json!([{"after": "3us", "severity": "critical"}]);
    let by_rack = rule(
        json!({"by": ["rack", "host"], "group": ["rack"], "escalate": steps, "labels": {"team": "ops"}}),
    );
    let mut desk = Desk::of(by_rack);
    let of = |rack: &str, host: &str, at: i64, holds: bool| Sample {
        group: vec![Some(rack.into()), Some(host.into())],
        ..row("", at, holds)
    };
    let rows = [of("r1", "a", 5, true), of("r2", "b", 5, true), of("r1", "c", 5, true)];
    let first = desk.commit_events(5, &rows);
    let told = notices(&desk.rules, &first);
    let expected = [
        vec!["warning: cpu of rack=r1, host=a", "warning: cpu of rack=r1, host=c"],
        vec!["warning: cpu of rack=r2, host=b"],
    ];
    assert_eq!(lines(&told), expected);
    assert_eq!((told[0].group.as_str(), told[0].labels["team"].as_str()), ("rack=r1", "ops"));
    assert_eq!(told[0].events, [first[0].id.clone(), first[1].id.clone()]);
    // What comes at other times, or with another commit, is told by itself, read at once or not.
    let second = desk.commit_events(5, &[of("r1", "d", 5, true), of("r1", "a", 6, false)]);
    let clock = desk.tick_events(8);
    let all = [first, second, clock].concat();
    let told = notices(&desk.rules, &all);
    assert_eq!(told.iter().map(|it| it.events.len()).collect::<Vec<_>>(), [2, 1, 2, 2, 1]);
    assert_eq!(told[3].severity, super::Severity::Critical);
    assert_eq!(told[2].lines[1], "resolved (cleared): cpu of rack=r1, host=a");
    // All in one.
    let all_in_one = rule(json!({"by": ["rack", "host"], "group": []}));
    assert_eq!(notices(&[all_in_one], &all).len(), 3);
    // A rule that is gone: each by itself.
    assert_eq!(notices(&[], &all).len(), all.len());
}

#[test]
fn a_notice_is_of_one_instant_and_as_severe_as_its_worst_event() {
    let steps = json!([{"after": "3us", "severity": "critical"}]);
    let mut desk = Desk::of(rule(json!({"group": [], "escalate": steps})));
    desk.commit(5, &[row("a", 5, true)]);
    desk.commit(6, &[row("b", 6, true)]);
    let told = notices(&desk.rules.clone(), &desk.tick_events(20));
    assert_eq!(told.iter().map(|it| it.known_us).collect::<Vec<_>>(), [8, 9]);
    // One that was critical ends as another begins.
    let told = notices(
        &desk.rules.clone(),
        &desk.commit_events(21, &[row("a", 21, false), row("c", 21, true)]),
    );
    let expected = [["resolved (cleared): cpu of host=a", "warning: cpu of host=c"]];
    assert_eq!(
        (lines(&told), told[0].severity),
        (expected.map(Vec::from).to_vec(), super::Severity::Critical)
    );
}

#[test]
fn of_many_lines_the_rest_is_counted() {
    let mut desk = Desk::of(rule(json!({"group": []})));
    let rows: Vec<Sample> = (0..25).map(|n| row(&format!("h{n:02}"), 5, true)).collect();
    let events = desk.commit_events(5, &rows);
    let told = notices(&desk.rules, &events);
    assert_eq!((told.len(), told[0].lines.len(), told[0].events.len()), (1, 21, 25));
    assert_eq!(told[0].lines[20], "and 5 more");
    assert_eq!(notices(&desk.rules, &events[..20])[0].lines.len(), 20);
}

#[test]
fn pending_is_not_told_and_of_reminders_the_newest() {
    let mut desk = Desk::of(rule(json!({"for": "2us", "repeat": "1m"})));
    let mut events = desk.commit_events(1, &[row("a", 1, true), row("b", 1, true)]);
    assert_eq!(notices(&desk.rules, &events), []);
    events.extend(desk.commit_events(3, &[row("a", 3, true), row("b", 3, true)]));
    events.extend(desk.tick_events(2 * MINUTE + 3));
    let told = notices(&desk.rules, &events);
    let expected = [
        ["warning: cpu of host=a"],
        ["warning: cpu of host=b"],
        ["still warning: cpu of host=a"],
        ["still warning: cpu of host=b"],
    ];
    assert_eq!(lines(&told), expected);
    assert_eq!(told[2].known_us, 2 * MINUTE + 3);
    events.extend(desk.commit_events(3 * MINUTE, &[row("a", 3 * MINUTE, false)]));
    let told = notices(&desk.rules, &events);
    assert_eq!(
        lines(&told)[2..],
        [["still warning: cpu of host=b"], ["resolved (cleared): cpu of host=a"]]
    );
}

#[test]
fn who_has_it_is_told() {
    let mut desk = Desk::of(rule(json!({})));
    desk.live(&[(5, true)]);
    let given = super::Acknowledgement {
        group: super::host("a"),
        by: "ann".into(),
        comment: "on it".into(),
    };
    let events = super::acknowledge(&mut desk.state, &desk.rules[0], &[], &given, 6).unwrap();
    assert_eq!(
        lines(&notices(&desk.rules, &events)),
        [["acknowledged by ann (on it): cpu of host=a"]]
    );
}

#[test]
fn ids_differ_with_each_thing_that_caused_an_event() {
    let mut ids = BTreeSet::new();
    let mut count = 0;
    let mut take = |events: &[Event]| {
        count += events.len();
        ids.extend(events.iter().map(|event| event.id.clone()));
    };
    for (name, host, at, versions) in [
        ("cpu", "a", 5, 0),
        ("mem", "a", 5, 0),
        ("cpu", "b", 5, 0),
        ("cpu", "a", 6, 0),
        ("cpu", "a", 5, 1),
    ] {
        let mut desk = Desk::of(rule(json!({"name": name})));
        desk.version = versions;
        let events = desk.commit_events(9, &[row(host, at, true), row(host, 7, false)]);
        assert!(events.iter().all(|event| event.id.len() == 32));
        take(&events[..1]);
        // When it came to be known is no part of it.
        let mut later = Desk::of(rule(json!({"name": name})));
        later.version = versions;
        assert_eq!(later.commit_events(99, &[row(host, at, true)])[0].id, events[0].id);
    }
    assert_eq!(ids.len(), count);
    let mut desk = Desk::of(rule(json!({})));
    desk.commit(5, &[row("a", 5, true)]);
    let mut other =
        Desk { state: desk.state.clone(), rules: desk.rules.clone(), silences: vec![], version: 1 };
    let given = |by: &str| super::Acknowledgement {
        group: super::host("a"),
        by: by.into(),
        comment: String::new(),
    };
    let of = |desk: &mut Desk, by: &str| {
        super::acknowledge(&mut desk.state, &desk.rules[0], &[], &given(by), 6).unwrap()[0]
            .id
            .clone()
    };
    assert_ne!(of(&mut desk, "ann"), of(&mut other, "bob"));
}

#[test]
fn texts_of_an_id_do_not_run_together() {
    let id = |texts: &[&str]| super::super::event::id_of(texts.iter().copied());
    assert_ne!(id(&["ab", "c"]), id(&["a", "bc"]));
    assert_ne!(id(&["ab"]), id(&["ab", ""]));
}

#[test]
fn an_event_reads_back_from_json() {
    let mut desk = Desk::of(rule(json!({"value": "value"})));
    let events = desk.commit_events(5, &[Sample { value: Some(0.1), ..row("a, b", 5, true) }]);
    let text = serde_json::to_string(&events).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Event>>(&text).unwrap(), events);
    assert!(text.contains(r#""group":"host=\"a, b\"""#), "{text}");
}
