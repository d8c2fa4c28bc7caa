//! The parameters of `processes`.

use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use super::read::EventColumns;
use crate::parameters::{bad, check_outputs, dataset_name};

/// Bytes of a model that is given, at most.
const MODEL_MAX: usize = 1 << 20;

/// What is read, and what is made of it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Dataset with a row for each event. Default: workflow_steps.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column of the case that an event belongs to, a text or whole number. Default: case_id.
    pub case_column: String,
    /// Column of what was done, a text or whole number. Default: activity.
    pub activity_column: String,
    /// Column of the instant at which it began; null where that is not known, and then nothing is told of how long work takes.
    /// Default: started_at.
    pub start_column: Option<String>,
    /// Column of the instant at which it was done; of rows without one, and where it is null, it was done when it began.
    /// Default: ended_at.
    pub end_column: Option<String>,
    /// Column of who did it; null where that is not known. Default: resource.
    pub resource_column: Option<String>,
    /// Only events of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Model that cases are held against, a workflow net in PNML or a diagram in BPMN; null discovers one. Default: null.
    pub model: Option<String>,
    /// Share of the cases that a model is discovered from, those of the most frequent ways; the others are what it is held against.
    /// 0 to 1. Default: 0.8.
    pub model_share: f64,
    /// Dataset of what is done, how often, and how long it takes. Default: process_activities.
    #[schemars(with = "String")]
    pub activities_output: DatasetName,
    /// Dataset of what directly follows what, and how long it waits. Default: process_edges.
    #[schemars(with = "String")]
    pub edges_output: DatasetName,
    /// Dataset of who hands over to whom. Default: process_hand_overs.
    #[schemars(with = "String")]
    pub hand_overs_output: DatasetName,
    /// Dataset of the ways that cases take. Default: process_variants.
    #[schemars(with = "String")]
    pub variants_output: DatasetName,
    /// Dataset with a row for each case. Default: process_cases.
    #[schemars(with = "String")]
    pub cases_output: DatasetName,
    /// Dataset of the model. Default: process_models.
    #[schemars(with = "String")]
    pub models_output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dataset: dataset_name("workflow_steps"),
            case_column: "case_id".into(),
            activity_column: "activity".into(),
            start_column: Some("started_at".into()),
            end_column: Some("ended_at".into()),
            resource_column: Some("resource".into()),
            condition: None,
            model: None,
            model_share: 0.8,
            activities_output: dataset_name("process_activities"),
            edges_output: dataset_name("process_edges"),
            hand_overs_output: dataset_name("process_hand_overs"),
            variants_output: dataset_name("process_variants"),
            cases_output: dataset_name("process_cases"),
            models_output: dataset_name("process_models"),
        }
    }
}

impl Params {
    /// The event log that is read.
    pub(super) fn log(&self) -> EventColumns<'_> {
        EventColumns {
            job: NAME,
            dataset: &self.dataset,
            case: &self.case_column,
            activity: &self.activity_column,
            start: self.start_column.as_deref(),
            end: self.end_column.as_deref(),
            resource: self.resource_column.as_deref(),
            condition: self.condition.as_deref(),
            success: None,
        }
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        if self.start_column.is_none() && self.end_column.is_none() {
            let says = "expected a column here or as `start_column`: without instants nothing has an order";
            return Err(bad(NAME, "end_column", says));
        }
        if !(self.model_share > 0.0 && self.model_share <= 1.0) {
            let says = format!("expected above 0 and at most 1, found {}", self.model_share);
            return Err(bad(NAME, "model_share", says));
        }
        if let Some(model) = self.model.as_ref().filter(|model| model.len() > MODEL_MAX) {
            let says = format!("expected at most {MODEL_MAX} bytes, found {}", model.len());
            return Err(bad(NAME, "model", says));
        }
        let outputs = [
            ("activities_output", &self.activities_output),
            ("edges_output", &self.edges_output),
            ("hand_overs_output", &self.hand_overs_output),
            ("variants_output", &self.variants_output),
            ("cases_output", &self.cases_output),
            ("models_output", &self.models_output),
        ];
        check_outputs(NAME, &outputs, std::slice::from_ref(&self.dataset))
    }
}
