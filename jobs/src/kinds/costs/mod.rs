//! Says what calls of models cost by lists of prices: each call, by interval and what it was made for, and which calls no list has a
//! price for.
//!
//! 1. [`prices`]: the lists, as rows of datasets, with the times for which they hold.
//! 2. [`read`]: rows become calls, and each gets the price of its model at its instant.
//! 3. [`totals`]: their sums; [`output`]: both as rows, beside those or in the place of those that were there of the same dataset.
//! 4. [`since`]: which calls came since the run before, and the sums that these are added to.
//!
//! Amounts are exact: 10^-18 of a currency's unit.
//!
//! Cost: reads every row once that came. Memory: the lists, and the sums of each group; calls are written as they come.

#[cfg(test)]
mod match_tests;
mod output;
mod params;
mod prices;
mod read;
mod since;
#[cfg(test)]
mod tests;
mod totals;

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{cast, ident};
use datafusion::prelude::DataFrame;
use datasets::{DatasetName, DatasetSpec};
use engine::{Error, Result, Session, Version, WriteMode};
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use params::Params;
use prices::Prices;
use read::{Calls, Wanted, name};
use since::{Marks, Reach, Since};
use totals::Totals;

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::{Place, RunContext, check};
use crate::run::stage::Stage;
use crate::series::microseconds;
use crate::tables::came::number_of;
use crate::tables::columns::texts;
use crate::tables::flow::{Making, flow};
use crate::tables::input::InputTable;
use crate::tables::replacing::replacing_after;
use crate::tables::rows::Rows;

/// The kind's name.
const NAME: &str = "costs";
/// Memory of a call while it is read: a guess for the estimate only.
const ROW_BYTES: usize = 64;
/// Part of the run's memory that sums may take.
const SUMS_SHARE: usize = 2;

/// The job kind.
pub struct Costs;

impl Costs {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Costs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "says what calls of models cost by lists of prices, for whom, and which calls have no price"
    }

    fn revision(&self) -> u32 {
        // Names are compared without case, and failed calls of unlisted models have no price.
        2
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Ok(Self::params(params)?.inputs())
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(output::specs(&Self::params(params)?))
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            read::check(session, &Self::params(params)?).await?;
            self.outputs(params)
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Arc::new(Self::params(params)?);
            let mut stage = ctx.stage("prices");
            let prices = Arc::new(prices::read(ctx, &params).await?);
            stage.record.rows_out = prices.book.models() as u64;
            stage.finish();
            let (table, wanted) = read::check(ctx.session(), &params).await?;
            let marks = Marks::of(ctx, &params, &wanted)?;
            let (since, read) = match since::reach(ctx, &params, &wanted, &marks).await? {
                Reach::All(because) => (None, json!({ "all_because": because })),
                Reach::Since(since) => {
                    let read = json!({ "from_version": since.from });
                    (Some(since), read)
                }
            };
            let work = Work { ctx, params: &params, prices: &prices, wanted: &wanted, marks };
            let totals = match since {
                None => work.all(table).await?,
                Some(since) => work.since(table, *since).await?,
            };
            Ok(Outcome { summary: summary(&params, &prices, &totals, [read, wanted.told()]) })
        })
    }
}

/// Memory that sums may take.
fn bytes_max(ctx: &RunContext) -> usize {
    ctx.memory_budget_bytes() / SUMS_SHARE
}

/// What a run does.
struct Work<'a> {
    ctx: &'a RunContext,
    params: &'a Arc<Params>,
    prices: &'a Arc<Prices>,
    wanted: &'a Wanted,
    marks: Marks,
}

impl Work<'_> {
    fn version(&self) -> Result<Version> {
        Ok(self.ctx.input(&self.params.dataset)?.version)
    }

    /// Prices all calls.
    async fn all(self, table: InputTable<'_>) -> Result<Totals> {
        let totals =
            Totals::new(self.wanted.by.len(), self.params.intervals(), bytes_max(self.ctx));
        // An incremental run must not commit in between.
        let session = self.ctx.present().await?;
        let place = |output: &DatasetName| {
            let after = session.version(output).unwrap_or(Version(0));
            Ok(replacing_after(self.params.dataset.as_str(), after))
        };
        let calls = place(&self.params.calls_output)?;
        self.priced((table, None), totals, calls, place).await
    }

    /// Prices those that came, and adds them to what is there.
    async fn since(self, table: InputTable<'_>, mut since: Since) -> Result<Totals> {
        let mut totals = std::mem::take(&mut since.totals);
        if let Some(rows) = since.rows.take() {
            let beside = since.beside(self.params)?;
            let place = |output: &DatasetName| since.in_place(self.params, output);
            return self.priced((table, Some(rows)), totals, beside, place).await;
        }
        // What has no tickets says what it said.
        resolve(self.ctx, self.params, &mut totals).await?;
        let rows = self.rows(&totals)?.into_iter();
        let changes = |(spec, _): &Rows| {
            self.params.tickets.is_some() && spec.name == self.params.tickets_output
        };
        for rows in rows.filter(changes) {
            let mode = since.in_place(self.params, &rows.0.name)?;
            self.commit(rows, mode, since.from, &totals).await?;
        }
        Ok(totals)
    }

    /// Prices all rows of the table or some, commits them in `mode` and the sums of all where `place` says.
    async fn priced(
        &self,
        (table, rows): (InputTable<'_>, Option<DataFrame>),
        totals: Totals,
        mode: WriteMode,
        place: impl Fn(&DatasetName) -> Result<WriteMode>,
    ) -> Result<Totals> {
        let frame = read::frame(self.ctx, self.params, (table, self.wanted), rows).await?;
        let mut totals = self.price(frame, totals, mode).await?;
        resolve(self.ctx, self.params, &mut totals).await?;
        for rows in self.rows(&totals)? {
            let mode = place(&rows.0.name)?;
            self.commit(rows, mode, self.version()?, &totals).await?;
        }
        Ok(totals)
    }

    /// Commits calls with their costs, and adds them up.
    async fn price(&self, calls: DataFrame, totals: Totals, mode: WriteMode) -> Result<Totals> {
        let stage = self.ctx.stage("price");
        let spec = output::calls_spec(self.params);
        let totals = Arc::new(Mutex::new(totals));
        let pricing = Pricing {
            calls: self.ctx.session().stream(calls).await?,
            spec: spec.clone(),
            params: Arc::clone(self.params),
            prices: Arc::clone(self.prices),
            version: number_of(self.version()?)?,
            totals: Arc::clone(&totals),
            cancellation: self.ctx.cancellation().clone(),
        };
        let rows = flow(spec.arrow_schema(), stage, pricing);
        let kept = self.marks.kept(self.version()?)?;
        self.ctx.commit_rows(spec, Place::As(mode), rows, kept).await?;
        self.ctx.progress(0.8);
        Ok(std::mem::take(&mut *totals.lock()))
    }

    fn rows(&self, totals: &Totals) -> Result<Vec<Rows>> {
        output::rows(self.params, number_of(self.version()?)?, &self.wanted.by, totals)
    }

    async fn commit(
        &self,
        (spec, batches): Rows,
        mode: WriteMode,
        read: Version,
        totals: &Totals,
    ) -> Result<()> {
        let mut kept = self.marks.kept(read)?;
        if spec.name == self.params.output {
            kept.extend(since::kept(totals));
        }
        self.ctx.commit_rows(spec, Place::As(mode), batches, kept).await
    }
}

/// Calls on their way to the commit.
struct Pricing {
    calls: SendableRecordBatchStream,
    spec: DatasetSpec,
    params: Arc<Params>,
    prices: Arc<Prices>,
    version: i64,
    totals: Arc<Mutex<Totals>>,
    cancellation: CancellationToken,
}

impl Making for Pricing {
    async fn next(&mut self, stage: &mut Stage) -> Result<Option<RecordBatch>> {
        check(&self.cancellation)?;
        let Some(batch) = self.calls.next().await.transpose()? else { return Ok(None) };
        let count = batch.num_rows() as u64;
        stage.record.rows_in += count;
        stage.record.rows_out += count;
        self.priced(&batch).map(Some)
    }
}

impl Pricing {
    fn priced(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let calls = Calls::of(batch)?;
        let mut totals = self.totals.lock();
        let rows = (0..calls.len()).map(|row| {
            let call = calls.call(row, &self.params);
            let priced = call.priced(&self.prices, &self.params);
            totals.add(&calls, row, &call, &priced);
            (call, priced)
        });
        let rows: Vec<_> = rows.collect();
        totals.require_room()?;
        output::calls(&self.spec, &self.params, self.version, &rows)
    }
}

/// Looks up which tickets are resolved.
async fn resolve(ctx: &RunContext, params: &Params, totals: &mut Totals) -> Result<()> {
    let Some(tickets) = &params.tickets else { return Ok(()) };
    let key = cast(ident(&params.ticket_key), DataType::Utf8);
    let resolved = cast(ident(&params.resolved_column), microseconds());
    let frame =
        ctx.session().table(tickets).await?.select(vec![key.alias("key"), resolved.alias("at")])?;
    let mut batches = ctx.session().stream(frame).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        ctx.check()?;
        let keys = texts(&batch, 0)?;
        let broken = || Error::internal(format!("{NAME}: other columns than were asked for"));
        let at = batch.column(1).as_primitive_opt::<TimestampMicrosecondType>();
        let at = at.ok_or_else(broken)?;
        for row in (0..keys.len()).filter(|row| at.is_valid(*row)) {
            let ticket = name(&keys, row).and_then(|key| totals.tickets.get_mut(key));
            if let Some(ticket) = ticket {
                let known = ticket.resolved_us.unwrap_or(i64::MAX);
                ticket.resolved_us = Some(known.min(at.value(row)));
            }
        }
    }
    Ok(())
}

fn summary(
    params: &Params,
    prices: &Prices,
    totals: &Totals,
    [read, columns]: [Value; 2],
) -> Value {
    let all = &totals.all;
    let mut whys = serde_json::Map::new();
    for ((.., why), of) in &totals.reasons {
        let before = whys.get(why.as_str()).and_then(Value::as_u64).unwrap_or(0);
        whys.insert(why.as_str().to_owned(), (before + of.sums.calls).into());
    }
    let tickets = totals.tickets.len() as u64;
    let resolved = totals.tickets.values().filter(|of| of.resolved_us.is_some()).count() as u64;
    let of_tickets =
        totals.tickets.values().fold(analysis::money::Amount::default(), |mut sum, of| {
            sum += of.sums.cost;
            sum
        });
    let are_failed = all.failed > all.calls / 2 && !params.charge_failed;
    let failed = are_failed.then(|| {
        let says = "calls failed and cost nothing: their status is neither \"ok\" nor null; `success` says which calls succeeded";
        match &params.success {
            None => format!("{} of {} {says}", all.failed, all.calls),
            Some(_) => format!("{} of {} calls failed and cost nothing", all.failed, all.calls),
        }
    });
    let each = |count: u64| (count > 0).then(|| of_tickets.to_f64() / count as f64);
    json!({
        "source": params.dataset,
        "incremental": read,
        "columns": columns,
        "currency": params.currency.trim(),
        "models_listed": prices.book.models(),
        "prices_without_a_model": prices.nameless,
        "prices_not_believed": prices.unbelievable,
        "calls": all.calls,
        "failed": all.failed,
        "most_failed": failed,
        "priced": all.calls - all.unpriced,
        "unpriced": all.unpriced,
        "unpriced_because": whys,
        "unpriced_of_further_models": totals.reasons_left_out,
        "cost": all.known_cost().map(|cost| cost.to_string()),
        "recorded_cost": (all.recorded_calls > 0).then(|| all.recorded.to_string()),
        "calls_recorded_otherwise": totals.differing,
        "tickets": tickets,
        "cost_per_ticket": each(tickets),
        "resolved_tickets": params.tickets.as_ref().map(|_| resolved),
        "cost_per_resolved_ticket": params.tickets.as_ref().and_then(|_| each(resolved)),
    })
}
