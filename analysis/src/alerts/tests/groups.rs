//! Groups as texts, and too many of them.

use serde_json::json;

use super::super::group::Key;
use super::super::{Group, Sample};
use super::{Desk, Dice, MINUTE, restored, row, rule, silence};

fn group(values: &[(&str, Option<&str>)]) -> Group {
    let by: Vec<String> = values.iter().map(|(column, _)| (*column).to_owned()).collect();
    let values: Vec<Option<String>> =
        values.iter().map(|(_, value)| value.map(Into::into)).collect();
    Group::of(&by, &Key::of(&values))
}

#[test]
fn a_group_is_a_text_that_reads_back() {
    let plain = group(&[("host", Some("a b")), ("disk", Some("sda"))]);
    assert_eq!(plain.to_string(), "host=a b, disk=sda");
    let odd = group(&[
        ("a", None),
        ("b", Some("null")),
        ("c", Some("x, d=1")),
        ("d", Some("")),
        ("e", Some("\"q\\\n")),
    ]);
    assert_eq!(odd.to_string(), r#"a=null, b="null", c="x, d=1", d="", e="\"q\\\n""#);
    for it in [plain, odd, group(&[]), Group::too_many()] {
        assert_eq!(it.to_string().parse::<Group>(), Ok(it));
    }
    for wrong in ["host", "host=a,disk=b", "host=a, ", "host=\"a", "host=\"a\"b", ", "] {
        let problem = wrong.parse::<Group>().unwrap_err();
        assert_eq!(
            problem,
            format!("expected a group such as `host=a, disk=sda`, found {wrong:?}")
        );
    }
}

#[test]
fn no_two_groups_have_one_text() {
    let mut dice = Dice(7);
    let letters = ['a', '=', ',', ' ', '"', '\\', 'n', 'u', 'l', '\u{2003}', '…'];
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..20_000 {
        let mut value = || {
            let length = dice.below(6);
            (!dice.one_in(8)).then(|| (0..length).map(|_| dice.of(&letters)).collect::<String>())
        };
        let (one, other) = (value(), value());
        let it = group(&[("x", one.as_deref()), ("y", other.as_deref())]);
        let text = it.to_string();
        assert_eq!(text.parse(), Ok(it.clone()), "{text}");
        let there = seen.entry(text.clone()).or_insert_with(|| it.clone());
        assert_eq!(*there, it, "{text}");
    }
}

#[test]
fn long_values_are_cut_and_stay_apart() {
    let (one, other) = (format!("{}a", "é".repeat(1_000)), format!("{}b", "é".repeat(1_000)));
    let of = |value: &str| group(&[("x", Some(value))]);
    assert_ne!(of(&one), of(&other));
    assert!(of(&one).value("x").unwrap().len() <= 256);
    assert_eq!(of(&"x".repeat(256)).value("x").unwrap(), "x".repeat(256));
    assert_ne!(of(&"x".repeat(257)).value("x").unwrap(), "x".repeat(257));
    // Cut twice it is the same.
    assert_eq!(of(of(&one).value("x").unwrap()), of(&one));
    let mut desk = Desk::of(rule(json!({})));
    assert_eq!(desk.commit(1, &[row(&one, 1, true), row(&other, 1, true)]).len(), 2);
    assert_eq!(desk.commit(2, &[row(&one, 2, false)]).len(), 1);
}

#[test]
fn beyond_the_bound_groups_are_counted_and_one_alert_says_so() {
    let mut desk = Desk::with_room(rule(json!({"repeat": "1m"})), 2);
    let rows = ["a", "b", "c", "d"].map(|host| row(host, 5, true));
    let more = [rows.to_vec(), vec![row("d", 6, true)]].concat();
    let events = desk.commit_events(6, &more);
    assert_eq!(
        super::shown(&events),
        ["firing a @5..6", "firing b @5..6", "firing too many @5..6"]
    );
    assert_eq!(events[2].summary, "cpu: too many groups; 2 of them are not looked at");
    assert_eq!(desk.state.alerts_held(), 2);
    // It is said once, and again as the rule says.
    assert_eq!(desk.commit(7, &[row("e", 7, true)]), [""; 0]);
    assert_eq!(desk.tick(MINUTE + 6)[2], "reminder too many @60000006");
    // Without room it stays, though none is turned away.
    assert_eq!(desk.commit(MINUTE + 7, &[row("a", MINUTE + 7, true)]), [""; 0]);
    let expected = ["resolved a @60000008 cleared"];
    assert_eq!(desk.commit(MINUTE + 8, &[row("a", MINUTE + 8, false)]), expected);
    // What is resolved makes room for what fires.
    assert_eq!(desk.commit(MINUTE + 9, &[row("c", MINUTE + 9, true)]), ["firing c @60000009"]);
    let rows =
        [row("b", MINUTE + 10, false), row("d", MINUTE + 11, true), row("e", MINUTE + 12, true)];
    let expected = ["resolved b @60000010..60000012 cleared", "firing d @60000011..60000012"];
    assert_eq!(desk.commit(MINUTE + 12, &rows), expected);
    desk.state = restored(&desk.state);
    assert_eq!(desk.state.rule("cpu").unwrap().alert(&Group::too_many()).unwrap().value, Some(1.0));
    desk.commit(MINUTE + 13, &[row("c", MINUTE + 13, false), row("d", MINUTE + 13, false)]);
    desk.commit(MINUTE + 14, &[row("f", MINUTE + 14, true)]);
    let shown = desk.commit(MINUTE + 15, &[]);
    assert_eq!(shown, [""; 0], "the first commit with room ended it");
}

#[test]
fn what_resolves_in_a_commit_makes_room_in_the_same() {
    let mut desk = Desk::with_room(rule(json!({})), 1);
    desk.commit(5, &[row("a", 5, true)]);
    // The first finds no room, not even what is resolved; the last finds some.
    let rows = [row("b", 10, true), row("a", 11, false), row("c", 12, true)];
    let expected = ["resolved a @11..12 cleared", "firing c @12", "firing too many @10..12"];
    assert_eq!(desk.commit(12, &rows), expected);
    assert_eq!(desk.state_of("a"), "inactive");
}

#[test]
fn there_is_room_again_with_the_first_commit_that_leaves_some() {
    let mut desk = Desk::with_room(rule(json!({"for": "1us"})), 1);
    let expected = ["pending a @5", "firing too many @5"];
    assert_eq!(desk.commit(5, &[row("a", 5, true), row("b", 5, true)]), expected);
    let expected = ["resolved too many @6 room again"];
    assert_eq!(desk.commit(6, &[row("a", 6, false)]), expected);
    assert_eq!(
        desk.commit(7, &[row("a", 7, true), row("b", 7, true)]),
        ["pending a @7", "firing too many @7"]
    );
    // It ends with the rule.
    assert_eq!(desk.adopt(&[], 8), ["resolved too many @8 rule removed"]);
}

#[test]
fn that_there_are_too_many_is_silenced_and_acknowledged_as_any() {
    let mut desk = Desk::with_room(rule(json!({})), 0);
    desk.silences =
        vec![super::Silence { group: Default::default(), ..silence("night", &["a"], 5, 20) }];
    assert_eq!(
        desk.commit(5, &[row("a", 5, true)]),
        ["firing too many @5", "silenced too many @5"]
    );
    let given =
        super::Acknowledgement { group: Group::too_many(), by: "ann".into(), comment: "ok".into() };
    let events =
        super::acknowledge(&mut desk.state, &desk.rules[0], &desk.silences, &given, 6).unwrap();
    assert_eq!(super::shown(&events), ["acknowledged too many @6"]);
    assert_eq!(desk.next(), Some(20));
    assert_eq!(desk.tick(20), ["unsilenced too many @20"]);
}

#[test]
fn all_rules_of_a_tenant_share_the_room() {
    let mut desk = Desk::with_room(rule(json!({})), 2);
    let other = rule(json!({"name": "mem"}));
    desk.adopt(&[rule(json!({})), other.clone()], 1);
    desk.commit(5, &[row("a", 5, true), row("b", 5, true)]);
    let commit = |version: u64, at: i64| super::Commit {
        version,
        at_us: at,
        rows: vec![row("a", at, true)],
    };
    let take = |desk: &mut Desk, version, at| {
        super::shown(&super::step(&mut desk.state, &other, &[], &[commit(version, at)]).unwrap())
    };
    assert_eq!(take(&mut desk, 2, 6), ["firing too many @6"]);
    // What another rule's alert was is forgotten first.
    desk.commit(7, &[row("b", 7, false)]);
    assert_eq!(take(&mut desk, 3, 8), ["firing a @8"]);
    assert_eq!(desk.state.alerts_held(), 2);
}

#[test]
fn a_rule_of_many_groups_leaves_the_others_their_share() {
    let mut desk = Desk::with_room(rule(json!({})), 8);
    let other = rule(json!({"name": "mem"}));
    desk.adopt(&[rule(json!({})), other.clone()], 1);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let of = |count: usize, at: i64| -> Vec<Sample> {
        names[..count].iter().map(|name| row(name, at, true)).collect()
    };
    // Half of the room is the rules' own, two alerts of each.
    desk.commit(5, &of(9, 5));
    assert_eq!(desk.state.alerts_held(), 6);
    let mut take = |version, at_us, count| {
        let commit = super::Commit { version, at_us, rows: of(count, at_us) };
        super::shown(&super::step(&mut desk.state, &other, &[], &[commit]).unwrap())
    };
    assert_eq!(take(2, 6, 2), ["firing a @6", "firing b @6"]);
    assert_eq!(take(3, 7, 3), ["firing too many @7"]);
    assert_eq!(desk.state.alerts_held(), 8);
}

#[test]
fn a_hundred_thousand_alerts_are_held_and_no_more() {
    let mut desk = Desk::of(rule(json!({"by": ["n"]})));
    let of = |n: i64| Sample { group: vec![Some(n.to_string())], ..row("", 5, true) };
    let rows: Vec<Sample> = (0..100_001).map(of).collect();
    let events = desk.commit_events(5, &rows);
    assert_eq!((events.len(), desk.state.alerts_held()), (100_001, 100_000));
    assert_eq!(events.last().unwrap().group, Group::too_many());
}
