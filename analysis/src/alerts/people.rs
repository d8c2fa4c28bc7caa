//! What people do: they take an alert, and they change rules.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Change, Event, What};
use super::group::Group;
use super::rule::Rule;
use super::silence::Silence;
use super::span::Span;
use super::state::{Acknowledged, Alert, RuleState, State};
use super::tick::advance;
use super::turn::{Name, Pass};
use super::{AlertError, Result, cut};

/// Longest comment, in bytes.
const COMMENT_MAX_BYTES: usize = 1_024;

/// Somebody takes an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Which of the rule's alerts.
    pub group: Group,
    /// Who.
    pub by: String,
    /// What they say; may be empty.
    pub comment: String,
}

/// Notes that somebody has an alert that fires: until it resolves it neither escalates nor is it told again. Who does the same twice
/// changes nothing; another person takes over. What the clock brought before is done first.
///
/// Fails where no such alert fires.
pub fn acknowledge(
    state: &mut State,
    rule: &Rule,
    silences: &[Silence],
    given: &Acknowledgement,
    now_us: i64,
) -> Result<Vec<Event>> {
    state.require(rule)?;
    let bad = |field: &str, says: String| {
        Err(AlertError::refused(format_args!("alert {}", rule.name), field, says))
    };
    if given.by.trim().is_empty() {
        return bad("by", "expected who acknowledges, found nobody".to_owned());
    }
    if given.comment.len() > COMMENT_MAX_BYTES {
        let found = given.comment.len();
        return bad(
            "comment",
            format!("expected at most {COMMENT_MAX_BYTES} bytes, found {found}"),
        );
    }
    let before = state.take(rule)?;
    let mut own = before.clone();
    let mut events = advance(&mut own, silences, now_us.saturating_sub(1));
    let key = given.group.key();
    let name = match given.group == Group::too_many() {
        true => Name::TooMany,
        false => Name::Group(&key),
    };
    match own.alert_mut(&given.group) {
        Some(alert) if alert.firing().is_some() => {
            let mut pass = Pass::new((rule, before.generation), silences, None);
            take_over(&mut pass, name, alert, given, now_us);
            events.extend(pass.events);
            state.put(own);
            Ok(events)
        }
        other => {
            let found = other.map_or("inactive", |alert| alert.state());
            let group = cut(&given.group.to_string());
            state.put(before);
            Err(AlertError::NotFound {
                says: format!(
                    "alert {} of {group:?}: expected one that fires, found it {found}",
                    rule.name
                ),
            })
        }
    }
}

fn take_over(
    pass: &mut Pass<'_>,
    name: Name<'_>,
    alert: &mut Alert,
    given: &Acknowledgement,
    now_us: i64,
) {
    let (by, comment) = (given.by.clone(), given.comment.clone());
    let is_same = |there: &Acknowledged| there.by == by && there.comment == comment;
    let there = alert.firing().and_then(|firing| firing.acknowledged.as_ref());
    if there.is_some_and(is_same) {
        return;
    }
    pass.settle_until(name, alert, now_us);
    let event = pass.event(name, alert, What::Acknowledged, now_us, now_us);
    let note = (!comment.is_empty()).then(|| comment.clone());
    pass.push(alert, Event { by: Some(by.clone()), note, ..event });
    if let Some(firing) = alert.firing_mut() {
        firing.acknowledged = Some(Acknowledged { by, comment, at_us: now_us });
    }
}

/// Takes over the rules as they are now. What is known of a rule goes on where it watches the same as before: then what was pending or
/// fires stays so, and the new times count, from now at the earliest. A rule that watches something else begins anew, and so does one
/// that is new: both read the commits after the version that `marks` has of their dataset, or all of them where it has none. What
/// fires of rules that changed so, or are gone, is resolved.
///
/// Fails, and changes nothing, where a rule is wrong or two have one name.
pub fn adopt(
    state: &mut State,
    rules: &[Rule],
    silences: &[Silence],
    marks: &BTreeMap<String, u64>,
    now_us: i64,
) -> Result<Vec<Event>> {
    let mut names = BTreeSet::new();
    for rule in rules {
        rule.check()?;
        if !names.insert(&rule.name) {
            let what = format!("alert {}", rule.name);
            let says = "expected a name that no other rule has, found it twice";
            return Err(AlertError::refused(what, "name", says));
        }
    }
    let mut events = Vec::new();
    let given: BTreeMap<&str, &Rule> =
        rules.iter().map(|rule| (rule.name.as_str(), rule)).collect();
    if !given.values().copied().eq(state.rules()) {
        state.generation = state.generation.saturating_add(1);
    }
    let change = Change { generation: state.generation, at_us: now_us };
    for mut own in std::mem::take(&mut state.rules).into_values() {
        let rule = given.get(own.rule.name.as_str());
        if rule.is_some_and(|rule| own.rule == **rule) {
            state.put(own);
            continue;
        }
        events.extend(advance(&mut own, silences, now_us.saturating_sub(1)));
        match rule {
            Some(rule) if rule.watches_as(&own.rule) => {
                events.extend(carry_on(&mut own, rule, silences, change));
                state.put(own);
            }
            Some(_) => events.extend(end_all(&mut own, silences, change, "rule changed")),
            None => events.extend(end_all(&mut own, silences, change, "rule removed")),
        }
    }
    for rule in rules {
        if !state.rules.contains_key(&rule.name) {
            let mark = marks.get(&rule.dataset).copied();
            state.put(RuleState::new(rule.clone(), mark, change.generation, now_us));
        }
    }
    events.sort_by_key(|event| event.known_us);
    Ok(events)
}

/// Lets the alerts of a rule go on under a new one that watches the same.
fn carry_on(own: &mut RuleState, rule: &Rule, silences: &[Silence], change: Change) -> Vec<Event> {
    let now_us = change.at_us;
    let before = std::mem::replace(&mut own.rule, rule.clone());
    let mut pass = Pass::new((rule, own.generation), silences, None).because_of(change);
    let RuleState { alerts, too_many, newest, .. } = own;
    // What a new time would have brought earlier comes now.
    newest.known_us = newest.known_us.max(now_us);
    let named = alerts.iter_mut().map(|(key, alert)| (Name::Group(key), alert));
    for (name, alert) in named.chain(too_many.iter_mut().map(|alert| (Name::TooMany, alert))) {
        alert.known_us = alert.known_us.max(now_us);
        pass.settle_until(name, alert, now_us);
        let Some(firing) = alert.firing_mut() else { continue };
        if rule.repeat != before.repeat {
            firing.told_us = firing.told_us.max(now_us);
        }
        if firing.acknowledged.is_none() {
            // A clock that was ahead may have taken steps already.
            let (known_us, taken) = (firing.known_us, firing.escalated.unwrap_or_default());
            let passed = |after: Span| after.after(known_us) <= now_us || after <= taken;
            let steps = rule.escalate.iter().map(|step| step.after);
            firing.escalated = steps.take_while(|after| passed(*after)).last();
        }
        let severity = rule.severity_at(firing.escalated);
        if std::mem::replace(&mut firing.severity, severity) != severity {
            pass.tell(name, alert, What::Severity, now_us, now_us);
        }
    }
    pass.events
}

/// Ends what fires of a rule that is no more.
fn end_all(own: &mut RuleState, silences: &[Silence], change: Change, why: &str) -> Vec<Event> {
    let now_us = change.at_us;
    let RuleState { rule, generation, alerts, too_many, .. } = own;
    let mut pass = Pass::new((rule, *generation), silences, None).because_of(change);
    let named = alerts.iter_mut().map(|(key, alert)| (Name::Group(key), alert));
    for (name, alert) in named.chain(too_many.iter_mut().map(|alert| (Name::TooMany, alert))) {
        pass.end_by_itself(name, alert, now_us, now_us, why);
    }
    pass.events
}
