//! What is computed over the rows of a group: one line makes a measure, with its field, its place in `having` and `orderBy`.
//!
//! Sums of integers are made in 38-digit decimals, because a wrapped 64-bit sum is a wrong number without a sign of it. Percentiles
//! are those of all values (interpolated between neighbours, to a millionth of their distance); a query whose values do not fit the memory budget fails with RESOURCES_EXHAUSTED
//! instead of becoming approximate. Deviation and variance are those of a sample, null of one value.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use arrow::datatypes::DataType;
use datafusion::functions_aggregate::expr_fn as aggregates;
use datafusion::functions_aggregate::percentile_cont::percentile_cont;
use datafusion::logical_expr::expr::NullTreatment;
use datafusion::logical_expr::{Expr, SortExpr, cast, lit};
use datasets::ColumnType;
use engine::wide_sum;

use super::functions::ordered_float;
use crate::shape::{Column, Shape};

/// A measure.
pub(crate) struct Measure {
    /// Its field.
    pub field: &'static str,
    /// What it is, for the schema's documentation.
    pub description: &'static str,
    /// Which columns it has, and what of.
    pub family: Family,
    expression: fn(&Shape, &Column, &Column) -> Expr,
}

/// Columns that a measure has a field for, and the types of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Numbers of values, of what can be grouped by.
    Counts,
    /// Of numbers, wide enough.
    Sum,
    /// Floats, of numbers.
    Numbers,
    /// A value, of what has an order and a distance.
    Extremes,
    /// A value, where rows have an order.
    Ends,
    /// Floats, of numbers and other numbers of the same rows.
    Pairs,
}

const fn measure(
    field: &'static str,
    family: Family,
    description: &'static str,
    expression: fn(&Shape, &Column, &Column) -> Expr,
) -> Measure {
    Measure { field, description, family, expression }
}

/// All of them.
pub(crate) static MEASURES: [Measure; 16] = [
    measure("sum", Family::Sum, "Sums.", |_, it, _| sum(it)),
    measure("avg", Family::Numbers, "Means.", |_, it, _| aggregates::avg(float(it))),
    measure("min", Family::Extremes, "Least values.", |_, it, _| aggregates::min(it.value())),
    measure("max", Family::Extremes, "Greatest values.", |_, it, _| aggregates::max(it.value())),
    measure(
        "median",
        Family::Numbers,
        "Medians, interpolated between neighbours, to a millionth of their distance.",
        |_, it, _| percentile(it, 0.50),
    ),
    measure(
        "p50",
        Family::Numbers,
        "Medians, interpolated between neighbours, to a millionth of their distance.",
        |_, it, _| percentile(it, 0.50),
    ),
    measure(
        "p90",
        Family::Numbers,
        "90th percentiles, interpolated between neighbours, to a millionth of their distance.",
        |_, it, _| percentile(it, 0.90),
    ),
    measure(
        "p95",
        Family::Numbers,
        "95th percentiles, interpolated between neighbours, to a millionth of their distance.",
        |_, it, _| percentile(it, 0.95),
    ),
    measure(
        "p99",
        Family::Numbers,
        "99th percentiles, interpolated between neighbours, to a millionth of their distance.",
        |_, it, _| percentile(it, 0.99),
    ),
    measure(
        "stddev",
        Family::Numbers,
        "Standard deviations of a sample; null of one value.",
        |_, it, _| aggregates::stddev(float(it)),
    ),
    measure(
        "variance",
        Family::Numbers,
        "Variances of a sample; null of one value.",
        |_, it, _| aggregates::var_sample(float(it)),
    ),
    measure("countDistinct", Family::Counts, "Numbers of different values, exact.", |_, it, _| {
        aggregates::count_distinct(equal(it))
    }),
    measure(
        "approxDistinct",
        Family::Counts,
        "Numbers of different values by HyperLogLog: 0.8 % off, typically, in little memory.",
        |_, it, _| approx_distinct(it),
    ),
    measure(
        "first",
        Family::Ends,
        "Values of the first row that has one, by time, then by key.",
        |shape, it, _| valued(aggregates::first_value(it.value(), rows_order(shape, it, false))),
    ),
    measure(
        "last",
        Family::Ends,
        "Values of the last row that has one, by time, then by key.",
        |shape, it, _| valued(aggregates::last_value(it.value(), rows_order(shape, it, true))),
    ),
    measure(
        "corr",
        Family::Pairs,
        "Pearson's correlations with another column, -1 to 1, over rows that have both; null where one of the two does not vary.",
        |_, it, with| aggregates::corr(float(it), float(with)),
    ),
];

impl Family {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Counts, Self::Sum, Self::Numbers, Self::Extremes, Self::Ends, Self::Pairs];

    /// The type of a result over `column`; `None` where it has no meaning.
    pub(crate) fn result(self, shape: &Shape, column: &Column) -> Option<ColumnType> {
        let numeric = column.kind.is_numeric();
        match self {
            Self::Counts => column.is_groupable().then_some(ColumnType::Int64),
            Self::Sum => match &column.kind {
                ColumnType::Int32 | ColumnType::Int64 => Some(ColumnType::Decimal(38, 0)),
                ColumnType::Float32 | ColumnType::Float64 => Some(ColumnType::Float64),
                ColumnType::Decimal(_, scale) => Some(ColumnType::Decimal(38, *scale)),
                _ => None,
            },
            Self::Numbers | Self::Pairs => numeric.then_some(ColumnType::Float64),
            Self::Extremes => (numeric || column.is_temporal()).then(|| column.kind.clone()),
            Self::Ends => {
                let has_order = shape.time.is_some() || !shape.key.is_empty();
                (has_order && column.is_groupable()).then(|| column.kind.clone())
            }
        }
    }
}

impl Measure {
    /// The one of this field.
    pub(crate) fn named(field: &str) -> Option<&'static Self> {
        MEASURES.iter().find(|measure| measure.field == field)
    }

    /// Over the rows of a group that `filter` takes; `with` is the other column where it is of two.
    pub(crate) fn over(
        &self,
        shape: &Shape,
        column: &Column,
        with: Option<&Column>,
        filter: Option<&Expr>,
    ) -> Expr {
        let computed = (self.expression)(shape, column, with.unwrap_or(column));
        let computed = filtered(computed, filter);
        match self.family.result(shape, column) {
            Some(kind) if self.family == Family::Sum => cast(computed, kind.arrow_type()),
            _ => computed,
        }
    }
}

/// An aggregate over those rows alone that `filter` takes.
pub(crate) fn filtered(mut aggregate: Expr, filter: Option<&Expr>) -> Expr {
    if let Expr::AggregateFunction(function) = &mut aggregate {
        function.params.filter = filter.cloned().map(Box::new);
    }
    aggregate
}

/// A value that is equal where values are: one zero, one NaN.
fn equal(column: &Column) -> Expr {
    match column.kind {
        ColumnType::Float32 | ColumnType::Float64 => ordered_float(column.value()),
        _ => column.value(),
    }
}

fn float(column: &Column) -> Expr {
    match column.kind {
        ColumnType::Float64 => column.value(),
        _ => cast(column.value(), DataType::Float64),
    }
}

fn sum(column: &Column) -> Expr {
    match &column.kind {
        ColumnType::Int32 | ColumnType::Int64 => wide_sum(column.value()),
        ColumnType::Decimal(..) => aggregates::sum(column.value()),
        _ => aggregates::sum(float(column)),
    }
}

fn percentile(column: &Column, part: f64) -> Expr {
    percentile_cont(float(column).sort(true, false), lit(part))
}

fn approx_distinct(column: &Column) -> Expr {
    use ColumnType as T;
    aggregates::approx_distinct(match &column.kind {
        T::Int32 | T::Int64 | T::Text | T::Date | T::Timestamp => column.value(),
        // Of which the sketch takes no values.
        _ => cast(equal(column), DataType::Utf8),
    })
}

/// By time, by key, and by the value itself; each once, twice is more than DataFusion takes. A row without a time is neither the
/// first nor the last.
fn rows_order(shape: &Shape, column: &Column, nulls_first: bool) -> Vec<SortExpr> {
    let columns = shape.time.iter().chain(&shape.key).map(|at| shape.at(*at).value());
    let mut order: Vec<SortExpr> = Vec::new();
    for value in columns.chain([column.value()]) {
        if order.iter().all(|term| term.expr != value) {
            order.push(value.sort(true, nulls_first));
        }
    }
    order
}

/// Of rows that have a value.
fn valued(mut aggregate: Expr) -> Expr {
    if let Expr::AggregateFunction(function) = &mut aggregate {
        function.params.null_treatment = Some(NullTreatment::IgnoreNulls);
    }
    aggregate
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.field)
    }
}

impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        self.field == other.field
    }
}

impl Eq for Measure {}

impl PartialOrd for Measure {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Measure {
    fn cmp(&self, other: &Self) -> Ordering {
        self.field.cmp(other.field)
    }
}

impl Hash for Measure {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.field.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::GROUP_WORDS;

    #[test]
    fn each_has_a_word_that_no_column_has() {
        for measure in &MEASURES {
            assert!(GROUP_WORDS.contains(&measure.field), "{measure:?}");
            assert_eq!(Measure::named(measure.field), Some(measure));
        }
    }
}
