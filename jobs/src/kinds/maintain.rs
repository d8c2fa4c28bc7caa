//! `maintain`: puts small files together and takes away those that no kept version has, dataset by dataset, so that it can be done
//! on a schedule. It commits no rows of a client and changes none; of Colonnade's own those go that nobody needs any more.

mod forget;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Forgotten, Keep, Layout, Principal, Result, Role, RowOrder};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::job::{Job, Outcome};
use crate::parameters::{self, bad};
use crate::registry::models_name;
use crate::run::context::RunContext;

/// The kind's name.
const NAME: &str = "maintain";
/// Datasets that one run can be told of.
const DATASETS_MAX: usize = 1_000;
/// Largest files that small ones are put together into.
const FILE_MAX_MIB: u32 = 1_024;
/// Longest time that versions can be kept.
const KEEP_MAX_DAYS: u32 = 36_500;

/// What to look after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The datasets; an empty list takes all of the tenant. Default: [].
    #[schemars(with = "Vec<String>")]
    pub datasets: Vec<DatasetName>,
    /// Whether small files are put together. Default: true.
    pub compact: bool,
    /// How large files become that are put together, in MiB: those of up to a quarter of it are; 1 to 1024. Default: 128.
    pub file_mib: u32,
    /// In which order rows lie in them: `none`, that in which they came; `time`, by the dataset's time; `key`, by its key. Default: none.
    pub order: Order,
    /// Whether files go that no kept version has, and weights that no row of `models` in a kept version names. Default: true.
    pub vacuum: bool,
    /// Versions that were the newest in the last so many days can still be read afterwards; 1 to 36500. Default: 30.
    pub keep_days: u32,
    /// Lines of `run_logs` go that were said more than so many days ago; 1 to 36500. Default: 30.
    pub logs_days: u32,
    /// Of each classifier so many of the newest versions stay in `models` and `training_rows`, and whichever is in production or was before;
    /// null keeps all. Default: null.
    pub models_kept: Option<u32>,
}

/// The order of rows in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// That in which they came.
    None,
    /// By the dataset's time, where it has one.
    Time,
    /// By its key, where it has one.
    Key,
}

impl Params {
    fn layout(&self) -> Layout {
        let order = match self.order {
            Order::None => RowOrder::AsTheyCame,
            Order::Time => RowOrder::Time,
            Order::Key => RowOrder::Key,
        };
        Layout { file_bytes: u64::from(self.file_mib) << 20, order }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            datasets: Vec::new(),
            compact: true,
            file_mib: 128,
            order: Order::None,
            vacuum: true,
            keep_days: 30,
            logs_days: 30,
            models_kept: None,
        }
    }
}

/// The job kind.
pub struct Maintain;

impl Maintain {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        if !(1..=KEEP_MAX_DAYS).contains(&params.keep_days) {
            let problem = format!("expected 1 to {KEEP_MAX_DAYS}, found {}", params.keep_days);
            return Err(bad(NAME, "keep_days", problem));
        }
        if !(1..=FILE_MAX_MIB).contains(&params.file_mib) {
            let problem = format!("expected 1 to {FILE_MAX_MIB}, found {}", params.file_mib);
            return Err(bad(NAME, "file_mib", problem));
        }
        forget::check(&params)?;
        if params.datasets.len() > DATASETS_MAX {
            let problem =
                format!("expected at most {DATASETS_MAX}, found {}", params.datasets.len());
            return Err(bad(NAME, "datasets", problem));
        }
        if !params.compact && !params.vacuum {
            return Err(bad(NAME, "vacuum", "expected `compact` or `vacuum` to be true"));
        }
        Ok(params)
    }
}

impl Job for Maintain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "puts small files together and takes away those that no kept version has"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        // Of what it looks after no version is pinned.
        Self::params(params).map(|_| Vec::new())
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Self::params(params).map(|_| Vec::new())
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let catalog = ctx.engine().catalog(ctx.principal()).await?;
            let datasets: Vec<DatasetName> = match params.datasets.is_empty() {
                true => catalog.datasets.keys().cloned().collect(),
                false => {
                    for dataset in &params.datasets {
                        catalog.dataset(dataset)?;
                    }
                    params.datasets.clone()
                }
            };
            // Who may run jobs may have this done, with what is kept as it says.
            let who = Principal { roles: vec![Role::Admin], ..ctx.principal().clone() };
            let mut done = Done::default();
            let gone = forget::forget(ctx, &who, &datasets, &params).await;
            let gone = done.note(&crate::run::logs::name(), gone)?.unwrap_or_default();
            if params.compact {
                put_together(ctx, &who, &datasets, params.layout(), &mut done).await?;
            }
            ctx.progress(0.5);
            let mut weights = Forgotten::default();
            if params.vacuum {
                let since = ctx.now() - TimeDelta::days(i64::from(params.keep_days));
                take_away(ctx, &who, &datasets, since, &mut done).await?;
                if datasets.contains(&models_name()) {
                    let gone = forget::weights(ctx, &who).await;
                    weights = done.note(&models_name(), gone)?.unwrap_or_default();
                }
            }
            if let Some((dataset, error)) = done.failed.first_key_value() {
                let (failed, all) = (done.failed.len(), datasets.len());
                let others =
                    format_args!("{NAME}: {failed} of {all} datasets failed, the first {dataset}");
                return Err(error.clone().while_doing(others));
            }
            Ok(Outcome {
                summary: json!({
                    "datasets": datasets.len(),
                    "files_put_together": done.together,
                    "files_made": done.made,
                    "files_taken_away": done.files,
                    "bytes_taken_away": done.bytes,
                    "weights_taken_away": weights.artifacts,
                    "bytes_of_weights": weights.bytes,
                    "lines_forgotten": gone.lines,
                    "model_versions_forgotten": gone.versions,
                    "training_rows_forgotten": gone.training_rows,
                    "checkpoints_removed": gone.checkpoints,
                    "scratch_folders_removed": gone.scratch,
                }),
            })
        })
    }
}

/// What a run has done so far.
#[derive(Default)]
struct Done {
    together: u64,
    made: u64,
    files: u64,
    bytes: u64,
    failed: BTreeMap<DatasetName, Error>,
}

impl Done {
    /// Notes what one dataset came to; the others are looked after all the same.
    fn note<T>(&mut self, dataset: &DatasetName, came: Result<T>) -> Result<Option<T>> {
        match came {
            Ok(came) => Ok(Some(came)),
            Err(error) if error.code() == Code::Cancelled => Err(error),
            Err(error) => {
                self.failed.insert(dataset.clone(), error);
                Ok(None)
            }
        }
    }
}

async fn put_together(
    ctx: &RunContext,
    who: &Principal,
    datasets: &[DatasetName],
    layout: Layout,
    done: &mut Done,
) -> Result<()> {
    let mut stage = ctx.stage("compact");
    for dataset in datasets {
        ctx.check()?;
        let compacted = ctx.engine().compact_as(who, dataset, layout).await;
        let Some(compacted) = done.note(dataset, compacted)? else { continue };
        stage.record.rows_out += compacted.rows;
        done.together += compacted.removed;
        done.made += compacted.added;
    }
    stage.facts(json!({ "files": done.together, "became": done.made }));
    Ok(())
}

async fn take_away(
    ctx: &RunContext,
    who: &Principal,
    datasets: &[DatasetName],
    since: DateTime<Utc>,
    done: &mut Done,
) -> Result<()> {
    let mut stage = ctx.stage("vacuum");
    for dataset in datasets {
        ctx.check()?;
        let gone = async {
            // Asked for as late as can be: a run that is taken on from here on reads a newer version.
            let from = ctx.pinned(dataset).await?;
            ctx.engine().vacuum(who, dataset, Keep { since, from }, false).await
        };
        let gone = gone.await;
        let Some(gone) = done.note(dataset, gone)? else { continue };
        done.files += gone.files;
        done.bytes += gone.bytes;
    }
    stage.facts(json!({ "files": done.files, "bytes": done.bytes }));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use engine::{AsOf, Version};
    use serde_json::json;

    use super::*;
    use crate::run::record::RunState;
    use crate::run::runner::{RunRequest, Runner, RunnerOptions};
    use crate::testing::{append, engine, sampled};

    #[test]
    fn what_is_wrong_with_its_parameters_is_told() {
        for (params, says) in [
            (json!({"keep_days": 0}), "expected 1 to 36500"),
            (json!({"compact": false, "vacuum": false}), "expected `compact` or `vacuum`"),
            (json!({"keep": 3}), "did you mean keep_days"),
            (json!({"logs_days": 0}), "expected 1 to 36500"),
            (json!({"models_kept": 0}), "null keeps all"),
            (json!({"file_mib": 0}), "expected 1 to 1024"),
            (json!({"order": "size"}), "order"),
        ] {
            let error = Maintain.canonical(&params).unwrap_err();
            assert!(error.to_string().contains(says), "{error} does not say {says}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_puts_files_together_each_time_and_changes_no_row() {
        let engine = engine().await;
        let runner = Runner::start(engine.clone(), RunnerOptions::default()).await.unwrap();
        let (who, name) = (Principal::local(), DatasetName::new("metrics").unwrap());
        for _ in 0..2 {
            for _ in 0..5 {
                append(&engine, "metrics", &[sampled("a", 60, vec![1.0; 10])]).await;
            }
            let request = RunRequest { job: NAME.into(), ..RunRequest::default() };
            let run = runner.submit(&who, request).await.unwrap().wait().await.unwrap();
            assert_eq!((run.state, run.repeated_of), (RunState::Succeeded, None), "{run:?}");
            assert!(run.summary["files_put_together"].as_u64().unwrap() >= 5, "{run:?}");
            assert_eq!(run.summary["files_taken_away"], 0);
            let stages: Vec<&str> = run.stages.iter().map(|stage| stage.name.as_str()).collect();
            assert_eq!(stages, ["forget", "compact", "vacuum"]);
        }
        assert_eq!(engine.catalog(&who).await.unwrap().datasets[&name].rows, Some(100));
        // A run that waits keeps what it will read.
        let waits = RunRequest {
            job: "anomalies".into(),
            pins: vec![(name.clone(), AsOf::Version(Version(3)))],
            ..RunRequest::default()
        };
        let options = RunnerOptions { concurrent_runs: 0, ..RunnerOptions::default() };
        let idle = Runner::start(engine.clone(), options).await.unwrap();
        assert_eq!(idle.pinned(&who, &name).await.unwrap(), None);
        let handle = idle.submit(&who, waits).await.unwrap();
        assert_eq!(idle.pinned(&who, &name).await.unwrap(), Some(Version(3)));
        idle.cancel(&who, handle.id()).await.unwrap();
        assert_eq!(idle.pinned(&who, &name).await.unwrap(), None);
        idle.shutdown().await;
        let missing = RunRequest {
            job: NAME.into(),
            params: json!({"datasets": ["metrix"]}),
            ..RunRequest::default()
        };
        let run = runner.submit(&who, missing).await.unwrap().wait().await.unwrap();
        assert!(run.error.unwrap().message.contains("did you mean metrics?"));
    }
}
