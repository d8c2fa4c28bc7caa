//! Anomaly scores of the rows of a table.

use std::time::Instant;

use kernels::isolation_forest::{Forest, ForestOptions};
use kernels::{Execution, GpuPolicy, MatrixView, Result, tolerance};

use super::{Case, Round};
use crate::agreement::{Agreement, spread};
use crate::data::{shrunk, uniform};

const COLS: usize = 16;
/// Rows that are compared.
const SAMPLE: usize = 1_000;

struct Table {
    rows: usize,
    values: Vec<f32>,
    scores: Vec<f64>,
}

pub fn make(scale: usize) -> Box<dyn Case> {
    let (rows, _) = shrunk(10_000_000, 5_000, scale);
    Box::new(Table { rows, values: uniform(rows * COLS), scores: vec![0.0; rows] })
}

impl Case for Table {
    fn size(&self) -> String {
        format!("{} x {COLS}, {} trees", self.rows, ForestOptions::default().trees)
    }

    fn run(&mut self, execution: &Execution) -> Result<Round> {
        let x = MatrixView::new(&self.values, self.rows, COLS)?;
        let start = Instant::now();
        let forest = Forest::fit(x, &ForestOptions::default(), execution)?;
        let fitted = start.elapsed().as_secs_f64();
        let scores = forest.score(x, &mut self.scores, execution)?;
        let scored = start.elapsed().as_secs_f64() - fitted;
        let fit_kernels = forest.fitted().kernel_seconds;
        Ok(Round {
            parts: vec![
                ("fitSeconds", fitted),
                ("fitKernelSeconds", fit_kernels),
                ("scoreSeconds", scored),
                ("scoreKernelSeconds", scores.stats.kernel_seconds),
            ],
            other_kernel_seconds: fit_kernels,
            ..Round::of(scores.stats)
        })
    }

    fn compare(&self) -> Result<Agreement> {
        let what = format!("scores of {SAMPLE} rows with those of the forest of the processor");
        let mut agreement = Agreement::new(what, tolerance::ISOLATION_FOREST);
        let off = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
        let x = MatrixView::new(&self.values, self.rows, COLS)?;
        let forest = Forest::fit(x, &ForestOptions::default(), &off)?;
        let sample = spread(self.rows, SAMPLE);
        let values: Vec<f32> = sample.iter().flat_map(|&row| x.row(row)).copied().collect();
        let mut expected = vec![0.0; sample.len()];
        forest.score(MatrixView::new(&values, sample.len(), COLS)?, &mut expected, &off)?;
        for (&row, expected) in sample.iter().zip(expected) {
            let found = self.scores[row];
            agreement
                .differ((found - expected).abs(), || format!("row {row}: {found}, {expected}"));
        }
        Ok(agreement)
    }
}
