//! One suite for every way to score, and for the fit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::budget::Budget;
use crate::cuda::emulated::Emulated;
use crate::error::Memory;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{Check, Route, check_all, generator, on, values};
use crate::tolerance;

fn cpu() -> Execution {
    on(Route::Cpu)
}

/// Scores by one of the routes.
fn go<T: Element>(
    route: Route,
    forest: &Forest<T>,
    x: MatrixView<'_, T>,
    execution: &Execution,
) -> Result<(Vec<f64>, Scores)> {
    static DEVICES: LazyLock<[Emulated; 2]> =
        LazyLock::new(|| [0, 1].map(|_| Emulated::new(&SOURCE, 1 << 30)));
    let mut scores = vec![-77.0; x.rows()];
    let done = if route == Route::Emulated {
        let stats = Stats::new(DeviceReport::cpu("emulated"));
        score_on(&DEVICES[..], stats, forest, x, &mut scores, execution)?
    } else {
        forest.score(x, &mut scores, execution)?
    };
    Ok((scores, done))
}

/// Values in steps, so that rows lie on cuts, with missing ones.
fn table<T: Element>(rng: &mut ChaCha8Rng, rows: usize, columns: usize, missing: f64) -> Vec<T> {
    let mut x: Vec<T> = values(rng, rows * columns, 3.0, 2.0);
    for value in &mut x {
        *value = T::from_f64((value.to_f64() * 8.0).round() / 8.0);
        if rng.random_bool(missing) {
            let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            *value = T::from_f64(odd[rng.random_range(0..3)]);
        }
    }
    x
}

fn agrees<T: Element>(route: Route, x: MatrixView<'_, T>, options: &ForestOptions) {
    let forest = Forest::fit(x, options, &cpu()).unwrap();
    let (scores, done) = go(route, &forest, x, &on(route)).unwrap();
    let mut excluded = 0;
    for (row, score) in scores.into_iter().enumerate() {
        let expected = reference::score(&forest, x.row(row));
        excluded += u64::from(expected.is_nan());
        let close = (score.is_nan() && expected.is_nan())
            || (score - expected).abs() <= tolerance::ISOLATION_FOREST;
        assert!(close, "{} {options:?}: [{row}] is {score}, expected {expected}", T::NAME);
    }
    assert_eq!((done.excluded, done.stats.excluded_rows), (excluded, excluded));
    assert_eq!(forest.fitted().excluded_rows, excluded);
}

fn shapes_agree<T: Element>(route: Route) {
    let mut rng = generator("isolation_forest::shapes_agree");
    let mut shapes = vec![(1, 1, 4, 1), (2, 3, 9, 2), (97, 45, 3, 16), (601, 4, 30, 33)];
    if route != Route::Emulated {
        shapes.extend([(1, 5, 2, 256), (3, 1, 7, 3), (5000, 16, 20, 256), (257, 2000, 5, 7)]);
    }
    for (rows, columns, trees, sample) in shapes {
        for cut in
            [Cut::Axis, Cut::Oblique { columns: 1 }, Cut::Oblique { columns: columns.min(5) }]
        {
            let missing = if rows > 5 { 0.2 / columns as f64 } else { 0.0 };
            let x = table::<T>(&mut rng, rows, columns, missing);
            let options = ForestOptions { trees, sample, cut, seed: rng.random() };
            // In f64 an oblique sum of exact eighths times rounded weights may still be rounded otherwise than in
            // the reference; values in general position are not at a cut.
            let x: Vec<T> = match cut {
                Cut::Axis => x,
                Cut::Oblique { .. } => {
                    let off = |value: &T| T::from_f64(value.to_f64() + rng.random::<f64>());
                    x.iter().map(off).collect()
                }
            };
            if size_of::<T>() == 4 && cut != Cut::Axis {
                // Sums in f32 may fall on the other side of a cut than the reference's in f64.
                same_as_the_cpu(route, MatrixView::new(&x, rows, columns).unwrap(), &options);
            } else {
                agrees(route, MatrixView::new(&x, rows, columns).unwrap(), &options);
            }
        }
    }
}

fn same_as_the_cpu<T: Element>(route: Route, x: MatrixView<'_, T>, options: &ForestOptions) {
    let forest = Forest::fit(x, options, &cpu()).unwrap();
    let bits = |route| {
        // One thread must be enough for several devices.
        let pool = Some(Pool::with_threads(NonZeroUsize::MIN).unwrap());
        let scores = go(route, &forest, x, &Execution { pool, ..on(route) }).unwrap().0;
        scores.into_iter().map(f64::to_bits).collect::<Vec<_>>()
    };
    // NaN has many bit patterns, and one that a row gets on every device.
    let plain = |bits: Vec<u64>| {
        bits.into_iter()
            .map(|bits| if f64::from_bits(bits).is_nan() { 0 } else { bits })
            .collect::<Vec<_>>()
    };
    assert_eq!(plain(bits(route)), plain(bits(Route::Cpu)));
}

#[test]
fn the_cpu_takes_the_defined_paths_f32() {
    shapes_agree::<f32>(Route::Cpu);
}

#[test]
fn the_cpu_takes_the_defined_paths_f64() {
    shapes_agree::<f64>(Route::Cpu);
}

#[test]
fn the_emulated_kernels_take_the_defined_paths_f32() {
    shapes_agree::<f32>(Route::Emulated);
}

#[test]
fn the_emulated_kernels_take_the_defined_paths_f64() {
    shapes_agree::<f64>(Route::Emulated);
}

/// Several tiles, groups of trees, trees too large for shared memory: to the bit.
fn devices_give_the_bits_of_the_cpu(route: Route) {
    let mut rng = generator("isolation_forest::bits");
    let x = table::<f32>(&mut rng, 1100, 6, 0.02);
    let x = MatrixView::new(&x, 1100, 6).unwrap();
    for cut in [Cut::Axis, Cut::Oblique { columns: 4 }] {
        // 2^9 cuts x (1 + 2 x 4) x 4 bytes: some trees at a time.
        let options = ForestOptions { trees: 8, sample: 300, cut, seed: 5 };
        same_as_the_cpu(route, x, &options);
    }
    let many = ForestOptions { trees: 30, ..ForestOptions::default() };
    same_as_the_cpu(route, x, &many);
    if route == Route::Cuda {
        let options =
            ForestOptions { trees: 3, sample: 5000, cut: Cut::Oblique { columns: 6 }, seed: 5 };
        let x = table::<f64>(&mut rng, 9000, 6, 0.0);
        same_as_the_cpu(route, MatrixView::new(&x, 9000, 6).unwrap(), &options);
    } else {
        let options =
            ForestOptions { trees: 2, sample: 1025, cut: Cut::Oblique { columns: 6 }, seed: 5 };
        same_as_the_cpu(route, x, &options);
    }
}

#[test]
fn two_emulated_devices_give_the_bits_of_the_cpu() {
    devices_give_the_bits_of_the_cpu(Route::Emulated);
}

/// What a device must pass.
pub(crate) const DEVICE: &[Check] = &[
    Check::new("isolation_forest: shapes, f32", || shapes_agree::<f32>(Route::Cuda)),
    Check::new("isolation_forest: shapes, f64", || shapes_agree::<f64>(Route::Cuda)),
    Check::new("isolation_forest: the CPU's bits", || {
        devices_give_the_bits_of_the_cpu(Route::Cuda)
    }),
];

#[test]
fn the_device_agrees_with_the_definition() {
    check_all(DEVICE);
}

#[test]
fn leaves_hold_the_depth_and_the_mean_path_of_their_rows() {
    let mut rng = generator("isolation_forest::leaves");
    let x = table::<f64>(&mut rng, 200, 3, 0.0);
    let view = MatrixView::new(&x, 200, 3).unwrap();
    for cut in [Cut::Axis, Cut::Oblique { columns: 2 }] {
        // Every tree has all rows.
        let options = ForestOptions { trees: 20, cut, ..ForestOptions::default() };
        let forest = Forest::fit(view, &options, &cpu()).unwrap();
        for tree in (0..20).map(|tree| forest.tree(tree)) {
            let mut reached = vec![0usize; tree.leaves.len()];
            for row in 0..200 {
                let mut at = 0;
                while at < tree.thresholds.len() {
                    let terms = at * tree.terms..(at + 1) * tree.terms;
                    let weights = tree.weights.get(terms.clone()).filter(|w| !w.is_empty());
                    let columns = &tree.columns[terms];
                    let sum =
                        grow::cut_sum(columns, weights, |column| view.row(row)[column as usize]);
                    at = if sum <= tree.thresholds[at] { 2 * at + 1 } else { 2 * at + 2 };
                }
                reached[at - tree.thresholds.len()] += 1;
            }
            for (leaf, &rows) in reached.iter().enumerate().filter(|&(_, &rows)| rows > 0) {
                let cuts = f64::from(tree.leaves[leaf]) - mean_path(rows);
                assert!((cuts - cuts.round()).abs() < 1e-5 && cuts.round() <= tree.depth as f64);
                assert!(
                    rows == 1
                        || cuts.round() as usize == tree.depth
                        || cut != Cut::Axis
                        || duplicates(view, rows),
                    "{rows} rows after {cuts} cuts"
                );
            }
        }
    }
}

/// Whether some row occurs at least `times`.
fn duplicates(x: MatrixView<'_, f64>, times: usize) -> bool {
    (0..x.rows())
        .any(|row| (0..x.rows()).filter(|&other| x.row(other) == x.row(row)).count() >= times)
}

#[test]
fn paths_are_as_long_as_random_cuts_of_the_sample_make_them() {
    let mut rng = generator("isolation_forest::depths");
    let sample: Vec<Vec<f64>> =
        (0..40).map(|_| (0..3).map(|_| rng.random::<f64>().powi(2)).collect()).collect();
    let flat = sample.concat();
    let view = MatrixView::new(&flat, 40, 3).unwrap();
    let options = ForestOptions { trees: 4000, sample: 40, ..ForestOptions::default() };
    let forest = Forest::fit(view, &options, &cpu()).unwrap();
    let (scores, _) = go(Route::Cpu, &forest, view, &cpu()).unwrap();
    for row in (0..40).step_by(5) {
        let depths: Vec<f64> = (0..4000)
            .map(|_| reference::isolation_depth(&sample, &sample[row], 6, &mut || rng.random()))
            .collect();
        let mean = depths.iter().sum::<f64>() / 4000.0;
        let variance = depths.iter().map(|depth| (depth - mean).powi(2)).sum::<f64>() / 4000.0;
        let found = -scores[row].log2() * mean_path(40);
        // Both are means of 4,000; six standard errors of their difference.
        let error = (2.0 * variance / 4000.0).sqrt();
        assert!((found - mean).abs() < 6.0 * error, "[{row}] {found} {mean} ± {error}");
    }
}

#[test]
fn planted_outliers_come_first() {
    let mut rng = generator("isolation_forest::outliers");
    let mut x: Vec<f32> = values(&mut rng, 3000 * 8, 0.0, 1.0);
    for row in 0..30 {
        let at = row * 100 * 8 + rng.random_range(0..8);
        x[at] = 15.0;
        x[at / 8 * 8 + (at + 3) % 8] = -12.0;
    }
    let view = MatrixView::new(&x, 3000, 8).unwrap();
    for cut in [Cut::Axis, Cut::Oblique { columns: 8 }] {
        let options = ForestOptions { cut, ..ForestOptions::default() };
        let forest = Forest::fit(view, &options, &cpu()).unwrap();
        let (scores, _) = go(Route::Cpu, &forest, view, &cpu()).unwrap();
        // The share of pairs of an outlier and another row whose order is right: the area under the ROC curve.
        let right: usize = (0..30)
            .map(|outlier| scores.iter().filter(|&&other| other < scores[100 * outlier]).count())
            .sum();
        let area = (right - 30 * 29 / 2) as f64 / (30.0 * 2970.0);
        assert!(area > 0.985, "{cut:?}: {area}");
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
    }
}

#[test]
fn neither_budget_nor_threads_change_a_bit_and_a_seed_does() {
    let mut rng = generator("isolation_forest::threads");
    let x = table::<f64>(&mut rng, 9000, 5, 0.01);
    let view = MatrixView::new(&x, 9000, 5).unwrap();
    let run = |host_bytes, threads, seed| {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let execution = Execution { budget: Budget::host(host_bytes), pool, ..cpu() };
        let options = ForestOptions { seed, ..ForestOptions::default() };
        let forest = Forest::fit(view, &options, &execution).unwrap();
        let scores = go(Route::Cpu, &forest, view, &execution).unwrap().0;
        assert!(forest.fitted().peak_bytes <= host_bytes as u64);
        scores.into_iter().map(f64::to_bits).collect::<Vec<_>>()
    };
    let whole = run(1 << 30, 1, 1);
    for (host_bytes, threads) in [(1 << 30, 2), (1 << 30, 5), (30_000, 3)] {
        assert!(run(host_bytes, threads, 1) == whole, "{host_bytes} {threads}");
    }
    assert!(run(1 << 30, 2, 2) != whole);
}

#[test]
fn rows_that_can_not_be_told_apart_score_the_same() {
    let (score, equal) = (
        |x: &[f32], rows| {
            let view = MatrixView::new(x, rows, 2).unwrap();
            let forest = Forest::fit(view, &ForestOptions::default(), &cpu()).unwrap();
            go(Route::Cpu, &forest, view, &cpu()).unwrap().0
        },
        [7.0f32, -1.0].repeat(50),
    );
    assert_eq!(score(&[1.0, 2.0], 1), [0.5]);
    let scores = score(&equal, 50);
    assert!(scores.iter().all(|score| *score == scores[0] && (0.0..=1.0).contains(score)));
    // No row at all is no trouble for a forest that there is.
    let view = MatrixView::new(&equal, 50, 2).unwrap();
    let forest = Forest::fit(view, &ForestOptions::default(), &cpu()).unwrap();
    let none = MatrixView::new(&[], 0, 2).unwrap();
    assert_eq!(forest.score(none, &mut [], &cpu()).unwrap().excluded, 0);
}

#[test]
fn huge_values_do_not_overflow() {
    let x = [f64::MAX, f64::MIN, 0.0, 1.0, f64::MIN_POSITIVE, -f64::MAX / 3.0];
    let view = MatrixView::new(&x, 6, 1).unwrap();
    for cut in [Cut::Axis, Cut::Oblique { columns: 1 }] {
        let options = ForestOptions { cut, ..ForestOptions::default() };
        let forest = Forest::fit(view, &options, &cpu()).unwrap();
        let (scores, _) = go(Route::Cpu, &forest, view, &cpu()).unwrap();
        assert!(scores.iter().all(|score| *score > 0.0 && *score <= 1.0), "{scores:?}");
    }
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let x = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let view = MatrixView::new(&x, 3, 2).unwrap();
    let fails = |options: ForestOptions, execution: &Execution| {
        Forest::fit(view, &options, execution).unwrap_err().to_string()
    };
    let standard = ForestOptions::default();
    assert_eq!(
        fails(ForestOptions { trees: 0, ..standard }, &cpu()),
        "isolation_forest: trees is 0; it must be 1 to 65536"
    );
    assert_eq!(
        fails(ForestOptions { sample: 70_000, ..standard }, &cpu()),
        "isolation_forest: sample is 70000; it must be 1 to 65536"
    );
    assert_eq!(
        fails(ForestOptions { cut: Cut::Oblique { columns: 3 }, ..standard }, &cpu()),
        "isolation_forest: cut columns is 3; it must be 1 to 2"
    );
    let fit = |x: &[f32], rows, columns| {
        let view = MatrixView::new(x, rows, columns).unwrap();
        Forest::fit(view, &standard, &cpu()).unwrap_err().to_string()
    };
    assert_eq!(
        fit(&[], 4, 0),
        "isolation_forest: 4 rows of no column; at least 1 column is needed"
    );
    assert_eq!(
        fit(&[f32::NAN, 1.0, 1.0, f32::INFINITY], 2, 2),
        "isolation_forest: 2 rows, all with missing values; at least 1 row without is needed"
    );
    assert_eq!(
        fit(&[], 0, 3),
        "isolation_forest: 0 rows, all with missing values; at least 1 row without is needed"
    );
    let tiny = Execution { budget: Budget::host(10), ..cpu() };
    assert!(fails(standard, &tiny).contains("too small for one tile; at least"));
    let forest = Forest::fit(view, &standard, &cpu()).unwrap();
    let score = |rows, columns, scores: usize, execution: &Execution| {
        let view = MatrixView::new(&x, rows, columns).unwrap();
        forest.score(view, &mut vec![0.0; scores], execution).unwrap_err().to_string()
    };
    assert_eq!(
        score(2, 3, 2, &cpu()),
        "isolation_forest: rows of 3 columns; the 2 of the fitted rows are needed"
    );
    assert_eq!(
        score(3, 2, 2, &cpu()),
        "isolation_forest: 2 scores for 3 rows; one for each row is needed"
    );
    assert!(score(3, 2, 3, &tiny).contains("too small for one tile; at least"));
    let control = Control::new();
    control.cancel();
    let cancelled = Execution { control, ..cpu() };
    assert_eq!(score(3, 2, 3, &cancelled), "isolation_forest: cancelled after 0 of 1 steps");
    assert_eq!(fails(standard, &cancelled), "isolation_forest: cancelled after 0 of 100 steps");
    let error = go(Route::Emulated, &forest, view, &cancelled).unwrap_err();
    assert_eq!(error.to_string(), "isolation_forest: cancelled after 0 of 1 steps");
    let budget = Budget { device_bytes: Some(100), ..Budget::default() };
    let error = go(Route::Emulated, &forest, view, &Execution { budget, ..cpu() }).unwrap_err();
    assert!(matches!(error, Error::BudgetTooSmall { memory: Memory::Device, .. }), "{error}");
}
