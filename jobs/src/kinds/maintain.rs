//! `maintain`: puts small files together and takes away those that no kept version has, dataset by dataset, so that it can be done
//! on a schedule. It commits no rows and changes none.

use std::collections::BTreeMap;

use chrono::{TimeDelta, Utc};
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Keep, Principal, Result, Role};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::job::{Estimate, Job, Outcome};
use crate::parameters::{self, bad};
use crate::run::context::RunContext;

/// The kind's name.
const NAME: &str = "maintain";
/// Datasets that one run can be told of.
const DATASETS_MAX: usize = 1_000;
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
    /// Whether files go that no kept version has. Default: true.
    pub vacuum: bool,
    /// Versions that were the newest in the last so many days can still be read afterwards; 1 to 36500. Default: 30.
    pub keep_days: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { datasets: Vec::new(), compact: true, vacuum: true, keep_days: 30 }
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

    fn estimate<'a>(&'a self, _: &'a RunContext, _: &'a Value) -> BoxFuture<'a, Result<Estimate>> {
        Box::pin(async move { Ok(Estimate::default()) })
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
            for (i, dataset) in datasets.iter().enumerate() {
                ctx.check()?;
                ctx.progress(i as f64 / datasets.len() as f64);
                match look_after(ctx, &who, dataset, &params, &mut done).await {
                    Ok(()) => {}
                    Err(error) if error.code() == Code::Cancelled => return Err(error),
                    // The others are looked after all the same.
                    Err(error) => drop(done.failed.insert(dataset.clone(), error)),
                }
            }
            if let Some((dataset, error)) = done.failed.first_key_value()
                && done.failed.len() == datasets.len()
            {
                return Err(error.clone().while_doing(format_args!("{NAME} {dataset}")));
            }
            let failed: BTreeMap<&DatasetName, String> =
                done.failed.iter().map(|(name, error)| (name, error.to_string())).collect();
            Ok(Outcome {
                summary: json!({
                    "datasets": datasets.len(),
                    "files_put_together": done.together,
                    "files_made": done.made,
                    "files_taken_away": done.files,
                    "bytes_taken_away": done.bytes,
                    "failed": failed,
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

async fn look_after(
    ctx: &RunContext,
    who: &Principal,
    dataset: &DatasetName,
    params: &Params,
    done: &mut Done,
) -> Result<()> {
    if params.compact {
        let mut stage = ctx.stage("compact");
        let compacted = ctx.engine().compact(who, dataset).await?;
        stage.record.rows_out = compacted.rows;
        stage.facts(
            json!({ "dataset": dataset, "files": compacted.removed, "became": compacted.added }),
        );
        done.together += compacted.removed;
        done.made += compacted.added;
    }
    if params.vacuum {
        let mut stage = ctx.stage("vacuum");
        let since = Utc::now() - TimeDelta::days(i64::from(params.keep_days));
        // Asked for as late as can be: a run that is taken on from here on reads a newer version.
        let from = ctx.pinned(dataset).await?;
        let gone = ctx.engine().vacuum(who, dataset, Keep { since, from }, false).await?;
        stage.facts(json!({
            "dataset": dataset, "files": gone.files, "bytes": gone.bytes, "kept_from": gone.kept_from,
        }));
        done.files += gone.files;
        done.bytes += gone.bytes;
    }
    Ok(())
}
