//! Periods of the calendar, by number.

use analysis::calendar::{Grid, Holidays, Interval, Zone};
use datafusion::logical_expr::Expr;

use crate::series::begin_of;

/// Days of a quarter.
const QUARTER: f64 = 365.25 / 4.0;
const DAY_US: f64 = 86_400e6;
/// The longest season that matters to periods.
const WEEK_US: f64 = 7.0 * DAY_US;

/// Periods of one length. Fixed lengths count from 1970, calendar units begin at midnight in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Periods {
    grid: Grid,
    /// An instant at which one begins and their length, if that is always the same.
    fixed: Option<(i64, i64)>,
}

impl Periods {
    pub(crate) fn new(interval: Interval, zone: Zone, holidays: &Holidays) -> Self {
        let grid = Grid::stated(interval, zone, holidays, 0);
        let fixed = grid.fixed_length();
        Self { grid, fixed }
    }

    /// The number of the period of an instant.
    pub(crate) fn of(&self, at_us: i64) -> i64 {
        match self.fixed {
            Some((anchor_us, length_us)) => at_us.saturating_sub(anchor_us).div_euclid(length_us),
            None => self.grid.number_before(at_us),
        }
    }

    /// When a period begins.
    pub(crate) fn start_us(&self, number: i64) -> i64 {
        match self.fixed {
            Some((anchor_us, length_us)) => {
                number.saturating_mul(length_us).saturating_add(anchor_us)
            }
            None => self.grid.at(number),
        }
    }

    /// When the period begins that `at`, a timestamp in microseconds, lies in.
    pub(crate) fn begin_of(&self, at: Expr) -> Expr {
        begin_of(&self.grid, at)
    }

    /// The numbers of periods after which values may repeat: those of a day and of a week; 0 for none.
    pub(crate) fn seasons(&self) -> [usize; 2] {
        let length_us = self.grid.interval().mean_micros() as f64;
        let is_short = |season: &usize| *season as f64 * length_us <= WEEK_US;
        let mut found = self.grid.seasons().into_iter().filter(is_short);
        [found.next().unwrap_or(0), found.next().unwrap_or(0)]
    }

    /// How many there are in a quarter of a year.
    pub(crate) fn per_quarter(&self) -> f64 {
        QUARTER * DAY_US / self.grid.interval().mean_micros() as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::{DateTime, Utc};

    use super::*;

    fn periods(interval: &str, zone: &str) -> Periods {
        Periods::new(interval.parse().unwrap(), zone.parse().unwrap(), &Holidays::default())
    }

    #[test]
    fn periods_begin_where_the_calendar_says() {
        // A Saturday.
        let at: DateTime<Utc> = "2026-11-28T13:30:00Z".parse().unwrap();
        for (interval, zone, expected) in [
            ("1h", "UTC", "2026-11-28T13:00:00Z"),
            ("6h", "UTC", "2026-11-28T12:00:00Z"),
            ("1d", "UTC", "2026-11-28T00:00:00Z"),
            ("1d", "Asia/Kolkata", "2026-11-27T18:30:00Z"),
            ("1bd", "UTC", "2026-11-27T00:00:00Z"),
            ("1w", "UTC", "2026-11-23T00:00:00Z"),
            ("1mo", "Europe/Berlin", "2026-10-31T23:00:00Z"),
            ("1q", "UTC", "2026-10-01T00:00:00Z"),
        ] {
            let periods = periods(interval, zone);
            let number = periods.of(at.timestamp_micros());
            let start = DateTime::from_timestamp_micros(periods.start_us(number)).unwrap();
            assert_eq!(start, expected.parse::<DateTime<Utc>>().unwrap(), "{interval} {zone}");
            assert_eq!(periods.of(periods.start_us(number)), number);
            assert_eq!(periods.of(periods.start_us(number) - 1), number - 1);
        }
        // Before 1970, and at both ends.
        assert_eq!(periods("1d", "UTC").of(-1), periods("1d", "UTC").of(0) - 1);
        for at_us in [i64::MIN, i64::MAX] {
            for periods in [periods("1w", "UTC"), periods("1mo", "Europe/Berlin")] {
                let _ = periods.start_us(periods.of(at_us));
            }
        }
    }

    #[test]
    fn days_and_weeks_repeat_in_shorter_periods() {
        let of = |interval: &str| periods(interval, "UTC").seasons();
        assert_eq!(
            ["1h", "6h", "1d", "1bd", "1w", "1mo"].map(of),
            [[24, 168], [4, 28], [7, 0], [5, 0], [0, 0], [0, 0]]
        );
    }
}
