//! The rolling median and the rolling MAD.

use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{Execution, MatrixView, MatrixViewMut, Result, tolerance};

use super::{Case, Round};
use crate::agreement::{Agreement, spread};
use crate::data::{shrunk, uniform};

const WINDOW: usize = 168;
/// Rows that are compared.
const SAMPLE: usize = 4;

struct Rolling {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
    median: Vec<f32>,
    mad: Vec<f32>,
}

pub fn make(scale: usize) -> Box<dyn Case> {
    let (rows, left) = shrunk(100_000, 16, scale);
    let (cols, _) = shrunk(8_760, 400, left);
    let results = || vec![0.0; rows * cols];
    let values = uniform(rows * cols);
    Box::new(Rolling { rows, cols, values, median: results(), mad: results() })
}

impl Case for Rolling {
    fn size(&self) -> String {
        format!("{} x {}, window {WINDOW}", self.rows, self.cols)
    }

    fn run(&mut self, execution: &Execution) -> Result<Round> {
        let (rows, cols) = (self.rows, self.cols);
        let view = |values| MatrixViewMut::new(values, rows, cols);
        let mut outputs = [
            RollingOutput::new(Statistic::Median, view(&mut self.median)?),
            RollingOutput::new(Statistic::Mad, view(&mut self.mad)?),
        ];
        let x = MatrixView::new(&self.values, rows, cols)?;
        Ok(Round::of(rolling(x, &RollingOptions::trailing(WINDOW), &mut outputs, execution)?))
    }

    fn compare(&self) -> Result<Agreement> {
        let what = format!("{SAMPLE} rows, window by window; relative to the largest value");
        let mut agreement = Agreement::new(what, tolerance::ROLLING_ORDER_F32);
        for row in spread(self.rows, SAMPLE) {
            let row_of = |values: &'_ [f32]| values[row * self.cols..][..self.cols].to_vec();
            let (x, medians, mads) =
                (row_of(&self.values), row_of(&self.median), row_of(&self.mad));
            for t in 0..self.cols {
                let (median, mad) = (f64::from(medians[t]), f64::from(mads[t]));
                let Some(first) = (t + 1).checked_sub(WINDOW) else {
                    let is_nan = median.is_nan() && mad.is_nan();
                    agreement.require(is_nan, || format!("row {row}, {t} has no full window"));
                    continue;
                };
                let window: Vec<f64> = x[first..=t].iter().map(|value| f64::from(*value)).collect();
                let size =
                    window.iter().fold(f64::MIN_POSITIVE, |most, value| most.max(value.abs()));
                let expected = middle(window.clone());
                let distances = window.iter().map(|value| (value - expected).abs()).collect();
                let spread = middle(distances);
                agreement.differ((median - expected).abs() / size, || {
                    format!("row {row}, {t}: median {median}, {expected}")
                });
                agreement.differ((mad - spread).abs() / size, || {
                    format!("row {row}, {t}: MAD {mad}, {spread}")
                });
            }
        }
        Ok(agreement)
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { 0.5 * (values[half - 1] + values[half]) }
}
