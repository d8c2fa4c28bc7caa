//! What earlier runs have committed, read from the tables and not from memory. A process can die
//! between a run's commit and the row that says so; the commit carries the run's id, so the truth can
//! always be told afterwards.

use std::collections::{HashMap, HashSet};

use datasets::DatasetName;
use engine::{Code, Engine, Principal, Result, Role, RunId, TenantId};

use crate::job::Job;
use crate::kinds::kind;
use crate::run::key::application_id;
use crate::run::ledger;
use crate::run::record::{
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
            // Another process is at it.
            if engine.is_marked(&record.id.to_string()) {
                continue;
            }
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

/// What runs of one key have committed before.
pub(super) struct Before {
    /// One whose results are all there, as it made them.
    pub(super) done: Option<RunRecord>,
    /// The number that a commit to each output is made under. It is the last one where that commit still stands, so that none is
    /// made a second time, and one more where others have changed since what it had made.
    pub(super) numbers: HashMap<DatasetName, i64>,
}

/// Looks for earlier runs with the key of `record`.
pub(super) async fn before(
    engine: &Engine,
    who: &Principal,
    job: &dyn Job,
    record: &RunRecord,
) -> Result<Before> {
    // First: of a run of the same work that commits from here on the results are found below, or the number is its number, too.
    let id = application_id(&record.key);
    let mut numbers = HashMap::new();
    for output in job.outputs(&record.params)? {
        let last = match engine.last_number(who, &output.name, &id).await {
            Ok(last) => last.unwrap_or_default(),
            Err(error) if error.code() == Code::NotFound => 0,
            Err(error) => return Err(error),
        };
        numbers.insert(output.name, last);
    }
    let mut standing = HashSet::new();
    for mut earlier in ledger::with_key(engine, who, &record.key, EARLIER_RUNS_MAX).await? {
        if earlier.id == record.id {
            continue;
        }
        // One that repeated another itself leads to the one that did the work.
        let committer = earlier.repeated_of.unwrap_or(earlier.id);
        let made = commits(engine, who, job, &earlier, committer).await?;
        let mut outputs = Vec::with_capacity(made.len());
        for (dataset, commit) in made {
            match commit {
                Some(made) if engine.is_as_made(who, &dataset, made.version).await? => {
                    standing.insert(dataset);
                    outputs.push(Some(made));
                }
                _ => outputs.push(None),
            }
        }
        if let Some(outputs) = outputs.into_iter().collect() {
            earlier.id = committer;
            earlier.outputs = outputs;
            return Ok(Before { done: Some(earlier), numbers: HashMap::new() });
        }
    }
    for (output, number) in &mut numbers {
        if !standing.contains(output) {
            *number += 1;
        }
    }
    Ok(Before { done: None, numbers })
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
    let made = commits(engine, who, job, record, committer).await?;
    Ok(made.into_iter().map(|(_, made)| made).collect())
}

/// What `committer` committed to each output of `record`.
async fn commits(
    engine: &Engine,
    who: &Principal,
    job: &dyn Job,
    record: &RunRecord,
    committer: RunId,
) -> Result<Vec<(DatasetName, Option<DatasetVersion>)>> {
    let mut found = Vec::new();
    for output in job.outputs(&record.params)? {
        // However long ago it was.
        if record.state == RunState::Succeeded {
            let made = record.outputs.iter().find(|made| made.dataset == output.name);
            found.push((output.name, made.cloned()));
            continue;
        }
        let history = match engine.history(who, &output.name, HISTORY_COMMITS_MAX).await {
            Ok(history) => history,
            Err(error) if error.code() == Code::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let commit = history.into_iter().find(|past| past.run_id == Some(committer));
        let made = commit.map(|commit| DatasetVersion {
            dataset: output.name.clone(),
            version: commit.version,
            rows: commit.rows_added,
        });
        found.push((output.name, made));
    }
    Ok(found)
}
