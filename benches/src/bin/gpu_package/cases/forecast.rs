//! Forecasts by the best model of exponential smoothing of each series.

use kernels::forecast::{ForecastOptions, Forecasts, forecast};
use kernels::{Execution, GpuPolicy, MatrixView, Result, tolerance};

use super::{Case, Round};
use crate::agreement::{Agreement, spread};
use crate::data::{filled, shrunk, unit};

const SEASON: usize = 12;
/// Series that are compared.
const SAMPLE: usize = 50;

struct Series {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
    found: Option<Forecasts>,
}

pub fn make(scale: usize) -> Box<dyn Case> {
    let (rows, left) = shrunk(100_000, 64, scale);
    let (cols, _) = shrunk(1_024, 96, left);
    let values = filled(rows * cols, |at, random| {
        let (trend, season) = ((at % cols) as f32 * 0.05, (at % SEASON) as f32 - 6.0);
        100.0 + trend + season + 4.0 * unit(random)
    });
    Box::new(Series { rows, cols, values, found: None })
}

fn options() -> ForecastOptions {
    ForecastOptions { horizon: 12, season: SEASON, ..ForecastOptions::default() }
}

impl Case for Series {
    fn size(&self) -> String {
        format!("{} x {}, season {SEASON}", self.rows, self.cols)
    }

    fn run(&mut self, execution: &Execution) -> Result<Round> {
        let x = MatrixView::new(&self.values, self.rows, self.cols)?;
        self.found = None;
        let found = forecast(x, &options(), execution)?;
        let stats = found.stats.clone();
        self.found = Some(found);
        Ok(Round::of(stats))
    }

    fn compare(&self) -> Result<Agreement> {
        let what =
            format!("models, AICc and forecasts of {SAMPLE} series with the processor's; relative");
        let mut agreement = Agreement::new(what, tolerance::FORECAST_MODEL);
        let sample = spread(self.rows, SAMPLE);
        let values: Vec<f32> = sample
            .iter()
            .flat_map(|row| &self.values[row * self.cols..][..self.cols])
            .copied()
            .collect();
        let off = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
        let x = MatrixView::new(&values, sample.len(), self.cols)?;
        let expected = forecast(x, &options(), &off)?;
        let Some(found) = &self.found else {
            return Ok(agreement);
        };
        for (at, &row) in sample.iter().enumerate() {
            let (here, there) = (&expected.series[at], &found.series[row]);
            agreement.require(here.model == there.model, || {
                format!(
                    "series {row}: {} of {}, {} of {}",
                    there.model, there.aicc, here.model, here.aicc
                )
            });
            let pairs = [(there.aicc, here.aicc)].into_iter();
            let means = found.mean(row).iter().copied().zip(expected.mean(at).iter().copied());
            for (there, here) in pairs.chain(means) {
                agreement.differ((there - here).abs() / (1.0 + here.abs()), || {
                    format!("series {row}: {there}, {here}")
                });
            }
        }
        Ok(agreement)
    }
}
