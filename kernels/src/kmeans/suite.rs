//! One suite for every way to find clusters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::budget::Budget;
use crate::cuda::emulated::Emulated;
use crate::device::DeviceReport;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{Check, Route, check_all, generator, on, values};
use crate::tolerance;

/// The operation by one of its routes.
fn go<T: Element>(
    route: Route,
    x: MatrixView<'_, T>,
    options: &KMeansOptions<'_>,
    execution: &Execution,
) -> Result<Clustering> {
    if route == Route::Emulated {
        return emulated(1, x, options, execution);
    }
    kmeans(x, options, execution)
}

/// On the first `count` of two emulated devices.
fn emulated<T: Element>(
    count: usize,
    x: MatrixView<'_, T>,
    options: &KMeansOptions<'_>,
    execution: &Execution,
) -> Result<Clustering> {
    static DEVICES: LazyLock<[Emulated; 2]> =
        LazyLock::new(|| [Emulated::new(&SOURCE, 1 << 30), Emulated::new(&SOURCE, 1 << 30)]);
    let stats = Stats::new(DeviceReport::cpu("emulated"));
    run_on(&DEVICES[..count], stats, x, options, execution)
}

/// Rows around `blobs` places, and a few without all values.
fn blobs<T: Element>(
    rng: &mut ChaCha8Rng,
    (rows, cols): (usize, usize),
    blobs: usize,
    offset: f64,
    spread: f64,
) -> Vec<T> {
    let places: Vec<f64> = values(rng, blobs * cols, offset, spread);
    let mut x = Vec::with_capacity(rows * cols);
    for _ in 0..rows {
        let blob = rng.random_range(0..blobs);
        let noise: Vec<f64> = values(rng, cols, 0.0, 0.3 * spread);
        let place = &places[blob * cols..][..cols];
        x.extend(noise.iter().zip(place).map(|(noise, place)| T::from_f64(noise + place)));
    }
    if rows > 4 * blobs {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            x[rng.random_range(0..rows * cols)] = T::from_f64(value);
        }
    }
    x
}

fn wide<T: Element>(x: &[T], cols: usize) -> Vec<Vec<f64>> {
    x.chunks(cols).map(|row| row.iter().map(|value| value.to_f64()).collect()).collect()
}

/// From the first usable rows as centres.
fn agrees<T: Element>(
    route: Route,
    x: &[T],
    cols: usize,
    clusters: usize,
    iterations: usize,
    execution: &Execution,
) -> Clustering {
    let rows = wide(x, cols);
    let start: Vec<f64> = rows
        .iter()
        .filter(|row| row.iter().all(|value| value.is_finite()))
        .take(clusters)
        .flatten()
        .copied()
        .collect();
    let options = KMeansOptions {
        iterations,
        start: Start::Centres(MatrixView::new(&start, clusters, cols).unwrap()),
        ..KMeansOptions::new(clusters)
    };
    let view = MatrixView::new(x, rows.len(), cols).unwrap();
    let found = go(route, view, &options, execution).unwrap();
    let expected = reference::lloyd(&rows, wide(&start, cols), iterations, options.tolerance);
    let shape = format!("{} x {cols} {} in {clusters}", rows.len(), T::NAME);
    assert_eq!(
        (found.iterations, found.converged),
        (expected.iterations, expected.converged),
        "{shape}"
    );
    assert_eq!(found.labels, expected.labels, "{shape}");
    let bound = tolerance::KMEANS;
    let size = rows
        .iter()
        .flatten()
        .filter(|value| value.is_finite())
        .fold(0.0, |size: f64, value| size.max(value.abs()));
    for (found, expected) in found.centres.iter().zip(expected.centres.iter().flatten()) {
        assert!((found - expected).abs() <= bound * size, "{shape}: centre {found}, {expected}");
    }
    let spread = expected.inertia.max(f64::MIN_POSITIVE);
    // Inertia is made of squares of differences, which keep the absolute error of the centres.
    let error = (found.inertia - expected.inertia).abs() / spread;
    assert!(error <= 1e-9, "{shape}: inertia {}, {}", found.inertia, expected.inertia);
    for (index, &size) in found.sizes.iter().enumerate() {
        let own = found.labels.iter().filter(|&&label| label == Some(index as u32)).count();
        assert_eq!(own as u64, size, "{shape}");
    }
    found
}

fn shapes_agree<T: Element>(route: Route) {
    let mut rng = generator("kmeans::shapes_agree");
    let mut shapes = vec![(1, 1, 1), (150, 19, 70)];
    if route != Route::Emulated {
        shapes.extend([
            (5, 1, 5),
            (97, 3, 2),
            (2, 1, 2),
            (61, 8, 61),
            (300, 17, 33),
            (777, 300, 15),
            (5000, 5, 70),
        ]);
    }
    let random = (rng.random_range(20..600), rng.random_range(1..40), rng.random_range(1..20));
    shapes.push(if route == Route::Emulated {
        (random.0 / 3, random.1, random.2.min(6))
    } else {
        random
    });
    for (rows, cols, clusters) in shapes {
        for offset in [0.0, 1e3] {
            let x = blobs::<T>(&mut rng, (rows, cols), clusters, offset, 1.0);
            let iterations = if route == Route::Emulated { 2 } else { 8 };
            agrees(route, &x, cols, clusters, iterations, &on(route));
        }
    }
    // Values near 1e6 with a variance of 1e-2.
    let x = blobs::<f64>(&mut rng, (120, 6), 4, 1e6, 0.1);
    agrees(route, &x, 6, 4, 3, &on(route));
}

#[test]
fn the_cpu_agrees_with_the_definition_f32() {
    shapes_agree::<f32>(Route::Cpu);
}

#[test]
fn the_cpu_agrees_with_the_definition_f64() {
    shapes_agree::<f64>(Route::Cpu);
}

#[test]
fn the_emulated_kernels_agree_with_the_definition_f32() {
    shapes_agree::<f32>(Route::Emulated);
}

#[test]
fn the_emulated_kernels_agree_with_the_definition_f64() {
    shapes_agree::<f64>(Route::Emulated);
}

/// What a device must pass.
pub(crate) const DEVICE: &[Check] = &[
    Check::new("kmeans: shapes, f32", || shapes_agree::<f32>(Route::Cuda)),
    Check::new("kmeans: shapes, f64", || shapes_agree::<f64>(Route::Cuda)),
    Check::new("kmeans: tails, f32", || tails_agree::<f32>(Route::Cuda)),
    Check::new("kmeans: tails, f64", || tails_agree::<f64>(Route::Cuda)),
    Check::new("kmeans: near ties", || near_ties_agree(Route::Cuda)),
    Check::new("kmeans: the CPU's bits, f32", || bits_are_the_cpus::<f32>(Route::Cuda, 300_000)),
    Check::new("kmeans: the CPU's bits, f64", || bits_are_the_cpus::<f64>(Route::Cuda, 300_000)),
];

#[test]
fn the_device_agrees_with_the_definition() {
    check_all(DEVICE);
}

/// Several groups, ties, empty centres, mini-batches and a budget that keeps some tiles and sends others.
fn bits_are_the_cpus<T: Element>(route: Route, rows: usize) {
    let mut rng = generator("kmeans::bits_are_the_cpus");
    let cols = 3;
    let mut x = blobs::<T>(&mut rng, (rows, cols), 6, 5.0, 1.0);
    // A part of the rows on a grid.
    for value in &mut x[..rows] {
        *value = T::from_f64(value.to_f64().round());
    }
    let view = MatrixView::new(&x, rows, cols).unwrap();
    // Two centres in the middle of all rows, and one where none is.
    let mut far: Vec<f64> = (0..7 * cols).map(|at| at as f64).collect();
    far[..2 * cols].fill(5.0);
    far[6 * cols..].fill(1e3);
    let start = Start::Centres(MatrixView::new(&far, 7, cols).unwrap());
    for (batch, device_bytes) in [(None, None), (None, Some(50_000)), (Some(300), None)] {
        if route == Route::Cuda && device_bytes.is_some() {
            continue;
        }
        let options =
            KMeansOptions { batch, start, iterations: 2, tolerance: 0.0, ..KMeansOptions::new(7) };
        let expected = kmeans(view, &options, &on(Route::Cpu)).unwrap();
        let budget = Budget { device_bytes, ..Budget::default() };
        let execution = Execution { budget, ..on(route) };
        let found = match (route, batch) {
            (Route::Emulated, None) => emulated(2, view, &options, &execution),
            _ => go(route, view, &options, &execution),
        };
        let found = found.unwrap();
        assert!(found.stats.fallbacks > 0 && expected.stats.fallbacks > 0);
        let same = Clustering { stats: expected.stats.clone(), ..found };
        assert_eq!(same, expected, "{batch:?} {device_bytes:?}");
    }
}

#[test]
fn the_emulated_kernels_have_the_bits_of_the_cpu() {
    bits_are_the_cpus::<f32>(Route::Emulated, 2 * SEGMENT * GROUP + 77);
    bits_are_the_cpus::<f64>(Route::Emulated, SEGMENT * GROUP + 77);
}

/// The CPU's labels and centres, to the bit; gives how many rows could not be proven.
fn same_as_the_cpus<T: Element>(
    route: Route,
    x: &[T],
    (cols, start): (usize, &[f64]),
    iterations: usize,
    budget: Budget,
) -> u64 {
    let clusters = start.len() / cols;
    let options = KMeansOptions {
        start: Start::Centres(MatrixView::new(start, clusters, cols).unwrap()),
        iterations,
        tolerance: 0.0,
        ..KMeansOptions::new(clusters)
    };
    let view = MatrixView::new(x, x.len() / cols, cols).unwrap();
    let expected = kmeans(view, &options, &on(Route::Cpu)).unwrap();
    let found = go(route, view, &options, &Execution { budget, ..on(route) }).unwrap();
    let fallbacks = found.stats.fallbacks;
    let same = Clustering { stats: expected.stats.clone(), ..found };
    assert_eq!(same, expected, "{} x {cols} in {clusters}", view.rows());
    fallbacks
}

/// Tails of panels, of steps of 16 columns and of 256 centres, at every size of the values.
fn tails_agree<T: Element>(route: Route) {
    let mut rng = generator("kmeans::tails_agree");
    for (rows, cols, clusters) in [(130, 16, 65), (129, 33, 257), (260, 7, 300), (40, 17, 3)] {
        let clusters = clusters.min(rows);
        let x = blobs::<T>(&mut rng, (rows, cols), clusters, 1e3, 1.0);
        let start: Vec<f64> =
            wide(&x, cols).concat().iter().map(|v| if v.is_finite() { *v } else { 1e3 }).collect();
        same_as_the_cpus(route, &x, (cols, &start[..clusters * cols]), 1, Budget::default());
    }
    for factor in [1e-37, 1e-20, 1e20, 1e37] {
        let x: Vec<T> = blobs::<f64>(&mut rng, (140, 5), 4, 0.5, 1.0)
            .iter()
            .map(|v| v * factor)
            .map(T::from_f64)
            .collect();
        let start: Vec<f64> = values(&mut rng, 4 * 5, 0.5 * factor, factor);
        same_as_the_cpus(route, &x, (5, &start), 2, Budget::default());
    }
    // One row that is far from all others leaves them few bits of the frame.
    let mut x = blobs::<T>(&mut rng, (140, 5), 4, 0.0, 1.0);
    x[0] = T::from_f64(1e9);
    let start: Vec<f64> = values(&mut rng, 4 * 5, 0.0, 1.0);
    same_as_the_cpus(route, &x, (5, &start), 1, Budget::default());
}

/// Rows in the middle between two centres, but for about as much as the products may be off.
fn near_ties_agree(route: Route) {
    let mut rng = generator("kmeans::near_ties");
    let (rows, cols, clusters) = (if route == Route::Emulated { 400 } else { 20_000 }, 24, 6);
    let start: Vec<f64> = values(&mut rng, clusters * cols, 0.0, 1.0);
    let mut x = Vec::<f32>::with_capacity(rows * cols);
    for row in 0..rows {
        // From the first centre's side to the second's: shares from 2^-10 of their distance to 2^-40.
        let side = if row % 2 == 0 { 1.0 } else { -1.0 };
        let share = 0.5 + side * (-10.0 - 30.0 * (row / 2) as f64 / (rows / 2) as f64).exp2();
        let pair = row % 3;
        let (a, b) = (&start[2 * pair * cols..][..cols], &start[(2 * pair + 1) * cols..][..cols]);
        x.extend(a.iter().zip(b).map(|(a, b)| (a + share * (b - a)) as f32));
    }
    let fallbacks = same_as_the_cpus(route, &x, (cols, &start), 0, Budget::default());
    // Those whose share is 2^-12 or more are proven; those of 2^-24 or less can't be.
    let rows = rows as u64;
    assert!((rows / 2..=rows * 29 / 30).contains(&fallbacks), "{fallbacks} of {rows}");
}

#[test]
fn the_emulated_kernels_agree_at_tails_f32() {
    tails_agree::<f32>(Route::Emulated);
}

#[test]
fn the_emulated_kernels_agree_at_tails_f64() {
    tails_agree::<f64>(Route::Emulated);
}

/// Segments, groups and spans of a single device, some of them without rows of a cluster.
#[test]
fn the_emulated_kernels_add_many_clusters_in_order() {
    let mut rng = generator("kmeans::many_clusters");
    for clusters in [5, 20] {
        let mut x = blobs::<f32>(&mut rng, (2 * SEGMENT * GROUP + 300, 3), 20, 5.0, 1.0);
        // The first segments have rows of one place only.
        for row in x[..(SEGMENT + 40) * 3].chunks_mut(3) {
            row[0] = 9.0 + 0.1 * row[0];
        }
        let start: Vec<f64> = values(&mut rng, clusters * 3, 5.0, 1.0);
        for device_bytes in [None, Some(60_000), Some(170_000)] {
            let budget = Budget { device_bytes, ..Budget::default() };
            same_as_the_cpus(Route::Emulated, &x, (3, &start), 2, budget);
        }
    }
}

#[test]
fn the_emulated_kernels_agree_near_ties() {
    near_ties_agree(Route::Emulated);
}

#[test]
fn the_emulated_kernels_prove_almost_all_rows() {
    let mut rng = generator("kmeans::proven_there");
    let x: Vec<f32> = values(&mut rng, 1000 * 64, 3.0, 1.0);
    let start: Vec<f64> = values(&mut rng, 40 * 64, 3.0, 0.2);
    let fallbacks = same_as_the_cpus(Route::Emulated, &x, (64, &start), 0, Budget::default());
    assert!(fallbacks < 10, "{fallbacks} of 1,000");
}

#[test]
fn more_rows_than_a_group_agree_with_the_definition() {
    let mut rng = generator("kmeans::groups");
    let rows = 4 * SEGMENT * GROUP + SEGMENT + 77;
    let x = blobs::<f32>(&mut rng, (rows, 2), 5, 3.0, 2.0);
    agrees(Route::Cpu, &x, 2, 5, 3, &on(Route::Cpu));
}

#[test]
fn almost_all_rows_are_proven_by_the_screen() {
    let mut rng = generator("kmeans::proven");
    let x = blobs::<f32>(&mut rng, (4000, 64), 40, 0.0, 1.0);
    let found = agrees(Route::Cpu, &x, 64, 40, 3, &on(Route::Cpu));
    assert!(found.stats.fallbacks < 40, "{} of 16,000", found.stats.fallbacks);
    // All labels of a grid and of centres in the middle between its points are ties.
    let grid: Vec<f32> = (0..600).map(|index| (index % 3) as f32).collect();
    let found = agrees(Route::Cpu, &grid, 2, 5, 5, &on(Route::Cpu));
    assert!(found.stats.fallbacks > 0);
}

#[test]
fn magnitudes_up_to_the_largest_are_clustered() {
    for factor in [1e-30, 1e30] {
        let x: Vec<f32> = [1.0, 1.1, 5.0, 5.2].map(|value| (value * factor) as f32).to_vec();
        let found = agrees(Route::Cpu, &x, 1, 2, 9, &on(Route::Cpu));
        assert_eq!(found.labels, [Some(0), Some(0), Some(1), Some(1)], "{factor}");
    }
    for factor in [1e-100, 1e139] {
        let x = [1.0, 1.1, 5.0, 5.2, f64::MAX].map(|value| value * factor);
        let view = MatrixView::new(&x[..4], 4, 1).unwrap();
        let found = kmeans(view, &KMeansOptions::new(2), &on(Route::Cpu)).unwrap();
        assert_eq!(found.labels[0], found.labels[1], "{factor}");
        assert_ne!(found.labels[0], found.labels[2], "{factor}");
        assert!(found.inertia.is_finite());
    }
}

#[test]
fn a_centre_without_rows_takes_the_farthest_row() {
    let x = [0.0f64, 1.0, 2.0, 3.0, 100.0, 104.0];
    let start = [1.0, -500.0, 1.0];
    let options = KMeansOptions {
        iterations: 1,
        start: Start::Centres(MatrixView::new(&start, 3, 1).unwrap()),
        ..KMeansOptions::new(3)
    };
    let found = kmeans(MatrixView::new(&x, 6, 1).unwrap(), &options, &on(Route::Cpu)).unwrap();
    // The second takes 104, the third 100.
    assert_eq!(found.centres, [1.5, 104.0, 100.0]);
    assert_eq!(found.sizes, [4, 1, 1]);
}

#[test]
fn rows_that_are_all_the_same_make_one_cluster() {
    let x = [7.0f32; 30];
    let view = MatrixView::new(&x, 10, 3).unwrap();
    for start in [Start::PlusPlus, Start::Sampled] {
        let options = KMeansOptions { start, ..KMeansOptions::new(4) };
        let found = kmeans(view, &options, &on(Route::Cpu)).unwrap();
        assert_eq!(found.labels, [Some(0); 10]);
        assert_eq!((found.sizes, found.inertia), (vec![10, 0, 0, 0], 0.0));
        assert!(found.converged);
    }
}

#[test]
fn a_good_start_finds_the_blobs_and_depends_on_the_seed_only() {
    // Always the same data: how near a search comes is a matter of luck with it.
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let x = blobs::<f32>(&mut rng, (5000, 12), 8, 0.0, 10.0);
    let view = MatrixView::new(&x, 5000, 12).unwrap();
    let find = |start, seed, iterations| {
        let options = KMeansOptions { start, seed, iterations, ..KMeansOptions::new(8) };
        kmeans(view, &options, &on(Route::Cpu)).unwrap()
    };
    for start in [Start::PlusPlus, Start::Sampled] {
        let first = find(start, 3, 0);
        for centre in first.centres.chunks(12) {
            assert!(wide(&x, 12).iter().any(|row| row == centre), "a centre is no row");
        }
        assert_eq!(first.centres, find(start, 3, 0).centres);
        assert_ne!(first.centres, find(start, 4, 0).centres);
    }
    let best = (0..5).map(|seed| find(Start::PlusPlus, seed, 50).inertia).fold(f64::MAX, f64::min);
    let noise = 5000.0 * 12.0 * 9.0 * 0.5;
    assert!(best < 3.0 * noise, "{best}, {noise}");
}

#[test]
fn mini_batches_come_near_to_all_rows() {
    // Always the same data: how near a search comes is a matter of luck with it.
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let x = blobs::<f32>(&mut rng, (6000, 9), 6, 1.0, 4.0);
    let view = MatrixView::new(&x, 6000, 9).unwrap();
    let find = |batch, threads| {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let options = KMeansOptions { batch, tolerance: 0.0, ..KMeansOptions::new(6) };
        kmeans(view, &options, &Execution { pool, ..on(Route::Cpu) }).unwrap()
    };
    let (all, few) = (find(None, 2), find(Some(500), 2));
    assert!(few.inertia < 1.1 * all.inertia, "{} {}", few.inertia, all.inertia);
    assert_eq!(few.centres, find(Some(500), 3).centres);
    assert_eq!(few.iterations, 100);
    assert!(few.stats.excluded_rows > 0);
}

#[test]
fn neither_threads_nor_budget_change_a_bit() {
    let mut rng = generator("kmeans::threads");
    let x = blobs::<f32>(&mut rng, (30_000, 7), 12, 0.0, 1.0);
    let view = MatrixView::new(&x, 30_000, 7).unwrap();
    let options = KMeansOptions { iterations: 5, ..KMeansOptions::new(12) };
    let find = |host_bytes, threads| {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let budget = Budget::host(host_bytes);
        kmeans(view, &options, &Execution { pool, budget, ..on(Route::Cpu) })
    };
    let Err(Error::BudgetTooSmall { least_bytes, .. }) = find(1, 2) else {
        panic!("one byte is enough for nothing");
    };
    let whole = find(1 << 30, 2).unwrap();
    for (host_bytes, threads) in [(1 << 30, 1), (1 << 30, 5), (least_bytes, 4)] {
        let found = find(host_bytes, threads).unwrap();
        let same = Clustering { stats: whole.stats.clone(), ..found };
        assert_eq!(same, whole, "{host_bytes} {threads}");
    }
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let x = [1.0f64, 2.0, f64::NAN, 4.0, 5.0, 6.0];
    let view = MatrixView::new(&x, 6, 1).unwrap();
    let fails = |options: &KMeansOptions<'_>, execution: &Execution| {
        kmeans(view, options, execution).unwrap_err().to_string()
    };
    let cpu = on(Route::Cpu);
    let two = KMeansOptions::new(2);
    assert_eq!(
        fails(&KMeansOptions::new(0), &cpu),
        "kmeans: clusters is 0; it must be 1 to 4,294,967,294"
    );
    assert_eq!(
        fails(&KMeansOptions::new(6), &cpu),
        "kmeans: 5 usable rows for 6 clusters; at least as many rows as clusters are needed"
    );
    assert_eq!(
        fails(&KMeansOptions { tolerance: f64::NAN, ..two }, &cpu),
        "kmeans: tolerance is NaN; it must be 0 or more, and finite"
    );
    assert_eq!(
        fails(&KMeansOptions { batch: Some(0), ..two }, &cpu),
        "kmeans: batch is 0; at least 1 row is needed"
    );
    let start = Start::Centres(MatrixView::new(&x[..3], 3, 1).unwrap());
    assert_eq!(
        fails(&KMeansOptions { start, ..two }, &cpu),
        "kmeans: 3 x 1 centres to start from; clusters x columns, 2 x 1, is needed"
    );
    assert!(fails(&KMeansOptions { start, ..KMeansOptions::new(3) }, &cpu).contains("a centre 2"));
    let control = Control::new();
    control.cancel();
    assert_eq!(
        fails(&two, &Execution { control, ..cpu.clone() }),
        "kmeans: cancelled after 0 of 103 steps"
    );
    let tiny = Execution { budget: Budget::host(10), ..cpu.clone() };
    assert!(fails(&two, &tiny).contains("too small for one tile; at least"));
    let none = MatrixView::<f32>::new(&[], 0, 3).unwrap();
    assert_eq!(
        kmeans(none, &two, &cpu).unwrap_err().to_string(),
        "kmeans: 0 usable rows for 2 clusters; at least as many rows as clusters are needed"
    );
    let no_columns = MatrixView::<f32>::new(&[], 4, 0).unwrap();
    assert_eq!(
        kmeans(no_columns, &two, &cpu).unwrap_err().to_string(),
        "kmeans: 4 rows without columns; at least 1 column is needed"
    );
}
