//! The job kinds. To add one: a file here, and a line in `KINDS`.

pub mod accuracy;
pub mod agents;
pub mod alerts;
pub mod anomalies;
pub mod correlate;
pub mod costs;
pub mod drift;
pub mod duplicates;
pub mod embed;
pub mod embedder_train;
#[cfg(unix)]
pub mod exec;
pub mod explain;
pub mod export;
pub mod features;
pub mod forecast;
#[cfg(test)]
mod generated;
pub mod insights;
pub mod maintain;
pub mod metric;
#[cfg(test)]
mod pinned;
pub mod predictions;
pub mod processes;
pub mod promote;
pub mod quality;
pub mod reconcile;
pub mod report;
pub mod routing;
pub mod sql;
pub mod training_set;
pub mod trends;
pub mod triage;
pub mod triage_train;
pub mod vector_index;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, did_you_mean};
use serde_json::Value;

use crate::job::Job;
use crate::partition::Partition;

/// The kinds that a runner knows, by name. Clones share them.
#[derive(Clone)]
pub struct Jobs(Arc<BTreeMap<&'static str, Arc<dyn Job>>>);

/// Every kind there is.
static KINDS: LazyLock<Jobs> = LazyLock::new(|| {
    let kinds = [
        Arc::new(accuracy::Accuracy) as Arc<dyn Job>,
        Arc::new(agents::Agents),
        Arc::new(alerts::Alerts::default()),
        Arc::new(anomalies::Anomalies),
        Arc::new(correlate::Correlate),
        Arc::new(costs::Costs),
        Arc::new(drift::DriftWatch),
        Arc::new(duplicates::Duplicates),
        Arc::new(embed::Embed),
        Arc::new(embedder_train::EmbedderTrain),
        Arc::new(explain::Explain),
        Arc::new(export::Export),
        Arc::new(features::Features),
        Arc::new(forecast::Forecast),
        Arc::new(insights::Insights),
        Arc::new(maintain::Maintain),
        Arc::new(metric::Metric),
        Arc::new(predictions::Predictions),
        Arc::new(processes::Processes),
        Arc::new(promote::Promote),
        Arc::new(quality::Quality),
        Arc::new(reconcile::Reconcile),
        Arc::new(report::Report),
        Arc::new(routing::Routing),
        Arc::new(sql::Sql),
        Arc::new(training_set::TrainingSet),
        Arc::new(trends::Trends),
        Arc::new(triage::Triage),
        Arc::new(triage_train::TriageTrain),
        Arc::new(vector_index::VectorIndex),
        #[cfg(unix)]
        Arc::new(exec::Exec),
    ];
    Jobs(Arc::new(kinds.into_iter().map(|kind| (kind.name(), kind)).collect()))
});

impl Default for Jobs {
    fn default() -> Self {
        KINDS.clone()
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Jobs {
    /// The same and one more, or another one of its name.
    pub fn with(&self, kind: Arc<dyn Job>) -> Self {
        let mut kinds = BTreeMap::clone(&self.0);
        kinds.insert(kind.name(), kind);
        Self(Arc::new(kinds))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Job>> {
        self.0.values()
    }

    /// The kind called `name`; `NOT_FOUND` lists those that exist.
    pub fn get(&self, name: &str) -> Result<Arc<dyn Job>> {
        self.0.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = self.0.keys().copied().collect();
            let meant = did_you_mean(name, names.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!("{meant} "));
            let says =
                format!("job {name:?}: no such kind; {meant}expected one of {}", names.join(", "));
            Error::user(Code::NotFound, says)
        })
    }

    /// The parameters of a run of `job` over one partition; BAD_INPUT names the kinds that have some, where this one has none.
    pub(crate) fn of_partition(
        &self,
        job: &str,
        params: &Value,
        partition: Partition,
    ) -> Result<Value> {
        let kind = self.get(job)?;
        if kind.has_partitions() {
            return kind.of_partition(params, partition);
        }
        let have = self.iter().filter(|kind| kind.has_partitions());
        let have: Vec<&str> = have.map(|kind| kind.name()).collect();
        Err(Error::user(
            Code::BadInput,
            format!("job {job} has no partitions; expected one of {}", have.join(", ")),
        ))
    }

    /// The datasets that they make where they are told no name.
    pub(crate) fn results(&self) -> impl Iterator<Item = DatasetSpec> {
        self.iter().flat_map(|kind| kind.own_outputs())
    }

    /// The names of the kinds that make a dataset of this name unless they are told another.
    pub(crate) fn makers(&self, dataset: &DatasetName) -> Vec<&'static str> {
        let makes =
            |kind: &&Arc<dyn Job>| kind.own_outputs().iter().any(|own| own.name == *dataset);
        self.iter().filter(makes).map(|kind| kind.name()).collect()
    }
}

/// Every job kind.
pub fn kinds() -> Vec<Arc<dyn Job>> {
    KINDS.iter().cloned().collect()
}

/// The kind called `name`; `NOT_FOUND` lists those that exist.
pub fn kind(name: &str) -> Result<Arc<dyn Job>> {
    KINDS.get(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use engine::DERIVED_NAMES;

    use super::*;

    #[test]
    fn what_jobs_write_is_kept_for_them() {
        let mut specs: Vec<_> = kinds().iter().flat_map(|kind| kind.own_outputs()).collect();
        specs.extend([
            crate::registry::evaluations::spec(),
            crate::alert_words::spec(),
            crate::alerting::spec(),
            crate::anomaly_labels::spec(),
            crate::insight_feedback::spec(),
            crate::texts::labels::labels_spec(),
            crate::texts::labels::pairs_spec(),
            crate::audit::audit_spec().unwrap(),
            crate::run::ledger::runs_spec().unwrap(),
            crate::run::logs::logs_spec().unwrap(),
            crate::run::stages::stages_spec().unwrap(),
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
