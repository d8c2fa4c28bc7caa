//! What time alone does: `for` and `clear` where the last row stands, `expires`, `freshness`, escalation, reminders, silences that begin
//! and end. Nothing is polled: [`next_deadline`] says when there is something to do.

use super::Result;
use super::event::Event;
use super::group::Key;
use super::rule::Rule;
use super::silence::Silence;
use super::state::{Alert, RuleState, State};
use super::turn::{Name, Pass};

/// Does what time brought up to `now_us`, and with it. Commits up to then come first. Fails, and changes nothing, where a rule is not
/// adopted as it is.
///
/// Cost: a look at each alert. Where many have deadlines close to each other it is cheaper to be a second late: the events are the
/// same.
pub fn tick(
    state: &mut State,
    rules: &[Rule],
    silences: &[Silence],
    now_us: i64,
) -> Result<Vec<Event>> {
    for rule in rules {
        state.require(rule)?;
    }
    let mut events = Vec::new();
    for rule in rules {
        let mut own = state.take(rule)?;
        events.extend(advance(&mut own, silences, now_us));
        state.put(own);
    }
    events.sort_by(|a, b| (a.known_us, &a.rule).cmp(&(b.known_us, &b.rule)));
    Ok(events)
}

/// When [`tick`] next has something to do, in microseconds: a moment that is past, if it was not called then. None where only rows or
/// people bring anything on.
pub fn next_deadline(state: &State, rules: &[Rule], silences: &[Silence]) -> Option<i64> {
    let adopted = rules.iter().filter_map(|rule| state.rules.get(&rule.name));
    adopted.filter_map(|own| next_of(own, silences)).min()
}

fn next_of(own: &RuleState, silences: &[Silence]) -> Option<i64> {
    let pass = Pass::new((&own.rule, own.generation), silences, None);
    let stale = stale(own).map(|(_, due_us)| due_us);
    let alerts =
        own.alerts.iter().filter_map(|(key, alert)| pass.next_due(Name::Group(key), alert));
    let too_many = own.too_many.iter().filter_map(|alert| pass.next_due(Name::TooMany, alert));
    alerts.chain(too_many).chain(stale).min()
}

/// From when on a dataset that has to be fresh is not, and when that is due; none where an alert says so already.
fn stale(own: &RuleState) -> Option<(i64, i64)> {
    let freshness = own.rule.freshness?;
    if own.alerts.get(&Key::default()).is_some_and(|alert| alert.firing().is_some()) {
        return None;
    }
    let at_us = freshness.after(own.newest.at_us);
    Some((at_us, at_us.max(own.newest.known_us)))
}

/// Does what the clock brings to a rule up to `limit_us`, in order of when that is. However often and when it is called in between,
/// the events are the same.
pub(super) fn advance(own: &mut RuleState, silences: &[Silence], limit_us: i64) -> Vec<Event> {
    let stale = stale(own).filter(|(_, due_us)| *due_us <= limit_us);
    let RuleState { rule, generation, alerts, too_many, newest, .. } = own;
    let mut pass = Pass::new((rule, *generation), silences, None);
    if let Some((at_us, due_us)) = stale {
        let key = Key::default();
        let mut alert = Alert::new(newest.at_us, newest.known_us, newest.version);
        pass.fire_by_itself(Name::Group(&key), &mut alert, at_us, due_us);
        alerts.insert(key, alert);
    }
    let mut ended = false;
    for (key, alert) in alerts.iter_mut() {
        pass.until(Name::Group(key), alert, limit_us);
        ended |= alert.is_inactive();
    }
    if ended {
        alerts.retain(|_, alert| !alert.is_inactive());
    }
    if let Some(alert) = too_many {
        pass.until(Name::TooMany, alert, limit_us);
    }
    let mut events = pass.events;
    events.sort_by_key(|event| event.known_us);
    events
}
