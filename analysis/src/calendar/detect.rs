//! Infers the grid of a series from the instants of its samples.

use std::collections::HashMap;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Weekday};
use chrono_tz::Tz;

use super::grid::{Grid, Place, local};
use super::holidays::Holidays;
use super::interval::Unit;
use super::periods::{Periods, Weekdays, days};
use super::zone::Zone;
use crate::series::Span;

/// Samples closer together than this are a fixed length apart. A day has at least 23 hours.
const CALENDAR_MIN_US: i64 = 20 * Span::HOUR.micros();
/// The usual distance of a monthly series is at least this number of days.
const MONTH_DAYS_MIN: i64 = 25;
/// Part of the samples, or of their distances, that a calendar must explain.
const EXPLAINED_MIN: f64 = 0.9;
/// The same for working days: single holidays are missing.
const EXPLAINED_OF_WORKING_DAYS_MIN: f64 = 0.7;
/// Days of a month that count as the same: the last working day of a month is up to 2 days off.
const SAME_DAY_OFF_MAX: i64 = 2;
/// Part of the usual distance that the time of day may be off.
const TIME_OFF_MAX: f64 = 0.125;
/// Part of the samples that may be on days off.
const ON_DAYS_OFF_MAX: f64 = 0.02;
/// Weeks after which a weekday without samples is a day off.
const WEEKS_MIN: i64 = 2;

impl Grid {
    /// The grid that samples at rising `times` are on: a calendar unit in `zone` if it explains their
    /// distances, otherwise the median distance, from the last sample. O(n).
    pub fn found(times: &[i64], zone: Zone, holidays: &Holidays) -> Self {
        let usual_us = median(times.windows(2).map(|pair| pair[1] - pair[0]).collect());
        let span = usual_us.and_then(Span::from_micros).unwrap_or(Span::SECOND);
        let last_us = times.last().copied().unwrap_or_default();
        let calendar = || Dated::of(times, zone.0, span.micros())?.grid(zone, holidays);
        match times.len() >= 3 && span.micros() >= CALENDAR_MIN_US {
            true => calendar().unwrap_or_else(|| Self::fixed(span, last_us)),
            false => Self::fixed(span, last_us),
        }
    }
}

/// Samples by their local date.
struct Dated {
    dates: Vec<NaiveDate>,
    /// Days between neighbours.
    distances: Vec<i64>,
    usual: i64,
    /// The usual time of day.
    time: NaiveTime,
}

impl Dated {
    /// `None` if times of day differ too much.
    fn of(times: &[i64], zone: Tz, usual_us: i64) -> Option<Self> {
        let noon = TimeDelta::hours(12);
        let locals: Vec<NaiveDateTime> = times.iter().map(|at_us| local(*at_us, zone)).collect();
        let time = usual_time(&locals)?;
        let (mut dates, mut near) = (Vec::with_capacity(times.len()), 0_usize);
        for at in locals {
            // To the nearest date, for samples around midnight.
            let date =
                (at.checked_sub_signed(time - NaiveTime::MIN)?.checked_add_signed(noon)?).date();
            let off = (at - date.and_time(time)).num_microseconds()?;
            near += usize::from(off.unsigned_abs() as f64 <= TIME_OFF_MAX * usual_us as f64);
            dates.push(date);
        }
        if (near as f64) < EXPLAINED_MIN * times.len() as f64 {
            return None;
        }
        let distances: Vec<i64> =
            dates.windows(2).map(|pair| days(pair[1]) - days(pair[0])).collect();
        let usual = median(distances.clone()).filter(|usual| *usual > 0)?;
        Some(Self { dates, distances, usual, time })
    }

    fn grid(&self, zone: Zone, holidays: &Holidays) -> Option<Grid> {
        let found = self.months().or_else(|| self.weeks()).or_else(|| self.working_days());
        let (unit, count, weekdays, place, begins_at) = found.or_else(|| self.days())?;
        let periods = Periods::of(unit, count, weekdays, holidays, Some(begins_at));
        Some(Grid::of_periods(periods, zone, place))
    }

    fn months(&self) -> Option<Shape> {
        if self.usual < MONTH_DAYS_MIN {
            return None;
        }
        let month = |date: &NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
        let between: Vec<i64> =
            self.dates.windows(2).map(|pair| month(&pair[1]) - month(&pair[0])).collect();
        let count = median(between.clone()).filter(|count| *count > 0)?;
        if !mostly(&between, EXPLAINED_MIN, |months| months > 0 && months % count == 0) {
            return None;
        }
        let of_month = |date: &NaiveDate| i64::from(date.num_days_in_month());
        let after: Vec<i64> = self.dates.iter().map(|date| i64::from(date.day0())).collect();
        let before: Vec<i64> =
            self.dates.iter().zip(&after).map(|(date, after)| of_month(date) - 1 - after).collect();
        let usual = (median(after.clone())?, median(before.clone())?);
        let off = |of: &[i64], usual: i64| of.iter().map(|day| (day - usual).abs()).sum::<i64>();
        let is_at_end = off(&before, usual.1) < off(&after, usual.0);
        let (of, usual) = if is_at_end { (before, usual.1) } else { (after, usual.0) };
        if !mostly(&of, EXPLAINED_MIN, |day| (day - usual).abs() <= SAME_DAY_OFF_MAX) {
            return None;
        }
        let (offset, time) = (usual as u64, self.time);
        let last = *self.dates.last()?;
        let (place, begins_at) = match is_at_end {
            true => (
                Place::BeforeLastDay(offset, time),
                last.checked_add_months(chrono::Months::new(1))?,
            ),
            false => (Place::AfterFirstDay(offset, time), last),
        };
        let count = u32::try_from(count).ok()?;
        Some((Unit::Month, count, Weekdays::MONDAY_TO_FRIDAY, place, begins_at))
    }

    fn weeks(&self) -> Option<Shape> {
        let is_of_weeks = self.usual % 7 == 0
            && mostly(&self.distances, EXPLAINED_MIN, |days| days > 0 && days % self.usual == 0);
        if !is_of_weeks {
            return None;
        }
        let last = *self.dates.last()?;
        let day = u64::from(last.weekday().num_days_from_monday());
        let place = Place::AfterFirstDay(day, self.time);
        let count = u32::try_from(self.usual / 7).ok()?;
        Some((Unit::Week, count, Weekdays::MONDAY_TO_FRIDAY, place, last))
    }

    /// Days of which some weekdays never have a sample.
    fn working_days(&self) -> Option<Shape> {
        let (first, last) = (*self.dates.first()?, *self.dates.last()?);
        if days(last) - days(first) < 7 * WEEKS_MIN {
            return None;
        }
        let mut counts = [0_usize; 7];
        for date in &self.dates {
            counts[date.weekday().num_days_from_monday() as usize] += 1;
        }
        let most = counts.into_iter().max()?;
        let week = std::iter::successors(Some(Weekday::Mon), |day| Some(day.succ())).take(7);
        let used = week.zip(counts).filter(|(_, count)| 2 * count >= most).map(|(day, _)| day);
        let weekdays = Weekdays::of(used).filter(|days| (2..7).contains(&days.count()))?;
        let on_days_off = self.dates.iter().filter(|date| !weekdays.contains(date.weekday()));
        if on_days_off.count() as f64 > ON_DAYS_OFF_MAX * self.dates.len() as f64 {
            return None;
        }
        let periods = Periods::of(Unit::BusinessDay, 1, weekdays, &Holidays::default(), None);
        let between: Vec<i64> = self
            .dates
            .windows(2)
            .map(|pair| periods.number(pair[1]) - periods.number(pair[0]))
            .collect();
        if !mostly(&between, EXPLAINED_OF_WORKING_DAYS_MIN, |days| days == 1) {
            return None;
        }
        let place = Place::AfterFirstDay(0, self.time);
        Some((Unit::BusinessDay, 1, weekdays, place, last))
    }

    fn days(&self) -> Option<Shape> {
        let is_of_days = |days: i64| days > 0 && days % self.usual == 0;
        if !mostly(&self.distances, EXPLAINED_OF_WORKING_DAYS_MIN, is_of_days) {
            return None;
        }
        let place = Place::AfterFirstDay(0, self.time);
        let count = u32::try_from(self.usual).ok()?;
        Some((Unit::Day, count, Weekdays::MONDAY_TO_FRIDAY, place, *self.dates.last()?))
    }
}

/// The most frequent time of day; of several the one that the latest sample has. A clock change can
/// move the last sample alone.
fn usual_time(locals: &[NaiveDateTime]) -> Option<NaiveTime> {
    let mut counts: HashMap<NaiveTime, usize> = HashMap::new();
    locals.iter().for_each(|at| *counts.entry(at.time()).or_default() += 1);
    locals.iter().map(NaiveDateTime::time).max_by_key(|time| counts[time])
}

/// Unit, count, working days, the instant of a period, and a date with whose unit a period begins.
type Shape = (Unit, u32, Weekdays, Place, NaiveDate);

fn mostly(of: &[i64], part: f64, is: impl Fn(i64) -> bool) -> bool {
    of.iter().filter(|value| is(**value)).count() as f64 >= part * of.len() as f64
}

fn median(mut of: Vec<i64>) -> Option<i64> {
    let middle = of.len() / 2;
    (!of.is_empty()).then(|| *of.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout)]
    use chrono::{DateTime, Months, TimeZone};

    use super::*;
    use crate::Noise;
    use crate::calendar::Interval;
    use crate::testing::{number_from, seed};

    fn times(texts: &[&str]) -> Vec<i64> {
        let at = |text: &&str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
        texts.iter().map(at).collect()
    }

    fn found(times: &[i64], zone: Tz) -> Grid {
        Grid::found(times, Zone(zone), &Holidays::default())
    }

    /// Instants of every date of a range that `is` selects, at a time of day.
    fn dates(from: &str, days: u64, is: impl Fn(NaiveDate) -> bool) -> Vec<i64> {
        let from: NaiveDate = from.parse().unwrap();
        let all = (0..days).map(|day| from + chrono::Days::new(day)).filter(|date| is(*date));
        all.map(|date| date.and_hms_opt(6, 30, 0).unwrap().and_utc().timestamp_micros()).collect()
    }

    #[test]
    fn the_interval_of_dates_is_a_unit_of_the_calendar() {
        use chrono::Weekday::{Fri, Sat, Sun};
        let last_working_day = |date: NaiveDate| {
            let is_off = |date: NaiveDate| matches!(date.weekday(), Sat | Sun);
            let next = |date: NaiveDate| date.succ_opt().unwrap();
            let mut after = next(date);
            while is_off(after) {
                after = next(after);
            }
            !is_off(date) && after.month() != date.month()
        };
        for (times, expected) in [
            (dates("2015-01-01", 3_650, |date| date.day() == 1), "1mo"),
            (dates("2015-01-01", 900, |date| date.succ_opt().unwrap().day() == 1), "1mo"),
            (dates("2015-01-01", 900, last_working_day), "1mo"),
            (dates("2015-01-01", 900, |date| date.day() == 15), "1mo"),
            (dates("2015-01-01", 900, |date| date.day() == 1 && date.month() % 3 == 2), "1q"),
            (dates("2015-01-01", 900, |date| date.day() == 1 && date.month() % 2 == 0), "2mo"),
            (dates("2015-01-01", 3_650, |date| date.day() == 31 && date.month() == 12), "1y"),
            (dates("2015-01-01", 300, |date| date.weekday() == Sun), "1w"),
            (dates("2015-01-01", 300, |date| days(date) % 14 == 0), "2w"),
            // Four weeks are not a month.
            (dates("2015-01-01", 900, |date| days(date) % 28 == 0), "4w"),
            (dates("2015-01-01", 430, |date| !matches!(date.weekday(), Sat | Sun)), "1bd"),
            (dates("2015-01-01", 60, |date| !matches!(date.weekday(), Fri | Sat)), "1bd"),
            (dates("2015-01-01", 60, |date| date.weekday() != Sun), "1bd"),
            (dates("2015-01-01", 60, |_| true), "1d"),
            // One week does not show that there is no Saturday.
            (dates("2026-01-05", 9, |date| !matches!(date.weekday(), Sat | Sun)), "1d"),
            (dates("2015-01-01", 60, |date| days(date) % 3 == 0), "3d"),
            (dates("2015-01-01", 60, |date| date.day() != 13), "1d"),
        ] {
            assert_eq!(found(&times, Tz::UTC).interval().to_string(), expected);
        }
    }

    #[test]
    fn other_samples_are_a_fixed_length_apart() {
        for (times, expected) in [
            (vec![], "1s"),
            (vec![7], "1s"),
            (vec![0, 3_600_000_000], "1h"),
            (vec![0, 5, 10, 15, 1_000, 1_005, 1_011], "5us"),
            // Each day at another time.
            (
                times(&["2026-01-01T00:00:00Z", "2026-01-02T07:00:00Z", "2026-01-03T20:00:00Z"]),
                "37h",
            ),
        ] {
            let grid = found(&times, Tz::UTC);
            assert_eq!(grid.interval().to_string(), expected);
            let last = times.last().copied().unwrap_or_default();
            assert_eq!((grid.number(last), grid.at(0)), (0, last));
        }
    }

    #[test]
    fn days_of_a_zone_have_23_to_25_hours() {
        let times = times(&[
            "2026-03-27T23:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
            "2026-03-30T22:00:00Z",
        ]);
        let zone: Tz = "Europe/Berlin".parse().unwrap();
        let grid = found(&times, zone);
        assert_eq!(grid.interval(), Interval::DAY);
        let numbers: Vec<i64> = times.iter().map(|at| grid.number(*at)).collect();
        let expected: Vec<i64> = (numbers[0]..).take(4).collect();
        assert_eq!(numbers, expected);
        let at: Vec<i64> = numbers.iter().map(|number| grid.at(*number)).collect();
        assert_eq!(at, times);
    }

    /// `COLONNADE_SERIES` and `COLONNADE_TEST_SEED` choose how many series, and which.
    #[test]
    fn random_series_continue_at_the_instants_that_the_calendar_has() {
        const ZONES: [&str; 7] = [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "America/Sao_Paulo",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "Pacific/Apia",
        ];
        let (count, seed) = (number_from("COLONNADE_SERIES", 300), seed());
        println!("{count} series, COLONNADE_TEST_SEED={seed}");
        let mut noise = Noise::new(seed);
        let mut below = |most: usize| (noise.uniform() * most as f64) as usize;
        for _ in 0..count {
            let zone: Tz = ZONES[below(ZONES.len())].parse().unwrap();
            let time = NaiveTime::from_hms_opt(below(24) as u32, 15, 0).unwrap();
            let start = NaiveDate::default() + chrono::Days::new(below(25_000) as u64);
            let shape = below(7);
            let known = [60, 24, 24, 20, 40, 60, 16][shape] + below(40);
            let date_of = |at: usize| -> NaiveDate {
                let first = start.with_day(1).unwrap();
                let months = |months: u32| first + Months::new(months);
                match shape {
                    0 => start + chrono::Days::new(at as u64),
                    1 => months(at as u32) + chrono::Days::new(u64::from(start.day0() % 28)),
                    // The last day of the month.
                    2 => months(at as u32 + 1).pred_opt().unwrap(),
                    3 => months(3 * at as u32),
                    4 => start + chrono::Days::new(7 * at as u64),
                    5 => {
                        let is_working = |date: &NaiveDate| {
                            !matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
                        };
                        start.iter_days().filter(is_working).nth(at).unwrap()
                    }
                    _ => first + Months::new(12 * at as u32),
                }
            };
            let at_of = |at: usize| {
                let local = date_of(at).and_time(time);
                zone.from_local_datetime(&local).earliest().map(|at| at.timestamp_micros())
            };
            if at_of(known - 1).is_none() {
                continue;
            }
            // A date that the zone skipped has no sample.
            let mut times: Vec<i64> = (0..known).filter_map(at_of).collect();
            // One in ten is missing, but neither the first nor the last.
            let last = times.len() - 1;
            let mut at = 0;
            times.retain(|_| {
                at += 1;
                at == 1 || at > last || below(10) > 0
            });
            let grid = found(&times, zone);
            let number = grid.number(*times.last().unwrap());
            for step in 0..12 {
                let Some(expected) = at_of(known - 1 + step) else { continue };
                let at = grid.at(number + step as i64);
                assert_eq!(
                    local(at, zone),
                    local(expected, zone),
                    "shape {shape} {zone} {start} {time}: {} step {step}",
                    grid.interval()
                );
            }
        }
    }
}
