//! One suite for every way to compute a matrix profile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::budget::Budget;
use crate::cuda::emulated::Emulated;
use crate::device::DeviceReport;
use crate::error::Memory;
use crate::pool::Pool;
use crate::progress::Control;
use crate::testing::{Check, Route, check_all, generator, on, values};
use crate::tolerance;

fn cpu() -> Execution {
    on(Route::Cpu)
}

/// The operation by one of its routes.
fn go<T: Element>(
    route: Route,
    a: &[T],
    b: Option<&[T]>,
    options: &ProfileOptions,
    execution: &Execution,
) -> Result<Found> {
    static DEVICES: LazyLock<[Emulated; 2]> =
        LazyLock::new(|| [0, 1].map(|_| Emulated::new(&SOURCE, 1 << 30)));
    if route == Route::Emulated {
        let stats = Stats::new(DeviceReport::cpu("emulated"));
        return run_on(&DEVICES[..], stats, a, b, options, execution);
    }
    T::matrix_profile(a, b, options, execution)
}

/// A random walk, which has windows of many sizes and shapes.
fn walk<T: Element>(rng: &mut ChaCha8Rng, len: usize, offset: f64) -> Vec<T> {
    let mut level = offset;
    let steps: Vec<f64> = values(rng, len, 0.0, 1.0);
    steps
        .into_iter()
        .map(|step| {
            level += step;
            T::from_f64(level)
        })
        .collect()
}

/// Constant stretches, NaN and infinities at random places.
fn damage<T: Element>(rng: &mut ChaCha8Rng, x: &mut [T]) {
    for _ in 0..x.len() / 60 {
        let (at, len) = (rng.random_range(0..x.len()), rng.random_range(1..40));
        let odd = match rng.random_range(0..6) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            _ => x[at].to_f64(),
        };
        let len = if odd.is_finite() { len } else { 1 };
        x[at..].iter_mut().take(len).for_each(|value| *value = T::from_f64(odd));
    }
}

/// How far squared distances of a series may be off, over 2m: the bound of a correlation times the square of the
/// ratio of the largest to the least deviation.
fn spread(x: &[f64], window: usize) -> f64 {
    let deviations = x.windows(window).filter_map(|values| {
        let mean = values.iter().sum::<f64>() / window as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        (squares.is_finite() && values.iter().any(|value| *value != values[0])).then_some(squares)
    });
    let (least, most) = deviations.fold((f64::INFINITY, 0.0f64), |(l, m), d| (l.min(d), m.max(d)));
    if most == 0.0 { 1.0 } else { most / least }
}

/// Checks a profile against its definition: every distance is that to its neighbour, and no other is nearer.
fn holds(
    found: &Profile,
    a: &[f64],
    b: &[f64],
    window: usize,
    compared: impl Fn(usize, usize) -> bool + Copy,
) {
    let expected = reference::profile(a, b, window, compared);
    assert_eq!(found.len(), expected.len());
    let pick = tolerance::MATRIX_PROFILE * spread(a, window).max(spread(b, window));
    for (i, (&distance, best)) in found.distances().iter().zip(expected).enumerate() {
        let Some(j) = found.neighbour(i) else {
            assert!(distance == f64::INFINITY && best == f64::INFINITY, "[{i}] {distance} {best}");
            continue;
        };
        assert!(compared(i, j), "[{i}] has the neighbour {j}, which is not to be compared");
        let direct = reference::distance(&a[i..i + window], &b[j..j + window]);
        let size = (window as f64).sqrt();
        // The reference's own rounding grows with the offset of the values against their spread.
        assert!(
            (distance - direct).abs() <= tolerance::MATRIX_PROFILE_DISTANCE * size,
            "[{i}] is {distance} from {j}; the definition gives {direct}"
        );
        let excess = (direct * direct - best * best) / (2.0 * window as f64);
        assert!(excess <= pick, "[{i}] is {direct} from {j}, and {best} from another: {excess:e}");
    }
}

fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|value| value.to_f64()).collect()
}

fn self_join_holds<T: Element>(
    route: Route,
    x: &[T],
    options: &ProfileOptions,
    execution: &Execution,
) {
    let found = go(route, x, None, options, execution).unwrap();
    let (x, zone) = (wide(x), options.zone());
    holds(&found.profiles[0], &x, &x, options.window, |i, j| j > i + zone);
    holds(&found.profiles[1], &x, &x, options.window, |i, j| i > j + zone);
}

fn join_holds<T: Element>(route: Route, a: &[T], b: &[T], options: &ProfileOptions) {
    let found = go(route, a, Some(b), options, &on(route)).unwrap();
    let (a, b) = (wide(a), wide(b));
    holds(&found.profiles[0], &a, &b, options.window, |_, _| true);
    holds(&found.profiles[1], &b, &a, options.window, |_, _| true);
}

fn shapes_agree<T: Element>(route: Route) {
    let mut rng = generator("matrix_profile::shapes_agree");
    let mut shapes = vec![(3, 3), (9, 8), (97, 5), (401, 16)];
    if route != Route::Emulated {
        shapes.extend([(4, 3), (64, 64), (150, 100), (1009, 3), (1200, 37), (700, 128)]);
    }
    for (samples, window) in shapes {
        let mut x = walk::<T>(&mut rng, samples, 5.0);
        for damaged in [false, true] {
            if damaged {
                damage(&mut rng, &mut x);
            }
            self_join_holds(route, &x, &ProfileOptions::window(window), &on(route));
            let exclusion = Some(rng.random_range(0..samples));
            let options = ProfileOptions { exclusion, ..ProfileOptions::window(window) };
            self_join_holds(route, &x, &options, &on(route));
            let others = rng.random_range(window..2 * samples);
            let other = walk::<T>(&mut rng, others, 50.0);
            join_holds(route, &x, &other, &ProfileOptions::window(window));
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
fn a_large_offset_and_scale_cost_nothing() {
    let mut rng = generator("matrix_profile::offset");
    // Values whose distances are exact: multiples of 1/64.
    let x: Vec<f64> = (0..500).map(|_| rng.random_range(0..640) as f64 / 64.0).collect();
    let options = ProfileOptions::window(20);
    let plain = go(Route::Cpu, &x, None, &options, &cpu()).unwrap();
    for (factor, offset) in [(1.0, 1e9), (2f64.powi(990), 0.0), (2f64.powi(-1000), 0.0)] {
        let moved: Vec<f64> = x.iter().map(|value| value * factor + offset).collect();
        let found = go(Route::Cpu, &moved, None, &options, &cpu()).unwrap();
        for (found, plain) in found.profiles.iter().zip(&plain.profiles) {
            for window in 0..plain.len() {
                let (a, b) = (found.distances[window], plain.distances[window]);
                let close = a == b || (a - b).abs() <= tolerance::MATRIX_PROFILE_DISTANCE * 5.0;
                assert!(close, "[{window}] {a} {b} with {factor:e} {offset:e}");
            }
        }
    }
}

#[test]
fn long_diagonals_do_not_drift() {
    // Longer than a segment; only some windows are compared with the definition.
    let mut rng = generator("matrix_profile::long");
    let x: Vec<f64> = values(&mut rng, 9_000, 100.0, 1.0);
    let options = ProfileOptions { exclusion: Some(50), ..ProfileOptions::window(30) };
    let found = matrix_profile(&x, &options, &cpu()).unwrap();
    assert_eq!(found.stats.fallbacks, 0);
    for i in [0, 13, 4095, 4096, 5000, 8970] {
        let distances = x.windows(30).map(|other| reference::distance(&x[i..i + 30], other));
        let (j, best) = distances
            .enumerate()
            .filter(|&(j, _)| i.abs_diff(j) > 50)
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap();
        assert_eq!(found.profile.neighbour(i), Some(j));
        assert!((found.profile.distances()[i] - best).abs() < 1e-10);
    }
}

#[test]
fn a_spike_is_found_again_in_the_samples() {
    let mut rng = generator("matrix_profile::spike");
    let mut x: Vec<f64> = values(&mut rng, 900, 0.0, 1.0);
    x[450] = 1e9;
    let found = go(Route::Cpu, &x, None, &ProfileOptions::window(16), &cpu()).unwrap();
    assert!(found.stats.fallbacks > 0);
    // The covariances behind the spike are noise: a nearer window may be missed there, but the distance to the one
    // that was picked is that of the samples.
    for (side, later) in [(0, true), (1, false)] {
        let best = reference::profile(&x, &x, 16, |i, j| if later { j > i + 4 } else { i > j + 4 });
        for (i, best) in best.into_iter().enumerate() {
            let distance = found.profiles[side].distances[i];
            let Some(j) = found.profiles[side].neighbour(i) else {
                assert_eq!(distance, best, "[{i}]");
                continue;
            };
            let expected = reference::distance(&x[i..i + 16], &x[j..j + 16]);
            assert!((distance - expected).abs() < 1e-6, "[{i}] {distance} {expected}");
            assert!(distance > best - 1e-6, "[{i}] {distance} {best}");
        }
    }
}

#[test]
fn neither_budget_nor_threads_nor_seed_change_a_bit() {
    let mut rng = generator("matrix_profile::threads");
    let mut x = walk::<f32>(&mut rng, 3000, 0.0);
    damage(&mut rng, &mut x);
    let run = |host_bytes, threads, seed| {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let execution = Execution { budget: Budget::host(host_bytes), pool, ..cpu() };
        let options = ProfileOptions { seed, ..ProfileOptions::window(40) };
        matrix_profile(&x, &options, &execution).unwrap()
    };
    let whole = run(1 << 30, 1, 0);
    for (host_bytes, threads, seed) in [(1 << 30, 2, 1), (1 << 30, 5, 2), (250_000, 3, 3)] {
        let found = run(host_bytes, threads, seed);
        assert!(found.profile == whole.profile && found.left == whole.left);
        assert_eq!(found.right, whole.right);
        assert!(found.stats.peak_bytes <= host_bytes as u64);
    }
}

#[test]
fn ties_go_to_the_smaller_index() {
    // A square wave: every window has exact copies, one period of 8 apart.
    let x: Vec<f64> = (0..200).map(|t| f64::from(t % 8 < 4)).collect();
    let found = matrix_profile(&x, &ProfileOptions::window(8), &cpu()).unwrap();
    for window in 0..found.profile.len() {
        let first = window % 8;
        let nearest = if window == first { window + 8 } else { first };
        assert_eq!(found.profile.neighbour(window), Some(nearest), "[{window}]");
        assert_eq!(found.profile.distances()[window], 0.0);
    }
}

#[test]
fn windows_without_a_shape_are_as_documented() {
    let mut x: Vec<f64> = (0..60).map(|t| f64::from(t * t % 17)).collect();
    x[10..18].fill(3.0);
    x[30..38].fill(-1.0);
    x[50] = f64::NAN;
    let found = matrix_profile(&x, &ProfileOptions::window(6), &cpu()).unwrap();
    assert_eq!(found.stats.missing_values, 1);
    assert_eq!((found.profile.distances()[10], found.profile.neighbour(10)), (0.0, Some(30)));
    assert_eq!((found.profile.distances()[32], found.profile.neighbour(32)), (0.0, Some(10)));
    // The first constant window has no constant one before it: any regular one is √6 away.
    assert_eq!((found.left.distances()[10], found.left.neighbour(10)), (6f64.sqrt(), Some(0)));
    for window in 45..=50 {
        assert_eq!(found.profile.neighbour(window), None);
        assert_eq!(found.profile.distances()[window], f64::INFINITY);
    }
    let flat = matrix_profile(&[2.5f32; 50], &ProfileOptions::window(6), &cpu()).unwrap();
    assert!(flat.profile.distances().iter().all(|&distance| distance == 0.0));
    let missing = matrix_profile(&[f64::NAN; 50], &ProfileOptions::window(6), &cpu()).unwrap();
    assert!(missing.profile.distances().iter().all(|&distance| distance == f64::INFINITY));
    assert!(missing.discords(3).is_empty() && missing.motifs(3).is_empty());
}

#[test]
fn a_planted_discord_and_a_planted_motif_come_first() {
    let mut rng = generator("matrix_profile::planted");
    let noise: Vec<f64> = values(&mut rng, 2000, 0.0, 0.05);
    let mut x: Vec<f64> =
        noise.iter().enumerate().map(|(t, noise)| (t as f64 / 7.0).sin() + noise).collect();
    let odd: Vec<f64> = (0..30).map(|t| f64::from(t * 7 % 11) / 5.0 - 1.0).collect();
    for value in &mut x[1000..1030] {
        *value = rng.random_range(-1.0..1.0);
    }
    x[300..330].copy_from_slice(&odd);
    x[1700..1730].copy_from_slice(&odd);
    let found = matrix_profile(&x, &ProfileOptions::window(30), &cpu()).unwrap();
    let motif = found.motifs(2);
    assert_eq!((motif[0].first, motif[0].second), (300, 1700));
    assert!(motif[0].distance < 1e-9 && motif[1].distance >= motif[0].distance);
    let discords = found.discords(3);
    assert!(discords[0].window.abs_diff(1000) < 30, "{discords:?}");
    for (at, discord) in discords.iter().enumerate() {
        assert_eq!(found.profile.neighbour(discord.window), Some(discord.neighbour));
        for other in &discords[..at] {
            assert!(
                other.window.abs_diff(discord.window) > 8 && other.distance >= discord.distance
            );
        }
    }
    let apart = found.discords_apart(20, 30);
    assert_eq!((apart.len(), apart[0]), (20, discords[0]));
    for (at, discord) in apart.iter().enumerate() {
        assert!(apart[..at].iter().all(|other| other.window.abs_diff(discord.window) >= 30));
    }
}

#[test]
fn a_fraction_gives_upper_bounds_that_are_near() {
    let mut rng = generator("matrix_profile::fraction");
    let x: Vec<f64> =
        (0..20_000).map(|t| (f64::from(t) / 9.0).sin() + rng.random_range(-0.1..0.1)).collect();
    let run = |fraction, seed| {
        let options = ProfileOptions { fraction, seed, ..ProfileOptions::window(50) };
        matrix_profile(&x, &options, &cpu()).unwrap()
    };
    let (whole, part) = (run(1.0, 0), run(0.2, 7));
    assert_eq!(part.stats.tiles, whole.stats.tiles.div_ceil(5));
    let mut ratio = 0.0;
    for (part, whole) in part.profile.distances().iter().zip(whole.profile.distances()) {
        assert!(*part >= whole - 1e-9, "{part} {whole}");
        ratio += part / whole / whole_len(&x);
    }
    assert!(ratio < 1.15, "distances are {ratio} times as large");
    assert_eq!(part.profile, run(0.2, 7).profile);
    assert_ne!(part.profile, run(0.2, 8).profile);
}

fn whole_len(x: &[f64]) -> f64 {
    (x.len() - 49) as f64
}

#[test]
fn bad_options_are_errors_that_name_them() {
    let x = [1.0f32, 2.0, 4.0, 1.0, 5.0, 9.0];
    let fails = |options: ProfileOptions, execution: &Execution| {
        matrix_profile(&x, &options, execution).unwrap_err().to_string()
    };
    assert_eq!(
        fails(ProfileOptions::window(2), &cpu()),
        "matrix_profile: window is 2; at least 3 samples are needed"
    );
    assert_eq!(
        fails(ProfileOptions::window(7), &cpu()),
        "matrix_profile: a series of 6 samples; at least the window of 7 is needed"
    );
    for fraction in [0.0, -0.5, 1.5, f64::NAN] {
        let options = ProfileOptions { fraction, ..ProfileOptions::window(3) };
        assert_eq!(
            fails(options, &cpu()),
            format!("matrix_profile: fraction is {fraction}; it must be above 0 and at most 1")
        );
    }
    let none: [f64; 0] = [];
    let error =
        matrix_profile_between(&[1.0; 9], &none, &ProfileOptions::window(4), &cpu()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "matrix_profile: a series of 0 samples; at least the window of 4 is needed"
    );
    let tiny = Execution { budget: Budget::host(10), ..cpu() };
    assert!(fails(ProfileOptions::window(3), &tiny).contains("too small for one tile; at least"));
    let control = Control::new();
    control.cancel();
    assert_eq!(
        fails(ProfileOptions::window(3), &Execution { control, ..cpu() }),
        "matrix_profile: cancelled after 0 of 0 steps"
    );
}

/// What a device must pass.
pub(crate) const DEVICE: &[Check] = &[
    Check::new("matrix_profile: shapes, f32", || shapes_agree::<f32>(Route::Cuda)),
    Check::new("matrix_profile: shapes, f64", || shapes_agree::<f64>(Route::Cuda)),
    Check::new("matrix_profile: same as the CPU", || {
        the_device_picks_what_the_cpu_picks(Route::Cuda)
    }),
];

#[test]
fn the_device_agrees_with_the_definition() {
    check_all(DEVICE);
}

#[test]
fn the_emulated_kernels_agree_with_the_definition_f32() {
    shapes_agree::<f32>(Route::Emulated);
}

#[test]
fn the_emulated_kernels_agree_with_the_definition_f64() {
    shapes_agree::<f64>(Route::Emulated);
}

/// Several chunks of rows, units and, on a device, segments; both paths with a part of the diagonals.
fn the_device_picks_what_the_cpu_picks(route: Route) {
    let mut rng = generator("matrix_profile::device");
    let samples = if route == Route::Cuda { 20_000 } else { 700 };
    let x: Vec<f64> = values(&mut rng, samples, 1e4, 1.0);
    let other: Vec<f64> = values(&mut rng, samples / 2, 0.0, 1.0);
    for fraction in [1.0, 0.5] {
        for b in [None, Some(&other[..])] {
            let options = ProfileOptions { fraction, seed: 3, ..ProfileOptions::window(21) };
            // One thread must be enough for several devices.
            let pool = Some(Pool::with_threads(NonZeroUsize::MIN).unwrap());
            let device = go(route, &x, b, &options, &Execution { pool, ..on(route) }).unwrap();
            let host = go(Route::Cpu, &x, b, &options, &cpu()).unwrap();
            assert_eq!(device.profiles, host.profiles);
        }
    }
}

#[test]
fn two_emulated_devices_pick_what_the_cpu_picks() {
    the_device_picks_what_the_cpu_picks(Route::Emulated);
}

#[test]
fn a_device_budget_too_small_states_the_least() {
    let budget = Budget { device_bytes: Some(1000), ..Budget::default() };
    let execution = Execution { budget, ..cpu() };
    let run = |execution: &Execution| {
        go(
            Route::Emulated,
            &[1.0, 5.0, 2.0, 7.0].repeat(50),
            None,
            &ProfileOptions::window(8),
            execution,
        )
    };
    let error = run(&execution).unwrap_err();
    let Error::BudgetTooSmall { memory: Memory::Device, least_bytes, .. } = error else {
        panic!("{error}");
    };
    let budget = Budget { device_bytes: Some(least_bytes), ..Budget::default() };
    run(&Execution { budget, ..cpu() }).unwrap();
    let control = Control::new();
    control.cancel();
    let error = run(&Execution { control, ..cpu() }).unwrap_err();
    assert_eq!(error.to_string(), "matrix_profile: cancelled after 0 of 0 steps");
}
