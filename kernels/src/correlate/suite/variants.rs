//! Spearman's coefficient, and pairs over the samples that both series have.

use super::super::reference::{pearson, ranks};
use super::*;

/// Series with many equal values and with none, a constant one, and one with a gap.
fn hard<T: Element>(rows: usize, cols: usize) -> Vec<T> {
    let mut rng = generator("correlate::variants");
    let mut x = values::<T>(&mut rng, rows * cols, 1e6, 0.1);
    for (row, values) in x.chunks_mut(cols).enumerate() {
        if row % 3 == 1 {
            values.iter_mut().for_each(|value| {
                *value = T::from_f64((10.0 * (value.to_f64() - 1e6)).round());
            });
        }
    }
    if rows > 5 {
        x[2 * cols..3 * cols].fill(T::from_f64(0.1));
        x[4 * cols + cols / 2] = T::NAN;
        x[5 * cols] = T::from_f64(-0.0);
    }
    x
}

fn spearman_agrees<T: Element>(route: Route) {
    for (rows, cols) in [(0, 5), (1, 2), (7, 31), (23, 67)] {
        let (x, y) = (hard::<T>(rows, cols), hard::<T>(rows.div_ceil(2), cols));
        let x = MatrixView::new(&x, rows, cols).unwrap();
        let y = MatrixView::new(&y, rows.div_ceil(2), cols).unwrap();
        for y in [None, Some(y)] {
            let options = CorrelateOptions::spearman();
            let (found, summary) = dense_with(route, x, y, &options, &on(route));
            let other = y.unwrap_or(x);
            for row in 0..rows {
                for col in (if y.is_some() { 0 } else { row + 1 })..other.rows() {
                    let (a, b) = (wide(x.row(row)), wide(other.row(col)));
                    let expected = pearson(&ranks(&a), &ranks(&b));
                    let close = match (found[row][col], expected) {
                        (Some(found), Some(expected)) => (found - expected).abs() <= bound::<T>(),
                        (found, expected) => found == expected,
                    };
                    assert!(close, "({row}, {col}): {:?}, expected {expected:?}", found[row][col]);
                }
            }
            if rows > 5 {
                let excluded = [(2, Exclusion::Constant), (4, Exclusion::NotFinite)];
                assert_eq!(summary.excluded, excluded);
                let of_both = if y.is_some_and(|y| y.rows() > 5) { 4 } else { 2 };
                assert_eq!(summary.stats.excluded_rows, of_both);
            }
        }
    }
}

#[test]
fn spearman_agrees_with_the_definition() {
    for route in [Route::Cpu, Route::Emulated] {
        spearman_agrees::<f32>(route);
        spearman_agrees::<f64>(route);
    }
}

#[test]
fn the_device_agrees_with_the_definition_of_spearman() {
    check_all(VARIANTS);
}

/// What a device must pass.
pub(crate) const VARIANTS: &[Check] = &[
    Check::new("correlate: Spearman, f32", || spearman_agrees::<f32>(Route::Cuda)),
    Check::new("correlate: Spearman, f64", || spearman_agrees::<f64>(Route::Cuda)),
    Check::new("correlate: pairwise, f32", || pairwise_agrees::<f32>(Route::Cuda)),
    Check::new("correlate: pairwise, f64", || pairwise_agrees::<f64>(Route::Cuda)),
];

#[test]
fn ranks_in_bands_give_what_ranks_at_once_give() {
    let (rows, cols) = (40, 700);
    let x = hard::<f32>(rows, cols);
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let options = CorrelateOptions::spearman();
    let pool = Some(Pool::with_threads(NonZeroUsize::new(2).unwrap()).unwrap());
    let on = |bytes| Execution { budget: Budget::host(bytes), pool: pool.clone(), ..cpu() };
    let run = |execution: &Execution| {
        let mut sink = TopPerRow::new(Strength::Magnitude, rows, 5);
        let summary = correlate_with(view, &options, &mut sink, execution)?;
        Ok::<_, Error>((sink.into_rows(), summary))
    };
    let (whole, all) = run(&cpu()).unwrap();
    let Error::BudgetTooSmall { least_bytes, .. } = run(&on(1)).unwrap_err() else { panic!() };
    for bytes in [least_bytes, 2 * least_bytes, 400_000] {
        let (found, summary) = run(&on(bytes)).unwrap();
        assert_eq!(found, whole, "{bytes} bytes");
        assert_eq!(summary.excluded, all.excluded);
        assert!(summary.stats.peak_bytes as usize <= bytes);
        assert!(summary.stats.tiles > 1 || bytes > least_bytes);
        let (dense, _) = dense_with(Route::Cpu, view, None, &options, &on(bytes));
        assert!(dense.iter().flatten().any(Option::is_some));
    }
    assert!(run(&on(least_bytes - 1)).is_err());
    // Between two matrices, in bands of both.
    let expected = dense_with(Route::Cpu, view, Some(view), &options, &cpu());
    let found = dense_with(Route::Cpu, view, Some(view), &options, &on(2 * least_bytes));
    assert_eq!(found.0, expected.0);
    assert_eq!(found.1.excluded_cols, expected.1.excluded_cols);
    let cancelled = cpu();
    cancelled.control.cancel();
    assert!(run(&cancelled).unwrap_err().to_string().contains("cancelled"));
}

/// Series with gaps of every kind.
fn gappy<T: Element>(rows: usize, cols: usize) -> Vec<T> {
    let mut rng = generator("correlate::gappy");
    let mut x = values::<T>(&mut rng, rows * cols, 1e6, 1.0);
    for (row, values) in x.chunks_mut(cols).enumerate() {
        let share = [0.0, 0.1, 0.5, 0.9][row % 4];
        for (t, value) in values.iter_mut().enumerate() {
            // A level that shifts, and so lies elsewhere in a part of the series.
            let shift = if row % 7 == 3 && t > cols / 2 { 1e4 } else { 0.0 };
            *value = T::from_f64(value.to_f64() + shift + (t % 13) as f64 * (row % 3) as f64);
            if rng.random_bool(share) {
                *value = [T::NAN, T::from_f64(f64::INFINITY)][rng.random_range(0..2)];
            }
        }
        match row {
            3 => values[cols / 2..].fill(T::NAN),
            // Constant where the others are.
            5 => values[..cols - 1].fill(T::from_f64(0.3)),
            6 => values.fill(T::NAN),
            8 => values.fill(T::from_f64(2.5)),
            _ => {}
        }
    }
    x
}

fn pairwise_agrees<T: Element>(route: Route) {
    let long = if route == Route::Emulated { (9, 1100) } else { (45, 301) };
    for (rows, cols) in [(0, 3), (1, 2), (9, 20), long, (130, 40)] {
        let x = gappy::<T>(rows, cols);
        let x = MatrixView::new(&x, rows, cols).unwrap();
        let others = rows / 2;
        let y = gappy::<T>(others, cols);
        let y = MatrixView::new(&y, others, cols).unwrap();
        for (y, min_overlap) in [(None, 2), (Some(y), 7)] {
            let options = CorrelateOptions::pairwise(min_overlap);
            let (found, summary) = dense_with(route, x, y, &options, &on(route));
            let other = y.unwrap_or(x);
            for row in 0..rows {
                for col in (if y.is_some() { 0 } else { row + 1 })..other.rows() {
                    let (a, b) = (wide(x.row(row)), wide(other.row(col)));
                    let both = a.iter().zip(&b).filter(|(a, b)| a.is_finite() && b.is_finite());
                    let (a, b): (Vec<f64>, Vec<f64>) = both.unzip();
                    let expected = if a.len() < min_overlap { None } else { pearson(&a, &b) };
                    let close = match (found[row][col], expected) {
                        (Some(found), Some(expected)) => {
                            (found - expected).abs() <= tolerance::CORRELATE_PAIRWISE
                        }
                        (found, expected) => found == expected,
                    };
                    assert!(
                        close,
                        "{rows} x {cols} {} ({row}, {col}): {:?}, expected {expected:?}",
                        T::NAME,
                        found[row][col]
                    );
                }
            }
            if rows > 40 {
                assert!(summary.stats.fallbacks > 0, "the constant part is seen");
            }
            if rows > 8 && y.is_none() {
                assert!(summary.excluded.contains(&(6, Exclusion::NotFinite)));
                assert!(summary.excluded.contains(&(8, Exclusion::Constant)));
            }
        }
    }
}

#[test]
fn pairs_over_shared_samples_agree_with_the_definition() {
    for route in [Route::Cpu, Route::Emulated] {
        pairwise_agrees::<f32>(route);
        pairwise_agrees::<f64>(route);
    }
}

#[test]
fn a_device_of_one_tile_gives_what_one_of_many_gives() {
    let x = gappy::<f64>(130, 40);
    let view = MatrixView::new(&x, 130, 40).unwrap();
    let options = CorrelateOptions::pairwise(3);
    let (whole, all) = dense_with(Route::Emulated, view, None, &options, &cpu());
    let small = Budget { device_bytes: Some(600_000), ..Budget::default() };
    let execution = Execution { budget: small, ..cpu() };
    let (found, summary) = dense_with(Route::Emulated, view, None, &options, &execution);
    assert_eq!(found, whole);
    assert!(summary.stats.tiles > all.stats.tiles);
    for budget in [Budget::host(1000), Budget { device_bytes: Some(1000), ..Budget::default() }] {
        let mut sink = TopPairs::new(Strength::Signed, 1);
        let execution = Execution { budget, ..cpu() };
        let error = go_with(Route::Emulated, view, None, &options, &mut sink, &execution);
        assert!(error.unwrap_err().to_string().contains("too small for one tile; at least"));
    }
}

#[test]
fn neither_budget_nor_threads_change_a_bit_of_a_pair_over_shared_samples() {
    let x = gappy::<f64>(60, 300);
    let view = MatrixView::new(&x, 60, 300).unwrap();
    let options = CorrelateOptions::pairwise(3);
    let (whole, _) = dense_with(Route::Cpu, view, None, &options, &cpu());
    let run = |bytes, threads| {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        Execution { budget: Budget::host(bytes), pool, ..cpu() }
    };
    let mut sink = TopPairs::new(Strength::Signed, 1);
    let error = correlate_with(view, &options, &mut sink, &run(1, 1)).unwrap_err();
    let Error::BudgetTooSmall { least_bytes, .. } = error else { panic!("{error}") };
    for (bytes, threads) in [(least_bytes, 3), (3 * least_bytes, 2), (1 << 30, 1)] {
        let (found, summary) = dense_with(Route::Cpu, view, None, &options, &run(bytes, threads));
        assert_eq!(found, whole, "{bytes} bytes");
        assert!(summary.stats.peak_bytes as usize <= bytes);
    }
    let cancelled = cpu();
    cancelled.control.cancel();
    assert!(correlate_with(view, &options, &mut sink, &cancelled).is_err());
}

#[test]
fn options_that_mean_nothing_are_errors_that_name_them() {
    let view = MatrixView::new(&[1.0f32, 2.0, 4.0, 3.0], 2, 2).unwrap();
    let run = |options: CorrelateOptions, execution: &Execution| {
        let mut sink = TopPairs::new(Strength::Signed, 1);
        correlate_with(view, &options, &mut sink, execution).unwrap_err().to_string()
    };
    assert_eq!(
        run(CorrelateOptions::pairwise(1), &cpu()),
        "correlate: min_overlap is 1; at least 2 samples are needed"
    );
    let both =
        CorrelateOptions { coefficient: Coefficient::Spearman, ..CorrelateOptions::pairwise(2) };
    assert_eq!(
        run(both, &cpu()),
        "correlate: missing is pairwise for Spearman's coefficient; its ranks need whole series: leave the others out"
    );
}
