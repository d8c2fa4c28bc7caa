//! What else could have answered requests: one model and, where it is not sure, another one after it; and an answer that was kept.
//!
//! Both are rows like those of calls, of a model with a name of its own, that answered nobody. What they cost and how good they are is known of each
//! request by itself: of two models where both answered it, of an answer that was kept where the same was asked before.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions::string::expr_fn::concat;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::functions_nested::expr_fn::make_array;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::functions_window::lead_lag::lag_udwf;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, JoinType, WindowFunctionDefinition, cast, ident, lit, when,
};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use engine::Result;

use super::params::Params;
use super::read::{COST, broken};
use crate::run::context::RunContext;
use crate::tables::columns::texts;

/// The models called most that are put behind each other.
const CHAINED_MAX: usize = 5;
/// Columns that calls have for this, beside those that are counted.
pub(super) const REQUEST: &str = "request";
pub(super) const CONFIDENCE: &str = "confidence";
pub(super) const ASKED: &str = "asked";
/// The columns that are counted.
const COUNTED: [&str; 7] = ["at", "kind", "length", "model", "cost", "quality", "served"];
/// What an answer that was kept is called, and what is behind the kind of requests that it is there for.
pub(super) const CACHE: &str = "the cache";
const AGAIN: &str = "asked again";

/// Two models behind each other, the cheaper one first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    first: String,
    then: String,
    threshold: f64,
}

impl Chain {
    pub(super) fn name(&self) -> String {
        format!("{}, then {} below {}", self.first, self.then, self.threshold)
    }
}

/// Cheaper models before dearer ones, with each threshold that is asked for.
pub(super) async fn chains(
    ctx: &RunContext,
    calls: DataFrame,
    params: &Params,
) -> Result<Vec<Chain>> {
    if params.request_column.is_none() || params.confidence.is_none() {
        return Ok(Vec::new());
    }
    let is_whole = ident("model").is_not_null().and(ident("cost").is_not_null());
    let sums = vec![count(ident("cost")).alias("calls"), sum(ident("cost")).alias("cost_sum")];
    let frame = calls.filter(is_whole)?.aggregate(vec![ident("model")], sums)?;
    let mut models: Vec<(u64, f64, String)> = Vec::new();
    for batch in ctx.session().collect(frame).await? {
        let names = texts(&batch, 0)?;
        let counts = batch.column(1).as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
        let costs = batch.column(2).as_primitive_opt::<Decimal128Type>().ok_or_else(broken)?;
        for row in 0..batch.num_rows() {
            let calls = counts.value(row).max(0) as u64;
            let cost = if costs.is_valid(row) { costs.value(row) as f64 } else { 0.0 };
            models.push((calls, cost / calls.max(1) as f64, names.value(row).to_owned()));
        }
    }
    models.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.cmp(&b.2)));
    models.truncate(CHAINED_MAX);
    let mut all = Vec::new();
    for (_, cost, first) in &models {
        for (_, _, then) in models.iter().filter(|(_, other, _)| cost < other) {
            all.extend(params.thresholds.iter().map(|threshold| Chain {
                first: first.clone(),
                then: then.clone(),
                threshold: *threshold,
            }));
        }
    }
    Ok(all)
}

/// The calls, and beside them what else could have answered.
pub(super) fn with_others(
    calls: DataFrame,
    params: &Params,
    chains: &[Chain],
) -> Result<DataFrame> {
    let mut all = calls;
    let mut kept = None;
    if let Some(seconds) = params.cache_column.as_ref().map(|_| params.cache_seconds) {
        all = asked_before(all, seconds)?;
        let answers = all.clone().filter(ident(AGAIN).is_true())?;
        kept = Some(answers.select(vec![
            ident("at"),
            ident("kind"),
            ident("length"),
            lit(CACHE).alias("model"),
            cast(lit(0), DataType::Decimal128(COST.0, COST.1)).alias("cost"),
            ident("_kept").alias("quality"),
            lit(false).alias("served"),
        ])?);
    }
    let counted = || COUNTED.map(ident).to_vec();
    let mut found = all.clone().select(counted())?;
    let mut by_models: BTreeMap<(&str, &str), Vec<&Chain>> = BTreeMap::new();
    for chain in chains {
        by_models.entry((&chain.first, &chain.then)).or_default().push(chain);
    }
    for ((first, then), chains) in by_models {
        let of = |model: &str| ident("model").eq(lit(model)).and(ident(REQUEST).is_not_null());
        let of_model = |model: &str| {
            let frame = all.clone().filter(of(model).and(ident("cost").is_not_null()))?;
            first_of_request(frame)
        };
        let firsts = of_model(first)?;
        let thens = of_model(then)?.select(vec![
            ident(REQUEST).alias("_request"),
            ident("cost").alias("_cost"),
            ident("quality").alias("_quality"),
        ])?;
        let both = firsts.join(thens, JoinType::Inner, &[REQUEST], &["_request"], None)?;
        // Each of them at each threshold.
        let thresholds = chains.iter().map(|chain| lit(chain.threshold)).collect();
        let each = make_array(thresholds).alias("_threshold");
        let columns: Vec<Expr> =
            ["at", "kind", "length", "cost", "quality", CONFIDENCE, "_cost", "_quality"]
                .map(ident)
                .into_iter()
                .chain([each])
                .collect();
        let each = both.select(columns)?.unnest_columns(&["_threshold"])?;
        let mut name = lit(ScalarValue::Utf8(None));
        for chain in chains {
            let is_it = ident("_threshold").eq(lit(chain.threshold));
            name = when(is_it, lit(chain.name())).otherwise(name)?;
        }
        let is_sure = ident(CONFIDENCE).gt_eq(ident("_threshold")).is_true();
        let dear = cast(ident("cost") + ident("_cost"), DataType::Decimal128(COST.0, COST.1));
        found = found.union(each.select(vec![
            ident("at"),
            ident("kind"),
            ident("length"),
            name.alias("model"),
            when(is_sure.clone(), ident("cost")).otherwise(dear)?.alias("cost"),
            when(is_sure, ident("quality")).otherwise(ident("_quality"))?.alias("quality"),
            lit(false).alias("served"),
        ])?)?;
    }
    match kept {
        Some(kept) => Ok(found.union(kept)?),
        None => Ok(found),
    }
}

/// Of each request the first of these calls.
fn first_of_request(calls: DataFrame) -> Result<DataFrame> {
    let order = ["at", "cost", "quality", CONFIDENCE].map(|of| ident(of).sort(true, true));
    let place = row_number().partition_by(vec![ident(REQUEST)]).order_by(order.to_vec()).build()?;
    let calls = calls.window(vec![place.alias("_place")])?;
    Ok(calls.filter(ident("_place").eq(lit(1_u64)))?)
}

/// Calls with whether the same was asked so shortly before, which is another kind of request, and how good the answer was then.
fn asked_before(calls: DataFrame, seconds: u64) -> Result<DataFrame> {
    let before = |column: &str, name: &str| {
        let lag = WindowFunctionDefinition::WindowUDF(lag_udwf());
        let mut window = WindowFunction::new(lag, vec![ident(column)]);
        window.params.partition_by = vec![ident(ASKED), ident("served")];
        window.params.order_by =
            ["at", "model", "cost", "quality"].map(|of| ident(of).sort(true, true)).to_vec();
        window.params.null_treatment = Some(NullTreatment::RespectNulls);
        Expr::from(window).alias(name)
    };
    let is_call = ident("at").is_not_null();
    let calls = calls.filter(is_call)?;
    let of_before = [("at", "_before"), ("quality", "_kept"), (REQUEST, "_request_before")];
    let calls = calls.window(of_before.map(|(of, name)| before(of, name)).to_vec())?;
    let micros = i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    // Who is asked beside another, or once more for the same request, is not asked again.
    let is_other = ident(REQUEST).is_null().or(ident(REQUEST).not_eq(ident("_request_before")));
    let is_again = ident(ASKED)
        .is_not_null()
        .and(ident("served").is_true())
        .and(is_other.is_not_false())
        .and((ident("at") - ident("_before")).lt_eq(lit(micros)))
        .is_true();
    let again = concat(vec![coalesce(vec![ident("kind"), lit("")]), lit(format!(" ({AGAIN})"))]);
    let kind = when(is_again.clone(), again).otherwise(ident("kind"))?;
    let rest =
        ["at", "length", "model", "cost", "quality", "served", REQUEST, CONFIDENCE, ASKED, "_kept"];
    let mut wanted: Vec<Expr> = rest.iter().map(|name| ident(*name)).collect();
    wanted.extend([kind.alias("kind"), is_again.alias(AGAIN)]);
    Ok(calls.select(wanted)?)
}
