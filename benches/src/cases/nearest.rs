//! The nearest vectors of a set, exactly.

use std::error::Error;
use std::rc::Rc;

use benches::Random;
use kernels::nearest::{Metric, NearestOptions, nearest};
use kernels::{Execution, MatrixView};

use super::{Case, Run, timed};
use crate::setup::Setup;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, queries) = (setup.size("base", 100_000), setup.size("queries", 100_000));
    let few = setup.size("few", 4_096).min(queries);
    let (cols, k) = (setup.size("dimensions", 384), setup.size("k", 10));
    let base = Rc::new(vectors(1, rows, cols, setup.size("topics", 1_000)));
    let asked = Rc::new(vectors(2, queries, cols, setup.size("topics", 1_000)));
    setup.write("base.f32", &base, f32::to_le_bytes)?;
    setup.write("queries.f32", &asked, f32::to_le_bytes)?;
    let case = |name, queries: usize, metric, peers, note: &str| {
        let (base, asked) = (base.clone(), asked.clone());
        let run = move || {
            let base = MatrixView::new(&base, rows, cols)?;
            let asked = MatrixView::new(&asked[..queries * cols], queries, cols)?;
            search(asked, base, metric, k, &setup.execution)
        };
        // The peers score in f32.
        Case { name, peers, tolerance: 1e-4, note: note.into(), run: Box::new(run) }
    };
    Ok(vec![
        case(
            "nearest, dot",
            queries,
            Metric::Dot,
            &["faiss IndexFlatIP"],
            "vectors of length 1; faiss has its index made beforehand, ours prepares the base each time",
        ),
        case(
            "nearest, dot, few queries",
            few,
            Metric::Dot,
            &["faiss IndexFlatIP", "usearch exact", "numpy"],
            &format!("{few} queries"),
        ),
        case(
            "nearest, squared L2, few queries",
            few,
            Metric::SquaredL2,
            &["faiss IndexFlatL2"],
            &format!("{few} queries"),
        ),
    ])
}

/// Vectors of length 1 around topics, as embeddings of texts are: a shared direction, a topic, and what is their own.
fn vectors(seed: u64, rows: usize, cols: usize, topics: usize) -> Vec<f32> {
    let mut shared = Random::new(77);
    let common: Vec<f64> = (0..cols).map(|_| shared.normal()).collect();
    let topics: Vec<f64> = (0..topics * cols).map(|_| shared.normal()).collect();
    let mut random = Random::new(seed);
    let mut values = Vec::with_capacity(rows * cols);
    for _ in 0..rows {
        let topic = random.bits() as usize % (topics.len() / cols) * cols;
        let row: Vec<f64> = common
            .iter()
            .zip(&topics[topic..])
            .map(|(common, topic)| 0.7 * common + 0.7 * topic + random.normal())
            .collect();
        let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        values.extend(row.iter().map(|value| (value / norm) as f32));
    }
    values
}

fn search(
    queries: MatrixView<'_, f32>,
    base: MatrixView<'_, f32>,
    metric: Metric,
    k: usize,
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    let work = || nearest(queries, base, &NearestOptions::new(metric, k), execution);
    timed(work, |found| {
        let sampled = (0..queries.rows()).step_by((queries.rows() / 64).max(1));
        let (indices, scores): (Vec<f64>, Vec<f64>) = sampled
            .flat_map(|row| found.row(row).iter().map(|n| (n.index as f64, n.score)))
            .unzip();
        // All scores, and the nearest rows: deeper ones may be swapped by the peers' rounding.
        indices.into_iter().step_by(k.max(1)).chain(scores).collect()
    })
}
