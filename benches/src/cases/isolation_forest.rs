//! Fitting an isolation forest and scoring every row with it.

use std::error::Error;
use std::rc::Rc;

use benches::Random;
use kernels::MatrixView;
use kernels::isolation_forest::{Forest, ForestOptions};

use super::{Case, timed};
use crate::setup::Setup;

/// Of so many rows one is an outlier.
const OUTLIERS: usize = 100;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, columns) = (setup.size("rows", 1_000_000), setup.size("columns", 16));
    let values = Rc::new(table(rows, columns));
    setup.write("x.f32", &values, f32::to_le_bytes)?;
    let mut scores = vec![0.0; rows];
    let run = move || {
        let values = &values[..];
        let scores = &mut scores;
        let work = move || {
            let x = MatrixView::new(values, rows, columns)?;
            let forest = Forest::fit(x, &ForestOptions::default(), &setup.execution)?;
            forest.score(x, scores, &setup.execution)?;
            Ok(scores)
        };
        timed(work, |scores| {
            // For the peers to correlate their ranks with; they give up where it is not there.
            let _ = setup.write("ours.f64", scores, f64::to_le_bytes);
            summary(scores)
        })
    };
    Ok(vec![Case {
        name: "isolation forest, fit and score",
        peers: &["scikit-learn"],
        tolerance: 0.01,
        note: "100 trees of 256 rows; the forests are random: mean, quantiles and area under the ROC curve agree to \
               0.01, and ranks correlate by 0.9 or more"
            .into(),
        run: Box::new(run),
    }])
}

/// The mean, some quantiles, the area under the ROC curve, and 1 for "ranks correlate".
fn summary(scores: &[f64]) -> Vec<f64> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| scores[a as usize].total_cmp(&scores[b as usize]));
    let at = |share: f64| scores[order[(share * (scores.len() - 1) as f64) as usize] as usize];
    let (mut below, mut right, mut outliers) = (0u64, 0u64, 0u64);
    for &row in &order {
        if (row as usize).is_multiple_of(OUTLIERS) {
            right += below;
            outliers += 1;
        } else {
            below += 1;
        }
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let area = right as f64 / (below as f64 * outliers as f64);
    vec![mean, at(0.1), at(0.5), at(0.9), at(0.99), area, 1.0]
}

/// Two clouds, each denser inside than a normal one; outliers are shifted in a third of their columns. Were all rows of
/// a cloud alike, their order would be chance, also between two forests of one library.
fn table(rows: usize, columns: usize) -> Vec<f32> {
    let mut random = Random::new(11);
    let mut values = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        let centre = if random.uniform() < 0.5 { 0.0 } else { 3.0 };
        let spread = 0.2 + 1.6 * random.uniform();
        for column in 0..columns {
            let odd = row % OUTLIERS == 0 && (row / OUTLIERS + column).is_multiple_of(3);
            let shift = if odd { 8.0 * (random.uniform() - 0.5) } else { 0.0 };
            values.push((centre + spread * random.normal() + shift) as f32);
        }
    }
    values
}
