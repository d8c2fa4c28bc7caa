//! Aggregates over moving windows, without cancellation errors.
//!
//! DataFusion subtracts a row that leaves a window from the running state of the aggregate. For floats that subtraction loses
//! precision: after 1e9 leaves, the variance of small values can be negative, and after infinity leaves, it is NaN
//! (apache/datafusion#13247). Here no row is ever subtracted. The rows of a window are kept in two stacks. The newer stack
//! holds plain rows and their aggregate. The older stack holds, for each row, the aggregate of that row and all newer rows in
//! the stack. A row that leaves pops one entry, so a row costs about three additions for a window of any length.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ReversedUDAF, SetMonotonicity,
};

use super::cancellable::Cancellable;

/// A statistic of the rows of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Statistic {
    #[default]
    Sum,
    Avg,
    Var,
    VarPop,
    Stddev,
    StddevPop,
    CovarSamp,
    CovarPop,
    Corr,
    RegrSlope,
    RegrIntercept,
    RegrR2,
    RegrAvgX,
    RegrAvgY,
    RegrSxx,
    RegrSyy,
    RegrSxy,
}

impl Statistic {
    /// The statistic of an aggregate, by name.
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "var" => Self::Var,
            "var_pop" => Self::VarPop,
            "stddev" => Self::Stddev,
            "stddev_pop" => Self::StddevPop,
            "covar_samp" => Self::CovarSamp,
            "covar_pop" => Self::CovarPop,
            "corr" => Self::Corr,
            "regr_slope" => Self::RegrSlope,
            "regr_intercept" => Self::RegrIntercept,
            "regr_r2" => Self::RegrR2,
            "regr_avgx" => Self::RegrAvgX,
            "regr_avgy" => Self::RegrAvgY,
            "regr_sxx" => Self::RegrSxx,
            "regr_syy" => Self::RegrSyy,
            "regr_sxy" => Self::RegrSxy,
            _ => return None,
        })
    }

    /// The value of the statistic; null in the same cases as DataFusion's.
    fn evaluate(self, of: &Part) -> Option<f64> {
        let n = of.rows as f64;
        let Part { mean: [first, second], square: [first_square, second_square], product, .. } =
            *of;
        let some = (of.rows > 0).then_some(());
        let several = (of.rows > 1).then_some(());
        // The regression functions take y first, x second.
        let (x, y, sxx, syy) = (second, first, second_square, first_square);
        let sloped = several.filter(|()| sxx != 0.0);
        match self {
            Self::Sum => some.map(|()| of.sum.value()),
            Self::Avg => some.map(|()| of.sum.value() / n),
            Self::Var => several.map(|()| first_square / (n - 1.0)),
            Self::VarPop => some.map(|()| first_square / n),
            Self::Stddev => several.map(|()| (first_square / (n - 1.0)).sqrt()),
            Self::StddevPop => some.map(|()| (first_square / n).sqrt()),
            Self::CovarSamp => several.map(|()| product / (n - 1.0)),
            Self::CovarPop => some.map(|()| product / n),
            Self::Corr if first.is_nan() && second.is_nan() => some.map(|()| f64::NAN),
            Self::Corr => several
                .filter(|()| !first.is_nan() && !second.is_nan())
                .filter(|()| first_square != 0.0 && second_square != 0.0)
                .map(|()| product / first_square.sqrt() / second_square.sqrt()),
            Self::RegrSlope => sloped.map(|()| product / sxx),
            Self::RegrIntercept => sloped.map(|()| y - product / sxx * x),
            Self::RegrR2 => {
                sloped.filter(|()| syy != 0.0).map(|()| (product / sxx.sqrt() / syy.sqrt()).powi(2))
            }
            Self::RegrAvgX => some.map(|()| x),
            Self::RegrAvgY => some.map(|()| y),
            Self::RegrSxx => some.map(|()| sxx),
            Self::RegrSyy => some.map(|()| syy),
            Self::RegrSxy => some.map(|()| product),
        }
    }
}

/// An aggregate of floats over windows that move without cancellation errors. All other methods are the aggregate's own.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sliding {
    function: Arc<AggregateUDF>,
    statistic: Statistic,
}

impl Sliding {
    /// `function` for a window, if it computes one of the statistics above on floats.
    pub(crate) fn of(function: &Arc<AggregateUDF>) -> Option<Arc<AggregateUDF>> {
        if function.inner().downcast_ref::<Self>().is_some() {
            return None;
        }
        if let Some(cancellable) = function.inner().downcast_ref::<Cancellable>() {
            let sliding = Self::of(cancellable.function())?;
            return Some(Arc::new(AggregateUDF::new_from_impl(cancellable.of(sliding))));
        }
        let statistic = Statistic::of(function.name())?;
        let sliding = Self { function: Arc::clone(function), statistic };
        Some(Arc::new(AggregateUDF::new_from_impl(sliding)))
    }
}

impl AggregateUDFImpl for Sliding {
    named_as_function!();

    fn coerce_types(&self, of: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(of)
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        self.function.return_type(of)
    }

    fn return_field(&self, of: &[FieldRef]) -> Result<FieldRef> {
        self.function.return_field(of)
    }

    fn is_nullable(&self) -> bool {
        self.function.is_nullable()
    }

    fn default_value(&self, of: &DataType) -> Result<ScalarValue> {
        self.function.default_value(of)
    }

    fn accumulator(&self, of: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.function.accumulator(of)
    }

    fn create_sliding_accumulator(&self, of: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match of.is_distinct || *of.return_field.data_type() != DataType::Float64 {
            true => self.function.create_sliding_accumulator(of),
            false => Ok(Box::new(Window { statistic: self.statistic, ..Window::default() })),
        }
    }

    fn state_fields(&self, of: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.function.state_fields(of)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, of: &DataType) -> SetMonotonicity {
        self.function.inner().set_monotonicity(of)
    }
}

/// A sum of floats with compensation for rounding errors (Neumaier).
#[derive(Clone, Copy, Debug, Default)]
struct Compensated {
    sum: f64,
    rest: f64,
}

impl Compensated {
    fn plus(self, other: Self) -> Self {
        let sum = self.sum + other.sum;
        // Infinity has no rounding error.
        let rest = if sum.is_finite() {
            let error = match self.sum.abs() >= other.sum.abs() {
                true => (self.sum - sum) + other.sum,
                false => (other.sum - sum) + self.sum,
            };
            self.rest + other.rest + error
        } else {
            0.0
        };
        Self { sum, rest }
    }

    fn value(self) -> f64 {
        self.sum + self.rest
    }
}

/// Aggregate of several rows: their number, sum, means, and sums of squared deviations from the means.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    rows: u64,
    sum: Compensated,
    mean: [f64; 2],
    square: [f64; 2],
    product: f64,
}

impl Part {
    fn of(row: [f64; 2]) -> Self {
        let sum = Compensated { sum: row[0], rest: 0.0 };
        Self { rows: 1, sum, mean: row, ..Self::default() }
    }

    /// Merges two aggregates (Chan, Golub & LeVeque, 1983).
    fn plus(&self, other: &Self) -> Self {
        if self.rows == 0 {
            return *other;
        }
        if other.rows == 0 {
            return *self;
        }
        let rows = self.rows + other.rows;
        let (own, others, all) = (self.rows as f64, other.rows as f64, rows as f64);
        let apart = [other.mean[0] - self.mean[0], other.mean[1] - self.mean[1]];
        let weight = own * others / all;
        let mean = |at: usize| self.mean[at] + apart[at] * (others / all);
        let square =
            |at: usize| self.square[at] + other.square[at] + apart[at] * apart[at] * weight;
        Self {
            rows,
            sum: self.sum.plus(other.sum),
            mean: [mean(0), mean(1)],
            square: [square(0), square(1)],
            product: self.product + other.product + apart[0] * apart[1] * weight,
        }
    }
}

/// The rows of a moving window.
#[derive(Debug, Default)]
struct Window {
    statistic: Statistic,
    /// The newer rows, newest last.
    newer: Vec<[f64; 2]>,
    /// The aggregate of all newer rows.
    newer_part: Part,
    /// For each older row, the aggregate of it and the newer rows of this stack. The oldest row is
    /// last.
    older: Vec<Part>,
}

impl Window {
    fn push(&mut self, row: [f64; 2]) {
        self.newer.push(row);
        self.newer_part = self.newer_part.plus(&Part::of(row));
    }

    fn pop(&mut self) -> Result<()> {
        if self.older.is_empty() {
            let mut part = Part::default();
            for row in self.newer.drain(..).rev() {
                part = Part::of(row).plus(&part);
                self.older.push(part);
            }
            self.newer_part = Part::default();
        }
        let popped = self.older.pop();
        popped.map(drop).ok_or_else(|| {
            DataFusionError::Internal("a row left a window that it was not in".to_owned())
        })
    }

    fn part(&self) -> Part {
        self.older.last().map_or(self.newer_part, |older| older.plus(&self.newer_part))
    }
}

/// Calls `take` for each row without nulls.
fn each(columns: &[ArrayRef], mut take: impl FnMut([f64; 2]) -> Result<()>) -> Result<()> {
    let floats = columns.iter().map(|column| cast(column, &DataType::Float64));
    let floats = floats.collect::<Result<Vec<_>, _>>()?;
    let first = floats.first().map(|column| column.as_primitive::<Float64Type>());
    let first =
        first.ok_or_else(|| DataFusionError::Internal("a window of no column".to_owned()))?;
    let second = floats.get(1).map(|column| column.as_primitive::<Float64Type>());
    for row in 0..first.len() {
        let is_whole = first.is_valid(row) && second.is_none_or(|second| second.is_valid(row));
        if is_whole {
            take([first.value(row), second.map_or(0.0, |second| second.value(row))])?;
        }
    }
    Ok(())
}

impl Accumulator for Window {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        each(columns, |row| {
            self.push(row);
            Ok(())
        })
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        each(columns, |_| self.pop())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.statistic.evaluate(&self.part())))
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(DataFusionError::Internal("the parts of a window are never merged".to_owned()))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(DataFusionError::Internal("a window has no state to merge".to_owned()))
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self.newer.capacity() * size_of::<[f64; 2]>()
            + self.older.capacity() * size_of::<Part>()
    }
}
