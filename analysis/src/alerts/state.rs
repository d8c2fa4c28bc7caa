//! What is known of the alerts of a tenant: of each rule up to which version its dataset is read, and each alert that is not inactive.
//!
//! Groups that are inactive are not held, whatever their number. An alert that is resolved is remembered for a day, so that a row that
//! comes late does not open it again; where room is short it is the first that is forgotten.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::group::{Group, Key};
use super::rule::{Rule, Severity};
use super::span::Span;
use super::{AlertError, Result};

/// Alerts of one tenant that are not inactive. Groups beyond are counted, and an alert says how many.
pub const ALERTS_MAX: usize = 100_000;
/// How long a resolved alert is remembered, in microseconds.
pub(super) const REMEMBERED_US: i64 = 24 * 3_600_000_000;

/// All alerts of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// How many alerts it may hold.
    pub(super) room: usize,
    pub(super) rules: BTreeMap<String, RuleState>,
    /// Number of times the tenant's rules have changed. Event ids contain it, so a rule that is removed and added again reports
    /// a commit as a new event, and two runs that start from the same state compute the same ids.
    #[serde(default)]
    pub(super) generation: u64,
}

/// How far a rule is, and its alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// The rule as it was adopted.
    pub(super) rule: Rule,
    /// When it began: nothing was known to it before.
    #[serde(default)]
    pub(super) began_us: i64,
    /// The generation of the state in which the rule was added.
    #[serde(default)]
    pub(super) generation: u64,
    /// Up to which version its dataset is read.
    pub(super) mark: Option<u64>,
    /// Rows that were older than the newest of their group, and so changed nothing.
    pub(super) late: u64,
    /// What `freshness` counts from.
    pub(super) newest: Newest,
    pub(super) alerts: BTreeMap<Key, Alert>,
    /// The alert that there are too many groups.
    pub(super) too_many: Option<Alert>,
}

/// The newest commit or row of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Newest {
    /// Its instant; before there was one, when the rule began.
    pub(super) at_us: i64,
    /// When that could be known.
    pub(super) known_us: i64,
    /// The version that brought it.
    pub(super) version: Option<u64>,
}

/// One alert: a rule in one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Where it stands.
    pub phase: Phase,
    /// The first row of those on which the condition holds without a break.
    pub since_us: i64,
    /// Its newest row.
    pub newest_us: i64,
    /// When that could be known: the instant of its commit.
    pub known_us: i64,
    /// The version that brought it.
    pub version: Option<u64>,
    /// The newest row on which the condition held; none where no row says so.
    pub held_us: Option<i64>,
    /// The number of that row.
    pub value: Option<f64>,
}

/// Where an alert stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is wrong. No state holds such a one.
    Inactive,
    /// The condition holds, and not yet for long enough.
    Pending,
    /// It is told.
    Firing(Firing),
    /// It is over.
    Resolved {
        /// The instant that ended it.
        at_us: i64,
        /// When that could be known.
        known_us: i64,
        /// How much it mattered at the end.
        severity: Severity,
    },
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The instant from which it does, in the rows' own time.
    pub at_us: i64,
    /// When that could be known: people have the time from then on.
    pub known_us: i64,
    /// The version on which it rests.
    pub version: Option<u64>,
    /// The first row of those on which the condition does not hold.
    pub clear_since_us: Option<i64>,
    /// How much it matters by now.
    pub severity: Severity,
    /// Which step of escalation was taken last, by its `after`.
    pub escalated: Option<Span>,
    /// When it was told last.
    pub told_us: i64,
    /// How often it was told again.
    #[serde(default)]
    pub reminders: u32,
    /// The silence that keeps it quiet.
    pub silenced: Option<String>,
    /// The earliest instant at which that may change.
    pub(super) quiet_from_us: i64,
    /// Who has it.
    pub acknowledged: Option<Acknowledged>,
}

/// Who looks after an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// What they say.
    pub comment: String,
    /// When.
    pub at_us: i64,
}

impl Default for State {
    fn default() -> Self {
        Self::with_room(ALERTS_MAX)
    }
}

impl State {
    /// One of at most so many alerts.
    pub fn with_room(alerts: usize) -> Self {
        Self { room: alerts, rules: BTreeMap::new(), generation: 0 }
    }

    /// What is known of a rule.
    pub fn rule(&self, name: &str) -> Option<&RuleState> {
        self.rules.get(name)
    }

    /// The rules that it knows, as they were adopted.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values().map(|own| &own.rule)
    }

    /// How many alerts it holds, those that say that there are too many aside.
    pub fn alerts_held(&self) -> usize {
        self.rules.values().map(|own| own.alerts.len()).sum()
    }

    /// Takes out what is known of a rule. Fails where that is not adopted as it is.
    pub(super) fn take(&mut self, rule: &Rule) -> Result<RuleState> {
        self.require(rule)?;
        self.rules.remove(&rule.name).ok_or_else(|| not_adopted(rule))
    }

    pub(super) fn require(&self, rule: &Rule) -> Result<()> {
        match self.rules.get(&rule.name) {
            Some(own) if own.rule == *rule => Ok(()),
            _ => Err(not_adopted(rule)),
        }
    }

    pub(super) fn put(&mut self, own: RuleState) {
        self.rules.insert(own.rule.name.clone(), own);
    }
}

fn not_adopted(rule: &Rule) -> AlertError {
    AlertError::NotAdopted { rule: rule.name.clone() }
}

impl RuleState {
    /// A rule that is added in `generation` and has read its dataset up to `mark`.
    pub(super) fn new(rule: Rule, mark: Option<u64>, generation: u64, now_us: i64) -> Self {
        let newest = Newest { at_us: now_us, known_us: now_us, version: mark };
        let (began_us, alerts) = (now_us, BTreeMap::new());
        Self { rule, began_us, generation, mark, late: 0, newest, alerts, too_many: None }
    }

    /// Up to which version its dataset is read; none before the first.
    pub fn mark(&self) -> Option<u64> {
        self.mark
    }

    /// How many rows came too late to change anything.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Its alerts that are not inactive, with the one that there are too many groups last.
    pub fn alerts(&self) -> impl Iterator<Item = (Group, &Alert)> {
        let too_many = self.too_many.iter().map(|alert| (Group::too_many(), alert));
        let own = self.alerts.iter();
        own.map(|(key, alert)| (Group::of(&self.rule.by, key), alert)).chain(too_many)
    }

    /// The alert of a group.
    pub fn alert(&self, group: &Group) -> Option<&Alert> {
        match *group == Group::too_many() {
            true => self.too_many.as_ref(),
            false => self.alerts.get(&group.key()).filter(|_| self.is_group(group)),
        }
    }

    pub(super) fn alert_mut(&mut self, group: &Group) -> Option<&mut Alert> {
        match *group == Group::too_many() {
            true => self.too_many.as_mut(),
            false if !self.is_group(group) => None,
            false => self.alerts.get_mut(&group.key()),
        }
    }

    /// Whether a group has the columns of the rule.
    fn is_group(&self, group: &Group) -> bool {
        group.columns().map(|(column, _)| column).eq(self.rule.by.iter().map(String::as_str))
    }

    /// Forgets alerts that were resolved before `before_us`.
    pub(super) fn forget(&mut self, before_us: i64) {
        let is_kept = |alert: &Alert| match alert.phase {
            Phase::Inactive => false,
            Phase::Resolved { known_us, .. } => known_us >= before_us,
            Phase::Pending | Phase::Firing(_) => true,
        };
        self.alerts.retain(|_, alert| is_kept(alert));
        self.too_many.take_if(|alert| !is_kept(alert));
    }
}

impl Alert {
    /// The alert of a group of which nothing is known.
    pub(super) fn new(at_us: i64, known_us: i64, version: Option<u64>) -> Self {
        Self {
            phase: Phase::Inactive,
            since_us: at_us,
            newest_us: at_us,
            known_us,
            version,
            held_us: None,
            value: None,
        }
    }

    /// How it fires, if it does.
    pub fn firing(&self) -> Option<&Firing> {
        match &self.phase {
            Phase::Firing(firing) => Some(firing),
            _ => None,
        }
    }

    pub(super) fn firing_mut(&mut self) -> Option<&mut Firing> {
        match &mut self.phase {
            Phase::Firing(firing) => Some(firing),
            _ => None,
        }
    }

    pub(super) fn is_resolved(&self) -> bool {
        matches!(self.phase, Phase::Resolved { .. })
    }

    pub(super) fn is_inactive(&self) -> bool {
        self.phase == Phase::Inactive
    }

    /// The word for where it stands.
    pub fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Inactive => "inactive",
            Phase::Pending => "pending",
            Phase::Firing(Firing { acknowledged: Some(_), .. }) => "acknowledged",
            Phase::Firing(_) => "firing",
            Phase::Resolved { .. } => "resolved",
        }
    }
}
