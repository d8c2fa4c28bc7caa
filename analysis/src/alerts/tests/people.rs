//! What people do with an alert.

use serde_json::json;

use super::super::{Acknowledgement, acknowledge};
use super::{Desk, MINUTE, host, row, rule};

fn escalating() -> Desk {
    let steps = json!([{"after": "2m", "severity": "critical"}]);
    Desk::of(rule(json!({"repeat": "1m", "escalate": steps})))
}

#[test]
fn who_has_an_alert_is_not_told_again_until_it_comes_again() {
    let mut desk = escalating();
    assert_eq!(desk.live(&[(0, true)]), ["firing a @0"]);
    // What the clock brought before comes first.
    let expected = ["reminder a @60000000", "acknowledged a @60000001"];
    assert_eq!(desk.acknowledge("a", "ann", MINUTE + 1).unwrap(), expected);
    assert_eq!(desk.state_of("a"), "acknowledged");
    assert_eq!((desk.next(), desk.tick(9 * MINUTE)), (None, vec![]));
    // It ends with the alert.
    let rows = [(10 * MINUTE, false), (11 * MINUTE, true)];
    assert_eq!(desk.live(&rows), ["resolved a @600000000 cleared", "firing a @660000000"]);
    assert_eq!(desk.state_of("a"), "firing");
    assert_eq!(desk.next(), Some(12 * MINUTE));
}

#[test]
fn who_takes_an_alert_at_the_instant_of_a_step_is_in_time() {
    let mut desk = escalating();
    desk.live(&[(0, true)]);
    assert_eq!(desk.tick(MINUTE), ["reminder a @60000000"]);
    assert_eq!(desk.acknowledge("a", "ann", 2 * MINUTE).unwrap(), ["acknowledged a @120000000"]);
    assert_eq!(desk.tick(3 * MINUTE), [""; 0]);
    let mut desk = escalating();
    desk.live(&[(0, true)]);
    let events = desk.acknowledge("a", "ann", 2 * MINUTE + 1).unwrap();
    let expected =
        ["severity a @120000000 critical", "reminder a @120000000", "acknowledged a @120000001"];
    assert_eq!(events[1..], expected);
}

#[test]
fn the_same_twice_changes_nothing_and_another_takes_over() {
    let mut desk = Desk::of(rule(json!({})));
    desk.live(&[(5, true)]);
    assert_eq!(desk.acknowledge("a", "ann", 6).unwrap(), ["acknowledged a @6"]);
    assert_eq!(desk.acknowledge("a", "ann", 7).unwrap(), [""; 0]);
    assert_eq!(desk.acknowledge("a", "bob", 8).unwrap(), ["acknowledged a @8"]);
    let own = desk.state.rule("cpu").unwrap();
    let it = own.alert(&host("a")).unwrap().firing().unwrap().acknowledged.clone().unwrap();
    assert_eq!((it.by.as_str(), it.at_us), ("bob", 8));
}

#[test]
fn only_what_fires_is_acknowledged() {
    let mut desk = Desk::of(rule(json!({"for": "2us", "stands": true})));
    let fails =
        |desk: &mut Desk, host: &str| desk.acknowledge(host, "ann", 9).unwrap_err().to_string();
    let says =
        |found: &str| format!("alert cpu of \"host=a\": expected one that fires, found it {found}");
    assert_eq!(fails(&mut desk, "a"), says("inactive"));
    desk.commit(9, &[row("a", 9, true)]);
    let before = desk.state.clone();
    assert_eq!(fails(&mut desk, "a"), says("pending"));
    assert_eq!(desk.state, before);
    desk.live(&[(11, true), (12, false)]);
    assert_eq!(fails(&mut desk, "a"), says("resolved"));
    assert_eq!(
        fails(&mut desk, " "),
        "alert cpu of \"host=\\\" \\\"\": expected one that fires, found it inactive"
    );
    // What would be brought by the clock is not lost with the failure.
    desk.commit(20, &[row("b", 20, true)]);
    assert!(desk.acknowledge("a", "ann", 30).is_err());
    assert_eq!(desk.tick(30), ["firing b @22"]);
}

#[test]
fn who_acknowledges_has_a_name_and_a_short_comment() {
    let mut desk = Desk::of(rule(json!({})));
    desk.live(&[(5, true)]);
    let mut fail = |by: &str, comment: String| {
        let given = Acknowledgement { group: host("a"), by: by.into(), comment };
        acknowledge(&mut desk.state, &desk.rules[0], &[], &given, 6).unwrap_err().to_string()
    };
    assert_eq!(fail(" ", String::new()), "alert cpu: by: expected who acknowledges, found nobody");
    let long = "x".repeat(1_025);
    assert_eq!(fail("ann", long), "alert cpu: comment: expected at most 1024 bytes, found 1025");
    // A group of other columns is none of the rule's.
    let given = Acknowledgement {
        group: "disk=a".parse().unwrap(),
        by: "ann".into(),
        comment: String::new(),
    };
    assert!(acknowledge(&mut desk.state, &desk.rules[0], &[], &given, 6).is_err());
}
