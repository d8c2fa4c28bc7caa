//! Calendar units on the axis of local dates, numbered.

use std::sync::Arc;

use chrono::{Datelike, NaiveDate, TimeDelta, Weekday};

use super::holidays::Holidays;
use super::interval::Unit;

/// The days of a week that a business-day calendar has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Weekdays(u8);

impl Weekdays {
    /// Monday to Friday.
    pub const MONDAY_TO_FRIDAY: Self = Self(0b001_1111);

    /// `None` without any.
    pub fn of(days: impl IntoIterator<Item = Weekday>) -> Option<Self> {
        let bits = days.into_iter().fold(0, |bits, day| bits | 1 << day.num_days_from_monday());
        (bits != 0).then_some(Self(bits))
    }

    /// Whether it has this one.
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.num_days_from_monday()) != 0
    }

    /// Number of days a week.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// How many are before this day of the week, Monday being 0.
    fn before(self, day: u32) -> i64 {
        i64::from((self.0 & ((1 << day) - 1)).count_ones())
    }
}

/// Periods of a number of calendar units. Each has a number, and begins at a date.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Periods {
    unit: Unit,
    count: i64,
    /// Units from the epoch of the unit to the begin of a period.
    phase: i64,
    weekdays: Weekdays,
    /// Holidays that are on one of the weekdays, rising.
    holidays: Arc<[NaiveDate]>,
}

impl Periods {
    /// Periods of `count` units. One of them begins with the unit that contains `begins_at`; without
    /// it they are those of the calendar, in which quarters begin in January.
    pub(super) fn of(
        unit: Unit,
        count: u32,
        weekdays: Weekdays,
        holidays: &Holidays,
        begins_at: Option<NaiveDate>,
    ) -> Self {
        let on_weekdays =
            holidays.days().iter().copied().filter(|day| weekdays.contains(day.weekday()));
        let count = i64::from(count.max(1));
        let mut periods = Self { unit, count, phase: 0, weekdays, holidays: on_weekdays.collect() };
        if let Some(date) = begins_at {
            periods.phase = periods.units(date).rem_euclid(count);
        }
        periods
    }

    pub(super) fn unit(&self) -> Unit {
        self.unit
    }

    pub(super) fn count(&self) -> u32 {
        self.count as u32
    }

    pub(super) fn weekdays(&self) -> Weekdays {
        self.weekdays
    }

    /// The number of the period that contains `date`.
    pub(super) fn number(&self, date: NaiveDate) -> i64 {
        (self.units(date) - self.phase).div_euclid(self.count)
    }

    /// The first day of a period; `None` beyond the dates that can be represented.
    pub(super) fn start(&self, number: i64) -> Option<NaiveDate> {
        let units = number.checked_mul(self.count)?.checked_add(self.phase)?;
        match self.unit {
            Unit::Day => of_days(units),
            Unit::Week => of_days(units.checked_mul(7)?.checked_add(MONDAY)?),
            Unit::Month => {
                let year = i32::try_from(units.div_euclid(12)).ok()?;
                NaiveDate::from_ymd_opt(year, units.rem_euclid(12) as u32 + 1, 1)
            }
            Unit::BusinessDay => self.business_day(units),
        }
    }

    /// Units from the epoch to the one that contains `date`.
    fn units(&self, date: NaiveDate) -> i64 {
        match self.unit {
            Unit::Day => days(date),
            Unit::Week => (days(date) - MONDAY).div_euclid(7),
            Unit::Month => i64::from(date.year()) * 12 + i64::from(date.month0()),
            Unit::BusinessDay => self.business_days_until(date) - 1,
        }
    }

    /// Working days from the epoch to `date`, which counts too.
    fn business_days_until(&self, date: NaiveDate) -> i64 {
        let after = days(date) + 1 - MONDAY;
        let (weeks, day) = (after.div_euclid(7), after.rem_euclid(7) as u32);
        let all = weeks * i64::from(self.weekdays.count()) + self.weekdays.before(day);
        all - self.holidays.partition_point(|holiday| *holiday <= date) as i64
    }

    /// The first date by which there were `units` + 1 working days.
    fn business_day(&self, units: i64) -> Option<NaiveDate> {
        // Holidays can only make it later.
        let later = units.checked_add(self.holidays.len() as i64)?;
        let day_of = |units: i64| {
            units.div_euclid(i64::from(self.weekdays.count())).checked_mul(7)?.checked_add(MONDAY)
        };
        let (mut low, mut high) = (day_of(units)?, day_of(later)?.checked_add(7)?);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.business_days_until(of_days(middle)?) > units {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        of_days(low)
    }
}

/// 1969-12-29, the Monday before 1970, in days since 1970-01-01.
const MONDAY: i64 = -3;

/// Days since 1970-01-01.
pub(super) fn days(date: NaiveDate) -> i64 {
    (date - NaiveDate::default()).num_days()
}

fn of_days(days: i64) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(TimeDelta::try_days(days)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn periods(unit: Unit, count: u32, begins_at: Option<&str>) -> Periods {
        let weekdays = Weekdays::MONDAY_TO_FRIDAY;
        let holidays = Holidays::of([date("2026-01-01"), date("2026-12-25"), date("2026-12-26")]);
        Periods::of(unit, count, weekdays, &holidays, begins_at.map(date))
    }

    fn around(of: &Periods, at: &str) -> Vec<String> {
        let number = of.number(date(at));
        (number - 1..=number + 1).map(|number| of.start(number).unwrap().to_string()).collect()
    }

    #[test]
    fn a_period_begins_where_the_calendar_says() {
        for (unit, count, begins_at, at, expected) in [
            (Unit::Day, 1, None, "2024-03-01", ["2024-02-29", "2024-03-01", "2024-03-02"]),
            (Unit::Week, 1, None, "2026-01-01", ["2025-12-22", "2025-12-29", "2026-01-05"]),
            (Unit::Month, 1, None, "2024-02-29", ["2024-01-01", "2024-02-01", "2024-03-01"]),
            (Unit::Month, 3, None, "2026-06-30", ["2026-01-01", "2026-04-01", "2026-07-01"]),
            (Unit::Month, 12, None, "1969-06-30", ["1968-01-01", "1969-01-01", "1970-01-01"]),
            (
                Unit::Month,
                12,
                Some("2020-07-01"),
                "2026-06-30",
                ["2024-07-01", "2025-07-01", "2026-07-01"],
            ),
            (Unit::BusinessDay, 1, None, "2026-01-05", ["2026-01-02", "2026-01-05", "2026-01-06"]),
            // New Year's Day is a holiday, and Saturday belongs to Friday.
            (Unit::BusinessDay, 1, None, "2026-01-03", ["2025-12-31", "2026-01-02", "2026-01-05"]),
            (Unit::BusinessDay, 1, None, "2026-12-28", ["2026-12-24", "2026-12-28", "2026-12-29"]),
        ] {
            let of = periods(unit, count, begins_at);
            assert_eq!(around(&of, at), expected, "{unit:?} {count} {at}");
        }
    }

    #[test]
    fn numbers_and_starts_are_inverse() {
        for (unit, count) in [
            (Unit::Day, 1),
            (Unit::Day, 10),
            (Unit::Week, 1),
            (Unit::Week, 2),
            (Unit::Month, 1),
            (Unit::Month, 6),
            (Unit::BusinessDay, 1),
            (Unit::BusinessDay, 3),
        ] {
            let of = periods(unit, count, Some("2025-11-05"));
            for number in of.number(date("1899-12-31"))..of.number(date("1900-12-31")) {
                assert_eq!(of.number(of.start(number).unwrap()), number);
            }
            let mut last = of.number(date("2025-10-01"));
            for day in 0..500 {
                let date = date("2025-10-01") + TimeDelta::days(day);
                let number = of.number(date);
                assert!(number == last || number == last + 1, "{unit:?} {count} {date}");
                let (start, next) = (of.start(number).unwrap(), of.start(number + 1).unwrap());
                assert!(start <= date && date < next, "{unit:?} {count} {date}");
                last = number;
            }
        }
        assert_eq!(periods(Unit::Month, 1, None).start(i64::MAX), None);
        assert_eq!(periods(Unit::Day, 1, None).start(i64::MAX), None);
        assert_eq!(periods(Unit::BusinessDay, 1, None).start(i64::MAX), None);
    }

    #[test]
    fn a_week_can_have_other_working_days() {
        let weekdays = Weekdays::of([Weekday::Sun, Weekday::Mon, Weekday::Thu]).unwrap();
        let of = Periods::of(Unit::BusinessDay, 1, weekdays, &Holidays::default(), None);
        assert_eq!(around(&of, "2026-01-05"), ["2026-01-04", "2026-01-05", "2026-01-08"]);
        assert_eq!(Weekdays::of([]), None);
        assert_eq!(weekdays.count(), 3);
    }
}
