//! One suite for every way to compute rolling statistics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

mod times;

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use rand::Rng;

use super::*;
use crate::budget::Budget;
use crate::cuda::emulated::Emulated;
use crate::device::DeviceReport;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{Check, Route, check_all, generator, on, values};
use crate::tolerance;

const ALL: [Statistic; 10] = [
    Statistic::Mean,
    Statistic::Std,
    Statistic::Median,
    Statistic::Mad,
    Statistic::Quantile(0.0),
    Statistic::Quantile(0.95),
    Statistic::Quantile(1.0),
    Statistic::Min,
    Statistic::Max,
    Statistic::Rank,
];

fn cpu() -> Execution {
    on(Route::Cpu)
}

/// The operation by one of its routes.
fn go<T: Element>(
    route: Route,
    x: MatrixView<'_, T>,
    options: &RollingOptions,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
) -> Result<Stats> {
    static DEVICE: LazyLock<Emulated> = LazyLock::new(|| Emulated::new(&SOURCE, 1 << 30));
    if route == Route::Emulated {
        let stats = Stats::new(DeviceReport::cpu("emulated"));
        return run_on(
            std::slice::from_ref(&*DEVICE),
            stats,
            x,
            &options.over(x.cols()),
            outputs,
            execution,
        );
    }
    rolling(x, options, outputs, execution)
}

fn bound<T: Element>(statistic: Statistic) -> f64 {
    match (statistic, size_of::<T>()) {
        (Statistic::Mean | Statistic::Std, 4) => tolerance::ROLLING_MOMENT_F32,
        (Statistic::Mean | Statistic::Std, _) => tolerance::ROLLING_MOMENT_F64,
        (Statistic::Min | Statistic::Max | Statistic::Rank, _) => 0.0,
        (_, 4) => tolerance::ROLLING_ORDER_F32,
        (_, _) => tolerance::ROLLING_ORDER_F64,
    }
}

fn compute<T: Element>(
    route: Route,
    x: MatrixView<'_, T>,
    options: &RollingOptions,
    statistics: &[Statistic],
    execution: &Execution,
) -> (Vec<Vec<T>>, Stats) {
    let mut found = vec![vec![T::from_f64(-77.0); x.rows() * x.cols()]; statistics.len()];
    let mut outputs: Vec<RollingOutput<'_, T>> = found
        .iter_mut()
        .zip(statistics)
        .map(|(values, &statistic)| {
            RollingOutput::new(statistic, MatrixViewMut::new(values, x.rows(), x.cols()).unwrap())
        })
        .collect();
    let stats = go(route, x, options, &mut outputs, execution).unwrap();
    (found, stats)
}

fn agrees<T: Element>(
    route: Route,
    x: &[T],
    rows: usize,
    cols: usize,
    options: &RollingOptions,
    execution: &Execution,
) {
    let view = MatrixView::new(x, rows, cols).unwrap();
    // The emulation is slow, and the ends of the range are a quantile like others.
    let is_kept = |statistic: &Statistic| {
        let ends = [Statistic::Quantile(0.0), Statistic::Quantile(1.0)];
        route != Route::Emulated || !ends.contains(statistic)
    };
    let statistics: Vec<Statistic> = ALL.into_iter().filter(is_kept).collect();
    let (found, _) = compute(route, view, options, &statistics, execution);
    for (found, statistic) in found.iter().zip(statistics) {
        for row in 0..rows {
            let wide: Vec<f64> = view.row(row).iter().map(|value| value.to_f64()).collect();
            let expected = reference::rolling(&wide, options, statistic);
            for (t, expected) in expected.into_iter().enumerate() {
                let found = found[row * cols + t].to_f64();
                let size = wide
                    .iter()
                    .filter(|value| value.is_finite())
                    .fold(0.0f64, |size, value| size.max(value.abs()));
                let close = (found.is_nan() && expected.is_nan())
                    || (found - expected).abs() <= bound::<T>(statistic) * size;
                assert!(
                    close,
                    "{rows} x {cols} {} {options:?} {statistic:?}: [{row}, {t}] is {found}, expected {expected}",
                    T::NAME
                );
            }
        }
    }
}

fn shapes_agree<T: Element>(route: Route) {
    let mut rng = generator("rolling::shapes_agree");
    let (mut shapes, mut windows) =
        (vec![(0, 0), (3, 0), (1, 1), (2, 97)], vec![1usize, 8, 61, 5000]);
    if route != Route::Emulated {
        shapes.extend([(0, 7), (1, 2), (9, 61), (1, 1500), (3, 700)]);
        windows.extend([2, 3, 168]);
    }
    for (rows, cols) in shapes {
        for &window in &windows {
            for alignment in [Alignment::Trailing, Alignment::Centred] {
                let mut x = values::<T>(&mut rng, rows * cols, 10.0, 3.0);
                if rng.random_bool(0.5) {
                    // Gaps, and many equal values.
                    for value in &mut x {
                        *value = T::from_f64(value.to_f64().round());
                        if rng.random_bool(0.2) {
                            let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
                            *value = T::from_f64(odd[rng.random_range(0..3)]);
                        }
                    }
                }
                let min_periods = [None, Some(1), Some(window.div_ceil(2))][rng.random_range(0..3)];
                agrees(
                    route,
                    &x,
                    rows,
                    cols,
                    &RollingOptions { window, min_periods, alignment },
                    &on(route),
                );
            }
        }
    }
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
    Check::new("rolling: shapes, f32", || shapes_agree::<f32>(Route::Cuda)),
    Check::new("rolling: shapes, f64", || shapes_agree::<f64>(Route::Cuda)),
    Check::new("rolling: long series, f32", || long_series_agree::<f32>(Route::Cuda)),
    Check::new("rolling: long series, f64", || long_series_agree::<f64>(Route::Cuda)),
    Check::new("rolling: long windows, f32", || long_windows_agree::<f32>(Route::Cuda)),
    Check::new("rolling: long windows, f64", || long_windows_agree::<f64>(Route::Cuda)),
    Check::new("rolling: rows with gaps between them", || rows_with_gaps_agree(Route::Cuda)),
];

#[test]
fn the_device_agrees_with_the_definition() {
    check_all(DEVICE);
}

/// A series of several stretches, more than one word in a lane, and a device that holds one row.
fn long_series_agree<T: Element>(route: Route) {
    let mut rng = generator("rolling::long_series_agree");
    for (rows, cols, window) in [(2, 1100, 20), (1, 1300, 600)] {
        let x = values::<T>(&mut rng, rows * cols, 10.0, 3.0);
        let row_bytes = cols * size_of::<T>();
        // Two rows to send from, and one for each statistic.
        let budget = Budget { device_bytes: Some(12 * row_bytes), ..Budget::default() };
        let options = RollingOptions { min_periods: Some(5), ..RollingOptions::trailing(window) };
        agrees(route, &x, rows, cols, &options, &Execution { budget, ..on(route) });
    }
}

#[test]
fn long_series_on_a_small_device_agree() {
    long_series_agree::<f32>(Route::Emulated);
    long_series_agree::<f64>(Route::Emulated);
}

/// Windows around those from which a block takes more shared memory than it has unasked, and the longest. Against the
/// CPU, which is compared with the definition: that takes the square of the window.
fn long_windows_agree<T: Element>(route: Route) {
    let mut rng = generator("rolling::long_windows_agree");
    let (windows, statistics) = if route == Route::Emulated {
        (&[1024][..], &[Statistic::Mean, Statistic::Max][..])
    } else {
        (&[1022, 1023, 1024, 1025, 1026, 2048, 4096][..], &ALL[..])
    };
    for &window in windows {
        let (rows, cols) = (2, window + 400);
        let mut x = values::<T>(&mut rng, rows * cols, 10.0, 3.0);
        for at in (0..x.len()).step_by(97) {
            x[at] = T::NAN;
        }
        let view = MatrixView::new(&x, rows, cols).unwrap();
        let options = RollingOptions { min_periods: Some(9), ..RollingOptions::trailing(window) };
        let (expected, _) = compute(Route::Cpu, view, &options, statistics, &cpu());
        for (expected, &statistic) in expected.iter().zip(statistics) {
            let mut found = vec![T::from_f64(-77.0); x.len()];
            let values = MatrixViewMut::new(&mut found, rows, cols).unwrap();
            let output = RollingOutput::new(statistic, values);
            match go(route, view, &options, &mut [output], &on(route)) {
                Ok(_) => {}
                Err(Error::DeviceUnavailable { reason, .. })
                    if reason.contains("bytes of shared memory") =>
                {
                    eprintln!("SKIPPED {statistic:?}: {reason}");
                    continue;
                }
                Err(error) => panic!("{window} {statistic:?}: {error}"),
            }
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let (found, expected) = (found.to_f64(), expected.to_f64());
                let close = (found.is_nan() && expected.is_nan())
                    || (found - expected).abs() <= 2.0 * bound::<T>(statistic) * 20.0;
                assert!(close, "{window} {statistic:?}: {at} is {found}, the CPU's is {expected}");
            }
        }
    }
}

#[test]
fn long_windows_on_an_emulated_device_agree() {
    long_windows_agree::<f32>(Route::Emulated);
    long_windows_agree::<f64>(Route::Emulated);
}

/// Results that are rows of a wider matrix.
fn rows_with_gaps_agree(route: Route) {
    let mut rng = generator("rolling::rows_with_gaps_agree");
    let (rows, cols, stride) = (5, 40, 43);
    let x = values::<f64>(&mut rng, rows * cols, 10.0, 3.0);
    let view = MatrixView::new(&x, rows, cols).unwrap();
    let options = RollingOptions::trailing(7);
    let statistics = [Statistic::Max, Statistic::Median];
    let (expected, _) = compute(Route::Cpu, view, &options, &statistics, &cpu());
    let (mut wide, mut whole) = (vec![-77.0; rows * stride], vec![-77.0; rows * cols]);
    let mut outputs = [
        RollingOutput::new(
            statistics[0],
            MatrixViewMut::with_stride(&mut wide, rows, cols, stride).unwrap(),
        ),
        RollingOutput::new(statistics[1], MatrixViewMut::new(&mut whole, rows, cols).unwrap()),
    ];
    // One row at a time on the host: two to send from and one of results.
    let budget = Budget::host(3 * cols * size_of::<f64>());
    let stats =
        go(route, view, &options, &mut outputs, &Execution { budget, ..on(route) }).unwrap();
    if route == Route::Emulated {
        assert_eq!((stats.tiles, stats.peak_bytes), (rows as u64, budget.host_bytes as u64));
    }
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&whole), bits(&expected[1]));
    for (row, wide) in wide.chunks(stride).enumerate() {
        assert_eq!(bits(&wide[..cols]), bits(&expected[0][row * cols..(row + 1) * cols]));
        assert_eq!(wide[cols..], [-77.0; 3]);
    }
}

#[test]
fn results_with_gaps_between_rows_keep_to_a_small_budget() {
    rows_with_gaps_agree(Route::Emulated);
    let x = [1.0; 8];
    let mut out = [0.0; 8];
    let output = RollingOutput::new(Statistic::Max, MatrixViewMut::new(&mut out, 1, 8).unwrap());
    let execution = Execution { budget: Budget::host(127), ..cpu() };
    let view = MatrixView::new(&x, 1, 8).unwrap();
    let options = RollingOptions::trailing(2);
    let error = go(Route::Emulated, view, &options, &mut [output], &execution).unwrap_err();
    assert!(error.to_string().contains("at least 128 bytes"), "{error}");
}

#[test]
fn a_window_beyond_a_devices_shared_memory_is_left_to_the_cpu() {
    // As of architectures 8.9 and 12.0.
    let device = Emulated::new(&SOURCE, 1 << 30).with_shared_bytes(101_376);
    let devices = std::slice::from_ref(&device);
    let (cols, longest) = (3300, 3198);
    let x = values::<f32>(&mut generator("rolling::shared"), cols, 0.0, 1.0);
    let view = MatrixView::new(&x, 1, cols).unwrap();
    let (mut out, mut expected) = (vec![0.0; cols], vec![0.0; cols]);
    fn output(out: &mut [f32]) -> [RollingOutput<'_, f32>; 1] {
        let cols = out.len();
        [RollingOutput::new(Statistic::Max, MatrixViewMut::new(out, 1, cols).unwrap())]
    }
    let window = |size| RollingOptions::trailing(size).over(cols);
    let refused = cuda::refusal(devices, cols, &window(longest + 1), &output(&mut out)).unwrap();
    assert!(
        refused.contains("101392 bytes of shared memory, and the device has 101376"),
        "{refused}"
    );
    assert_eq!(cuda::refusal(devices, cols, &window(longest), &output(&mut out)), None);
    // The emulation, too, would refuse more.
    let stats = Stats::new(DeviceReport::cpu("emulated"));
    run_on(devices, stats, view, &window(longest), &mut output(&mut out), &cpu()).unwrap();
    rolling(view, &RollingOptions::trailing(longest), &mut output(&mut expected), &cpu()).unwrap();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&out), bits(&expected));
    // Order statistics take less.
    let mut medians = vec![0.0; cols];
    let median =
        RollingOutput::new(Statistic::Median, MatrixViewMut::new(&mut medians, 1, cols).unwrap());
    assert_eq!(cuda::refusal(devices, cols, &window(3300), &[median]), None);
}

#[test]
fn a_window_longer_than_the_sorting_network_agrees_too() {
    let mut rng = generator("rolling::long");
    let x = values::<f64>(&mut rng, 20_000, 0.0, 1.0);
    let options = RollingOptions { min_periods: Some(10), ..RollingOptions::trailing(4000) };
    let view = MatrixView::new(&x, 1, x.len()).unwrap();
    let (found, _) =
        compute(Route::Cpu, view, &options, &[Statistic::Median, Statistic::Mad], &cpu());
    for t in [9, 500, 3999, 4000, 12_345, 19_999] {
        let start = (t + 1usize).saturating_sub(4000);
        let part =
            RollingOptions { min_periods: Some(1), ..RollingOptions::trailing(t + 1 - start) };
        for (found, statistic) in found.iter().zip([Statistic::Median, Statistic::Mad]) {
            assert_eq!(
                found[t],
                *reference::rolling(&x[start..=t], &part, statistic).last().unwrap()
            );
        }
    }
    assert!(found[0][8].is_nan());
}

#[test]
fn values_that_differ_in_their_last_bits_keep_their_order() {
    // The sort key of an f64 gives its low bits to the index.
    let mut rng = generator("rolling::last_bits");
    let x: Vec<f64> =
        (0..600).map(|_| f64::from_bits(1e6f64.to_bits() + rng.random_range(0..700u64))).collect();
    agrees(Route::Cpu, &x, 1, 600, &RollingOptions::trailing(31), &cpu());
}

#[test]
fn a_spike_leaves_no_trace_behind_it() {
    let mut x: Vec<f64> = (0..100).map(|t| 1e6 + (t % 3) as f64 * 0.01).collect();
    x[50] = 1e18;
    let view = MatrixView::new(&x, 1, 100).unwrap();
    let (found, _) = compute(
        Route::Cpu,
        view,
        &RollingOptions::trailing(9),
        &[Statistic::Mean, Statistic::Std],
        &cpu(),
    );
    for t in (8..50).chain(59..100) {
        assert!((found[0][t] - 1_000_000.01).abs() < 1e-8, "mean at {t}: {}", found[0][t]);
        assert!((found[1][t] - 0.00866).abs() < 1e-5, "std at {t}: {}", found[1][t]);
    }
}

#[test]
fn neither_budget_nor_threads_change_a_bit() {
    let mut rng = generator("rolling::threads");
    let x = values::<f64>(&mut rng, 7 * 2000, 0.0, 1.0);
    let view = MatrixView::new(&x, 7, 2000).unwrap();
    let options = RollingOptions::trailing(50);
    let (whole, stats) = compute(Route::Cpu, view, &options, &ALL, &cpu());
    let bits = |found: &[Vec<f64>]| found.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
    for (host_bytes, threads) in [(1 << 20, 1), (200_000, 3), (1 << 30, 4)] {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let (found, _) = compute(
            Route::Cpu,
            view,
            &options,
            &ALL,
            &Execution { budget: Budget::host(host_bytes), pool, ..cpu() },
        );
        assert_eq!(bits(&found), bits(&whole), "{host_bytes} {threads}");
    }
    assert_eq!((stats.missing_values, stats.device.to_string().as_str()), (0, "cpu: gpu = off"));
}

#[test]
fn missing_values_are_counted() {
    let x = [1.0f32, f32::NAN, f32::INFINITY, 4.0];
    let (found, stats) = compute(
        Route::Cpu,
        MatrixView::new(&x, 1, 4).unwrap(),
        &RollingOptions { min_periods: Some(1), ..RollingOptions::trailing(2) },
        &[Statistic::Mean],
        &cpu(),
    );
    assert_eq!(stats.missing_values, 2);
    assert_eq!(found[0][..2], [1.0, 1.0]);
    assert!(found[0][2].is_nan() && found[0][3] == 4.0);
}

#[test]
fn a_mean_of_the_largest_values_is_finite() {
    let mut x = vec![f64::MAX; 300];
    x[100..200].fill(f64::MIN);
    for route in [Route::Cpu, Route::Emulated] {
        let view = MatrixView::new(&x, 1, 300).unwrap();
        let options = RollingOptions { min_periods: Some(1), ..RollingOptions::trailing(100) };
        let (found, _) = compute(route, view, &options, &[Statistic::Mean], &on(route));
        assert!(found[0].iter().all(|mean| mean.is_finite()));
        assert_eq!(found[0][99], f64::MAX, "{route:?}");
        assert!(found[0][149].abs() < 1e-15 * f64::MAX, "{route:?}");
    }
}

#[test]
fn a_mean_has_the_same_bits_on_a_device() {
    let mut rng = generator("rolling::bits");
    let mut x = values::<f64>(&mut rng, 2 * 1100, 1e6, 1.0);
    x[70..90].fill(f64::NAN);
    let view = MatrixView::new(&x, 2, 1100).unwrap();
    let options = RollingOptions { min_periods: Some(3), ..RollingOptions::centred(87) };
    let bits = |route| {
        let (found, _) = compute(route, view, &options, &[Statistic::Mean], &on(route));
        found[0].iter().map(|mean| mean.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(Route::Cpu), bits(Route::Emulated));
}

#[test]
fn bad_options_are_errors_that_name_them() {
    let x = [1.0f32; 6];
    let mut out = [0.0f32; 6];
    let mut run = |options: RollingOptions, statistic, execution: &Execution| {
        let values = MatrixViewMut::new(&mut out, 2, 3).unwrap();
        rolling(
            MatrixView::new(&x, 2, 3).unwrap(),
            &options,
            &mut [RollingOutput::new(statistic, values)],
            execution,
        )
        .unwrap_err()
        .to_string()
    };
    let mean = Statistic::Mean;
    assert_eq!(
        run(RollingOptions::trailing(0), mean, &cpu()),
        "rolling: window is 0; at least 1 sample is needed"
    );
    let none = RollingOptions { min_periods: Some(0), ..RollingOptions::trailing(3) };
    assert_eq!(
        run(none, mean, &cpu()),
        "rolling: min_periods is 0; it must be 1 to the window of 3"
    );
    let many = RollingOptions { min_periods: Some(4), ..RollingOptions::trailing(3) };
    assert_eq!(
        run(many, mean, &cpu()),
        "rolling: min_periods is 4; it must be 1 to the window of 3"
    );
    for q in [-0.1, 1.1, f64::NAN] {
        assert!(
            run(RollingOptions::trailing(3), Statistic::Quantile(q), &cpu())
                .contains("it must be 0 to 1")
        );
    }
    let tiny = Execution { budget: Budget::host(10), ..cpu() };
    assert!(
        run(RollingOptions::trailing(3), mean, &tiny).contains("too small for one tile; at least")
    );
    let control = Control::new();
    control.cancel();
    assert_eq!(
        run(RollingOptions::trailing(3), mean, &Execution { control, ..cpu() }),
        "rolling: cancelled after 0 of 1 steps"
    );
    let mut wrong = [0.0f32; 6];
    let output = RollingOutput::new(mean, MatrixViewMut::new(&mut wrong, 3, 2).unwrap());
    let error = rolling(
        MatrixView::new(&x, 2, 3).unwrap(),
        &RollingOptions::trailing(2),
        &mut [output],
        &cpu(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "rolling: an output of 3 x 2; the input's shape, 2 x 3, is needed"
    );
}
