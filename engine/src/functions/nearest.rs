//! `nearest(id, vector, query, k [, metric])`: the rows whose vectors are nearest to one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, UInt32Array};
use arrow::compute::{cast, sort_to_indices, take};
use arrow::datatypes::{DataType, Field, Float32Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use kernels::nearest::{Metric, NearestOptions, nearest};
use kernels::{Execution, MatrixView};

use super::arguments::{count, failed, literal, whole};
use super::gather::Analysis;

const USAGE: &str = "nearest(id, vector, query, k [, 'cosine' | 'dot' | 'l2'])";

/// An exact search among the vectors of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Nearest;

/// What is looked for.
#[derive(Debug, Clone)]
pub(super) struct Options {
    query: Vec<f32>,
    k: usize,
    metric: Metric,
}

impl Analysis for Nearest {
    type Options = Options;

    fn name(&self) -> &'static str {
        "nearest"
    }

    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if !(4..=5).contains(&given.len()) {
            return plan_err!("nearest: {} arguments; expected {USAGE}", given.len());
        }
        for (name, vector) in [("vector", &given[1]), ("query", &given[2])] {
            let item = match vector {
                DataType::List(item)
                | DataType::LargeList(item)
                | DataType::FixedSizeList(item, _) => item.data_type(),
                other => other,
            };
            if item == vector || !(item.is_numeric() || *item == DataType::Null) {
                return plan_err!("nearest: the {name} is {vector}; a list of numbers is needed");
            }
        }
        let vector = DataType::new_list(DataType::Float32, true);
        let wanted = [given[0].clone(), vector.clone(), vector, whole(&given[3]), DataType::Utf8];
        Ok(wanted.into_iter().take(given.len()).collect())
    }

    fn columns(&self) -> usize {
        2
    }

    fn answer(&self, given: &[DataType]) -> Result<Vec<Field>> {
        let id = given.first().cloned().unwrap_or(DataType::Null);
        Ok(vec![Field::new("id", id, true), Field::new("score", DataType::Float64, false)])
    }

    fn options(&self, given: &[Arc<dyn PhysicalExpr>]) -> Result<Options> {
        let query = match literal("nearest", "query", given.first())? {
            Some(ScalarValue::List(list)) if list.len() == 1 && list.is_valid(0) => {
                vector(&list.value(0))?
            }
            _ => None,
        };
        let Some(query) = query else {
            return plan_err!("nearest: the query is no list of numbers; expected {USAGE}");
        };
        let Some(k) = count("nearest", "k", given.get(1))? else {
            return plan_err!("nearest: no k; expected {USAGE}");
        };
        let metric = match literal("nearest", "metric", given.get(2))? {
            None => Metric::Cosine,
            Some(name) => match name.try_as_str().flatten() {
                Some("cosine") => Metric::Cosine,
                Some("dot") => Metric::Dot,
                Some("l2") => Metric::SquaredL2,
                _ => {
                    return plan_err!(
                        "nearest: the metric is {name}; 'cosine', 'dot' or 'l2' is needed"
                    );
                }
            },
        };
        if let Some(value) = query.iter().find(|value| !value.is_finite()) {
            return plan_err!("nearest: the query has {value}; finite 32-bit numbers are needed");
        }
        if metric == Metric::Cosine && query.iter().all(|&value| value == 0.0) {
            return plan_err!("nearest: the query is 0, which has no angle to a vector");
        }
        Ok(Options { query, k, metric })
    }

    fn compute(
        &self,
        columns: &[ArrayRef],
        options: &Options,
        execution: &Execution,
    ) -> Result<Vec<ArrayRef>> {
        let [ids, vectors] = columns else {
            return plan_err!("nearest: expected {USAGE}");
        };
        let lists = vectors.as_list_opt::<i32>().ok_or_else(|| {
            DataFusionError::Internal(format!("{} where lists were expected", vectors.data_type()))
        })?;
        let dimensions = options.query.len();
        let (mut rows, mut base) = (Vec::new(), Vec::with_capacity(lists.len() * dimensions));
        // Equal scores are told apart by the order of the rows: by id, where ids have an order.
        let order = sort_to_indices(ids, None, None)
            .unwrap_or_else(|_| UInt32Array::from_iter_values(0..ids.len() as u32));
        for &place in order.values() {
            let row = place as usize;
            // A row without a vector is no neighbour.
            if lists.is_null(row) {
                continue;
            }
            let Some(found) = vector(&lists.value(row))? else { continue };
            if found.len() != dimensions {
                return Err(plan_datafusion_err!(
                    "nearest: a vector of {} numbers, and a query of {dimensions}; they must be of one length",
                    found.len()
                ));
            }
            rows.push(place);
            base.extend(found);
        }
        let wanted = NearestOptions::new(options.metric, options.k);
        let found = MatrixView::new(&options.query, 1, dimensions)
            .and_then(|query| {
                let base = MatrixView::new(&base, rows.len(), dimensions)?;
                nearest(query, base, &wanted, execution)
            })
            .map_err(failed)?;
        let nearest = found.row(0);
        let places: UInt32Array =
            nearest.iter().map(|neighbour| rows.get(neighbour.index).copied()).collect();
        let scores: Float64Array = nearest.iter().map(|neighbour| Some(neighbour.score)).collect();
        Ok(vec![take(ids, &places, None)?, Arc::new(scores)])
    }
}

/// The numbers of one list; none where one of them is NULL.
fn vector(values: &ArrayRef) -> Result<Option<Vec<f32>>> {
    let values = cast(values, &DataType::Float32)?;
    if values.null_count() > 0 {
        return Ok(None);
    }
    let values = values
        .as_primitive_opt::<Float32Type>()
        .ok_or_else(|| DataFusionError::Internal("a cast gave another type".into()))?;
    Ok(Some(values.values().to_vec()))
}
