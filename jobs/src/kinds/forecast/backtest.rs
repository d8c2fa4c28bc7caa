//! Which method forecasts a series, and how far off it is: each is asked at instants that are past, and held against what came.
//!
//! Intervals are conformal: as wide as the errors there were, of which so many are within as the interval promises (Vovk, Gammerman &
//! Shafer, "Algorithmic Learning in a Random World", 2005, ch. 4). Errors of later values are larger, so they are compared after
//! they are divided by step^b, with b from 0 to ½ as the errors themselves grow. How many of an instant's values lie within intervals
//! made of the errors at all others is stated as the coverage; intervals are widened until it would be what they promise.

use super::methods::{Means, Method};

/// Instants that are tried.
pub(super) const ORIGINS: usize = 8;
/// Values between two instants where the horizon is shorter: no divisor of a day or a week.
const STRIDE_MIN: usize = 17;
/// What the intervals promise.
pub(super) const LEVELS: [f64; 2] = [0.80, 0.95];
/// A single method replaces the ensemble if its errors are below this part of the ensemble's: one that learns, and one that does not.
/// What is chosen must be better than the naive method.
const BETTER: f64 = 0.97;
const BETTER_UNLEARNT: f64 = 0.9;
/// How errors grow with the step where there are too few to tell.
const GROWTH: f64 = 0.25;
/// Errors of the later half of the steps that are not as much larger are no larger.
const GROWN_MIN: f64 = 1.2;
/// Beyond the largest error seen, where more is promised than there are errors for.
const BEYOND: f64 = 1.2;

/// The instants at which a series is tried: how many values are known at each, the latest first, and how many follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origins {
    pub(super) known: Vec<usize>,
    pub(super) steps: usize,
}

impl Origins {
    /// For a series of `length` values of which a method needs `least`.
    pub(super) fn of(length: usize, least: usize, horizon: usize) -> Self {
        let spare = length.saturating_sub(least);
        if spare < 2 {
            return Self { known: Vec::new(), steps: 0 };
        }
        // At least two instants, and as much of the horizon as is left.
        let steps = horizon.min(spare / 2);
        // Further apart than the horizon where there is room, so that more than the last days are seen.
        let stride = ((spare - steps) / (ORIGINS - 1)).clamp(1, steps.max(STRIDE_MIN));
        let last = length - steps;
        let known = (0..ORIGINS).filter_map(|at| last.checked_sub(at * stride));
        Self { known: known.filter(|known| *known >= least).collect(), steps }
    }

    /// By instant, the one at which its models are fitted: the earliest, and each at which a quarter more is known than at the last such.
    /// Between these states alone follow what came, which is a small part of the work of a fit.
    pub(super) fn fitted(&self) -> Vec<usize> {
        let mut at = self.known.len().saturating_sub(1);
        let mut fitted = vec![at; self.known.len()];
        for place in (0..self.known.len()).rev() {
            if 4 * self.known[place] >= 5 * self.known[at] {
                at = place;
            }
            fitted[place] = at;
        }
        fitted
    }
}

/// What trying a series showed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tried {
    pub(super) method: Method,
    /// Mean absolute errors of the method and of the naive one; `None` where nothing could be tried.
    pub(super) error: Option<f64>,
    pub(super) naive_error: Option<f64>,
    /// Values that were compared.
    pub(super) compared: usize,
    /// Half the width of the interval of the first step, by [`LEVELS`].
    half: [f64; LEVELS.len()],
    growth: f64,
    /// Half the width of the widest interval.
    half_max: f64,
    /// Share of the values within intervals made of the errors at other instants.
    pub(super) coverage: Option<[f64; LEVELS.len()]>,
}

impl Tried {
    /// Half the width of the interval of a step, from 1 on.
    pub(super) fn half(&self, level: usize, step: usize) -> f64 {
        (self.half[level] * (step as f64).powf(self.growth)).min(self.half_max)
    }
}

/// Errors of one method at each instant, by step; NaN where nothing came.
pub(super) type Errors = Vec<Vec<f64>>;

/// What one method said of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) method: Method,
    /// What comes next.
    pub(super) ahead: Vec<f64>,
    /// At each instant that is past, what came next.
    pub(super) said: Vec<Vec<f64>>,
    /// Mean absolute error of the naive method.
    pub(super) naive_error: Option<f64>,
}

/// Chooses among what the methods said at `origins` of `values`, and in the end.
pub(super) fn choose(values: &[f64], origins: &Origins, said: &[Means], mut last: Means) -> Choice {
    let (method, naive_error) = best(values, origins, said, &last);
    let at = Method::ALL.iter().position(|of| *of == method).unwrap_or_default();
    let said: Option<Vec<Vec<f64>>> = said.iter().map(|means| means[at].clone()).collect();
    let said = said.unwrap_or_default();
    Choice { method, ahead: last[at].take().unwrap_or_default(), said, naive_error }
}

/// The method that is chosen, and how far off the naive one was.
fn best(values: &[f64], origins: &Origins, said: &[Means], last: &Means) -> (Method, Option<f64>) {
    let errors = |method: usize| -> Option<Errors> {
        let at = |(known, means): (&usize, &Means)| {
            let means = means[method].as_ref()?;
            let came = &values[*known..*known + origins.steps];
            Some(came.iter().zip(means).map(|(came, mean)| came - mean).collect())
        };
        origins.known.iter().zip(said).map(at).collect()
    };
    let mut tried: Vec<(Method, f64)> = Vec::new();
    for (at, method) in Method::ALL.into_iter().enumerate() {
        let Some(errors) = errors(at).filter(|_| last[at].is_some()) else { continue };
        tried.extend(mean_size(&errors).map(|error| (method, error)));
    }
    let of = |wanted: Method| tried.iter().find(|(method, _)| *method == wanted);
    // In the measure of the ensemble's errors.
    let handicapped = |(method, error): &(Method, f64)| match method {
        Method::Naive | Method::Median => error / BETTER_UNLEARNT,
        Method::Ensemble => *error,
        _ => error / BETTER,
    };
    let best = tried.iter().min_by(|a, b| handicapped(a).total_cmp(&handicapped(b)));
    let Some(best) = best else { return (untried(last), None) };
    let best = of(Method::Naive).filter(|naive| naive.1 < best.1).unwrap_or(best);
    // The median of what is mostly nothing is nothing, and helps nobody: the mean is wanted.
    let chosen = of(Method::Intermittent).unwrap_or(best);
    (chosen.0, of(Method::Naive).map(|naive| naive.1))
}

/// Without a past to be tried on: what usually is best.
fn untried(last: &Means) -> Method {
    let usual = [Method::Ensemble, Method::Ets, Method::Naive];
    let has = |method: &Method| {
        Method::ALL.iter().zip(last).any(|(of, means)| of == method && means.is_some())
    };
    usual.into_iter().find(has).unwrap_or(Method::Naive)
}

impl Choice {
    /// Errors at each of `origins` of `values`.
    pub(super) fn errors(&self, values: &[f64], origins: &Origins) -> Errors {
        let at = |(known, said): (&usize, &Vec<f64>)| {
            let came = &values[*known..*known + origins.steps];
            came.iter().zip(said).map(|(came, said)| came - said).collect()
        };
        origins.known.iter().zip(&self.said).map(at).collect()
    }

    /// How good it was, and how far off it is to be expected.
    pub(super) fn tried(&self, values: &[f64], origins: &Origins) -> Tried {
        let errors = self.errors(values, origins);
        match mean_size(&errors) {
            Some(error) => self.of_errors(values, &errors, error),
            None => self.of_neighbours(values),
        }
    }

    /// As far off as values are from their neighbours.
    fn of_neighbours(&self, values: &[f64]) -> Tried {
        let mut steps = steps(values);
        steps.sort_by(f64::total_cmp);
        let mean = mean(&steps);
        Tried {
            method: self.method,
            error: None,
            naive_error: None,
            compared: 0,
            half: LEVELS.map(|level| or_mean(quantile(&steps, level), mean, values)),
            growth: 0.5,
            half_max: half_max(values),
            coverage: None,
        }
    }

    fn of_errors(&self, values: &[f64], errors: &Errors, error: f64) -> Tried {
        let growth = growth(errors);
        let all: Vec<&Vec<f64>> = errors.iter().collect();
        let scores = scores(&all, growth);
        let ratios = LEVELS.map(|level| ratios(errors, growth, level));
        let half = [0, 1].map(|at| {
            let widened = ratios[at].as_deref().map_or(1.0, |ratios| quantile(ratios, LEVELS[at]));
            // By how much can't be said of what is infinitely far off.
            let widened = if widened.is_finite() { widened } else { 1.0 };
            let half = widened.max(1.0) * quantile(&scores, LEVELS[at]);
            // One instant that is unlike the others widens by any factor.
            let half = half.min(BEYOND * scores.last().copied().unwrap_or(half));
            or_mean(or_mean(half, error, values), mean(&steps(values)), values)
        });
        let coverage = ratios.map(|ratios| ratios.map(|ratios| share_within(&ratios)));
        Tried {
            method: self.method,
            error: Some(error),
            naive_error: self.naive_error,
            compared: scores.len(),
            half,
            growth,
            half_max: half_max(values),
            coverage: coverage[0].zip(coverage[1]).map(|(inner, outer)| [inner, outer]),
        }
    }
}

/// Distances of neighbouring values.
fn steps(values: &[f64]) -> Vec<f64> {
    let known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    known.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect()
}

fn mean(sizes: &[f64]) -> f64 {
    sizes.iter().map(|size| size / sizes.len() as f64).sum()
}

/// An interval of values that vary has a width, however rarely they vary.
fn or_mean(half: f64, mean: f64, values: &[f64]) -> f64 {
    if half > NEGLIGIBLE * range(values) { half } else { half.max(mean) }
}

/// A width below this part of the range of the values comes from rounding.
const NEGLIGIBLE: f64 = 1e-9;

/// Intervals are at most this number of times as wide as the range of the values.
const RANGES_MAX: f64 = 10.0;

fn half_max(values: &[f64]) -> f64 {
    RANGES_MAX / 2.0 * range(values)
}

fn range(values: &[f64]) -> f64 {
    let known = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) =
        (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    (high - low).max(0.0)
}

fn mean_size(errors: &Errors) -> Option<f64> {
    let sizes = || errors.iter().flatten().filter(|error| error.is_finite()).map(|e| e.abs());
    let count = sizes().count();
    (count > 0).then(|| sizes().sum::<f64>() / count as f64)
}

/// The exponent by which errors grow from step to step.
fn growth(errors: &Errors) -> f64 {
    let steps = errors.first().map_or(0, Vec::len);
    if steps < 4 {
        return GROWTH;
    }
    let half = steps / 2;
    let part = |from: usize, to: usize| {
        let part: Errors = errors.iter().map(|steps| steps[from..to].to_vec()).collect();
        mean_size(&part)
    };
    match (part(0, half), part(half, steps)) {
        (Some(early), Some(late)) if early > 0.0 && late > 0.0 => {
            // The middles of the halves.
            let (first, second) = ((half + 1) as f64 / 2.0, (half + steps + 1) as f64 / 2.0);
            match late / early {
                // Chance makes as much.
                grown if grown < GROWN_MIN => 0.0,
                grown => (grown.ln() / (second / first).ln()).clamp(0.0, 0.5),
            }
        }
        _ => GROWTH,
    }
}

/// Sizes of errors as they would be at the first step, rising.
fn scores(errors: &[&Vec<f64>], growth: f64) -> Vec<f64> {
    let at = |(step, error): (usize, &f64)| error.abs() / ((step + 1) as f64).powf(growth);
    let mut scores: Vec<f64> =
        errors.iter().flat_map(|steps| steps.iter().enumerate().map(at)).collect();
    scores.retain(|score| score.is_finite());
    scores.sort_by(f64::total_cmp);
    scores
}

/// What `level` of the next scores stay within.
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let Some(largest) = sorted.last() else { return 0.0 };
    let place = ((sorted.len() + 1) as f64 * level).ceil() as usize;
    if place > sorted.len() { BEYOND * largest } else { sorted[place.max(1) - 1] }
}

/// Each error as a part of the interval made of those at all other instants, rising: errors of one instant are alike, so an instant that is
/// to come may be further off than the values of those that are known say.
fn ratios(errors: &Errors, growth: f64, level: f64) -> Option<Vec<f64>> {
    if errors.len() < 2 {
        return None;
    }
    let mut ratios = Vec::new();
    for (at, own) in errors.iter().enumerate() {
        let others: Vec<&Vec<f64>> =
            errors.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, of)| of).collect();
        let widest = quantile(&scores(&others, growth), level);
        // Where all others were met exactly this one is infinitely far off.
        ratios.extend(scores(&[own], growth).into_iter().map(|score| score / widest));
    }
    ratios.retain(|ratio| !ratio.is_nan());
    ratios.sort_by(f64::total_cmp);
    (!ratios.is_empty()).then_some(ratios)
}

fn share_within(ratios: &[f64]) -> f64 {
    ratios.iter().filter(|ratio| **ratio <= 1.0).count() as f64 / ratios.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_lie_behind_each_other_and_leave_what_a_method_needs() {
        let found = Origins::of(100, 20, 10);
        assert_eq!(found, Origins { known: vec![90, 80, 70, 60, 50, 40, 30, 20], steps: 10 });
        // With less to spare they overlap, and steps are fewer.
        assert_eq!(
            Origins::of(30, 20, 10),
            Origins { known: vec![25, 24, 23, 22, 21, 20], steps: 5 }
        );
        assert_eq!(Origins::of(22, 20, 10), Origins { known: vec![21, 20], steps: 1 });
        assert_eq!(Origins::of(21, 20, 10).known, [0; 0]);
        assert_eq!(Origins::of(3, 20, 10).known, [0; 0]);
    }

    #[test]
    fn models_are_fitted_at_the_first_instant_and_where_a_quarter_more_is_known() {
        let fitted = |known: &[usize]| Origins { known: known.to_vec(), steps: 1 }.fitted();
        assert_eq!(fitted(&[976, 900, 808]), [2, 2, 2]);
        assert_eq!(fitted(&[126, 125, 124, 110, 100]), [1, 1, 4, 4, 4]);
        assert_eq!(fitted(&[60, 45, 37, 30]), [0, 1, 3, 3]);
        assert_eq!(fitted(&[5]), [0]);
        assert_eq!(fitted(&[]), [0; 0]);
    }

    #[test]
    fn quantiles_are_those_of_the_next_value() {
        let scores: Vec<f64> = (1..=19).map(f64::from).collect();
        assert_eq!(quantile(&scores, 0.80), 16.0);
        assert_eq!(quantile(&scores, 0.95), 19.0);
        assert_eq!(quantile(&scores[..18], 0.95), BEYOND * 18.0);
        assert_eq!(quantile(&[], 0.8), 0.0);
    }

    #[test]
    fn errors_that_grow_as_those_of_a_random_walk_are_seen_to() {
        let walk: Errors = vec![(1..=40).map(|step| f64::from(step).sqrt()).collect(); 3];
        assert!((growth(&walk) - 0.5).abs() < 0.03, "{}", growth(&walk));
        assert_eq!(growth(&vec![vec![2.0; 40]; 3]), 0.0);
        assert_eq!(growth(&vec![vec![2.0; 3]; 3]), GROWTH);
        for half in [[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]] {
            assert_eq!(growth(&vec![half.to_vec(); 3]), GROWTH);
        }
    }

    #[test]
    fn an_instant_is_held_against_all_others_and_alone_against_none() {
        let of = |errors: &[f64]| ratios(&errors.iter().map(|e| vec![*e]).collect(), 0.0, 0.80);
        assert_eq!(of(&[1.0]), None);
        assert_eq!(of(&[1.0, -2.0]), Some(vec![1.0 / (BEYOND * 2.0), 2.0 / BEYOND]));
    }

    fn means(of: &[(Method, f64)], steps: usize) -> Means {
        Method::ALL.map(|method| {
            of.iter().find(|(other, _)| *other == method).map(|(_, mean)| vec![*mean; steps])
        })
    }

    #[test]
    fn the_ensemble_is_left_only_for_what_is_clearly_better() {
        let values: Vec<f64> = (0..100).map(|at| f64::from(at % 2)).collect();
        let origins = Origins::of(100, 20, 10);
        let chosen = |ets: f64| {
            let said =
                means(&[(Method::Naive, 9.0), (Method::Ets, ets), (Method::Ensemble, 2.5)], 10);
            let tried =
                choose(&values, &origins, &vec![said.clone(); 8], said).tried(&values, &origins);
            (tried.method, tried.error, tried.naive_error)
        };
        // Errors of 2 on average, and of 8.5.
        assert_eq!(chosen(2.46), (Method::Ensemble, Some(2.0), Some(8.5)));
        assert_eq!(chosen(2.4).0, Method::Ets);
        // Of what does not learn 0.9 of it is asked.
        let unlearnt = |median: f64| {
            let said = means(&[(Method::Median, median), (Method::Ensemble, 2.5)], 10);
            choose(&values, &origins, &vec![said.clone(); 8], said).method
        };
        assert_eq!([2.32, 2.28].map(unlearnt), [Method::Ensemble, Method::Median]);
    }

    #[test]
    fn intervals_hold_what_they_promise_of_noise_and_say_so() {
        let mut noise = analysis_noise(3);
        let mut inside = [0; 2];
        let mut stated = [0.0; 2];
        let tries = 400;
        for _ in 0..tries {
            let values: Vec<f64> = (0..300).map(|_| noise()).collect();
            let origins = Origins::of(300, 20, 24);
            let said = means(&[(Method::Ets, 0.0)], 24);
            let past = vec![said.clone(); origins.known.len()];
            let tried = choose(&values, &origins, &past, said).tried(&values, &origins);
            let next = noise();
            for level in 0..2 {
                inside[level] += usize::from(next.abs() <= tried.half(level, 1));
                stated[level] += tried.coverage.map_or(f64::NAN, |coverage| coverage[level]);
            }
        }
        for (level, promised) in LEVELS.into_iter().enumerate() {
            let share = inside[level] as f64 / f64::from(tries);
            let stated = stated[level] / f64::from(tries);
            assert!((share - promised).abs() < 0.05, "{share} of {promised}");
            assert!((stated - promised).abs() < 0.03, "stated {stated} of {promised}");
        }
    }

    fn analysis_noise(seed: u64) -> impl FnMut() -> f64 {
        let mut noise = crate::testing::Noise::new(seed);
        move || noise.normal()
    }
}
