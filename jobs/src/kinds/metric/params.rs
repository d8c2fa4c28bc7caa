//! The parameters of `metric`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use analysis::calendar::{Grid, Holidays, Interval, Zone};
use analysis::series::{Direction, Span, Target};
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};
use crate::series::{EmptyAs, Intervals};

/// Longest name of a metric, in bytes.
const NAME_MAX_BYTES: usize = 200;
/// Longest measure or condition, and longest unit, in bytes.
const EXPRESSION_MAX_BYTES: usize = 8_000;
const UNIT_MAX_BYTES: usize = 100;
/// Columns by which it is told apart, at most.
const DIMENSIONS_MAX: usize = 8;
/// Longest name of who answers for it, in bytes.
const OWNER_MAX_BYTES: usize = 200;
/// Numbers that the measure takes by name, at most.
const ASSUMPTIONS_MAX: usize = 32;
/// Whole numbers below this are written as such: functions such as `round` take no other.
const WHOLE_MAX: f64 = 1e15;
/// Shortest interval.
const INTERVAL_MIN_US: i64 = 1_000_000;

/// What is measured, of which rows, by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The metric's name; null takes the text of the measure. Default: null.
    pub metric: Option<String>,
    /// Dataset whose rows are measured. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column with the instant of a row; null takes the one that the dataset declares. Default: null.
    pub time_column: Option<String>,
    /// What is computed of the rows of each interval, such as "count(*)", "sum(cost_usd)",
    /// "count(*) FILTER (WHERE status = 'error') / count(*)", or the name of a measure that the dataset declares. Default: "count(*)".
    pub measure: String,
    /// Only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Columns, or declared dimensions, of which each combination of values is a series of its own, at most 8. Default: [].
    pub dimensions: Vec<String>,
    /// Length of an interval, from 1 s on: "5m", "1h", or calendar units such as "1d", "1bd" (business days), "1w", "1mo", "1q", "1y".
    /// Default: 1h.
    pub interval: Interval,
    /// Time zone of calendar intervals, by its IANA name. Default: UTC.
    pub zone: Zone,
    /// Days off, which business days exclude: dates, or codes of countries for their public holidays, such as ["DE", "2026-12-24"].
    /// Default: [].
    pub holidays: Holidays,
    /// What an interval of a series without rows is: "zero", "missing", or "auto": zero where the measure is a count or a sum.
    /// Default: auto.
    pub empty: EmptyAs,
    /// What the values are in, such as "USD" or "ms"; null takes the unit of the measure, if it declares one. Default: null.
    pub unit: Option<String>,
    /// Who answers for it, such as a team. Default: null.
    pub owner: Option<String>,
    /// The value that each interval should reach, or not exceed, as `direction` says. Default: null.
    pub target: Option<f64>,
    /// Which way is better: "up" or "down". A target needs it. Default: null.
    pub direction: Option<Direction>,
    /// Numbers that are assumed, by name: `$usd_per_hour` in the measure or in `where` is what {"usd_per_hour": 42.0} says. Default: {}.
    pub assumptions: BTreeMap<String, f64>,
    /// Compute all anew, and not only the intervals that rows came to. Default: false.
    pub full: bool,
    /// Dataset that the values are committed to. Default: metric_values.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            metric: None,
            dataset: dataset_name("model_calls"),
            time_column: None,
            measure: "count(*)".into(),
            condition: None,
            dimensions: Vec::new(),
            interval: Interval::Fixed(Span::HOUR),
            zone: Zone::UTC,
            holidays: Holidays::default(),
            empty: EmptyAs::Auto,
            unit: None,
            owner: None,
            target: None,
            direction: None,
            assumptions: BTreeMap::new(),
            full: false,
            output: dataset_name("metric_values"),
        }
    }
}

/// What is computed, of which rows, as SQL reads it.
pub(super) struct WrittenOut<'a> {
    pub(super) measure: Cow<'a, str>,
    pub(super) condition: Option<Cow<'a, str>>,
}

impl Params {
    /// The intervals of its values.
    pub(super) fn intervals(&self) -> Grid {
        let intervals = Intervals::new(Some(self.interval), self.zone, &self.holidays);
        intervals.stated(self.interval)
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let name = self.metric();
        if name.trim().is_empty() || name.len() > NAME_MAX_BYTES || name.contains(char::is_control)
        {
            let says = format!(
                "expected 1 to {NAME_MAX_BYTES} bytes without control characters, found {} bytes",
                name.len()
            );
            let parameter = if self.metric.is_some() { "metric" } else { "measure" };
            let hint =
                if self.metric.is_some() { "" } else { "; `metric` gives it a shorter name" };
            return Err(bad(NAME, parameter, says + hint));
        }
        if self.dimensions.len() > DIMENSIONS_MAX {
            let found = self.dimensions.len();
            let says = format!("expected at most {DIMENSIONS_MAX} columns, found {found}");
            return Err(bad(NAME, "dimensions", says));
        }
        for (at, dimension) in self.dimensions.iter().enumerate() {
            if self.dimensions[..at].contains(dimension) {
                return Err(bad(NAME, "dimensions", format!("{dimension:?} stands there twice")));
            }
        }
        if self.interval.mean_micros() < INTERVAL_MIN_US {
            return Err(bad(
                NAME,
                "interval",
                format!("expected 1 s at least, found {}", self.interval),
            ));
        }
        self.check_target()?;
        self.written_out().map(drop)
    }

    /// What is too long to be said of the values. Of what was defined before there were limits nobody asks.
    pub(crate) fn check_lengths(&self) -> Result<()> {
        for (parameter, text, bytes_max) in [
            ("measure", Some(&self.measure), EXPRESSION_MAX_BYTES),
            ("where", self.condition.as_ref(), EXPRESSION_MAX_BYTES),
            ("unit", self.unit.as_ref(), UNIT_MAX_BYTES),
        ] {
            let found = text.map_or(0, String::len);
            if found > bytes_max {
                let says = format!("expected at most {bytes_max} bytes, found {found}");
                return Err(bad(NAME, parameter, says));
            }
        }
        Ok(())
    }

    fn check_target(&self) -> Result<()> {
        if let Some(owner) = &self.owner {
            let says = match () {
                () if owner.trim().is_empty() => Some("found no letter".to_owned()),
                () if owner.len() > OWNER_MAX_BYTES => Some(format!("found {} bytes", owner.len())),
                () => owner.chars().find(|c| c.is_control()).map(|c| format!("found {c:?}")),
            };
            if let Some(says) = says {
                let expected = format!(
                    "expected a name on one line, of {OWNER_MAX_BYTES} bytes at most, {says}"
                );
                return Err(bad(NAME, "owner", expected));
            }
        }
        match (self.target, self.direction) {
            (Some(target), _) if !target.is_finite() => {
                Err(bad(NAME, "target", format!("expected a number, found {target}")))
            }
            (Some(_), None) => {
                let says = "expected \"up\" or \"down\", for which way is better: a target has none by itself";
                Err(bad(NAME, "direction", says))
            }
            (None, Some(_)) => {
                Err(bad(NAME, "target", "expected a number beside `direction`, found none"))
            }
            (None, None) | (Some(_), Some(_)) => Ok(()),
        }
    }

    /// What is wanted of each value.
    pub(super) fn target(&self) -> Option<Target> {
        Some(Target { value: self.target?, direction: self.direction? })
    }

    /// The measure and the condition with the numbers that are assumed in the place of their names.
    pub(super) fn written_out(&self) -> Result<WrittenOut<'_>> {
        let found = self.assumptions.len();
        if found > ASSUMPTIONS_MAX {
            let says = format!("expected at most {ASSUMPTIONS_MAX} numbers, found {found}");
            return Err(bad(NAME, "assumptions", says));
        }
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        };
        if let Some(name) = self.assumptions.keys().find(|name| !is_name(name)) {
            let says = format!("expected names of letters, digits and `_`, found {name:?}");
            return Err(bad(NAME, "assumptions", says));
        }
        if let Some((name, number)) = self.assumptions.iter().find(|(_, of)| !of.is_finite()) {
            return Err(bad(NAME, "assumptions", format!("{name:?} is {number}, no number")));
        }
        let mut used = BTreeSet::new();
        let mut assume = |parameter, text| assume(parameter, text, &self.assumptions, &mut used);
        let measure = assume("measure", self.measure.as_str())?;
        let condition = self.condition.as_deref().map(|text| assume("where", text)).transpose()?;
        if let Some(name) = self.assumptions.keys().find(|name| !used.contains(name.as_str())) {
            let says = format!("{name:?} is in neither measure nor where, in which it is ${name}");
            return Err(bad(NAME, "assumptions", says));
        }
        Ok(WrittenOut { measure, condition })
    }

    /// The metric's name.
    pub(super) fn metric(&self) -> &str {
        self.metric.as_deref().unwrap_or(&self.measure)
    }
}

/// `text` with numbers in the place of `$names`, but for those in quotes and comments. None may be missing; those that are there are
/// `used`.
fn assume<'t, 'a>(
    parameter: &str,
    text: &'t str,
    assumptions: &'a BTreeMap<String, f64>,
    used: &mut BTreeSet<&'a str>,
) -> Result<Cow<'t, str>> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut written = String::new();
    let mut rest = text;
    let mut is_same = true;
    while let Some(at) = rest.find(['$', '\'', '"', '-', '/']) {
        let (before, from) = rest.split_at(at);
        written.push_str(before);
        // How far it goes: a quote, a comment, a name; of anything else a letter.
        let until = |end: &str| from[1..].find(end).map_or(from.len(), |at| at + 1 + end.len());
        let is_number = from.starts_with('$') && !written.ends_with(is_of_name);
        let length = match () {
            () if is_number => 1 + from[1..].find(|c| !is_of_name(c)).unwrap_or(from.len() - 1),
            () if from.starts_with('\'') => until("'"),
            () if from.starts_with('"') => until("\""),
            () if from.starts_with("--") => until("\n"),
            () if from.starts_with("/*") => until("*/"),
            () => 1,
        };
        let (part, behind) = from.split_at(length);
        rest = behind;
        if !is_number {
            written.push_str(part);
            continue;
        }
        let name = &part[1..];
        let Some((name, number)) = assumptions.get_key_value(name) else {
            let known: Vec<&str> = assumptions.keys().map(String::as_str).collect();
            let known = match known.is_empty() {
                true => "there are none".to_owned(),
                false => format!("there are {}", known.join(", ")),
            };
            let says = format!("${name} is none of the numbers in `assumptions`; {known}");
            return Err(bad(NAME, parameter, says));
        };
        used.insert(name);
        is_same = false;
        written.push_str(&match number.fract() == 0.0 && number.abs() < WHOLE_MAX {
            true => format!("({number:.0})"),
            false => format!("({number:?})"),
        });
    }
    match is_same {
        true => Ok(Cow::Borrowed(text)),
        false => Ok(Cow::Owned(written + rest)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_too_long_is_refused_by_name() {
        let of = |measure: usize, condition: usize, unit: usize| {
            let params = Params {
                metric: Some("m".into()),
                measure: "x".repeat(measure),
                condition: Some("x".repeat(condition)),
                unit: Some("x".repeat(unit)),
                ..Params::default()
            };
            params.check_lengths().map_err(|error| error.to_string())
        };
        of(8_000, 8_000, 100).unwrap();
        for (refused, parameter) in
            [(of(8_001, 1, 1), "measure"), (of(1, 8_001, 1), "where"), (of(1, 1, 101), "unit")]
        {
            let error = refused.unwrap_err();
            assert!(error.contains(&format!("{parameter:?}: expected at most")), "{error}");
        }
    }

    #[test]
    fn numbers_that_are_assumed_stand_in_the_place_of_their_names_but_not_in_quotes() {
        let with = |measure: &str, given: &[(&str, f64)]| {
            let given = given.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
            let params =
                Params { measure: measure.into(), assumptions: given, ..Params::default() };
            let written = params.written_out().map(|written| written.measure.into_owned());
            written.map_err(|error| error.to_string())
        };
        let two = [("a", 2.0), ("b_2", -1e-7)];
        assert_eq!(with("sum(x) * $a - $b_2", &two).unwrap(), "sum(x) * (2) - (-1e-7)");
        assert_eq!(with("$a + cost$usd", &two[..1]).unwrap(), "(2) + cost$usd");
        assert_eq!(
            with("count(*) FILTER (WHERE \"a$\" = '$a it''s $') * $a", &two[..1]).unwrap(),
            "count(*) FILTER (WHERE \"a$\" = '$a it''s $') * (2)"
        );
        assert_eq!(with("sum(\"äö\") + 'open", &[]).unwrap(), "sum(\"äö\") + 'open");
        assert_eq!(
            with("/* the user's */ $a -- it's $z\n - $a / 2 -- $y", &two[..1]).unwrap(),
            "/* the user's */ (2) -- it's $z\n - (2) / 2 -- $y"
        );
        let params = Params {
            condition: Some("x > $b_2 OR x = '$a'".into()),
            measure: "sum(x) * $a".into(),
            assumptions: two.map(|(name, number)| (name.to_owned(), number)).into(),
            ..Params::default()
        };
        let written = params.written_out().unwrap();
        assert_eq!(written.measure, "sum(x) * (2)");
        assert_eq!(written.condition.as_deref(), Some("x > (-1e-7) OR x = '$a'"));
        let missing = Params { condition: Some("x > $c".into()), ..params };
        let error = missing.written_out().err().unwrap().to_string();
        assert!(error.contains("parameter \"where\": $c is none of the numbers"), "{error}");
        for (measure, given, says) in [
            ("-- $a\n1", &two[..1], "\"a\" is in neither"),
            ("$c + $a", &two[..1], "$c is none of the numbers in `assumptions`; there are a"),
            ("$", &[], "$ is none of the numbers in `assumptions`; there are none"),
            ("$a + '$b_2'", &two, "\"b_2\" is in neither measure nor where, in which it is $b_2"),
            ("$ä", &two[..1], "$ is none"),
        ] {
            let error = with(measure, given).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
