//! The nearest rows of each row.

use kernels::nearest::{Metric, Nearest, NearestOptions, nearest_within};
use kernels::{Execution, MatrixView, Result, tolerance};

use super::{Case, Round};
use crate::agreement::{Agreement, spread};
use crate::data::{each, filled, shrunk, unit};

const COLS: usize = 384;
const K: usize = 10;
/// Queries that are compared.
const SAMPLE: usize = 8;

struct NearestRows {
    rows: usize,
    values: Vec<f32>,
    found: Option<Nearest>,
}

pub fn make(scale: usize) -> Box<dyn Case> {
    let (rows, _) = shrunk(1_000_000, 300, scale);
    let values = filled(rows * COLS, |_, random| unit(random) - 0.5);
    Box::new(NearestRows { rows, values, found: None })
}

impl NearestRows {
    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * COLS..][..COLS]
    }

    /// The cosine, in f64.
    fn cosine(&self, row: usize, other: usize) -> f64 {
        let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in self.row(row).iter().zip(self.row(other)) {
            let (x, y) = (f64::from(*x), f64::from(*y));
            xy += x * y;
            xx += x * x;
            yy += y * y;
        }
        xy / (xx * yy).sqrt()
    }

    /// The nearest of all, nearest first.
    fn direct(&self, row: usize) -> Vec<(usize, f64)> {
        let others = (0..self.rows).filter(|&other| other != row);
        let mut ranked: Vec<(usize, f64)> =
            others.map(|other| (other, self.cosine(row, other))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked.truncate(K);
        ranked
    }
}

impl Case for NearestRows {
    fn size(&self) -> String {
        format!("{0} x {0} x {COLS}, k {K}", self.rows)
    }

    fn run(&mut self, execution: &Execution) -> Result<Round> {
        let options = NearestOptions::new(Metric::Cosine, K);
        let x = MatrixView::new(&self.values, self.rows, COLS)?;
        // What a run before found would be freed within the time of this one.
        self.found = None;
        let found = nearest_within(x, &options, execution)?;
        let stats = found.summary.stats.clone();
        self.found = Some(found);
        Ok(Round::of(stats).with_fallbacks_of(self.rows as u64, "queries"))
    }

    fn compare(&self) -> Result<Agreement> {
        let mut agreement =
            Agreement::new(format!("{SAMPLE} queries with every row, in f64"), tolerance::NEAREST);
        let queries = spread(self.rows, SAMPLE);
        for (&query, expected) in queries.iter().zip(each(&queries, |query| self.direct(query))) {
            let found = self.found.as_ref().map_or(&[][..], |found| found.row(query));
            agreement.require(found.len() == expected.len(), || {
                format!("query {query} has {} neighbours", found.len())
            });
            for (place, (found, &(index, score))) in found.iter().zip(&expected).enumerate() {
                let own = self.cosine(query, found.index);
                agreement.differ((found.score - own).abs(), || {
                    format!("query {query}, place {place}: {found:?}, directly {own}")
                });
                // Rows may be swapped where their scores are closer than the tolerance.
                let is_tie = (own - score).abs() <= 2.0 * tolerance::NEAREST;
                agreement.require(found.index == index || is_tie, || {
                    format!("query {query}, place {place}: {found:?} for {index} of {score}")
                });
            }
        }
        Ok(agreement)
    }
}
