//! `explain_change(is_later, by, value, per)`: which values carry a change.

use std::collections::HashMap;
use std::sync::Arc;

use analysis::change::{Cells, Dimension, Measure, Options, Period, explain};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use kernels::Execution;

use super::arguments::{beyond, nullable, numbers, numeric, stopped};
use super::gather::Analysis;

const USAGE: &str = "explain_change(is_later, named_struct('column', column, …), value, per)";
/// Columns that may say why, and their values in all rows together.
const COLUMNS_MAX: usize = 32;
const CELLS_MAX: usize = 8_000_000;
/// Rows of one group: each is a cell.
const ROWS_MAX: usize = 1 << 20;
/// What a row without a value has.
const NONE: &str = "(none)";

/// Which groups of the rows moved otherwise than the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ExplainChange;

impl Analysis for ExplainChange {
    type Options = ();

    fn name(&self) -> &'static str {
        "explain_change"
    }

    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [is_later, by, value, per] = given else {
            return plan_err!("explain_change: {} arguments; expected {USAGE}", given.len());
        };
        if *is_later != DataType::Boolean {
            return plan_err!(
                "explain_change: is_later is {is_later}; a condition is needed, such as at >= '2026-01-02'"
            );
        }
        if !matches!(by, DataType::Struct(fields) if !fields.is_empty()) {
            return plan_err!("explain_change: the columns are {by}; expected {USAGE}");
        }
        let value = numeric("explain_change", "value", value)?;
        let per = numeric("explain_change", "per", per)?;
        Ok(vec![DataType::Boolean, by.clone(), value, per])
    }

    fn columns(&self) -> usize {
        4
    }

    fn answer(&self, _given: &[DataType]) -> Result<Vec<Field>> {
        let float = |name: &str| Field::new(name, DataType::Float64, true);
        Ok(vec![
            Field::new("finding", DataType::Utf8, false),
            float("before"),
            float("after"),
            float("contribution"),
            float("share"),
            float("p_value"),
            Field::new("rows_before", DataType::Int64, false),
            Field::new("rows_after", DataType::Int64, false),
        ])
    }

    fn options(&self, _given: &[Arc<dyn PhysicalExpr>]) -> Result<()> {
        Ok(())
    }

    fn compute(
        &self,
        columns: &[ArrayRef],
        (): &(),
        execution: &Execution,
    ) -> Result<Vec<ArrayRef>> {
        let [is_later, by, value, per] = columns else {
            return plan_err!("explain_change: expected {USAGE}");
        };
        let broken = || DataFusionError::Internal("explain_change: columns of other types".into());
        let is_later = is_later.as_boolean_opt().ok_or_else(broken)?;
        let by = by.as_struct_opt().ok_or_else(broken)?;
        if is_later.len() > ROWS_MAX {
            let says = "the job `explain` takes more, and groups of rows count as rows here";
            return Err(beyond(format!(
                "explain_change: {} rows; at most {ROWS_MAX}: {says}",
                is_later.len()
            )));
        }
        let cells = is_later.len().saturating_mul(by.num_columns());
        if by.num_columns() > COLUMNS_MAX || cells > CELLS_MAX {
            return Err(beyond(format!(
                "explain_change: {} rows of {} columns; at most {COLUMNS_MAX} columns and {CELLS_MAX} values",
                is_later.len(),
                by.num_columns()
            )));
        }
        let (values, per) = (numbers(value)?, numbers(per)?);
        // A row of neither period is in none.
        let rows: Vec<usize> = (0..is_later.len()).filter(|row| is_later.is_valid(*row)).collect();
        let measure = match per.iter().all(|per| per.is_nan()) {
            true => Measure::Sum,
            false => Measure::Ratio,
        };
        let mut labels: Vec<Vec<String>> = Vec::new();
        let mut dimensions = Vec::new();
        for (name, column) in by.column_names().into_iter().zip(by.columns()) {
            let texts = cast(column, &DataType::Utf8).map_err(|_| {
                plan_datafusion_err!("explain_change: column {name} is {}", column.data_type())
            })?;
            let texts = texts.as_string::<i32>();
            let mut codes: HashMap<&str, u32> = HashMap::new();
            let mut own = Vec::new();
            let code = |row: &usize| {
                let text = if texts.is_valid(*row) { texts.value(*row) } else { NONE };
                *codes.entry(text).or_insert_with(|| {
                    own.push(text.to_owned());
                    own.len() as u32 - 1
                })
            };
            let codes = rows.iter().map(code).collect();
            let (name, values) = (name.to_owned(), own.len() as u32);
            dimensions.push(Dimension { name, values, codes });
            labels.push(own);
        }
        let there = |value: f64| if value.is_nan() { 0.0 } else { value };
        let of = |wanted: bool| {
            let is_of = |row: &usize| is_later.value(*row) == wanted;
            let value = |row: &usize| if is_of(row) { there(values[*row]) } else { 0.0 };
            let per = |row: &usize| if is_of(row) { there(per[*row]) } else { 0.0 };
            Period {
                numerators: rows.iter().map(value).collect(),
                denominators: match measure {
                    Measure::Sum => Vec::new(),
                    Measure::Ratio => rows.iter().map(per).collect(),
                },
                squares: Some(rows.iter().map(|row| value(row).powi(2)).collect()),
                rows: rows.iter().map(|row| u64::from(is_of(row))).collect(),
            }
        };
        let cells = Cells::new(measure, dimensions, of(false), of(true))
            .map_err(|error| plan_datafusion_err!("explain_change: {error}"))?;
        let is_stopped = || execution.control.is_cancelled();
        let found = explain(&cells, &Options::default(), &is_stopped)
            .map_err(|_| stopped("explain_change"))?;
        let name = |pair: &analysis::change::Pair| {
            let dimension = &cells.dimensions()[pair.dimension];
            format!("{} = {}", dimension.name, labels[pair.dimension][pair.value as usize])
        };
        let named = found
            .findings
            .iter()
            .map(|of| of.group.iter().map(name).collect::<Vec<String>>().join(" and "));
        let of = || found.findings.iter();
        let optional = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let rows = |period: usize| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(of().map(|of| of.rows[period] as i64)))
        };
        Ok(vec![
            Arc::new(StringArray::from_iter_values(named)),
            Arc::new(nullable(of().map(|of| optional(of.before)))),
            Arc::new(nullable(of().map(|of| optional(of.after)))),
            Arc::new(Float64Array::from_iter_values(of().map(|of| of.contribution))),
            Arc::new(nullable(of().map(|of| optional(of.share)))),
            Arc::new(Float64Array::from_iter_values(of().map(|of| of.p))),
            rows(0),
            rows(1),
        ])
    }
}
