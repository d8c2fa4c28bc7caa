//! Periods of the clock in UTC, by number.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const HOUR_US: i64 = 3_600_000_000;
/// Days of a quarter.
const QUARTER: f64 = 365.25 / 4.0;

/// How long a period is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeriodLength {
    /// From a full hour on.
    Hour,
    /// From midnight on.
    Day,
    /// From Monday on.
    Week,
}

impl PeriodLength {
    fn us(self) -> i64 {
        match self {
            Self::Hour => HOUR_US,
            Self::Day => 24 * HOUR_US,
            Self::Week => 7 * 24 * HOUR_US,
        }
    }

    /// Weeks begin on a Monday; the first day of the count was a Thursday.
    fn begin_us(self) -> i64 {
        if self == Self::Week { 4 * 24 * HOUR_US } else { 0 }
    }

    /// The number of the period of an instant.
    pub(crate) fn of(self, at_us: i64) -> i64 {
        at_us.saturating_sub(self.begin_us()).div_euclid(self.us())
    }

    /// When a period begins.
    pub(crate) fn start_us(self, number: i64) -> i64 {
        number.saturating_mul(self.us()).saturating_add(self.begin_us())
    }

    /// The numbers of periods after which values may repeat: those of a day and of a week; 0 for none.
    pub(crate) fn seasons(self) -> [usize; 2] {
        match self {
            Self::Hour => [24, 7 * 24],
            Self::Day => [7, 0],
            Self::Week => [0, 0],
        }
    }

    /// How many there are in a quarter of a year.
    pub(crate) fn per_quarter(self) -> f64 {
        QUARTER * 24.0 * HOUR_US as f64 / self.us() as f64
    }
}
