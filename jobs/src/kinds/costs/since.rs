//! What a run has to price: the calls that came since the run before, beside the sums that are there, or all.
//!
//! Each commit of a run keeps up to which version of the calls it has read ([`engine::CommitLabel::marks`]), under a name made of all its
//! parameters, of the columns that it took, of the versions of its lists of prices, and of what tells these tables from others of their names. Runs of other sources commit to the same datasets
//! in between, and touch none of its rows. What the summary says of all calls, and no row, is kept by the commit of the sums.

use analysis::money::{AMOUNT_SCALE, Amount, Unpriced};
use arrow::array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datafusion::prelude::DataFrame;
use datasets::DatasetName;
use engine::{CommitRecord, Error, Result, Version, WriteMode};
use futures::StreamExt;

use super::output::ALL;
use super::params::Params;
use super::read::Wanted;
use super::totals::{Stretch, Sums, Totals};
use super::{Costs, NAME};
use crate::job::Job;
use crate::parameters;
use crate::run::commits::is_still;
use crate::run::context::RunContext;
use crate::series::microseconds;
use crate::tables::came::{added, has_rows, number_of};
use crate::tables::columns::texts;
use crate::tables::replacing::replacing_after;
use crate::tables::rows::AMOUNT_PRECISION;

/// Commits that are looked back on for the last one of the source.
const HISTORY_COMMITS: [usize; 2] = [8, 1_000];
/// Beginnings of the marks' names.
const READ: &str = "colonnade-costs-read-";
const OF: &str = "colonnade-costs-of-";
const SUM: &str = "colonnade-costs-sum-";

/// What a run has to do.
pub(super) enum Reach {
    Since(Box<Since>),
    /// All, and why.
    All(String),
}

/// Calls that came.
pub(super) struct Since {
    pub(super) from: Version,
    /// None where none came; tickets may have been resolved.
    pub(super) rows: Option<DataFrame>,
    /// The sums of those before.
    pub(super) totals: Totals,
    /// The versions of the outputs that these are of.
    after: Vec<(DatasetName, Version)>,
}

/// The names of the marks of a run.
pub(super) struct Marks {
    read: String,
    of: String,
}

impl Since {
    fn after(&self, output: &DatasetName) -> Result<Version> {
        let found = self.after.iter().find(|(name, _)| name == output);
        found.map(|(_, version)| *version).ok_or_else(|| Error::internal("an output without rows"))
    }

    /// Beside the calls that are there.
    pub(super) fn beside(&self, params: &Params) -> Result<WriteMode> {
        Ok(WriteMode::AppendAfter(self.after(&params.calls_output)?))
    }

    /// In the place of the sums that these follow from.
    pub(super) fn in_place(&self, params: &Params, output: &DatasetName) -> Result<WriteMode> {
        Ok(replacing_after(params.dataset.as_str(), self.after(output)?))
    }
}

impl Marks {
    pub(super) fn of(ctx: &RunContext, params: &Params, wanted: &Wanted) -> Result<Self> {
        let asked = Params { full: false, ..params.clone() };
        let prices = params.prices.iter();
        let prices = prices.map(|list| Ok((ctx.input(list)?.version, ctx.identity_of(list)?)));
        let prices = prices.collect::<Result<Vec<_>>>()?;
        let calls = ctx.identity_of(&params.dataset)?;
        let digest = parameters::digest(&(Costs.revision(), asked, wanted, calls, prices))?;
        let of = parameters::digest(&params.dataset)?;
        Ok(Self { read: format!("{READ}{digest}"), of: format!("{OF}{of}") })
    }

    /// As a commit keeps them that has read up to `version`.
    pub(super) fn kept(&self, version: Version) -> Result<Vec<(String, i64)>> {
        Ok(vec![(self.read.clone(), number_of(version)?), (self.of.clone(), 1)])
    }

    /// What a commit kept, and why it counts no more; none where it is of another source.
    fn found(&self, commit: &CommitRecord) -> Option<std::result::Result<Version, String>> {
        let read = commit.numbers.get(&self.read).and_then(|read| u64::try_from(*read).ok());
        if let Some(read) = read {
            return Some(Ok(Version(read)));
        }
        let is_other = !commit.numbers.contains_key(&self.of)
            && commit.numbers.keys().any(|name| name.starts_with(OF));
        if is_still(commit) || is_other {
            return None;
        }
        Some(Err(format!(
            "the last commit (version {}, {}) is not of a run with these parameters, columns and prices",
            commit.version, commit.operation
        )))
    }
}

/// What is to be done.
pub(super) async fn reach(
    ctx: &RunContext,
    params: &Params,
    wanted: &Wanted,
    marks: &Marks,
) -> Result<Reach> {
    if params.full {
        return Ok(Reach::All("`full` is asked for".to_owned()));
    }
    let outputs =
        [&params.output, &params.calls_output, &params.unpriced_output, &params.tickets_output];
    let (mut after, mut read, mut kept) = (Vec::new(), Vec::new(), None);
    for output in outputs {
        let Some(last) = last(ctx, output, marks).await? else {
            return Ok(Reach::All(format!("{output} has no rows of a run on it of late")));
        };
        match last.read {
            Ok(version) => read.push(version),
            Err(why) => return Ok(Reach::All(format!("{output}: {why}"))),
        }
        after.push((output.clone(), last.newest));
        kept.get_or_insert(last.commit);
    }
    let first = read.first().copied().zip(kept);
    let Some((from, kept)) = first.filter(|(from, _)| read.iter().all(|read| read == from)) else {
        return Ok(Reach::All("its results are of different versions".to_owned()));
    };
    let to = ctx.input(&params.dataset)?.version;
    if from > to {
        return Ok(Reach::All(format!("version {from} of {} was read before", params.dataset)));
    }
    let mut rows = None;
    if from < to {
        let added = match added(ctx, &params.dataset, from, to).await? {
            Ok(added) => added,
            Err(why) => return Ok(Reach::All(why)),
        };
        if !have_same_columns(&added, &ctx.session().table(&params.dataset).await?) {
            return Ok(Reach::All(format!("{} has other columns since", params.dataset)));
        }
        rows = has_rows(ctx, added.clone()).await?.then_some(added);
    }
    let mut totals = Totals::new(wanted.by.len(), params.intervals(), super::bytes_max(ctx));
    let known = Known { ctx, params, wanted };
    let strange = || Ok(Reach::All("its sums are not what a run leaves".to_owned()));
    if all_of(&kept, &mut totals).is_none() {
        return strange();
    }
    // Of those that were left out nobody knows what they were.
    if totals.reasons_left_out > 0 {
        return Ok(Reach::All("more models have no price than are told".to_owned()));
    }
    if known.calls().await? != totals.all.calls {
        return Ok(Reach::All(format!("{} has not all calls once", params.calls_output)));
    }
    if !known.take(&mut totals).await? {
        return strange();
    }
    Ok(Reach::Since(Box::new(Since { from, rows, totals, after })))
}

/// The last commit that tells of a source.
struct Last {
    commit: CommitRecord,
    /// The newest version at that time.
    newest: Version,
    read: std::result::Result<Version, String>,
}

async fn last(ctx: &RunContext, output: &DatasetName, marks: &Marks) -> Result<Option<Last>> {
    for commits in HISTORY_COMMITS {
        let history = ctx.history(output, commits).await?;
        let Some(newest) = history.first().map(|commit| commit.version) else { return Ok(None) };
        let found = history.iter().find_map(|commit| Some((commit, marks.found(commit)?)));
        if let Some((commit, read)) = found {
            return Ok(Some(Last { commit: commit.clone(), newest, read }));
        }
        if history.len() < commits {
            break;
        }
    }
    Ok(None)
}

fn have_same_columns(one: &DataFrame, other: &DataFrame) -> bool {
    let columns = |of: &DataFrame| -> Vec<(String, DataType)> {
        let fields = of.schema().fields().iter();
        fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    columns(one) == columns(other)
}

/// What a commit keeps of all calls together: those that have no instant are in no row of the sums.
pub(super) fn kept(totals: &Totals) -> Vec<(String, i64)> {
    let all = &totals.all;
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let counts = [
        ("calls", count(all.calls)),
        ("failed", count(all.failed)),
        ("unpriced", count(all.unpriced)),
        ("charged", count(all.charged)),
        ("recorded-calls", count(all.recorded_calls)),
        ("differing", count(totals.differing)),
        ("left-out", count(totals.reasons_left_out)),
    ];
    let [cost, recorded] = [all.cost, all.recorded].map(parts);
    let amounts = [
        ("cost-high", cost.0),
        ("cost-low", cost.1),
        ("recorded-high", recorded.0),
        ("recorded-low", recorded.1),
    ];
    counts.into_iter().chain(amounts).map(|(name, of)| (format!("{SUM}{name}"), of)).collect()
}

/// An amount as two numbers: its high bits and its low ones.
fn parts(amount: Amount) -> (i64, i64) {
    let atto = amount.atto();
    ((atto >> u64::BITS) as i64, atto as i64)
}

fn of_parts((high, low): (i64, i64)) -> Amount {
    Amount::of_atto((i128::from(high) << u64::BITS) | i128::from(low as u64))
}

/// The sums that are there.
struct Known<'a> {
    ctx: &'a RunContext,
    params: &'a Params,
    wanted: &'a Wanted,
}

/// Columns of the sums, as [`sums_at`] takes them.
const SUMS: [&str; 6] =
    ["calls", "failed_calls", "unpriced_calls", "input_tokens", "cached_tokens", "output_tokens"];
const AMOUNTS: [&str; 2] = ["cost", "recorded_cost"];

impl Known<'_> {
    /// Puts them into `totals`. False where they are not what a run leaves.
    async fn take(&self, totals: &mut Totals) -> Result<bool> {
        Ok(self.groups(totals).await?
            && self.reasons(totals).await?
            && self.tickets(totals).await?)
    }

    /// How many calls are there: a writer who did not see the commit of another may have added some of them once more.
    async fn calls(&self) -> Result<u64> {
        let present = self.ctx.present().await?;
        let own = ident("source").eq(lit(self.params.dataset.as_str()));
        let rows = present.table(&self.params.calls_output).await?.filter(own)?;
        let count = vec![count(lit(1)).alias("calls")];
        let mut rows = present.stream(rows.aggregate(Vec::new(), count)?).await?;
        let mut calls = 0;
        while let Some(batch) = rows.next().await.transpose()? {
            calls += number(&values::<Int64Type>(&batch, 0)?, 0);
        }
        Ok(calls)
    }

    async fn groups(&self, totals: &mut Totals) -> Result<bool> {
        let columns = [time("at"), text("dimension"), text("value")];
        let mut batches = self.stream(&self.params.output, columns, true).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            self.ctx.check()?;
            let at = values::<TimestampMicrosecondType>(&batch, 0)?;
            let [dimensions, names] = [texts(&batch, 1)?, texts(&batch, 2)?];
            let sums = sums_at(&batch, 3)?;
            for (row, sums) in sums.into_iter().enumerate() {
                let dimension = dimensions.value(row);
                let column = match dimension {
                    ALL => Some(0),
                    _ => self.wanted.by.iter().position(|by| by == dimension).map(|at| at + 1),
                };
                let groups = column.and_then(|column| totals.by.get_mut(column));
                let Some(groups) = groups.filter(|_| at.is_valid(row)) else { return Ok(false) };
                groups.entry(at.value(row)).or_default().insert(names.value(row).to_owned(), sums);
                totals.grow(names.value(row));
            }
            totals.require_room()?;
        }
        Ok(true)
    }

    async fn reasons(&self, totals: &mut Totals) -> Result<bool> {
        let counts = ["calls", "input_tokens", "output_tokens"].map(whole);
        let columns =
            [text("provider"), text("model"), text("why"), time("first_at"), time("last_at")];
        let columns = columns.into_iter().chain(counts);
        let mut batches = self.stream(&self.params.unpriced_output, columns, false).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            self.ctx.check()?;
            let [provider, model, why] = [texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?];
            let (first, last) = (values(&batch, 3)?, values(&batch, 4)?);
            let [calls, input, output] = [
                values::<Int64Type>(&batch, 5)?,
                values::<Int64Type>(&batch, 6)?,
                values::<Int64Type>(&batch, 7)?,
            ];
            for row in 0..batch.num_rows() {
                let Some(why) = Unpriced::named(why.value(row)) else { return Ok(false) };
                let sums = Sums {
                    calls: number(&calls, row),
                    unpriced: number(&calls, row),
                    input_tokens: number(&input, row),
                    output_tokens: number(&output, row),
                    ..Sums::default()
                };
                let reason = (provider.value(row).to_owned(), model.value(row).to_owned(), why);
                totals.reasons.insert(reason, stretch(sums, &first, &last, row));
            }
        }
        Ok(true)
    }

    async fn tickets(&self, totals: &mut Totals) -> Result<bool> {
        let columns = [time("first_at"), time("last_at"), text("ticket_id")];
        let mut batches = self.stream(&self.params.tickets_output, columns, true).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            self.ctx.check()?;
            let (first, last, tickets) =
                (values(&batch, 0)?, values(&batch, 1)?, texts(&batch, 2)?);
            for (row, sums) in sums_at(&batch, 3)?.into_iter().enumerate() {
                let ticket = tickets.value(row);
                totals.grow(ticket);
                totals.tickets.insert(ticket.to_owned(), stretch(sums, &first, &last, row));
            }
            totals.require_room()?;
        }
        Ok(true)
    }

    /// Columns of the rows that are there of the source.
    async fn stream(
        &self,
        output: &DatasetName,
        columns: impl IntoIterator<Item = Expr>,
        has_sums: bool,
    ) -> Result<datafusion::execution::SendableRecordBatchStream> {
        let present = self.ctx.present().await?;
        let sums = SUMS.map(whole).into_iter().chain(AMOUNTS.map(amount)).filter(|_| has_sums);
        let columns = columns.into_iter().chain(sums);
        let columns: Vec<Expr> =
            columns.enumerate().map(|(at, column)| column.alias(format!("column_{at}"))).collect();
        let own = ident("source").eq(lit(self.params.dataset.as_str()));
        present.stream(present.table(output).await?.filter(own)?.select(columns)?).await
    }
}

fn text(name: &str) -> Expr {
    cast(ident(name), DataType::Utf8)
}

fn time(name: &str) -> Expr {
    cast(ident(name), microseconds())
}

fn whole(name: &str) -> Expr {
    cast(ident(name), DataType::Int64)
}

fn amount(name: &str) -> Expr {
    cast(ident(name), DataType::Decimal128(AMOUNT_PRECISION, AMOUNT_SCALE))
}

/// What a commit of the sums kept of all calls; none where it did not.
fn all_of(kept: &CommitRecord, totals: &mut Totals) -> Option<()> {
    let number = |name: &str| kept.numbers.get(&format!("{SUM}{name}")).copied();
    let count = |name: &str| number(name).and_then(|of| u64::try_from(of).ok());
    let amount = |high: &str, low: &str| Some(of_parts((number(high)?, number(low)?)));
    totals.all = Sums {
        calls: count("calls")?,
        failed: count("failed")?,
        unpriced: count("unpriced")?,
        charged: count("charged")?,
        recorded_calls: count("recorded-calls")?,
        cost: amount("cost-high", "cost-low")?,
        recorded: amount("recorded-high", "recorded-low")?,
        ..Sums::default()
    };
    totals.differing = count("differing")?;
    totals.reasons_left_out = count("left-out")?;
    Some(())
}

fn broken() -> Error {
    Error::internal(format!("{NAME}: other columns than were asked for"))
}

fn values<T: ArrowPrimitiveType>(batch: &RecordBatch, at: usize) -> Result<PrimitiveArray<T>> {
    batch.columns().get(at).and_then(|of| of.as_primitive_opt()).cloned().ok_or_else(broken)
}

fn number(of: &PrimitiveArray<Int64Type>, row: usize) -> u64 {
    if of.is_valid(row) { u64::try_from(of.value(row)).unwrap_or(0) } else { 0 }
}

/// The sums of each row, whose columns begin at `first`.
fn sums_at(batch: &RecordBatch, first: usize) -> Result<Vec<Sums>> {
    let counts = (first..first + SUMS.len()).map(|at| values::<Int64Type>(batch, at));
    let counts = counts.collect::<Result<Vec<_>>>()?;
    let amounts = first + SUMS.len()..first + SUMS.len() + AMOUNTS.len();
    let amounts = amounts.map(|at| values::<Decimal128Type>(batch, at));
    let amounts = amounts.collect::<Result<Vec<_>>>()?;
    let ([calls, failed, unpriced, input, cached, output], [cost, recorded]) =
        (&counts[..], &amounts[..])
    else {
        return Err(broken());
    };
    let amount = |of: &PrimitiveArray<Decimal128Type>, row: usize| {
        if of.is_valid(row) { Amount::of_atto(of.value(row)) } else { Amount::default() }
    };
    // Without unpriced calls, a sum of zero may come from failed calls alone.
    let was_charged = |row| {
        let is_all_failed = number(unpriced, row) == 0 && number(calls, row) == number(failed, row);
        cost.is_valid(row) && (cost.value(row) > 0 || !is_all_failed)
    };
    let sums = |row| Sums {
        calls: number(calls, row),
        failed: number(failed, row),
        unpriced: number(unpriced, row),
        charged: u64::from(was_charged(row)),
        input_tokens: number(input, row),
        cached_tokens: number(cached, row),
        output_tokens: number(output, row),
        cost: amount(cost, row),
        // How many they were is asked of none but all together.
        recorded_calls: u64::from(recorded.is_valid(row)),
        recorded: amount(recorded, row),
    };
    Ok((0..batch.num_rows()).map(sums).collect())
}

fn stretch(
    sums: Sums,
    first: &PrimitiveArray<TimestampMicrosecondType>,
    last: &PrimitiveArray<TimestampMicrosecondType>,
    row: usize,
) -> Stretch {
    let at =
        |of: &PrimitiveArray<TimestampMicrosecondType>| of.is_valid(row).then(|| of.value(row));
    Stretch { sums, first_us: at(first), last_us: at(last), resolved_us: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_the_same_behind_two_numbers() {
        let most = [i128::MAX, i128::MIN].map(Amount::of_atto);
        let some = [
            0,
            1,
            -1,
            1 << 63,
            1 << 64,
            -(1 << 64),
            (1 << 64) - 1,
            -(1 << 63),
            10_i128.pow(30) + 7,
        ];
        for amount in some.map(Amount::of_atto).into_iter().chain(most) {
            assert_eq!(of_parts(parts(amount)), amount, "{amount}");
        }
    }
}
