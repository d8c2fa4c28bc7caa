//! Calls as sums by stretch of time, kind, length and model.

use std::collections::{BTreeMap, BTreeSet};

use analysis::routing::{Cell, Seen, Table};
use arrow::array::{Array, AsArray, Decimal128Array, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::functions::math::expr_fn::{floor, isnan, log2};
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{Expr, cast, ident, lit, not, try_cast, when};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use engine::{Code, Error, Result, Session};
use futures::StreamExt;

use super::NAME;
use super::others;
use super::params::Params;
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::series::microseconds;
use crate::tables::columns::{texts, type_name};
use crate::tables::input::{Asked, INSTANTS, InputTable, NAMES, is_name, optional, time_or_at};

/// Stretches that the time is cut into, with as many calls each as can be.
const STRETCHES: u64 = 200;
/// Kinds of requests, models, and what is told apart of all together, at most.
const KINDS_MAX: usize = 100;
const MODELS_MAX: usize = 200;
const GROUPS_MAX: usize = 500_000;
const CELLS_MAX: usize = 10_000;
/// Classes of length, with as many requests each as can be.
const LENGTHS: u64 = 4;
/// Classes of length are put together of such that are told apart as half powers of two.
const HALVES: f64 = 2.0;
/// What no call costs: sums of many have room.
const COST_MAX: f64 = 1e9;
/// Digits of costs and of qualities, and those of them behind the point: their sums are the same in any order.
pub(super) const COST: (u8, i8) = (38, 18);
const QUALITY: (u8, i8) = (38, 9);

/// Requests of one length class: from and up to how long they are, both included; none where that is not known or not asked.
pub(super) type Length = (Option<u64>, Option<u64>);

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) table: Table,
    pub(super) kinds: Vec<String>,
    /// The model that was called most comes first.
    pub(super) models: Vec<String>,
    pub(super) lengths: Vec<Length>,
    pub(super) calls: u64,
    /// Those of which it is not known how good the answer was.
    pub(super) not_judged: u64,
    /// Rows without an instant, a model or a cost.
    pub(super) left_out: u64,
}

/// Whether a quality is a number and none of 0 to 1.
const BEYOND: &str = "beyond";

/// Checks what is asked against the columns of the dataset, and says which has the instants.
pub(super) async fn check<'a>(
    session: &Session,
    params: &'a Params,
) -> Result<(InputTable<'a>, String)> {
    let table = InputTable::open(session, NAME, &params.dataset).await?;
    let time = time_or_at(session, &params.dataset, params.time_column.as_deref());
    let mut named: Vec<Asked<'_>> = vec![
        ("time_column", &time, INSTANTS, DataType::is_temporal),
        ("model_column", &params.model_column, NAMES, is_name),
    ];
    let some = [
        optional("kind_column", &params.kind_column, NAMES, is_name),
        optional("length_column", &params.length_column, "a whole number", DataType::is_integer),
        optional("request_column", &params.request_column, NAMES, is_name),
        optional("cache_column", &params.cache_column, NAMES, is_name),
    ];
    named.extend(some.into_iter().flatten());
    table.check_all(&named)?;
    let confidence = params.confidence.iter().map(|text| ("confidence", text));
    let values = [("cost", &params.cost), ("quality", &params.quality)];
    for (parameter, text) in values.into_iter().chain(confidence) {
        let read = session.safe_expression(&params.dataset, text).await;
        let read = read.map_err(|error| bad(NAME, parameter, format!("{text:?}: {error}")))?;
        let found = table.frame.clone().select(vec![read.alias("value")])?;
        let found = found.schema().field(0).data_type().clone();
        let is_truth = parameter == "quality" && found == DataType::Boolean;
        if !found.is_numeric() && !is_truth {
            let or = if parameter == "quality" { " or a truth value" } else { "" };
            let says = format!("{text:?}: expected a number{or}, found {}", type_name(&found));
            return Err(bad(NAME, parameter, says));
        }
    }
    table.check_condition(session, "served", params.served.as_deref()).await?;
    table.check_condition(session, "where", params.condition.as_deref()).await?;
    Ok((table, time))
}

/// The calls: when, of what kind and length, by which model, for what, and how good.
async fn frame(ctx: &RunContext, params: &Params) -> Result<DataFrame> {
    let session = ctx.session();
    let (table, time) = check(session, params).await?;
    let frame = table.only_where(ctx, params.condition.as_deref()).await?;
    let text = |column: Option<&String>| match column {
        Some(column) => nullif(cast(ident(column), DataType::Utf8), lit("")),
        None => lit(ScalarValue::Utf8(None)),
    };
    let value = async |text: &str| -> Result<Expr> {
        let value = session.safe_expression(&params.dataset, text).await?;
        session.or_null(value, frame.schema(), ctx.uncomputed())
    };
    let number = |of: Expr, most: f64, (precision, scale): (u8, i8)| -> Result<Expr> {
        let float = try_cast(of, DataType::Float64);
        let is_one = float.clone().between(lit(0.0), lit(most));
        let number = try_cast(float, DataType::Decimal128(precision, scale));
        Ok(when(is_one, number).end()?)
    };
    let cost = number(value(&params.cost).await?, COST_MAX, COST)?;
    let judged = value(&params.quality).await?;
    let told = try_cast(judged.clone(), DataType::Float64);
    // No number is as good as none.
    let is_beyond = told.clone().is_not_null().and(not(isnan(told.clone())));
    let is_beyond = is_beyond.and(not(told.between(lit(0.0), lit(1.0))));
    let quality = number(judged, 1.0, QUALITY)?;
    let length = match &params.length_column {
        Some(column) => {
            let long = try_cast(ident(column), DataType::Float64);
            let halves = floor(lit(HALVES) * log2(long.clone()));
            when(long.gt_eq(lit(1.0)), cast(halves, DataType::Int64)).end()?
        }
        None => lit(ScalarValue::Int64(None)),
    };
    let confidence = match &params.confidence {
        Some(text) => try_cast(value(text).await?, DataType::Float64),
        None => lit(ScalarValue::Float64(None)),
    };
    let served = match &params.served {
        Some(condition) => table.condition(ctx, condition).await?.is_true(),
        None => lit(true),
    };
    Ok(frame.select(vec![
        cast(cast(ident(time), microseconds()), DataType::Int64).alias("at"),
        text(params.kind_column.as_ref()).alias("kind"),
        length.alias("length"),
        text(Some(&params.model_column)).alias("model"),
        cost.alias("cost"),
        quality.alias("quality"),
        served.alias("served"),
        text(params.request_column.as_ref()).alias(others::REQUEST),
        confidence.alias(others::CONFIDENCE),
        text(params.cache_column.as_ref()).alias(others::ASKED),
        is_beyond.alias(BEYOND),
    ])?)
}

/// Sums of some rows.
struct Group {
    stretch: usize,
    kind: String,
    length: Option<i64>,
    model: String,
    all: Seen,
    served: Seen,
}

/// Reads all of it.
pub(super) async fn read(ctx: &RunContext, params: &Params, stage: &mut Stage) -> Result<Calls> {
    let session = ctx.session();
    let column = |name: &str| ident(name);
    let is_whole = column("at")
        .is_not_null()
        .and(column("model").is_not_null())
        .and(column("cost").is_not_null());
    // Stretches are of what there is, so that is asked first.
    let all = frame(ctx, params).await?;
    let first = all.clone().aggregate(
        Vec::new(),
        vec![
            count(lit(1)).alias("rows"),
            count(when(is_whole.clone(), column("at")).end()?).alias("calls"),
            count(when(column(BEYOND), lit(1)).end()?).alias("beyond"),
        ],
    )?;
    let [rows, of_calls, beyond] = whole_numbers(&session.collect(first).await?)?;
    if beyond > 0 {
        let says = format!(
            "{:?}: expected 0 to 1 of every row, 1 where the answer was as good as can be; {beyond} of {rows} have another number",
            params.quality
        );
        return Err(bad(NAME, "quality", says));
    }
    stage.record.rows_in = rows;
    let times = all.clone().filter(is_whole.clone())?.select(vec![column("at")])?;
    let cuts = cuts(ctx, times.sort(vec![column("at").sort(true, false)])?, of_calls).await?;
    let served = |of: &str| -> Result<Expr> { Ok(when(column("served"), column(of)).end()?) };
    let counted = |of: Expr| -> Result<Expr> { Ok(when(column("cost").is_not_null(), of).end()?) };
    let chains = others::chains(ctx, all.clone(), params).await?;
    let groups = others::with_others(all, params, &chains)?.filter(is_whole)?.aggregate(
        vec![
            stretch_of(&column("at"), &cuts, 0)?.alias("stretch"),
            column("kind"),
            column("length"),
            column("model"),
        ],
        vec![
            count(column("cost")).alias("calls"),
            sum(column("cost")).alias("cost_sum"),
            count(counted(column("quality"))?).alias("judged"),
            sum(column("quality")).alias("quality_sum"),
            count(served("cost")?).alias("served_calls"),
            sum(served("cost")?).alias("served_cost"),
            count(served("quality")?).alias("served_judged"),
            sum(served("quality")?).alias("served_quality"),
        ],
    )?;
    let mut found = Vec::new();
    let mut batches = session.stream(groups).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        ctx.check()?;
        stage.record.bytes_read += batch.get_array_memory_size() as u64;
        append(&batch, &mut found)?;
        if found.len() > GROUPS_MAX {
            let says = format!(
                "{NAME}: expected at most {GROUPS_MAX} groups of stretch of time, kind, length and model, found more; take a `kind_column` of fewer kinds"
            );
            return Err(Error::user(Code::LimitExceeded, says));
        }
    }
    let mut invented: BTreeSet<String> = chains.iter().map(others::Chain::name).collect();
    if params.cache_column.is_some() {
        invented.insert(others::CACHE.to_owned());
    }
    let calls = calls(params, found, &invented, stage.record.rows_in)?;
    stage.record.rows_out = calls.calls;
    Ok(calls)
}

pub(super) fn broken() -> Error {
    Error::internal(format!("{NAME}: other columns than were asked for"))
}

/// The whole numbers of a table of one row.
fn whole_numbers<const N: usize>(batches: &[RecordBatch]) -> Result<[u64; N]> {
    let mut numbers = [0; N];
    let row = batches.iter().find(|batch| batch.num_rows() > 0).ok_or_else(broken)?;
    for (number, column) in numbers.iter_mut().zip(row.columns()) {
        let column = column.as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
        *number = u64::try_from(column.value(0)).map_err(|_| broken())?;
    }
    Ok(numbers)
}

/// Where stretches of as many calls each begin, but the first; `times` are those of the calls, in order.
async fn cuts(ctx: &RunContext, times: DataFrame, calls: u64) -> Result<Vec<i64>> {
    let mut cuts: Vec<i64> = Vec::new();
    let (mut before, mut first) = (0_u64, None);
    let mut batches = ctx.session().stream(times).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        ctx.check()?;
        let times = batch.column(0).as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
        let count = times.len() as u64;
        for stretch in (before * STRETCHES).div_ceil(calls.max(1))..STRETCHES {
            let place = stretch * calls / STRETCHES;
            if place >= before + count {
                break;
            }
            let at = times.value((place - before) as usize);
            let is_first = first.is_none();
            let last = cuts.last().copied().or(first);
            if is_first {
                first = Some(at);
            } else if last.is_none_or(|last| last < at) {
                cuts.push(at);
            }
        }
        before += count;
    }
    Ok(cuts)
}

/// The number of the stretch of an instant, behind those before `first`: as many as begin no later. Halved again and again.
fn stretch_of(at: &Expr, cuts: &[i64], first: i64) -> Result<Expr> {
    let middle = cuts.len() / 2;
    let Some((cut, later)) = cuts.get(middle..).and_then(<[i64]>::split_first) else {
        return Ok(lit(first));
    };
    let earlier = stretch_of(at, cuts.get(..middle).unwrap_or_default(), first)?;
    let later = stretch_of(at, later, first + middle as i64 + 1)?;
    Ok(when(at.clone().lt(lit(*cut)), earlier).otherwise(later)?)
}

fn append(batch: &RecordBatch, groups: &mut Vec<Group>) -> Result<()> {
    let whole = |at: usize| batch.column(at).as_primitive_opt::<Int64Type>().ok_or_else(broken);
    let decimal =
        |at: usize| batch.column(at).as_primitive_opt::<Decimal128Type>().ok_or_else(broken);
    let (kinds, models) = (texts(batch, 1)?, texts(batch, 3)?);
    let (stretches, lengths) = (whole(0)?, whole(2)?);
    let counts = [whole(4)?, whole(6)?, whole(8)?, whole(10)?];
    let sums = [decimal(5)?, decimal(7)?, decimal(9)?, decimal(11)?];
    for row in 0..batch.num_rows() {
        let [calls, judged, served_calls, served_judged] =
            counts.map(|of| of.value(row).max(0) as u64);
        let [cost, quality, served_cost, served_quality] = sums.map(|of| float(of, row));
        let kind = if kinds.is_valid(row) { kinds.value(row) } else { "" };
        groups.push(Group {
            stretch: usize::try_from(stretches.value(row)).map_err(|_| broken())?,
            kind: kind.to_owned(),
            length: lengths.is_valid(row).then(|| lengths.value(row)),
            model: models.value(row).to_owned(),
            all: Seen { calls, cost, judged, quality },
            served: Seen {
                calls: served_calls,
                cost: served_cost,
                judged: served_judged,
                quality: served_quality,
            },
        });
    }
    Ok(())
}

fn float(of: &Decimal128Array, row: usize) -> f64 {
    match of.is_valid(row) {
        true => of.value(row) as f64 / 10_f64.powi(i32::from(of.scale())),
        false => 0.0,
    }
}

/// `invented`: models that are none, of which there are no calls.
fn calls(
    params: &Params,
    mut groups: Vec<Group>,
    invented: &BTreeSet<String>,
    rows: u64,
) -> Result<Calls> {
    let key = |of: &Group| (of.stretch, of.kind.clone(), of.length, of.model.clone());
    groups.sort_by_cached_key(key);
    let mut of_models: BTreeMap<&str, u64> = BTreeMap::new();
    let mut of_lengths: BTreeMap<Option<i64>, u64> = BTreeMap::new();
    let mut kinds: Vec<&str> = Vec::new();
    for group in &groups {
        *of_models.entry(&group.model).or_default() += group.all.calls;
        *of_lengths.entry(group.length).or_default() += group.all.calls;
        kinds.push(&group.kind);
    }
    kinds.sort_unstable();
    kinds.dedup();
    let mut models: Vec<(&str, u64)> = of_models.into_iter().collect();
    // What is none comes last.
    let is_invented = |of: &str| invented.contains(of);
    models.sort_by(|a, b| {
        let of = |(name, calls): &(&str, u64)| (is_invented(name), std::cmp::Reverse(*calls));
        of(a).cmp(&of(b)).then(a.0.cmp(b.0))
    });
    let own = models.iter().filter(|(name, _)| !is_invented(name)).count();
    for (what, parameter, found, most) in [
        ("kinds of requests", "kind_column", kinds.len(), KINDS_MAX),
        ("models", "model_column", own, MODELS_MAX),
    ] {
        if found > most {
            let says =
                format!("expected at most {most} {what}, found {found}; take a narrower `where`");
            return Err(bad(NAME, parameter, says));
        }
    }
    let (classes, lengths) = classes(params, &of_lengths);
    let cells = kinds.len() * lengths.len() * models.len();
    if cells > CELLS_MAX {
        let says = format!(
            "expected at most {CELLS_MAX} kinds of requests times lengths times models, found {cells}"
        );
        return Err(bad(NAME, "kind_column", says));
    }
    let places: BTreeMap<&str, usize> =
        models.iter().enumerate().map(|(place, (model, _))| (*model, place)).collect();
    let mut seen: BTreeMap<(usize, Cell, usize), (Seen, Seen)> = BTreeMap::new();
    let mut calls = Seen::default();
    for group in &groups {
        let kind = kinds.binary_search(&group.kind.as_str()).map_err(|_| broken())?;
        let length = *classes.get(&group.length).ok_or_else(broken)?;
        let model = *places.get(group.model.as_str()).ok_or_else(broken)?;
        let of = seen.entry((group.stretch, Cell { kind, length }, model)).or_default();
        of.0.add(&group.all);
        of.1.add(&group.served);
        if !invented.contains(&group.model) {
            calls.add(&group.all);
        }
    }
    Ok(Calls {
        table: Table::new(&seen),
        kinds: kinds.into_iter().map(str::to_owned).collect(),
        models: models.into_iter().map(|(model, _)| model.to_owned()).collect(),
        lengths,
        calls: calls.calls,
        not_judged: calls.calls - calls.judged,
        left_out: rows.saturating_sub(calls.calls),
    })
}

/// The class of each length, and how long requests of a class are. A length that is not known is a class by itself.
fn classes(
    params: &Params,
    counts: &BTreeMap<Option<i64>, u64>,
) -> (BTreeMap<Option<i64>, usize>, Vec<Length>) {
    let (mut classes, mut lengths) = (BTreeMap::new(), Vec::<Length>::new());
    if counts.contains_key(&None) || params.length_column.is_none() {
        classes.insert(None, 0);
        lengths.push((None, None));
    }
    let from = |half: i64| 2_f64.powf(half as f64 / HALVES).ceil() as u64;
    let known: u64 = counts.iter().filter(|of| of.0.is_some()).map(|of| of.1).sum();
    let (mut before, mut last) = (0, None);
    for (length, count) in counts {
        let Some(half) = length else { continue };
        // The quarter of the requests that the middle one of these lies in.
        let quarter = ((2 * before + count) * LENGTHS / (2 * known).max(1)).min(LENGTHS - 1);
        if last != Some(quarter) {
            lengths.push((Some(from(*half)), None));
            last = Some(quarter);
        }
        if let Some(of) = lengths.last_mut() {
            of.1 = Some(from(half + 1) - 1);
        }
        classes.insert(Some(*half), lengths.len() - 1);
        before += count;
    }
    (classes, lengths)
}
