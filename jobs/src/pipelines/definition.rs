//! The text of a pipeline: TOML, as it lies in a file beside a project's code.

use std::collections::HashSet;

use chrono::DateTime;
use datasets::{DatasetName, toml_problem};
use engine::{Code, Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::graph::bad;
use super::{PIPELINE, STEPS_MAX, Step};
use crate::schedules::{Schedule, Trigger, check_name};

/// Longest text.
pub const TEXT_MAX_BYTES: usize = 256 << 10;
/// Changes of a dataset begin no more runs than one in so many seconds, unless it is said.
const EVERY_SECONDS: u32 = 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    name: Option<String>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    trigger: When,
    steps: Vec<StepText>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct When {
    cron: Option<String>,
    zone: Option<String>,
    catch_up: Option<String>,
    on_change: Option<DatasetName>,
    at_least: Option<u64>,
    every_seconds: Option<u32>,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepText {
    name: String,
    job: String,
    params: Option<toml::Value>,
    #[serde(default)]
    after: Vec<String>,
    gpu: Option<String>,
}

impl Schedule {
    /// Reads a pipeline. `source` is where the text is from, for what is said of it, and its name where it says none: the name of a
    /// file without folder and ending.
    pub fn from_toml(text: &str, source: &str) -> Result<Self> {
        let wrong = |says: String| Error::user(Code::BadInput, format!("{source}: {says}"));
        if text.len() > TEXT_MAX_BYTES {
            let found = text.len();
            return Err(wrong(format!("expected at most {TEXT_MAX_BYTES} bytes, found {found}")));
        }
        let definition: Definition =
            toml::from_str(text).map_err(|e| wrong(toml_problem(text, &e)))?;
        let of_file = || {
            let file = source.rsplit(['/', '\\']).next().unwrap_or_default();
            file.strip_suffix(".toml").unwrap_or(file).to_owned()
        };
        let name = definition.name.unwrap_or_else(of_file);
        if definition.steps.is_empty() {
            check_steps(&name, &[])?;
        }
        let steps = definition.steps.into_iter().map(|step| step.read(&name));
        Ok(Self {
            steps: steps.collect::<Result<_>>().map_err(|e| e.while_doing(source))?,
            trigger: definition.trigger.read(&name)?.checked(&name)?,
            job: PIPELINE.to_owned(),
            params: Value::Null,
            gpu: None,
            priority: definition.priority,
            created_by: String::new(),
            created_at: DateTime::UNIX_EPOCH,
            name,
        })
    }
}

impl When {
    fn read(self, pipeline: &str) -> Result<Trigger> {
        let only = |with: &str, given: &[(&str, bool)]| match given.iter().find(|given| given.1) {
            Some((name, _)) => Err(bad(pipeline, format!("trigger.{name}: goes with `{with}`"))),
            None => Ok(()),
        };
        let of_clock = [("zone", self.zone.is_some()), ("catch_up", self.catch_up.is_some())];
        let of_change = [
            ("at_least", self.at_least.is_some()),
            ("every_seconds", self.every_seconds.is_some()),
        ];
        if self.cron.is_none() {
            only("cron", &of_clock)?;
        }
        if self.on_change.is_none() {
            only("on_change", &of_change)?;
        }
        match (self.cron, self.on_change, self.after) {
            (Some(cron), None, None) => Ok(Trigger::Clock {
                cron,
                zone: self.zone.unwrap_or_else(|| "UTC".to_owned()),
                catch_up: self.catch_up.unwrap_or_else(|| "latest".to_owned()),
                jitter_seconds: 0,
            }),
            (None, Some(on_change), None) => Ok(Trigger::Change {
                on_change,
                rows_min: self.at_least.unwrap_or(1),
                every_seconds: self.every_seconds.unwrap_or(EVERY_SECONDS),
            }),
            (None, None, Some(after)) => Ok(Trigger::After { after }),
            (None, None, None) => Ok(Trigger::BY_HAND),
            _ => Err(bad(
                pipeline,
                "trigger: expected one of `cron`, `on_change` and `after`".to_owned(),
            )),
        }
    }
}

impl StepText {
    fn read(self, pipeline: &str) -> Result<Step> {
        let params = match self.params {
            None => Ok(Value::Object(Map::new())),
            Some(toml::Value::Table(table)) => Ok(Value::Object(object(table))),
            // TOML has no null.
            Some(toml::Value::String(text)) => {
                serde_json::from_str(&text).map_err(|e| format!("expected a table, or JSON: {e}"))
            }
            Some(other) => Err(format!("expected a table, or JSON, found {}", other.type_str())),
        };
        let gpu = self.gpu.map(|word| word.parse().map_err(Error::from)).transpose();
        Ok(Step {
            params: params
                .map_err(|says| bad(pipeline, format!("step {}: params: {says}", self.name)))?,
            gpu: gpu.map_err(|e| {
                e.while_doing(format_args!("pipeline {pipeline}, step {}: gpu", self.name))
            })?,
            name: self.name,
            job: self.job,
            after: self.after,
        })
    }
}

/// A table as the same in JSON.
pub(crate) fn object(table: toml::Table) -> Map<String, Value> {
    table.into_iter().map(|(name, value)| (name, json(value))).collect()
}

/// A value as the same in JSON; dates and times, and numbers that are none in JSON, as their text. The parser bounds how deep one may be.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(number) => Value::String(number.to_string()),
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(at) => Value::String(at.to_string()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(json).collect()),
        toml::Value::Table(table) => Value::Object(object(table)),
    }
}

/// Fails with what is wrong with the names and the number of steps.
pub(super) fn check_steps(pipeline: &str, steps: &[Step]) -> Result<()> {
    if !(1..=STEPS_MAX).contains(&steps.len()) {
        let found = steps.len();
        return Err(bad(pipeline, format!("expected 1 to {STEPS_MAX} steps, found {found}")));
    }
    let mut known = HashSet::new();
    for step in steps {
        check_name("step", &step.name)
            .map_err(|e| e.while_doing(format_args!("pipeline {pipeline}")))?;
        if !known.insert(step.name.as_str()) {
            return Err(bad(pipeline, format!("two steps are called {}", step.name)));
        }
    }
    Ok(())
}
