//! Keeps features of entities: what is known of each at each instant at which it changes, for training sets that know nothing of the
//! future ([`crate::kinds::training_set`]) and for reads by entity ([`crate::online`]).
//!
//! 1. [`view`]: what is asked is checked against the dataset's columns, and a feature that looks into the future is refused.
//! 2. [`frame`]: rows become features, one row for each entity and instant. Of an input that only grew these are those of the entities that
//!    rows came to, from the first new row on.
//! 3. They are added to what is there; where rows were known before what was there already, they take its place by their keys.
//!
//! Cost: reads the rows of the dataset, and sorts those of the entities that rows came to. Memory: that of the sort, which spills; where
//! rows take the place of others, these rows.

mod exact;
mod frame;
mod params;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::DataFrame;
use datasets::{ColumnType, DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session, Version, WriteMode};
use futures::StreamExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use frame::Looked;
use params::AT;
pub(crate) use params::EXPIRES;
pub use params::{Feature, OfRows, Params};
use view::View;
pub(crate) use view::is_entity;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::{Place, RunContext};
use crate::tables::beside::beside;
use crate::tables::came::{self, Reach, Since};
use crate::tables::columns::column;

/// The kind's name.
pub(crate) const NAME: &str = "features";
/// Memory of a row while it is sorted: a guess for the estimate only.
const ROW_BYTES: usize = 128;
/// How often it begins anew because another run committed first.
const ATTEMPTS_MAX: usize = 3;
/// The part of the run's memory that rows may take which take the place of others.
const ROWS_SHARE: usize = 2;

/// The job kind.
pub struct Features;

/// Reads parameters, and checks them.
pub(crate) fn read(params: &Value) -> Result<Params> {
    let params: Params = parameters::read(NAME, params)?;
    params.check()?;
    Ok(params)
}

impl Job for Features {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "keeps features of entities as they change, for training sets and for reads by entity"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&read(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Ok(vec![read(params)?.dataset])
    }

    fn runs_alone(&self) -> bool {
        true
    }

    /// The types of their columns are known from the plan only.
    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params = read(params)?;
        let unknown = |name: &String| column(name, ColumnType::Text, false, "");
        let at = column(AT, ColumnType::Timestamp, false, "");
        let columns = params.entity.iter().map(unknown).chain([at]).collect();
        Ok(vec![view::spec(&params, columns)])
    }

    /// None: their columns are those that are asked for.
    fn own_outputs(&self) -> Vec<DatasetSpec> {
        Vec::new()
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            let spec = View::of(session, &read(params)?).await?.spec;
            Ok(vec![match session.catalog().datasets.get(&spec.name) {
                Some(there) => beside(NAME, "the view", spec, &there.spec)?,
                None => spec,
            }])
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = read(params)?;
            let view = View::of(ctx.session(), &params).await?;
            let (input, output) = (&params.dataset, &params.output);
            let marked = Params { full: false, ..params.clone() };
            let identity = view.identity(&marked)?;
            let mut attempt = 1;
            loop {
                let reach = match params.full {
                    true => Reach::All("`full` is asked for".to_owned()),
                    false => came::reach(ctx, &identity, input, output).await?,
                };
                let marks = came::marks(ctx, &identity, input)?;
                let work = Work { ctx, view: &view, marks };
                let done = match reach {
                    Reach::Nothing(version) => {
                        let says = format!("no row of {input} came after version {version}");
                        Ok(Outcome { summary: json!({ "rows": 0, "nothing_new": says }) })
                    }
                    Reach::All(because) => work.all(because).await,
                    Reach::Since(since) => work.since(since).await,
                };
                match done {
                    // Another run committed first, and may have made these rows.
                    Err(error) if error.code() == Code::Conflict && attempt < ATTEMPTS_MAX => {
                        attempt += 1;
                    }
                    done => return done,
                }
            }
        })
    }
}

/// A run of a view.
struct Work<'a> {
    ctx: &'a RunContext,
    view: &'a View<'a>,
    /// What its commit says of how far the input was read.
    marks: Vec<(String, i64)>,
}

impl Work<'_> {
    fn version(&self) -> Result<Version> {
        Ok(self.ctx.input(&self.view.params.dataset)?.version)
    }

    /// The spec of what is committed, as it goes into what is there.
    async fn spec(&self) -> Result<DatasetSpec> {
        let spec = self.view.spec.clone();
        match self.ctx.present().await?.catalog().datasets.get(&spec.name) {
            Some(there) => beside(NAME, "the view", spec, &there.spec),
            None => Ok(spec),
        }
    }

    async fn all(self, because: String) -> Result<Outcome> {
        let spec = self.spec().await?;
        let mut stage = self.ctx.stage("look");
        let rows = self.view.rows(self.ctx, self.view.table.frame.clone()).await?;
        let looked = self.view.look(self.ctx, &rows).await?;
        stage.record.rows_in = looked.rows;
        stage.finish();
        let features = self.view.features(self.ctx, &rows, None, self.version()?)?;
        let (stream, made) = counted(self.ctx, features).await?;
        let place = Place::As(WriteMode::Overwrite);
        self.ctx.commit_rows(spec, place, stream, self.marks).await?;
        Ok(outcome(looked, made.load(Ordering::Relaxed), json!({ "all_because": because })))
    }

    async fn since(self, since: Since) -> Result<Outcome> {
        let spec = self.spec().await?;
        let mut stage = self.ctx.stage("look");
        let came = self.view.rows(self.ctx, since.rows).await?;
        let looked = self.view.look(self.ctx, &came).await?;
        stage.record.rows_in = looked.rows;
        stage.finish();
        let rows = self.view.rows(self.ctx, self.view.table.frame.clone()).await?;
        let touched = || self.view.touched(&came);
        let there = self.ctx.present().await?.table(&spec.name).await?;
        let replaced = self.view.there_already(there, touched()?)?.limit(0, Some(1))?;
        let is_late = came::has_rows(self.ctx, replaced).await?;
        let features = self.view.features(self.ctx, &rows, Some(touched()?), self.version()?)?;
        let (stream, made) = counted(self.ctx, features).await?;
        match is_late {
            true => {
                let batches = all(self.ctx, stream).await?;
                self.ctx.commit_rows(spec, Place::OfKeys, batches, self.marks).await?;
            }
            false => {
                let place = Place::As(WriteMode::AppendAfter(since.after));
                self.ctx.commit_rows(spec, place, stream, self.marks).await?;
            }
        }
        let read = json!({ "from_version": since.from, "replaces_rows": is_late });
        Ok(outcome(looked, made.load(Ordering::Relaxed), read))
    }
}

fn outcome(looked: Looked, made: u64, read: Value) -> Outcome {
    let summary = json!({
        "rows": made, "rows_read": looked.rows, "rows_left_out": looked.left_out, "incremental": read,
    });
    Outcome { summary }
}

/// The rows of `frame` as they come, and how many came.
async fn counted(
    ctx: &RunContext,
    frame: DataFrame,
) -> Result<(SendableRecordBatchStream, Arc<AtomicU64>)> {
    let rows = ctx.session().stream(frame).await?;
    let (schema, made) = (rows.schema(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&made);
    let rows = rows.inspect(move |batch| {
        let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
        count.fetch_add(rows as u64, Ordering::Relaxed);
    });
    Ok((Box::pin(RecordBatchStreamAdapter::new(schema, rows)), made))
}

/// All rows, which take the place of others by key.
async fn all(ctx: &RunContext, mut rows: SendableRecordBatchStream) -> Result<Vec<RecordBatch>> {
    let most = ctx.memory_budget_bytes() / ROWS_SHARE;
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        bytes += batch.get_array_memory_size();
        if bytes > most {
            let says = format!(
                "{NAME}: rows came that were known before what is there, and change more than {most} bytes of it; \
                 run it once with `full`, or with a larger memory budget"
            );
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
        batches.push(batch);
    }
    Ok(batches)
}
