//! The walk along the time line, from tick to tick.
//!
//! Time is cut into stretches of one offset to UTC. Within one, local time runs evenly, and a tick
//! is the next local time that matches. Where two stretches meet, local time jumps:
//!
//! ```text
//! UTC    ──────────────┬──────────────►        ──────────────┬──────────────►
//! local   01:58  01:59 │ 03:00  03:01           01:58  01:59 │ 01:00  01:01
//!                gap: 02:00 to 02:59                    again: 01:00 to 01:59
//! ```
//!
//! Seconds are plain integers here and the offset is asked for once a stretch, since a line of every
//! minute has a million ticks in two years.

use chrono::{DateTime, Datelike, FixedOffset, Utc};
use croner::{CronPattern, Weekday};

use super::line::Pace;
use super::{Cron, Tick, zone};

const MINUTE_SECONDS: i64 = 60;
const DAY_MINUTES: i64 = 1_440;
const DAY_SECONDS: i64 = 86_400;
/// Offsets lie between -12 and +14 hours, so that no clock change is greater. Two changes that
/// cancel each other within that time would be missed; since 1970 no two are closer than 167 hours.
const WINDOW_SECONDS: i64 = 26 * 3_600;
/// The Gregorian calendar repeats, weekdays and all.
const CYCLE_DAYS: i64 = 146_097;
/// 0001-01-01 and the last second of 9999, which RFC 3339 can write in any zone.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799 - DAY_SECONDS;

/// Which local times match, clock changes left aside.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    pattern: CronPattern,
    /// Bit `m` stands for minute `m`.
    minutes: u64,
    /// Bit `h` stands for hour `h`.
    hours: u64,
    /// Bit `m` stands for month `m`, from 1 on.
    months: u64,
}

impl Calendar {
    pub(super) fn new(pattern: CronPattern) -> Self {
        let bits = |values: Vec<u16>| {
            values.into_iter().filter(|v| *v < 64).fold(0, |bits, value| bits | 1 << value)
        };
        Self {
            minutes: bits(pattern.minutes.values()),
            hours: bits(pattern.hours.values()),
            months: bits(pattern.months.values()),
            pattern,
        }
    }

    /// Whether any date matches. One full cycle of the calendar decides it for all time.
    pub(super) fn has_a_day(&self) -> bool {
        self.next(0, CYCLE_DAYS * DAY_SECONDS).is_some()
    }

    /// The first matching local time in [`from`, `to`), all in seconds on the local clock.
    fn next(&self, from: i64, to: i64) -> Option<i64> {
        let first = (from + MINUTE_SECONDS - 1).div_euclid(MINUTE_SECONDS);
        let mut day = first.div_euclid(DAY_MINUTES);
        let mut minute = first.rem_euclid(DAY_MINUTES);
        while day * DAY_SECONDS < to {
            let date = DateTime::from_timestamp(day * DAY_SECONDS, 0)?.date_naive();
            if self.months >> date.month() & 1 == 0 {
                day += i64::from(date.num_days_in_month()) - i64::from(date.day0());
                minute = 0;
                continue;
            }
            let weekday = Weekday::from_days_from_sunday(date.weekday().num_days_from_sunday());
            let found = self.pattern.day_match(date.year(), date.month(), date.day(), weekday);
            if found.unwrap_or(false)
                && let Some(minute) = self.minute_from(minute)
            {
                let local = (day * DAY_MINUTES + minute) * MINUTE_SECONDS;
                return (local < to).then_some(local);
            }
            day += 1;
            minute = 0;
        }
        None
    }

    fn matches(&self, local: i64) -> bool {
        self.next(local, local + 1).is_some()
    }

    /// The first matching minute of a day from `minute` on.
    fn minute_from(&self, minute: i64) -> Option<i64> {
        let (hour, minute) = (minute / 60, minute % 60);
        let later = self.minutes >> minute;
        if self.hours >> hour & 1 == 1 && later != 0 {
            return Some(hour * 60 + minute + i64::from(later.trailing_zeros()));
        }
        let hours = self.hours >> (hour + 1);
        (hours != 0 && self.minutes != 0).then(|| {
            let hour = hour + 1 + i64::from(hours.trailing_zeros());
            hour * 60 + i64::from(self.minutes.trailing_zeros())
        })
    }
}

/// A tick before it is written out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    due: i64,
    local: i64,
    offset: i64,
}

impl Found {
    pub(super) fn due(self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.due, 0).unwrap_or_default()
    }

    pub(super) fn tick(self) -> Tick {
        let offset = i32::try_from(self.offset).ok().and_then(FixedOffset::east_opt);
        let scheduled = DateTime::from_timestamp(self.local - self.offset, 0).unwrap_or_default();
        let logical = match offset {
            Some(offset) => scheduled.with_timezone(&offset).to_rfc3339(),
            None => scheduled.to_rfc3339(),
        };
        Tick { due: self.due(), logical }
    }
}

/// The ticks after an instant, up to another.
pub(super) struct Walk<'a> {
    cron: &'a Cron,
    /// All up to here is told.
    at: i64,
    until: i64,
    stretch: Stretch,
}

/// From `start` up to, not with, `end` local time is `offset` ahead of UTC.
struct Stretch {
    start: i64,
    end: i64,
    offset: i64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(cron: &'a Cron, after: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        let at = after.timestamp().clamp(FIRST_SECOND, LAST_SECOND);
        let until = until.timestamp().clamp(FIRST_SECOND, LAST_SECOND);
        Self { cron, at, until, stretch: Stretch::from(cron, at) }
    }

    /// The tick at the jump that ends the stretch, if there is one; goes on to the next stretch.
    fn jump(&mut self, offset: i64) -> Option<Found> {
        let Stretch { end, offset: before, .. } = self.stretch;
        let Cron { calendar, zone, pace, .. } = self.cron;
        self.at = end;
        self.stretch = Stretch::from(self.cron, end);
        let local = end + offset;
        let fixed = *pace == Pace::Fixed;
        if calendar.matches(local) && !(fixed && zone::comes_again(*zone, local, offset)) {
            return Some(Found { due: end, local, offset });
        }
        let skipped = if fixed { calendar.next(end + before, local) } else { None };
        skipped.map(|skipped| Found { due: end, local: skipped, offset: before })
    }

    /// Leaves a stretch without a jump, over all the time in which nothing can match.
    ///
    /// Let `local` be the next matching time after the stretch began. A tick a window or more after
    /// that begin names a time after it, so `local` or a later one; and it falls at most a window
    /// before `local` at this offset.
    fn stride(&mut self) {
        let Stretch { start, end, offset } = self.stretch;
        let last = (start + CYCLE_DAYS * DAY_SECONDS).min(self.until) + offset + WINDOW_SECONDS;
        self.at = match self.cron.calendar.next(start + offset + 1, last) {
            Some(local) => (local - offset - WINDOW_SECONDS - 1).max(end - 1),
            None => self.until,
        };
        self.stretch = Stretch::from(self.cron, self.at);
    }
}

impl Iterator for Walk<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        while self.at < self.until {
            let Stretch { end, offset, .. } = self.stretch;
            let Cron { calendar, zone, pace, .. } = self.cron;
            let found = match calendar.next(self.at + offset + 1, end + offset) {
                Some(local) => {
                    self.at = local - offset;
                    let again = *pace == Pace::Fixed && zone::comes_again(*zone, local, offset);
                    (!again).then_some(Found { due: self.at, local, offset })
                }
                None => match zone::offset_seconds(*zone, end) {
                    same if same == offset => {
                        self.stride();
                        None
                    }
                    other => self.jump(other),
                },
            };
            if let Some(found) = found {
                return (found.due <= self.until).then_some(found);
            }
        }
        None
    }
}

impl Stretch {
    /// The stretch around `start`, as far as one window shows it.
    fn from(cron: &Cron, start: i64) -> Self {
        let offset = zone::offset_seconds(cron.zone, start);
        let (mut same, mut end) = (start, start + WINDOW_SECONDS);
        if zone::offset_seconds(cron.zone, end) != offset {
            while end - same > 1 {
                let middle = same + (end - same) / 2;
                match zone::offset_seconds(cron.zone, middle) == offset {
                    true => same = middle,
                    false => end = middle,
                }
            }
        }
        Self { start, end, offset }
    }
}
