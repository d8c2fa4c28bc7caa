#![allow(clippy::unwrap_used, clippy::print_stdout)]

use super::*;
use crate::noise::Noise;
use crate::testing::{number_from, seed};

#[test]
fn quantiles_are_those_of_the_next_value() {
    let sizes: Vec<f64> = (1..=19).map(f64::from).collect();
    assert_eq!(quantile(&sizes, 0.80), 16.0);
    assert_eq!(quantile(&sizes, 0.95), 19.0);
    assert_eq!(quantile(&sizes[..18], 0.95), BEYOND * 18.0);
    assert_eq!(quantile(&[], 0.8), 0.0);
}

#[test]
fn errors_of_a_random_walk_grow_by_the_square_root() {
    let walk = vec![(1..=40).map(|step| f64::from(step).sqrt()).collect::<Vec<f64>>(); 36];
    assert!((growth(&walk) - 0.5).abs() < 1e-9, "{}", growth(&walk));
    let flat = growth(&vec![vec![2.0; 40]; 36]);
    assert!((flat - 0.5 / 37.0).abs() < 1e-9, "{flat}");
    // One step, or errors of 0, say nothing.
    assert_eq!(growth(&vec![vec![2.0]; 3]), GROWTH);
    assert_eq!(growth(&vec![vec![0.0; 9]; 3]), GROWTH);
}

#[test]
fn each_origin_is_compared_with_all_others_and_a_single_one_with_none() {
    let of = |errors: &[&[f64]]| ratios(errors, 0.80);
    assert_eq!(of(&[&[1.0]]), None);
    // Two errors of one origin count as little more than one.
    let found = of(&[&[1.0, 1.0], &[2.0, -2.0]]).unwrap();
    let half = half_width(&[&[2.0, -2.0]], 0.80);
    assert!(half > 6.0, "{half}");
    assert_eq!(found[0], 1.0 / half);
}

#[test]
fn forecasts_without_an_error_are_covered() {
    let widths = PredictionInterval::of_errors(&[vec![0.0; 3], vec![0.0; 3]], &[5.0; 9]).unwrap();
    assert_eq!((widths.coverage, widths.half(1, 3)), (Some([1.0, 1.0]), 0.0));
}

#[test]
fn a_width_covers_what_two_origins_can_say() {
    // Two origins with a few alike errors each say less than many values.
    let few = PredictionInterval::of_errors(&[vec![1.0; 6], vec![-1.0; 6]], &[0.0, 9.0]).unwrap();
    let many = vec![vec![1.0, -1.0, 1.0, -1.0, 1.0, -1.0]; 40];
    let many = PredictionInterval::of_errors(&many, &[0.0, 9.0]).unwrap();
    assert!(few.half(1, 1) > 2.0 * many.half(1, 1), "{few:?} {many:?}");
    assert_eq!(PredictionInterval::of_errors(&[vec![f64::NAN; 3]], &[0.0, 1.0]), None);
}

/// Errors of independent values, of averages that persist within an origin, and of random walks.
#[test]
fn intervals_hold_what_they_promise() {
    type Shape = (&'static str, fn(&mut Noise, usize) -> Vec<f64>);
    let shapes: [Shape; 4] = [
        ("independent", |noise, steps| (0..steps).map(|_| noise.normal()).collect()),
        ("heavy tails", |noise, steps| {
            (0..steps).map(|_| noise.normal() / noise.uniform().sqrt().max(0.05)).collect()
        }),
        ("persistent", |noise, steps| {
            let level = noise.normal();
            (0..steps).map(|_| level + 0.3 * noise.normal()).collect()
        }),
        ("random walk", |noise, steps| {
            let mut sum = 0.0;
            (0..steps)
                .map(|_| {
                    sum += noise.normal();
                    sum
                })
                .collect()
        }),
    ];
    let tries = number_from("COLONNADE_SERIES", 300);
    for (name, shape) in shapes {
        let mut noise = Noise::new(seed());
        let mut inside = [0.0; 2];
        for _ in 0..tries {
            let mut errors: Vec<Vec<f64>> = (0..9).map(|_| shape(&mut noise, 12)).collect();
            let next = errors.pop().unwrap();
            let widths = PredictionInterval::of_errors(&errors, &[-100.0, 100.0]).unwrap();
            for (level, inside) in inside.iter_mut().enumerate() {
                let each = next.iter().enumerate();
                let hits = each.filter(|(step, error)| error.abs() <= widths.half(level, step + 1));
                *inside += hits.count() as f64 / next.len() as f64 / tries as f64;
            }
        }
        println!("{name}: {inside:.3?}, seed {}", seed());
        assert!((0.76..0.90).contains(&inside[0]), "{name}: {inside:?}");
        assert!((0.92..0.98).contains(&inside[1]), "{name}: {inside:?}");
    }
}
