//! SQL instants in microseconds, like those of datasets.
//!
//! DataFusion reads `TIMESTAMP`, `AT TIME ZONE`, and texts and dates next to a timestamp as nanoseconds, which cover 1677 to
//! 2262: a comparison with a single row of the year 9999 fails. Here SQL types are planned as microseconds
//! ([`MicrosecondTypes`]). Texts and dates that are compared with a timestamp are cast to its zone before DataFusion coerces
//! types ([`InstantsMeet`]). Only explicit requests return nanoseconds: `TIMESTAMP(9)`, `to_timestamp_nanos`, `arrow_cast`.

use std::str::FromStr as _;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, ExprSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, Operator, cast};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType as SqlType, Ident, ObjectName, Value,
};
use datasets::parse::has_offset;

use super::constants::compares;
use crate::error::{Code, Error};

/// The custom type that stands for `AT TIME ZONE`, with the zone as its modifier.
const IN_ZONE: &str = "colonnade_instant_in";

/// Functions of an instant, and the index of that argument. A text there is parsed to microseconds.
const OF_AN_INSTANT: [(&str, usize); 3] =
    [("date_part", 1), ("to_local_time", 0), ("to_unixtime", 0)];
/// Functions that coerce all arguments to one type.
const OF_ONE_TYPE: [&str; 7] = ["coalesce", "nullif", "greatest", "least", "nvl", "nvl2", "ifnull"];

/// Plans the SQL types of instants.
#[derive(Debug)]
pub(super) struct MicrosecondTypes;

impl TypePlanner for MicrosecondTypes {
    fn plan_type_field(&self, of: &SqlType) -> Result<Option<FieldRef>> {
        let zone: Option<Arc<str>> = match of {
            SqlType::Timestamp(None, _) => None,
            SqlType::Custom(name, modifiers) if name.to_string() == IN_ZONE => {
                modifiers.first().map(|zone| Arc::from(zone.trim_matches('\'')))
            }
            _ => return Ok(None),
        };
        if let Some(zone) = &zone {
            require_zone(zone)?;
        }
        let kind = DataType::Timestamp(TimeUnit::Microsecond, zone);
        Ok(Some(Arc::new(Field::new("", kind, true))))
    }
}

fn require_zone(zone: &str) -> Result<()> {
    if Tz::from_str(zone).is_ok() {
        return Ok(());
    }
    let says = format!(
        "AT TIME ZONE: {zone:?} is not a time zone; expected one such as 'Europe/Berlin', 'UTC' or '+05:30'"
    );
    Err(DataFusionError::External(Box::new(Error::user(Code::BadInput, says))))
}

/// Rewrites `x AT TIME ZONE 'zone'` as a cast to instants in that zone.
pub(super) fn bind_zone(expression: &mut ast::Expr) {
    let ast::Expr::AtTimeZone { timestamp, time_zone } = expression else { return };
    let ast::Expr::Value(zone) = time_zone.as_ref() else { return };
    let Value::SingleQuotedString(zone) = &zone.value else { return };
    let data_type = in_zone(zone);
    let null = ast::Expr::Value(Value::Null.into());
    let mut timestamp = std::mem::replace(timestamp.as_mut(), null);
    if let Some(kind) = literal_with_offset(&mut timestamp) {
        *kind = in_zone("UTC");
    }
    *expression = ast::Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(timestamp),
        data_type,
        array: false,
        format: None,
    };
}

/// The SQL type of instants in a zone.
fn in_zone(zone: &str) -> SqlType {
    let zone = format!("'{}'", zone.replace('\'', ""));
    SqlType::Custom(ObjectName::from(vec![Ident::new(IN_ZONE)]), vec![zone])
}

/// The type of a literal such as `TIMESTAMP '2026-01-31T12:00:00Z'`, if its text states the offset. Without one it is a local
/// time.
fn literal_with_offset(expression: &mut ast::Expr) -> Option<&mut SqlType> {
    match expression {
        ast::Expr::Nested(inner) => literal_with_offset(inner),
        ast::Expr::TypedString(literal) => {
            let Value::SingleQuotedString(text) = &literal.value.value else { return None };
            let is_timestamp = matches!(literal.data_type, SqlType::Timestamp(None, _));
            (is_timestamp && has_offset(text.trim())).then_some(&mut literal.data_type)
        }
        ast::Expr::Cast { expr, data_type, .. } => {
            let ast::Expr::Value(value) = expr.as_ref() else { return None };
            let Value::SingleQuotedString(text) = &value.value else { return None };
            let is_timestamp = matches!(data_type, SqlType::Timestamp(None, _));
            (is_timestamp && has_offset(text.trim())).then_some(data_type)
        }
        _ => None,
    }
}

/// The analyzer rule. It runs first, before DataFusion coerces types.
#[derive(Debug)]
pub(super) struct InstantsMeet;

impl AnalyzerRule for InstantsMeet {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        instants_meet(plan)
    }

    fn name(&self) -> &str {
        "instants_meet"
    }
}

/// Casts texts and dates next to a timestamp to timestamps in microseconds. This may change the types of the plan's columns.
pub(super) fn instants_meet(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut is_any = false;
    let plan = plan.transform_up_with_subqueries(|plan| {
        let plan = match plan {
            LogicalPlan::Join(mut join) => {
                let (left, right) = (join.left.schema(), join.right.schema());
                for (one, other) in &mut join.on {
                    let kinds = (kind_of(one, left), kind_of(other, right));
                    meet_one(one, kinds.0.as_ref(), kinds.1.as_ref());
                    meet_one(other, kinds.1.as_ref(), kinds.0.as_ref());
                }
                LogicalPlan::Join(join)
            }
            plan => plan,
        };
        let (schema, names) = (merge_schema(&plan.inputs()), NamePreserver::new(&plan));
        let met = plan.map_expressions(|expression| named(expression, &schema, &names))?;
        is_any |= met.transformed;
        // Parents take their types from their inputs.
        match is_any {
            true => Ok(Transformed::yes(met.data.recompute_schema()?)),
            false => Ok(met),
        }
    });
    plan.map(|plan| plan.data)
}

fn named(expression: Expr, schema: &DFSchema, names: &NamePreserver) -> Result<Transformed<Expr>> {
    if let Expr::GroupingSet(_) = &expression {
        return expression.map_children(|part| named(part, schema, names));
    }
    let name = names.save(&expression);
    Ok(met(expression, schema)?.update_data(|met| name.restore(met)))
}

/// The same for `expression`, on columns of `schema`.
pub(super) fn met(expression: Expr, schema: &dyn ExprSchema) -> Result<Transformed<Expr>> {
    expression.transform_up(|mut part| {
        let is_met = match &mut part {
            Expr::BinaryExpr(binary) => {
                let is_compared = compares(binary.op);
                // DataFusion cannot infer the type of a text in a difference.
                let is_difference = binary.op == Operator::Minus;
                if !is_compared && !is_difference {
                    return Ok(Transformed::no(part));
                }
                let kinds = (kind_of(&binary.left, schema), kind_of(&binary.right, schema));
                let (left, right) = (kinds.0.as_ref(), kinds.1.as_ref());
                let is_text = [left, right].into_iter().flatten().any(DataType::is_string);
                let is_length = is_compared
                    && (length_meets(&mut binary.left, right)
                        | length_meets(&mut binary.right, left));
                is_length
                    || !(is_difference && is_text)
                        && (meet_one(&mut binary.left, left, right)
                            | meet_one(&mut binary.right, right, left))
            }
            Expr::Between(between) => {
                meet_all([&mut *between.expr, &mut *between.low, &mut *between.high], schema)
            }
            Expr::InList(list) => {
                meet_all(std::iter::once(&mut *list.expr).chain(&mut list.list), schema)
            }
            Expr::Case(case) => {
                let cases = case.when_then_expr.iter_mut().map(|(of, _)| &mut **of);
                let is_met = match case.expr.as_deref_mut() {
                    Some(value) => meet_all(std::iter::once(value).chain(cases), schema),
                    None => false,
                };
                let results = case.when_then_expr.iter_mut().map(|(_, result)| &mut **result);
                meet_all(results.chain(case.else_expr.as_deref_mut()), schema) || is_met
            }
            Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => {
                meet_all(&mut call.args, schema)
            }
            Expr::ScalarFunction(call) => {
                let place = OF_AN_INSTANT.iter().find(|(name, _)| *name == call.func.name());
                // Further arguments are formats of the text.
                let place = place.filter(|(_, at)| *at > 0 || call.args.len() == 1);
                let value = place.and_then(|(_, at)| call.args.get_mut(*at));
                value.is_some_and(|value| {
                    let kind = kind_of(value, schema).filter(DataType::is_string);
                    meet_one(value, kind.as_ref(), Some(&MICROS))
                })
            }
            _ => false,
        };
        Ok(Transformed::new_transformed(part, is_met))
    })
}

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn kind_of(expression: &Expr, schema: &dyn ExprSchema) -> Option<DataType> {
    match expression {
        // Computing the type of each part of a long chain is slow, and these operators never return
        // instants.
        Expr::BinaryExpr(binary) if binary.op.is_logic_operator() => None,
        expression => expression.get_type(schema).ok(),
    }
}

/// Casts texts and dates among `values` if another value is a timestamp. Returns whether it cast
/// any.
fn meet_all<'a>(values: impl IntoIterator<Item = &'a mut Expr>, schema: &dyn ExprSchema) -> bool {
    let mut values: Vec<(&mut Expr, Option<DataType>)> = values
        .into_iter()
        .map(|value| {
            let kind = kind_of(value, schema);
            (value, kind)
        })
        .collect();
    let instant = values.iter().find_map(|(_, kind)| kind.clone().filter(is_instant));
    let Some(instant) = instant else { return false };
    let mut is_met = false;
    for (value, kind) in &mut values {
        is_met |= meet_one(value, kind.as_ref(), Some(&instant));
    }
    is_met
}

/// Converts an interval without months to a duration, if it is compared with a difference of instants. Otherwise DataFusion
/// would convert that difference to nanoseconds. Returns whether it converted.
fn length_meets(value: &mut Expr, other: Option<&DataType>) -> bool {
    let Some(DataType::Duration(TimeUnit::Microsecond)) = other else { return false };
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(length)), _) = value else {
        return false;
    };
    if length.months != 0 {
        return false;
    }
    let days = i64::from(length.days).checked_mul(86_400_000_000);
    let Some(micros) = days.and_then(|days| days.checked_add(length.nanoseconds / 1_000)) else {
        return false;
    };
    *value = Expr::Literal(ScalarValue::DurationMicrosecond(Some(micros)), None);
    true
}

fn is_instant(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(unit, _) if *unit != TimeUnit::Nanosecond)
}

/// Casts `value` of type `own`, if it is a text or a date next to a timestamp. Returns whether it
/// did.
fn meet_one(value: &mut Expr, own: Option<&DataType>, other: Option<&DataType>) -> bool {
    let (Some(own), Some(DataType::Timestamp(unit, zone))) = (own, other) else { return false };
    let is_read = own.is_string() || matches!(own, DataType::Date32 | DataType::Date64);
    if !is_read || *unit == TimeUnit::Nanosecond {
        return false;
    }
    let kind = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    *value = cast(std::mem::take(value), kind);
    true
}

/// In a plan straight from SQL, reads integers that are cast to TIMESTAMP as seconds since 1970.
pub(super) fn numbers_are_seconds(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let (schema, names) = (merge_schema(&plan.inputs()), NamePreserver::new(&plan));
        plan.map_expressions(|expression| {
            let name = names.save(&expression);
            let seconds = number_is_seconds(expression, &schema)?;
            Ok(seconds.update_data(|seconds| name.restore(seconds)))
        })
    });
    plan.map(|plan| plan.data)
}

/// The same for an expression.
pub(super) fn number_is_seconds(
    expression: Expr,
    schema: &dyn ExprSchema,
) -> Result<Transformed<Expr>> {
    expression.transform_up(|part| {
        let (mut part, is_tried) = match part {
            Expr::Cast(_) => (part, false),
            Expr::TryCast(_) => (part, true),
            part => return Ok(Transformed::no(part)),
        };
        let (value, field) = match &mut part {
            Expr::Cast(of) => (&mut of.expr, &of.field),
            Expr::TryCast(of) => (&mut of.expr, &of.field),
            _ => return Ok(Transformed::no(part)),
        };
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = field.data_type() else {
            return Ok(Transformed::no(part));
        };
        if !kind_of(value, schema).is_some_and(|kind| kind.is_integer()) {
            return Ok(Transformed::no(part));
        }
        let seconds = DataType::Timestamp(TimeUnit::Second, zone.clone());
        let whole = cast(std::mem::take(value.as_mut()), DataType::Int64);
        **value = match is_tried {
            true => datafusion::logical_expr::try_cast(whole, seconds),
            false => cast(whole, seconds),
        };
        Ok(Transformed::yes(part))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::sql::sqlparser::ast::TimezoneInfo;

    use super::*;

    #[test]
    fn only_explicit_requests_return_nanoseconds() {
        let planned = |of: &SqlType| {
            let field = MicrosecondTypes.plan_type_field(of).unwrap();
            field.map(|field| field.data_type().clone())
        };
        let plain = SqlType::Timestamp(None, TimezoneInfo::None);
        assert_eq!(planned(&plain), Some(MICROS));
        assert_eq!(planned(&SqlType::Timestamp(Some(9), TimezoneInfo::None)), None);
        assert_eq!(planned(&SqlType::Date), None);
    }
}
