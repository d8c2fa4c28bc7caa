//! The parameters of `routing`.

use analysis::routing::Asked;
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, check_outputs, dataset_name};

const THRESHOLDS_MAX: usize = 10;
/// A year.
const CACHE_SECONDS_MAX: u64 = 366 * 86_400;

/// Which calls are looked at, what a good answer is, and what a policy may lose.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset with a row for each call of a model. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column of when it was called; null takes the one that the dataset declares, or `at` where it declares none. Default: null.
    pub time_column: Option<String>,
    /// Column of the model. Default: model.
    pub model_column: String,
    /// Column of the kind of request: only models that answered requests of a kind are tried for it; null takes all for one kind.
    /// Default: operation.
    pub kind_column: Option<String>,
    /// Column of how long a request is, in whole numbers, such as tokens; null tells lengths apart nowhere. Default: input_tokens.
    pub length_column: Option<String>,
    /// What a call cost, as it stands in SQL behind SELECT. Default: cost.
    pub cost: String,
    /// How good the answer was, as it stands in SQL behind SELECT: a truth value, or a number from 0 to 1; null where that is not
    /// known. Default: "status = 'ok'".
    pub quality: String,
    /// Which calls answered a request, as it stands in SQL behind WHERE; what others say of their models is minded, too. Null takes all
    /// for such. Default: null.
    pub served: Option<String>,
    /// Column that names the request, where several calls answer one; with `confidence` and `served` a model is tried, too, that answers first, and another
    /// one after it where it is not sure. Null tries none. Default: null.
    pub request_column: Option<String>,
    /// How sure the model was of its answer, as it stands in SQL behind SELECT, a number. Default: null.
    pub confidence: Option<String>,
    /// From which confidence on the first answer is taken, at most 10. Default: [0.5, 0.6, 0.7, 0.8, 0.9].
    pub thresholds: Vec<f64>,
    /// Column that is the same where the same is asked, such as a hash of the prompt: an answer that is kept is tried for what was asked before.
    /// Null tries none. Default: null.
    pub cache_column: Option<String>,
    /// How long an answer is kept after it was last asked for, in seconds, 1 to 31,622,400. Default: 86400.
    pub cache_seconds: u64,
    /// Only calls of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Part of the requests, the earliest, from which policies are learned; they are tried on the others. 0.1 to 0.9. Default: 0.5.
    pub learn: f64,
    /// By how much of the quality answers may be worse, 0 to 1. Default: 0.01.
    pub max_loss: f64,
    /// Part of the cost that a policy must save to be recommended, 0 to 1. Default: 0.01.
    pub min_saving: f64,
    /// How often any policy at all may be recommended by chance that saves less or loses more, above 0 and at most 0.5. Default: 0.05.
    pub alpha: f64,
    /// Calls of a model for requests of a kind and length, judged ones, below which it is not tried for them, 10 to 1,000,000. Default: 50.
    pub min_calls: u64,
    /// Dataset of policies. Default: routing_policies.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset of what they do with which requests. Default: routing_rules.
    #[schemars(with = "String")]
    pub rules_output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("model_calls"),
            time_column: None,
            model_column: "model".into(),
            kind_column: Some("operation".into()),
            length_column: Some("input_tokens".into()),
            cost: "cost".into(),
            quality: "status = 'ok'".into(),
            served: None,
            request_column: None,
            confidence: None,
            thresholds: vec![0.5, 0.6, 0.7, 0.8, 0.9],
            cache_column: None,
            cache_seconds: 86_400,
            condition: None,
            learn: 0.5,
            max_loss: 0.01,
            min_saving: 0.01,
            alpha: 0.05,
            min_calls: 50,
            output: dataset_name("routing_policies"),
            rules_output: dataset_name("routing_rules"),
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value, expected, fits) in [
            ("learn", self.learn, "0.1 to 0.9", (0.1..=0.9).contains(&self.learn)),
            ("max_loss", self.max_loss, "0 to 1", (0.0..=1.0).contains(&self.max_loss)),
            ("min_saving", self.min_saving, "0 to 1", (0.0..=1.0).contains(&self.min_saving)),
            ("alpha", self.alpha, "above 0 and at most 0.5", self.alpha > 0.0 && self.alpha <= 0.5),
        ] {
            if !fits {
                return Err(bad(NAME, name, format!("expected {expected}, found {value}")));
            }
        }
        if !(10..=1_000_000).contains(&self.min_calls) {
            let says = format!("expected 10 to 1,000,000, found {}", self.min_calls);
            return Err(bad(NAME, "min_calls", says));
        }
        let count = self.thresholds.len();
        if !(1..=THRESHOLDS_MAX).contains(&count) {
            let says = format!("expected 1 to {THRESHOLDS_MAX}, found {count}");
            return Err(bad(NAME, "thresholds", says));
        }
        if self.request_column.is_some() != self.confidence.is_some() {
            let (name, other) = match self.confidence {
                None => ("confidence", "request_column"),
                Some(_) => ("request_column", "confidence"),
            };
            return Err(bad(NAME, name, format!("expected one beside `{other}`")));
        }
        for (at, threshold) in self.thresholds.iter().enumerate() {
            if self.thresholds[..at].contains(threshold) {
                return Err(bad(NAME, "thresholds", format!("{threshold} is named twice")));
            }
        }
        if self.request_column.is_some() && self.served.is_none() {
            let says = "expected which calls of a request answered it, beside `request_column`";
            return Err(bad(NAME, "served", says));
        }
        if !(1..=CACHE_SECONDS_MAX).contains(&self.cache_seconds) {
            let found = self.cache_seconds;
            let says = format!("expected 1 to {CACHE_SECONDS_MAX}, found {found}");
            return Err(bad(NAME, "cache_seconds", says));
        }
        let outputs = [("output", &self.output), ("rules_output", &self.rules_output)];
        check_outputs(NAME, &outputs, std::slice::from_ref(&self.dataset))
    }

    /// What is asked of policies.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            loss_max: self.max_loss,
            saving_min: self.min_saving,
            alpha: self.alpha,
            calls_min: self.min_calls,
        }
    }
}
