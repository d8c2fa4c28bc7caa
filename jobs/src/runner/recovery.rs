//! What earlier runs have committed, read from the tables and not from memory. A process can die
//! between a run's commit and the row that says so; the commit carries the run's id, so the truth can
//! always be told afterwards.

use engine::{Code, Engine, Principal, Result, Role, RunId, TenantId};

use crate::job::Job;
use crate::kinds::kind;
use crate::ledger;
use crate::record::{
    DatasetVersion, RUNS_LISTED_MAX, RunError, RunFilter, RunRecord, RunState, now,
};

/// How far back in a dataset's history a run's commit is looked for.
const HISTORY_COMMITS_MAX: usize = 1_000;
/// How many earlier runs of one key are looked at.
const EARLIER_RUNS_MAX: usize = 10;

/// Closes the records of a tenant's runs that no process works on any more.
pub(super) async fn close_interrupted(engine: &Engine, tenant: &TenantId) -> Result<()> {
    let who =
        Principal { tenant: tenant.clone(), subject: "runner".into(), roles: vec![Role::Admin] };
    for state in [RunState::Running, RunState::Queued] {
        let filter =
            RunFilter { state: Some(state), limit: RUNS_LISTED_MAX, ..RunFilter::default() };
        for record in ledger::list(engine, &who, &filter).await? {
            let closed = close(engine, &who, record).await?;
            match ledger::append(engine, &who, &closed).await {
                Ok(()) => {
                    tracing::warn!(run = %closed.id, state = %closed.state, "closed an interrupted run");
                }
                // An engine that only reads shows the records as they are.
                Err(error) if error.code() == Code::Forbidden => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// An earlier run with the key of `record` whose commits are all there.
pub(super) async fn done_before(
    engine: &Engine,
    who: &Principal,
    job: &dyn Job,
    record: &RunRecord,
) -> Result<Option<RunRecord>> {
    for mut earlier in ledger::with_key(engine, who, &record.key, EARLIER_RUNS_MAX).await? {
        if earlier.id == record.id {
            continue;
        }
        // One that repeated another itself leads to the one that did the work.
        let committer = earlier.repeated_of.unwrap_or(earlier.id);
        if let Some(outputs) = committed(engine, who, job, &earlier, committer).await? {
            earlier.id = committer;
            earlier.outputs = outputs;
            return Ok(Some(earlier));
        }
    }
    Ok(None)
}

async fn close(engine: &Engine, who: &Principal, mut record: RunRecord) -> Result<RunRecord> {
    record.finished_at = Some(now());
    let outputs = match kind(&record.job) {
        Ok(job) => committed(engine, who, job, &record, record.id).await?,
        // A kind of another release: what it wrote is not known.
        Err(_) => None,
    };
    match outputs {
        Some(outputs) => {
            record.state = RunState::Succeeded;
            record.progress = 1.0;
            record.outputs = outputs;
        }
        None => {
            record.state = RunState::Failed;
            record.error = Some(RunError {
                code: Code::Internal.as_str().into(),
                message: "interrupted: the process ended before the run did; nothing was committed"
                    .into(),
            });
        }
    }
    Ok(record)
}

/// What `committer` committed to the outputs of `record`, when it is all of them.
async fn committed(
    engine: &Engine,
    who: &Principal,
    job: &dyn Job,
    record: &RunRecord,
    committer: RunId,
) -> Result<Option<Vec<DatasetVersion>>> {
    let mut found = Vec::new();
    for output in job.outputs(&record.params)? {
        let history = match engine.history(who, &output.name, HISTORY_COMMITS_MAX).await {
            Ok(history) => history,
            Err(error) if error.code() == Code::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(commit) = history.into_iter().find(|past| past.run_id == Some(committer)) else {
            return Ok(None);
        };
        found.push(DatasetVersion {
            dataset: output.name,
            version: commit.version,
            rows: commit.rows_added,
        });
    }
    Ok(Some(found))
}
