//! A job over a stretch of the past: a schedule whose times are the partitions of that stretch. Each has one run, the oldest first, and
//! a few are open at a time.

use chrono::{DateTime, MappedLocalTime, NaiveDate, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use engine::{Code, Error, Principal, Result, Role};
use kernels::GpuPolicy;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::when::zone_named;
use super::{Schedule, ScheduleState, Trigger};
use crate::control::{Pause, ScheduleEntry, TickCount};
use crate::partition::Partition;
use crate::run::record::RunState;
use crate::run::runner::Runner;

/// Most partitions of one backfill.
pub const PARTITIONS_MAX: usize = 10_000;
/// Most runs of one backfill that may be open.
pub const AT_ONCE_MAX: u32 = 100;
/// Of its runs: whatever else waits goes first.
const PRIORITY: i32 = -100;
/// Hours of the shortest day: most are of 24, and clocks go forward by three at most.
const DAY_HOURS_MIN: usize = 21;
/// Where its schedule is: above the numbers of versions and changes, and before each time at which a run is due, so that none of its
/// ticks is forgotten. An even one has partitions left, an odd one has none, and each time that it goes on it is a later one.
pub(super) const BEGUN: i64 = 1_000_000_000_000;

/// How long a partition is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// A day of the zone, of 23 to 25 hours where its clock changes.
    #[default]
    Day,
    /// An hour.
    Hour,
}

impl std::str::FromStr for Every {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "day" => Ok(Self::Day),
            "hour" => Ok(Self::Hour),
            other => {
                let shown: String = other.chars().take(80).collect();
                let says = format!("every: expected day or hour, found {shown:?}");
                Err(Error::user(Code::BadInput, says))
            }
        }
    }
}

/// What is to be made again, or for the first time.
#[derive(Clone, Debug)]
pub struct Backfill {
    /// Its name; made of the job and the days when absent.
    pub name: Option<String>,
    /// The job kind, one that has partitions.
    pub job: String,
    /// Its parameters, as they are for all partitions.
    pub params: Value,
    /// Device policy; the runner's own when absent.
    pub gpu: Option<GpuPolicy>,
    /// The first day, such as 2026-01-01.
    pub from: String,
    /// The last day.
    pub to: String,
    /// How long a partition is.
    pub every: Every,
    /// The time zone whose days they are.
    pub zone: String,
    /// How many runs may be open.
    pub at_once: u32,
}

/// How far a backfill is, in partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// All.
    pub total: u64,
    /// Those whose runs succeeded.
    pub done: u64,
    /// Those whose runs failed or were cancelled.
    pub failed: u64,
    /// Those whose runs wait or work.
    pub open: u64,
}

impl Progress {
    /// Whether nothing is left to do but what failed.
    pub fn is_over(&self) -> bool {
        self.done + self.failed >= self.total
    }

    /// For a person: `37 of 90`.
    pub fn says(&self) -> String {
        match self.failed {
            0 => format!("{} of {}", self.done, self.total),
            failed => format!("{} of {}, {failed} failed", self.done, self.total),
        }
    }

    pub(super) fn of(total: usize, counts: &[TickCount]) -> Self {
        let mut progress = Self { total: total as u64, ..Self::default() };
        for count in counts {
            let ticks = u64::try_from(count.ticks).unwrap_or_default();
            match count.state.as_deref().map(str::parse::<RunState>) {
                Some(Ok(RunState::Queued | RunState::Running)) => progress.open += ticks,
                Some(Ok(RunState::Failed | RunState::Cancelled)) => progress.failed += ticks,
                _ => progress.done += ticks,
            }
        }
        progress
    }
}

/// A partition, and the name that its zone's clock has for its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) logical: String,
    pub(super) partition: Partition,
}

/// The partitions of the days from `from` to `to`, both of them included, in order.
pub(super) fn partitions(
    from: NaiveDate,
    to: NaiveDate,
    every: Every,
    zone: &str,
) -> Result<Vec<Named>> {
    let bad = |says: String| Err(Error::user(Code::BadInput, says));
    let zone = zone_named(zone)?;
    if from > to {
        return bad(format!("expected the first day before the last one, found {from} and {to}"));
    }
    let days = usize::try_from((to - from).num_days()).unwrap_or(usize::MAX).saturating_add(1);
    let least = match every {
        Every::Day => days,
        Every::Hour => days.saturating_mul(DAY_HOURS_MIN),
    };
    let too_many = |found: &str| {
        bad(format!(
            "{from} to {to}: expected at most {PARTITIONS_MAX} partitions, found {found}; take fewer days at a time"
        ))
    };
    if least > PARTITIONS_MAX {
        return too_many(&format!("{least} or more"));
    }
    let mut all = Vec::with_capacity(days);
    let mut day = from;
    let Some(mut begin) = start_of(day, zone) else { return bad(no_such_day(day)) };
    while day <= to {
        let next = day.succ_opt().and_then(|next| Some((next, start_of(next, zone)?)));
        let Some((next, end)) = next else { return bad(no_such_day(day)) };
        // A day that a zone leaves out has no time.
        while begin < end {
            let until = match every {
                Every::Day => end,
                Every::Hour => (begin + TimeDelta::hours(1)).min(end),
            };
            all.push(Named {
                logical: begin.with_timezone(&zone).to_rfc3339(),
                partition: Partition { from: begin, to: until },
            });
            begin = until;
        }
        day = next;
    }
    match all.len() > PARTITIONS_MAX {
        true => too_many(&all.len().to_string()),
        false => Ok(all),
    }
}

fn no_such_day(day: NaiveDate) -> String {
    format!("expected a day of the years that a calendar has, found {day}")
}

/// The first moment of a day.
fn start_of(day: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let midnight = day.and_hms_opt(0, 0, 0)?;
    match zone.from_local_datetime(&midnight) {
        MappedLocalTime::Single(at) => Some(at.to_utc()),
        MappedLocalTime::Ambiguous(_, last) => Some(last.to_utc()),
        // The clock skips it: the day begins with whatever comes after.
        MappedLocalTime::None => {
            let around = midnight.and_utc();
            let mut before = around - TimeDelta::days(2);
            let mut since = around + TimeDelta::days(2);
            while since - before > TimeDelta::seconds(1) {
                let middle = before + TimeDelta::seconds((since - before).num_seconds() / 2);
                match middle.with_timezone(&zone).date_naive() < day {
                    true => before = middle,
                    false => since = middle,
                }
            }
            Some(since)
        }
    }
}

/// A day as it is given.
fn day(what: &str, text: &str) -> Result<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        let says = format!("{what}: expected a day, such as 2026-01-31, found {shown:?}");
        Error::user(Code::BadInput, says)
    })
}

impl Backfill {
    fn schedule(&self) -> Result<Schedule> {
        let (from, to) = (day("from", &self.from)?, day("to", &self.to)?);
        let name = self.name.clone();
        Ok(Schedule {
            name: name.unwrap_or_else(|| format!("{}-{from}-to-{to}", self.job)),
            job: self.job.clone(),
            params: self.params.clone(),
            gpu: self.gpu,
            steps: Vec::new(),
            trigger: Trigger::Backfill {
                from,
                to,
                every: self.every,
                zone: self.zone.clone(),
                at_once: self.at_once,
            },
            priority: PRIORITY,
            created_by: String::new(),
            created_at: DateTime::UNIX_EPOCH,
        })
    }
}

/// The first parameter that is another, in words; nothing where all are the same.
fn other_parameter(there: &Value, asked: &Value) -> String {
    let of = |params: &Value| params.as_object().cloned().unwrap_or_default();
    let (there, asked) = (of(there), of(asked));
    let other = there.keys().chain(asked.keys()).find(|name| there.get(*name) != asked.get(*name));
    other.map(|name| format!(", with another {name}")).unwrap_or_default()
}

impl Runner {
    /// Begins a backfill; where the same one is there, it goes on, and partitions that failed have another run each.
    pub async fn backfill(&self, who: &Principal, asked: &Backfill) -> Result<ScheduleState> {
        who.require(Role::Operator)?;
        let mut schedule = asked.schedule()?;
        schedule.trigger = schedule.trigger.checked(&schedule.name)?;
        let tenant = who.tenant.as_str();
        let entry = match self.entry_of(who, &schedule.name).await? {
            Some(entry) => entry,
            None => match self.add_schedule(who, schedule.clone()).await {
                // Another may have asked for the same at the same moment.
                Err(error) if error.code() == Code::Conflict => {
                    self.entry_of(who, &schedule.name).await?.ok_or(error)?
                }
                added => return added,
            },
        };
        let there = Schedule::of(&entry)?;
        if !is_same(&there, &schedule) {
            return Err(Error::user(
                Code::Conflict,
                format!(
                    "there is a schedule {} of something else ({} {}{}); remove it first, or take another name",
                    entry.name,
                    there.job,
                    there.trigger.says(),
                    other_parameter(&there.params, &schedule.params)
                ),
            ));
        }
        if there.trigger != schedule.trigger {
            schedule.created_by = there.created_by;
            schedule.created_at = there.created_at;
            self.store().change_schedule(tenant, &entry.name, &schedule.to_text()?).await?;
        }
        self.store().forget_failed(tenant, &entry.name).await?;
        let up_to = going_on(&entry);
        self.store().pause_schedule(tenant, &entry.name, Pause::End { up_to }).await?;
        self.schedule(who, &entry.name).await
    }
}

/// Whether one that is there has no partitions left.
pub(super) fn is_over(up_to: i64) -> bool {
    up_to % 2 != 0
}

/// Where a backfill is that goes on.
pub(super) fn going_on(entry: &ScheduleEntry) -> i64 {
    BEGUN.max(entry.up_to + 2 - entry.up_to % 2)
}

fn is_same(there: &Schedule, asked: &Schedule) -> bool {
    let days = |schedule: &Schedule| match &schedule.trigger {
        Trigger::Backfill { from, to, every, zone, .. } => Some((*from, *to, *every, zone.clone())),
        _ => None,
    };
    let days = (days(there), days(asked));
    there.job == asked.job && there.params == asked.params && days.0.is_some() && days.0 == days.1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cut(from: &str, to: &str, every: Every, zone: &str) -> Vec<Named> {
        partitions(from.parse().unwrap(), to.parse().unwrap(), every, zone).unwrap()
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let days = cut("2026-03-28", "2026-03-30", Every::Day, "Europe/Berlin");
        let named: Vec<&str> = days.iter().map(|day| day.logical.as_str()).collect();
        assert_eq!(
            named,
            ["2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"]
        );
        let hours = |days: &[Named]| -> Vec<i64> {
            days.iter().map(|day| (day.partition.to - day.partition.from).num_minutes()).collect()
        };
        assert_eq!(hours(&days), [24 * 60, 23 * 60, 24 * 60]);
        let autumn = cut("2026-10-25", "2026-10-25", Every::Day, "Europe/Berlin");
        assert_eq!(hours(&autumn), [25 * 60]);
        // Half an hour, and a midnight that is not there.
        let lord_howe = cut("2026-10-04", "2026-10-04", Every::Day, "Australia/Lord_Howe");
        assert_eq!(hours(&lord_howe), [23 * 60 + 30]);
        let cairo = cut("2026-04-23", "2026-04-24", Every::Day, "Africa/Cairo");
        assert_eq!(hours(&cairo), [24 * 60, 23 * 60]);
        assert_eq!(cairo[1].logical, "2026-04-24T01:00:00+03:00");
        // A day that a zone left out.
        let apia = cut("2011-12-29", "2011-12-31", Every::Day, "Pacific/Apia");
        assert_eq!(hours(&apia), [24 * 60, 24 * 60]);
    }

    #[test]
    fn partitions_follow_each_other_without_a_gap() {
        for zone in ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"] {
            for every in [Every::Day, Every::Hour] {
                let all = cut("2026-01-01", "2026-12-31", every, zone);
                assert!(
                    all.windows(2).all(|pair| pair[0].partition.to == pair[1].partition.from),
                    "{zone}"
                );
                let mut names: Vec<&String> = all.iter().map(|one| &one.logical).collect();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), all.len(), "{zone}");
            }
        }
        assert_eq!(cut("2026-01-01", "2026-03-31", Every::Day, "UTC").len(), 90);
        assert_eq!(cut("2026-10-25", "2026-10-25", Every::Hour, "Europe/Berlin").len(), 25);
    }

    #[test]
    fn stretches_that_can_not_be_are_told() {
        let refused = |from: &str, to: &str, every, zone| {
            partitions(from.parse().unwrap(), to.parse().unwrap(), every, zone)
                .unwrap_err()
                .to_string()
        };
        let says = refused("2026-01-02", "2026-01-01", Every::Day, "UTC");
        assert!(says.contains("found 2026-01-02 and 2026-01-01"), "{says}");
        let says = refused("1990-01-01", "2026-01-01", Every::Day, "UTC");
        assert!(says.contains("at most 10000 partitions, found 13150 or more"), "{says}");
        let says = refused("2025-01-01", "2026-03-31", Every::Hour, "UTC");
        assert!(says.contains("found 10920"), "{says}");
        let says = refused("2026-01-01", "2026-01-01", Every::Day, "Europe/Berlln");
        assert!(says.contains("Europe/Berlin"), "{says}");
        assert!(day("from", "01.02.2026").unwrap_err().to_string().contains("2026-01-31"));
    }
}
