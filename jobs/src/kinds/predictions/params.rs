//! The parameters of `predictions`.

use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::kinds::processes::read::EventColumns;
use crate::parameters::{bad, check_outputs, dataset_name};

/// Final activities that are named, at most.
const FINALS_MAX: usize = 1_000;

/// What is read, and what is foretold of it.
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
    /// Column of the instant at which it began; null where that is not known. Default: started_at.
    pub start_column: Option<String>,
    /// Column of the instant at which it was done; of rows without one, and where it is null, it was done when it began.
    /// Default: ended_at.
    pub end_column: Option<String>,
    /// Column of who did it; null where that is not known. Default: resource.
    pub resource_column: Option<String>,
    /// Only events of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Activities that end a case, such as ["ship", "cancel"]; null takes those that the log shows. Default: null.
    pub final_activities: Option<Vec<String>>,
    /// A case succeeds if this is true of one of its events, as it stands in SQL behind WHERE, such as "activity = 'ship'"; null says
    /// nothing of success, and suggests nothing. Default: null.
    pub success: Option<String>,
    /// What the network draws at random follows from it. Default: 0.
    pub seed: u64,
    /// Dataset of what is foretold of each case that goes on. Default: case_predictions.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Dataset of how good that was before. Default: prediction_accuracy.
    #[schemars(with = "String")]
    pub accuracy_output: DatasetName,
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
            final_activities: None,
            success: None,
            seed: 0,
            output: dataset_name("case_predictions"),
            accuracy_output: dataset_name("prediction_accuracy"),
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
            success: self.success.as_deref(),
        }
    }

    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        if self.start_column.is_none() && self.end_column.is_none() {
            let says = "expected a column here or as `start_column`: without instants nothing has an order";
            return Err(bad(NAME, "end_column", says));
        }
        if let Some(finals) = &self.final_activities
            && !(1..=FINALS_MAX).contains(&finals.len())
        {
            let found = finals.len();
            let says = format!(
                "expected 1 to {FINALS_MAX}, or null for those that the log shows; found {found}"
            );
            return Err(bad(NAME, "final_activities", says));
        }
        let outputs = [("output", &self.output), ("accuracy_output", &self.accuracy_output)];
        check_outputs(NAME, &outputs, std::slice::from_ref(&self.dataset))
    }
}
