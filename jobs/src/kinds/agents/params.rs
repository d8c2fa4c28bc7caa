//! The parameters of `agents`.

use std::collections::BTreeMap;

use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_outputs, dataset_name};

/// Bytes of an expression that names rows, at most.
const NAME_MAX: usize = 1_000;
/// Measures, at most.
const MEASURES_MAX: usize = 20;
/// What successes are called among what is compared.
pub(super) const SUCCESS: &str = "success";
/// What is measured where nothing is named, as far as it is there.
pub(super) const USUAL: [&str; 2] = ["latency_ms", "cost"];
/// Trials of a task that must all succeed, at most.
const K_MAX: u64 = 100;

/// Whose trials of what are compared.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset with a row for each trial: one attempt at a task. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column of who did it. Default: agent_id.
    pub agent_column: String,
    /// Column of its version, where versions are told apart; null tells none apart. Default: null.
    pub version_column: Option<String>,
    /// Column of the task, which others may try, too, and anyone several times; null takes each trial for a task of its own.
    /// Default: null.
    pub task_column: Option<String>,
    /// Column of the kind of task, within which agents are compared; null takes all for one kind. Default: null.
    pub kind_column: Option<String>,
    /// When a trial succeeded, as it stands in SQL behind WHERE. Default: "status = 'ok'".
    pub success: String,
    /// What else is measured, as it stands in SQL behind SELECT, and which is better, "higher" or "lower", such as
    /// {"latency_ms": "lower"}; null takes `latency_ms` and `cost`, the less the better, where there are such columns. Default: null.
    pub measures: Option<BTreeMap<String, Better>>,
    /// Only trials of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Up to how many trials of a task the chance is told that all of them succeed, 1 to 100. Default: 8.
    pub k: u64,
    /// How often any agent at all may be called better by chance, above 0 and at most 0.5. Default: 0.05.
    pub alpha: f64,
    /// Agents that are compared with each other, those with the most trials, 2 to 200. Default: 50.
    pub compared: usize,
    /// Dataset of successes. Default: agent_results.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset of what else is measured. Default: agent_measures.
    #[schemars(with = "String")]
    pub measures_output: DatasetName,
    /// Dataset of who is better. Default: agent_comparisons.
    #[schemars(with = "String")]
    pub comparisons_output: DatasetName,
}

/// Which of two is better.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The one that has more.
    Higher,
    /// The one that has less.
    Lower,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("model_calls"),
            agent_column: "agent_id".into(),
            version_column: None,
            task_column: None,
            kind_column: None,
            success: "status = 'ok'".into(),
            measures: None,
            condition: None,
            k: 8,
            alpha: 0.05,
            compared: 50,
            output: dataset_name("agent_results"),
            measures_output: dataset_name("agent_measures"),
            comparisons_output: dataset_name("agent_comparisons"),
        }
    }
}

impl Params {
    /// What is measured beside successes, as far as it is named.
    pub(super) fn measured(&self) -> &BTreeMap<String, Better> {
        static NONE: BTreeMap<String, Better> = BTreeMap::new();
        self.measures.as_ref().unwrap_or(&NONE)
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let expected =
            |most: &str, found: &dyn std::fmt::Display| format!("expected {most}, found {found}");
        let found = self.measured().len();
        if found > MEASURES_MAX {
            return Err(bad(NAME, "measures", expected("at most 20", &found)));
        }
        // They name rows of the results.
        if let Some(long) = self.measured().keys().map(String::len).find(|long| *long > NAME_MAX) {
            return Err(bad(NAME, "measures", expected("at most 1,000 bytes", &long)));
        }
        if self.measured().contains_key(SUCCESS) {
            let says = format!(
                "{SUCCESS:?} is compared anyway, by `success`; expected another expression"
            );
            return Err(bad(NAME, "measures", says));
        }
        if !(1..=K_MAX).contains(&self.k) {
            return Err(bad(NAME, "k", expected("1 to 100", &self.k)));
        }
        if !(self.alpha > 0.0 && self.alpha <= 0.5) {
            return Err(bad(NAME, "alpha", expected("above 0 and at most 0.5", &self.alpha)));
        }
        if !(2..=200).contains(&self.compared) {
            return Err(bad(NAME, "compared", expected("2 to 200", &self.compared)));
        }
        let outputs = [
            ("output", &self.output),
            ("measures_output", &self.measures_output),
            ("comparisons_output", &self.comparisons_output),
        ];
        check_outputs(NAME, &outputs, std::slice::from_ref(&self.dataset))
    }
}
