//! Change points beside the definition, and beside what another program finds.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::num::NonZeroUsize;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::budget::Budget;
use crate::progress::Control;
use crate::testing::{Route, generator, on, values};
use crate::tolerance;

/// A series with changes of mean and spread.
fn series<T: Element>(rng: &mut ChaCha8Rng, len: usize, offset: f64, spread: f64) -> Vec<T> {
    let mut series = Vec::new();
    while series.len() < len {
        let segment = rng.random_range(1..60.min(len + 1).max(2));
        let (level, wide) = (rng.random_range(-3.0..3.0), rng.random_range(0.3..2.0));
        series.extend(values::<T>(rng, segment, offset + spread * level, spread * wide));
    }
    series.truncate(len);
    series
}

const COSTS: [Cost; 2] = [Cost::Mean, Cost::MeanVariance];

fn one<T: Element>(x: &[T], options: &PeltOptions) -> RowChanges {
    let view = MatrixView::new(x, 1, x.len()).unwrap();
    pelt(view, options, &on(Route::Cpu)).unwrap().rows.remove(0)
}

/// The points found are the best by the definition, or as good to within the tolerance.
fn agrees<T: Element>(x: &[T], options: &PeltOptions) {
    let wide: Vec<f64> = x.iter().map(|value| value.to_f64()).collect();
    let found = one(x, options);
    let constant = wide.iter().all(|value| *value == wide[0]);
    if constant || x.len() < 2 * options.min_segment {
        assert_eq!(found, RowChanges::default());
        return;
    }
    let best = reference::optimal(&wide, options);
    let ends = found.points.iter().copied().chain([x.len()]);
    let starts = std::iter::once(0).chain(found.points.iter().copied());
    assert!(starts.zip(ends).all(|(start, end)| end - start >= options.min_segment), "{found:?}");
    let cost = |points: &[usize]| reference::objective(&wide, points, options);
    let doubt = |points: &[usize]| {
        // Sums of many terms are rounded, too.
        let rounding = x.len() as f64 * f64::EPSILON * cost(points).abs();
        reference::doubt(&wide, points, options, tolerance::CHANGE_COST) + rounding
    };
    let off = (found.objective - cost(&found.points)).abs();
    assert!(off <= doubt(&found.points), "{options:?}: {found:?} is off by {off}");
    if found.points != best {
        let more = cost(&found.points) - cost(&best);
        let slack = doubt(&found.points) + doubt(&best);
        assert!(more <= slack, "{options:?}: {found:?} costs {more} more than {best:?}");
    }
}

fn lengths_agree<T: Element>() {
    let mut rng = generator("changepoint::lengths_agree");
    for len in [0, 1, 2, 3, 4, 7, 61, 199] {
        for cost in COSTS {
            for penalty in [
                Penalty::Bic,
                Penalty::Mbic,
                Penalty::Manual(0.0),
                Penalty::Manual(rng.random_range(0.1..40.0)),
            ] {
                for least in [1, 2, 5, 40] {
                    let options = PeltOptions {
                        cost,
                        penalty,
                        min_segment: least.max(cost.parameters() as usize),
                    };
                    agrees(&series::<T>(&mut rng, len, 0.0, 1.0), &options);
                }
            }
        }
    }
}

#[test]
fn points_are_those_of_optimal_partitioning_f64() {
    lengths_agree::<f64>();
}

#[test]
fn points_are_those_of_optimal_partitioning_f32() {
    lengths_agree::<f32>();
}

#[test]
fn a_large_offset_hides_no_change() {
    let mut rng = generator("changepoint::offset");
    for _ in 0..5 {
        let x = series::<f64>(&mut rng, 300, 1e6, 0.1);
        agrees(&x, &PeltOptions::default());
        agrees(&x, &PeltOptions { cost: Cost::MeanVariance, ..PeltOptions::default() });
    }
}

/// Whole numbers from a linear congruence, with steps in their mean.
fn steps(len: u64) -> Vec<f64> {
    let mut state = 12_345u64;
    let mut noise = || {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        (state >> 16) as f64 % 1000.0 / 100.0
    };
    (0..len).map(|t| noise() + [0.0, 8.0, 3.0, -4.0, 2.5][(t * 5 / len) as usize]).collect()
}

#[test]
fn points_are_those_that_ruptures_finds() {
    // ruptures 1.1.10: Pelt(model="l2", jump=1, min_size=m).fit(x).predict(pen=p), without the end.
    let x = steps(400);
    let points = |penalty, min_segment| {
        one(&x, &PeltOptions { cost: Cost::Mean, penalty: Penalty::Manual(penalty), min_segment })
            .points
    };
    assert_eq!(points(200.0, 2), [80, 159, 240, 320]);
    assert_eq!(points(60.0, 1), [80, 159, 240, 320]);
    assert_eq!(points(30.0, 10), [80, 94, 121, 159, 179, 190, 240, 320]);
}

#[test]
fn missing_values_close_up_and_points_keep_their_places() {
    let x = [1.0, f64::NAN, 1.1, 0.9, 1.0, f64::INFINITY, f64::NAN, 9.0, 9.1, f64::NAN, 8.9];
    let view = MatrixView::new(&x, 1, 11).unwrap();
    let changes = pelt(view, &PeltOptions::default(), &on(Route::Cpu)).unwrap();
    assert_eq!((&changes.rows[0].points[..], changes.stats.missing_values), (&[7][..], 4));
    let none = one(&[f64::NAN; 9], &PeltOptions::default());
    assert_eq!(none, RowChanges::default());
}

#[test]
fn rows_without_a_change_are_cheap_or_at_least_right() {
    assert_eq!(one(&vec![3.5f32; 100_000], &PeltOptions::default()), RowChanges::default());
    // Steps without noise: the difference of most neighbours is 0.
    let x: Vec<f64> = (0..300).map(|t| f64::from(u8::from(t >= 120))).collect();
    for cost in COSTS {
        assert_eq!(one(&x, &PeltOptions { cost, ..PeltOptions::default() }).points, [120]);
    }
    // Squares beyond all numbers.
    let x: Vec<f64> = (0..50).map(|t| f64::from(t % 7) * 1e200).collect();
    assert_eq!(one(&x, &PeltOptions::default()), RowChanges::default());
}

#[test]
fn neither_budget_nor_threads_change_a_point() {
    let mut rng = generator("changepoint::threads");
    let x = series::<f64>(&mut rng, 23 * 400, 5.0, 1.0);
    let view = MatrixView::new(&x, 23, 400).unwrap();
    let options = PeltOptions::default();
    let whole = pelt(view, &options, &on(Route::Cpu)).unwrap();
    let tiny = Execution { budget: Budget::host(10), ..on(Route::Cpu) };
    let error = pelt(view, &options, &tiny).unwrap_err();
    let Error::BudgetTooSmall { least_bytes, .. } = error else {
        panic!("{error}");
    };
    for (host_bytes, threads) in [(least_bytes, 3), (1 << 30, 1), (1 << 30, 4)] {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let execution = Execution { budget: Budget::host(host_bytes), pool, ..on(Route::Cpu) };
        assert_eq!(pelt(view, &options, &execution).unwrap().rows, whole.rows);
    }
    let empty = MatrixView::new(&x[..0], 0, 400).unwrap();
    assert!(pelt(empty, &options, &on(Route::Cpu)).unwrap().rows.is_empty());
}

#[test]
fn bad_options_are_errors_that_name_them() {
    let x = [1.0f32; 6];
    let run = |options: PeltOptions, execution: &Execution| {
        pelt(MatrixView::new(&x, 2, 3).unwrap(), &options, execution).unwrap_err().to_string()
    };
    let cpu = on(Route::Cpu);
    let usual = PeltOptions::default();
    for (options, expected) in [
        (
            PeltOptions { min_segment: 0, ..usual },
            "changepoint: min_segment is 0; at least 1 is needed for Mean",
        ),
        (
            PeltOptions { cost: Cost::MeanVariance, min_segment: 1, ..usual },
            "changepoint: min_segment is 1; at least 2 is needed for MeanVariance",
        ),
        (
            PeltOptions { penalty: Penalty::Manual(-1.0), ..usual },
            "changepoint: penalty is -1; it must be finite and at least 0",
        ),
        (
            PeltOptions { penalty: Penalty::Manual(f64::NAN), ..usual },
            "changepoint: penalty is NaN; it must be finite and at least 0",
        ),
    ] {
        assert_eq!(run(options, &cpu), expected);
    }
    let control = Control::new();
    control.cancel();
    let cancelled = Execution { control, ..on(Route::Cpu) };
    assert_eq!(run(usual, &cancelled), "changepoint: cancelled after 0 of 2 steps");
}

#[test]
fn cusum_sums_are_the_largest_runs_and_begin_again_after_an_alarm() {
    let mut rng = generator("changepoint::cusum");
    let x = series::<f64>(&mut rng, 500, 20.0, 2.0);
    let options = CusumOptions::new(20.0, 2.5);
    let mut cusum = Cusum::new(options).unwrap();
    let (mut since, mut alarms) = (0, 0);
    for (t, &sample) in x.iter().enumerate() {
        let (up, down) = reference::sums(&x, since, t, &options);
        let alarm = cusum.push(sample);
        assert_eq!(alarm.is_some(), up > 5.0 || down > 5.0, "at {t}");
        let Some(alarm) = alarm else {
            let found = cusum.sums();
            assert!((found.0 - up).abs() < 1e-9 && (found.1 - down).abs() < 1e-9, "at {t}");
            continue;
        };
        let (direction, sign) =
            if up > 5.0 { (Direction::Up, 1.0) } else { (Direction::Down, -1.0) };
        assert_eq!((alarm.at, alarm.direction, cusum.sums()), (t as u64, direction, (0.0, 0.0)));
        let run = &x[alarm.since as usize..=t];
        let mean = run.iter().sum::<f64>() / run.len() as f64;
        assert!((alarm.mean - mean).abs() < 1e-9, "{alarm:?} {mean}");
        assert!(alarm.since >= since as u64 && sign * (alarm.mean - 20.0) > 0.0);
        (since, alarms) = (t + 1, alarms + 1);
    }
    assert!(alarms > 2);
}

#[test]
fn cusum_finds_a_shift_of_one_deviation_after_ten_samples() {
    let mut rng = generator("changepoint::run_length");
    let mut cusum = Cusum::new(CusumOptions::new(0.0, 1.0)).unwrap();
    let alarms = values::<f64>(&mut rng, 200_000, 1.0, 1.0)
        .into_iter()
        .filter(|&sample| cusum.push(sample).is_some())
        .count();
    let length = 200_000.0 / alarms as f64;
    assert!((length - 10.4).abs() < 0.3, "{length}");
}

#[test]
fn cusum_counts_what_is_missing_and_refuses_what_means_nothing() {
    let mut cusum = Cusum::new(CusumOptions::new(0.0, 1.0)).unwrap();
    cusum.push(2.0);
    let before = cusum.sums();
    assert_eq!(cusum.push(f64::NAN), None);
    assert_eq!(cusum.push(f64::NEG_INFINITY), None);
    assert_eq!((cusum.sums(), cusum.seen(), cusum.missing()), (before, 3, 2));
    cusum.reset();
    assert_eq!((cusum.sums(), cusum.seen()), ((0.0, 0.0), 3));
    for (options, expected) in [
        (CusumOptions::new(f64::NAN, 1.0), "cusum: target is NaN; it must be finite"),
        (CusumOptions::new(0.0, 0.0), "cusum: deviation is 0; it must be finite and above 0"),
        (
            CusumOptions { allowance: -1.0, ..CusumOptions::new(0.0, 1.0) },
            "cusum: allowance is -1; it must be finite and at least 0",
        ),
        (
            CusumOptions { decision: f64::INFINITY, ..CusumOptions::new(0.0, 1.0) },
            "cusum: decision is inf; it must be finite and above 0",
        ),
    ] {
        assert_eq!(Cusum::new(options).unwrap_err().to_string(), expected);
    }
}
