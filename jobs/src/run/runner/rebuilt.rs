//! Runs that only their commits tell of: control state was lost before they became rows of `runs`. Each commit names its run and the
//! key of the work, which is what another run of the same work is recognised by.

use std::collections::{BTreeMap, HashSet};

use datasets::DatasetName;
use engine::{Code, CommitRecord, Engine, Principal, Result, RunId};
use serde_json::{Value, json};

use super::RunRequest;
use super::recovery::HISTORY_COMMITS_MAX;
use super::request::new_record;
use crate::run::key::key_of;
use crate::run::ledger;
use crate::run::record::{DatasetVersion, RunRecord, RunState};

/// Commits of a dataset that are looked at at first; four times as many until the older half of them has runs, all of which are known.
const COMMITS_FIRST: usize = 16;

/// Those that are not among `known`, which are the newest of `runs`.
pub(super) async fn rebuilt(
    engine: &Engine,
    who: &Principal,
    known: &HashSet<RunId>,
) -> Result<Vec<RunRecord>> {
    engine.finish_publications(who).await?;
    let catalog = engine.catalog(who).await?;
    let mut runs: BTreeMap<RunId, RunRecord> = BTreeMap::new();
    for (dataset, _) in catalog.datasets.iter().filter(|(_, entry)| entry.spec.derived) {
        for commit in newest_commits(engine, who, dataset, known).await? {
            let Some((id, key)) = run_of(&commit).filter(|(id, _)| !known.contains(id)) else {
                continue;
            };
            let run = runs.entry(id).or_insert_with(|| of_commit(who, id, key, &commit));
            run.finished_at = run.finished_at.max(Some(commit.at));
            run.outputs.push(DatasetVersion {
                dataset: dataset.clone(),
                version: commit.version,
                rows: commit.rows_added,
                made_at: None,
            });
        }
    }
    let ids: Vec<RunId> = runs.keys().copied().collect();
    let older = ledger::known(engine, who, &ids).await?;
    runs.retain(|id, _| !older.contains(id));
    Ok(runs.into_values().collect())
}

/// As far back as there are runs that nobody knows.
async fn newest_commits(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    known: &HashSet<RunId>,
) -> Result<Vec<CommitRecord>> {
    let mut limit = COMMITS_FIRST;
    loop {
        let commits = match engine.history(who, dataset, limit).await {
            Err(error) if error.code() == Code::NotFound => return Ok(Vec::new()),
            commits => commits?,
        };
        let is_all = commits.len() < limit || limit >= HISTORY_COMMITS_MAX;
        let older = commits.iter().skip(limit / 2).filter_map(run_of);
        let (are_known, not): (Vec<RunId>, Vec<RunId>) =
            older.map(|(id, _)| id).partition(|id| known.contains(id));
        if is_all || (not.is_empty() && !are_known.is_empty()) {
            return Ok(commits);
        }
        limit = (limit * 4).min(HISTORY_COMMITS_MAX);
    }
}

/// The run that made a commit, and its key.
fn run_of(commit: &CommitRecord) -> Option<(RunId, &str)> {
    commit.run_id.zip(commit.numbers.keys().find_map(|application| key_of(application)))
}

/// What a commit says of its run. What it was given is not known.
fn of_commit(who: &Principal, id: RunId, key: &str, commit: &CommitRecord) -> RunRecord {
    let request =
        RunRequest { job: commit.operation.clone(), params: Value::Null, ..RunRequest::default() };
    let record = new_record(who, &request, commit.at);
    RunRecord {
        id,
        state: RunState::Succeeded,
        progress: 1.0,
        key: key.to_owned(),
        requested_by: commit.subject.clone().unwrap_or(record.requested_by),
        summary: json!({
            "rebuilt": "from its commits: control state was lost before it was recorded",
        }),
        ..record
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use datafusion::logical_expr::{ident, lit};
    use datasets::ColumnType::Int64;
    use engine::{Coming, CommitLabel, Going, Revision, Role, WriteMode};

    use super::*;
    use crate::parameters::dataset_name;
    use crate::run::runner::tests::run;
    use crate::run::runner::{Runner, RunnerOptions};
    use crate::testing::{engine_at, write};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_only_commits_tell_of_is_known_again_and_not_done_twice() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine_at(folder.path()).await;
        let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as _;
        write(&engine, "numbers", WriteMode::Append, &[("n", Int64, numbers)]).await;
        let query = |factor: u32| json!({"query": format!("SELECT n * {factor} AS n FROM numbers"), "output": "products"});
        let start = async || Runner::start(engine.clone(), RunnerOptions::default()).await.unwrap();
        let runner = start().await;
        let mut done = Vec::new();
        for factor in 2..30 {
            done.push(run(&runner, "sql", query(factor)).await);
        }
        runner.shutdown().await;
        // The database is lost, and the newest 25 runs never became rows.
        for name in ["", "-wal", "-shm"] {
            let _ =
                std::fs::remove_file(folder.path().join(format!(".colonnade.control.db{name}")));
        }
        let who = Principal { roles: vec![Role::Admin], ..Principal::local() };
        let lost = Going::Where(ident("id").gt_eq(lit(done[3].id.to_string())));
        let revision = Revision { going: lost, coming: Coming::Nothing };
        let (runs, label) = (dataset_name("runs"), CommitLabel::default());
        engine.revise_derived(&who, &runs, revision, label).await.unwrap();

        let runner = start().await;
        let last = done.last().unwrap();
        for of in &done {
            let known = runner.get(&who, of.id).await.unwrap();
            assert_eq!((known.state, &known.key), (of.state, &of.key), "{known:?}");
            assert_eq!(known.outputs, of.outputs);
        }
        let rebuilt = runner.get(&who, last.id).await.unwrap();
        assert_eq!(rebuilt.job, "sql");
        assert_eq!(rebuilt.requested_by, last.requested_by);
        assert!(rebuilt.summary["rebuilt"].is_string(), "{rebuilt:?}");
        let again = run(&runner, "sql", query(29)).await;
        assert_eq!((again.repeated_of, &again.outputs), (Some(last.id), &last.outputs));
        // What others wrote over since is made anew.
        assert_eq!(run(&runner, "sql", query(28)).await.repeated_of, None);
        assert_eq!(runner.list(&who, Default::default()).await.unwrap().len(), 30);
        runner.shutdown().await;
        let all = ledger::newest_runs(&engine, &who, 100).await.unwrap();
        assert_eq!(all.len(), 30);
        assert_eq!(engine.refresh_catalog(&who).await.unwrap().datasets[&runs].rows, Some(30));
    }
}
