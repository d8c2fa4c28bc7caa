//! The parameters of `metric`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use analysis::series::{Direction, Span, Target};
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};
use crate::series::EmptyAs;

/// Longest name of a metric, in bytes.
const NAME_MAX_BYTES: usize = 200;
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
    /// Length of an interval, such as "5m", from 1 s on. Default: 1h.
    pub interval: Span,
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
    /// Numbers that are assumed, by name: `$usd_per_hour` in the measure is what {"usd_per_hour": 42.0} says. Default: {}.
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
            interval: Span::HOUR,
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

impl Params {
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
        if self.interval.micros() < INTERVAL_MIN_US {
            return Err(bad(
                NAME,
                "interval",
                format!("expected 1 s at least, found {}", self.interval),
            ));
        }
        self.check_target()?;
        self.measure().map(drop)
    }

    fn check_target(&self) -> Result<()> {
        if let Some(owner) = &self.owner
            && (owner.trim().is_empty()
                || owner.len() > OWNER_MAX_BYTES
                || owner.contains(char::is_control))
        {
            let says = format!(
                "expected 1 to {OWNER_MAX_BYTES} bytes without control characters, found {} bytes",
                owner.len()
            );
            return Err(bad(NAME, "owner", says));
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

    /// The measure with the numbers that are assumed in the place of their names.
    pub(super) fn measure(&self) -> Result<Cow<'_, str>> {
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
        assume(&self.measure, &self.assumptions)
    }

    /// The metric's name.
    pub(super) fn metric(&self) -> &str {
        self.metric.as_deref().unwrap_or(&self.measure)
    }
}

/// `measure` with numbers in the place of `$names`, but for those in quotes. All that are given must be used, and none be missing.
fn assume<'a>(measure: &'a str, assumptions: &BTreeMap<String, f64>) -> Result<Cow<'a, str>> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut text = String::new();
    let mut rest = measure;
    while let Some(at) = rest.find(['$', '\'', '"']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        // Of a name such as cost$usd.
        if from.starts_with('$') && text.ends_with(is_of_name) {
            text.push('$');
            rest = &from[1..];
            continue;
        }
        let quote = from.starts_with(['\'', '"']).then(|| &from[..1]);
        let length = match quote {
            Some(quote) => from[1..].find(quote).map_or(from.len(), |end| end + 2),
            None => 1 + from[1..].find(|c| !is_of_name(c)).unwrap_or(from.len() - 1),
        };
        let (part, behind) = from.split_at(length);
        match quote {
            Some(_) => text.push_str(part),
            None => {
                let name = &part[1..];
                let Some((name, number)) = assumptions.get_key_value(name) else {
                    let known: Vec<&str> = assumptions.keys().map(String::as_str).collect();
                    let known = match known.is_empty() {
                        true => "there are none".to_owned(),
                        false => format!("there are {}", known.join(", ")),
                    };
                    let says = format!("${name} is none of the numbers in `assumptions`; {known}");
                    return Err(bad(NAME, "measure", says));
                };
                used.insert(name);
                text.push_str(&match number.fract() == 0.0 && number.abs() < WHOLE_MAX {
                    true => format!("({number:.0})"),
                    false => format!("({number:?})"),
                });
            }
        }
        rest = behind;
    }
    if let Some(name) = assumptions.keys().find(|name| !used.contains(name.as_str())) {
        let says = format!("{name:?} is nowhere in the measure, where it is written ${name}");
        return Err(bad(NAME, "assumptions", says));
    }
    match used.is_empty() {
        true => Ok(Cow::Borrowed(measure)),
        false => Ok(Cow::Owned(text + rest)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_that_are_assumed_stand_in_the_place_of_their_names_but_not_in_quotes() {
        let with = |measure: &str, given: &[(&str, f64)]| {
            let given = given.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
            assume(measure, &given).map(Cow::into_owned).map_err(|error| error.to_string())
        };
        let two = [("a", 2.0), ("b_2", -1e-7)];
        assert_eq!(with("sum(x) * $a - $b_2", &two).unwrap(), "sum(x) * (2) - (-1e-7)");
        assert_eq!(with("$a + cost$usd", &two[..1]).unwrap(), "(2) + cost$usd");
        assert_eq!(
            with("count(*) FILTER (WHERE \"a$\" = '$a it''s $') * $a", &two[..1]).unwrap(),
            "count(*) FILTER (WHERE \"a$\" = '$a it''s $') * (2)"
        );
        assert_eq!(with("sum(\"äö\") + 'open", &[]).unwrap(), "sum(\"äö\") + 'open");
        for (measure, given, says) in [
            ("$c + $a", &two[..1], "$c is none of the numbers in `assumptions`; there are a"),
            ("$", &[], "$ is none of the numbers in `assumptions`; there are none"),
            ("$a + '$b_2'", &two, "\"b_2\" is nowhere in the measure, where it is written $b_2"),
            ("$ä", &two[..1], "$ is none"),
        ] {
            let error = with(measure, given).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
