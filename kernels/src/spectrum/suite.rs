//! Tests of periodograms and seasons. There is one way to compute them, the CPU.

#![allow(clippy::unwrap_used)]

use std::num::NonZeroUsize;

use rand::Rng;

use super::*;
use crate::budget::Budget;
use crate::device::GpuPolicy;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{generator, values};
use crate::tolerance;

fn cpu() -> Execution {
    Execution { gpu: GpuPolicy::Off, ..Execution::default() }
}

fn view<T>(values: &[T], rows: usize) -> MatrixView<'_, T> {
    MatrixView::new(values, rows, values.len().checked_div(rows).unwrap_or(0)).unwrap()
}

fn find(series: &[f64], options: &SpectrumOptions) -> SeriesPeriods {
    spectrum(view(series, 1), options, &cpu()).unwrap().series.remove(0)
}

fn power_of<T: Element>(x: MatrixView<'_, T>, options: &SpectrumOptions) -> (Vec<f64>, Stats) {
    let ordinates = x.cols() / 2 + 1;
    let mut power = vec![-7.0; x.rows() * ordinates];
    let mut out = MatrixViewMut::new(&mut power, x.rows(), ordinates).unwrap();
    let stats = periodogram(x, options, &mut out, &cpu()).unwrap();
    (power, stats)
}

fn periodograms_agree<T: Element>() {
    let mut rng = generator("spectrum::periodograms_agree");
    for (rows, cols) in [(0, 0), (1, 4), (2, 97), (3, 128), (19, 60), (1, 1000)] {
        let x = values::<T>(&mut rng, rows * cols, 100.0, 3.0);
        for detrend in [Detrend::Mean, Detrend::Line] {
            for taper in [Taper::None, Taper::Hann] {
                let options = SpectrumOptions { detrend, taper, ..SpectrumOptions::default() };
                let (power, _) = power_of(view(&x, rows), &options);
                for (row, found) in power.chunks(cols / 2 + 1).enumerate() {
                    let wide: Vec<f64> =
                        view(&x, rows).row(row).iter().map(|v| v.to_f64()).collect();
                    let left = reference::detrended(&wide, detrend);
                    let expected = reference::periodogram(&left, taper);
                    let largest = expected.iter().fold(0.0f64, |most, value| most.max(*value));
                    for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        assert!(
                            (found - expected).abs() <= tolerance::SPECTRUM * largest,
                            "{rows} x {cols} {detrend:?} {taper:?}: {k} of {row} is {found}, expected {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn periodograms_are_the_sum_itself() {
    periodograms_agree::<f64>();
    periodograms_agree::<f32>();
}

#[test]
fn a_season_is_found_in_noise_and_drift_with_its_strength() {
    let mut rng = generator("spectrum::season");
    for period in [7usize, 12, 24, 53] {
        let mut drift = 0.0;
        let shape: Vec<f64> =
            (0..period).map(|at| if 3 * at < period { 4.0 } else { 0.0 }).collect();
        let series: Vec<f64> = (0..period * 15 + 3)
            .map(|t| {
                drift += rng.random_range(-0.1..0.1);
                1e3 + 0.01 * t as f64 + drift + shape[t % period] + rng.random_range(-1.0..1.0)
            })
            .collect();
        let found = find(&series, &SpectrumOptions::default());
        let first = found.periods[0];
        assert_eq!(first.samples, period, "{found:?}");
        let left = reference::detrended(&series, Detrend::Line);
        let expected = reference::correlation(&left, period);
        assert!((first.strength - expected).abs() < 1e-9, "{} {expected}", first.strength);
        assert!(first.p_value < 0.01 && (first.frequency * period as f64 - 1.0).abs() < 0.1);
    }
}

#[test]
fn two_seasons_are_both_found() {
    let wave = |t: usize, period: f64| (t as f64 * std::f64::consts::TAU / period).sin();
    let series: Vec<f64> =
        (0..24 * 7 * 5).map(|t| 2.0 * wave(t, 24.0) + 1.5 * wave(t, 168.0)).collect();
    let found = find(&series, &SpectrumOptions::default());
    let mut samples: Vec<usize> = found.periods.iter().map(|period| period.samples).collect();
    samples.sort_unstable();
    assert_eq!(samples, [24, 168]);
}

#[test]
fn noise_has_a_season_as_rarely_as_was_said() {
    let mut rng = generator("spectrum::noise");
    let rows = 1_000;
    let x = values::<f64>(&mut rng, rows * 200, 0.0, 1.0);
    // Whatever the autocorrelation says.
    let options =
        SpectrumOptions { least_strength: 0.0, significance: 0.05, ..SpectrumOptions::default() };
    let found = spectrum(view(&x, rows), &options, &cpu()).unwrap();
    let seasonal = found.series.iter().filter(|series| !series.periods.is_empty()).count();
    // 50 would be exact; 7 is a standard deviation.
    assert!(seasonal <= 80, "{seasonal} of {rows}");
    // A walk has power at long periods, and no season.
    let walks: Vec<f64> = x
        .chunks(200)
        .flat_map(|steps| {
            steps
                .iter()
                .scan(0.0, |sum, step| {
                    *sum += step;
                    Some(*sum)
                })
                .collect::<Vec<f64>>()
        })
        .collect();
    let found = spectrum(view(&walks, rows), &SpectrumOptions::default(), &cpu()).unwrap();
    let short = found.series.iter().filter(|s| s.periods.iter().any(|p| p.samples <= 24)).count();
    assert!(short <= 100, "{short} of {rows} walks have a short season");
}

#[test]
fn gaps_are_bridged_up_to_half() {
    let mut rng = generator("spectrum::gaps");
    let clean: Vec<f64> = (0..240).map(|t| if t % 12 < 4 { 3.0 } else { 1.0 }).collect();
    let with = |share: f64, rng: &mut rand_chacha::ChaCha8Rng| -> Vec<f64> {
        clean.iter().map(|v| if rng.random_bool(share) { f64::NAN } else { *v }).collect()
    };
    let some = with(0.2, &mut rng);
    let found = find(&some, &SpectrumOptions::default());
    assert_eq!(found.periods[0].samples, 12, "{found:?}");
    let most = with(0.8, &mut rng);
    assert_eq!(find(&most, &SpectrumOptions::default()).status, Status::Gaps);
    let (power, stats) = power_of(view(&most, 1), &SpectrumOptions::default());
    assert!(power.iter().all(|value| value.is_nan()));
    assert_eq!(stats.missing_values, most.iter().filter(|v| v.is_nan()).count() as u64);
    let mut infinite = clean.clone();
    infinite[50] = f64::NEG_INFINITY;
    assert_eq!(find(&infinite, &SpectrumOptions::default()).periods[0].samples, 12);
}

#[test]
fn flat_and_straight_series_have_no_season() {
    for series in
        [vec![3.0; 50], (0..50).map(|t| 1e6 + 0.1 * f64::from(t)).collect(), vec![0.0; 50]]
    {
        let found = find(&series, &SpectrumOptions::default());
        assert_eq!((found.status, found.periods.len()), (Status::Flat, 0));
    }
    let (power, _) = power_of(view(&[5.0; 8], 1), &SpectrumOptions::default());
    assert_eq!(power, [0.0; 5]);
    // Values at the ends of the range neither overflow nor vanish.
    for scale in [1e300, 1e-300] {
        let series: Vec<f64> = (0..120).map(|t| scale * f64::from(t % 12)).collect();
        assert_eq!(find(&series, &SpectrumOptions::default()).periods[0].samples, 12);
    }
}

#[test]
fn neither_budget_nor_threads_change_a_bit() {
    let mut rng = generator("spectrum::threads");
    let rows = 37;
    let x: Vec<f64> =
        (0..rows * 101).map(|t| (t % 101 % 10) as f64 + rng.random_range(-3.0..3.0)).collect();
    let options = SpectrumOptions::default();
    let whole = spectrum(view(&x, rows), &options, &cpu()).unwrap();
    let tiny = Execution { budget: Budget::host(1), ..cpu() };
    let least = match spectrum(view(&x, rows), &options, &tiny) {
        Err(Error::BudgetTooSmall { least_bytes, .. }) => least_bytes,
        other => unreachable!("{other:?}"),
    };
    for (host_bytes, threads) in [(least, 2), (1 << 30, 3)] {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let execution = Execution { budget: Budget::host(host_bytes), pool, ..cpu() };
        let found = spectrum(view(&x, rows), &options, &execution).unwrap();
        assert_eq!(found.series, whole.series);
    }
    assert_eq!(whole.season(0, 20), Some(10));
    assert_eq!((whole.season(0, 5), whole.season(rows, 20)), (None, None));
}

#[test]
fn bad_options_are_errors_that_name_them() {
    let x = [1.0, 2.0, 4.0, 3.0, 2.0, 1.0];
    let base = SpectrumOptions::default();
    let run = |options: SpectrumOptions, execution: &Execution| {
        spectrum(view(&x, 1), &options, execution).unwrap_err().to_string()
    };
    let cases = [
        (
            SpectrumOptions { shortest: 1, ..base },
            "spectrum: shortest is 1; a season has at least 2 samples",
        ),
        (
            SpectrumOptions { longest: Some(1), ..base },
            "spectrum: longest is 1; it must not be below the shortest",
        ),
        (
            SpectrumOptions { significance: 1.0, ..base },
            "spectrum: significance is 1; it must be between 0 and 1",
        ),
        (
            SpectrumOptions { least_strength: f64::NAN, ..base },
            "spectrum: least_strength is NaN; it must be 0 to 1",
        ),
    ];
    for (options, message) in cases {
        assert_eq!(run(options, &cpu()), message);
    }
    let required = Execution { gpu: GpuPolicy::Required, ..cpu() };
    assert_eq!(run(base, &required), "spectrum: gpu = required, but spectrum has no CUDA path");
    let control = Control::new();
    control.cancel();
    assert_eq!(
        run(base, &Execution { control, ..cpu() }),
        "spectrum: cancelled after 0 of 1 steps"
    );
    let tiny = Execution { budget: Budget::host(10), ..cpu() };
    assert!(run(base, &tiny).contains("too small for one tile; at least"));
    let error = spectrum(view(&x, 2), &base, &cpu()).unwrap_err();
    assert_eq!(error.to_string(), "spectrum: 2 series of 3 samples; at least 4 samples are needed");
    let mut power = [0.0; 6];
    let mut out = MatrixViewMut::new(&mut power, 1, 6).unwrap();
    let error = periodogram(view(&x, 1), &base, &mut out, &cpu()).unwrap_err();
    assert_eq!(error.to_string(), "spectrum: power of 1 x 6; 1 x 4 is needed for 6 samples");
}
