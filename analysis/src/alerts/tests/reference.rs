//! The same once more, slow and obviously right: minute after minute, each alert looks whether something is so. It knows no deadlines.
//! Only for rules that do not change, and where there is room.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Clear, Rule, Sample, Severity, Silence, What};
use super::MINUTE;
use super::scenario::{Action, HOSTS, Scenario};

/// An event, with its minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub host: String,
    pub what: What,
    pub at: i64,
    pub known: i64,
    pub severity: Severity,
    pub is_silenced: bool,
    pub value: Option<f64>,
}

#[derive(Clone, Default)]
struct Watched {
    is_pending: bool,
    is_firing: bool,
    is_resolved: bool,
    since: i64,
    /// The newest row, if any is remembered.
    newest: Option<i64>,
    /// Up to which minute of the rows' time it was looked at.
    walked: i64,
    last_held: i64,
    not_since: Option<i64>,
    value: Option<f64>,
    fired_known: i64,
    told: i64,
    reminders: u32,
    steps: usize,
    severity: Severity,
    is_silenced: bool,
    by: Option<&'static str>,
}

pub struct Day<'a> {
    rule: &'a Rule,
    silences: &'a [Silence],
    hosts: BTreeMap<String, Watched>,
    /// The newest commit or row, and when the rule began.
    newest: i64,
    has_news: bool,
    pub told: Vec<Told>,
    pub late: u64,
}

/// All that happens, minute by minute.
pub fn day(scenario: &Scenario) -> Day<'_> {
    let hosts = match scenario.rule.by.is_empty() {
        true => vec!["-"],
        false => HOSTS.to_vec(),
    };
    let mut day = Day {
        rule: &scenario.rule,
        silences: &scenario.silences,
        hosts: hosts.iter().map(|host| ((*host).to_owned(), Watched::default())).collect(),
        newest: 0,
        has_news: false,
        told: Vec::new(),
        late: 0,
    };
    for now in 0..=scenario.end {
        for (minute, action) in &scenario.actions {
            match action {
                _ if *minute != now => {}
                Action::Commit(commit) => day.commit(now, &commit.rows),
                Action::Acknowledge { host, by } => day.acknowledge(now, host, by),
                Action::Adopt(_) => panic!("rules do not change here"),
            }
        }
        day.clock(now);
    }
    day
}

impl Day<'_> {
    fn tell(&mut self, host: &str, what: What, at: i64, known: i64) {
        let it = &self.hosts[host];
        let severity = if it.is_firing { it.severity } else { self.rule.severity };
        let is_silenced = it.is_firing && it.is_silenced;
        let (host, value) = (host.to_owned(), it.value);
        self.told.push(Told { host, what, at, known, severity, is_silenced, value });
    }

    fn of(&mut self, host: &str) -> &mut Watched {
        self.hosts.get_mut(host).unwrap()
    }

    fn is_silent(&self, host: &str, now: i64) -> bool {
        self.silences.iter().any(|silence| {
            let minute = |at: chrono::DateTime<chrono::Utc>| at.timestamp_micros() / MINUTE;
            let of_host = silence.group.values().all(|hosts| match hosts {
                super::OneOf::Equal(one) => one == host,
                super::OneOf::Of(hosts) => hosts.contains(&host.to_owned()),
            });
            of_host
                && minute(silence.created_at) <= now
                && minute(silence.from) <= now
                && now < minute(silence.until)
        })
    }

    /// Before anything is said of an alert at this minute: whether it is quiet.
    fn look_at_silences(&mut self, host: &str, now: i64) {
        let is_silent = self.is_silent(host, now);
        let it = self.of(host);
        if it.is_firing && it.is_silenced != is_silent {
            it.is_silenced = is_silent;
            let what = if is_silent { What::Silenced } else { What::Unsilenced };
            self.tell(host, what, now, now);
        }
    }

    fn fire(&mut self, host: &str, at: i64, now: i64) {
        let is_silent = self.is_silent(host, now);
        let severity = self.rule.severity;
        let it = self.of(host);
        (it.is_pending, it.is_resolved, it.is_firing) = (false, false, true);
        (it.fired_known, it.told, it.steps, it.severity) = (now, now, 0, severity);
        it.reminders = 0;
        (it.is_silenced, it.by, it.not_since) = (is_silent, None, None);
        self.tell(host, What::Firing, at, now);
        if is_silent {
            self.tell(host, What::Silenced, now, now);
        }
    }

    fn resolve(&mut self, host: &str, at: i64, now: i64) {
        self.look_at_silences(host, now);
        self.tell(host, What::Resolved, at, now);
        let it = self.of(host);
        (it.is_firing, it.is_resolved) = (false, true);
    }

    fn forget(&mut self, host: &str) {
        *self.of(host) = Watched::default();
    }

    /// Lets the rows' time of a host pass, up to and with a minute, while no row comes.
    fn walk(&mut self, host: &str, to: i64, now: i64) {
        while self.hosts[host].walked < to {
            let it = self.of(host);
            it.walked += 1;
            let at = it.walked;
            let rule = self.rule;
            let it = self.hosts[host].clone();
            let lasts = |since: i64, span: super::super::Span| (at - since) * MINUTE >= span.us();
            if it.is_pending && rule.stands && lasts(it.since, rule.hold) {
                self.fire(host, at, now);
            }
            let is_over = match (rule.clear, it.not_since) {
                (Clear::After(span), Some(since)) => rule.stands && lasts(since, span),
                _ => false,
            };
            let is_expired = rule.expires.is_some_and(|span| lasts(it.last_held, span));
            if self.hosts[host].is_firing && (is_over || is_expired) {
                self.resolve(host, at, now);
            } else if self.hosts[host].is_pending && is_expired {
                self.forget(host);
            }
        }
    }

    fn commit(&mut self, now: i64, rows: &[Sample]) {
        // What is far ahead counts as of now.
        let minute_of = |row: &Sample| match row.at_us / MINUTE {
            ahead if ahead > now + 10 => now,
            minute => minute,
        };
        if let Some(span) = self.rule.freshness {
            let news = match self.rule.time.is_some() {
                true => rows.iter().map(minute_of).max(),
                false => Some(now),
            };
            if let Some(news) = news {
                self.newest = if self.has_news { self.newest.max(news) } else { news };
                self.has_news = true;
            }
            if self.hosts["-"].is_firing && (now - self.newest) * MINUTE < span.us() {
                self.resolve("-", self.newest, now);
            }
            return;
        }
        let minutes: BTreeSet<i64> = rows.iter().map(minute_of).collect();
        for minute in minutes {
            for host in HOSTS {
                let of_host = |row: &&Sample| {
                    minute_of(row) == minute && row.group[0].as_deref() == Some(host)
                };
                let rows: Vec<&Sample> = rows.iter().filter(of_host).collect();
                if !rows.is_empty() {
                    self.row(host, minute, now, &rows);
                }
            }
        }
    }

    /// What the rows of one minute say of a host.
    fn row(&mut self, host: &str, at: i64, now: i64, rows: &[&Sample]) {
        if self.hosts[host].newest.is_some_and(|newest| at < newest) {
            self.late += rows.len() as u64;
            return;
        }
        if self.hosts[host].newest.is_some() {
            self.walk(host, at - 1, now);
        }
        let number_that_hold = rows.iter().filter(|row| row.holds).count();
        let needed = if self.rule.hold.us() == 0 { 1 } else { rows.len() };
        let holds = number_that_hold >= needed;
        let mut value = None;
        for row in rows.iter().filter(|row| row.holds == holds) {
            if row.value > value {
                value = row.value;
            }
        }
        let rule = self.rule;
        let it = self.of(host);
        (it.newest, it.walked) = (Some(at), at - 1);
        if holds {
            (it.last_held, it.value, it.not_since) = (at, value, None);
            if !it.is_pending && !it.is_firing {
                (it.is_pending, it.is_resolved, it.since) = (true, false, at);
                if rule.hold.us() > 0 {
                    self.tell(host, What::Pending, at, now);
                }
            }
            let it = &self.hosts[host];
            if it.is_pending && (at - it.since) * MINUTE >= rule.hold.us() {
                self.fire(host, at, now);
            }
        } else if it.is_firing {
            if let Clear::After(span) = rule.clear {
                let since = *it.not_since.get_or_insert(at);
                if (at - since) * MINUTE >= span.us() {
                    self.resolve(host, at, now);
                }
            }
        } else if !it.is_resolved {
            self.forget(host);
        }
    }

    fn acknowledge(&mut self, now: i64, host: &str, by: &'static str) {
        let host = if self.rule.by.is_empty() { "-" } else { host };
        if !self.hosts.get(host).is_some_and(|it| it.is_firing && it.by != Some(by)) {
            return;
        }
        self.look_at_silences(host, now);
        self.of(host).by = Some(by);
        self.tell(host, What::Acknowledged, now, now);
    }

    fn clock(&mut self, now: i64) {
        if let Some(span) = self.rule.freshness
            && !self.hosts["-"].is_firing
            && (now - self.newest) * MINUTE >= span.us()
        {
            self.fire("-", self.newest + span.us() / MINUTE, now);
        }
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.look_at_silences(&host, now);
            if self.hosts[&host].newest.is_some() {
                self.walk(&host, now, now);
            }
            let rule = self.rule;
            let it = self.hosts[&host].clone();
            if !it.is_firing || it.by.is_some() {
                continue;
            }
            if let Some(step) = rule.escalate.get(it.steps)
                && (now - it.fired_known) * MINUTE >= step.after.us()
            {
                let it = self.of(&host);
                (it.steps, it.severity) = (it.steps + 1, step.severity);
                self.tell(&host, What::Severity, now, now);
            }
            let times = 1 << (it.reminders / 24);
            if rule.repeat.is_some_and(|span| (now - it.told) * MINUTE >= times * span.us()) {
                let it = self.of(&host);
                (it.told, it.reminders) = (now, it.reminders + 1);
                self.tell(&host, What::Reminder, now, now);
            }
        }
    }
}
