//! Tests by example: what single inputs must give, beside the suite's comparison with the definition.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::num::NonZeroUsize;

use rand::Rng;

use super::suite::{METRICS, agrees, between, go, vectors, view};
use super::*;
use crate::budget::Budget;
use crate::pool::Pool;
use crate::progress::Control;
use crate::stats::Exclusion;
use crate::testing::{Route, generator, on, values};

#[test]
fn copies_of_one_vector_are_ordered_by_index() {
    let mut rng = generator("nearest::copies");
    let one = values::<f32>(&mut rng, 24, 3.0, 1.0);
    let base = one.repeat(500);
    let queries = values::<f32>(&mut rng, 20 * 24, 3.0, 1.0);
    for metric in METRICS {
        let options = NearestOptions::new(metric, 5);
        let found =
            nearest(view(&queries, 24), view(&base, 24), &options, &on(Route::Cpu)).unwrap();
        for query in 0..20 {
            let rows: Vec<usize> = found.row(query).iter().map(|n| n.index).collect();
            assert_eq!(rows, [0, 1, 2, 3, 4]);
        }
        let found = nearest_within(view(&base, 24), &options, &on(Route::Cpu)).unwrap();
        let rows: Vec<usize> = found.row(2).iter().map(|n| n.index).collect();
        assert_eq!(rows, [0, 1, 3, 4, 5]);
    }
}

#[test]
fn neither_budget_nor_threads_change_a_bit() {
    let mut rng = generator("nearest::threads");
    let (queries, base) =
        (vectors::<f32>(&mut rng, 150, 50, 0), vectors::<f32>(&mut rng, 2000, 50, 0));
    let (queries, base) = (view(&queries, 50), view(&base, 50));
    for metric in METRICS {
        let search = between(queries, base, metric);
        let whole = go(Route::Cpu, &search, 7, &on(Route::Cpu)).unwrap();
        for (host_bytes, threads) in [(300_000, 1), (400_000, 3), (1 << 30, 5)] {
            let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
            let execution = Execution { budget: Budget::host(host_bytes), pool, ..on(Route::Cpu) };
            let found = go(Route::Cpu, &search, 7, &execution).unwrap();
            for row in 0..150 {
                assert_eq!(found.row(row), whole.row(row), "{metric:?} {host_bytes} {threads}");
            }
        }
        // Without the screen: the same scores.
        for row in 0..9 {
            let one = MatrixView::new(queries.row(row), 1, 50).unwrap();
            let found = go(Route::Cpu, &between(one, base, metric), 7, &on(Route::Cpu)).unwrap();
            assert_eq!(found.row(0), whole.row(row));
        }
    }
}

#[test]
fn what_has_no_place_is_listed() {
    let base = [1.0, 0.0, f64::NAN, 1.0, 0.0, 0.0, 0.6, 0.8, 1e200, 0.0];
    let queries = [2.0, 0.0, 0.0, 0.0, f64::INFINITY, 1.0];
    let found = go(
        Route::Cpu,
        &between(view(&queries, 2), view(&base, 2), Metric::Cosine),
        9,
        &on(Route::Cpu),
    )
    .unwrap();
    let rows = |row: usize| found.row(row).iter().map(|n| n.index).collect::<Vec<_>>();
    assert_eq!((rows(0), rows(1), rows(2), rows(3)), (vec![0, 3], vec![], vec![], vec![]));
    let (zero, infinite) = (Exclusion::Zero, Exclusion::NotFinite);
    assert_eq!(found.summary.excluded, [(1, zero), (2, infinite)]);
    assert_eq!(found.summary.excluded_base, [(1, infinite), (2, zero), (4, infinite)]);
    assert_eq!((found.summary.candidates, found.summary.stats.excluded_rows), (2, 5));
    let found = go(
        Route::Cpu,
        &between(view(&queries, 2), view(&base, 2), Metric::SquaredL2),
        9,
        &on(Route::Cpu),
    )
    .unwrap();
    let rows: Vec<usize> = found.row(1).iter().map(|n| n.index).collect();
    assert_eq!(rows, [2, 0, 3]);
}

#[test]
fn filters_are_the_same_however_they_are_given() {
    let mut rng = generator("nearest::filters");
    let (queries, base) =
        (vectors::<f64>(&mut rng, 30, 20, 0), vectors::<f64>(&mut rng, 300, 20, 0));
    let listed: Vec<usize> = (0..300).filter(|_| rng.random_bool(0.3)).collect();
    let mut bits = vec![0u64; 5];
    listed.iter().for_each(|row| bits[row / 64] |= 1 << (row % 64));
    let search = between(view(&queries, 20), view(&base, 20), Metric::Dot);
    let by_list = Search { allowed: Rows::Listed(&listed), ..search };
    let by_bits = Search { allowed: Rows::Bits(&bits), ..search };
    agrees(Route::Cpu, &by_list, 4, &on(Route::Cpu));
    let (a, b) = (
        go(Route::Cpu, &by_list, 4, &on(Route::Cpu)).unwrap(),
        go(Route::Cpu, &by_bits, 4, &on(Route::Cpu)).unwrap(),
    );
    assert!((0..30).all(|row| a.row(row) == b.row(row)));
    let none = go(Route::Cpu, &Search { allowed: Rows::Bits(&[]), ..search }, 4, &on(Route::Cpu));
    let none = none.unwrap();
    assert!((0..30).all(|row| none.row(row).is_empty()) && none.summary.candidates == 0);
}

#[test]
fn the_screen_scores_few_pairs_again() {
    let mut rng = generator("nearest::few");
    for kind in [0, 1] {
        let (queries, base) =
            (vectors::<f32>(&mut rng, 60, 128, kind), vectors::<f32>(&mut rng, 9000, 128, kind));
        for metric in METRICS {
            let search = between(view(&queries, 128), view(&base, 128), metric);
            let found = go(Route::Cpu, &search, 10, &on(Route::Cpu)).unwrap();
            assert_eq!(found.summary.stats.fallbacks, 0, "{metric:?} {kind}");
        }
    }
}

#[test]
fn mistakes_are_explained() {
    let x = [1.0f32; 12];
    let (q, x) = (view(&x[..4], 2), view(&x, 3));
    let run = |search: &Search<'_, f32>, execution: &Execution| {
        go(Route::Cpu, search, 1, execution).unwrap_err().to_string()
    };
    let cpu = on(Route::Cpu);
    assert_eq!(
        run(&between(q, x, Metric::Dot), &cpu),
        "nearest: queries of 2 x 2 in a base of 4 x 3; vectors of the same number of dimensions are needed"
    );
    let search = between(x, x, Metric::Dot);
    assert_eq!(
        run(&Search { allowed: Rows::Listed(&[2, 2]), ..search }, &cpu),
        "nearest: allowed rows is a list with 2 before 2; ascending rows are needed, each once"
    );
    assert_eq!(
        run(&Search { allowed: Rows::Listed(&[2, 4]), ..search }, &cpu),
        "nearest: allowed rows is a list with row 4; the base has 4 rows"
    );
    assert_eq!(
        run(&Search { allowed: Rows::Bits(&[16]), ..search }, &cpu),
        "nearest: allowed rows is a bitmap with a bit beyond the base; the base has 4 rows"
    );
    let mut list = PairList::with_limit(5);
    assert_eq!(
        join_within(x, &JoinOptions::new(Metric::Dot, f64::NAN), &mut list, &cpu)
            .unwrap_err()
            .to_string(),
        "nearest: threshold is NaN; a number is needed"
    );
    assert_eq!(
        join_within(x, &JoinOptions::new(Metric::Dot, 3.0), &mut list, &cpu)
            .unwrap_err()
            .to_string(),
        "nearest: more than 5 pairs reach the threshold; ask for nearer pairs, raise the limit, or ask for the \
         nearest of each row"
    );
    let control = Control::new();
    control.cancel();
    assert_eq!(
        run(&search, &Execution { control, ..cpu.clone() }),
        "nearest: cancelled after 0 of 1 steps"
    );
    let error = run(&search, &Execution { budget: Budget::host(10), ..cpu });
    assert!(error.starts_with("nearest: the host budget of 10 bytes is too small"), "{error}");
}

#[test]
fn a_large_search_can_be_cancelled_and_bounded() {
    let mut rng = generator("nearest::cancel");
    let x = vectors::<f32>(&mut rng, 500, 30, 0);
    let search =
        Search { pairing: Pairing::Within, ..between(view(&x, 30), view(&x, 30), Metric::Cosine) };
    let control = Control::new();
    control.cancel();
    let error = go(Route::Cpu, &search, 3, &Execution { control, ..on(Route::Cpu) }).unwrap_err();
    assert!(error.to_string().starts_with("nearest: cancelled after 0 of "), "{error}");
    let budget = Budget::host(20_000);
    let error = go(Route::Cpu, &search, 3, &Execution { budget, ..on(Route::Cpu) }).unwrap_err();
    let Error::BudgetTooSmall { least_bytes, .. } = error else { panic!("{error}") };
    let budget = Budget::host(least_bytes);
    agrees(Route::Cpu, &search, 3, &Execution { budget, ..on(Route::Cpu) });
}

#[test]
fn asking_for_nothing_gives_nothing() {
    let x = [1.0f32, 2.0, 3.0, 4.0];
    let found = go(Route::Cpu, &between(view(&x, 2), view(&x, 2), Metric::Dot), 0, &on(Route::Cpu));
    let found = found.unwrap();
    assert_eq!((found.rows(), found.row(0).len(), found.row(9).len()), (2, 0, 0));
}

/// Every result of `codes` is that of the vectors themselves, in every bit.
fn codes_agree<T: Element>(rows: usize, cols: usize, queries: usize, k: usize) {
    let mut rng = generator(&format!("nearest::codes {rows} {cols}"));
    let mut base = vectors::<T>(&mut rng, rows, cols, 0);
    for bad in (3..rows).step_by(50) {
        base[bad * cols] = T::from_f64(f64::NAN);
    }
    for zero in (7..rows).step_by(90) {
        base[zero * cols..][..cols].fill(T::from_f64(0.0));
    }
    let queries = vectors::<T>(&mut rng, queries, cols, 0);
    let (base, queries) = (view(&base, cols), view(&queries, cols));
    let half: Vec<u64> = (0..rows.div_ceil(64)).map(|_| rng.random::<u64>()).collect();
    let half: Vec<u64> = half
        .iter()
        .enumerate()
        .map(|(word, bits)| match rows - word * 64 {
            left if left < 64 => bits & ((1 << left) - 1),
            _ => *bits,
        })
        .collect();
    let few: Vec<usize> = (0..rows).step_by(17).collect();
    for metric in METRICS {
        let codes = Codes::of(base, metric, &on(Route::Cpu)).unwrap();
        for allowed in [Rows::All, Rows::Bits(&half), Rows::Listed(&few), Rows::Bits(&[])] {
            let options = NearestOptions { allowed, ..NearestOptions::new(metric, k) };
            let expected = nearest(queries, base, &options, &on(Route::Cpu)).unwrap();
            for threads in [1, 2, 5] {
                let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
                let execution = Execution { pool, ..on(Route::Cpu) };
                let found = codes.nearest(queries, base, &options, &execution).unwrap();
                for row in 0..queries.rows() {
                    let at = format!("{metric:?} {allowed:?} {rows} x {cols} {threads} {row}");
                    assert_eq!(found.row(row), expected.row(row), "{at}");
                }
                let (found, expected) = (&found.summary, &expected.summary);
                assert_eq!(found.candidates, expected.candidates);
                assert_eq!(found.excluded, expected.excluded);
                assert_eq!(found.excluded_base, expected.excluded_base);
            }
        }
    }
}

#[test]
fn codes_that_are_kept_give_what_the_vectors_give() {
    for (rows, cols, queries, k) in
        [(0, 5, 2, 3), (1, 1, 1, 1), (31, 3, 2, 40), (700, 33, 3, 5), (2111, 48, 31, 10)]
    {
        codes_agree::<f32>(rows, cols, queries, k);
        codes_agree::<f64>(rows, cols, queries, k);
    }
}

#[test]
fn a_query_that_is_longer_than_the_base_is_no_matter() {
    let mut rng = generator("nearest::long");
    let base = values::<f32>(&mut rng, 900 * 20, 0.1, 0.0);
    let queries = values::<f32>(&mut rng, 3 * 20, 50.0, 4.0);
    let (base, queries) = (view(&base, 20), view(&queries, 20));
    for metric in METRICS {
        let codes = Codes::of(base, metric, &on(Route::Cpu)).unwrap();
        let options = NearestOptions::new(metric, 6);
        let found = codes.nearest(queries, base, &options, &on(Route::Cpu)).unwrap();
        let expected = nearest(queries, base, &options, &on(Route::Cpu)).unwrap();
        for row in 0..3 {
            assert_eq!(found.row(row), expected.row(row), "{metric:?}");
        }
    }
}

#[test]
fn codes_are_for_their_base_and_metric_only() {
    let values: Vec<f32> = (0..60).map(|at| at as f32).collect();
    let base = view(&values, 6);
    let codes = Codes::of(base, Metric::Dot, &on(Route::Cpu)).unwrap();
    let query = MatrixView::new(base.row(0), 1, 6).unwrap();
    let ask = |base, metric| {
        codes.nearest(query, base, &NearestOptions::new(metric, 2), &on(Route::Cpu)).unwrap_err()
    };
    let message = ask(base, Metric::Cosine).to_string();
    assert!(message.contains("a base of 10 x 6 by Cosine"), "{message}");
    assert!(message.contains("these codes are of 10 x 6 by Dot"), "{message}");
    let fewer = MatrixView::new(&values[..54], 9, 6).unwrap();
    assert!(ask(fewer, Metric::Dot).to_string().contains("a base of 9 x 6"));
}
