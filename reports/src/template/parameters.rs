//! Parameters of a template: what they are, what they are where nobody says, and their values as queries take them.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::format::date;
use crate::value::{Rows, Value, clean, nearest};

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterType {
    /// A day, `2026-01-31`.
    Date,
    /// A text.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Number,
}

/// A parameter of a template.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// What it is called on the report; its name where this is left out.
    pub title: Option<String>,
    /// What it is where nobody says: a value, and for a day also `today`, `today - 7 days`, `to - 7 days`.
    pub default: Option<toml::Value>,
    /// A query whose first cell it is where nobody says; `default` where that is null or missing.
    pub query: Option<String>,
}

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterValue {
    /// A day.
    Date(NaiveDate),
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
}

impl ParameterValue {
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Date(day) => Value::Date(*day),
            Self::Text(text) => Value::Text(clean(text, 200)),
            Self::Integer(number) => Value::Integer((*number).into()),
            Self::Number(number) => Value::Number(*number),
        }
    }
}

impl fmt::Display for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(day) => f.write_str(&date(*day)),
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Values of all parameters of a template, by name.
pub type Values = BTreeMap<String, ParameterValue>;

/// Bytes of a text that is a parameter's value.
const MOST_BYTES: usize = 4_096;

impl Parameter {
    /// Reads a value that somebody gave.
    pub(crate) fn read(&self, name: &str, text: &str) -> Result<ParameterValue> {
        let problem = |expected: &str| Error::Parameter {
            name: name.to_owned(),
            problem: format!("{:?}: expected {expected}", clean(text, 60)),
        };
        Ok(match self.kind {
            ParameterType::Date => ParameterValue::Date(
                text.trim().parse().map_err(|_| problem("a day, as 2026-01-31"))?,
            ),
            ParameterType::Text if text.len() > MOST_BYTES => {
                return Err(problem("a text of 4096 bytes at most"));
            }
            ParameterType::Text => ParameterValue::Text(text.to_owned()),
            ParameterType::Integer => {
                ParameterValue::Integer(text.trim().parse().map_err(|_| problem("a whole number"))?)
            }
            ParameterType::Number => {
                let number: f64 = text.trim().parse().map_err(|_| problem("a number"))?;
                if !number.is_finite() {
                    return Err(problem("a finite number"));
                }
                ParameterValue::Number(number)
            }
        })
    }

    /// Takes the first cell of a query's answer.
    fn take(&self, name: &str, rows: &Rows) -> Result<Option<ParameterValue>> {
        let columns = rows.columns();
        let Some(first) = columns.first() else { return Ok(None) };
        let problem = |problem: String| Error::Parameter { name: name.to_owned(), problem };
        let cell = rows.column(first).map_err(problem)?.into_iter().next().unwrap_or(Value::Null);
        Ok(Some(match (self.kind, cell) {
            (_, Value::Null) => return Ok(None),
            (ParameterType::Date, Value::Date(day)) => ParameterValue::Date(day),
            (ParameterType::Date, Value::Instant(at)) => ParameterValue::Date(at.date_naive()),
            (ParameterType::Text, Value::Text(text)) => ParameterValue::Text(text),
            (ParameterType::Integer, Value::Integer(number)) => ParameterValue::Integer(
                i64::try_from(number)
                    .map_err(|_| problem(format!("{number} has more than 64 bits")))?,
            ),
            (ParameterType::Number, cell) if cell.as_number().is_some() && !cell.is_time() => {
                ParameterValue::Number(cell.as_number().unwrap_or_default())
            }
            (kind, cell) => {
                let query = self.query.as_deref().unwrap_or_default();
                return Err(problem(format!("query {query} gave {cell:?}: expected a {kind:?}")));
            }
        }))
    }

    /// The default: a value, or a day reckoned from another.
    fn default(
        &self,
        name: &str,
        today: NaiveDate,
        known: &Values,
    ) -> Result<Option<ParameterValue>> {
        let Some(default) = &self.default else { return Ok(None) };
        let text = match default {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if self.kind != ParameterType::Date {
            return self.read(name, &text).map(Some);
        }
        let Some((from, days)) = split_days(&text) else { return self.read(name, &text).map(Some) };
        let from = match from {
            "today" => today,
            other => match known.get(other) {
                Some(ParameterValue::Date(day)) => *day,
                _ => return Ok(None),
            },
        };
        let moved = if days < 0 {
            from.checked_sub_days(Days::new(days.unsigned_abs()))
        } else {
            from.checked_add_days(Days::new(days.unsigned_abs()))
        };
        let problem =
            || Error::Parameter { name: name.to_owned(), problem: format!("{text}: no such day") };
        moved.map(ParameterValue::Date).ok_or_else(problem).map(Some)
    }

    /// The parameter that its default is reckoned from.
    pub(crate) fn leans_on(&self) -> Option<&str> {
        let text = self.default.as_ref()?.as_str().filter(|_| self.kind == ParameterType::Date)?;
        split_days(text).map(|(from, _)| from).filter(|from| *from != "today")
    }
}

/// `to - 7 days` as (`to`, -7). None where it is a plain value.
fn split_days(text: &str) -> Option<(&str, i64)> {
    let mut words = text.split_whitespace();
    let from = words.next().filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()))?;
    match (words.next(), words.next(), words.next(), words.next()) {
        (None, ..) => Some((from, 0)),
        (Some(sign @ ("+" | "-")), Some(days), Some("day" | "days"), None) => {
            let days: i64 = days.parse().ok().filter(|days| (0..=100_000).contains(days))?;
            Some((from, if sign == "-" { -days } else { days }))
        }
        _ => None,
    }
}

/// Values of all parameters: those that were given, those that queries say, and defaults.
pub(crate) fn values(
    parameters: &BTreeMap<String, Parameter>,
    given: &BTreeMap<String, String>,
    answers: &BTreeMap<String, Rows>,
    now: DateTime<Utc>,
) -> Result<Values> {
    let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
    let mut values = Values::new();
    for (name, text) in given {
        let Some(parameter) = parameters.get(name) else {
            let problem = match nearest(name, &names) {
                Some(near) => format!("there is none; did you mean {near}?"),
                None if names.is_empty() => "this report has no parameters".to_owned(),
                None => format!("there is none; there are {}", names.join(", ")),
            };
            return Err(Error::Parameter { name: clean(name, 60), problem });
        };
        values.insert(name.clone(), parameter.read(name, text)?);
    }
    for (name, parameter) in parameters {
        let rows = parameter.query.as_ref().and_then(|query| answers.get(query));
        if !values.contains_key(name)
            && let Some(rows) = rows
            && let Some(value) = parameter.take(name, rows)?
        {
            values.insert(name.clone(), value);
        }
    }
    // As often as there are parameters, for those that are reckoned from others.
    for _ in 0..parameters.len() {
        for (name, parameter) in parameters {
            if !values.contains_key(name)
                && let Some(value) = parameter.default(name, now.date_naive(), &values)?
            {
                values.insert(name.clone(), value);
            }
        }
    }
    if let (Some(ParameterValue::Date(from)), Some(ParameterValue::Date(to))) =
        (values.get("from"), values.get("to"))
        && from >= to
    {
        let (from, to) = (date(*from), date(*to));
        let problem = format!("{from}: expected a day before `to`, which is {to}");
        return Err(Error::Parameter { name: "from".to_owned(), problem });
    }
    match names.iter().find(|name| !values.contains_key(**name)) {
        Some(name) => Err(Error::Parameter {
            name: (*name).to_owned(),
            problem: "it has no value, and no default that gives it one: give one".to_owned(),
        }),
        None => Ok(values),
    }
}
