//! Whether a value far from the usual is far for its own series too: heavy tails and counts exceed any threshold all the time.
//!
//! A series has distances of two kinds, and one that is outstanding in either is an outlier:
//!
//! - the largest distance from the baseline of each run of samples on one side of it, so that neighbours that repeat each other count
//!   once;
//! - how far a sample is above both of its neighbours, or below both: a series that wanders moves far, but not for one sample.
//!
//! In descending order distances are `y₁ ≥ y₂ ≥ … ≥ y_k`. If the tail is a power law, `E_i = i · ln(y_i / y_{i+1})` are
//! independent and exponential with one mean, the Hill estimator. So `E_j`, divided by the mean of those after it, says how unusual the
//! step from the `j` largest distances to the rest is; lighter tails only make it more cautious. The largest are left out of what they
//! are compared with, as in Bhattacharya, Kallitsis & Stoev, "Data-adaptive trimming of the Hill estimator and detection of outliers in
//! the extremes of heavy-tailed data" (Electronic Journal of Statistics, 2019).

use super::robust::{Baseline, Excursion, distances};
use super::spread::median;

/// Probability that a series without an outlier has one, by distances from the baseline and by those from neighbours.
const SIGNIFICANCE: f64 = 0.05;
const SIGNIFICANCE_OF_STEPS: f64 = 0.025;
/// Distances from neighbours that may be outstanding, in medians of all.
const STEPS_THRESHOLD: f64 = 6.0;
/// Distances that tell a tail: this part of them, and this number at least.
const TAIL_PART: usize = 8;
const TAIL: usize = 10;
/// Distances below the threshold without which nothing is known of a tail, and the steps that a comparison needs.
const RUNS_MIN: usize = 4;
/// Samples for each event of a series with fewer distances.
const SAMPLES_OF_EVENT: usize = 100;
/// A tail is light if few distances are beyond the threshold and a tenth of the others is at most this much larger than their median.
/// That quotient is 2.0 for normal values, and at most this in most series of 60.
const LIGHT_MAX: f64 = 2.4;
/// The number of distances that are few: this one, and one more for each of these samples.
const FEW: usize = 2;
const FEW_SAMPLES: usize = 2_000;
/// The largest normal distances are 3 to 4 in 1,000 to 100,000 samples, exponential ones beyond 6: up to this one they are near, where
/// there are this many.
const NEAR: f64 = 4.0;
const RUNS_MANY: usize = 150;
/// Differences below this part of a distance are rounding.
const ROUNDING: f64 = 1e-9;

/// Which distances of a series are outstanding.
#[derive(Clone, Debug, PartialEq)]
pub struct Extremes {
    /// The least distances that are, from the baseline and from neighbours.
    from_baseline: f64,
    from_neighbours: f64,
    /// By sample, the distance from neighbours.
    steps: Vec<f64>,
}

/// How the usual distances of a series from its baseline fall off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailWeight {
    /// About as those of normal values.
    Light,
    /// More slowly, but all except a few are near.
    Near,
    /// More slowly, and far.
    Heavy,
}

/// Distances in descending order.
struct Distances {
    largest: Vec<f64>,
    /// The same with equal ones spread, if most distances repeat.
    spread: Option<Vec<f64>>,
    samples: usize,
    threshold: f64,
    /// Distances beyond the threshold, which may be outstanding.
    candidates: usize,
}

impl Extremes {
    /// Takes the values of `residual` and their distances from `baseline`. Those beyond `threshold` may be outliers; see
    /// [`super::robust::excursions`].
    pub fn of(
        residual: &[f64],
        baseline: &Baseline,
        sigma_floor: f64,
        window: usize,
        threshold: f64,
    ) -> Self {
        let own = Distances::from_baseline(residual, baseline, sigma_floor, window, threshold);
        let is_near = own.usual().first().is_some_and(|largest| *largest <= NEAR);
        let steps = steps(residual);
        let mut far: Vec<f64> = steps.iter().copied().filter(|step| *step > 0.0).collect();
        let threshold_of_steps = STEPS_THRESHOLD * median(&mut far).unwrap_or(0.0);
        let of_steps = Distances::of(far, residual.len(), threshold_of_steps);
        Self {
            from_baseline: match own.tail() {
                TailWeight::Light if is_near => threshold,
                _ => own.least_outstanding(SIGNIFICANCE),
            },
            from_neighbours: of_steps.least_outstanding(SIGNIFICANCE_OF_STEPS),
            steps,
        }
    }

    /// Whether an excursion is more than the series does by itself.
    pub fn is_outstanding(&self, found: &Excursion) -> bool {
        let steps = self.steps.get(found.first..=found.last).unwrap_or_default();
        found.z.abs() >= self.from_baseline
            || steps.iter().any(|step| *step > 0.0 && *step >= self.from_neighbours)
    }
}

impl TailWeight {
    /// Takes the same as [`Extremes::of`].
    pub fn of(
        residual: &[f64],
        baseline: &Baseline,
        sigma_floor: f64,
        window: usize,
        threshold: f64,
    ) -> Self {
        Distances::from_baseline(residual, baseline, sigma_floor, window, threshold).tail()
    }
}

impl Distances {
    fn from_baseline(
        residual: &[f64],
        baseline: &Baseline,
        sigma_floor: f64,
        window: usize,
        threshold: f64,
    ) -> Self {
        let largest = largest_of_runs(distances(residual, baseline, sigma_floor, window));
        Self::of(largest, residual.len(), threshold)
    }

    fn of(mut largest: Vec<f64>, samples: usize, threshold: f64) -> Self {
        largest.sort_unstable_by(|a, b| b.total_cmp(a));
        let candidates = largest.partition_point(|distance| *distance > threshold);
        Self { spread: spread_ties(&largest), largest, samples, threshold, candidates }
    }

    /// Those up to the threshold.
    fn usual(&self) -> &[f64] {
        &self.largest[self.candidates..]
    }

    fn tail(&self) -> TailWeight {
        let (few, usual) = (FEW + self.samples / FEW_SAMPLES, self.usual());
        if usual.len() >= TAIL && self.candidates <= few && self.spread.is_none() {
            let tenth = usual[usual.len().div_ceil(10)];
            if tenth <= LIGHT_MAX * usual[usual.len() / 2] {
                return TailWeight::Light;
            }
        }
        let is_near = self.largest.get(few).is_some_and(|distance| *distance <= NEAR);
        match self.largest.len() >= RUNS_MANY && is_near {
            true => TailWeight::Near,
            false => TailWeight::Heavy,
        }
    }

    /// The least distance that is outstanding; infinite if none is.
    fn least_outstanding(&self, significance: f64) -> f64 {
        let (runs, usual) = (self.largest.len(), self.usual().len());
        if usual < RUNS_MIN {
            let are_rare = self.samples >= SAMPLES_OF_EVENT * runs;
            return if are_rare { self.threshold } else { f64::INFINITY };
        }
        let steps: Vec<f64> = self
            .spread
            .as_ref()
            .unwrap_or(&self.largest)
            .windows(2)
            .take(self.candidates + (usual / TAIL_PART).max(TAIL))
            .zip(1..)
            .map(|(pair, rank)| f64::from(rank) * (pair[0] / pair[1]).ln())
            .collect();
        // Few outliers are more plausible than many. Over all counts of candidates the parts add up to 1.
        let candidates_part = (self.candidates + 1) as f64 / self.candidates.max(1) as f64;
        let is_outstanding = |count: &usize| {
            let others = &steps[*count..];
            let rest = others.len() as f64;
            let hill = others.iter().sum::<f64>() / rest;
            // The probability of an exponential step over the mean of the others.
            let p = (1.0 + steps[count - 1] / hill / rest).powf(-rest);
            let part = candidates_part / (count * (count + 1)) as f64;
            others.len() >= RUNS_MIN && p <= significance * part
        };
        let count = (1..=self.candidates).rev().find(is_outstanding);
        count.map_or(f64::INFINITY, |count| self.largest[count - 1])
    }
}

/// How far each sample is above both neighbours, or below both.
fn steps(values: &[f64]) -> Vec<f64> {
    let mut steps = vec![0.0; values.len()];
    for (at, part) in values.windows(3).enumerate() {
        let [before, after] = [part[1] - part[0], part[1] - part[2]];
        if before * after > 0.0 {
            steps[at + 1] = before.abs().min(after.abs());
        }
    }
    steps
}

/// The largest distance of each run of samples on one side.
fn largest_of_runs(distances: impl Iterator<Item = (usize, f64)>) -> Vec<f64> {
    let mut largest = Vec::new();
    let (mut side, mut most) = (0.0, 0.0_f64);
    for (_, distance) in distances.filter(|(_, distance)| distance.is_finite()) {
        let of = if distance == 0.0 { 0.0 } else { distance.signum() };
        if of != side {
            largest.push(std::mem::take(&mut most));
            side = of;
        }
        most = most.max(distance.abs());
    }
    largest.push(most);
    largest.retain(|distance| *distance > 0.0);
    largest
}

/// If most distances repeat, as those of counts do: equal ones, spread evenly over the usual step between different ones.
fn spread_ties(sorted: &[f64]) -> Option<Vec<f64>> {
    let is_next = |a: &f64, b: &f64| a - b <= ROUNDING * a;
    let groups: Vec<&[f64]> = sorted.chunk_by(is_next).collect();
    if groups.len() < 2 || 2 * groups.len() >= sorted.len() {
        return None;
    }
    let mut gaps: Vec<f64> = groups.windows(2).map(|pair| pair[0][0] - pair[1][0]).collect();
    let step = median(&mut gaps)?;
    let spread = |group: &&[f64]| {
        let (value, count) = (group[0], group.len());
        let step = step.min(value);
        (0..count)
            .map(move |at| value + step / 2.0 - step * (at as f64 + 0.5) / count as f64)
            .collect::<Vec<f64>>()
    };
    let mut all: Vec<f64> = groups.iter().flat_map(spread).collect();
    all.sort_unstable_by(|a, b| b.total_cmp(a));
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;
    use crate::testing::exponential;

    const THRESHOLD: f64 = 6.0;

    fn of(values: &[f64]) -> Extremes {
        let (median, mad) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        let baseline = Baseline { median, mad, ..Baseline::default() };
        Extremes::of(values, &baseline, 1.0, 288, THRESHOLD)
    }

    fn normal(count: usize, seed: u64) -> Vec<f64> {
        let mut noise = Noise::new(seed);
        (0..count).map(|_| noise.normal()).collect()
    }

    /// The least distance from the baseline that is outstanding.
    fn least(values: &[f64]) -> f64 {
        of(values).from_baseline
    }

    fn tail(values: &[f64]) -> TailWeight {
        let (median, mad) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        let baseline = Baseline { median, mad, ..Baseline::default() };
        TailWeight::of(values, &baseline, 1.0, 288, THRESHOLD)
    }

    fn excursion(at: usize, z: f64) -> Excursion {
        Excursion { first: at, last: at, peak: at, z }
    }

    #[test]
    fn a_light_tail_leaves_it_to_the_threshold_and_a_heavy_one_asks_for_more() {
        let light = normal(2_000, 1);
        assert_eq!((least(&light), tail(&light)), (THRESHOLD, TailWeight::Light));
        let mut noise = Noise::new(1);
        let mut heavy: Vec<f64> =
            (0..2_000).map(|_| noise.normal() / exponential(&mut noise).sqrt()).collect();
        assert_eq!(least(&heavy), f64::INFINITY);
        heavy[1_500] = 5_000.0;
        assert_eq!(least(&heavy), 5_000.0);
    }

    #[test]
    fn outliers_do_not_hide_each_other() {
        // More than are few, so that the tail is asked.
        let mut values = normal(400, 2);
        for (at, value) in [(150, 12.0), (200, -11.0), (250, 10.0), (300, 12.0), (350, 11.0)] {
            values[at] = value;
        }
        assert!(tail(&values) != TailWeight::Light);
        assert!((6.0..=10.0).contains(&least(&values)), "{}", least(&values));
    }

    #[test]
    fn a_long_series_of_few_runs_has_a_tail_too() {
        let distances = (1..=200).map(|at| f64::from(at) / 10.0).collect();
        let found = Distances::of(distances, 1_000_000, THRESHOLD);
        assert_eq!((found.tail(), found.candidates), (TailWeight::Light, 140));
        let heavy = (0..200).map(|at| 2_f64.powi(at)).collect();
        assert_eq!(Distances::of(heavy, 1_000_000, THRESHOLD).tail(), TailWeight::Heavy);
    }

    #[test]
    fn a_spike_of_a_series_that_wanders_stands_out_of_its_neighbours() {
        let mut value = 0.0;
        let mut walk: Vec<f64> = normal(400, 4)
            .iter()
            .map(|step| {
                value += step;
                value
            })
            .collect();
        assert!(!of(&walk).steps.iter().any(|step| *step >= of(&walk).from_neighbours));
        walk[300] += 20.0;
        let found = of(&walk);
        assert!((15.0..25.0).contains(&found.from_neighbours), "{}", found.from_neighbours);
        assert!(found.is_outstanding(&excursion(300, 1.0)));
        assert!(!found.is_outstanding(&excursion(299, 1.0)));
    }

    #[test]
    fn of_counts_a_few_more_are_usual_and_many_more_are_not() {
        let mut noise = Noise::new(2);
        let mut draw = || (exponential(&mut noise) * 2.0).floor() * 3.0;
        let mut counts: Vec<f64> = (0..1_000).map(|_| draw()).collect();
        assert!(counts.iter().any(|count| *count > 2.0 * THRESHOLD));
        assert_eq!(least(&counts), f64::INFINITY);
        counts[700] = 500.0;
        assert_eq!(least(&counts), 500.0);
    }

    #[test]
    fn a_rare_event_is_outstanding_in_a_long_series_only() {
        let with_one = |samples: usize| {
            let mut values = vec![0.0; samples];
            values[3 * samples / 4] = 9.0;
            of(&values).is_outstanding(&excursion(3 * samples / 4, -9.0))
        };
        assert!(with_one(100) && !with_one(60));
        assert!(of(&[0.0; 50]).is_outstanding(&excursion(20, 9.0)));
    }
}
