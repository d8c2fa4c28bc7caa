//! The job kinds. To add one: a file here, and a line in [`KINDS`].

pub mod anomalies;
pub mod correlate;
pub mod duplicates;
pub mod embed;
pub mod embedder_train;
#[cfg(test)]
mod generated;
pub mod promote;
pub mod triage;
pub mod triage_train;
pub mod vector_index;

use datasets::DatasetName;
use engine::{Code, Error, Result};
use serde_json::{Map, Value};

use crate::job::{Estimate, Job};
use crate::run::context::RunContext;

/// Every kind there is, by name.
static KINDS: [&dyn Job; 9] = [
    &anomalies::Anomalies,
    &correlate::Correlate,
    &duplicates::Duplicates,
    &embed::Embed,
    &embedder_train::EmbedderTrain,
    &promote::Promote,
    &triage::Triage,
    &triage_train::TriageTrain,
    &vector_index::VectorIndex,
];

/// Every job kind.
pub fn kinds() -> &'static [&'static dyn Job] {
    &KINDS
}

/// The names of the kinds that make a dataset of this name unless they are told another.
pub(crate) fn makers(dataset: &DatasetName) -> Vec<&'static str> {
    let makes = |kind: &&dyn Job| {
        let own = kind.outputs(&Value::Object(Map::new())).unwrap_or_default();
        own.iter().any(|own| own.name == *dataset)
    };
    KINDS.iter().copied().filter(makes).map(Job::name).collect()
}

/// The kind called `name`; `NOT_FOUND` lists those that exist.
pub fn kind(name: &str) -> Result<&'static dyn Job> {
    KINDS.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name()).collect();
        Error::user(
            Code::NotFound,
            format!("job {name:?}: no such kind; expected one of {}", names.join(", ")),
        )
    })
}

/// The estimate of a job that reads one dataset, holding `point_bytes` for each row at most.
async fn estimate_input(
    ctx: &RunContext,
    dataset: &DatasetName,
    point_bytes: usize,
) -> Result<Estimate> {
    let catalog = ctx.engine().catalog(ctx.principal()).await?;
    let entry = catalog.dataset(dataset)?;
    let rows = entry.rows.unwrap_or(0);
    let wanted = rows.saturating_mul(point_bytes as u64);
    Ok(Estimate {
        rows,
        bytes_read: entry.bytes,
        memory_bytes: wanted.min(ctx.memory_budget_bytes() as u64),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use engine::DERIVED_NAMES;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_jobs_write_is_kept_for_them() {
        let mut specs: Vec<_> =
            kinds().iter().flat_map(|kind| kind.outputs(&json!({})).unwrap()).collect();
        specs.extend([
            crate::registry::evaluations::spec(),
            crate::texts::labels::labels_spec(),
            crate::texts::labels::pairs_spec(),
            crate::run::ledger::runs_spec().unwrap(),
            crate::registry::models_spec(),
            crate::registry::stages_spec(),
            crate::registry::training_rows::training_rows_spec(),
        ]);
        let mut names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, DERIVED_NAMES);
        assert!(specs.iter().all(|spec| spec.derived));
    }
}
