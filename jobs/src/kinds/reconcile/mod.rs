//! Holds two datasets against each other by key: which rows both have, in which columns they differ, which one is right by the rules, and
//! what people have to decide.
//!
//! 1. [`columns`]: both as rows of the columns that are compared, in the order of their keys, which is sorted on a disk where it has to be.
//! 2. [`side`]: one key after the other of each; a key that one of them has more than once is counted and named, and not compared.
//! 3. [`compare`]: what differs, decided by rules or [`answers`]; [`output`]: as rows, in the place of those that were there of the same pair.
//!
//! Cost: both are sorted once. Memory: a batch of each, and the answers; rows are written as they come.

mod answers;
mod columns;
mod compare;
mod output;
mod params;
mod side;
#[cfg(test)]
mod tests;
mod totals;

use std::sync::Arc;

use datasets::{DatasetName, DatasetSpec};
use engine::{Result, Session};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};

use answers::Answers;
use compare::Comparing;
use output::Differences;
pub use params::Params;
use side::Side;
use totals::{OfColumn, Totals};

use crate::job::{Job, Outcome};
use crate::parameters;
use crate::run::context::{Place, RunContext};
use crate::tables::flow::flow;
use crate::tables::replacing::{commit_in_place_of, in_place_of};

/// The kind's name.
const NAME: &str = "reconcile";
/// Memory of a row while it is sorted: a guess for the estimate only.
const ROW_BYTES: usize = 200;

/// The job kind.
pub struct Reconcile;

impl Reconcile {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

async fn checked<'a>(session: &Session, params: &'a Params) -> Result<columns::Compared<'a>> {
    if let Some(answers) = &params.answers {
        answers::check(session, answers).await?;
    }
    columns::check(session, params).await
}

impl Job for Reconcile {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "holds two datasets against each other by key: what differs, what is missing, which side is right, and what waits for an answer"
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
            checked(session, &Self::params(params)?).await?;
            self.outputs(params)
        })
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Arc::new(Self::params(params)?);
            let compared = checked(ctx.session(), &params).await?;
            let answers = Answers::read(ctx, params.answers.as_ref()).await?;
            let told = [answers.not_understood, answers.contradicting, answers.len()];
            let examples = answers.examples.clone();
            let [left, right] = compared.frames(ctx, &params).await?;
            let (keys, count) = (compared.key.len(), compared.columns.len());
            let version = |of: &DatasetName| ctx.input(of).map(|of| of.version.0 as i64);
            let versions: [i64; 2] = [version(&params.left)?, version(&params.right)?];
            let columns = compared.columns.iter().map(|(name, right_name)| OfColumn {
                name: name.clone(),
                right_name: right_name.clone(),
                ..OfColumn::default()
            });
            let totals = Totals { columns: columns.collect(), ..Totals::default() };
            let totals = Arc::new(Mutex::new(totals));
            let stage = ctx.stage("compare");
            let side = |rows| Side::new(rows, keys, count, ctx.cancellation().clone());
            let comparing = Comparing {
                left: side(ctx.session().stream(left).await?),
                right: side(ctx.session().stream(right).await?),
                next: Default::default(),
                is_begun: false,
                differences: Differences::new(&params, versions),
                answers,
                params: Arc::clone(&params),
                totals: Arc::clone(&totals),
                cancellation: ctx.cancellation().clone(),
            };
            let source = params.source();
            let spec = output::spec(&params);
            let rows = flow(spec.arrow_schema(), stage, comparing);
            ctx.commit_rows(spec, Place::As(in_place_of(&source)), rows, Vec::new()).await?;
            ctx.progress(0.9);
            let totals = std::mem::take(&mut *totals.lock());
            let rows = output::rows(&params, versions, &totals)?;
            commit_in_place_of(ctx, &source, rows).await?;
            Ok(Outcome { summary: summary(&params, &compared, &totals, told, &examples) })
        })
    }
}

fn summary(
    params: &Params,
    compared: &columns::Compared<'_>,
    totals: &Totals,
    [not_understood, contradicting, answers]: [u64; 3],
    examples: &[String],
) -> Value {
    let examples: Vec<&String> = examples.iter().chain(&totals.examples).collect();
    let in_vain = contradicting + totals.answered + totals.misfits;
    let differing = totals.columns.iter().filter(|of| of.differing > 0);
    let differing: serde_json::Map<String, Value> =
        differing.map(|of| (of.name.clone(), of.differing.into())).collect();
    json!({
        "left": params.left,
        "right": params.right,
        "key": compared.key,
        "columns": totals.columns.len(),
        "columns_not_comparable": compared.not_comparable,
        "left_rows": totals.left_rows,
        "right_rows": totals.right_rows,
        "without_key": totals.left_without_key + totals.right_without_key,
        "matched": totals.matched,
        "agreeing": totals.matched - totals.differing,
        "differing": totals.differing,
        "differing_by_column": differing,
        "missing_left": totals.missing_left,
        "missing_right": totals.missing_right,
        "repeated": totals.repeated,
        "open": totals.open,
        "answered": totals.answered,
        "answers_not_understood": not_understood + totals.misfits,
        "answers_not_understood_such_as": examples,
        "answers_contradicting": contradicting,
        "answers_about_no_difference": answers.saturating_sub(in_vain),
        "agreement": totals.agreement(),
    })
}
