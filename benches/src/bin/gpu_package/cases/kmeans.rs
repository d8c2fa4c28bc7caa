//! Clusters of rows.

use kernels::kmeans::{Clustering, KMeansOptions, Start, kmeans};
use kernels::{Execution, MatrixView, Result, tolerance};

use super::{Case, Round};
use crate::agreement::{Agreement, spread};
use crate::data::{each, shrunk, uniform};

const COLS: usize = 384;
const ITERATIONS: usize = 10;
/// Rows that are compared.
const SAMPLE: usize = 200;

struct Rows {
    rows: usize,
    clusters: usize,
    values: Vec<f32>,
    found: Option<Clustering>,
}

pub fn make(scale: usize) -> Box<dyn Case> {
    let (rows, _) = shrunk(1_000_000, 2_000, scale);
    let (clusters, _) = shrunk(1_024, 16, scale);
    Box::new(Rows { rows, clusters, values: uniform(rows * COLS), found: None })
}

impl Case for Rows {
    fn size(&self) -> String {
        format!("{} x {COLS}, {} clusters", self.rows, self.clusters)
    }

    fn run(&mut self, execution: &Execution) -> Result<Round> {
        let options = KMeansOptions {
            iterations: ITERATIONS,
            tolerance: 0.0,
            start: Start::Sampled,
            ..KMeansOptions::new(self.clusters)
        };
        let x = MatrixView::new(&self.values, self.rows, COLS)?;
        self.found = None;
        let found = kmeans(x, &options, execution)?;
        let (stats, iterations) = (found.stats.clone(), found.iterations as u64);
        self.found = Some(found);
        let assigned = self.rows as u64 * (iterations + 1);
        Ok(Round::of(stats).with_fallbacks_of(assigned, "rows in all iterations"))
    }

    fn compare(&self) -> Result<Agreement> {
        let what = format!("labels of {SAMPLE} rows with every centre, in f64; relative distances");
        let mut agreement = Agreement::new(what, tolerance::KMEANS);
        let Some(found) = &self.found else {
            return Ok(agreement);
        };
        let sample = spread(self.rows, SAMPLE);
        let distances = each(&sample, |row| -> Vec<f64> {
            let row = &self.values[row * COLS..][..COLS];
            let squares = |centre: &[f64]| {
                row.iter().zip(centre).map(|(x, c)| (f64::from(*x) - c).powi(2)).sum()
            };
            found.centres.chunks_exact(COLS).map(squares).collect()
        });
        for (&row, distances) in sample.iter().zip(distances) {
            let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
            let label = found.labels[row];
            let own = label.and_then(|label| distances.get(label as usize)).copied();
            let excess = own.map_or(f64::NAN, |own| (own - least) / own.max(f64::MIN_POSITIVE));
            agreement.differ(excess, || format!("row {row} has {label:?}, at {own:?} for {least}"));
        }
        let sum: u64 = found.sizes.iter().sum();
        agreement.require(sum == self.rows as u64, || format!("clusters of {sum} rows in all"));
        Ok(agreement)
    }
}
