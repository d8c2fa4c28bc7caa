//! A permutation test of a correlation.

use crate::Noise;

/// Coefficients as large as the observed one, after which the test ends (J. Besag & P. Clifford,
/// "Sequential Monte Carlo p-values", 1991).
const EXCEEDED_MAX: usize = 20;
/// Values that differ by less than this part of the whole are equal.
const ROUNDING: f64 = 1e-9;

/// Probability of a correlation at least as far from 0 as that of `a` and `b` if they had nothing to do
/// with each other, from at most `orders_max` random orders. Values are finite, and not all equal. The
/// least result is 1 / (`orders_max` + 1).
///
/// If most values of a series are equal, the others are moved to random places, and neighbours among them
/// together: an event that lasts is one event. Otherwise blocks of neighbours are put into random order.
///
/// O(orders · k), where k is the number of values of `a` that differ from its most frequent one.
pub fn permutation_p(a: &[f64], b: &[f64], orders_max: usize, seed: u64) -> f64 {
    let (a, b) = (around_mode(a), around_mode(b));
    let rare = |values: &[f64]| values.iter().filter(|value| **value != 0.0).count();
    // The rarer of the two is moved.
    let (a, b) = if rare(&a) <= rare(&b) { (a, b) } else { (b, a) };
    let test = Test::of(&a, &b);
    let random = Noise::new(seed);
    match 2 * rare(&a) <= a.len() {
        true => test.moved(&runs(&a), &b, orders_max, random),
        false => test.shuffled(&a, b, orders_max, random),
    }
}

/// What a random order is compared with.
struct Test {
    /// The mean sum of products in random orders.
    expected: f64,
    /// The distance of the observed sum from it.
    distance: f64,
}

impl Test {
    fn of(a: &[f64], b: &[f64]) -> Self {
        let expected = a.iter().sum::<f64>() / a.len() as f64 * b.iter().sum::<f64>();
        let products = || a.iter().zip(b).map(|(a, b)| a * b);
        let (observed, scale) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
        let distance = (observed - expected).abs() - ROUNDING * scale.max(expected.abs());
        Self { expected, distance }
    }

    /// The p-value of sums that `next` gives.
    fn p(&self, orders_max: usize, mut next: impl FnMut() -> f64) -> f64 {
        let (mut orders, mut exceeded) = (0_usize, 0_usize);
        while orders < orders_max && exceeded < EXCEEDED_MAX {
            exceeded += usize::from((next() - self.expected).abs() >= self.distance);
            orders += 1;
        }
        match exceeded == EXCEEDED_MAX {
            true => EXCEEDED_MAX as f64 / orders as f64,
            false => (exceeded + 1) as f64 / (orders + 1) as f64,
        }
    }

    fn moved(&self, runs: &[Vec<f64>], b: &[f64], orders_max: usize, mut random: Noise) -> f64 {
        self.p(orders_max, || {
            let of_run = |run: &Vec<f64>| {
                let places = b.len() - run.len() + 1;
                let from = ((places as f64 * random.uniform()) as usize).min(places - 1);
                run.iter().zip(&b[from..]).map(|(a, b)| a * b).sum::<f64>()
            };
            runs.iter().map(of_run).sum()
        })
    }

    fn shuffled(&self, a: &[f64], b: Vec<f64>, orders_max: usize, mut random: Noise) -> f64 {
        let block = if repeats(a) || repeats(&b) { BLOCK } else { 1 };
        let mut starts: Vec<usize> = (0..b.len()).step_by(block).collect();
        self.p(orders_max, || {
            random.shuffle(&mut starts);
            let blocks = starts.iter().flat_map(|start| &b[*start..(start + block).min(b.len())]);
            a.iter().zip(blocks).map(|(a, b)| a * b).sum()
        })
    }
}

/// Neighbours that keep their order, if neighbours repeat each other.
const BLOCK: usize = 8;

/// Whether neighbours are correlated by more than chance.
fn repeats(values: &[f64]) -> bool {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let of = |lag: usize| {
        let pairs = values.iter().zip(&values[lag.min(values.len())..]);
        pairs.map(|(one, later)| (one - mean) * (later - mean)).sum::<f64>()
    };
    (of(1) / of(0)).abs() > 2.0 / n.sqrt()
}

/// Neighbouring values that are not 0.
fn runs(values: &[f64]) -> Vec<Vec<f64>> {
    let runs = values.split(|value| *value == 0.0).filter(|run| !run.is_empty());
    runs.map(<[f64]>::to_vec).collect()
}

/// Values less the most frequent one.
fn around_mode(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let most = sorted.chunk_by(|one, other| one == other).max_by_key(|equal| equal.len());
    let mode = most.map_or(0.0, |equal| equal[0]);
    values.iter().map(|value| value - mode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(length: usize, at: &[usize]) -> Vec<f64> {
        (0..length).map(|place| if at.contains(&place) { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn events_that_coincide_are_as_rare_as_the_hypergeometric_distribution_says() {
        let one = events(300, &[7]);
        // 1/300.
        let p = permutation_p(&one, &one, 100_000, 1);
        assert!((p * 300.0 - 1.0).abs() < 0.5, "{p}");
        // scipy 1.17.1: hypergeom.sf(1, 300, 6, 6) = 0.00484
        let (a, b) = (events(300, &[3, 50, 90, 120, 200, 290]), events(300, &[3, 50, 1, 2, 4, 5]));
        let p = permutation_p(&a, &b, 100_000, 2);
        assert!((p / 0.004_84 - 1.0).abs() < 0.5, "{p}");
    }

    #[test]
    fn an_event_that_lasts_is_one_event() {
        // Changes of an event are two values, which always follow each other.
        let changes = |at: usize| -> Vec<f64> {
            let change = |place: usize| match place {
                place if place == at => 1.0,
                place if place == at + 1 => -1.0,
                _ => 0.0,
            };
            (0..300).map(change).collect()
        };
        let p = permutation_p(&changes(9), &changes(9), 100_000, 5);
        assert!((p * 299.0 - 1.0).abs() < 0.5, "{p}");
    }

    #[test]
    fn p_is_uniform_without_a_relation_and_least_with_one() {
        let mut noise = Noise::new(3);
        let mut below = 0;
        for seed in 0..400 {
            let mut row = || -> Vec<f64> { (0..40).map(|_| noise.normal().exp()).collect() };
            let (a, b) = (row(), row());
            below += usize::from(permutation_p(&a, &b, 999, seed) <= 0.1);
        }
        assert!((20..60).contains(&below), "{below} of 400");
        let row: Vec<f64> = (0..40).map(|_| noise.normal().exp()).collect();
        assert_eq!(permutation_p(&row, &row, 999, 4), 0.001);
    }
}
