//! Which schedules need a dataset, or a column of it: nobody takes it from them in silence.

use datasets::DatasetName;
use engine::{Code, Engine, Error, Principal, Result};
use serde_json::Value;

use super::{Schedule, Trigger, backfill};
use crate::control::ControlStore;
use crate::kinds::Jobs;
use crate::run::records::Records;
use crate::run::runner::Runner;

impl Runner {
    /// CONFLICT where a schedule that does not rest needs a dataset, or a column of it, that is to have another name or to go.
    pub async fn require_unused(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        column: Option<&str>,
    ) -> Result<()> {
        unused(self.store(), self.jobs(), who, dataset, column).await
    }
}

/// The same for who has no runner. `control` is that of the runners ([`RunnerOptions::control`](crate::RunnerOptions::control)).
pub async fn require_unused(
    engine: &Engine,
    control: Option<&str>,
    who: &Principal,
    dataset: &DatasetName,
    column: Option<&str>,
) -> Result<()> {
    match Records::open_if_there(engine, control).await? {
        Some(records) => {
            let checked = unused(records.store(), &Jobs::default(), who, dataset, column).await;
            records.store().close().await;
            checked
        }
        None => Ok(()),
    }
}

async fn unused(
    store: &dyn ControlStore,
    jobs: &Jobs,
    who: &Principal,
    dataset: &DatasetName,
    column: Option<&str>,
) -> Result<()> {
    let mut users = Vec::new();
    for entry in store.schedules(Some(who.tenant.as_str())).await? {
        let schedule = Schedule::of(&entry)?;
        let is_over =
            matches!(schedule.trigger, Trigger::Backfill { .. }) && backfill::is_over(entry.up_to);
        if !entry.is_paused && !is_over {
            users.extend(uses(&schedule, jobs, dataset, column));
        }
    }
    if users.is_empty() {
        return Ok(());
    }
    let what = match column {
        Some(column) => format!("column {column:?} of {dataset}"),
        None => format!("dataset {dataset}"),
    };
    Err(Error::user(
        Code::Conflict,
        format!("{what} is used by {}; pause or change what uses it first", users.join(", ")),
    ))
}

/// What of a schedule needs it, in words.
fn uses(
    schedule: &Schedule,
    jobs: &Jobs,
    dataset: &DatasetName,
    column: Option<&str>,
) -> Vec<String> {
    let name = &schedule.name;
    let needs = |job: &str, params: &Value| {
        let Ok(kind) = jobs.get(job) else { return false };
        // Of a backfill the parameters are those of no run yet.
        let params = kind.canonical(params).unwrap_or_else(|_| params.clone());
        let reads = match kind.inputs(&params) {
            Ok(inputs) => inputs.contains(dataset),
            Err(_) => says(&params, dataset.as_str()),
        };
        let writes = || match kind.outputs(&params) {
            Ok(outputs) => outputs.iter().any(|output| output.name == *dataset),
            Err(_) => false,
        };
        // Its results are none of a client's to take away while it goes on.
        if column.is_none() && writes() {
            return true;
        }
        reads && column.is_none_or(|column| says(&params, column))
    };
    let steps = schedule.steps.iter().filter(|step| needs(&step.job, &step.params));
    let mut users: Vec<String> = steps
        .map(|step| format!("the pipeline {name} (step {}, job {})", step.name, step.job))
        .collect();
    if schedule.steps.is_empty() && needs(&schedule.job, &schedule.params) {
        users.push(format!("the schedule {name} (job {})", schedule.job));
    }
    let waits =
        matches!(&schedule.trigger, Trigger::Change { on_change, .. } if on_change == dataset);
    if waits && column.is_none() && users.is_empty() {
        users.push(format!("the schedule {name} (it waits for its changes)"));
    }
    users
}

/// Whether a name stands in a text of `value`, alone or as a word.
fn says(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            text == name || text.split(|c| !is_part(c)).any(|word| word == name)
        }
        Value::Array(values) => values.iter().any(|value| says(value, name)),
        Value::Object(fields) => fields.values().any(|value| says(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
