//! Rows as features: what is known of each entity at each instant at which it changes.
//!
//! A row counts from the instant at which it is known, the later one of when it happened and when it came. Of a feature that is a value,
//! that of the row which happened last of those known counts; a measure is of the rows known within its window, which ends at the instant.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions::core::expr_fn::{get_field, greatest, named_struct};
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::functions_aggregate::first_last::last_value_udaf;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_window::lead_lag::lead_udwf;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, JoinType, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, cast, ident, lit, when,
};
use datafusion::prelude::DataFrame;
use engine::{Error, Result, Version};

use super::params::{AT, EXPIRES};
use super::view::{Made, View};
use super::{NAME, exact};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::{INSTANT_MAX_US, microseconds};

/// Columns of the rows on their way; no dataset has one whose name begins so.
const KNOWN: &str = "_known";
const HAPPENED: &str = "_happened";
const NEWEST: &str = "_newest";
const NEXT: &str = "_next";
const FROM: &str = "_from";

/// Rows that were looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looked {
    pub(super) rows: u64,
    /// Without an entity or an instant, or with one too far from today.
    pub(super) left_out: u64,
}

/// A column that may be known later than its row.
struct Later {
    /// The parameter that it is used in, and the feature.
    of: String,
    column: String,
    /// The column of the instant at which it is known; none of one that is an instant itself.
    known_at: Option<String>,
    /// Whether rows that are not asked for count, too.
    of_all: bool,
}

/// Rows of the dataset that are asked for, with the instants of each; those that say nothing of an entity are left out of `kept`.
pub(super) struct Rows {
    all: DataFrame,
    /// Which are asked for.
    condition: Expr,
    /// Which say something of an entity.
    known: Expr,
}

impl Rows {
    fn kept(&self) -> Expr {
        self.known.clone().and(self.condition.clone())
    }
}

impl View<'_> {
    /// The rows of `frame`, which is the dataset or a part of it.
    pub(super) async fn rows(&self, ctx: &RunContext, frame: DataFrame) -> Result<Rows> {
        let condition = match self.params.condition.as_deref() {
            Some(condition) => self.table.condition(ctx, condition).await?,
            None => lit(true),
        };
        let micros = |name: &String| cast(cast(ident(name), microseconds()), DataType::Int64);
        let happened = micros(&self.time);
        let known = match &self.params.known_column {
            // Of a row whose instant of coming is not told nobody knows since when it is known.
            Some(known) => {
                when(micros(known).is_not_null(), greatest(vec![happened.clone(), micros(known)]))
                    .end()?
            }
            None => happened.clone(),
        };
        let mut columns: Vec<Expr> = Vec::new();
        for field in self.table.frame.schema().fields() {
            columns.push(ident(field.name()));
        }
        columns.push(known.alias(KNOWN));
        columns.push(happened.alias(HAPPENED));
        let all = frame.select(columns)?;
        let within = |name: &str| {
            let most = INSTANT_MAX_US as i64;
            ident(name).between(lit(-most), lit(most))
        };
        let mut known = within(KNOWN).and(within(HAPPENED));
        for name in &self.params.entity {
            known = known.and(ident(name).is_not_null());
        }
        Ok(Rows { all, condition, known })
    }

    /// Counts rows, and fails where a feature is made of what is not known yet when its row is.
    pub(super) async fn look(&self, ctx: &RunContext, rows: &Rows) -> Result<Looked> {
        let schema = self.table.frame.schema();
        let mut later: Vec<Later> = Vec::new();
        let mut uses = Vec::new();
        for (feature, made) in &self.features {
            uses.push((format!("features: {feature}"), columns_of(made)?, false));
        }
        // What they leave out or whom they name may not be known yet either.
        let of_condition = rows.condition.column_refs().into_iter();
        uses.push(("where".to_owned(), of_condition.map(|of| of.name.clone()).collect(), true));
        uses.push(("entity".to_owned(), self.params.entity.clone(), true));
        for (of, columns, of_all) in uses {
            for column in columns {
                let of_time = [Some(&self.time), self.params.known_column.as_ref()];
                let is_time =
                    schema.field_with_unqualified_name(&column)?.data_type().is_temporal();
                let known_at = self.params.known_at.get(&column).cloned();
                if known_at.is_some() || is_time && !of_time.contains(&Some(&column)) {
                    later.push(Later { of: of.clone(), column, known_at, of_all });
                }
            }
        }
        let one = || lit(1_i64);
        let of = |condition: Expr| Ok::<_, Error>(when(condition, one()).end()?);
        let mut counts = vec![
            count(of(rows.condition.clone())?).alias("rows"),
            count(of(rows.kept())?).alias("kept"),
        ];
        for (at, Later { column, known_at, of_all, .. }) in later.iter().enumerate() {
            let instant = known_at.as_ref().unwrap_or(column);
            let micros = cast(cast(ident(instant), microseconds()), DataType::Int64);
            // What is never known is known too late; an instant that is not there says nothing.
            let is_later = match known_at {
                Some(_) => {
                    let never = micros.clone().is_null();
                    never.or(micros.gt(ident(KNOWN))).and(ident(column).is_not_null())
                }
                None => micros.gt(ident(KNOWN)),
            };
            let among = if *of_all { rows.known.clone() } else { rows.kept() };
            counts.push(count(of(among.and(is_later))?).alias(format!("later_{at}")));
        }
        let counted =
            ctx.session().collect(rows.all.clone().aggregate(Vec::new(), counts)?).await?;
        let number = |at: usize| -> Result<u64> {
            let batch = counted.iter().find(|batch| batch.num_rows() > 0);
            let value = batch.map(|batch| ScalarValue::try_from_array(batch.column(at), 0));
            match value.transpose()? {
                Some(ScalarValue::Int64(Some(count))) => Ok(count.unsigned_abs()),
                _ => Err(Error::internal(format!("{NAME}: a count that is none"))),
            }
        };
        let (all, known) = (number(0)?, number(1)?);
        for (at, Later { of, column, known_at, .. }) in later.iter().enumerate() {
            let rows = number(at + 2)?;
            if rows > 0 {
                let when = match known_at {
                    Some(instant) => {
                        format!("by {instant:?} column {column:?} is known later than its row")
                    }
                    None => format!("column {column:?} is later than its row is known"),
                };
                let (parameter, of) = match of.split_once(": ") {
                    Some((parameter, feature)) => (parameter, format!("{feature}: ")),
                    None => (of.as_str(), String::new()),
                };
                let says = format!(
                    "{of}{when} in {rows} rows: it looks into the future; make it of what is known then, or have the row known later, by \
                     `known_column`; what lies ahead and is known at once, as a date of delivery, has its row's instant in `known_at`"
                );
                return Err(bad(NAME, parameter, says));
            }
        }
        Ok(Looked { rows: all, left_out: all.saturating_sub(known) })
    }

    /// Those of entities that got `came`, and from which instant on their features change.
    pub(super) fn touched(&self, came: &Rows) -> Result<DataFrame> {
        let entity = &self.params.entity;
        let groups = entity.iter().map(ident).collect();
        let frame = came.all.clone().filter(came.kept())?;
        let first = frame.aggregate(groups, vec![min(ident(KNOWN)).alias(FROM)])?;
        let mut columns: Vec<Expr> = Vec::new();
        for (at, name) in entity.iter().enumerate() {
            columns.push(ident(name).alias(format!("_entity_{at}")));
        }
        columns.push(ident(FROM));
        Ok(first.select(columns)?)
    }

    /// `rows` of the entities of `touched` alone, with the instant from which on they change.
    pub(super) fn only_touched(&self, rows: DataFrame, touched: DataFrame) -> Result<DataFrame> {
        let left: Vec<&str> = self.params.entity.iter().map(String::as_str).collect();
        let right: Vec<String> = (0..left.len()).map(|at| format!("_entity_{at}")).collect();
        let right: Vec<&str> = right.iter().map(String::as_str).collect();
        Ok(rows.join(touched, JoinType::Inner, &left, &right, None)?)
    }

    /// The features of `rows`: all, or those of the entities of `touched` from the instant on at which they change.
    pub(super) fn features(
        &self,
        ctx: &RunContext,
        rows: &Rows,
        touched: Option<DataFrame>,
        version: Version,
    ) -> Result<DataFrame> {
        let (session, uncomputed) = (ctx.session(), ctx.uncomputed());
        let mut frame = rows.all.clone().filter(rows.kept())?;
        let is_part = touched.is_some();
        if let Some(touched) = touched {
            frame = self.only_touched(frame, touched)?;
        }
        let entity = || self.params.entity.iter().map(ident).collect::<Vec<_>>();
        let order = vec![ident(KNOWN).sort(true, false)];
        let mut whole_order = order.clone();
        whole_order.push(ident(HAPPENED).sort(true, false));
        whole_order.extend(self.ties.iter().map(|name| ident(name).sort(true, false)));
        // Of rows of one instant without a key the values decide, so that it is always the same one.
        let mut values = Vec::new();
        for (name, made) in &self.features {
            if let Made::Value(value) = made {
                let value = session.or_null(value.clone(), frame.schema(), uncomputed)?;
                values.push(value.alias(value_name(name)));
                if self.ties.is_empty() {
                    whole_order.push(ident(value_name(name)).sort(true, false));
                }
            }
        }
        let all: Vec<Expr> = frame.schema().fields().iter().map(|of| ident(of.name())).collect();
        frame = frame.select(all.into_iter().chain(values).collect::<Vec<_>>())?;

        let over = |fun: WindowFunctionDefinition, args: Vec<Expr>, window: WindowFrame| {
            let mut call = WindowFunction::new(fun, args);
            call.params.partition_by = entity();
            call.params.order_by = order.clone();
            call.params.window_frame = window;
            call
        };
        let mut windows = vec![{
            let mut next = over(
                WindowFunctionDefinition::WindowUDF(lead_udwf()),
                vec![ident(KNOWN)],
                until_now(WindowFrameUnits::Rows, None),
            );
            next.params.order_by = whole_order.clone();
            Expr::from(next).alias(NEXT)
        }];
        let is_late = self.params.known_column.is_some();
        if is_late {
            let newest = over(
                WindowFunctionDefinition::AggregateUDF(max_udaf()),
                vec![ident(HAPPENED)],
                until_now(WindowFrameUnits::Range, None),
            );
            windows.push(Expr::from(newest).alias(NEWEST));
        }
        let mut measured = Vec::new();
        for (name, made) in &self.features {
            let Made::Measure(measure, window) = made else { continue };
            let mut parts = Vec::new();
            let value = measure.value(None, |aggregate| {
                parts.push(aggregate);
                format!("_part_{name}_{}", parts.len())
            })?;
            for (at, part) in parts.into_iter().enumerate() {
                let part = session.aggregate_or_null(part, frame.schema(), uncomputed)?;
                let Expr::AggregateFunction(call) = part else {
                    return Err(Error::internal(format!("{NAME}: a measure of no aggregates")));
                };
                let mut fun = call.func;
                let mut args = call.params.args;
                // Of floats the exact ones; what is no number counts for nothing, for it would be in all that comes after it.
                for arg in &mut args {
                    let kind = arg.get_type(frame.schema())?;
                    let is_mean = fun.name() == "avg" && !is_decimal(&kind);
                    if is_mean || fun.name() == "sum" && kind.is_floating() {
                        fun = if is_mean {
                            Arc::clone(&exact::MEAN)
                        } else {
                            Arc::clone(&exact::SUM)
                        };
                        *arg = cast(std::mem::take(arg), DataType::Float64);
                    } else if kind.is_floating() {
                        let is_number = arg.clone().between(lit(f64::MIN), lit(f64::MAX));
                        *arg = when(is_number, arg.clone()).end()?;
                    }
                }
                let mut of = over(
                    WindowFunctionDefinition::AggregateUDF(fun),
                    args,
                    until_now(WindowFrameUnits::Range, *window),
                );
                of.params.filter = call.params.filter;
                of.params.distinct = call.params.distinct;
                windows.push(Expr::from(of).alias(format!("_part_{name}_{}", at + 1)));
            }
            let kind = measure.kind.arrow_type();
            measured.push((name.clone(), cast(value, kind)));
        }
        frame = frame.window(windows)?;
        if is_late {
            let names = self.features.iter().filter(|(_, made)| matches!(made, Made::Value(_)));
            let names: Vec<&String> = names.map(|(name, _)| name).collect();
            // As columns: what two windows have in common would be computed below both, where one of its columns is not there yet.
            let mut columns: Vec<Expr> =
                frame.schema().fields().iter().map(|of| ident(of.name())).collect();
            let mut lasts = Vec::new();
            for name in names {
                let held = named_struct(vec![lit("value"), ident(value_name(name))]);
                let held = when(ident(HAPPENED).eq(ident(NEWEST)), held).end()?;
                columns.push(held.alias(format!("_held_{name}")));
                let mut last = over(
                    WindowFunctionDefinition::AggregateUDF(last_value_udaf()),
                    vec![ident(format!("_held_{name}"))],
                    until_now(WindowFrameUnits::Rows, None),
                );
                last.params.order_by = whole_order.clone();
                last.params.null_treatment = Some(NullTreatment::IgnoreNulls);
                lasts.push(Expr::from(last).alias(format!("_last_{name}")));
            }
            if !lasts.is_empty() {
                frame = frame.select(columns)?.window(lasts)?;
            }
        }
        // The last one of several rows of an instant has what all of them say together.
        let mut is_last = ident(NEXT).is_null().or(ident(NEXT).not_eq(ident(KNOWN)));
        if is_part {
            is_last = is_last.and(ident(KNOWN).gt_eq(ident(FROM)));
        }
        frame = frame.filter(is_last)?;

        let instant = |micros: Expr| cast(micros, microseconds());
        let mut columns = entity();
        columns.push(instant(ident(KNOWN)).alias(AT));
        for (name, made) in &self.features {
            let value = match made {
                Made::Value(_) if is_late => get_field(ident(format!("_last_{name}")), "value"),
                Made::Value(_) => ident(value_name(name)),
                Made::Measure(..) => {
                    let value = measured.iter().find(|(of, _)| of == name);
                    let value = value
                        .map(|(_, value)| value.clone())
                        .unwrap_or_else(|| lit(ScalarValue::Null));
                    session.or_null(value, frame.schema(), uncomputed)?
                }
            };
            columns.push(value.alias(name));
        }
        let expires = match self.params.ttl {
            Some(ttl) => instant(ident(KNOWN) + lit(ttl.micros())),
            None => lit(ScalarValue::TimestampMicrosecond(None, Some("UTC".into()))),
        };
        columns.push(expires.alias(EXPIRES));
        let version = i64::try_from(version.0).unwrap_or(i64::MAX);
        columns.push(lit(version).alias("source_version"));
        Ok(frame.select(columns)?)
    }

    /// Features of the entities of `touched` that are there already, from the instant on at which they change.
    pub(super) fn there_already(&self, there: DataFrame, touched: DataFrame) -> Result<DataFrame> {
        let at = || cast(cast(ident(AT), microseconds()), DataType::Int64);
        let newest = there.aggregate(
            self.params.entity.iter().map(ident).collect(),
            vec![max(at()).alias(NEWEST)],
        )?;
        Ok(self.only_touched(newest, touched)?.filter(ident(NEWEST).gt_eq(ident(FROM)))?)
    }
}

fn is_decimal(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

fn value_name(feature: &str) -> String {
    format!("_value_{feature}")
}

/// From so many microseconds before, or the beginning, until now.
fn until_now(units: WindowFrameUnits, window: Option<i64>) -> WindowFrame {
    // What was known just so long before is out of it.
    let from = window.map(|micros| (micros - 1) as u64);
    let from = match (units, from) {
        (WindowFrameUnits::Range, Some(micros)) => {
            ScalarValue::Int64(Some(i64::try_from(micros).unwrap_or(i64::MAX)))
        }
        (WindowFrameUnits::Range, None) => ScalarValue::Null,
        (_, from) => ScalarValue::UInt64(from),
    };
    WindowFrame::new_bounds(units, WindowFrameBound::Preceding(from), WindowFrameBound::CurrentRow)
}

/// The columns that a feature is made of.
fn columns_of(made: &Made) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |expression: &Expr| {
        for column in expression.column_refs() {
            if !names.contains(&column.name) {
                names.push(column.name.clone());
            }
        }
    };
    match made {
        Made::Value(value) => add(value),
        Made::Measure(measure, _) => {
            measure.value(None, |aggregate| {
                add(&aggregate);
                String::from("part")
            })?;
        }
    }
    names.sort();
    Ok(names)
}
