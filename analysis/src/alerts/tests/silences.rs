//! Silences.

use serde_json::json;

use super::super::{OneOf, Silence, check_silences, notices};
use super::{Desk, MINUTE, row, rule, silence};

#[test]
fn what_fires_in_a_silence_is_told_when_that_ends() {
    let mut desk = Desk::of(rule(json!({})));
    desk.silences = vec![silence("night", &["a"], 10, 20)];
    let rows = [row("a", 10, true), row("b", 10, true)];
    let events = desk.commit_events(10, &rows);
    assert_eq!(super::shown(&events), ["firing a @10", "silenced a @10", "firing b @10"]);
    assert_eq!(events[0].silenced.as_deref(), Some("night"));
    assert_eq!((events[1].by.as_deref(), events[1].note.as_deref()), (Some("ann"), Some("moving")));
    assert_eq!(notices(&desk.rules, &events).len(), 1);
    // It has its state all the same.
    assert_eq!(desk.state_of("a"), "firing");
    assert_eq!(desk.next(), Some(20));
    assert_eq!(desk.tick(19), [""; 0]);
    let events = desk.tick_events(20);
    assert_eq!(super::shown(&events), ["unsilenced a @20"]);
    assert_eq!(
        notices(&desk.rules, &events)[0].lines,
        ["no longer silenced, warning: cpu of host=a"]
    );
    assert_eq!((desk.tick(1_000), desk.next()), (vec![], None));
}

#[test]
fn a_silence_begins_and_ends_to_the_microsecond() {
    for (at, is_told) in [(9, true), (10, false), (19, false), (20, true)] {
        let mut desk = Desk::of(rule(json!({})));
        desk.silences = vec![silence("night", &["a"], 10, 20)];
        let events = desk.commit_events(at, &[row("a", at, true)]);
        assert_eq!(events[0].silenced.is_none(), is_told, "{at}");
        assert_eq!(notices(&desk.rules, &events).len(), usize::from(is_told), "{at}");
    }
}

#[test]
fn what_fires_already_goes_quiet_and_is_not_told_until_the_end() {
    let steps = json!([{"after": "15us", "severity": "critical"}]);
    let mut desk = Desk::of(rule(json!({"repeat": "1m", "escalate": steps})));
    desk.silences = vec![silence("night", &["a"], 10, 10 * MINUTE)];
    assert_eq!(desk.live(&[(5, true)]), ["firing a @5"]);
    assert_eq!(desk.next(), Some(10));
    let events = desk.tick_events(MINUTE + 5);
    let expected = ["silenced a @10", "severity a @20 critical", "reminder a @60000005"];
    assert_eq!(super::shown(&events), expected);
    assert_eq!(notices(&desk.rules, &events), []);
    let events = desk.commit_events(2 * MINUTE, &[row("a", 2 * MINUTE, false)]);
    assert_eq!(super::shown(&events), ["resolved a @120000000 cleared"]);
    assert_eq!(notices(&desk.rules, &events), []);
    assert_eq!(desk.next(), None);
}

#[test]
fn silences_that_meet_are_one() {
    let mut desk = Desk::of(rule(json!({})));
    desk.silences = vec![
        silence("one", &["a"], 10, 20),
        silence("two", &["a", "b"], 20, 30),
        silence("three", &["a"], 15, 18),
        silence("four", &["a"], 31, 40),
    ];
    desk.live(&[(5, true)]);
    let expected = ["silenced a @10", "unsilenced a @30", "silenced a @31", "unsilenced a @40"];
    assert_eq!(desk.tick(1_000), expected);
}

#[test]
fn at_the_instant_at_which_a_silence_ends_an_alert_is_told_before_it_resolves() {
    let mut desk = Desk::of(rule(json!({})));
    desk.silences = vec![silence("night", &["a"], 5, 20)];
    desk.live(&[(5, true)]);
    let events = desk.commit_events(20, &[row("a", 20, false)]);
    assert_eq!(super::shown(&events), ["unsilenced a @20", "resolved a @20 cleared"]);
    assert!(events.iter().all(|event| event.silenced.is_none()));
}

#[test]
fn a_silence_is_silent_from_when_it_was_made() {
    let mut desk = Desk::of(rule(json!({})));
    let made = chrono::DateTime::from_timestamp_micros(15).unwrap();
    desk.silences = vec![Silence { created_at: made, ..silence("night", &["a"], 1, 20) }];
    assert_eq!(desk.live(&[(5, true)]), ["firing a @5"]);
    assert_eq!(desk.tick(14), [""; 0]);
    assert_eq!(desk.tick(15), ["silenced a @15"]);
    // One that is ended early is told then; one that is lost, as soon as may be.
    desk.silences[0].until = chrono::DateTime::from_timestamp_micros(17).unwrap();
    assert_eq!(desk.tick(16), [""; 0]);
    assert_eq!(desk.tick(17), ["unsilenced a @17"]);
    desk.silences = vec![silence("day", &["a"], 18, 30)];
    assert_eq!(desk.tick(18), ["silenced a @18"]);
    desk.silences.clear();
    assert_eq!(desk.tick(25), ["unsilenced a @19"]);
}

#[test]
fn two_firings_of_one_commit_have_silences_of_their_own() {
    let mut desk = Desk::of(rule(json!({})));
    desk.silences = vec![silence("night", &["a"], 5, 20)];
    let rows = [row("a", 1, true), row("a", 2, false), row("a", 3, true)];
    let events = desk.commit_events(10, &rows);
    let expected = [
        "firing a @1..10",
        "silenced a @10",
        "resolved a @2..10 cleared",
        "firing a @3..10",
        "silenced a @10",
    ];
    assert_eq!(super::shown(&events), expected);
    assert_ne!(events[1].id, events[4].id);
}

#[test]
fn a_silence_matches_rule_and_values() {
    let told = |silence: Silence| {
        let mut desk = Desk::of(rule(json!({"by": ["host", "disk"]})));
        desk.silences = vec![silence];
        let of = |disk: Option<&str>| super::Sample {
            group: vec![Some("a".into()), disk.map(Into::into)],
            ..row("", 5, true)
        };
        let events = desk.commit_events(5, &[of(Some("sda")), of(Some("sdb")), of(None)]);
        events
            .iter()
            .filter(|event| event.what == super::super::What::Firing && event.silenced.is_none())
            .count()
    };
    let base = silence("night", &["a"], 1, 20);
    assert_eq!(told(base.clone()), 0);
    assert_eq!(told(Silence { rules: vec![], ..base.clone() }), 0);
    assert_eq!(told(Silence { rules: vec!["mem".into(), "cpu".into()], ..base.clone() }), 0);
    assert_eq!(told(Silence { rules: vec!["mem".into()], ..base.clone() }), 3);
    assert_eq!(told(Silence { group: Default::default(), ..base.clone() }), 0);
    let with = |column: &str, value: OneOf| {
        let mut silence = base.clone();
        silence.group.insert(column.to_owned(), value);
        silence
    };
    assert_eq!(told(with("disk", OneOf::Equal("sda".into()))), 2);
    assert_eq!(told(with("disk", OneOf::Of(vec!["sda".into(), "sdb".into()]))), 1);
    assert_eq!(told(with("disk", OneOf::Equal("null".into()))), 3);
    assert_eq!(told(with("host", OneOf::Equal("b".into()))), 3);
    assert_eq!(told(with("rack", OneOf::Equal("r1".into()))), 3);
}

#[test]
fn a_silence_that_is_wrong_is_refused() {
    let base = silence("night", &["a"], 1, 20);
    base.check().unwrap();
    let fails = |silence: Silence| silence.check().unwrap_err().to_string();
    assert!(
        fails(Silence { name: "Night".into(), ..base.clone() })
            .starts_with("silence \"Night\": name: expected 1 to 63")
    );
    assert_eq!(
        fails(Silence { rules: vec![], group: Default::default(), ..base.clone() }),
        "silence night: rules: expected a rule, or a value in `group`; found neither"
    );
    assert_eq!(
        fails(silence("night", &[], 1, 20)),
        "silence night: group: host: expected a value, found none"
    );
    assert_eq!(
        fails(silence("night", &["a"], 20, 20)),
        "silence night: until: expected an instant after `from` (1970-01-01 00:00:00.000020 UTC), found 1970-01-01 00:00:00.000020 UTC"
    );
    silence("night", &["a"], 19, 20).check().unwrap();
    assert_eq!(
        fails(Silence { reason: " ".into(), ..base.clone() }),
        "silence night: reason: expected a text, found none"
    );
    assert_eq!(
        fails(Silence { by: "x".repeat(1_025), ..base.clone() }),
        "silence night: by: expected at most 1024 bytes, found 1025"
    );
    let twice = check_silences(&[base.clone(), base.clone()]).unwrap_err().to_string();
    assert_eq!(
        twice,
        "silence night: name: expected a name that no other silence has, found it twice"
    );
    let many: Vec<Silence> =
        (0..1_001).map(|n| Silence { name: format!("s{n}"), ..base.clone() }).collect();
    check_silences(&many[..1_000]).unwrap();
    assert_eq!(
        check_silences(&many).unwrap_err().to_string(),
        "silences: list: expected at most 1000, found 1001"
    );
}

#[test]
fn a_silence_is_read_from_json() {
    let text = json!({
        "name": "night", "rules": ["cpu"], "group": {"host": "a", "disk": ["sda", "sdb"]},
        "from": "2026-03-01T00:00:00Z", "until": "2026-03-01T06:00:00Z",
        "reason": "moving", "by": "ann", "created_at": "2026-02-28T12:00:00Z",
    });
    let silence: Silence = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(silence.group["host"], OneOf::Equal("a".into()));
    assert_eq!(serde_json::to_value(&silence).unwrap(), text);
    let mut unknown = text;
    unknown["who"] = json!("x");
    assert!(serde_json::from_value::<Silence>(unknown).is_err());
}
