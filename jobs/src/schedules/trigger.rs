//! What a schedule waits for: the clock, a change of a dataset, the end of other runs, or a person.

use chrono::{DateTime, NaiveDate, Utc};
use datasets::DatasetName;
use engine::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::backfill::{AT_ONCE_MAX, Every, Named, partitions};
use super::when::{CatchUp, Cron, next_times, zone_named};
use super::{NextTime, Schedule};

/// Most seconds between two runs because of changes.
const EVERY_MAX_SECONDS: u32 = 7 * 24 * 60 * 60;
/// Most rows that are waited for.
const ROWS_MAX: u64 = 1_000_000_000_000;

/// What a schedule waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Trigger {
    /// The clock.
    Clock {
        /// Minute, hour, day of month, month, day of week.
        cron: String,
        /// An IANA time zone.
        zone: String,
        /// What becomes of times that nobody was there for: `none`, `latest` or `all`.
        catch_up: String,
        /// Runs begin up to so many seconds after their time, so that those of one minute do not begin together.
        jitter_seconds: u32,
    },
    /// A dataset whose rows change. What changes while it waits is one run.
    Change {
        /// The dataset.
        on_change: DatasetName,
        /// How many rows must have come since; a commit by which some went counts as one at least.
        rows_min: u64,
        /// The least time between two runs, in seconds.
        every_seconds: u32,
    },
    /// Runs of another schedule, or of a job kind, that succeed: one for each.
    After {
        /// The name of the schedule, or of the job kind where no schedule is called so.
        after: String,
    },
    /// Nothing: it makes the partitions of some days, a few at a time.
    Backfill {
        /// The first day.
        from: NaiveDate,
        /// The last one.
        to: NaiveDate,
        /// How long a partition is.
        every: Every,
        /// The IANA time zone whose days they are.
        zone: String,
        /// How many of its runs may be open.
        at_once: u32,
    },
    /// Somebody who begins it.
    ByHand {
        /// Always so.
        by_hand: bool,
    },
}

impl Trigger {
    /// Nothing but somebody who begins it.
    pub const BY_HAND: Self = Self::ByHand { by_hand: true };

    /// Its times, where the clock says them.
    pub(crate) fn times(&self) -> Result<Option<Cron>> {
        match self {
            Self::Clock { cron, zone, .. } => Ok(Some(Cron::new(cron, zone)?)),
            _ => Ok(None),
        }
    }

    /// The partitions of a backfill, in order; none of others.
    pub(super) fn partitions(&self) -> Result<Vec<Named>> {
        match self {
            Self::Backfill { from, to, every, zone, .. } => partitions(*from, *to, *every, zone),
            _ => Ok(Vec::new()),
        }
    }

    /// The next `count` times, where the clock says them.
    pub fn next_times(&self, after: DateTime<Utc>, count: usize) -> Result<Vec<NextTime>> {
        let Some(cron) = self.times()? else { return Ok(Vec::new()) };
        let ticks = next_times(&cron, after, count).into_iter();
        Ok(ticks
            .map(|tick| NextTime { at: tick.due, local: cron.on_its_clock(tick.due) })
            .collect())
    }

    /// For a person: when it runs.
    pub fn says(&self) -> String {
        match self {
            Self::Clock { cron, zone, .. } => format!("{cron} {zone}"),
            Self::Change { on_change, rows_min: 1, .. } => format!("on change of {on_change}"),
            Self::Change { on_change, rows_min, .. } => {
                format!("on change of {on_change}, {rows_min} rows")
            }
            Self::After { after } => format!("after {after}"),
            Self::ByHand { .. } => "by hand".to_owned(),
            Self::Backfill { from, to, every: Every::Day, zone, .. } => {
                format!("days {from} to {to} {zone}")
            }
            Self::Backfill { from, to, zone, .. } => format!("hours of {from} to {to} {zone}"),
        }
    }

    /// The same with the line and the zone as they are known; fails with what is wrong.
    pub(crate) fn checked(self, name: &str) -> Result<Self> {
        let bad = |says: String| Error::user(Code::BadInput, format!("schedule {name}: {says}"));
        match &self {
            Self::Clock { cron, zone, catch_up, jitter_seconds } => {
                let times = Cron::new(cron, zone)?;
                let _: CatchUp = catch_up.parse()?;
                let most = super::JITTER_MAX.num_seconds();
                if i64::from(*jitter_seconds) > most {
                    let found = jitter_seconds;
                    return Err(bad(format!("jitter: expected at most {most} s, found {found}")));
                }
                Ok(Self::Clock {
                    cron: times.line().to_owned(),
                    zone: times.zone().to_owned(),
                    catch_up: catch_up.clone(),
                    jitter_seconds: *jitter_seconds,
                })
            }
            Self::Change { rows_min, every_seconds, .. } => {
                if !(1..=ROWS_MAX).contains(rows_min) {
                    return Err(bad(format!(
                        "rows to wait for: expected 1 to {ROWS_MAX}, found {rows_min}"
                    )));
                }
                if *every_seconds > EVERY_MAX_SECONDS {
                    return Err(bad(format!(
                        "time between two runs: expected at most {EVERY_MAX_SECONDS} s, found {every_seconds}"
                    )));
                }
                Ok(self)
            }
            Self::Backfill { from, to, every, zone, at_once } => {
                if !(1..=AT_ONCE_MAX).contains(at_once) {
                    return Err(bad(format!(
                        "runs at once: expected 1 to {AT_ONCE_MAX}, found {at_once}"
                    )));
                }
                partitions(*from, *to, *every, zone).map_err(|e| bad(e.to_string()))?;
                let zone = zone_named(zone)?.name().to_owned();
                Ok(Self::Backfill { from: *from, to: *to, every: *every, zone, at_once: *at_once })
            }
            Self::After { .. } | Self::ByHand { .. } => Ok(self),
        }
    }
}

/// A schedule as far as others may wait for what it does.
pub(super) struct Node<'a> {
    pub(super) schedule: &'a Schedule,
    /// What its runs commit to.
    pub(super) outputs: Vec<DatasetName>,
}

impl Node<'_> {
    /// Whether it runs a job of this kind.
    fn runs(&self, job: &str) -> bool {
        self.schedule.job == job || self.schedule.steps.iter().any(|step| step.job == job)
    }

    /// Whether `other` runs because this one did.
    fn starts(&self, other: &Node<'_>, is_schedule: &dyn Fn(&str) -> bool) -> bool {
        match &other.schedule.trigger {
            Trigger::Clock { .. } | Trigger::Backfill { .. } | Trigger::ByHand { .. } => false,
            Trigger::Change { on_change, .. } => self.outputs.contains(on_change),
            Trigger::After { after } => {
                // Of a pipeline one waits for a step.
                let name = after.split('/').next().unwrap_or_default();
                match is_schedule(name) {
                    true => name == self.schedule.name,
                    false => self.runs(after),
                }
            }
        }
    }
}

/// The schedules through which the last of `all` would start itself, in order and itself at both ends; none, if it would not.
pub(super) fn circle(all: &[Node<'_>]) -> Option<Vec<String>> {
    let last = all.len().checked_sub(1)?;
    let is_schedule = |name: &str| all.iter().any(|node| node.schedule.name == name);
    // Breadth first, so that the shortest is told.
    let mut from: Vec<Option<usize>> = vec![None; all.len()];
    let mut reached = vec![last];
    let mut at = 0;
    while let Some(&node) = reached.get(at) {
        at += 1;
        for (next, other) in all.iter().enumerate() {
            let is_new = next == last || !reached.contains(&next);
            if !is_new || !all.get(node).is_some_and(|node| node.starts(other, &is_schedule)) {
                continue;
            }
            if next == last {
                let mut names = vec![all.get(last)?.schedule.name.clone()];
                let mut step = Some(node);
                while let Some(index) = step {
                    names.push(all.get(index)?.schedule.name.clone());
                    step = from.get(index).copied().flatten();
                }
                names.reverse();
                return Some(names);
            }
            if let Some(from) = from.get_mut(next) {
                *from = Some(node);
            }
            reached.push(next);
        }
    }
    None
}
