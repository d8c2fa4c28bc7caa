//! One suite for every way to find the nearest vectors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use std::sync::LazyLock;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::device::MOST_NEIGHBOURS;
use super::*;
use crate::budget::Budget;
use crate::cuda::emulated::Emulated;
use crate::device::DeviceReport;
use crate::testing::{Check, Route, check_all, generator, on, values};
use crate::tolerance;

pub(super) const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::SquaredL2];

static EMULATED: LazyLock<Emulated> = LazyLock::new(|| Emulated::new(&SOURCE, 1 << 30));

pub(super) fn go<T: Element>(
    route: Route,
    search: &Search<'_, T>,
    k: usize,
    execution: &Execution,
) -> Result<Nearest> {
    if route == Route::Emulated {
        search.check()?;
        let stats = Stats::new(DeviceReport::cpu("emulated"));
        return nearest_on(std::slice::from_ref(&*EMULATED), stats, search, k, execution);
    }
    T::nearest(search, k, execution)
}

fn go_join<T: Element>(
    route: Route,
    search: &Search<'_, T>,
    threshold: f64,
    sink: &mut dyn PairSink,
    execution: &Execution,
) -> Result<Summary> {
    if route == Route::Emulated {
        let (stats, device) = (Stats::new(DeviceReport::cpu("emulated")), &*EMULATED);
        return join_on(std::slice::from_ref(device), stats, search, threshold, sink, execution);
    }
    T::join(search, threshold, sink, execution)
}

fn wide<T: Element>(view: MatrixView<'_, T>) -> Vec<Vec<f64>> {
    (0..view.rows()).map(|row| view.row(row).iter().map(|value| value.to_f64()).collect()).collect()
}

fn is_allowed(allowed: Rows<'_>, row: usize) -> bool {
    match allowed {
        Rows::All => true,
        Rows::Bits(words) => words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1),
        Rows::Listed(rows) => rows.contains(&row),
    }
}

/// What a score may be off: the tolerance times what it is relative to.
fn slack(metric: Metric, q: &[f64], x: &[f64]) -> f64 {
    let norm = |v: &[f64]| v.iter().map(|value| value * value).sum::<f64>().sqrt();
    tolerance::NEAREST
        * match metric {
            Metric::Cosine => 1.0,
            Metric::Dot => norm(q) * norm(x),
            Metric::SquaredL2 => (norm(q) + norm(x)).powi(2),
        }
}

/// The result is the definition's. Rows may be swapped where their scores are closer than the tolerance.
pub(super) fn agrees<T: Element>(
    route: Route,
    search: &Search<'_, T>,
    k: usize,
    execution: &Execution,
) {
    let found = go(route, search, k, execution).unwrap();
    let (queries, base) = (wide(search.queries), wide(search.base));
    assert_eq!(found.rows(), queries.len());
    for (row, query) in queries.iter().enumerate() {
        let candidates: Vec<(usize, &[f64])> = base
            .iter()
            .enumerate()
            .filter(|(other, _)| is_allowed(search.allowed, *other))
            .filter(|(other, _)| search.pairing == Pairing::Between || *other != row)
            .map(|(other, values)| (other, values.as_slice()))
            .collect();
        let expected = reference::ranked(search.metric, query, &candidates);
        let found = found.row(row);
        let context = || {
            format!(
                "{} {:?} {:?} {}, {} x {} in {}, k {k}, row {row}: {found:?}, expected {:?}",
                T::NAME,
                search.metric,
                search.pairing,
                if matches!(search.allowed, Rows::All) { "all" } else { "some" },
                queries.len(),
                search.base.cols(),
                base.len(),
                &expected[..k.min(expected.len())]
            )
        };
        assert_eq!(found.len(), k.min(expected.len()), "{}", context());
        for (place, neighbour) in found.iter().enumerate() {
            let own = reference::score(search.metric, query, &base[neighbour.index]);
            let slack = slack(search.metric, query, &base[neighbour.index]);
            assert!((own.unwrap() - neighbour.score).abs() <= slack, "{}", context());
            let (index, score) = expected[place];
            let is_tie = (neighbour.score - score).abs() <= 2.0 * slack;
            assert!(neighbour.index == index || is_tie, "{}", context());
            assert!(candidates.iter().any(|(row, _)| *row == neighbour.index), "{}", context());
        }
        let in_order = |pair: &[Neighbour]| {
            Neighbour::order(search.metric, &pair[0], &pair[1]) == std::cmp::Ordering::Less
        };
        assert!(found.windows(2).all(in_order), "{}", context());
    }
}

fn pairs_agree<T: Element>(
    route: Route,
    search: &Search<'_, T>,
    threshold: f64,
    execution: &Execution,
) {
    let mut list = PairList::with_limit(1_000_000);
    go_join(route, search, threshold, &mut list, execution).unwrap();
    let found = list.into_pairs();
    let (queries, base) = (wide(search.queries), wide(search.base));
    let mut left = found.iter().peekable();
    for (row, query) in queries.iter().enumerate() {
        for (col, values) in base.iter().enumerate() {
            let both = is_allowed(search.allowed, row) && row < col;
            let Some(score) = reference::score(search.metric, query, values) else { continue };
            if !is_allowed(search.allowed, col) || search.pairing == Pairing::Within && !both {
                continue;
            }
            let beyond = search.metric.rank(score) - search.metric.rank(threshold);
            let slack = slack(search.metric, query, values);
            let pair = left.next_if(|pair| (pair.row, pair.col) == (row, col));
            let context =
                || format!("{} {:?} [{row}, {col}] {score} {pair:?}", T::NAME, search.metric);
            match pair {
                Some(pair) => {
                    assert!(
                        beyond >= -slack && (pair.score - score).abs() <= slack,
                        "{}",
                        context()
                    )
                }
                None => assert!(beyond <= slack, "{}", context()),
            }
        }
    }
    assert_eq!(left.next(), None, "a pair too many");
}

/// Vectors of one of several kinds that are hard in their own way.
pub(super) fn vectors<T: Element>(
    rng: &mut ChaCha8Rng,
    rows: usize,
    cols: usize,
    kind: usize,
) -> Vec<T> {
    let mut x = match kind {
        0 => values::<T>(rng, rows * cols, 0.0, 1.0),
        // Far from the origin: all cosines are near 1.
        1 => values::<T>(rng, rows * cols, 100.0, 1.0),
        // Small whole numbers: many equal scores.
        2 => (0..rows * cols).map(|_| T::from_f64(f64::from(rng.random_range(-1i8..=1)))).collect(),
        _ => {
            // Sizes that differ widely, and single large values.
            let mut x = values::<T>(rng, rows * cols, 0.0, 1.0);
            for (at, value) in x.iter_mut().enumerate() {
                let row_size = 10f64.powi((at / cols.max(1) % 7) as i32 - 3);
                let spike = if rng.random_bool(0.02) { 50.0 } else { 1.0 };
                *value = T::from_f64(value.to_f64() * row_size * spike);
            }
            x
        }
    };
    if cols > 0 && kind == 3 {
        for row in x.chunks_mut(cols) {
            match rng.random_range(0..12) {
                0 => row.fill(T::default()),
                1 => row[cols / 2] = T::NAN,
                2 => row[0] = T::from_f64(f64::NEG_INFINITY),
                _ => {}
            }
        }
    }
    x
}

fn shapes_agree<T: Element>(route: Route) {
    let mut rng = generator("nearest::shapes_agree");
    let small = [(0, 5, 3), (5, 0, 3), (3, 4, 0), (1, 1, 1), (13, 40, 7), (31, 61, 33)];
    let large = [(2, 3, 2), (1, 700, 12), (64, 301, 64), (229, 1501, 41), (15, 33, 130)];
    let large: &[_] = if route == Route::Emulated { &[(17, 261, 41)] } else { &large };
    for (case, &(queries, rows, cols)) in small.iter().chain(large).enumerate() {
        for (place, metric) in METRICS.into_iter().enumerate() {
            for kind in 0..4 {
                // Without dimensions there is nothing for a device to do; the emulation is slow.
                let is_skipped = match route {
                    Route::Cpu => false,
                    Route::Cuda => cols == 0,
                    Route::Emulated => cols == 0 || (case + place + kind) % 4 != 0,
                };
                if is_skipped {
                    continue;
                }
                let q = vectors::<T>(&mut rng, queries, cols, kind);
                let x = vectors::<T>(&mut rng, rows, cols, kind);
                let bits: Vec<u64> = (0..rows.div_ceil(64))
                    .map(|word| {
                        rng.random::<u64>() & (u64::MAX >> (64 * (word + 1)).saturating_sub(rows))
                    })
                    .collect();
                let allowed = [Rows::All, Rows::Bits(&bits)][rng.random_range(0..2)];
                let q = MatrixView::new(&q, queries, cols).unwrap();
                let x = MatrixView::new(&x, rows, cols).unwrap();
                // More than the kernels have places for is the processor's: `too_many_are_refused`.
                let most = if route == Route::Cpu { rows + 1 } else { MOST_NEIGHBOURS };
                let k = [1, 3, 10, (rows / 3 + 1).min(most)][rng.random_range(0..4)];
                let between =
                    Search { queries: q, base: x, pairing: Pairing::Between, metric, allowed };
                let within =
                    Search { queries: x, base: x, pairing: Pairing::Within, metric, allowed };
                let execution = on(route);
                agrees(route, &between, k, &execution);
                if rows <= if route == Route::Emulated { 61 } else { 301 } {
                    agrees(route, &within, k, &execution);
                    let threshold = typical(metric, q, x);
                    pairs_agree(route, &between, threshold, &execution);
                    pairs_agree(route, &within, typical(metric, x, x), &execution);
                }
            }
        }
    }
}

/// A threshold that some pairs reach: the third best of the first queries that have one.
fn typical<T: Element>(metric: Metric, q: MatrixView<'_, T>, x: MatrixView<'_, T>) -> f64 {
    let (q, x) = (wide(q), wide(x));
    let base: Vec<(usize, &[f64])> =
        x.iter().enumerate().map(|(row, values)| (row, values.as_slice())).collect();
    let third = |query: &Vec<f64>| Some(reference::ranked(metric, query, &base).get(3)?.1);
    q.iter().take(9).find_map(third).unwrap_or(0.5)
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
    Check::new("nearest: shapes, f32", || shapes_agree::<f32>(Route::Cuda)),
    Check::new("nearest: shapes, f64", || shapes_agree::<f64>(Route::Cuda)),
    Check::new("nearest: a base in pieces, f32", || pieces_agree::<f32>(Route::Cuda)),
    Check::new("nearest: a base in pieces, f64", || pieces_agree::<f64>(Route::Cuda)),
    Check::new("nearest: the worst for the screen", || the_worst_is_found::<f32>(Route::Cuda, 1.0)),
    Check::new("nearest: lists that overflow", || overflows_agree(Route::Cuda)),
    Check::new("nearest: more neighbours than kernels have places for", too_many_are_refused),
];

/// Where a device is required.
fn too_many_are_refused() {
    let mut rng = generator("nearest::too_many_are_refused");
    let rows = MOST_NEIGHBOURS + 2;
    let x = vectors::<f32>(&mut rng, rows, 5, 0);
    let search = between(view(&x, 5), view(&x, 5), Metric::Cosine);
    agrees(Route::Cuda, &search, MOST_NEIGHBOURS, &on(Route::Cuda));
    let error = go(Route::Cuda, &search, MOST_NEIGHBOURS + 1, &on(Route::Cuda)).unwrap_err();
    assert!(error.to_string().contains("257 neighbours are beyond the 256"), "{error}");
}

#[test]
fn the_device_agrees_with_the_definition() {
    check_all(DEVICE);
}

/// A device that holds a part of the base and a tile of the queries; results have the bits of the CPU's.
fn pieces_agree<T: Element>(route: Route) {
    let mut rng = generator("nearest::pieces_agree");
    // The emulation is slow: each type takes a part there.
    let is_small = route == Route::Emulated;
    let (queries, rows, cols) = if is_small { (10, 800, 17) } else { (1000, 30_000, 100) };
    let all = [(Metric::Cosine, 1), (Metric::SquaredL2, 0), (Metric::Dot, 3)];
    let is_single = size_of::<T>() == size_of::<f32>();
    let some = if is_single { &all[..1] } else { &all[1..2] };
    for &(metric, kind) in if is_small { some } else { &all } {
        let q = vectors::<T>(&mut rng, queries, cols, kind);
        let x = vectors::<T>(&mut rng, rows, cols, kind);
        let search = between(view(&q, cols), view(&x, cols), metric);
        let budget = Budget {
            device_bytes: Some(if is_small { 160_000 } else { 8 << 20 }),
            ..Budget::default()
        };
        let execution = Execution { budget, ..on(route) };
        let found = go(route, &search, 5, &execution).unwrap();
        let expected = go(Route::Cpu, &search, 5, &on(Route::Cpu)).unwrap();
        assert!(found.summary.stats.tiles > 2, "{:?}", found.summary.stats);
        for row in 0..queries {
            assert_eq!(found.row(row), expected.row(row), "{} {metric:?} {row}", T::NAME);
        }
    }
}

#[test]
fn a_base_in_pieces_gives_the_same_bits() {
    pieces_agree::<f32>(Route::Emulated);
    pieces_agree::<f64>(Route::Emulated);
}

/// Copies of one vector cannot be told apart by a screen. One row is nearer, in a part whose list overflows.
fn overflows_agree(route: Route) {
    let mut rng = generator("nearest::overflows_agree");
    let (rows, best) = (3100, 700);
    let one = values::<f32>(&mut rng, 9, 3.0, 1.0);
    let (mut base, q) = (one.repeat(rows), values::<f32>(&mut rng, 2 * 9, 3.0, 1.0));
    base[best * 9..][..9].copy_from_slice(&q[..9]);
    for metric in [Metric::Cosine, Metric::SquaredL2] {
        let search = between(view(&q, 9), view(&base, 9), metric);
        let found = go(route, &search, 3, &on(route)).unwrap();
        assert!(found.summary.stats.fallbacks > 0);
        let indices: Vec<usize> = found.row(0).iter().map(|n| n.index).collect();
        assert_eq!(indices, [best, 0, 1]);
        let threshold = found.row(0)[2].score;
        let mut list = PairList::with_limit(10_000);
        go_join(route, &search, threshold, &mut list, &on(route)).unwrap();
        let pairs = list.into_pairs();
        assert_eq!(pairs.iter().filter(|pair| pair.row == 0).count(), rows);
    }
}

#[test]
fn lists_that_overflow_are_scored_in_full() {
    overflows_agree(Route::Emulated);
}

/// Vectors whose coarse scores are as wrong as the bound allows, and in the wrong order: codes are multiples of
/// `unit`, what is lost is half of it and points the other vector's way. Each set holds the negative of every vector,
/// so that its centre is 0 and the codes are these.
fn the_worst_is_found<T: Element>(route: Route, unit: f64) {
    let dimensions = 33;
    let sign = |at: usize| if at == 0 { 0.0 } else { 1.0 - 2.0 * (at % 2) as f64 };
    let even = |at: usize| 254.0 - 2.0 * (at.div_ceil(2) % 50) as f64;
    let vector = |value: &dyn Fn(usize) -> f64| (0..dimensions).map(value).collect::<Vec<f64>>();
    let rough = vector(&|at| even(at) + 0.49 * unit * sign(at));
    // Its codes and one more in one place: the coarse score is larger, the real one smaller.
    let other = vector(&|at| even(at) + if at == 2 { unit } else { 0.0 });
    let signs = vector(&sign);
    // The rough vector's code is 1 times this, and nothing of it is lost.
    let first = vector(&|at| if at == 0 { 1.0 / 254.0 } else { 0.0 });
    let copies = if route == Route::Emulated { 1 } else { 8 };
    for (query, best, second) in [(&signs, &rough, &other), (&rough, &signs, &first)] {
        let both = |v: &[f64]| -> Vec<T> {
            v.iter()
                .chain(v.iter().map(|value| -value).collect::<Vec<_>>().iter())
                .map(|&value| T::from_f64(value))
                .collect()
        };
        let base = [both(second).repeat(150), both(best)].concat();
        let queries = both(query).repeat(copies);
        let search = between(view(&queries, dimensions), view(&base, dimensions), Metric::Dot);
        let found = go(route, &search, 1, &on(route)).unwrap();
        for row in 0..2 * copies {
            assert_eq!(found.row(row)[0].index, 300 + row % 2, "{} {route:?}", T::NAME);
        }
        let score = found.row(0)[0].score;
        let mut list = PairList::with_limit(1000);
        go_join(route, &search, score, &mut list, &on(route)).unwrap();
        assert_eq!(list.into_pairs().len(), 2 * copies);
    }
}

#[test]
fn the_worst_for_the_screen_is_found() {
    the_worst_is_found::<f32>(Route::Cpu, 2.0);
    the_worst_is_found::<f64>(Route::Cpu, 2.0);
    the_worst_is_found::<f32>(Route::Emulated, 1.0);
    the_worst_is_found::<f64>(Route::Emulated, 1.0);
}

/// More pairs than the list of a device holds.
#[test]
fn a_list_of_pairs_that_overflows_is_made_in_parts() {
    let x = [1.0f32, 2.0, 2.0].repeat(387);
    let (q, x) = (view(&x[..3 * 100], 3), view(&x, 3));
    let mut list = PairList::with_limit(100_000);
    let search = between(q, x, Metric::SquaredL2);
    let summary = go_join(Route::Emulated, &search, 0.0, &mut list, &on(Route::Emulated)).unwrap();
    let pairs = list.into_pairs();
    assert_eq!((pairs.len(), pairs[388].row, pairs[388].col), (100 * 387, 1, 1));
    assert!(summary.stats.fallbacks > 0);
}

#[test]
fn two_devices_give_the_same_bits_as_one() {
    let mut rng = generator("nearest::two_devices");
    let x = vectors::<f32>(&mut rng, 140, 12, 0);
    let search =
        Search { pairing: Pairing::Within, ..between(view(&x, 12), view(&x, 12), Metric::Cosine) };
    let two = [Emulated::new(&SOURCE, 1 << 26), Emulated::new(&SOURCE, 1 << 26)];
    let stats = || Stats::new(DeviceReport::cpu("emulated"));
    let execution = on(Route::Emulated);
    let both = nearest_on(&two, stats(), &search, 4, &execution).unwrap();
    let cpu = go(Route::Cpu, &search, 4, &on(Route::Cpu)).unwrap();
    assert!((0..140).all(|row| both.row(row) == cpu.row(row)));
    let pairs = |route: Option<Route>| {
        let mut list = PairList::with_limit(100_000);
        match route {
            Some(route) => go_join(route, &search, 0.5, &mut list, &execution).unwrap(),
            None => join_on(&two, stats(), &search, 0.5, &mut list, &execution).unwrap(),
        };
        list.into_pairs()
    };
    let expected = pairs(Some(Route::Cpu));
    assert!(!expected.is_empty() && pairs(None) == expected);
    let budget = Budget { device_bytes: Some(1000), ..Budget::default() };
    let error =
        nearest_on(&two, stats(), &search, 4, &Execution { budget, ..execution }).unwrap_err();
    assert!(error.to_string().starts_with("nearest: the device budget of 1000 bytes"), "{error}");
}

pub(super) fn view<T>(data: &[T], cols: usize) -> MatrixView<'_, T> {
    MatrixView::new(data, data.len() / cols, cols).unwrap()
}

pub(super) fn between<'a, T>(
    queries: MatrixView<'a, T>,
    base: MatrixView<'a, T>,
    metric: Metric,
) -> Search<'a, T> {
    Search { queries, base, pairing: Pairing::Between, metric, allowed: Rows::All }
}
