//! Made-up days: a rule, silences, commits and what people do, all on whole minutes.

use serde_json::json;

use super::super::{Commit, OneOf, Rule, Sample, Silence};
use super::{Dice, MINUTE, SEVERITIES, rule, silence};

pub const HOSTS: [&str; 3] = ["a", "b", "c"];

/// What happens from outside.
#[derive(Clone, Debug)]
pub enum Action {
    Commit(Commit),
    Acknowledge { host: &'static str, by: &'static str },
    Adopt(Box<Rule>),
}

#[derive(Debug)]
pub struct Scenario {
    pub rule: Rule,
    pub silences: Vec<Silence>,
    pub room: usize,
    /// In order of time, with their minutes.
    pub actions: Vec<(i64, Action)>,
    pub end: i64,
}

/// One of a condition, in which neither rules change nor room is short.
pub fn plain(dice: &mut Dice) -> Scenario {
    let rule = conditional(dice);
    of(dice, rule)
}

/// One of freshness.
pub fn fresh(dice: &mut Dice) -> Scenario {
    let rule = freshness(dice);
    of(dice, rule)
}

/// One of all that there is.
pub fn any(dice: &mut Dice) -> Scenario {
    let mut scenario = match dice.one_in(4) {
        true => fresh(dice),
        false => plain(dice),
    };
    if dice.one_in(3) {
        scenario.room = usize::try_from(dice.below(3)).unwrap();
    }
    // Commits before a change were read under the rule before.
    for _ in 0..dice.below(3) {
        let changed = match dice.one_in(3) {
            true => conditional(dice),
            false => retold(dice, &scenario.rule),
        };
        if changed.by == scenario.rule.by {
            let minute = dice.below(scenario.end);
            scenario.actions.push((minute, Action::Adopt(Box::new(changed))));
        }
    }
    scenario.actions.sort_by_key(|(minute, _)| *minute);
    scenario
}

fn minutes(count: i64) -> String {
    format!("{count}m")
}

fn conditional(dice: &mut Dice) -> Rule {
    let hold = dice.of(&[0, 0, 1, 3, 7]);
    let mut fields = json!({"for": minutes(hold), "stands": dice.one_in(2), "value": "value"});
    if dice.one_in(2) {
        fields["expires"] = json!(minutes(hold.max(1) + dice.below(12)));
        if dice.one_in(2) {
            fields["clear"] = json!("never");
        }
    }
    if fields.get("clear").is_none() {
        fields["clear"] = json!(minutes(dice.of(&[0, 0, 1, 4, 9])));
    }
    if dice.one_in(8) {
        fields["condition"] = json!("value > 95");
    }
    told(dice, &mut fields);
    rule(fields)
}

fn freshness(dice: &mut Dice) -> Rule {
    let span = minutes(1 + dice.below(12));
    let mut fields = json!({"condition": null, "by": null, "freshness": span});
    if dice.one_in(2) {
        fields["time"] = json!("at");
    }
    told(dice, &mut fields);
    rule(fields)
}

/// How it is told, at random.
fn told(dice: &mut Dice, fields: &mut serde_json::Value) {
    let first = usize::try_from(dice.below(3)).unwrap();
    fields["severity"] = json!(SEVERITIES[first]);
    let mut after = 0;
    let mut steps = Vec::new();
    for severity in &SEVERITIES[first + 1..] {
        after += 1 + dice.below(10);
        steps.push(json!({"after": minutes(after), "severity": severity}));
    }
    if dice.one_in(2) {
        fields["escalate"] = json!(steps);
    }
    if dice.one_in(2) {
        fields["repeat"] = json!(minutes(1 + dice.below(12)));
    }
}

/// The same watched, told otherwise.
fn retold(dice: &mut Dice, rule: &Rule) -> Rule {
    let mut fields = json!({});
    told(dice, &mut fields);
    let other = super::rule(fields);
    Rule {
        severity: other.severity,
        escalate: other.escalate,
        repeat: other.repeat,
        ..rule.clone()
    }
}

fn of(dice: &mut Dice, rule: Rule) -> Scenario {
    let end = 40 + dice.below(80);
    let mut actions = Vec::new();
    let (mut minute, mut version) = (0, 0);
    // How often the condition changes, and how late rows come.
    let (steady, lag) = (1 + dice.below(6), 1 + dice.below(9));
    let mut holds = [false; 3];
    loop {
        minute += dice.below(7);
        if minute > end {
            break;
        }
        version += 1 + u64::try_from(dice.below(2)).unwrap();
        let mut rows = Vec::new();
        for _ in 0..dice.below(6) {
            let host = usize::try_from(dice.below(3)).unwrap();
            if dice.one_in(steady) {
                holds[host] = !holds[host];
            }
            let ahead = if dice.one_in(20) { 4 } else { 0 };
            rows.push(Sample {
                group: rule.by.iter().map(|_| Some(HOSTS[host].to_owned())).collect(),
                at_us: (minute - dice.below(lag) + ahead) * MINUTE,
                holds: holds[host],
                value: dice.one_in(2).then(|| f64::from(u8::try_from(dice.below(100)).unwrap())),
            });
        }
        let commit = Commit { version, at_us: minute * MINUTE, rows };
        actions.push((minute, Action::Commit(commit)));
    }
    for _ in 0..dice.below(5) {
        let (host, by) = (dice.of(&HOSTS), dice.of(&["ann", "bob"]));
        actions.push((dice.below(end), Action::Acknowledge { host, by }));
    }
    actions.sort_by_key(|(minute, _)| *minute);
    let mut silences = Vec::new();
    for number in 0..dice.below(4) {
        let from = dice.below(end) - 5;
        let until = from + 1 + dice.below(25);
        let made = dice.below(end) - 20;
        let name = format!("s{number}");
        let hosts: Vec<&str> = HOSTS.iter().copied().filter(|_| dice.one_in(2)).collect();
        let base = silence(&name, &hosts, from * MINUTE, until * MINUTE);
        let group = match hosts.is_empty() || rule.by.is_empty() {
            true => Default::default(),
            false => std::collections::BTreeMap::from([(
                "host".to_owned(),
                OneOf::Of(hosts.iter().map(|host| (*host).to_owned()).collect()),
            )]),
        };
        let created_at = chrono::DateTime::from_timestamp_micros(made * MINUTE).unwrap();
        silences.push(Silence { group, created_at, ..base });
    }
    Scenario { rule, silences, room: super::super::ALERTS_MAX, actions, end }
}
