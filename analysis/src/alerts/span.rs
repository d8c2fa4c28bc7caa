//! How long something lasts, as people write it: `10m`, `1h30m`, `0`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units, the longest first, with their microseconds.
const UNITS: [(&str, i64); 7] = [
    ("w", 7 * 24 * 3_600_000_000),
    ("d", 24 * 3_600_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
/// Longest span, in microseconds: 366 days.
const SPAN_MAX_US: i64 = 366 * 24 * 3_600_000_000;
/// What is expected of a text that is none.
const EXPECTED: &str = "a duration of at most 366 days such as \"10m\", \"1h30m\" or \"0\" (units, the longest first: w, d, h, m, s, ms, us)";

/// A length of time from 0 to 366 days, to the microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The shortest that a rule may tell an alert again after.
    pub const MINUTE: Self = Self(60_000_000);

    /// Its microseconds.
    pub fn us(self) -> i64 {
        self.0
    }

    /// The instant that lies so long after `at_us`.
    pub(super) fn after(self, at_us: i64) -> i64 {
        at_us.saturating_add(self.0)
    }
}

/// The text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSpan {
    /// What was given, cut.
    found: String,
}

impl fmt::Display for NoSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {EXPECTED}, found {:?}", self.found)
    }
}

impl std::error::Error for NoSpan {}

impl FromStr for Span {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let fail = || NoSpan { found: super::cut(text) };
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let (mut rest, mut us, mut units) = (text, 0_i64, UNITS.iter());
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
            let (count, after) = rest.split_at(digits);
            let letters = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            // The iterator goes on from the last unit: each comes once, and after longer ones.
            let (_, each) = units.find(|(name, _)| *name == unit).ok_or_else(fail)?;
            let count: i64 = count.parse().map_err(|_| fail())?;
            us = count.checked_mul(*each).and_then(|it| us.checked_add(it)).ok_or_else(fail)?;
            rest = after;
        }
        match text.is_empty() || us > SPAN_MAX_US {
            true => Err(fail()),
            false => Ok(Self(us)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let mut rest = self.0;
        for (unit, each) in UNITS {
            if rest >= each {
                write!(f, "{}{unit}", rest / each)?;
                rest %= each;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

/// A text, or the number 0: of any other the unit is not known.
pub(super) struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Span, E> {
        match number {
            0 => Ok(Span::ZERO),
            other => Err(E::invalid_value(Unexpected::Signed(other), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Span, E> {
        match number {
            0 => Ok(Span::ZERO),
            other => Err(E::invalid_value(Unexpected::Unsigned(other), &self)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(0|([0-9]+(w|d|h|ms|m|us|s))+)$" })
    }
}
