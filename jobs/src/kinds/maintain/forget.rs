//! What goes because nobody needs it any more: old lines of logs, versions of models that are not in use, their weights, checkpoints of
//! trainings that nobody took up again, and scratch of processes that were killed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use chrono::TimeDelta;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datasets::DatasetName;
use engine::{Coming, CommitLabel, Forgotten, Going, Principal, Result, Revision};
use serde_json::json;

use super::{NAME, Params};
use crate::parameters::dataset_name;
use crate::registry::training_rows::training_rows_name;
use crate::registry::{self, History, WEIGHTS_COLUMN, models_name, stages_name};
use crate::run::context::{RunContext, SCRATCH};
use crate::run::logs::RUN_LOGS;

/// The task of classifiers.
const TRIAGE: &str = "triage";
const DAY_SECONDS: u64 = 24 * 3600;
const SCRATCH_KEPT: Duration = Duration::from_secs(DAY_SECONDS);
/// How old weights are at least that are taken away: a day, and an hour by which clocks may differ.
const WEIGHTS_KEPT: TimeDelta = TimeDelta::hours(25);

/// What went.
#[derive(Default)]
pub(super) struct Gone {
    pub(super) lines: u64,
    pub(super) versions: u64,
    pub(super) training_rows: u64,
    pub(super) checkpoints: u64,
    pub(super) scratch: u64,
}

/// Takes it away, of the datasets that the run looks after.
pub(super) async fn forget(
    ctx: &RunContext,
    who: &Principal,
    datasets: &[DatasetName],
    params: &Params,
) -> Result<Gone> {
    let mut stage = ctx.stage("forget");
    let mut gone = Gone::default();
    let logs = dataset_name(RUN_LOGS);
    if datasets.contains(&logs) {
        let before = ctx.now() - TimeDelta::days(i64::from(params.logs_days));
        let micros = Some(before.timestamp_micros());
        let before = lit(ScalarValue::TimestampMicrosecond(micros, Some("UTC".into())));
        gone.lines = remove(ctx, who, &logs, ident("at").lt(before)).await?;
    }
    if let Some(kept) = params.models_kept
        && datasets.contains(&models_name())
    {
        for name in classifiers(ctx).await? {
            ctx.check()?;
            // Asked for each by itself: what came into use meanwhile stays.
            let versions = unused(ctx, &name, kept as usize).await?;
            if versions.is_empty() {
                continue;
            }
            let versions: Vec<Expr> = versions.into_iter().map(lit).collect();
            let of = |column: &str| {
                let is_it = ident("version").in_list(versions.clone(), false);
                ident(column).eq(lit(name.clone())).and(is_it)
            };
            gone.versions += remove(ctx, who, &models_name(), of("name")).await?;
            let rows = training_rows_name();
            if ctx.engine().catalog(who).await?.has(&rows)? {
                gone.training_rows += remove(ctx, who, &rows, of("model")).await?;
            }
        }
    }
    if let Some(folder) = ctx.embedders().checkpoints() {
        let age = Duration::from_secs(u64::from(params.keep_days) * DAY_SECONDS);
        let mine = format!("{}-", who.tenant);
        let left = move || left_behind(&folder, &mine, age);
        gone.checkpoints = ctx.compute(move || Ok(left())).await?;
    }
    gone.scratch =
        ctx.compute(|| Ok(scratch_left_behind(&std::env::temp_dir(), SCRATCH_KEPT))).await?;
    stage.record.rows_out = gone.lines + gone.versions + gone.training_rows;
    stage.facts(json!({
        "lines": gone.lines, "versions": gone.versions, "training_rows": gone.training_rows,
        "checkpoints": gone.checkpoints, "scratch_folders": gone.scratch,
    }));
    Ok(gone)
}

/// Takes away weights that no version of a model names, once they were found so twice, a day or more apart: a training keeps its weights
/// before it commits the row that names them.
pub(super) async fn weights(ctx: &RunContext, who: &Principal) -> Result<Forgotten> {
    let before = ctx.now() - WEIGHTS_KEPT;
    ctx.engine().forget_artifacts(who, &models_name(), WEIGHTS_COLUMN, before).await
}

/// Takes rows out of a dataset of Colonnade's own; how many there were.
async fn remove(
    ctx: &RunContext,
    who: &Principal,
    dataset: &DatasetName,
    which: Expr,
) -> Result<u64> {
    // Of nothing no commit is made.
    let session = ctx.engine().session(who, &[]).await?;
    let count = session.table(dataset).await?.filter(which.clone())?.count().await?;
    if count == 0 {
        return Ok(0);
    }
    let revision = Revision { going: Going::Where(which), coming: Coming::Nothing };
    let label = CommitLabel {
        run_id: Some(ctx.run_id()),
        operation: NAME.to_owned(),
        ..CommitLabel::default()
    };
    let revised = ctx.engine().revise_derived(who, dataset, revision, label).await?;
    Ok(revised.removed)
}

/// The models that no other model or vector stands on: classifiers.
async fn classifiers(ctx: &RunContext) -> Result<Vec<String>> {
    let session = ctx.engine().session(ctx.principal(), &[]).await?;
    let names = session.table(&models_name()).await?.filter(ident("task").eq(lit(TRIAGE)))?;
    let names =
        names.select(vec![cast(ident("name"), DataType::Utf8).alias("name")])?.distinct()?;
    let batches = session.collect(names).await?;
    let names = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter());
    Ok(names.flatten().map(str::to_owned).collect())
}

/// The versions of a model that are neither among the newest `kept`, nor in production, nor the one that was before.
async fn unused(ctx: &RunContext, name: &str, kept: usize) -> Result<Vec<String>> {
    let session = ctx.engine().session(ctx.principal(), &[]).await?;
    let history = match ctx.engine().catalog(ctx.principal()).await?.has(&stages_name())? {
        true => History::read(&session, name).await?,
        false => History::default(),
    };
    let mut versions: Vec<String> = Vec::new();
    for entry in registry::entries(&session, name).await? {
        if !versions.contains(&entry.version) {
            versions.push(entry.version);
        }
    }
    let in_use = [history.production(), history.previous()];
    let old = versions.into_iter().skip(kept);
    Ok(old.filter(|of| !in_use.contains(&Some(of))).collect())
}

/// Removes the checkpoints whose names begin with `mine` that nobody wrote for so long.
fn left_behind(folder: &Path, mine: &str, age: Duration) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        // Keys have no dash, and names of tenants may.
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_mine = name.strip_prefix(mine).is_some_and(|key| !key.contains('-'));
        if is_mine && is_old(&entry.path(), age) && std::fs::remove_dir_all(entry.path()).is_ok() {
            removed += 1;
        }
    }
    removed
}

/// Whether nobody wrote in a folder for so long.
fn is_old(folder: &Path, age: Duration) -> bool {
    let written = |path: &Path| std::fs::metadata(path).and_then(|of| of.modified()).ok();
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let newest = files.filter_map(|file| written(&file.path())).chain(written(folder)).max();
    newest
        .and_then(|newest| SystemTime::now().duration_since(newest).ok())
        .is_some_and(|since| since > age)
}

/// Removes folders of runs whose process was killed before it could, once nobody wrote there for `age`: the folder may be shared with
/// processes that can not be seen from here.
fn scratch_left_behind(folder: &Path, age: Duration) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let by = name.strip_prefix(SCRATCH).and_then(|rest| rest.split_once('-'));
        let Some(Ok(process)) = by.map(|(process, _)| process.parse::<u32>()) else { continue };
        // Of another user's nothing can be removed.
        let is_over = !Path::new("/proc").join(process.to_string()).exists();
        if is_over && is_old(&entry.path(), age) && std::fs::remove_dir_all(entry.path()).is_ok() {
            removed += 1;
        }
    }
    removed
}

/// Fails where a number is out of bounds.
pub(super) fn check(params: &Params) -> Result<()> {
    if !(1..=super::KEEP_MAX_DAYS).contains(&params.logs_days) {
        let problem = format!("expected 1 to {}, found {}", super::KEEP_MAX_DAYS, params.logs_days);
        return Err(crate::parameters::bad(NAME, "logs_days", problem));
    }
    if params.models_kept == Some(0) {
        let problem = "expected at least 1, found 0; null keeps all".to_owned();
        return Err(crate::parameters::bad(NAME, "models_kept", problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use chrono::Utc;
    use datasets::ColumnType::{Float64, Int64, Text, Timestamp};
    use engine::Engine;

    use super::*;
    use crate::run::clock::Clock;
    use crate::run::record::RunState;
    use crate::run::runner::{RunRequest, Runner, RunnerOptions};
    use crate::tables::columns::timestamps;
    use crate::testing::{engine, table};

    async fn rows(engine: &Engine, query: &str) -> Vec<String> {
        let session = engine.session(&Principal::local(), &[]).await.unwrap();
        let batches = session.collect(session.sql(query).await.unwrap()).await.unwrap();
        let texts = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter());
        texts.map(|text| text.unwrap().to_owned()).collect()
    }

    /// Versions a to e of a model, trained in this order, of which b is in production and a was before; and one of another.
    async fn models(engine: &Engine) {
        let texts = |texts: &[&str]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
        let (names, versions) =
            (texts(&["m", "m", "m", "m", "m", "n"]), texts(&["a", "b", "c", "d", "e", "a"]));
        let none = Arc::new(Float64Array::from(vec![None; 6])) as ArrayRef;
        let columns = [
            ("name", Text, names.clone()),
            ("task", Text, texts(&["triage"; 6])),
            ("version", Text, versions.clone()),
            ("trained_at", Timestamp, timestamps(1..=6)),
            ("run_id", Text, versions.clone()),
            ("held_out_rows", Int64, Arc::new(Int64Array::from(vec![0; 6])) as ArrayRef),
            ("accuracy", Float64, none.clone()),
            ("compared_with", Text, Arc::new(StringArray::from(vec![None::<&str>; 6])) as ArrayRef),
            ("compared_accuracy", Float64, none.clone()),
            ("p_value", Float64, none),
        ];
        table(engine, "models", &columns).await;
        table(engine, "training_rows", &[("model", Text, names), ("version", Text, versions)])
            .await;
        let stages = [
            ("name", Text, texts(&["m", "m", "m"])),
            ("number", Int64, Arc::new(Int64Array::from(vec![0, 1, 2])) as ArrayRef),
            ("version", Text, texts(&["a", "a", "b"])),
            ("stage", Text, texts(&["production", "archived", "production"])),
            ("at", Timestamp, timestamps(1..=3)),
            ("run_id", Text, texts(&["r", "r", "r"])),
        ];
        table(engine, "model_stages", &stages).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_old_and_not_in_use_goes() {
        let engine = engine().await;
        models(&engine).await;
        let start = async |days: i64| {
            let clock = Clock::new(move || Utc::now() + TimeDelta::days(days));
            let options = RunnerOptions { clock, ..RunnerOptions::default() };
            Runner::start(engine.clone(), options).await.unwrap()
        };
        let run = async |runner: &Runner, params: serde_json::Value| {
            let request = RunRequest { job: NAME.into(), params, ..RunRequest::default() };
            let run =
                runner.submit(&Principal::local(), request).await.unwrap().wait().await.unwrap();
            assert_eq!(run.state, RunState::Succeeded, "{:?}", run.error);
            run
        };
        // Weights that no row names: a training was cut off.
        let weights = b"weights".to_vec();
        let kept = engine.keep_artifact(&Principal::local(), weights.into()).await.unwrap();
        let runner = start(0).await;
        let first = run(&runner, json!({})).await;
        assert_eq!(first.summary["model_versions_forgotten"], 0, "all are kept unless it is said");
        runner.shutdown().await;
        let lines = "SELECT DISTINCT run FROM run_logs";
        assert_eq!(rows(&engine, lines).await, [first.id.to_string()]);

        let runner = start(29).await;
        let second = run(&runner, json!({"models_kept": 1, "compact": false})).await;
        assert_eq!(
            (&second.summary["lines_forgotten"], &second.summary["model_versions_forgotten"]),
            (&json!(0), &json!(2))
        );
        assert_eq!(second.summary["training_rows_forgotten"], 2);
        let session = engine.session(&Principal::local(), &[]).await.unwrap();
        assert_eq!(second.summary["weights_taken_away"], 0, "they are set aside");
        session.artifact(&kept).await.unwrap();
        let again = run(&runner, json!({"compact": false})).await;
        assert_eq!(
            (&again.summary["weights_taken_away"], &again.summary["bytes_of_weights"]),
            (&json!(1), &json!(7))
        );
        session.artifact(&kept).await.unwrap_err();
        for dataset in ["models", "training_rows"] {
            let name = if dataset == "models" { "name" } else { "model" };
            let query = format!("SELECT {name} || version AS v FROM {dataset} ORDER BY 1");
            assert_eq!(rows(&engine, &query).await, ["ma", "mb", "me", "na"], "{dataset}");
        }
        runner.shutdown().await;

        let runner = start(31).await;
        let third = run(&runner, json!({"vacuum": false})).await;
        assert!(third.summary["lines_forgotten"].as_u64().unwrap() > 4, "{}", third.summary);
        runner.shutdown().await;
        assert_eq!(rows(&engine, lines).await, [third.id.to_string()]);
    }

    #[test]
    fn scratch_of_processes_that_are_over_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let over = child.id();
        child.wait().unwrap();
        let own = format!("{SCRATCH}{}-a", std::process::id());
        for name in [&own, &format!("{SCRATCH}{over}-b"), &format!("{SCRATCH}x-c"), "other-1-d"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(scratch_left_behind(folder.path(), Duration::from_secs(3_600)), 0);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(scratch_left_behind(folder.path(), Duration::from_millis(1)), 1);
        assert!(folder.path().join(own).exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn checkpoints_of_this_tenant_that_are_old_go() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["acme-1a", "acme-2b", "acme2-1a", "acme-2-1a"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("weights"), "1").unwrap();
        }
        assert_eq!(left_behind(folder.path(), "acme-", Duration::from_secs(3_600)), 0);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(left_behind(folder.path(), "acme-", Duration::from_millis(1)), 2);
        assert!(
            folder.path().join("acme2-1a").exists() && folder.path().join("acme-2-1a").exists()
        );
        assert_eq!(left_behind(&folder.path().join("none"), "acme-", Duration::ZERO), 0);
    }
}
