//! `corr_matrix(series, at, value [, least])`: the correlation of all pairs of series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use kernels::correlate::{CorrelateOptions, Dense, ScoreBlock, correlate_with};
use kernels::{Execution, MatrixView};

use super::arguments::{beyond, count, failed, nullable, numbers, numeric, whole};
use super::gather::Analysis;
use super::series::{instant, timestamps};

const USAGE: &str = "corr_matrix(series, at, value [, least])";
/// Pairs in one answer, at most: a matrix that nobody reads is a job's, not a query's.
const PAIRS_MAX: usize = 1 << 20;
/// Cells of series × instants, at most.
const CELLS_MAX: usize = 1 << 28;
/// The fewest shared instants where the call does not say: a coefficient of fewer is mostly chance.
const LEAST_SHARED: usize = 10;

/// Pearson's coefficients over the instants that both series of a pair have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CorrMatrix;

impl Analysis for CorrMatrix {
    /// The fewest instants that a pair must share.
    type Options = usize;

    fn name(&self) -> &'static str {
        "corr_matrix"
    }

    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if !(3..=4).contains(&given.len()) {
            return plan_err!("corr_matrix: {} arguments; expected {USAGE}", given.len());
        }
        let instant = instant("corr_matrix", &given[1])?;
        let value = numeric("corr_matrix", "value", &given[2])?;
        let wanted = [DataType::Utf8, instant, value];
        Ok(wanted.into_iter().chain(given[3..].iter().map(whole)).collect())
    }

    fn columns(&self) -> usize {
        3
    }

    fn answer(&self, _given: &[DataType]) -> Result<Vec<Field>> {
        Ok(vec![
            Field::new("a", DataType::Utf8, false),
            Field::new("b", DataType::Utf8, false),
            Field::new("r", DataType::Float64, true),
            Field::new("n", DataType::Int64, false),
        ])
    }

    fn options(&self, given: &[Arc<dyn PhysicalExpr>]) -> Result<usize> {
        let least = count("corr_matrix", "least", given.first())?.unwrap_or(LEAST_SHARED);
        if least < 2 {
            return plan_err!("corr_matrix: least is {least}; at least 2 are needed");
        }
        Ok(least)
    }

    fn compute(
        &self,
        columns: &[ArrayRef],
        least: &usize,
        execution: &Execution,
    ) -> Result<Vec<ArrayRef>> {
        let [series, at, value] = columns else {
            return plan_err!("corr_matrix: expected {USAGE}");
        };
        let wide = Wide::of(series, at, value)?;
        let rows = wide.names.len();
        let mut found: Vec<(usize, usize, f64)> = Vec::new();
        let mut sink = Dense::new(|block: &ScoreBlock<'_>| {
            for row in block.rows() {
                let (first, scores) = block.row(row);
                found.extend(scores.iter().enumerate().map(|(col, &r)| (row, first + col, r)));
            }
            Ok(())
        });
        if wide.instants < 2 {
            // No coefficient has less than two.
            let pairs = (0..rows).flat_map(|row| (row + 1..rows).map(move |col| (row, col)));
            found.extend(pairs.map(|(row, col)| (row, col, f64::NAN)));
        } else if rows > 1 {
            let options = CorrelateOptions::pairwise(*least);
            MatrixView::new(&wide.values, rows, wide.instants)
                .and_then(|x| correlate_with(x, &options, &mut sink, execution))
                .map_err(failed)?;
        }
        found.sort_unstable_by_key(|&(row, col, _)| (row, col));
        let name = |index: usize| wide.names.get(index).map(String::as_str);
        let there: Vec<Vec<u64>> = (0..rows).map(|row| bits(wide.row(row))).collect();
        let shared = |&(row, col, _): &(usize, usize, f64)| {
            let both = there[row].iter().zip(&there[col]);
            both.map(|(a, b)| i64::from((a & b).count_ones())).sum::<i64>()
        };
        let a: StringArray = found.iter().map(|pair| name(pair.0)).collect();
        let b: StringArray = found.iter().map(|pair| name(pair.1)).collect();
        let r: Float64Array = nullable(found.iter().map(|pair| pair.2));
        let n: Int64Array = found.iter().map(|pair| Some(shared(pair))).collect();
        Ok(vec![Arc::new(a), Arc::new(b), Arc::new(r), Arc::new(n)])
    }
}

/// Which values are there, 64 in a word.
fn bits(values: &[f64]) -> Vec<u64> {
    let word = |values: &[f64]| {
        let bits = values.iter().enumerate().map(|(at, value)| u64::from(value.is_finite()) << at);
        bits.fold(0, |word, bit| word | bit)
    };
    values.chunks(64).map(word).collect()
}

/// Series as rows and instants as columns; NaN where a series has no value.
struct Wide {
    names: Vec<String>,
    instants: usize,
    values: Vec<f64>,
}

impl Wide {
    /// Rows by name, columns by time. Of several values of one series at one instant the mean.
    fn of(series: &ArrayRef, at: &ArrayRef, value: &ArrayRef) -> Result<Self> {
        let names = series.as_string_opt::<i32>().ok_or_else(|| {
            DataFusionError::Internal(format!("{} where names were expected", series.data_type()))
        })?;
        let (at, values) = (timestamps(at)?, numbers(value)?);
        let is_there = |row: &usize| names.is_valid(*row) && at.is_valid(*row);
        let instants: BTreeSet<i64> = at.iter().flatten().collect();
        let column: BTreeMap<i64, usize> =
            instants.iter().enumerate().map(|(index, at)| (*at, index)).collect();
        let distinct: BTreeSet<&str> = names.iter().flatten().collect();
        let (rows, pairs) = (distinct.len(), distinct.len() * distinct.len().saturating_sub(1) / 2);
        if pairs > PAIRS_MAX {
            return Err(beyond(format!(
                "corr_matrix: {rows} series make {pairs} pairs; at most {PAIRS_MAX} are given. Choose fewer series, \
                 or run the job `correlate`, which keeps the strong pairs"
            )));
        }
        let row_of: BTreeMap<&str, usize> =
            distinct.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        let cells = rows.saturating_mul(instants.len());
        if cells > CELLS_MAX {
            return Err(beyond(format!(
                "corr_matrix: {rows} series at {} instants are {cells} cells; at most {CELLS_MAX} are taken. Bring \
                 them onto a common grid first, for example with date_bin",
                instants.len()
            )));
        }
        let mut wide = vec![f64::NAN; cells];
        // How many values a cell is the sum of, where there is more than one.
        let mut repeated: BTreeMap<usize, u32> = BTreeMap::new();
        for row in (0..values.len()).filter(is_there).filter(|&row| !values[row].is_nan()) {
            let place = (row_of.get(names.value(row)), column.get(&at.value(row)));
            if let (Some(series), Some(instant)) = place {
                let cell = series * instants.len() + instant;
                if wide[cell].is_nan() {
                    wide[cell] = values[row];
                } else {
                    wide[cell] += values[row];
                    *repeated.entry(cell).or_insert(1) += 1;
                }
            }
        }
        for (cell, count) in repeated {
            wide[cell] /= f64::from(count);
        }
        Ok(Self {
            names: distinct.into_iter().map(str::to_owned).collect(),
            instants: instants.len(),
            values: wide,
        })
    }

    fn row(&self, row: usize) -> &[f64] {
        self.values.get(row * self.instants..(row + 1) * self.instants).unwrap_or(&[])
    }
}
