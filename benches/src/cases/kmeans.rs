//! Lloyd's iterations from the same centres.

use std::error::Error;
use std::rc::Rc;

use benches::Random;
use kernels::kmeans::{KMeansOptions, Start, kmeans};
use kernels::{Element, Execution, MatrixView};

use super::{Case, Run, timed};
use crate::setup::Setup;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, cols) = (setup.size("rows", 100_000), setup.size("cols", 128));
    let (clusters, few) = (setup.size("clusters", 500), setup.size("few", 16));
    let iterations = setup.size("iterations", 10);
    let single = Rc::new(gathered(rows, cols, 300, 7));
    let double: Rc<Vec<f64>> = Rc::new(single.iter().map(|&value| f64::from(value)).collect());
    setup.write("x.f32", &single, f32::to_le_bytes)?;
    let options = move |clusters: usize| KMeansOptions {
        iterations,
        tolerance: 0.0,
        ..KMeansOptions::new(clusters)
    };
    // The first rows, which are random ones, as centres.
    let start = move |double: &[f64], clusters: usize| double[..clusters * cols].to_vec();
    let (many_start, few_start) = (start(&double, clusters), start(&double, few));
    let note = |clusters: usize| {
        format!(
            "{clusters} clusters, {iterations} iterations and a last assignment; samples are inertias"
        )
    };
    let f32_case = |name, clusters: usize, centres: Vec<f64>| {
        let values = single.clone();
        let run = move || {
            let x = MatrixView::new(&values[..], rows, cols)?;
            inertia(x, &centres, options(clusters), &setup.execution)
        };
        Case {
            name,
            peers: &["faiss", "scikit-learn"],
            tolerance: 1e-3,
            note: note(clusters),
            run: Box::new(run),
        }
    };
    let many = f32_case("kmeans f32", clusters, many_start.clone());
    let few = f32_case("kmeans f32, few clusters", few, few_start);
    let double_run = move || {
        let x = MatrixView::new(&double[..], rows, cols)?;
        inertia(x, &many_start, options(clusters), &setup.execution)
    };
    let double = Case {
        name: "kmeans f64",
        peers: &["scikit-learn"],
        tolerance: 1e-6,
        note: note(clusters) + "; faiss has no f64",
        run: Box::new(double_run),
    };
    Ok(vec![many, few, double])
}

/// Rows around `places` random places, closer to each other than to their own.
pub(super) fn gathered(rows: usize, cols: usize, places: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut value = |spread: f64| {
        let sum: f64 = (0..4).map(|_| random.uniform()).sum::<f64>() - 2.0;
        (spread * sum) as f32
    };
    let centres: Vec<f32> = (0..places * cols).map(|_| value(0.6)).collect();
    let mut values = Vec::with_capacity(rows * cols);
    // A stride that shares no divisor with most numbers of places: neighbours in the file are none in space.
    for row in 0..rows {
        let place = row * 7919 % places * cols;
        values.extend(centres[place..place + cols].iter().map(|centre| centre + value(1.0)));
    }
    values
}

fn inertia<T: Element>(
    x: MatrixView<'_, T>,
    start: &[f64],
    options: KMeansOptions<'_>,
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    let (values, cols) = ((x.rows() * x.cols()) as f64, x.cols());
    let work = || {
        let start = Start::Centres(MatrixView::new(start, options.clusters, cols)?);
        kmeans(x, &KMeansOptions { start, ..options }, execution)
    };
    timed(work, |found| vec![found.inertia / values])
}
