//! The index beside a search of everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use std::num::NonZeroUsize;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::budget::Budget;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{Route, generator, on, values};
use crate::tolerance;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::Euclidean];

/// Vectors around some places, some of them twice, and a few that can't be compared.
fn vectors(rng: &mut ChaCha8Rng, rows: usize, cols: usize, offset: f64) -> Vec<f32> {
    let places: Vec<f32> = values(rng, 8 * cols, offset, 2.0);
    let mut x = Vec::with_capacity(rows * cols);
    for row in 0..rows {
        if row > 3 && rng.random_bool(0.05) {
            let before = rng.random_range(0..row) * cols;
            x.extend_from_within(before..before + cols);
            continue;
        }
        let place = rng.random_range(0..8) * cols;
        let noise: Vec<f32> = values(rng, cols, 0.0, 1.0);
        x.extend(noise.iter().zip(&places[place..]).map(|(noise, place)| noise + place));
    }
    if rows > 100 {
        x[7 * cols] = f32::NAN;
        x[9 * cols] = f32::INFINITY;
        x[11 * cols..12 * cols].fill(0.0);
    }
    x
}

fn view(x: &[f32], cols: usize) -> MatrixView<'_, f32> {
    MatrixView::new(x, x.len() / cols, cols).unwrap()
}

fn wide(x: &[f32], cols: usize) -> Vec<Vec<f64>> {
    x.chunks(cols).map(|row| row.iter().map(|&value| f64::from(value)).collect()).collect()
}

fn build(x: &[f32], cols: usize, metric: Metric, lists: usize) -> IvfIndex {
    let options = IvfOptions { lists, ..IvfOptions::new(metric) };
    IvfIndex::build(view(x, cols), &options, &on(Route::Cpu)).unwrap().0
}

/// With every list looked into, the search is exact.
fn agrees(
    index: &IvfIndex,
    x: &[f32],
    queries: &[f32],
    cols: usize,
    options: &SearchOptions<'_>,
    offset: f64,
) {
    let (x, wide_queries) = (wide(x, cols), wide(queries, cols));
    let found = index.search(view(queries, cols), options, &on(Route::Cpu)).unwrap();
    assert_eq!(found.queries(), wide_queries.len());
    for (at, query) in wide_queries.iter().enumerate() {
        let is_let_through =
            |row: usize| options.filter.is_none_or(|words| words[row / 64] >> (row % 64) & 1 == 1);
        let all = reference::nearest(index.metric, &x, query, usize::MAX, is_let_through);
        let found = found.of(at);
        assert_eq!(found.len(), all.len().min(options.k), "{:?}", index.metric);
        // Relative to lengths: the longest there can be here.
        let length = cols as f64 * (offset.abs() + 8.0).powi(2);
        let near = match index.metric {
            Metric::Cosine => 1.0,
            Metric::Dot => length,
            Metric::Euclidean => cols as f64 * 100.0,
        };
        let bound = tolerance::IVF * near + length * 1e-13;
        for (found, expected) in found.iter().zip(&all) {
            let exact = all.iter().find(|(row, _)| *row as u64 == found.row).unwrap();
            let score = f64::from(found.score);
            assert!((score - exact.1).abs() <= bound, "{:?}: {score}, {}", index.metric, exact.1);
            assert!((score - expected.1).abs() <= bound, "{:?}: rank", index.metric);
        }
        let is_sorted = found.windows(2).all(|pair| {
            let order = match index.metric {
                Metric::Euclidean => pair[0].score.total_cmp(&pair[1].score),
                _ => pair[1].score.total_cmp(&pair[0].score),
            };
            order.then(pair[0].row.cmp(&pair[1].row)).is_lt()
        });
        assert!(is_sorted, "{:?}: {found:?}", index.metric);
    }
}

#[test]
fn searching_all_lists_finds_the_nearest() {
    let mut rng = generator("ivf::exact");
    for metric in METRICS {
        for (rows, cols, lists, offset) in [
            (1, 1, 1, 0.0),
            (40, 3, 7, 0.0),
            (700, 19, 16, 0.0),
            (500, 300, 5, 0.0),
            (300, 8, 9, 500.0),
        ] {
            let x = vectors(&mut rng, rows, cols, offset);
            let mut queries: Vec<f32> = values(&mut rng, 37 * cols, offset, 3.0);
            // Some queries are vectors of the index, and one is none.
            queries[..cols].copy_from_slice(&x[..cols]);
            queries[cols] = f32::NAN;
            let index = build(&x, cols, metric, lists);
            let mut filter = vec![0u64; rows.div_ceil(64)];
            filter.fill_with(|| rng.random());
            for filter in [None, Some(filter.as_slice())] {
                let options = SearchOptions { filter, ..SearchOptions::new(10, lists) };
                agrees(&index, &x, &queries, cols, &options, offset);
            }
        }
    }
}

#[test]
fn equal_vectors_come_by_row() {
    let x = [1.0f32, 2.0].repeat(50);
    let mut x = x;
    x.extend([5.0, 5.0]);
    for metric in METRICS {
        let index = build(&x, 2, metric, 2);
        let found =
            index.search(view(&x[..2], 2), &SearchOptions::new(4, 2), &on(Route::Cpu)).unwrap();
        let rows: Vec<u64> = found.of(0).iter().map(|found| found.row).collect();
        let expected = if metric == Metric::Dot { [50, 0, 1, 2] } else { [0, 1, 2, 3] };
        assert_eq!(rows, expected, "{metric:?}");
    }
}

#[test]
fn more_probes_find_more() {
    let mut rng = generator("ivf::recall");
    let x = vectors(&mut rng, 3000, 16, 0.0);
    for metric in METRICS {
        let index = build(&x, 16, metric, 32);
        let queries = view(&x[..200 * 16], 16);
        let recall = |probes| {
            index.recall(queries, &SearchOptions::new(10, probes), &on(Route::Cpu)).unwrap()
        };
        let (one, four, all) = (recall(1), recall(8), recall(32));
        assert!(
            one > 0.2 && four >= one && four > 0.6 && all == 1.0,
            "{metric:?} {one} {four} {all}"
        );
    }
}

#[test]
fn an_index_that_grew_and_one_from_parts_find_the_same() {
    let mut rng = generator("ivf::parts");
    let (rows, cols) = (900, 11);
    let x = vectors(&mut rng, rows, cols, 3.0);
    for metric in METRICS {
        let mut index = build(&x[..500 * cols], cols, metric, 12);
        let stats = index.add(view(&x[500 * cols..], cols), &on(Route::Cpu)).unwrap();
        assert_eq!(stats.excluded_rows, 0);
        let options = SearchOptions::new(7, 12);
        agrees(&index, &x, &x[..50 * cols], cols, &options, 3.0);
        let parts = index.parts();
        assert_eq!((parts.added, parts.offsets.len()), (900, 13));
        let again = IvfIndex::from_parts(&parts, view(&x, cols), &on(Route::Cpu)).unwrap();
        assert_eq!(again.parts(), parts);
        let few = SearchOptions::new(7, 3);
        let found = |index: &IvfIndex| {
            index.search(view(&x[..300 * cols], cols), &few, &on(Route::Cpu)).unwrap().found
        };
        assert_eq!(found(&again), found(&index));
    }
}

#[test]
fn neither_threads_nor_budget_change_what_is_found() {
    let mut rng = generator("ivf::threads");
    let x = vectors(&mut rng, 2000, 9, 0.0);
    let with = |host_bytes, threads| {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        Execution { pool, budget: Budget::host(host_bytes), ..on(Route::Cpu) }
    };
    let options = IvfOptions { lists: 20, ..IvfOptions::new(Metric::Euclidean) };
    let (index, stats) = IvfIndex::build(view(&x, 9), &options, &with(1 << 30, 2)).unwrap();
    assert_eq!(stats.excluded_rows, 2);
    let (other, _) = IvfIndex::build(view(&x, 9), &options, &with(1 << 30, 3)).unwrap();
    assert_eq!(index.parts(), other.parts());
    let search = SearchOptions::new(5, 4);
    let found = |execution: &Execution| index.search(view(&x, 9), &search, execution);
    let Err(Error::BudgetTooSmall { least_bytes, .. }) = found(&with(1, 2)) else {
        panic!("one byte is enough for nothing");
    };
    let whole = found(&with(1 << 30, 2)).unwrap();
    for execution in [with(1 << 30, 1), with(least_bytes, 3), with(100_000, 4)] {
        let part = found(&execution).unwrap();
        assert_eq!((&part.found, &part.ends), (&whole.found, &whole.ends));
    }
    // Queries so few that threads share their lists, one of them unusable, with a filter and without.
    let filter: Vec<u64> =
        (0..2000_u64.div_ceil(64)).map(|word| word.wrapping_mul(0x9e37)).collect();
    for filter in [None, Some(filter.as_slice())] {
        let search = SearchOptions { filter, ..search };
        let all = index.search(view(&x, 9), &search, &with(1 << 30, 2)).unwrap();
        for (first, count) in [(0, 1), (7, 1), (3, 5), (100, 8)] {
            for threads in [1, 2, 3, 30] {
                let few = view(&x[first * 9..(first + count) * 9], 9);
                let few = index.search(few, &search, &with(1 << 30, threads)).unwrap();
                assert!(count > 1 || few.stats.tiles == 1);
                assert_eq!(few.stats.excluded_rows, u64::from((first..first + count).contains(&7)));
                for query in 0..count {
                    assert_eq!(few.of(query), all.of(first + query), "{first} {query} {threads}");
                }
            }
        }
    }
}

#[test]
fn bad_input_is_an_error_that_names_it() {
    let x = [1.0f32, 2.0, 3.0, f32::NAN, 5.0, 6.0];
    let cpu = on(Route::Cpu);
    let two = IvfOptions { lists: 2, ..IvfOptions::new(Metric::Dot) };
    let fails = |options: IvfOptions, execution: &Execution| {
        IvfIndex::build(view(&x, 2), &options, execution).unwrap_err().to_string()
    };
    assert_eq!(
        fails(IvfOptions { lists: 0, ..two }, &cpu),
        "ivf: lists is 0; at least 1 list is needed"
    );
    assert_eq!(
        fails(IvfOptions { lists: 3, ..two }, &cpu),
        "ivf: 2 usable vectors in a sample of 3 for 3 lists; at least as many vectors as lists are needed"
    );
    let required = Execution { gpu: GpuPolicy::Required, ..Execution::default() };
    assert_eq!(
        fails(two, &required),
        "ivf: gpu = required, but this operation has no CUDA path: it runs on the CPU only"
    );
    let (index, stats) = IvfIndex::build(view(&x, 2), &two, &cpu).unwrap();
    assert_eq!((stats.excluded_rows, index.vectors(), index.lists()), (1, 2, 2));
    let search = |options: SearchOptions<'_>, cols, execution: &Execution| {
        index.search(view(&x, cols), &options, execution).unwrap_err().to_string()
    };
    assert_eq!(search(SearchOptions::new(0, 1), 2, &cpu), "ivf: k is 0; it must be 1 or more");
    assert_eq!(search(SearchOptions::new(1, 0), 2, &cpu), "ivf: probes is 0; it must be 1 or more");
    assert_eq!(
        search(SearchOptions::new(1, 1), 3, &cpu),
        "ivf: 2 queries of 3 dimensions; the index has 2 dimensions"
    );
    let control = Control::new();
    control.cancel();
    let cancelled = Execution { control, ..cpu.clone() };
    assert!(search(SearchOptions::new(1, 1), 2, &cancelled).contains("cancelled after 0 of"));
    let found = index.search(view(&x, 2), &SearchOptions::new(9, 9), &cpu).unwrap();
    assert_eq!((found.of(0).len(), found.of(1).len(), found.of(3).len()), (2, 0, 0));
    assert_eq!(found.stats.excluded_rows, 1);
    let mut parts = index.parts();
    parts.rows[0] = 7;
    assert_eq!(
        IvfIndex::from_parts(&parts, view(&x, 2), &cpu).unwrap_err().to_string(),
        "ivf: row 7 in a list, of 3 vectors and 3 added; every row of a list must be a vector that was added"
    );
    parts.offsets[1] = 9;
    let error = IvfIndex::from_parts(&parts, view(&x, 2), &cpu).unwrap_err().to_string();
    assert!(error.contains("offsets must not fall"), "{error}");
}

#[test]
fn no_queries_and_no_vectors_are_no_error() {
    let x = [1.0f32, 2.0, 3.0, 4.0];
    let mut index = build(&x, 2, Metric::Cosine, 1);
    index.add(view(&[], 2), &on(Route::Cpu)).unwrap();
    let none = MatrixView::new(&[], 0, 2).unwrap();
    let found = index.search(none, &SearchOptions::new(1, 1), &on(Route::Cpu)).unwrap();
    assert_eq!((found.queries(), found.of(0).len()), (0, 0));
    assert_eq!(index.recall(none, &SearchOptions::new(1, 1), &on(Route::Cpu)).unwrap(), 1.0);
}
