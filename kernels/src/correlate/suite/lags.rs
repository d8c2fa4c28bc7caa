//! The best lags.

use super::super::reference::pearson_at;
use super::*;
use crate::device::GpuPolicy;

fn go_lagged<T: Element>(
    route: Route,
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    pairs: Pairs<'_>,
    options: &LagOptions,
    execution: &Execution,
) -> Result<Lagged> {
    static DEVICE: LazyLock<[Emulated; 2]> =
        LazyLock::new(|| std::array::from_fn(|_| Emulated::new(&SOURCE, 1 << 30)));
    match (route, y) {
        (Route::Emulated, y) => {
            let stats = Stats::new(DeviceReport::cpu("emulated"));
            lagged::run_on(&DEVICE[..], stats, x, y, pairs, options, execution)
        }
        (_, None) => correlate_lagged(x, pairs, options, execution),
        (_, Some(y)) => correlate_lagged_between(x, y, pairs, options, execution),
    }
}

fn lags_agree<T: Element>(route: Route) {
    let mut rng = generator("correlate::lags");
    let mut shapes = vec![(2, 3, 0), (3, 10, 7), (70, 61, 5)];
    if route == Route::Emulated {
        // More than one slab, and a reach before its start.
        shapes.push((2, 2070, 3));
    } else {
        shapes.extend([(17, 300, 12), (30, 261, 40), (5, 700, 100)]);
    }
    for (rows, cols, max_lag) in shapes {
        let mut x = values::<T>(&mut rng, rows * cols, 100.0, 1.0);
        for row in 1..rows {
            // Each row follows the first by its own lag, with noise and a trend.
            let lag = (row * 3) as i64 % (2 * max_lag as i64 + 1) - max_lag as i64;
            for t in 0..cols as i64 {
                let source = t - lag;
                if (0..cols as i64).contains(&source) && row % 4 != 3 {
                    let noise = x[row * cols + t as usize].to_f64() - 100.0;
                    x[row * cols + t as usize] =
                        T::from_f64(x[source as usize].to_f64() + 0.3 * noise + 0.01 * t as f64);
                }
            }
        }
        let view = MatrixView::new(&x, rows, cols).unwrap();
        let options = LagOptions { max_lag, min_overlap: 3 };
        let run = |y, pairs| go_lagged(route, view, y, pairs, &options, &on(route)).unwrap();
        let found = run(None, Pairs::All);
        assert_eq!(found.pairs.len(), rows * (rows - 1) / 2);
        let order: Vec<_> = found.pairs.iter().map(|pair| (pair.row, pair.col)).collect();
        assert!(order.is_sorted());
        let list: Vec<(usize, usize)> = order.iter().rev().map(|&(row, col)| (col, row)).collect();
        let listed = run(None, Pairs::Listed(&list));
        for (pair, swapped) in found.pairs.iter().zip(listed.pairs.iter().rev()) {
            let (x, y) = (wide(view.row(pair.row)), wide(view.row(pair.col)));
            let at = |lag| pearson_at(&x, &y, lag).unwrap_or(0.0);
            assert!(
                (pair.r - at(pair.lag)).abs() <= tolerance::LAGGED,
                "{pair:?} {}",
                at(pair.lag)
            );
            assert!((pair.r_unshifted - at(0)).abs() <= tolerance::LAGGED);
            assert_eq!(pair.overlap, cols - pair.lag.unsigned_abs() as usize);
            let best =
                (-(max_lag as i64)..=max_lag as i64).map(|lag| at(lag).abs()).fold(0.0, f64::max);
            assert!(pair.r.abs() >= best - tolerance::LAGGED, "{pair:?} {best}");
            assert_eq!((swapped.row, swapped.col), (pair.col, pair.row));
            assert!((swapped.r.abs() - pair.r.abs()).abs() <= tolerance::LAGGED);
        }
    }
}

#[test]
fn every_lag_agrees_with_the_definition() {
    lags_agree::<f32>(Route::Cpu);
    lags_agree::<f64>(Route::Cpu);
}

#[test]
fn every_lag_of_the_emulated_kernels_agrees_with_the_definition() {
    lags_agree::<f32>(Route::Emulated);
    lags_agree::<f64>(Route::Emulated);
}

/// What a device must pass.
pub(crate) const LAGS: &[Check] = &[
    Check::new("correlate: lags, f32", || lags_agree::<f32>(Route::Cuda)),
    Check::new("correlate: lags, f64", || lags_agree::<f64>(Route::Cuda)),
    Check::new("correlate: lags between two matrices", || between_agrees(Route::Cuda)),
];

#[test]
fn every_lag_of_the_device_agrees_with_the_definition() {
    check_all(LAGS);
}

/// Two matrices, with series that are left out, in one tile and in several.
fn between_agrees(route: Route) {
    let mut rng = generator("correlate::lags_between");
    let (rows, cols, samples) = (5, 70, 40);
    let mut x = values::<f64>(&mut rng, rows * samples, 5.0, 1.0);
    let mut y = values::<f64>(&mut rng, cols * samples, -2.0, 3.0);
    x[samples..2 * samples].fill(1.5);
    y[66 * samples + 3] = f64::NAN;
    let (a, b) =
        (MatrixView::new(&x, rows, samples).unwrap(), MatrixView::new(&y, cols, samples).unwrap());
    let options = LagOptions { max_lag: 4, min_overlap: 30 };
    let small = Budget { device_bytes: Some(1 << 20), ..Budget::default() };
    for budget in [Budget::default(), small] {
        let execution = Execution { budget, ..on(route) };
        let found = go_lagged(route, a, Some(b), Pairs::All, &options, &execution).unwrap();
        assert_eq!(found.excluded, [(1, Exclusion::Constant)]);
        assert_eq!(found.excluded_cols, [(66, Exclusion::NotFinite)]);
        assert_eq!(found.stats.excluded_rows, 2);
        let expected = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        let expected: Vec<_> = expected.filter(|&(row, col)| row != 1 && col != 66).collect();
        let order: Vec<_> = found.pairs.iter().map(|pair| (pair.row, pair.col)).collect();
        assert_eq!(order, expected);
        for pair in &found.pairs {
            let (x, y) = (a.row(pair.row), b.row(pair.col));
            let at = |lag| pearson_at(x, y, lag).unwrap();
            let best = (-4..=4).map(|lag| at(lag).abs()).fold(0.0, f64::max);
            assert!((pair.r - at(pair.lag)).abs() <= tolerance::LAGGED, "{pair:?}");
            assert!(pair.r.abs() >= best - tolerance::LAGGED, "{pair:?} {best}");
        }
        let list = [(4, 69), (0, 66), (4, 0), (2, 33)];
        let listed = go_lagged(route, a, Some(b), Pairs::Listed(&list), &options, &execution);
        let order: Vec<_> = listed.unwrap().pairs.iter().map(|pair| (pair.row, pair.col)).collect();
        assert_eq!(order, [(4, 69), (4, 0), (2, 33)]);
    }
}

#[test]
fn lags_between_two_matrices_agree_with_the_definition() {
    between_agrees(Route::Cpu);
    between_agrees(Route::Emulated);
}

#[test]
fn a_list_of_far_pairs_is_no_work_for_a_device() {
    let far: Vec<(usize, usize)> = (0..50).map(|at| (at * 64, at * 640)).collect();
    let near: Vec<(usize, usize)> = (0..4000).map(|at| (at / 64, 64 + at % 64)).collect();
    let x: Vec<f32> = (0..100).map(|t| (t * t % 17) as f32).collect();
    let view = MatrixView::new(&x, 10, 10).unwrap();
    let everything = crate::Crossover { correlate_lagged: 0.0, ..crate::Crossover::default() };
    let execution =
        Execution { gpu: GpuPolicy::Preferred, crossover: everything, ..Execution::default() };
    let options = LagOptions { max_lag: 2, min_overlap: 3 };
    let found = correlate_lagged(view, Pairs::Listed(&[(0, 1)]), &options, &execution).unwrap();
    let reason = "gpu = preferred, but the list names too few of the pairs of its tiles";
    assert_eq!(found.stats.device.reason, reason);
    assert!(lagged::cuda::is_sparse(&far) && !lagged::cuda::is_sparse(&near));
}

#[test]
fn a_budget_too_small_for_a_tile_of_lags_states_the_least() {
    let x: Vec<f64> = (0..300).map(|t| (t * t % 17) as f64).collect();
    let view = MatrixView::new(&x, 10, 30).unwrap();
    let options = LagOptions { max_lag: 2, min_overlap: 3 };
    for budget in [Budget::host(1000), Budget { device_bytes: Some(1000), ..Budget::default() }] {
        let execution = Execution { budget, ..cpu() };
        let error = go_lagged(Route::Emulated, view, None, Pairs::All, &options, &execution);
        assert!(error.unwrap_err().to_string().contains("too small for one tile; at least"));
    }
    let execution = cpu();
    execution.control.cancel();
    let error = go_lagged(Route::Emulated, view, None, Pairs::All, &options, &execution);
    assert!(error.unwrap_err().to_string().contains("cancelled"));
    let nothing = go_lagged(Route::Cpu, view, None, Pairs::Listed(&[]), &options, &execution);
    assert!(nothing.is_ok(), "nothing to do is done");
}

#[test]
fn a_lag_whose_overlap_is_constant_is_passed_over() {
    // All spread of the first series lies in its last two samples.
    let x: Vec<f64> = vec![0.1, 0.1, 0.1, 0.1, 0.1, 5.0, 7.0, 1.0, 2.0, 4.0, 3.0, 9.0, 1.0, 5.0];
    let view = MatrixView::new(&x, 2, 7).unwrap();
    let found =
        correlate_lagged(view, Pairs::All, &LagOptions { max_lag: 4, min_overlap: 2 }, &cpu())
            .unwrap();
    let (a, b) = (&x[..7], &x[7..]);
    let best = (-4..=4)
        .filter_map(|lag| Some((lag, pearson_at(a, b, lag)?)))
        .max_by(|p, q| p.1.abs().total_cmp(&q.1.abs()));
    assert!(
        (found.pairs[0].r.abs() - best.unwrap().1.abs()).abs() < tolerance::LAGGED,
        "{found:?} {best:?}"
    );
}

#[test]
fn lags_of_excluded_series_are_left_out_and_bad_options_named() {
    let mut x: Vec<f32> = (0..4 * 9).map(|t| ((t * t) % 13) as f32).collect();
    x[9..18].fill(2.5);
    x[20] = f32::NAN;
    let view = MatrixView::new(&x, 4, 9).unwrap();
    let options = LagOptions { max_lag: 2, min_overlap: 3 };
    let found = correlate_lagged(view, Pairs::All, &options, &cpu()).unwrap();
    assert_eq!(found.pairs.iter().map(|pair| (pair.row, pair.col)).collect::<Vec<_>>(), [(0, 3)]);
    assert_eq!(found.excluded, [(1, Exclusion::Constant), (2, Exclusion::NotFinite)]);

    let error = |pairs, options: LagOptions, execution: &Execution| {
        correlate_lagged(view, pairs, &options, execution).unwrap_err().to_string()
    };
    assert_eq!(
        error(Pairs::All, LagOptions { max_lag: 7, min_overlap: 3 }, &cpu()),
        "correlate_lagged: max_lag is 7 with series of length 9; max_lag + min_overlap (3) must be at most that length"
    );
    assert_eq!(
        error(Pairs::Listed(&[(0, 4)]), options, &cpu()),
        "correlate_lagged: pairs is (0, 4); rows below 4 are there"
    );
    assert!(
        error(Pairs::All, options, &Execution { budget: Budget::host(10), ..cpu() })
            .contains("at least")
    );
    let y = MatrixView::new(&x[..16], 2, 8).unwrap();
    let between = |y, pairs| {
        correlate_lagged_between(view, y, pairs, &options, &cpu()).unwrap_err().to_string()
    };
    assert_eq!(
        between(y, Pairs::All),
        "correlate_lagged: 4 x 9 against 2 x 8; series of the same length are needed"
    );
    assert_eq!(
        between(MatrixView::new(&x[..9], 1, 9).unwrap(), Pairs::Listed(&[(3, 1)])),
        "correlate_lagged: pairs is (3, 1); rows below 4 and columns below 1 are there"
    );
}
