//! Runs a query of the user's, and commits its rows to a dataset: a transformation that is scheduled, recorded, retried and repeated
//! beside our kinds, without rebuilding.
//!
//! What it reads is found in the query's text ([`engine::SqlQuery`]), so that each input is pinned before the run, and a query gives the
//! same rows each time. The columns of its output are those of its plan ([`output`]). It may read only what came since the run before
//! ([`incremental`]), or make one stretch of time, as the runs of a backfill do.
//!
//! Cost: that of the query. Rows go to files as they are made ([`rows`]); those that replace others by key or time are held until then.

mod incremental;
mod output;
mod params;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Result, Session, SqlQuery, Version, WriteMode};
use futures::future::BoxFuture;
use serde_json::{Value, json};

pub use params::{Mode, Params};

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::partition::Partition;
use crate::run::context::{Place, RunContext};
use crate::tables::beside::beside;
use crate::tables::came::{self, Reach, Since};
use rows::Counts;

/// The kind's name.
const NAME: &str = "sql";
/// Memory of one row: a guess for the estimate only.
const ROW_BYTES: usize = 128;
/// How often it begins anew because another run committed first.
const ATTEMPTS_MAX: usize = 3;

/// The job kind.
pub struct Sql;

impl Sql {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Sql {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "runs a query over datasets, and commits its rows to one"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Ok(Self::params(params)?.query()?.datasets().iter().cloned().collect())
    }

    /// Their columns are known from the plan only.
    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![Self::params(params)?.spec()])
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            Ok(vec![planned(session, &params, &params.query()?).await?.1])
        })
    }

    fn appends(&self, params: &Value) -> bool {
        // An incremental query adds each row of its input once, regardless of when it runs.
        let is_whole = |params: Params| params.incremental.is_none() && params.mode == Mode::Append;
        Self::params(params).is_ok_and(is_whole)
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn of_partition(&self, params: &Value, partition: Partition) -> Result<Value> {
        let params: Params = parameters::read(NAME, params)?;
        let params = params.with_partition(partition)?;
        params.check()?;
        parameters::canonical(&params)
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let work = Work::plan(ctx, &params).await?;
            match &params.incremental {
                None => work.whole(None).await,
                Some(input) => work.what_came(input).await,
            }
        })
    }
}

/// The query as it reads the datasets of a session, and the dataset that it makes of them.
async fn planned(
    session: &Session,
    params: &Params,
    query: &SqlQuery,
) -> Result<(DataFrame, DatasetSpec)> {
    let frame = session.query(query, &params.bound(query)?).await?;
    if let Some(input) = &params.incremental {
        incremental::require_rows_alone(frame.logical_plan(), input)?;
    }
    let reads: Vec<&DatasetName> = query.datasets().iter().collect();
    let spec = output::spec(params, &frame, &reads)?;
    Ok((frame, spec))
}

/// A query that is planned, and where its rows go.
struct Work<'a> {
    ctx: &'a RunContext,
    params: &'a Params,
    frame: DataFrame,
    spec: DatasetSpec,
}

impl<'a> Work<'a> {
    async fn plan(ctx: &'a RunContext, params: &'a Params) -> Result<Self> {
        let mut stage = ctx.stage("plan");
        stage.facts(json!({ "query": params.query }));
        let query = params.query()?;
        let (frame, spec) = planned(ctx.session(), params, &query).await?;
        require_inputs(ctx, frame.logical_plan())?;
        let catalog = ctx.present().await?.catalog();
        let spec = match catalog.datasets.get(&spec.name) {
            Some(there) => beside(NAME, "the query", spec, &there.spec)?,
            None => spec,
        };
        stage.finish();
        Ok(Self { ctx, params, frame, spec })
    }

    /// All rows of all inputs; `input` and why, where it might have been less of it.
    async fn whole(&self, input: Option<(&DatasetName, String)>) -> Result<Outcome> {
        let of_inputs = self.ctx.inputs().iter().map(|input| input.rows);
        let total = of_inputs.sum::<Option<u64>>();
        let read = match &input {
            Some((input, because)) => json!({
                "input": input, "to_version": self.ctx.input(input)?.version, "all_because": because,
            }),
            None => Value::Null,
        };
        let (mode, marks) = match &input {
            // What is there was made of what is no longer so.
            Some((input, _)) => (WriteMode::Overwrite, came::marks(self.ctx, self.params, input)?),
            None if self.params.mode == Mode::Append => (WriteMode::Append, Vec::new()),
            None => (WriteMode::Overwrite, Vec::new()),
        };
        let place = match (self.params.mode, &input) {
            (Mode::Merge, None) => Place::OfKeys,
            (Mode::Partition, _) => match self.params.partition(&self.params.query()?)? {
                Some((column, partition)) => Place::Of(partition.of(column)),
                None => Place::As(mode),
            },
            _ => Place::As(mode),
        };
        self.commit(self.frame.clone(), total, place, marks, read).await
    }

    /// The rows of `input` that came since the run before, if that is known.
    async fn what_came(&self, input: &DatasetName) -> Result<Outcome> {
        let mut attempt = 1;
        loop {
            let since = match came::reach(self.ctx, self.params, input, &self.params.output).await?
            {
                Reach::Since(since) => since,
                Reach::All(because) => return self.whole(Some((input, because))).await,
                Reach::Nothing(read) => return Ok(nothing(input, read)),
            };
            match self.since(input, &since).await {
                // Another run committed first, and these rows may be among those that it read.
                Err(error) if error.code() == Code::Conflict && attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    async fn since(&self, input: &DatasetName, since: &Since) -> Result<Outcome> {
        let (state, plan) = self.frame.clone().into_parts();
        let plan = incremental::with_rows(plan, input, since.rows.logical_plan())?;
        let read = json!({
            "input": input,
            "from_version": since.from,
            "to_version": self.ctx.input(input)?.version,
        });
        let place = match self.params.mode {
            Mode::Merge => Place::OfKeys,
            Mode::Append | Mode::Replace | Mode::Partition => {
                Place::As(WriteMode::AppendAfter(since.after))
            }
        };
        let marks = came::marks(self.ctx, self.params, input)?;
        self.commit(DataFrame::new(state, plan), None, place, marks, read).await
    }

    async fn commit(
        &self,
        frame: DataFrame,
        total: Option<u64>,
        place: Place,
        marks: Vec<(String, i64)>,
        read: Value,
    ) -> Result<Outcome> {
        let key: &[String] = match self.params.mode {
            Mode::Merge => &self.params.key,
            Mode::Replace | Mode::Append | Mode::Partition => &[],
        };
        let (rows, counts) = rows::begin(self.ctx, frame, key, total).await?;
        let spec = self.spec.clone();
        match place {
            Place::OfKeys | Place::Of(_) => {
                let batches = rows::all(self.ctx, rows).await?;
                if let Some((column, partition)) = self.params.partition(&self.params.query()?)? {
                    partition.require_rows(NAME, column, &batches)?;
                }
                self.ctx.commit_rows(spec, place, batches, marks).await?;
            }
            place => self.ctx.commit_rows(spec, place, rows, marks).await?,
        }
        Ok(Outcome { summary: summary(&counts, read) })
    }
}

fn summary(counts: &Arc<Counts>, read: Value) -> Value {
    let mut summary = json!({
        "rows_read": counts.read.load(Ordering::Relaxed),
        "rows_out": counts.given.load(Ordering::Relaxed),
    });
    if !read.is_null() {
        summary["incremental"] = read;
    }
    summary
}

fn nothing(input: &DatasetName, read: Version) -> Outcome {
    let says = format!(
        "{input} has no row that came after version {read}, up to which it was read before; nothing was committed"
    );
    let summary = json!({
        "rows_read": 0,
        "rows_out": 0,
        "incremental": { "input": input, "to_version": read, "nothing_new": says },
    });
    Outcome { summary }
}

/// That a plan reads what was pinned for it, and nothing else.
fn require_inputs(ctx: &RunContext, plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            // What is no dataset is a function that makes rows.
            && let Ok(name) = DatasetName::new(scan.table_name.table())
            && ctx.session().version(&name).is_some()
            && ctx.inputs().iter().all(|input| input.dataset != name)
        {
            let says = format!("{NAME}: the query reads {name}, which its text does not say");
            return Err(DataFusionError::Plan(says));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
