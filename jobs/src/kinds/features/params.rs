//! The parameters of `features`.

use std::collections::BTreeMap;

use analysis::series::Span;
use datasets::DatasetName;
use datasets::name::check_identifier;
use engine::Result;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::NAME;
use crate::parameters::{bad, check_outputs, dataset_name};

/// Columns that name an entity, at most.
const ENTITY_MAX: usize = 8;
/// Features of a view, at most.
const FEATURES_MAX: usize = 200;
/// The longest window, and the longest that a value holds: so that no instant is beyond what can be written.
const SPAN_MAX_US: i64 = 1_000 * 366 * 86_400_000_000;

/// What is computed of which rows, for whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset whose rows features are made of. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Columns that name an entity, texts, truth values, dates or whole numbers, at most 8. Default: ["user_id"].
    pub entity: Vec<String>,
    /// Column of the instant at which a row happened; null takes the one that the dataset declares. Default: null.
    pub time_column: Option<String>,
    /// Column of the instant at which a row was known, where that is later than it happened: it counts from then on. Null takes a row
    /// for known when it happened. Default: null.
    pub known_column: Option<String>,
    /// Columns that are known later than their row, each with the column of the instant at which it is: a feature made of one is
    /// refused where that instant is later than the row is known. Default: {}.
    pub known_at: BTreeMap<String, String>,
    /// Only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Features by name: an expression of a row, of which the newest row's counts; or a measure of rows, as
    /// {"measure": "avg(latency_ms)", "window": "7d"}, of those known within the window, of all without one.
    /// Default: {"calls_1d": {"measure": "count(*)", "window": "1d"}}.
    pub features: BTreeMap<String, Feature>,
    /// How long a value holds, such as "7d"; null is for ever. Default: null.
    pub ttl: Option<Span>,
    /// Compute all anew, and not only what rows came to. Default: false.
    pub full: bool,
    /// Dataset that the features are committed to. Default: features.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

/// How a feature is made.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Feature {
    /// Of the newest row.
    Value(String),
    /// Of rows.
    Measure(OfRows),
}

impl<'de> Deserialize<'de> for Feature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(expression) => Ok(Self::Value(expression)),
            Value::Object(of) => match serde_json::from_value(Value::Object(of)) {
                Ok(of) => Ok(Self::Measure(of)),
                Err(error) => Err(D::Error::custom(error.to_string())),
            },
            other => Err(D::Error::custom(format!(
                "expected an expression, or an object as {{\"measure\": \"count(*)\", \"window\": \"7d\"}}, found {other}"
            ))),
        }
    }
}

/// A measure of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfRows {
    /// What is computed, such as "avg(latency_ms)", or the name of a measure that the dataset declares.
    pub measure: String,
    /// Of the rows that were known so long before; of all without it.
    #[serde(default)]
    pub window: Option<Span>,
}

impl Default for Params {
    fn default() -> Self {
        let calls = OfRows { measure: "count(*)".into(), window: Some(Span::DAY) };
        Self {
            dataset: dataset_name("model_calls"),
            entity: vec!["user_id".into()],
            time_column: None,
            known_column: None,
            known_at: BTreeMap::new(),
            condition: None,
            features: BTreeMap::from([("calls_1d".into(), Feature::Measure(calls))]),
            ttl: None,
            full: false,
            output: dataset_name("features"),
        }
    }
}

/// The instant from which on a row's values are known.
pub(super) const AT: &str = "at";
/// The instant from which on they count no more.
pub(crate) const EXPIRES: &str = "expires_at";

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let has_twice = |(at, name): (usize, &String)| self.entity[..at].contains(name);
        if !(1..=ENTITY_MAX).contains(&self.entity.len())
            || self.entity.iter().enumerate().any(has_twice)
        {
            let says = format!(
                "expected 1 to {ENTITY_MAX} columns, each once, found {}",
                self.entity.len()
            );
            return Err(bad(NAME, "entity", says));
        }
        if let Some(name) = self.entity.iter().find(|name| is_reserved(name)) {
            let says = format!("{name:?} is a column that each view has; name it otherwise first");
            return Err(bad(NAME, "entity", says));
        }
        if !(1..=FEATURES_MAX).contains(&self.features.len()) {
            let found = self.features.len();
            let says = format!("expected 1 to {FEATURES_MAX} of them, found {found}");
            return Err(bad(NAME, "features", says));
        }
        for (name, feature) in &self.features {
            check_identifier("feature", name)
                .map_err(|error| bad(NAME, "features", error.to_string()))?;
            if is_reserved(name) || self.entity.contains(name) {
                let says = format!("{name:?} is a column that the view has; take another name");
                return Err(bad(NAME, "features", says));
            }
            if let Feature::Measure(OfRows { window: Some(window), .. }) = feature {
                check_span("features", &format!("{name}: window: "), *window)?;
            }
        }
        if let Some(ttl) = self.ttl {
            check_span("ttl", "", ttl)?;
        }
        check_outputs(NAME, &[("output", &self.output)], std::slice::from_ref(&self.dataset))
    }
}

fn check_span(parameter: &str, of: &str, span: Span) -> Result<()> {
    match (1..=SPAN_MAX_US).contains(&span.micros()) {
        true => Ok(()),
        false => {
            let says = format!("{of}expected more than 0 and at most 1,000 years, found {span}");
            Err(bad(NAME, parameter, says))
        }
    }
}

/// Columns of every view.
fn is_reserved(name: &str) -> bool {
    [AT, EXPIRES, "source_version"].contains(&name)
}
