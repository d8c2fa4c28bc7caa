//! `seasons(at, value)`: what comes again and again in a series.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use kernels::spectrum::{LEAST_SAMPLES, SpectrumOptions, spectrum};
use kernels::{Execution, GpuPolicy, MatrixView};

use super::arguments::{failed, numeric};
use super::gather::Analysis;
use super::series::{Grid, instant};

const USAGE: &str = "seasons(at, value)";

/// Seasons by periodogram and autocorrelation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seasons;

impl Analysis for Seasons {
    type Options = ();

    fn name(&self) -> &'static str {
        "seasons"
    }

    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [at, value] = given else {
            return plan_err!("seasons: {} arguments; expected {USAGE}", given.len());
        };
        Ok(vec![instant("seasons", at)?, numeric("seasons", "value", value)?])
    }

    fn columns(&self) -> usize {
        2
    }

    fn answer(&self, _given: &[DataType]) -> Result<Vec<Field>> {
        Ok(vec![
            Field::new("steps", DataType::Int64, false),
            Field::new("seconds", DataType::Float64, false),
            Field::new("strength", DataType::Float64, false),
            Field::new("share", DataType::Float64, false),
            Field::new("p_value", DataType::Float64, false),
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
        let [at, value] = columns else {
            return plan_err!("seasons: expected {USAGE}");
        };
        let grid = Grid::of("seasons", at, value)?;
        // A series that is too short has none that could be known.
        let grid = grid.filter(|grid| grid.values.len() >= LEAST_SAMPLES);
        let (mut found, mut step_us) = (Vec::new(), 0);
        // No device does this, whatever is required of other functions.
        let execution = &Execution { gpu: GpuPolicy::Off, ..execution.clone() };
        if let Some(grid) = grid {
            step_us = grid.at(1).saturating_sub(grid.at(0));
            let spectra = MatrixView::new(&grid.values, 1, grid.values.len())
                .and_then(|x| spectrum(x, &SpectrumOptions::default(), execution))
                .map_err(failed)?;
            found.extend(spectra.series.into_iter().flat_map(|of| of.periods));
        }
        let steps: Int64Array = found.iter().map(|of| Some(of.samples as i64)).collect();
        let seconds = |samples: usize| samples as f64 * step_us as f64 / 1e6;
        let seconds = Float64Array::from_iter_values(found.iter().map(|of| seconds(of.samples)));
        let floats = |of: fn(&kernels::spectrum::Period) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(found.iter().map(of)))
        };
        Ok(vec![
            Arc::new(steps),
            Arc::new(seconds),
            floats(|of| of.strength),
            floats(|of| of.share),
            floats(|of| of.p_value),
        ])
    }
}
