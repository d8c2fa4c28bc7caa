//! Intervals placed on the time axis.

use std::ops::Range;

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

use super::holidays::Holidays;
use super::interval::{Interval, Unit};
use super::periods::{Periods, Weekdays};
use super::zone::Zone;
use crate::series::Span;

/// Days of a mean year of the Gregorian calendar.
const YEAR_DAYS: f64 = 365.242_5;

/// The intervals of a regular series, numbered, with the instant of each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    interval: Interval,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Instants a fixed length apart. A sample belongs to the nearest one.
    Fixed {
        micros: i64,
        anchor_us: i64,
    },
    Calendar {
        periods: Periods,
        zone: Tz,
        place: Place,
    },
}

/// The instant of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Its begin. A sample belongs to the period that contains it.
    Begin,
    /// A number of days after its first day, at a time of day. A sample belongs to the nearest instant.
    AfterFirstDay(u64, NaiveTime),
    /// A number of days before its last day, at a time of day. A sample belongs to the nearest instant.
    BeforeLastDay(u64, NaiveTime),
}

impl Grid {
    /// Instants `span` apart, one of which is `anchor_us`.
    pub fn fixed(span: Span, anchor_us: i64) -> Self {
        let kind = Kind::Fixed { micros: span.micros(), anchor_us };
        Self { interval: Interval::Fixed(span), kind }
    }

    /// The grid of a stated interval. Calendar periods begin where those of the calendar do, and
    /// instants of fixed intervals are multiples of the interval from `anchor_us`.
    pub fn stated(interval: Interval, zone: Zone, holidays: &Holidays, anchor_us: i64) -> Self {
        match interval {
            Interval::Fixed(span) => Self::fixed(span, anchor_us),
            Interval::Calendar(unit, count) => {
                let weekdays = Weekdays::MONDAY_TO_FRIDAY;
                let periods = Periods::of(unit, count, weekdays, holidays, None);
                Self::of_periods(periods, zone, Place::Begin)
            }
        }
    }

    pub(super) fn of_periods(periods: Periods, Zone(zone): Zone, place: Place) -> Self {
        let interval = Interval::Calendar(periods.unit(), periods.count());
        Self { interval, kind: Kind::Calendar { periods, zone, place } }
    }

    /// The distance between two of its instants.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// The working days, if its intervals are business days.
    pub fn weekdays(&self) -> Option<Weekdays> {
        match &self.kind {
            Kind::Calendar { periods, .. } if periods.unit() == Unit::BusinessDay => {
                Some(periods.weekdays())
            }
            _ => None,
        }
    }

    /// The number of the interval that an instant belongs to, in microseconds since 1970 in UTC.
    pub fn number(&self, at_us: i64) -> i64 {
        match &self.kind {
            Kind::Fixed { micros, anchor_us } => {
                // Halfway between two, it belongs to the earlier.
                let before = anchor_us.saturating_sub(at_us).saturating_add(micros / 2);
                -before.div_euclid(*micros)
            }
            Kind::Calendar { periods, zone, place } => {
                let number = periods.number(local(at_us, *zone).date());
                match place {
                    Place::Begin => number,
                    _ => {
                        let off = |number: &i64| self.at(*number).abs_diff(at_us);
                        let near = [number, number - 1, number + 1];
                        near.into_iter().min_by_key(off).unwrap_or(number)
                    }
                }
            }
        }
    }

    /// The lengths of the calendar's seasons in intervals, rising: a day, a week and a year, where each
    /// has at least two intervals, and where all days and weeks have the same number of intervals.
    pub fn seasons(&self) -> Vec<usize> {
        let per = |season: i64, micros: i64| (season % micros == 0).then_some(season / micros);
        let of_days = |days: i64| [per(7, days), Some((YEAR_DAYS / days as f64).round() as i64)];
        let found: Vec<Option<i64>> = match self.interval {
            Interval::Fixed(span) if span >= Span::DAY => per(span.micros(), Span::DAY.micros())
                .map_or_else(Vec::new, |days| of_days(days).into()),
            Interval::Fixed(span) => {
                [Span::DAY, Span::WEEK].map(|season| per(season.micros(), span.micros())).into()
            }
            Interval::Calendar(Unit::Day, count) => of_days(count.into()).into(),
            Interval::Calendar(Unit::Week, count) => of_days(7 * i64::from(count)).into(),
            Interval::Calendar(Unit::Month, count) => vec![per(12, count.into())],
            Interval::Calendar(Unit::BusinessDay, count) => {
                let week = self.weekdays().map_or(5, Weekdays::count);
                let year = f64::from(week) * YEAR_DAYS / 7.0 / f64::from(count);
                vec![per(week.into(), count.into()), Some(year.round() as i64)]
            }
        };
        let found = found.into_iter().flatten().filter(|length| *length >= 2);
        found.filter_map(|length| usize::try_from(length).ok()).collect()
    }

    /// The number of the last of its instants that is not after `at_us`.
    pub fn number_before(&self, at_us: i64) -> i64 {
        let number = self.number(at_us);
        if self.at(number) <= at_us { number } else { number.saturating_sub(1) }
    }

    /// The last of its instants that is not after `at_us`.
    pub fn begin(&self, at_us: i64) -> i64 {
        self.at(self.number_before(at_us))
    }

    /// The first of its instants that is after `at_us`.
    pub fn end(&self, at_us: i64) -> i64 {
        self.at(self.number_before(at_us).saturating_add(1))
    }

    /// The begins of the intervals of several instants, quick for instants in order.
    pub fn begins(&self) -> Begins<'_> {
        Begins { grid: self, interval: 0..0 }
    }

    /// One of its instants and their distance, if that is always the same.
    pub fn fixed_length(&self) -> Option<(i64, i64)> {
        match &self.kind {
            Kind::Fixed { micros, anchor_us } => Some((*anchor_us, *micros)),
            Kind::Calendar { zone: Tz::UTC, .. } => {
                let Interval::Calendar(Unit::Day | Unit::Week, _) = self.interval else {
                    return None;
                };
                let anchor_us = self.at(0);
                Some((anchor_us, self.at(1) - anchor_us))
            }
            Kind::Calendar { .. } => None,
        }
    }

    /// The instant of an interval: the begin of a stated calendar period, otherwise where samples
    /// usually are. An instant that cannot be represented is the nearest that can.
    pub fn at(&self, number: i64) -> i64 {
        match &self.kind {
            Kind::Fixed { micros, anchor_us } => {
                number.saturating_mul(*micros).saturating_add(*anchor_us)
            }
            Kind::Calendar { periods, zone, place } => {
                let at = moment(periods, *place, number).and_then(|at| instant(at, *zone));
                at.unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
            }
        }
    }
}

/// Finds the begins of intervals. Rows are in order of time, more often than not, so the interval of the
/// instant before is tried first.
#[derive(Clone, Debug)]
pub struct Begins<'a> {
    grid: &'a Grid,
    interval: Range<i64>,
}

impl Begins<'_> {
    /// What [`Grid::begin`] returns.
    pub fn of(&mut self, at_us: i64) -> i64 {
        if !self.interval.contains(&at_us) {
            let number = self.grid.number_before(at_us);
            self.interval = self.grid.at(number)..self.grid.at(number.saturating_add(1));
        }
        self.interval.start
    }
}

/// The local date and time of a period's instant.
fn moment(periods: &Periods, place: Place, number: i64) -> Option<NaiveDateTime> {
    let first = periods.start(number)?;
    let last = || periods.start(number.checked_add(1)?)?.pred_opt();
    let (date, time): (NaiveDate, NaiveTime) = match place {
        Place::Begin => (first, NaiveTime::MIN),
        Place::AfterFirstDay(days, time) => {
            (first.checked_add_days(Days::new(days))?.min(last()?), time)
        }
        Place::BeforeLastDay(days, time) => {
            (last()?.checked_sub_days(Days::new(days))?.max(first), time)
        }
    };
    Some(date.and_time(time))
}

/// The local time of an instant; that in UTC at the ends of the calendar.
pub(super) fn local(at_us: i64, zone: Tz) -> NaiveDateTime {
    let fallback = if at_us < 0 { NaiveDateTime::MIN } else { NaiveDateTime::MAX };
    let utc = DateTime::from_timestamp_micros(at_us).map_or(fallback, |at| at.naive_utc());
    let offset = zone.offset_from_utc_datetime(&utc).fix();
    utc.checked_add_offset(offset).unwrap_or(utc)
}

/// The instant of a local time. A local time that a clock change repeats is the first of the two, and
/// one that it skips is as long after the change as it is after the skipped time began.
fn instant(at: NaiveDateTime, zone: Tz) -> Option<i64> {
    if let Some(found) = zone.from_local_datetime(&at).earliest() {
        return Some(found.timestamp_micros());
    }
    // No zone changes its clock twice within a day.
    let before = at.checked_sub_signed(TimeDelta::days(1))?;
    let day_before = zone.from_local_datetime(&before).latest()?.timestamp_micros();
    day_before.checked_add(Span::DAY.micros())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at_us(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn text(at_us: i64) -> String {
        let at = DateTime::from_timestamp_micros(at_us).unwrap();
        at.format("%Y-%m-%dT%H:%M").to_string()
    }

    fn stated(interval: &str, zone: &str) -> Grid {
        let (interval, zone) = (interval.parse().unwrap(), zone.parse().unwrap());
        Grid::stated(interval, zone, &Holidays::default(), at_us("2026-01-01T00:10:00Z"))
    }

    fn after(grid: &Grid, at: &str) -> Vec<String> {
        let number = grid.number(at_us(at));
        (number..number + 3).map(|number| text(grid.at(number))).collect()
    }

    #[test]
    fn stated_periods_contain_their_samples_and_begin_at_local_midnight() {
        for (interval, zone, at, expected) in [
            (
                "1mo",
                "UTC",
                "2026-01-31T23:59:00Z",
                ["2026-01-01T00:00", "2026-02-01T00:00", "2026-03-01T00:00"],
            ),
            (
                "1mo",
                "Europe/Berlin",
                "2026-02-28T23:30:00Z",
                ["2026-02-28T23:00", "2026-03-31T22:00", "2026-04-30T22:00"],
            ),
            (
                "1d",
                "America/New_York",
                "2026-03-08T04:59:00Z",
                ["2026-03-07T05:00", "2026-03-08T05:00", "2026-03-09T04:00"],
            ),
            (
                "1bd",
                "UTC",
                "2026-01-10T12:00:00Z",
                ["2026-01-09T00:00", "2026-01-12T00:00", "2026-01-13T00:00"],
            ),
            // In 2018 the clocks of Brazil skipped midnight on November 4.
            (
                "1d",
                "America/Sao_Paulo",
                "2018-11-03T12:00:00Z",
                ["2018-11-03T03:00", "2018-11-04T03:00", "2018-11-05T02:00"],
            ),
            (
                "1h",
                "Europe/Berlin",
                "2026-01-01T00:35:00Z",
                ["2026-01-01T00:10", "2026-01-01T01:10", "2026-01-01T02:10"],
            ),
        ] {
            assert_eq!(after(&stated(interval, zone), at), expected, "{interval} {zone} {at}");
        }
    }

    #[test]
    fn an_instant_belongs_to_its_own_number() {
        for interval in ["7m", "1h", "1d", "3d", "1bd", "1w", "2w", "1mo", "1q", "1y"] {
            for zone in ["UTC", "America/Sao_Paulo", "Australia/Lord_Howe", "America/Havana"] {
                let grid = stated(interval, zone);
                let first = grid.number(at_us("2011-01-01T00:00:00Z"));
                for number in first..first + 400 {
                    assert_eq!(grid.number(grid.at(number)), number, "{interval} {zone}");
                    assert!(grid.at(number) < grid.at(number + 1), "{interval} {zone} {number}");
                }
            }
        }
    }

    #[test]
    fn seasons_are_those_that_the_calendar_has() {
        for (interval, expected) in [
            ("5m", &[288, 2_016][..]),
            ("1h", &[24, 168]),
            ("7h", &[24]),
            ("1d", &[7, 365]),
            ("48h", &[183]),
            ("1bd", &[5, 261]),
            ("1w", &[52]),
            ("4w", &[13]),
            ("1mo", &[12]),
            ("1q", &[4]),
            ("5mo", &[]),
            ("1y", &[]),
        ] {
            assert_eq!(stated(interval, "UTC").seasons(), expected, "{interval}");
        }
    }

    #[test]
    fn an_instant_beyond_all_dates_is_the_last() {
        for interval in ["1mo", "1d", "1bd", "1h"] {
            let grid = stated(interval, "Europe/Berlin");
            assert_eq!(grid.at(i64::MAX), i64::MAX);
            assert!(grid.at(i64::MIN) < -(1 << 62));
            assert!(grid.number(i64::MAX) > 0 && grid.number(i64::MIN) < 0);
        }
    }
}
