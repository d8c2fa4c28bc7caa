//! One suite for every way to compute correlations.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

mod lags;
mod variants;

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use rand::Rng;

use super::reference::pearson;
use super::*;
use crate::budget::Budget;
use crate::cuda::emulated::Emulated;
use crate::device::DeviceReport;
use crate::error::ErrorKind;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{Check, Route, check_all, generator, on, values};
use crate::tolerance;
pub(crate) use lags::LAGS;
pub(crate) use variants::VARIANTS;

fn cpu() -> Execution {
    on(Route::Cpu)
}

/// The operation by one of its routes.
fn go<T: Element, S: PairSink>(
    route: Route,
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    sink: &mut S,
    execution: &Execution,
) -> Result<Summary> {
    go_with(route, x, y, &CorrelateOptions::default(), sink, execution)
}

fn go_with<T: Element, S: PairSink>(
    route: Route,
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    options: &CorrelateOptions,
    sink: &mut S,
    execution: &Execution,
) -> Result<Summary> {
    static DEVICE: LazyLock<Emulated> = LazyLock::new(|| Emulated::new(&SOURCE, 1 << 30));
    match (route, y) {
        (Route::Emulated, y) => {
            let pairing = if y.is_some() { Pairing::Between } else { Pairing::Within };
            let stats = Stats::new(DeviceReport::cpu("emulated"));
            run_on(
                std::slice::from_ref(&*DEVICE),
                stats,
                x,
                y.unwrap_or(x),
                pairing,
                options,
                sink,
                execution,
            )
        }
        (_, Some(y)) => correlate_between_with(x, y, options, sink, execution),
        (_, None) => correlate_with(x, options, sink, execution),
    }
}

fn bound<T: Element>() -> f64 {
    if size_of::<T>() == 4 { tolerance::CORRELATE_F32 } else { tolerance::CORRELATE_F64 }
}

fn wide<T: Element>(row: &[T]) -> Vec<f64> {
    row.iter().map(|value| value.to_f64()).collect()
}

/// All coefficients by way of the dense sink; `None` where not defined. Checks that each comes once.
fn dense<T: Element>(
    route: Route,
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    execution: &Execution,
) -> Vec<Vec<Option<f64>>> {
    dense_with(route, x, y, &CorrelateOptions::default(), execution).0
}

fn dense_with<T: Element>(
    route: Route,
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    options: &CorrelateOptions,
    execution: &Execution,
) -> (Vec<Vec<Option<f64>>>, Summary) {
    let cols = y.map_or(x.rows(), |y| y.rows());
    let mut seen = vec![vec![false; cols]; x.rows()];
    let mut found = vec![vec![None; cols]; x.rows()];
    let mut sink = Dense::new(|block: &ScoreBlock<'_>| {
        for row in block.rows() {
            let (first, scores) = block.row(row);
            for (offset, &r) in scores.iter().enumerate() {
                assert!(
                    !std::mem::replace(&mut seen[row][first + offset], true),
                    "({row}, {}) came twice",
                    first + offset
                );
                found[row][first + offset] = (!r.is_nan()).then_some(r);
            }
        }
        Ok(())
    });
    let summary = go_with(route, x, y, options, &mut sink, execution).unwrap();
    for (row, seen) in seen.iter().enumerate() {
        for (col, seen) in seen.iter().enumerate() {
            assert_eq!(*seen, y.is_some() || col > row, "({row}, {col})");
        }
    }
    (found, summary)
}

fn agrees<T: Element>(
    route: Route,
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    execution: &Execution,
) {
    let found = dense(route, x, y, execution);
    let other = y.unwrap_or(x);
    for row in 0..x.rows() {
        for col in (if y.is_some() { 0 } else { row + 1 })..other.rows() {
            let expected = pearson(&wide(x.row(row)), &wide(other.row(col)));
            let found = found[row][col];
            let close = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() <= bound::<T>(),
                (found, expected) => found == expected,
            };
            assert!(
                close,
                "{} x {} {}: ({row}, {col}) is {found:?}, expected {expected:?}",
                x.rows(),
                x.cols(),
                T::NAME
            );
        }
    }
}

fn shapes_agree<T: Element>(route: Route) {
    let mut rng = generator("correlate::shapes_agree");
    let mut shapes = vec![(0, 0), (0, 5), (1, 2), (2, 2), (3, 257), (17, 31), (33, 256), (131, 67)];
    if route != Route::Emulated {
        shapes.extend([(29, 601), (61, 100), (300, 50)]);
        shapes.extend((0..4).map(|_| (rng.random_range(1..70), rng.random_range(2..700))));
    }
    let execution = on(route);
    for (rows, cols) in shapes {
        let x = values::<T>(&mut rng, rows * cols, 3.0, 2.0);
        let x = MatrixView::new(&x, rows, cols).unwrap();
        agrees(route, x, None, &execution);
        let others = if cols < 2 { 0 } else { rng.random_range(0..40) };
        let y = values::<T>(&mut rng, others * cols, -7.0, 0.1);
        agrees(route, x, Some(MatrixView::new(&y, others, cols).unwrap()), &execution);
    }
}

fn hard_values_agree<T: Element>(route: Route) {
    let mut rng = generator("correlate::hard_values_agree");
    let (rows, cols) = (12, 2061);
    let mut x = values::<T>(&mut rng, rows * cols, 0.0, 1.0);
    let mut set = |row: usize, f: &mut dyn FnMut(usize) -> f64| {
        (0..cols).for_each(|t| x[row * cols + t] = T::from_f64(f(t)));
    };
    // A large offset beside a small variance, twice and opposed.
    let noise: Vec<f64> = values::<f64>(&mut rng, cols, 0.0, 0.1);
    set(0, &mut |t| 1e6 + noise[t]);
    set(1, &mut |t| 1e6 - 3.0 * noise[t]);
    // Terms that all round the same way.
    set(2, &mut |t| if t % 2 == 0 { 1.0 } else { -1.0 });
    set(3, &mut |t| if t % 2 == 0 { 0.3 } else { -0.7 });
    // One spike; a trend; a step.
    set(4, &mut |t| if t == 1000 { 1e6 } else { 0.0 });
    set(5, &mut |t| t as f64);
    set(6, &mut |t| if t < 700 { -1e5 } else { 1e5 });
    // Constant; not finite.
    set(7, &mut |_| 0.1);
    set(8, &mut |t| if t == cols - 1 { f64::NAN } else { t as f64 });
    set(9, &mut |t| if t == 3 { f64::INFINITY } else { t as f64 });
    set(10, &mut |t| 1e30 * ((t * t) % 97) as f64);
    let view = MatrixView::new(&x, rows, cols).unwrap();
    agrees(route, view, None, &on(route));
    let mut sink = Threshold::new(Strength::Magnitude, 0.5);
    let summary = go(route, view, None, &mut sink, &on(route)).unwrap();
    let excluded =
        vec![(7, Exclusion::Constant), (8, Exclusion::NotFinite), (9, Exclusion::NotFinite)];
    assert_eq!((summary.stats.excluded_rows, summary.excluded), (3, excluded));
}

#[test]
fn the_cpu_agrees_with_the_definition() {
    shapes_agree::<f32>(Route::Cpu);
    shapes_agree::<f64>(Route::Cpu);
    hard_values_agree::<f32>(Route::Cpu);
    hard_values_agree::<f64>(Route::Cpu);
}

#[test]
fn the_emulated_kernels_agree_with_the_definition_f32() {
    shapes_agree::<f32>(Route::Emulated);
    hard_values_agree::<f32>(Route::Emulated);
}

#[test]
fn the_emulated_kernels_agree_with_the_definition_f64() {
    shapes_agree::<f64>(Route::Emulated);
    hard_values_agree::<f64>(Route::Emulated);
}

/// What a device must pass.
pub(crate) const DEVICE: &[Check] = &[
    Check::new("correlate: shapes, f32", || shapes_agree::<f32>(Route::Cuda)),
    Check::new("correlate: shapes, f64", || shapes_agree::<f64>(Route::Cuda)),
    Check::new("correlate: hard values, f32", || hard_values_agree::<f32>(Route::Cuda)),
    Check::new("correlate: hard values, f64", || hard_values_agree::<f64>(Route::Cuda)),
    Check::new("correlate: selections, f32", || selections_agree::<f32>(Route::Cuda)),
    Check::new("correlate: selections, f64", || selections_agree::<f64>(Route::Cuda)),
    Check::new("correlate: screen, f32", || screened_agree::<f32>(Route::Cuda)),
    Check::new("correlate: screen, f64", || screened_agree::<f64>(Route::Cuda)),
];

#[test]
fn the_device_agrees_with_the_definition() {
    check_all(DEVICE);
}

/// The device finds the same pairs by selection on the device, by its overflow, and in several tiles.
fn selections_agree<T: Element>(route: Route) {
    let mut rng = generator("correlate::selections_agree");
    let (rows, cols) = (150, 20);
    let mut x = values::<T>(&mut rng, rows * cols, 0.0, 1.0);
    x[7 * cols..8 * cols].fill(T::from_f64(4.0));
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let needed = 400_000;
    let small = Execution {
        budget: Budget { device_bytes: Some(needed), ..Budget::default() },
        ..on(route)
    };
    for execution in [on(route), small] {
        for minimum in [0.7, 0.05] {
            let (mut found, mut expected) = (threshold(minimum), threshold(minimum));
            let summary = go(route, view, None, &mut found, &execution).unwrap();
            correlate(view, &mut expected, &cpu()).unwrap();
            let (found, expected) = (found.into_pairs(), expected.into_pairs());
            let close = |(a, b): (&Pair, &Pair)| {
                (a.row, a.col) == (b.row, b.col) && (a.r - b.r).abs() <= bound::<T>()
            };
            assert!(found.len() == expected.len() && found.iter().zip(&expected).all(close));
            assert_eq!(summary.stats.fallbacks > 0, minimum < 0.1, "many pairs overflow the list");
            assert_eq!(summary.stats.tiles > 1, execution.budget.device_bytes.is_some());
        }
        let (mut found, mut expected) =
            (TopPairs::new(Strength::Signed, 9), TopPairs::new(Strength::Signed, 9));
        go(route, view, None, &mut found, &execution).unwrap();
        correlate(view, &mut expected, &cpu()).unwrap();
        let indices = |top: TopPairs| {
            top.into_pairs().iter().map(|pair| (pair.row, pair.col)).collect::<Vec<_>>()
        };
        assert_eq!(indices(found), indices(expected));
    }
}

/// Pairs on both sides of a floor, nearer to it than the screen can tell, and far from it.
fn screened_agree<T: Element>(route: Route) {
    let mut rng = generator("correlate::screened_agree");
    let (rows, cols) = (140, 200);
    let mut x = values::<T>(&mut rng, rows * cols, 50.0, 1.0);
    for row in 1..rows {
        // Some follow the first series, with coefficients from 0.68 to 0.72.
        if row % 9 == 1 {
            let weight = 0.9 + 0.2 * row as f64 / rows as f64;
            for t in 0..cols {
                let both = weight * x[t].to_f64() + x[row * cols + t].to_f64();
                x[row * cols + t] = T::from_f64(both);
            }
        }
    }
    x[7 * cols..8 * cols].fill(T::from_f64(4.0));
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let has_room = |gpus: &[Gpu]| gpus.iter().all(|gpu| gpu.shared_bytes() >= screen::SHARED_BYTES);
    let is_screened =
        route != Route::Cuda || Gpu::open_all(&SOURCE).is_ok_and(|(_, gpus)| has_room(&gpus));
    for minimum in [0.7, 0.01] {
        let (mut found, mut expected) = (threshold(minimum), threshold(minimum));
        let summary = go(route, view, None, &mut found, &on(route)).unwrap();
        correlate(view, &mut expected, &cpu()).unwrap();
        let (found, expected) = (found.into_pairs(), expected.into_pairs());
        // A pair within the tolerance of the floor may be on either side of it.
        let clear = |pairs: &[Pair]| -> Vec<(usize, usize)> {
            let clear = pairs.iter().filter(|pair| pair.r.abs() > minimum + bound::<T>());
            clear.map(|pair| (pair.row, pair.col)).collect()
        };
        assert!(!found.is_empty());
        assert_eq!(clear(&found), clear(&expected));
        for pair in &found {
            let exact = pearson(&wide(view.row(pair.row)), &wide(view.row(pair.col))).unwrap();
            // What passed the screen was computed in f64, whatever the type.
            let bound = if minimum > 0.1 && is_screened { 1e-12 } else { bound::<T>() };
            assert!((pair.r - exact).abs() <= bound, "{pair:?}, expected {exact}");
        }
        assert_eq!(summary.stats.fallbacks > 0, minimum < 0.1, "many pairs pass the screen");
    }
}

#[test]
fn what_the_screen_lets_through_is_exact() {
    screened_agree::<f32>(Route::Emulated);
    screened_agree::<f64>(Route::Emulated);
}

#[test]
fn a_device_with_too_little_shared_memory_for_the_screen_does_without() {
    // As of architectures 8.9 and 12.0. The emulation would refuse the screen.
    let device = Emulated::new(&SOURCE, 1 << 30).with_shared_bytes(101_376);
    let (rows, cols) = (40, 200);
    let mut x = values::<f64>(&mut generator("correlate::no_screen"), rows * cols, 0.0, 1.0);
    x.copy_within(..cols / 2, 9 * cols);
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let (mut found, mut expected) = (threshold(0.3), threshold(0.3));
    let stats = Stats::new(DeviceReport::cpu("emulated"));
    let options = CorrelateOptions::default();
    let devices = std::slice::from_ref(&device);
    let summary =
        run_on(devices, stats, view, view, Pairing::Within, &options, &mut found, &cpu()).unwrap();
    correlate(view, &mut expected, &cpu()).unwrap();
    let places = |pairs: Threshold| -> Vec<(usize, usize)> {
        pairs.into_pairs().iter().map(|pair| (pair.row, pair.col)).collect()
    };
    let expected = places(expected);
    assert!(!expected.is_empty());
    assert_eq!((places(found), summary.stats.fallbacks), (expected, 0));
}

fn threshold(minimum: f64) -> Threshold {
    Threshold::new(Strength::Magnitude, minimum)
}

#[test]
fn selecting_on_the_device_finds_what_the_cpu_finds() {
    selections_agree::<f32>(Route::Emulated);
    selections_agree::<f64>(Route::Emulated);
}

#[test]
fn a_device_too_small_for_a_tile_states_the_least() {
    let x = vec![0.5f32; 10 * 20];
    let budget = Budget { device_bytes: Some(1000), ..Budget::default() };
    let error = go(
        Route::Emulated,
        MatrixView::new(&x, 10, 20).unwrap(),
        None,
        &mut threshold(0.5),
        &Execution { budget, ..cpu() },
    )
    .unwrap_err();
    assert!(error.to_string().contains("the device budget of 1000 bytes is too small"), "{error}");
}

#[test]
fn long_equal_terms_stay_within_the_stated_bound() {
    // The worst case for f32 sums: every product is the same number.
    for cols in [10_000, 9_999, 65_536] {
        let x: Vec<f32> = (0..3 * cols)
            .map(|t| if t % 2 == 0 { 1.0 } else { -1.0 } * (1.0 + (t / cols) as f32))
            .collect();
        agrees(Route::Cpu, MatrixView::new(&x, 3, cols).unwrap(), None, &cpu());
    }
}

#[test]
fn neither_tile_nor_threads_change_a_bit() {
    let mut rng = generator("correlate::tiles");
    let (rows, cols) = (150, 300);
    let x = values::<f32>(&mut rng, rows * cols, 5.0, 1.0);
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let whole = dense(Route::Cpu, view, None, &cpu());
    for (host_bytes, threads) in [(120_000, 1), (200_000, 3), (1 << 20, 2), (1 << 30, 5)] {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let execution = Execution { budget: Budget::host(host_bytes), pool, ..cpu() };
        assert_eq!(dense(Route::Cpu, view, None, &execution), whole, "{host_bytes} {threads}");
    }
}

#[test]
fn a_small_budget_means_more_tiles_and_one_too_small_states_the_least() {
    let x = vec![0.5f32; 100 * 20];
    let view = MatrixView::new(&x, 100, 20).unwrap();
    let run = |bytes| {
        correlate(
            view,
            &mut TopPairs::new(Strength::Signed, 1),
            &Execution { budget: Budget::host(bytes), ..cpu() },
        )
    };
    let error = run(1000).unwrap_err();
    let Error::BudgetTooSmall { least_bytes, .. } = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::User);
    let summary = run(least_bytes).unwrap();
    assert!(summary.stats.tiles > 1 && summary.stats.peak_bytes as usize <= least_bytes);
    assert!(run(least_bytes - 1).is_err());
}

fn all_pairs<T: Element>(x: MatrixView<'_, T>) -> Vec<Pair> {
    let found = dense(Route::Cpu, x, None, &cpu());
    let mut pairs = Vec::new();
    for (row, scores) in found.iter().enumerate() {
        pairs.extend(
            scores.iter().enumerate().filter_map(|(col, r)| Some(Pair { row, col, r: (*r)? })),
        );
    }
    pairs
}

#[test]
fn sinks_keep_what_sorting_all_pairs_would() {
    let mut rng = generator("correlate::sinks");
    let (rows, cols) = (40, 12);
    // Few distinct values: many equal coefficients.
    let mut x: Vec<f32> = (0..rows * cols).map(|_| rng.random_range(0..2) as f32).collect();
    x[5 * cols..6 * cols].fill(1.0);
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let all = all_pairs(view);
    let small = Execution { budget: Budget::host(100_000), ..cpu() };
    for strength in [Strength::Magnitude, Strength::Signed] {
        let size =
            |pair: &Pair| if strength == Strength::Magnitude { pair.r.abs() } else { pair.r };
        let ordered = |pairs: &[Pair]| {
            let mut pairs = pairs.to_vec();
            pairs.sort_by(|a, b| {
                size(b).total_cmp(&size(a)).then((a.row, a.col).cmp(&(b.row, b.col)))
            });
            pairs
        };
        let mut threshold = Threshold::new(strength, 0.4);
        correlate(view, &mut threshold, &small).unwrap();
        let expected: Vec<Pair> = all.iter().copied().filter(|pair| size(pair) >= 0.4).collect();
        assert_eq!(threshold.into_pairs(), expected);
        for k in [0, 1, 7, 100, 10_000] {
            let mut top = TopPairs::new(strength, k);
            correlate(view, &mut top, &small).unwrap();
            let expected = ordered(&all);
            assert_eq!(top.into_pairs(), expected[..k.min(all.len())]);

            let mut top = TopPerRow::new(strength, rows, k);
            correlate(view, &mut top, &small).unwrap();
            for (row, found) in top.into_rows().into_iter().enumerate() {
                let own: Vec<Pair> = all
                    .iter()
                    .filter(|pair| pair.row == row || pair.col == row)
                    .map(|pair| Pair { row, col: pair.row + pair.col - row, r: pair.r })
                    .collect();
                let expected: Vec<Neighbour> = ordered(&own)
                    .iter()
                    .take(k)
                    .map(|pair| Neighbour { index: pair.col, r: pair.r })
                    .collect();
                assert_eq!(found, expected, "row {row} k {k}");
            }
        }
    }
}

#[test]
fn a_threshold_that_too_many_pairs_reach_is_an_error() {
    let x: Vec<f64> = (0..30 * 4).map(|t| (t % 4) as f64).collect();
    let mut sink = Threshold::new(Strength::Magnitude, 0.9).with_limit(10);
    let error = correlate(MatrixView::new(&x, 30, 4).unwrap(), &mut sink, &cpu()).unwrap_err();
    assert!(error.to_string().contains("more than 10 pairs reach the threshold"), "{error}");
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let one = MatrixView::new(&[1.0f32, 2.0, 3.0], 3, 1).unwrap();
    let mut sink = TopPairs::new(Strength::Signed, 3);
    let error = correlate(one, &mut sink, &cpu()).unwrap_err();
    assert_eq!(error.to_string(), "correlate: 3 series of length 1; at least 2 samples are needed");
    let (x, y) = ([1.0f32; 6], [1.0f32; 6]);
    let error = correlate_between(
        MatrixView::new(&x, 2, 3).unwrap(),
        MatrixView::new(&y, 3, 2).unwrap(),
        &mut sink,
        &cpu(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "correlate: 2 x 3 against 3 x 2; series of the same length are needed"
    );
}

#[test]
fn a_cancelled_operation_stops_and_says_where() {
    let control = Control::new();
    control.cancel();
    let x = vec![1.0f64; 20];
    let execution = Execution { control, ..cpu() };
    let view = MatrixView::new(&x, 4, 5).unwrap();
    let error = correlate(view, &mut TopPairs::new(Strength::Signed, 3), &execution).unwrap_err();
    assert_eq!(error.to_string(), "correlate: cancelled after 0 of 1 steps");
}
