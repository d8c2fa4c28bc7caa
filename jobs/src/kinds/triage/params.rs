//! The parameters of `triage`.

use std::collections::BTreeMap;

use datasets::DatasetName;
use engine::Result;
use models::{Classifier, ClassifierSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LABEL, NAME};
use crate::parameters::{bad, dataset_name};
use crate::registry::embedders::check_name;

/// Most rows that an answer is explained by.
const REASONS_MAX: usize = 20;

/// Which rows to label, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset that holds the texts, one row for each. Default: tickets.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column that names the row. Default: id.
    pub id_column: String,
    /// Columns whose texts together are labelled, a line each; where the model was trained on columns apart, as many, in their
    /// order. Null takes those that the model was trained on. Default: null.
    pub text_columns: Option<Vec<String>>,
    /// Columns of numbers and truth values, as many as the model was trained with, in their order. Null takes those that it was trained
    /// with. Default: null.
    pub feature_columns: Option<Vec<String>>,
    /// Column of labels: rows that have one are not labelled; null labels all rows, as does a dataset
    /// that has no column of the usual name. Default: label.
    pub label_column: Option<String>,
    /// The model. Default: triage.
    pub model: String,
    /// Its version; null takes the one in production. Default: null.
    pub version: Option<String>,
    /// Labels that are answered for each row, the likeliest first, 1 to 100. Default: 3.
    pub top: usize,
    /// Rows that the model learned from and that are most like it, by text and numbers, with their labels, for each row, 0 to 20.
    /// Default: 3.
    pub reasons: usize,
    /// The team of each label; a row whose label is not in the list, or that is out of scope, has none. Default: {}.
    pub teams: BTreeMap<String, String>,
    /// Dataset that the labels are committed to. Default: triage.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("tickets"),
            id_column: "id".into(),
            text_columns: None,
            feature_columns: None,
            label_column: Some(LABEL.into()),
            model: "triage".into(),
            version: None,
            top: 3,
            reasons: 3,
            teams: BTreeMap::new(),
            output: dataset_name("triage"),
        }
    }
}

impl Params {
    /// The columns that are read for a model.
    pub(super) fn columns(&self, model: &ClassifierSettings) -> Vec<String> {
        match &self.text_columns {
            Some(columns) => columns.clone(),
            // Written before models said what they were trained on.
            None if model.columns.is_empty() => vec!["subject".into(), "body".into()],
            None => model.columns.clone(),
        }
    }

    /// The columns of numbers that are read for a model. Fails for others than so many.
    pub(super) fn numbers(&self, model: &Classifier, version: &str) -> Result<Vec<String>> {
        let trained = || model.settings().numbers.names().map(str::to_owned).collect::<Vec<_>>();
        match &self.feature_columns {
            Some(columns) if columns.len() != trained().len() => {
                let (model, found) = (&self.model, columns.len());
                let problem = match trained().len() {
                    0 => format!("{model}@{version} was trained without any: leave them out"),
                    count => format!(
                        "expected as many as {model}@{version} was trained with, {count} ({}), found {found}",
                        trained().join(", ")
                    ),
                };
                Err(bad(NAME, "feature_columns", problem))
            }
            // By their own names in whatever order, and by others in the model's.
            Some(columns) if columns.iter().any(|name| !trained().contains(name)) => {
                Ok(columns.clone())
            }
            Some(_) | None => Ok(trained()),
        }
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        if !(1..=100).contains(&self.top) {
            return Err(bad(NAME, "top", format!("expected 1 to 100, found {}", self.top)));
        }
        if self.reasons > REASONS_MAX {
            let problem = format!("expected 0 to {REASONS_MAX}, found {}", self.reasons);
            return Err(bad(NAME, "reasons", problem));
        }
        if self.text_columns.as_ref().is_some_and(Vec::is_empty) {
            return Err(bad(NAME, "text_columns", "expected at least one column, found none"));
        }
        check_name(&self.model).map_err(|problem| bad(NAME, "model", problem))
    }
}
