//! The rows of commits, each with what the rule says of it, in order of versions and then of time.
//!
//! A commit is read as if it had just come: what the clock brought before it is done first. So it makes no difference whether one
//! stood by or reads ten versions at once.

use std::collections::BTreeSet;

use super::event::Event;
use super::group::Key;
use super::rule::Rule;
use super::silence::Silence;
use super::state::{Alert, Newest, REMEMBERED_US, RuleState, State};
use super::tick::advance;
use super::turn::{Name, Pass, Reading, Voice};
use super::{AlertError, Result};

/// A row that a rule looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The values of the rule's `by`, in its order; none for null.
    pub group: Vec<Option<String>>,
    /// Its instant in microseconds: of the rule's `time`, or of the commit where it has none.
    pub at_us: i64,
    /// Whether the condition is true of it; null is not.
    pub holds: bool,
    /// The rule's `value` of it.
    pub value: Option<f64>,
}

/// What one version of a dataset brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The version.
    pub version: u64,
    /// When it was committed, in microseconds: not when it is read.
    pub at_us: i64,
    /// The rows that the rule's `where` lets through, in any order.
    pub rows: Vec<Sample>,
}

/// Reads commits of a rule's dataset, one or several; those that were read already are left out. Commits without a row that the rule
/// looks at belong to it: the mark moves on, and a dataset is fresh.
///
/// Fails, and changes nothing, where the rule is not adopted as it is, where a row has not as many values as `by` has columns, and
/// where two commits are of one version.
///
/// Cost: a sort of each commit's rows, and a look at each alert of the rule for each commit.
pub fn step(
    state: &mut State,
    rule: &Rule,
    silences: &[Silence],
    commits: &[Commit],
) -> Result<Vec<Event>> {
    let mut order: Vec<&Commit> = commits.iter().collect();
    order.sort_by_key(|commit| commit.version);
    let what = format!("alert {}", rule.name);
    for commit in &order {
        let columns = rule.by.len();
        if let Some(row) = commit.rows.iter().find(|row| row.group.len() != columns) {
            let (found, version) = (row.group.len(), commit.version);
            let says = format!(
                "expected rows of {columns} values, found one of {found} in version {version}"
            );
            return Err(AlertError::refused(what, "by", says));
        }
    }
    let mut pairs = order.iter().zip(order.iter().skip(1));
    if let Some((twice, _)) = pairs.find(|(one, other)| one.version == other.version) {
        let says = format!("expected each version once, found {} twice", twice.version);
        return Err(AlertError::refused(what, "dataset", says));
    }
    let mut own = state.take(rule)?;
    let mut events = Vec::new();
    for commit in order {
        if own.mark.is_some_and(|mark| commit.version <= mark) {
            continue;
        }
        let made_us = commit.at_us;
        let commit = &as_known(commit, own.began_us);
        let before_us = commit.at_us.saturating_sub(1);
        events.extend(advance(&mut own, silences, before_us));
        own.forget(commit.at_us.saturating_sub(REMEMBERED_US));
        events.extend(match rule.freshness {
            Some(_) => refresh(&mut own, silences, commit, made_us),
            None => hear(state, &mut own, silences, commit),
        });
        own.mark = Some(commit.version);
    }
    state.put(own);
    Ok(events)
}

/// How far the clocks of those that send rows may be ahead.
const AHEAD_US: i64 = 600_000_000;

/// A commit as a rule may know it: not before it began. A row of a time far ahead counts as one of now, or nothing that comes before then
/// would count.
fn as_known(commit: &Commit, began_us: i64) -> Commit {
    let at_us = commit.at_us.max(began_us);
    let mut rows = commit.rows.clone();
    let is_ahead = |row: &&mut Sample| row.at_us > at_us.saturating_add(AHEAD_US);
    rows.iter_mut().filter(is_ahead).for_each(|row| row.at_us = at_us);
    Commit { version: commit.version, at_us, rows }
}

/// Gives the rows of a commit to the alerts of their groups.
fn hear(
    state: &mut State,
    own: &mut RuleState,
    silences: &[Silence],
    commit: &Commit,
) -> Vec<Event> {
    let RuleState { rule, generation, alerts, late, too_many, .. } = own;
    let reading = Reading { version: commit.version, known_us: commit.at_us };
    let mut pass = Pass::new((rule, *generation), silences, Some(reading));
    let mut others = Others::of(state);
    let mut turned_away: Option<(i64, BTreeSet<Key>)> = None;
    // After how many resolved alerts room was last made.
    let mut swept = None;
    for voice in voices(rule, &commit.rows) {
        let key = Key::of(voice.values);
        if let Some(alert) = alerts.get_mut(&key) {
            if voice.at_us < alert.newest_us {
                *late += voice.rows;
                continue;
            }
            pass.hear(Name::Group(&key), alert, &voice, reading);
            if alert.is_inactive() {
                alerts.remove(&key);
            }
            continue;
        }
        if !voice.holds {
            continue;
        }
        if !others.leave_room(alerts.len()) && swept != Some(pass.resolved) {
            swept = Some(pass.resolved);
            alerts.retain(|_, alert| !alert.is_resolved());
            state.rules.values_mut().for_each(|other| other.forget(i64::MAX));
            others = Others::of(state);
        }
        if !others.leave_room(alerts.len()) {
            let (_, groups) = turned_away.get_or_insert_with(|| (voice.at_us, BTreeSet::default()));
            groups.insert(key);
            continue;
        }
        let mut alert = Alert::new(voice.at_us, commit.at_us, Some(commit.version));
        pass.hear(Name::Group(&key), &mut alert, &voice, reading);
        alerts.insert(key, alert);
    }
    let has_room = others.leave_room(alerts.len());
    match (turned_away, too_many) {
        (Some((at_us, groups)), too_many) => {
            let firing = too_many.take().filter(|alert| alert.firing().is_some());
            let is_new = firing.is_none();
            let alert = too_many.insert(
                firing.unwrap_or_else(|| Alert::new(at_us, commit.at_us, Some(commit.version))),
            );
            alert.value = Some(groups.len() as f64);
            if is_new {
                pass.fire_by_itself(Name::TooMany, alert, at_us, commit.at_us);
            }
        }
        (None, Some(alert)) if alert.firing().is_some() && has_room => {
            let at_us = commit.at_us;
            alert.version = Some(commit.version);
            pass.end_by_itself(Name::TooMany, alert, at_us, at_us, "room again");
        }
        (None, _) => {}
    }
    pass.events
}

/// What the other rules need of the room: half of it is divided among all of them, so that one with many groups takes it from none.
#[derive(Clone, Copy)]
struct Others {
    room: usize,
    /// What is each rule's.
    own: usize,
    /// What the others hold, and what is theirs, held or not.
    held: usize,
    theirs: usize,
}

impl Others {
    /// Those that are in `state` while one is taken out of it.
    fn of(state: &State) -> Self {
        let own = state.room / (2 * (state.rules.len() + 1));
        let held = state.rules.values().map(|other| other.alerts.len());
        let theirs = held.clone().map(|held| held.max(own)).sum();
        Self { room: state.room, own, held: held.sum(), theirs }
    }

    /// Whether there is room for one alert beside `alerts` of the rule.
    fn leave_room(&self, alerts: usize) -> bool {
        let is_free = self.theirs + alerts < self.room;
        self.held + alerts < self.room && (alerts < self.own || is_free)
    }
}

/// What the rows say, in order of time; those of one instant and group speak with one voice. It holds where it holds on all of them,
/// since `for` asks for every row; without `for`, where it holds on one.
fn voices<'a>(rule: &Rule, rows: &'a [Sample]) -> Vec<Voice<'a>> {
    let mut order: Vec<&Sample> = rows.iter().collect();
    order.sort_by(|a, b| (a.at_us, &a.group).cmp(&(b.at_us, &b.group)));
    let is_one_enough = rule.hold == super::Span::ZERO;
    let same = |a: &&Sample, b: &&Sample| a.at_us == b.at_us && a.group == b.group;
    let mut voices = Vec::new();
    for rows in order.chunk_by(same) {
        let Some(first) = rows.first() else { continue };
        let holds = match is_one_enough {
            true => rows.iter().any(|row| row.holds),
            false => rows.iter().all(|row| row.holds),
        };
        // Of several the greatest; what is no number counts as none.
        let numbers = rows.iter().filter(|row| row.holds == holds).filter_map(|row| row.value);
        let value = numbers.filter(|value| value.is_finite()).max_by(f64::total_cmp);
        let (at_us, values) = (first.at_us, first.group.as_slice());
        voices.push(Voice { at_us, values, holds, value, rows: rows.len() as u64 });
    }
    voices
}

/// Takes a commit as news of a dataset that has to be fresh.
fn refresh(own: &mut RuleState, silences: &[Silence], commit: &Commit, made_us: i64) -> Vec<Event> {
    let RuleState { rule, generation, newest, alerts, .. } = own;
    let reading = Reading { version: commit.version, known_us: commit.at_us };
    let news = match rule.time {
        Some(_) => commit.rows.iter().map(|row| row.at_us).max(),
        None => Some(made_us),
    };
    let mut pass = Pass::new((rule, *generation), silences, Some(reading));
    // What was there when the rule began counts, too, however old it is; before, the rule began with it.
    let is_first = newest.version.is_none();
    let Some(at_us) = news.filter(|at| is_first || *at > newest.at_us) else { return pass.events };
    *newest = Newest { at_us, known_us: commit.at_us, version: Some(commit.version) };
    let is_fresh = rule.freshness.is_some_and(|span| span.after(at_us) > commit.at_us);
    let key = Key::default();
    if let Some(alert) = alerts.get_mut(&key).filter(|alert| alert.firing().is_some() && is_fresh) {
        (alert.newest_us, alert.known_us) = (at_us, commit.at_us);
        alert.version = Some(commit.version);
        pass.end_by_itself(Name::Group(&key), alert, at_us, commit.at_us, "fresh again");
    }
    pass.events
}
