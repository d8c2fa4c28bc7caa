//! What a measure is made of, of single rows, where it is a total, a ratio of totals or a quantile: what compares groups needs these.

use arrow::datatypes::DataType;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, Operator, cast, lit, when};
use datafusion::scalar::ScalarValue;

use super::{Measure, PART};
use crate::functions::SAFE_DIVIDE;

/// How a measure is made of values of single rows, each a float that is 0 where a row has none.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Their sum.
    Sum(Expr),
    /// A sum over another.
    Ratio {
        /// What is divided.
        over: Expr,
        /// By what.
        under: Expr,
    },
    /// What a part of them is at most. Here a row without a value stays null.
    Quantile {
        /// The value.
        of: Expr,
        /// 0 to 1.
        part: f64,
    },
}

impl Measure {
    /// What it is made of; none where it is anything else.
    pub fn shape(&self) -> Option<Shape> {
        let value = bare(&self.value);
        if let Some(aggregate) = self.part(value) {
            return of_one(aggregate);
        }
        match value {
            Expr::ScalarFunction(call) if call.func.name() == SAFE_DIVIDE => {
                let [over, under] = call.args.as_slice() else { return None };
                Some(Shape::Ratio { over: self.total(over)?, under: self.total(under)? })
            }
            Expr::BinaryExpr(product) if product.op == Operator::Multiply => {
                // A percentage.
                let (factor, of) = match (factor(&product.left), factor(&product.right)) {
                    (Some(factor), None) => (factor, &product.right),
                    (None, Some(factor)) => (factor, &product.left),
                    _ => return None,
                };
                let of = Self { value: of.as_ref().clone(), ..self.clone() };
                match of.shape()? {
                    Shape::Sum(value) => Some(Shape::Sum(value * lit(factor))),
                    Shape::Ratio { over, under } => {
                        Some(Shape::Ratio { over: over * lit(factor), under })
                    }
                    Shape::Quantile { .. } => None,
                }
            }
            _ => None,
        }
    }

    /// The aggregate that a column of the value stands for.
    fn part(&self, value: &Expr) -> Option<&AggregateFunction> {
        let Expr::Column(column) = value else { return None };
        let at: usize = column.name.strip_prefix(PART)?.parse().ok()?;
        match self.aggregates.get(at)? {
            Expr::AggregateFunction(call) => Some(call),
            Expr::Alias(alias) => match alias.expr.as_ref() {
                Expr::AggregateFunction(call) => Some(call),
                _ => None,
            },
            _ => None,
        }
    }

    fn total(&self, value: &Expr) -> Option<Expr> {
        let value = bare(value);
        if let Expr::BinaryExpr(product) = value
            && product.op == Operator::Multiply
        {
            return match (factor(&product.left), factor(&product.right)) {
                (Some(by), None) => Some(self.total(&product.right)? * lit(by)),
                (None, Some(by)) => Some(self.total(&product.left)? * lit(by)),
                _ => None,
            };
        }
        total(self.part(value)?)
    }
}

/// Without what only changes the type or the name.
fn bare(value: &Expr) -> &Expr {
    match value {
        Expr::Cast(cast) => bare(&cast.expr),
        Expr::TryCast(cast) => bare(&cast.expr),
        Expr::Alias(alias) => bare(&alias.expr),
        value => value,
    }
}

fn factor(value: &Expr) -> Option<f64> {
    let Expr::Literal(value, _) = bare(value) else { return None };
    match value.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(factor)) => factor.filter(|factor| factor.is_finite()),
        _ => None,
    }
}

fn of_one(call: &AggregateFunction) -> Option<Shape> {
    if let Some(total) = total(call) {
        return Some(Shape::Sum(total));
    }
    let args = &call.params.args;
    let value = args.first()?;
    match (call.func.name(), args.as_slice()) {
        _ if call.params.distinct => None,
        ("avg", [value]) => {
            Some(Shape::Ratio { over: counted(call, float(value)), under: there(call, value) })
        }
        ("median" | "approx_median", [_]) => quantile(call, value, 0.5),
        ("approx_percentile_cont" | "percentile_cont", [_, part, ..]) => {
            quantile(call, value, factor(part)?)
        }
        _ => None,
    }
}

/// Where it is a count or a sum.
fn total(call: &AggregateFunction) -> Option<Expr> {
    if call.params.distinct {
        return None;
    }
    match (call.func.name(), call.params.args.as_slice()) {
        ("count", [Expr::Literal(value, _)]) if !value.is_null() => Some(counted(call, lit(1.0))),
        ("count", []) => Some(counted(call, lit(1.0))),
        ("count", [value]) => Some(there(call, value)),
        ("sum", [value]) => Some(counted(call, float(value))),
        _ => None,
    }
}

fn quantile(call: &AggregateFunction, value: &Expr, part: f64) -> Option<Shape> {
    if !(0.0..=1.0).contains(&part) {
        return None;
    }
    let of = match &call.params.filter {
        None => float(value),
        Some(filter) => when(filter.as_ref().clone(), float(value)).end().ok()?,
    };
    Some(Shape::Quantile { of, part })
}

fn float(value: &Expr) -> Expr {
    cast(value.clone(), DataType::Float64)
}

/// 1 for a row that has the value.
fn there(call: &AggregateFunction, value: &Expr) -> Expr {
    let is_there = cast(value.clone().is_not_null(), DataType::Float64);
    counted(call, is_there)
}

/// The value of a row that the aggregate takes, 0 of any other.
fn counted(call: &AggregateFunction, value: Expr) -> Expr {
    let value = match &call.params.filter {
        None => value,
        Some(filter) => when(filter.as_ref().clone(), value.clone()).end().unwrap_or(value),
    };
    coalesce(vec![value, lit(0.0)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datasets::DatasetSpec;

    use super::*;
    use crate::session::Semantics;

    fn shape(expression: &str) -> String {
        let text = format!(
            r#"{{"name": "calls", "columns": [{{"name": "cost", "type": "float64", "nullable": true}},
                {{"name": "tokens", "type": "int64"}}, {{"name": "model", "type": "text"}}],
                "measures": [{{"name": "m", "expression": "{expression}"}}]}}"#
        );
        let semantics = Semantics::of(&DatasetSpec::from_json(&text).unwrap());
        let measure = semantics.measure("m").unwrap();
        assert_eq!(
            measure.is_total(),
            matches!(expression, "count(*)" | "sum(cost)" | "count(cost)")
        );
        match measure.shape() {
            None => "none".to_owned(),
            Some(Shape::Sum(of)) => format!("sum {of}"),
            Some(Shape::Ratio { over, under }) => format!("{over} / {under}"),
            Some(Shape::Quantile { of, part }) => format!("{part} of {of}"),
        }
    }

    #[test]
    fn totals_ratios_and_quantiles_are_seen_for_what_they_are() {
        let rows = "coalesce(Float64(1), Float64(0))";
        let cost = "coalesce(CAST(cost AS Float64), Float64(0))";
        let there = "coalesce(CAST(cost IS NOT NULL AS Float64), Float64(0))";
        let cases = [
            ("count(*)", format!("sum {rows}")),
            ("sum(cost)", format!("sum {cost}")),
            ("count(cost)", format!("sum {there}")),
            ("avg(cost)", format!("{cost} / {there}")),
            ("sum(cost) / count(*)", format!("{cost} / {rows}")),
            ("100 * count(cost) / count(*)", format!("{there} * Float64(100) / {rows}")),
            ("median(cost)", "0.5 of CAST(cost AS Float64)".to_owned()),
            ("approx_percentile_cont(cost, 0.95)", "0.95 of CAST(cost AS Float64)".to_owned()),
            ("max(cost)", "none".to_owned()),
            ("count(DISTINCT model)", "none".to_owned()),
            ("sum(cost) - sum(tokens)", "none".to_owned()),
            ("sum(cost) / max(tokens)", "none".to_owned()),
        ];
        for (expression, expected) in cases {
            assert_eq!(shape(expression), expected, "{expression}");
        }
        let filtered = shape("count(*) FILTER (WHERE model = 'a') / count(*)");
        assert!(filtered.starts_with("coalesce(CASE WHEN model = Utf8"), "{filtered}");
    }
}
