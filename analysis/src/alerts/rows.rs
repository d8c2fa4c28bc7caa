//! What others read: a row for each alert (`alerts`), the events themselves (`alert_events`), and the notices for people (`outbox`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::event::{Event, What, id_of};
use super::group::Group;
use super::rule::{Rule, Severity};
use super::state::{Phase, State};
use super::turn::{shown, summary};

/// Lines of a notice; what is beyond is counted.
const LINES_MAX: usize = 20;

/// A row of the dataset `alerts`. Instants are in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRow {
    /// The rule's name.
    pub rule: String,
    /// Which of its alerts: `host=a, disk=sda`.
    pub group: String,
    /// `pending`, `firing`, `acknowledged` or `resolved`.
    pub state: String,
    /// How much it matters by now.
    pub severity: Severity,
    /// The first row of those on which the condition holds.
    pub since_us: i64,
    /// From when on it fires.
    pub firing_us: Option<i64>,
    /// When it was over.
    pub resolved_us: Option<i64>,
    /// The number of the newest row on which the condition held.
    pub value: Option<f64>,
    /// What is told of it.
    pub summary: String,
    /// The silence that keeps it quiet.
    pub silenced: Option<String>,
    /// Who has it.
    pub acknowledged_by: Option<String>,
    /// Since when.
    pub acknowledged_us: Option<i64>,
    /// What they say.
    pub comment: Option<String>,
    /// The rule's.
    pub labels: BTreeMap<String, String>,
}

/// A row of the dataset `outbox`: what people are told at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// 32 hexadecimal digits; the same for the same events.
    pub id: String,
    /// The rule's name.
    pub rule: String,
    /// The columns that its alerts share, with their values.
    pub group: String,
    /// The highest of its events.
    pub severity: Severity,
    /// When it could be known, in microseconds.
    pub known_us: i64,
    /// A line for each event, at most 20 and then how many there are more.
    pub lines: Vec<String>,
    /// The ids of its events.
    pub events: Vec<String>,
    /// The rule's.
    pub labels: BTreeMap<String, String>,
}

/// The alerts of a state, by rule and group.
pub fn alert_rows(state: &State) -> Vec<AlertRow> {
    let mut rows = Vec::new();
    for own in state.rules.values() {
        let rule = &own.rule;
        for (group, alert) in own.alerts() {
            let firing = alert.firing();
            let acknowledged = firing.and_then(|firing| firing.acknowledged.as_ref());
            let (severity, resolved_us) = match &alert.phase {
                Phase::Resolved { at_us, severity, .. } => (*severity, Some(*at_us)),
                Phase::Firing(firing) => (firing.severity, None),
                Phase::Inactive | Phase::Pending => (rule.severity, None),
            };
            rows.push(AlertRow {
                rule: rule.name.clone(),
                state: alert.state().to_owned(),
                severity,
                since_us: alert.since_us,
                firing_us: firing.map(|firing| firing.at_us),
                resolved_us,
                value: alert.value,
                summary: summary(rule, &group, alert.value),
                silenced: firing.and_then(|firing| firing.silenced.clone()),
                acknowledged_by: acknowledged.map(|it| it.by.clone()),
                acknowledged_us: acknowledged.map(|it| it.at_us),
                comment: acknowledged.map(|it| it.comment.clone()),
                labels: rule.labels.clone(),
                group: group.to_string(),
            });
        }
    }
    rows
}

/// What people are told of some events, in their order. Those of one commit, or of one instant of the clock, that a rule's `group` puts
/// together are one notice. Silenced ones are not told, nor is a reminder of which the same events have a newer one or the end.
///
/// `rules` are those that the events are of; alerts of a rule that is gone are told each by itself.
pub fn notices(rules: &[Rule], events: &[Event]) -> Vec<Notice> {
    let rules: BTreeMap<&str, &Rule> =
        rules.iter().map(|rule| (rule.name.as_str(), rule)).collect();
    let is_told = |event: &&Event| event.what.is_told() && event.silenced.is_none();
    // From the last on, so that of an alert what comes later is known.
    let mut settled: BTreeSet<(&str, &Group)> = BTreeSet::new();
    let mut told: Vec<&Event> = Vec::new();
    for event in events.iter().filter(is_told).rev() {
        let alert = (event.rule.as_str(), &event.group);
        let ends = matches!(event.what, What::Reminder | What::Resolved);
        let is_old = event.what == What::Reminder && settled.contains(&alert);
        if ends {
            settled.insert(alert);
        }
        if !is_old {
            told.push(event);
        }
    }
    let mut places = BTreeMap::new();
    let mut together: Vec<(Group, Vec<&Event>)> = Vec::new();
    for event in told.into_iter().rev() {
        let columns = rules.get(event.rule.as_str()).and_then(|rule| rule.group.as_ref());
        let shared = match columns {
            Some(columns) if event.group != Group::too_many() => event.group.only(columns),
            _ => event.group.clone(),
        };
        let place = (event.rule.as_str(), shared.clone(), event.known_us, event.commit);
        let at = *places.entry(place).or_insert(together.len());
        match together.get_mut(at) {
            Some((_, events)) => events.push(event),
            None => together.push((shared, vec![event])),
        }
    }
    let notice = |(shared, events): (Group, Vec<&Event>)| notice(&rules, &shared, &events);
    together.into_iter().filter_map(notice).collect()
}

/// One notice; none of no events.
fn notice(rules: &BTreeMap<&str, &Rule>, shared: &Group, events: &[&Event]) -> Option<Notice> {
    let first = events.first()?;
    let mut lines: Vec<String> = events.iter().take(LINES_MAX).map(|event| line(event)).collect();
    if events.len() > LINES_MAX {
        lines.push(format!("and {} more", events.len() - LINES_MAX));
    }
    let rule = rules.get(first.rule.as_str());
    Some(Notice {
        id: id_of(events.iter().map(|event| event.id.as_str())),
        rule: first.rule.clone(),
        group: shared.to_string(),
        severity: events.iter().map(|event| event.severity).max().unwrap_or(first.severity),
        known_us: first.known_us,
        lines,
        events: events.iter().map(|event| event.id.clone()).collect(),
        labels: rule.map(|rule| rule.labels.clone()).unwrap_or_default(),
    })
}

/// An event for people.
fn line(event: &Event) -> String {
    let Event { summary, severity, .. } = event;
    let note = |text: &Option<String>| {
        text.as_ref().map(|text| format!(" ({})", shown(text))).unwrap_or_default()
    };
    match event.what {
        What::Firing | What::Pending => format!("{severity}: {summary}"),
        What::Severity => format!("now {severity}: {summary}"),
        What::Reminder => format!("still {severity}: {summary}"),
        What::Unsilenced => format!("no longer silenced, {severity}: {summary}"),
        What::Silenced => format!("silenced: {summary}"),
        What::Resolved => format!("resolved{}: {summary}", note(&event.note)),
        What::Acknowledged => {
            let by = shown(event.by.as_deref().unwrap_or_default());
            format!("acknowledged by {by}{}: {summary}", note(&event.note))
        }
    }
}
