#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod cuts;
mod groups;
mod people;
mod reference;
mod rows;
mod rules;
mod scenario;
mod silences;
mod states;
mod times;

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::{Value, json};

use super::{
    Acknowledgement, Commit, Event, Group, OneOf, Rule, Sample, Severity, Silence, State,
    acknowledge, adopt, next_deadline, read_rules, step, tick,
};

/// Microseconds of a minute: the unit in which the tests count.
const MINUTE: i64 = 60_000_000;

/// The rule `cpu` of `metrics`, with these fields besides.
fn rule(fields: Value) -> Rule {
    read(fields).unwrap()
}

fn read(fields: Value) -> super::Result<Rule> {
    let mut table =
        json!({"name": "cpu", "dataset": "metrics", "condition": "value > 90", "by": ["host"]});
    for (name, value) in fields.as_object().unwrap() {
        match value {
            Value::Null => drop(table.as_object_mut().unwrap().remove(name)),
            value => table[name] = value.clone(),
        }
    }
    read_rules(&json!({ "alert": [table] })).map(|mut rules| rules.remove(0))
}

/// A row of a host.
fn row(host: &str, at_us: i64, holds: bool) -> Sample {
    Sample { group: vec![Some(host.to_owned())], at_us, holds, value: None }
}

/// The text of a group of one host.
fn host(name: &str) -> Group {
    format!("host={name}").parse().unwrap()
}

/// What is watched, and all that happened.
struct Desk {
    state: State,
    rules: Vec<Rule>,
    silences: Vec<Silence>,
    version: u64,
}

impl Desk {
    fn of(rule: Rule) -> Self {
        Self::with_room(rule, super::ALERTS_MAX)
    }

    fn with_room(rule: Rule, room: usize) -> Self {
        let mut state = State::with_room(room);
        let rules = vec![rule];
        assert_eq!(adopt(&mut state, &rules, &[], &BTreeMap::new(), 0).unwrap(), []);
        Self { state, rules, silences: Vec::new(), version: 0 }
    }

    /// The rows of the next version.
    fn commit(&mut self, at_us: i64, rows: &[Sample]) -> Vec<String> {
        shown(&self.commit_events(at_us, rows))
    }

    fn commit_events(&mut self, at_us: i64, rows: &[Sample]) -> Vec<Event> {
        self.version += 1;
        let commit = Commit { version: self.version, at_us, rows: rows.to_vec() };
        step(&mut self.state, &self.rules[0], &self.silences, &[commit]).unwrap()
    }

    /// Rows of host `a`, each of which is committed when it happens.
    fn live(&mut self, rows: &[(i64, bool)]) -> Vec<String> {
        let each = rows.iter().map(|(at, holds)| self.commit(*at, &[row("a", *at, *holds)]));
        each.collect::<Vec<_>>().concat()
    }

    fn tick(&mut self, now_us: i64) -> Vec<String> {
        shown(&self.tick_events(now_us))
    }

    fn tick_events(&mut self, now_us: i64) -> Vec<Event> {
        tick(&mut self.state, &self.rules, &self.silences, now_us).unwrap()
    }

    fn next(&self) -> Option<i64> {
        next_deadline(&self.state, &self.rules, &self.silences)
    }

    fn adopt(&mut self, rules: &[Rule], now_us: i64) -> Vec<String> {
        let marks = BTreeMap::from([("metrics".to_owned(), self.version)]);
        self.rules = rules.to_vec();
        shown(&adopt(&mut self.state, rules, &self.silences, &marks, now_us).unwrap())
    }

    fn acknowledge(&mut self, host: &str, by: &str, now_us: i64) -> super::Result<Vec<String>> {
        let given = Acknowledgement {
            group: format!("host={host}").parse().unwrap(),
            by: by.into(),
            comment: String::new(),
        };
        acknowledge(&mut self.state, &self.rules[0], &self.silences, &given, now_us)
            .map(|events| shown(&events))
    }

    fn state_of(&self, host_name: &str) -> &'static str {
        let own = self.state.rule(&self.rules[0].name).unwrap();
        own.alert(&host(host_name)).map_or("inactive", |alert| alert.state())
    }
}

/// Events as `firing host=a @5`, with when it could be known where that is another instant.
fn shown(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| {
        let group = match event.group == Group::too_many() {
            true => "too many".to_owned(),
            false => event.group.value("host").unwrap_or("-").to_owned(),
        };
        let mut text = format!("{} {group} @{}", event.what.as_str(), event.at_us);
        if event.known_us != event.at_us {
            text += &format!("..{}", event.known_us);
        }
        if event.what == super::What::Severity {
            text += &format!(" {}", event.severity);
        }
        if let (super::What::Resolved, Some(note)) = (event.what, &event.note) {
            text += &format!(" {note}");
        }
        text
    };
    events.iter().map(text).collect()
}

fn silence(name: &str, hosts: &[&str], from_us: i64, until_us: i64) -> Silence {
    let at = |us| DateTime::from_timestamp_micros(us).unwrap();
    let hosts = OneOf::Of(hosts.iter().map(|host| (*host).to_owned()).collect());
    Silence {
        name: name.into(),
        rules: vec!["cpu".into()],
        group: BTreeMap::from([("host".to_owned(), hosts)]),
        from: at(from_us),
        until: at(until_us),
        reason: "moving".into(),
        by: "ann".into(),
        created_at: at(i64::from(i32::MIN)),
    }
}

/// Numbers that look random, from a seed (SplitMix64, Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((z ^ (z >> 31)) >> 1).unwrap() % end
    }

    fn one_in(&mut self, of: i64) -> bool {
        self.below(of) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(i64::try_from(all.len()).unwrap())).unwrap()].clone()
    }
}

/// The state as it is after it was saved and read.
fn restored(state: &State) -> State {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// Severities by their order.
const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];
