//! The parameters of `alerts`.

use analysis::alerts::Rule;
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};

/// Rules of one dataset.
pub(crate) const RULES_MAX: usize = 1_000;

/// Which rules of which dataset are looked after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset whose commits the rules look at. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// The rules, each an object, at most 1000; null takes those that are defined for the dataset. What fires of one that is there no
    /// more is resolved. Default: null.
    pub rules: Option<Vec<Rule>>,
    /// Dataset that alerts are committed to as they are. Default: alerts.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset that everything that happens to them is committed to. Default: alert_events.
    #[schemars(with = "String")]
    pub events: DatasetName,
    /// Dataset of what people are to be told. Default: alert_outbox.
    #[schemars(with = "String")]
    pub outbox: DatasetName,
    /// Dataset of how far it is. Default: alert_state.
    #[schemars(with = "String")]
    pub state: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("model_calls"),
            rules: None,
            output: dataset_name("alerts"),
            events: dataset_name("alert_events"),
            outbox: dataset_name("alert_outbox"),
            state: dataset_name("alert_state"),
        }
    }
}

impl Params {
    /// Whether its state is that of the rules that are defined.
    pub(super) fn is_of_the_defined(&self) -> bool {
        let usual = Self::default();
        self.state == usual.state
            || self.output == usual.output
            || self.events == usual.events
            || self.outbox == usual.outbox
    }

    /// Checks what the types can't, and says of each rule which dataset it is of.
    pub(super) fn checked(mut self) -> Result<Self> {
        let wrong = |says: String| bad(NAME, "rules", says);
        let rules = self.rules.as_deref_mut().unwrap_or_default();
        if rules.len() > RULES_MAX {
            let found = rules.len();
            return Err(wrong(format!("expected at most {RULES_MAX}, found {found}")));
        }
        for rule in rules.iter_mut() {
            if rule.dataset.is_empty() {
                rule.dataset = self.dataset.to_string();
            }
            if rule.dataset != self.dataset.as_str() {
                let (name, own, all) = (&rule.name, &rule.dataset, &self.dataset);
                let says = format!(
                    "alert {name}: dataset: expected {all}, as for all of the run, found {own}"
                );
                return Err(wrong(says));
            }
            rule.check().map_err(|says| wrong(says.to_string()))?;
        }
        for (at, rule) in rules.iter().enumerate() {
            if rules[..at].iter().any(|other| other.name == rule.name) {
                return Err(wrong(format!("two are called {}", rule.name)));
            }
        }
        let own = [&self.output, &self.events, &self.outbox, &self.state];
        for (at, name) in ["output", "events", "outbox", "state"].into_iter().enumerate() {
            if own[..at].contains(&own[at]) {
                return Err(bad(NAME, name, format!("{} is named twice", own[at])));
            }
            if *own[at] == self.dataset {
                let says = format!("{} is the dataset that the rules look at", self.dataset);
                return Err(bad(NAME, name, says));
            }
        }
        Ok(self)
    }
}
