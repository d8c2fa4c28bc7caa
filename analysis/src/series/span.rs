//! Lengths of time in parameters: `90s`, `5m`, `1h`, `7d`. A number alone would need its unit in every
//! field's name and be read wrongly anyway.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A positive length of time, whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span {
    micros: i64,
}

/// Units from the longest; a length is written in the longest that divides it.
const UNITS: [(&str, i64); 7] = [
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Span {
    /// One second.
    pub const SECOND: Self = Self { micros: 1_000_000 };
    /// One hour.
    pub const HOUR: Self = Self { micros: 3_600_000_000 };
    /// One day.
    pub const DAY: Self = Self { micros: 86_400_000_000 };
    /// One week.
    pub const WEEK: Self = Self { micros: 604_800_000_000 };

    /// `None` unless positive.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (micros > 0).then_some(Self { micros })
    }

    /// Its length in microseconds.
    pub const fn micros(self) -> i64 {
        self.micros
    }

    /// Its length in seconds.
    pub fn seconds(self) -> f64 {
        self.micros as f64 / 1e6
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) =
            UNITS.into_iter().find(|(_, size)| self.micros % size == 0).unwrap_or(("us", 1));
        write!(f, "{}{unit}", self.micros / size)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || {
            format!(
                "expected a length of time such as \"30s\", \"5m\", \"1h\" or \"7d\", found {text:?}"
            )
        };
        let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let count: i64 = text[..at].parse().map_err(|_| fail())?;
        let (_, size) =
            UNITS.into_iter().find(|(unit, _)| *unit == &text[at..]).ok_or_else(fail)?;
        count.checked_mul(size).and_then(Self::from_micros).ok_or_else(fail)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time: a whole number and one of us, ms, s, m, h, d, w",
            "pattern": "^[0-9]+(us|ms|s|m|h|d|w)$"
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_span_is_written_in_its_longest_unit() {
        for text in ["90s", "5m", "1h", "1d", "2w", "250ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("3600s".parse::<Span>().unwrap().to_string(), "1h");
        for bad in [
            "",
            "5",
            "m",
            "0m",
            "-1h",
            "5 m",
            "1y",
            "99999999999999999999d",
            "9223372036854775807w",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} passed");
        }
    }
}
