//! What earlier runs have committed, read from the tables and not from memory. A process can die
//! between a run's commit and the row that says so; the commit carries the run's id, so the truth can
//! always be told afterwards.

use std::collections::{HashMap, HashSet};

use datasets::DatasetName;
use engine::{Code, Engine, Principal, Result, Role, RunId, TenantId};

use super::Shared;
use super::rebuilt::rebuilt;
use crate::control::Adopted;
use crate::job::Job;
use crate::run::document::Document;
use crate::run::key::application_id;
use crate::run::ledger;
use crate::run::record::{DatasetVersion, RunError, RunRecord, RunState};

/// How far back in a dataset's history a run's commit is looked for.
pub(super) const HISTORY_COMMITS_MAX: usize = 1_000;
/// How many earlier runs of one key are looked at.
const EARLIER_RUNS_MAX: usize = 10;

/// Runs of before that control state takes over from the dataset of a tenant; older ones are read there.
const ADOPTED_MAX: usize = 10_000;

/// Takes over what the dataset `runs` and the commits know of a tenant's runs, where control state is new: those that an earlier release
/// left open are closed first.
pub(super) async fn adopt_earlier(shared: &Shared, tenant: &TenantId) -> Result<()> {
    let store = shared.records.store();
    if store.earlier(tenant.as_str()).await?.is_read {
        return Ok(());
    }
    let engine = &shared.engine;
    let who = Principal::new(tenant.clone(), "runner", &[Role::Admin]);
    let mut earlier = ledger::newest_runs(engine, &who, ADOPTED_MAX + 1).await?;
    let has_older = earlier.len() > ADOPTED_MAX;
    earlier.truncate(ADOPTED_MAX);
    let mut closed = Vec::new();
    for record in earlier.iter_mut().filter(|record| !record.state.is_final()) {
        *record = close(shared, &who, record.clone()).await?;
        tracing::warn!(run = %record.id, state = %record.state, "closed an interrupted run");
        closed.push(record.clone());
    }
    if !closed.is_empty() {
        match ledger::append(engine, &who, &closed).await {
            // An engine that only reads shows the records as they are.
            Err(error) if error.code() == Code::Forbidden => return Ok(()),
            appended => appended?,
        }
    }
    let known: HashSet<RunId> = earlier.iter().map(|record| record.id).collect();
    // Where control state goes with each process, others may be at work of which nothing is to be known here.
    if shared.records.is_durable() {
        earlier.extend(rebuilt(engine, &who, &known).await?);
    }
    let adopted = earlier.into_iter().map(|record| {
        Ok(Adopted {
            // Of several processes that find one at once it becomes a row by one.
            is_row: known.contains(&record.id),
            id: record.id.to_string(),
            job: record.job.clone(),
            state: record.state.as_str().to_owned(),
            key: record.key.clone(),
            ended_us: record.finished_at.unwrap_or(record.requested_at).timestamp_micros(),
            document: Document::ended(record).to_text()?,
        })
    });
    let adopted = adopted.collect::<Result<Vec<_>>>()?;
    store.adopt(tenant.as_str(), &adopted, has_older).await?;
    shared.ended.notify_one();
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

/// Looks for earlier runs with the key of `record`; where somebody was at it before, for what it did itself, too.
pub(super) async fn before(
    shared: &Shared,
    who: &Principal,
    job: &dyn Job,
    record: &RunRecord,
    is_later_attempt: bool,
) -> Result<Before> {
    let engine = &shared.engine;
    // One that writes nothing has nothing that could stand there.
    if job.outputs(&record.params)?.is_empty() {
        return Ok(Before { done: None, numbers: HashMap::new() });
    }
    // What was decided is made before it is looked for.
    if is_later_attempt {
        engine.finish_publications(who).await?;
    }
    // First: of a run of the same work that commits from here on the results are found below, or the number is its number, too.
    let id = application_id(&record.key);
    let names: Vec<DatasetName> =
        job.outputs(&record.params)?.into_iter().map(|output| output.name).collect();
    let mut numbers = HashMap::new();
    for output in &names {
        if is_later_attempt {
            // Who was at it before may have been another process, and a moment ago.
            engine.look_for(who, output, None).await?;
        }
        let last = match engine.last_number(who, output, &id).await {
            Ok(last) => last.unwrap_or_default(),
            Err(error) if error.code() == Code::NotFound => 0,
            Err(error) => return Err(error),
        };
        numbers.insert(output.clone(), last);
    }
    let mut standing = HashSet::new();
    let earlier =
        |state| shared.records.with_key(engine, who, &record.key, state, EARLIER_RUNS_MAX);
    let mut runs = earlier(RunState::Succeeded).await?;
    // One that ended otherwise may have committed, and nobody could be told.
    if numbers.values().all(|number| *number > 0) {
        runs.extend(earlier(RunState::Failed).await?);
        runs.extend(earlier(RunState::Cancelled).await?);
    }
    runs.retain(|earlier| earlier.id != record.id);
    if is_later_attempt {
        // First of all: what it did itself is its result, and no other's.
        runs.insert(0, record.clone());
    }
    for mut earlier in runs {
        // One that repeated another itself leads to the one that did the work.
        let committer = earlier.repeated_of.unwrap_or(earlier.id);
        // Its own commit is made, whatever others did to it since: a second one would undo that.
        let is_own = earlier.id == record.id;
        let made = commits(engine, who, &names, &earlier, committer).await?;
        let mut outputs = Vec::with_capacity(made.len());
        for (dataset, commit) in made {
            match commit {
                Some(made) if is_own || engine.is_as_made(who, &dataset, made.version).await? => {
                    standing.insert(dataset);
                    outputs.push(Some(made));
                }
                _ => outputs.push(None),
            }
        }
        if let Some(outputs) = whole(outputs, is_own) {
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

async fn close(shared: &Shared, who: &Principal, mut record: RunRecord) -> Result<RunRecord> {
    record.finished_at = Some(shared.now());
    let outputs = match shared.options.jobs.get(&record.job) {
        Ok(job) => committed(&shared.engine, who, job.as_ref(), &record, record.id).await?,
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
    let outputs = job.outputs(&record.params)?.into_iter().map(|output| output.name);
    let made = commits(engine, who, &outputs.collect::<Vec<_>>(), record, committer).await?;
    let is_own = committer == record.id;
    Ok(whole(made.into_iter().map(|(_, made)| made).collect(), is_own))
}

/// What a run committed to its outputs, when that is all it will: to each of them, or of several, which are committed together, to some.
fn whole(outputs: Vec<Option<DatasetVersion>>, is_own: bool) -> Option<Vec<DatasetVersion>> {
    let is_together = outputs.len() > 1;
    let made: Vec<DatasetVersion> = outputs.iter().flatten().cloned().collect();
    match is_own && is_together && !made.is_empty() {
        true => Some(made),
        false => Some(made).filter(|made| made.len() == outputs.len()),
    }
}

/// What `committer` committed to each of the outputs of `record`.
async fn commits(
    engine: &Engine,
    who: &Principal,
    outputs: &[DatasetName],
    record: &RunRecord,
    committer: RunId,
) -> Result<Vec<(DatasetName, Option<DatasetVersion>)>> {
    let mut found = Vec::new();
    for output in outputs {
        // However long ago it was.
        if record.state == RunState::Succeeded {
            let made = record.outputs.iter().find(|made| made.dataset == *output);
            found.push((output.clone(), made.cloned()));
            continue;
        }
        let history = match engine.history(who, output, HISTORY_COMMITS_MAX).await {
            Ok(history) => history,
            Err(error) if error.code() == Code::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let commit = history.into_iter().find(|past| past.run_id == Some(committer));
        let made = commit.map(|commit| DatasetVersion {
            dataset: output.clone(),
            version: commit.version,
            rows: commit.rows_added,
            made_at: None,
        });
        found.push((output.clone(), made));
    }
    Ok(found)
}
