//! L-BFGS (Nocedal and Wright 2006, algorithm 7.5) for a smooth convex function, with a line search that halves. In
//! double precision and on one thread: the function may use as many as it likes.

use std::collections::VecDeque;

use crate::error::Result;

/// Steps that the curvature is told from.
const MEMORY: usize = 10;
/// Halvings of a step before it is given up.
const HALVINGS_MAX: usize = 30;
/// Part of the promised gain that a step must bring (Armijo).
const GAIN: f64 = 1e-4;

/// Where the search ended.
#[derive(Clone, Debug)]
pub(crate) struct Minimum {
    pub at: Vec<f64>,
    pub value: f64,
    /// Largest number of the gradient there.
    pub gradient_max: f64,
    pub iterations: usize,
}

/// Searches from `at` until no number of the gradient is above `tolerance`, or for `iterations_max` steps. `of` answers
/// value and gradient; `each` hears of every step and may fail.
pub(crate) fn minimise(
    mut at: Vec<f64>,
    iterations_max: usize,
    tolerance: f64,
    mut of: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>)>,
    mut each: impl FnMut(usize, f64) -> Result<()>,
) -> Result<Minimum> {
    let (mut value, mut gradient) = of(&at)?;
    let mut history: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    let mut iterations = 0;
    while iterations < iterations_max && most(&gradient) > tolerance && value.is_finite() {
        let mut direction = direction(&gradient, &history);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            history.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        let first = if history.is_empty() { 1.0 / (-slope).sqrt().max(1.0) } else { 1.0 };
        let Some((next, next_value, next_gradient)) =
            search(&at, value, &direction, slope, first, &mut of)?
        else {
            break;
        };
        let moved = difference(&next, &at);
        let turned = difference(&next_gradient, &gradient);
        if dot(&moved, &turned) > 1e-12 * dot(&turned, &turned) {
            history.push_back((moved, turned));
            if history.len() > MEMORY {
                history.pop_front();
            }
        }
        (at, value, gradient) = (next, next_value, next_gradient);
        iterations += 1;
        each(iterations, value)?;
    }
    Ok(Minimum { gradient_max: most(&gradient), at, value, iterations })
}

type Place = (Vec<f64>, f64, Vec<f64>);

fn search(
    at: &[f64],
    value: f64,
    direction: &[f64],
    slope: f64,
    first: f64,
    of: &mut impl FnMut(&[f64]) -> Result<(f64, Vec<f64>)>,
) -> Result<Option<Place>> {
    let mut length = first;
    for _ in 0..HALVINGS_MAX {
        let next: Vec<f64> = at.iter().zip(direction).map(|(x, d)| x + length * d).collect();
        let (next_value, next_gradient) = of(&next)?;
        if next_value <= value + GAIN * length * slope {
            return Ok(Some((next, next_value, next_gradient)));
        }
        length /= 2.0;
    }
    Ok(None)
}

/// The two loops: the gradient, turned and scaled by what the last steps told of the curvature.
fn direction(gradient: &[f64], history: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(history.len());
    for (moved, turned) in history.iter().rev() {
        let share = dot(moved, &direction) / dot(moved, turned);
        direction.iter_mut().zip(turned).for_each(|(d, t)| *d -= share * t);
        shares.push(share);
    }
    if let Some((moved, turned)) = history.back() {
        let scale = dot(moved, turned) / dot(turned, turned);
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for ((moved, turned), share) in history.iter().zip(shares.into_iter().rev()) {
        let other = dot(turned, &direction) / dot(moved, turned);
        direction.iter_mut().zip(moved).for_each(|(d, m)| *d += (share - other) * m);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn most(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_minimum_of_a_valley_is_found() {
        // Rosenbrock's function: its minimum is at (1, 1).
        let valley = |x: &[f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            let gradient = vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b];
            Ok((a * a + 100.0 * b * b, gradient))
        };
        let found = minimise(vec![-1.2, 1.0], 200, 1e-8, valley, |_, _| Ok(())).unwrap();
        assert!(found.at.iter().all(|x| (x - 1.0).abs() < 1e-6), "{found:?}");
        assert!(found.iterations < 60 && found.value < 1e-12 && found.gradient_max < 1e-8);
    }
}
