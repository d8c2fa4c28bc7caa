//! `isolation_score(id, values [, seed])`: how far rows are from all others.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use kernels::isolation_forest::{Forest, ForestOptions};
use kernels::{Execution, MatrixView};

use super::arguments::{count, failed, nullable, numbers, whole};
use super::gather::Analysis;

const USAGE: &str = "isolation_score(id, values [, seed])";

/// A forest of a group's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct IsolationScore;

impl Analysis for IsolationScore {
    /// The seed.
    type Options = u64;

    fn name(&self) -> &'static str {
        "isolation_score"
    }

    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=3).contains(&given.len()) {
            return plan_err!("isolation_score: {} arguments; expected {USAGE}", given.len());
        }
        let item = match &given[1] {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                item.data_type().clone()
            }
            _ => DataType::Utf8,
        };
        if !(item.is_numeric() || item == DataType::Null) {
            return plan_err!(
                "isolation_score: the values are {}; a list of numbers is needed",
                given[1]
            );
        }
        let wanted = [given[0].clone(), DataType::new_list(DataType::Float64, true)];
        Ok(wanted.into_iter().chain(given[2..].iter().map(whole)).collect())
    }

    fn columns(&self) -> usize {
        2
    }

    fn answer(&self, given: &[DataType]) -> Result<Vec<Field>> {
        let id = given.first().cloned().unwrap_or(DataType::Null);
        Ok(vec![Field::new("id", id, true), Field::new("score", DataType::Float64, true)])
    }

    fn options(&self, given: &[Arc<dyn PhysicalExpr>]) -> Result<u64> {
        Ok(count("isolation_score", "seed", given.first())?.unwrap_or(0) as u64)
    }

    fn compute(
        &self,
        columns: &[ArrayRef],
        seed: &u64,
        execution: &Execution,
    ) -> Result<Vec<ArrayRef>> {
        let [ids, lists] = columns else {
            return plan_err!("isolation_score: expected {USAGE}");
        };
        let lists = lists.as_list_opt::<i32>().ok_or_else(|| {
            DataFusionError::Internal(format!("{} where lists were expected", lists.data_type()))
        })?;
        // A row without values has no score, and takes no place.
        let there: Vec<usize> = (0..lists.len()).filter(|row| lists.is_valid(*row)).collect();
        let width = there.first().map_or(0, |row| lists.value_length(*row) as usize);
        if let Some(other) = there.iter().find(|row| lists.value_length(**row) as usize != width) {
            return Err(plan_datafusion_err!(
                "isolation_score: a list of {} values and one of {width}; they must be of one length",
                lists.value_length(*other)
            ));
        }
        let mut rows = Vec::with_capacity(there.len() * width);
        for row in &there {
            rows.extend(numbers(&lists.value(*row))?);
        }
        let is_whole = |row: &[f64]| row.iter().all(|value| value.is_finite());
        let mut found = vec![f64::NAN; there.len()];
        if width > 0 && rows.chunks_exact(width).any(is_whole) {
            let options = ForestOptions { seed: *seed, ..ForestOptions::default() };
            MatrixView::new(&rows, there.len(), width)
                .and_then(|x| Forest::fit(x, &options, execution)?.score(x, &mut found, execution))
                .map_err(failed)?;
        }
        let mut scores = vec![f64::NAN; lists.len()];
        there.into_iter().zip(found).for_each(|(row, score)| scores[row] = score);
        Ok(vec![ids.clone(), Arc::new(nullable(scores))])
    }
}
