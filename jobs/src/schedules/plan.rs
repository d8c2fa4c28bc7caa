//! Checks a schedule before it is added, for errors that would fail every run.

use datasets::DatasetName;
use engine::{Principal, Result};
use serde_json::Value;

use super::Schedule;
use crate::run::runner::Runner;

impl Runner {
    /// Fails if the job could not start with the existing datasets. A missing dataset must be one that Colonnade itself or
    /// another schedule writes, including the schedules that are being added.
    pub(super) async fn check_plan(
        &self,
        who: &Principal,
        (name, job): (&str, &str),
        params: &Value,
        beside: &[Schedule],
    ) -> Result<()> {
        let job = self.jobs().get(job)?;
        let params = job.canonical(params)?;
        // The process that adds a schedule may not run programs.
        if let Some(programs) = self.programs() {
            job.code(&params, Some(programs))?;
        }
        let (inputs, catalog) = (job.inputs(&params)?, self.engine().catalog(who).await?);
        let absent = inputs.iter().filter(|input| !catalog.datasets.contains_key(*input));
        let absent: Vec<&DatasetName> = absent.collect();
        if absent.is_empty() {
            let session = self.engine().session(who, &[]).await?;
            return job.plan(&session, &params).await.map(drop);
        }
        let others = self.all_with(who, beside).await?;
        let made: Vec<DatasetName> = others
            .iter()
            .filter(|other| other.name != name)
            .flat_map(|other| self.node(other).outputs)
            .collect();
        let is_to_come =
            |input: &DatasetName| catalog.with_expected(input).is_some() || made.contains(input);
        match absent.into_iter().find(|input| !is_to_come(input)) {
            Some(input) => catalog.dataset(input).map(drop),
            None => Ok(()),
        }
    }
}
