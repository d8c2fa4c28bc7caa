//! What of a schedule would fail each time, found before it is added.

use datasets::DatasetName;
use engine::{Principal, Result};
use serde_json::Value;

use super::Schedule;
use crate::run::runner::Runner;

impl Runner {
    /// Fails where a job could not begin on what is there. A dataset that does not exist yet must be one that another schedule, with
    /// those that are to be added too, or Colonnade itself writes.
    pub(super) async fn check_plan(
        &self,
        who: &Principal,
        (name, job): (&str, &str),
        params: &Value,
        beside: &[Schedule],
    ) -> Result<()> {
        let job = self.jobs().get(job)?;
        let params = job.canonical(params)?;
        // Who adds it may not be who runs programs.
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
