//! One alert through its states. What brings it on is a row (`hear`), or that time has passed (`until`); both come down to the same
//! turns, each of which leaves its events.

use super::event::{Change, Event, What};
use super::group::{Group, Key};
use super::rule::{Clear, Escalation, Rule};
use super::silence::{Matching, Silence};
use super::span::Span;
use super::state::{Alert, Firing, Phase};
use super::template;

/// Which alert of a rule.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    Group(&'a Key),
    TooMany,
}

/// What the rows of one instant say of a group.
pub(super) struct Voice<'a> {
    pub(super) at_us: i64,
    pub(super) values: &'a [Option<String>],
    pub(super) holds: bool,
    pub(super) value: Option<f64>,
    /// How many rows it is of.
    pub(super) rows: u64,
}

/// The commit whose rows are read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) version: u64,
    pub(super) known_us: i64,
}

/// What an alert does when nothing else comes before.
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    /// A silence begins or ends.
    Quiet,
    Fire,
    Clear,
    Expire,
    Escalate(Escalation),
    Remind,
}

/// A turn and its instants.
struct Due {
    /// When the clock brings it.
    due_us: i64,
    /// Its instant: in the rows' own time for what rows decide.
    at_us: i64,
    turn: Turn,
}

impl Due {
    /// What comes first of what is due at once: the silence, so that the rest knows of it; then what the rows say, in their order.
    fn place(&self) -> (i64, u8, i64) {
        let class = match self.turn {
            Turn::Quiet => 0,
            Turn::Fire | Turn::Clear | Turn::Expire => 1,
            Turn::Escalate(_) => 2,
            Turn::Remind => 3,
        };
        (self.due_us, class, self.at_us)
    }
}

/// A way through the alerts of one rule.
pub(super) struct Pass<'a> {
    rule: &'a Rule,
    generation: u64,
    change: Option<Change>,
    silences: Vec<&'a Silence>,
    reading: Option<Reading>,
    pub(super) events: Vec<Event>,
    /// How many alerts it has resolved.
    pub(super) resolved: usize,
}

impl<'a> Pass<'a> {
    /// A pass for a rule that was added in `generation`.
    pub(super) fn new(
        (rule, generation): (&'a Rule, u64),
        silences: &'a [Silence],
        reading: Option<Reading>,
    ) -> Self {
        let silences = silences.iter().filter(|silence| silence.is_of(&rule.name)).collect();
        let events = Vec::new();
        Self { rule, generation, change: None, silences, reading, events, resolved: 0 }
    }

    /// A pass that a change of the rule causes.
    pub(super) fn because_of(self, change: Change) -> Self {
        Self { change: Some(change), ..self }
    }

    fn group(&self, name: Name<'_>) -> Group {
        match name {
            Name::Group(key) => Group::of(&self.rule.by, key),
            Name::TooMany => Group::too_many(),
        }
    }

    fn matching(&self, name: Name<'_>) -> Matching<'a> {
        match self.silences.is_empty() {
            true => Matching::default(),
            false => Matching::new(&self.silences, &self.group(name)),
        }
    }

    /// When the clock next brings something.
    pub(super) fn next_due(&self, name: Name<'_>, alert: &Alert) -> Option<i64> {
        next(self.rule, alert, &self.matching(name)).map(|due| due.due_us)
    }

    /// Does what the clock brings up to `limit_us`.
    pub(super) fn until(&mut self, name: Name<'_>, alert: &mut Alert, limit_us: i64) {
        let matching = self.matching(name);
        while let Some(due) = next(self.rule, alert, &matching) {
            if due.due_us > limit_us {
                return;
            }
            self.take(name, alert, &matching, &due, due.due_us);
        }
    }

    /// Takes what the rows of one instant say.
    pub(super) fn hear(
        &mut self,
        name: Name<'_>,
        alert: &mut Alert,
        voice: &Voice<'_>,
        reading: Reading,
    ) {
        let matching = self.matching(name);
        // Up to there the last row was the newest. What falls on the same instant is for this one to say.
        while let Some(due) = next_of_rows(self.rule, alert) {
            if due.at_us >= voice.at_us {
                break;
            }
            self.take(name, alert, &matching, &due, reading.known_us);
        }
        (alert.newest_us, alert.known_us) = (voice.at_us, reading.known_us);
        alert.version = Some(reading.version);
        if voice.holds {
            (alert.held_us, alert.value) = (Some(voice.at_us), voice.value);
        }
        match (&mut alert.phase, voice.holds) {
            (Phase::Inactive | Phase::Resolved { .. }, true) => {
                (alert.phase, alert.since_us) = (Phase::Pending, voice.at_us);
                match self.rule.hold == Span::ZERO {
                    true => self.fire(name, alert, &matching, voice.at_us, reading.known_us),
                    false => self.tell(name, alert, What::Pending, voice.at_us, reading.known_us),
                }
            }
            (Phase::Inactive | Phase::Resolved { .. }, false) => {}
            (Phase::Pending, true) => {
                if voice.at_us >= self.rule.hold.after(alert.since_us) {
                    self.fire(name, alert, &matching, voice.at_us, reading.known_us);
                }
            }
            (Phase::Pending, false) => alert.phase = Phase::Inactive,
            (Phase::Firing(firing), true) => firing.clear_since_us = None,
            (Phase::Firing(firing), false) => {
                let Clear::After(clear) = self.rule.clear else { return };
                let since = *firing.clear_since_us.get_or_insert(voice.at_us);
                if voice.at_us >= clear.after(since) {
                    self.end(name, alert, &matching, voice.at_us, reading.known_us, "cleared");
                }
            }
        }
    }

    fn take(
        &mut self,
        name: Name<'_>,
        alert: &mut Alert,
        matching: &Matching<'_>,
        due: &Due,
        known_us: i64,
    ) {
        match due.turn {
            Turn::Quiet => self.settle(name, alert, matching, known_us),
            Turn::Fire => self.fire(name, alert, matching, due.at_us, known_us),
            Turn::Clear => self.end(name, alert, matching, due.at_us, known_us, "cleared"),
            Turn::Expire => match alert.firing() {
                Some(_) => self.end(name, alert, matching, due.at_us, known_us, "expired"),
                None => alert.phase = Phase::Inactive,
            },
            Turn::Escalate(step) => {
                if let Some(firing) = alert.firing_mut() {
                    (firing.escalated, firing.severity) = (Some(step.after), step.severity);
                    self.tell(name, alert, What::Severity, due.at_us, known_us);
                }
            }
            Turn::Remind => {
                if let Some(firing) = alert.firing_mut() {
                    firing.told_us = due.at_us;
                    firing.reminders = firing.reminders.saturating_add(1);
                    self.tell(name, alert, What::Reminder, due.at_us, known_us);
                }
            }
        }
    }

    /// Lets an alert fire.
    pub(super) fn fire(
        &mut self,
        name: Name<'_>,
        alert: &mut Alert,
        matching: &Matching<'_>,
        at_us: i64,
        known_us: i64,
    ) {
        let silence = matching.at(known_us);
        alert.phase = Phase::Firing(Firing {
            at_us,
            known_us,
            version: alert.version,
            clear_since_us: None,
            severity: self.rule.severity,
            escalated: None,
            told_us: known_us,
            reminders: 0,
            silenced: silence.map(|silence| silence.name.clone()),
            quiet_from_us: known_us.saturating_add(1),
            acknowledged: None,
        });
        self.tell(name, alert, What::Firing, at_us, known_us);
        if let Some(silence) = silence {
            self.tell_silence(name, alert, silence, known_us);
        }
    }

    /// Lets one fire that no row of its group decides.
    pub(super) fn fire_by_itself(
        &mut self,
        name: Name<'_>,
        alert: &mut Alert,
        at_us: i64,
        known_us: i64,
    ) {
        let matching = self.matching(name);
        self.fire(name, alert, &matching, at_us, known_us);
    }

    /// Ends one that fires.
    fn end(
        &mut self,
        name: Name<'_>,
        alert: &mut Alert,
        matching: &Matching<'_>,
        at_us: i64,
        known_us: i64,
        why: &str,
    ) {
        self.settle(name, alert, matching, known_us);
        let Some(firing) = alert.firing() else { return };
        let severity = firing.severity;
        let event = self.event(name, alert, What::Resolved, at_us, known_us);
        self.push(alert, Event { note: Some(why.to_owned()), ..event });
        alert.phase = Phase::Resolved { at_us, known_us, severity };
        self.resolved += 1;
    }

    /// Ends one that fires for a reason that lies not in the rows of its group.
    pub(super) fn end_by_itself(
        &mut self,
        name: Name<'_>,
        alert: &mut Alert,
        at_us: i64,
        known_us: i64,
        why: &str,
    ) {
        let matching = self.matching(name);
        self.end(name, alert, &matching, at_us, known_us, why);
    }

    /// Lets silences begin and end up to `limit_us`.
    fn settle(
        &mut self,
        name: Name<'_>,
        alert: &mut Alert,
        matching: &Matching<'_>,
        limit_us: i64,
    ) {
        loop {
            let Some(firing) = alert.firing_mut() else { return };
            let Some(at_us) = next_quiet(firing, matching).filter(|at| *at <= limit_us) else {
                return;
            };
            let silence = matching.at(at_us);
            firing.silenced = silence.map(|silence| silence.name.clone());
            firing.quiet_from_us = at_us.saturating_add(1);
            match silence {
                Some(silence) => self.tell_silence(name, alert, silence, at_us),
                None => self.tell(name, alert, What::Unsilenced, at_us, at_us),
            }
        }
    }

    /// The same of one whose silences are not at hand.
    pub(super) fn settle_until(&mut self, name: Name<'_>, alert: &mut Alert, limit_us: i64) {
        let matching = self.matching(name);
        self.settle(name, alert, &matching, limit_us);
    }

    fn tell_silence(&mut self, name: Name<'_>, alert: &Alert, silence: &Silence, at_us: i64) {
        let event = self.event(name, alert, What::Silenced, at_us, at_us);
        let (by, note) = (Some(silence.by.clone()), Some(silence.reason.clone()));
        self.push(alert, Event { by, note, ..event });
    }

    pub(super) fn tell(
        &mut self,
        name: Name<'_>,
        alert: &Alert,
        what: What,
        at_us: i64,
        known_us: i64,
    ) {
        let event = self.event(name, alert, what, at_us, known_us);
        self.push(alert, event);
    }

    pub(super) fn push(&mut self, alert: &Alert, event: Event) {
        let firing_us = alert.firing().map(|firing| firing.at_us);
        self.events.push(event.identified(firing_us, self.generation, self.change));
    }

    /// An event of an alert as it stands, without an id.
    pub(super) fn event(
        &self,
        name: Name<'_>,
        alert: &Alert,
        what: What,
        at_us: i64,
        known_us: i64,
    ) -> Event {
        let group = self.group(name);
        let firing = alert.firing();
        Event {
            id: String::new(),
            rule: self.rule.name.clone(),
            what,
            at_us,
            known_us,
            version: alert.version,
            commit: self.reading.map(|reading| reading.version),
            severity: firing.map_or(self.rule.severity, |firing| firing.severity),
            since_us: alert.since_us,
            value: alert.value,
            summary: summary(self.rule, &group, alert.value),
            silenced: firing.and_then(|firing| firing.silenced.clone()),
            by: None,
            note: None,
            group,
        }
    }
}

/// A text of somebody else within a line: what would end it, or turn it round, is shown as it is written.
pub(super) fn shown(text: &str) -> String {
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        match is_bad(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
        line
    })
}

/// The text that is told of an alert.
pub(super) fn summary(rule: &Rule, group: &Group, value: Option<f64>) -> String {
    let number = template::number(value);
    if *group == Group::too_many() {
        return format!("{}: too many groups; {number} of them are not looked at", rule.name);
    }
    if !rule.summary.is_empty() {
        return template::render(&rule.summary, |name| match name {
            "value" if rule.value.is_some() => number.clone(),
            column => shown(group.value(column).unwrap_or("null")),
        });
    }
    let of = if rule.by.is_empty() { String::new() } else { format!(" of {group}") };
    match (&rule.value, rule.freshness) {
        (_, Some(freshness)) => format!("{}: nothing new for {freshness}", rule.name),
        (Some(_), None) => format!("{}{of}: {number}", rule.name),
        (None, None) => format!("{}{of}", rule.name),
    }
}

/// How many times as far apart reminders are by now: after each 24 of them twice, so that what fires for months, or fired while nobody
/// looked, is not told without end.
fn rarer(reminders: u32) -> i64 {
    1_i64.checked_shl(reminders / 24).filter(|times| *times > 0).unwrap_or(i64::MAX)
}

/// What comes next without another row.
fn next(rule: &Rule, alert: &Alert, matching: &Matching<'_>) -> Option<Due> {
    let mut all = [next_of_rows(rule, alert), None, None, None];
    if let Some(firing) = alert.firing() {
        let by_clock = |at_us: i64, turn: Turn| Due { due_us: at_us, at_us, turn };
        let quiet = next_quiet(firing, matching).map(|at| by_clock(at, Turn::Quiet));
        let (mut escalate, mut remind) = (None, None);
        if firing.acknowledged.is_none() {
            escalate = rule
                .next_step(firing.escalated)
                .map(|step| by_clock(step.after.after(firing.known_us), Turn::Escalate(step)));
            remind = rule.repeat.map(|repeat| {
                let apart_us = repeat.us().saturating_mul(rarer(firing.reminders));
                by_clock(firing.told_us.saturating_add(apart_us), Turn::Remind)
            });
        }
        let [of_rows, ..] = all;
        all = [of_rows, quiet, escalate, remind];
    }
    all.into_iter().flatten().min_by_key(Due::place)
}

/// What comes next of what rows decide, if the last one stays the newest.
fn next_of_rows(rule: &Rule, alert: &Alert) -> Option<Due> {
    let expires = match (rule.expires, alert.held_us) {
        (Some(expires), Some(held)) => Some((expires.after(held), Turn::Expire)),
        _ => None,
    };
    let (known_us, first, second) = match &alert.phase {
        Phase::Inactive | Phase::Resolved { .. } => return None,
        Phase::Pending => {
            let fire = rule.stands.then(|| (rule.hold.after(alert.since_us), Turn::Fire));
            (alert.known_us, fire, expires)
        }
        Phase::Firing(firing) => {
            let clear = match (rule.clear, firing.clear_since_us) {
                (Clear::After(clear), Some(since)) if rule.stands => {
                    Some((clear.after(since), Turn::Clear))
                }
                _ => None,
            };
            (alert.known_us.max(firing.known_us), clear, expires)
        }
    };
    let both = [first, second].into_iter().flatten();
    both.min_by_key(|(at_us, _)| *at_us).map(|(at_us, turn)| Due {
        due_us: at_us.max(known_us),
        at_us,
        turn,
    })
}

/// When a silence next begins or ends.
fn next_quiet(firing: &Firing, matching: &Matching<'_>) -> Option<i64> {
    match firing.silenced {
        None => matching.next_begin(firing.quiet_from_us),
        Some(_) => Some(matching.next_end(firing.quiet_from_us)),
    }
}
