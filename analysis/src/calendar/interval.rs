//! The distance between two neighbouring values of a series.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::series::Span;

/// A fixed length of time, or a number of calendar units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Interval {
    /// A length of time, such as 5 minutes.
    Fixed(Span),
    /// Calendar units. Their lengths vary: months have 28 to 31 days, days have 23 to 25 hours in a
    /// zone with daylight saving time.
    Calendar(Unit, u32),
}

/// A unit of the calendar. A quarter is 3 months, and a year is 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A working day: Monday to Friday unless the data shows other weekdays, without holidays.
    BusinessDay,
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
}

/// The longest interval, in units.
const COUNT_MAX: u32 = 100_000;

/// Texts of units and their values, from the longest of each kind.
const CALENDAR_UNITS: [(&str, Unit, u32); 6] = [
    ("y", Unit::Month, 12),
    ("q", Unit::Month, 3),
    ("mo", Unit::Month, 1),
    ("w", Unit::Week, 1),
    ("d", Unit::Day, 1),
    ("bd", Unit::BusinessDay, 1),
];

/// Words for intervals of one unit.
const WORDS: [(&str, Interval); 6] = [
    ("hour", Interval::Fixed(Span::HOUR)),
    ("day", Interval::DAY),
    ("week", Interval::WEEK),
    ("month", Interval::MONTH),
    ("quarter", Interval::QUARTER),
    ("year", Interval::YEAR),
];

impl Unit {
    /// Mean length in microseconds.
    fn micros(self) -> f64 {
        let days = match self {
            Self::BusinessDay => 7.0 / 5.0,
            Self::Day => 1.0,
            Self::Week => 7.0,
            // A year of the Gregorian calendar has 365.2425 days.
            Self::Month => 365.242_5 / 12.0,
        };
        days * Span::DAY.micros() as f64
    }
}

impl Interval {
    /// One day.
    pub const DAY: Self = Self::Calendar(Unit::Day, 1);
    /// One business day.
    pub const BUSINESS_DAY: Self = Self::Calendar(Unit::BusinessDay, 1);
    /// One week.
    pub const WEEK: Self = Self::Calendar(Unit::Week, 1);
    /// One month.
    pub const MONTH: Self = Self::Calendar(Unit::Month, 1);
    /// Three months.
    pub const QUARTER: Self = Self::Calendar(Unit::Month, 3);
    /// Twelve months.
    pub const YEAR: Self = Self::Calendar(Unit::Month, 12);

    /// Mean length in microseconds.
    pub fn mean_micros(self) -> i64 {
        match self {
            Self::Fixed(span) => span.micros(),
            Self::Calendar(unit, count) => (unit.micros() * f64::from(count)).round() as i64,
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(span) => span.fmt(f),
            Self::Calendar(unit, count) => {
                let fits = |(_, of, size): &(&str, Unit, u32)| of == unit && count % size == 0;
                let (text, _, size) =
                    CALENDAR_UNITS.into_iter().find(fits).unwrap_or(("d", Unit::Day, 1));
                write!(f, "{}{text}", count / size)
            }
        }
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || {
            format!(
                "expected a length of time such as \"5m\" or \"1h\", or calendar units such as \"1d\", \"1bd\" (business days), \"1w\", \"1mo\", \"1q\" or \"1y\", found {text:?}"
            )
        };
        if let Some((_, interval)) = WORDS.into_iter().find(|(word, _)| *word == text) {
            return Ok(interval);
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let Some((_, unit, size)) = CALENDAR_UNITS.into_iter().find(|(name, ..)| *name == unit)
        else {
            return text.parse().map(Self::Fixed).map_err(|_| fail());
        };
        let count = count.parse::<u32>().ok().and_then(|count| count.checked_mul(size));
        let count = count.filter(|count| (1..=COUNT_MAX).contains(count)).ok_or_else(fail)?;
        Ok(Self::Calendar(unit, count))
    }
}

impl TryFrom<String> for Interval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        interval.to_string()
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Interval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time (us, ms, s, m, h), or calendar units: d, bd (business days), w, mo, q, y",
            "pattern": "^([0-9]+(us|ms|s|m|h|d|bd|w|mo|q|y)|hour|day|week|month|quarter|year)$"
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_interval_is_written_in_its_longest_unit() {
        for (text, written) in [
            ("5m", "5m"),
            ("60m", "1h"),
            ("1d", "1d"),
            ("14d", "14d"),
            ("1bd", "1bd"),
            ("2w", "2w"),
            ("1mo", "1mo"),
            ("3mo", "1q"),
            ("2q", "2q"),
            ("12mo", "1y"),
            ("4q", "1y"),
        ] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!(interval.to_string(), written, "{text}");
            assert_eq!(written.parse::<Interval>().unwrap(), interval, "{text}");
        }
        for bad in ["", "5", "0d", "0mo", "-1mo", "1 mo", "1M", "months", "99999999999y", "100001d"]
        {
            let message = bad.parse::<Interval>().unwrap_err();
            assert!(message.contains("calendar units such as"), "{bad:?}: {message}");
        }
    }

    #[test]
    fn mean_lengths_are_those_of_the_calendar() {
        let days = |text: &str| {
            text.parse::<Interval>().unwrap().mean_micros() as f64 / Span::DAY.micros() as f64
        };
        for (text, expected) in
            [("12h", 0.5), ("1d", 1.0), ("5bd", 7.0), ("1w", 7.0), ("1y", 365.2425)]
        {
            assert!((days(text) - expected).abs() < 1e-9, "{text}");
        }
        assert!((days("1mo") - 30.436_875).abs() < 1e-9);
    }
}
