//! A run done again as it was: the same parameters on the same versions, with what it read beside them as that was, and nothing
//! committed. Whether it makes the same rows is found by their digests. It is a run like others: it waits its turn and for its memory,
//! and whoever works at it holds a lease.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datasets::DatasetName;
use engine::{AsOf, Code, Error, Principal, Result, Role, RunId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::execution::Run;
use super::request::new_record;
use super::{RunHandle, RunRequest, Runner, Shared};
use crate::control::LOSSES_MAX;
use crate::job::{Job, Outcome};
use crate::run::content::Content;
use crate::run::context::interrupted;
use crate::run::document::Document;
use crate::run::key::{code_of, run_key, scheduled};
use crate::run::quotas::Moment;
use crate::run::record::{DatasetVersion, RunRecord, RunState};

/// What came of a run that was done again: the summary of the run that did.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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

impl Rerun {
    /// What a run found that did another again.
    pub fn of(record: &RunRecord) -> Result<Self> {
        serde_json::from_value(record.summary.clone())
            .map_err(|e| Error::internal(format!("run {}: what it found: {e}", record.id)))
    }
}

impl Runner {
    /// Queues a run that does another again as it was and commits nothing; its summary is a [`Rerun`]. `CONFLICT` where it can not be:
    /// since that one did not succeed, what it committed is not known by digests, its job does something else by now, or a version
    /// that it read is gone.
    pub async fn rerun(&self, who: &Principal, id: RunId) -> Result<RunHandle> {
        if let Some(run) = self.queued_before(who).await? {
            return Ok(run);
        }
        who.require(Role::Operator)?;
        let mut first = self.get(who, id).await?;
        if let Some(other) = first.repeated_of.or(first.as_it_was) {
            first = self.get(who, other).await?;
        }
        let shared = &self.shared;
        let asked = (shared.records.store(), Moment::Asked);
        shared.options.quotas.check(&shared.engine, who, shared.now(), asked).await?;
        let job = shared.known(&first)?;
        // Where it was on a GPU, sums may have another order.
        let gpu = shared.options.gpu;
        if shared.works() {
            shared.require_device(job.name(), gpu)?;
        }
        // That its versions can be read is seen now; from here on they are kept for it.
        drop(shared.engine.session(who, &pins(&first)).await.map_err(|e| gone(&first, e))?);
        let request = RunRequest { job: first.job, params: first.params, ..RunRequest::default() };
        let record = RunRecord {
            inputs: first.inputs,
            estimate: first.estimate,
            as_it_was: Some(first.id),
            ..new_record(who, &request, shared.now())
        };
        self.enqueue(who, Document { record, gpu, grants: who.grants.clone() }).await
    }
}

impl Run {
    /// Does the work of another run again.
    pub(super) async fn again(
        &self,
        shared: &Arc<Shared>,
        record: &RunRecord,
        of: RunId,
    ) -> Result<Outcome> {
        if self.losses >= LOSSES_MAX {
            return Err(interrupted());
        }
        let first = shared.records.get(&shared.engine, &self.who, of).await?;
        let job = shared.known(&first)?;
        shared.require_device(job.name(), self.live.gpu)?;
        let begins = (shared.records.store(), Moment::Begins);
        shared.options.quotas.check(&shared.engine, &self.who, shared.now(), begins).await?;
        let session = shared.engine.session(&self.who, &pins(&first)).await;
        let session = session.map_err(|e| gone(&first, e))?;
        let stages = Arc::new(Mutex::new(Vec::new()));
        let taken = stages.clone();
        let mut context =
            self.context(shared, &job, &first, Arc::new(session), stages, HashMap::new());
        context.beside.as_it_was = Some(first.beside.clone());
        let done = self.do_it(shared, job.as_ref(), &context, record).await;
        if done.is_err() {
            context.control.cancel();
            self.live.cancellation.cancel();
        }
        context.work.close();
        context.work.wait().await;
        context.discard().await;
        self.change(shared, |record| record.stages = taken.lock().clone());
        done?;
        let found = context.contents.lock().clone();
        let summary = serde_json::to_value(compare(&first, &found));
        let summary = summary.map_err(|e| Error::internal(format!("what was found: {e}")))?;
        Ok(Outcome { summary })
    }
}

impl Shared {
    /// The job of a run that can be done again as it was.
    fn known(&self, first: &RunRecord) -> Result<Arc<dyn Job>> {
        let job = self.options.jobs.get(&first.job)?;
        let programs = self.options.programs.as_deref();
        let key_of = |scheduled| {
            let code = code_of(job.as_ref(), first.id, &first.params, scheduled, programs)?;
            Ok::<_, Error>(run_key(job.name(), job.revision(), &first.params, &code, &first.inputs))
        };
        // The key of a run of an earlier release has no scheduled time.
        let key = key_of(scheduled(first))?;
        let key = if key == first.key { key } else { key_of(None)? };
        require_known(first, &key)?;
        Ok(job)
    }
}

/// The versions that a run reads.
pub(super) fn pins(first: &RunRecord) -> Vec<(DatasetName, AsOf)> {
    let pin = |input: &DatasetVersion| (input.dataset.clone(), AsOf::Version(input.version));
    first.inputs.iter().map(pin).collect()
}

fn gone(first: &RunRecord, error: Error) -> Error {
    error.while_doing(format_args!("run {} as it was: a version that it read", first.id))
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
            "what it committed is not known by digests: control state keeps them for 90 days, of runs that ended in one go, and those of earlier versions of Colonnade are of another kind",
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
