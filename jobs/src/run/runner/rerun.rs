//! A run done again as it was: the same parameters on the same versions, with what it read beside them as that was, and nothing
//! committed. Whether it makes the same rows is found by their digests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datasets::DatasetName;
use engine::{AsOf, Code, Error, Principal, Result, Role, RunId};
use futures::FutureExt;
use parking_lot::Mutex;
use serde::Serialize;

use super::Runner;
use super::execution::Run;
use crate::run::content::Content;
use crate::run::context::panicked;
use crate::run::key::run_key;
use crate::run::record::{RunRecord, RunState};

/// What came of a run that was done again.
#[derive(Clone, Debug, Serialize)]
pub struct Rerun {
    /// The run.
    pub run: RunId,
    /// Its job kind.
    pub job: String,
    /// Whether all of its rows are the same.
    pub is_same: bool,
    /// Each dataset that it commits to.
    pub outputs: Vec<RerunOutput>,
}

/// The rows of one dataset, then and now.
#[derive(Clone, Debug, Serialize)]
pub struct RerunOutput {
    /// The dataset.
    pub dataset: DatasetName,
    /// What the run committed.
    pub recorded: Content,
    /// What it would commit now.
    pub found: Content,
    /// The columns of which the values are others; none of them, where just their rows are others.
    pub differing: Vec<String>,
}

impl Runner {
    /// Does a run again as it was, here and now and without a commit. `CONFLICT` where it can not be: since it did not succeed, what it
    /// committed is not known by digests, its job does something else by now, or a version that it read is gone.
    pub async fn rerun(&self, who: &Principal, id: RunId) -> Result<Rerun> {
        who.require(Role::Operator)?;
        let mut record = self.get(who, id).await?;
        if let Some(first) = record.repeated_of {
            record = self.get(who, first).await?;
        }
        let shared = &self.shared;
        let job = shared.options.jobs.get(&record.job)?;
        let code = job.code(&record.params, shared.options.programs.as_deref())?;
        let key = run_key(job.name(), job.revision(), &record.params, &code, &record.inputs);
        require_known(&record, &key)?;
        let pins: Vec<(DatasetName, AsOf)> = (record.inputs.iter())
            .map(|input| (input.dataset.clone(), AsOf::Version(input.version)))
            .collect();
        let session = shared.engine.session(who, &pins).await.map_err(|e| {
            e.while_doing(format_args!("run {} as it was: a version that it read", record.id))
        })?;
        let run = Run::as_it_was(shared, who, &record);
        let stages = Arc::new(Mutex::new(Vec::new()));
        let mut context =
            run.context(shared, &job, &record, Arc::new(session), stages, HashMap::new());
        context.beside.as_it_was = Some(record.beside.clone());
        let (contents, work) = (context.contents.clone(), context.work.clone());
        let done = AssertUnwindSafe(job.run(&context, &record.params)).catch_unwind().await;
        work.close();
        work.wait().await;
        done.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))?;
        let found = contents.lock().clone();
        Ok(compare(&record, &found))
    }
}

/// Fails where there is nothing to compare with, or where it would be compared with something else.
fn require_known(record: &RunRecord, key: &str) -> Result<()> {
    let conflict = |says: &str| {
        let says = format!("run {} of {} as it was: {says}", record.id, record.job);
        Err(Error::user(Code::Conflict, says))
    };
    match () {
        () if record.state != RunState::Succeeded => {
            conflict(&format!("expected a run that succeeded, found it {}", record.state))
        }
        () if record.outputs.is_empty() => conflict("it committed nothing"),
        () if record.contents.is_empty() => conflict(
            "what it committed is not known by digests: control state keeps them for 90 days, of runs that ended in one go",
        ),
        () if record.key != key => conflict(
            "the job does something else by now than it did then (its revision or its program changed)",
        ),
        () => Ok(()),
    }
}

pub(super) fn compare(record: &RunRecord, found: &BTreeMap<DatasetName, Content>) -> Rerun {
    let names: BTreeSet<&DatasetName> = record.contents.keys().chain(found.keys()).collect();
    let of = |all: &BTreeMap<DatasetName, Content>, name: &DatasetName| {
        all.get(name).cloned().unwrap_or_default()
    };
    let outputs: Vec<RerunOutput> = names
        .into_iter()
        .map(|name| {
            let (recorded, found) = (of(&record.contents, name), of(found, name));
            let differing = recorded.differing(&found).into_iter().map(str::to_owned).collect();
            RerunOutput { dataset: name.clone(), recorded, found, differing }
        })
        .collect();
    let is_same = outputs.iter().all(|output| output.recorded == output.found);
    Rerun { run: record.id, job: record.job.clone(), is_same, outputs }
}
