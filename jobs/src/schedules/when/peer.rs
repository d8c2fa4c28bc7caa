//! The ticks of another program against ours: `when_peer.py` writes, for each line and zone, what
//! croniter gives and what the rules give when counted on Python's `zoneinfo`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Cron;

const FILE: &str = "COLONNADE_TICKS";

#[test]
#[ignore = "needs the output of when_peer.py, its path in COLONNADE_TICKS"]
fn ticks_are_those_of_python() {
    let path = std::env::var(FILE).unwrap_or_else(|_| panic!("{FILE}: expected a path"));
    let text = std::fs::read_to_string(path).unwrap();
    let (mut cases, mut ticks, mut wrong) = (0, 0, Vec::new());
    for case in text.lines() {
        let case: Value = serde_json::from_str(case).unwrap();
        let word = |key: &str| case[key].as_str().unwrap();
        let instant = |key: &str| word(key).parse::<DateTime<Utc>>().unwrap();
        let cron = Cron::new(word("line"), word("zone")).unwrap();
        let found = cron.between(instant("after"), instant("until"), 10_000_000);
        let ours: BTreeSet<i64> = found.iter().map(|tick| tick.due.timestamp()).collect();
        assert_eq!(ours.len(), found.len());
        cases += 1;
        ticks += ours.len();
        let theirs = |key: &str| -> Option<BTreeSet<i64>> {
            Some(case[key].as_array()?.iter().map(|at| at.as_i64().unwrap()).collect())
        };
        let differ = |theirs: &BTreeSet<i64>, who: &str| {
            let shown = |at: &i64| {
                let at = DateTime::from_timestamp(*at, 0).unwrap().with_timezone(&cron.zone);
                at.format("%Y-%m-%dT%H:%M%:z").to_string()
            };
            let ours_only: Vec<String> = ours.difference(theirs).map(shown).collect();
            let theirs_only: Vec<String> = theirs.difference(&ours).map(shown).collect();
            if ours_only.is_empty() && theirs_only.is_empty() {
                return false;
            }
            println!("{who}: {cron}\n  only ours:  {ours_only:?}\n  only theirs: {theirs_only:?}");
            true
        };
        // Told, not judged: croniter follows other rules at clock changes.
        if let Some(croniter) = theirs("croniter") {
            differ(&croniter, "croniter");
        }
        if differ(&theirs("rules").unwrap(), "rules") {
            wrong.push(cron.to_string());
        }
    }
    println!("{cases} cases, {ticks} ticks");
    assert!(wrong.is_empty(), "differ from the rules: {wrong:?}");
}
