//! Which method forecasts a series, and how far off it is: each is tried at past origins, and its forecasts are compared with the
//! values that followed.

use analysis::series::prediction_interval::PredictionInterval;

use super::methods::{Means, Method};

/// Instants that are tried.
pub(super) const ORIGINS: usize = 8;
/// Values between two instants where the horizon is shorter: no divisor of a day or a week.
const STRIDE_MIN: usize = 17;
/// How fast the weight of a method in the ensemble falls with its error: a method with twice the error counts 256 times less.
const WEIGHT_POWER: i32 = 8;

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
    pub(super) widths: PredictionInterval,
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

/// Combines what the methods said at `origins` of `values`, and in the end. The naive method replaces the combination if it is better.
pub(super) fn choose(values: &[f64], origins: &Origins, said: &[Means], mut last: Means) -> Choice {
    let trials = trials(values, origins, said, &last);
    let of = |wanted: Method| trials.iter().find(|trial| trial.choice.method == wanted);
    let naive = of(Method::Naive);
    let naive_error = naive.map(|naive| naive.error);
    // The median of a series that is mostly 0 is 0, which helps nobody. Users want the mean.
    let chosen = of(Method::Intermittent).cloned().or_else(|| {
        let ensemble = ensemble(values, origins, &trials)?;
        naive.filter(|naive| naive.error < ensemble.error).cloned().or(Some(ensemble))
    });
    match chosen {
        Some(Trial { choice, .. }) => Choice { naive_error, ..choice },
        None => {
            let method = untried(&last);
            let at = Method::ALL.iter().position(|of| *of == method).unwrap_or_default();
            let ahead = last[at].take().unwrap_or_default();
            Choice { method, ahead, said: Vec::new(), naive_error }
        }
    }
}

/// A method that was tried.
#[derive(Clone, Debug)]
struct Trial {
    choice: Choice,
    /// Mean absolute error.
    error: f64,
}

impl Trial {
    fn of(choice: Choice, values: &[f64], origins: &Origins) -> Option<Self> {
        let error = mean_size(&choice.errors(values, origins))?;
        Some(Self { choice, error })
    }
}

/// The methods that forecast at each of the `origins` and in the end.
fn trials(values: &[f64], origins: &Origins, said: &[Means], last: &Means) -> Vec<Trial> {
    let of = |(at, &method): (usize, &Method)| {
        let ahead = last[at].clone()?;
        let said = said.iter().map(|means| means[at].clone()).collect::<Option<_>>()?;
        Trial::of(Choice { method, ahead, said, naive_error: None }, values, origins)
    };
    Method::ALL.iter().enumerate().filter_map(of).collect()
}

/// The mean of all methods, weighted by how small their errors are.
fn ensemble(values: &[f64], origins: &Origins, trials: &[Trial]) -> Option<Trial> {
    // A last value that is far out would move all that follows. The last value replaces the mean if it was better.
    let is_last_value = |choice: &Choice| {
        choice.method == Method::Naive && choice.ahead.windows(2).all(|pair| pair[0] == pair[1])
    };
    let is_member = |choice: &Choice| {
        !matches!(choice.method, Method::Intermittent | Method::Ensemble) && !is_last_value(choice)
    };
    let members: Vec<&Trial> = trials.iter().filter(|trial| is_member(&trial.choice)).collect();
    let least = members.iter().map(|member| member.error).min_by(f64::total_cmp)?;
    let weight = |member: &&Trial| match least > 0.0 {
        true => (least / member.error).powi(WEIGHT_POWER),
        false => f64::from(u8::from(member.error == 0.0)),
    };
    let weights: Vec<f64> = members.iter().map(weight).collect();
    let combined = |of: &dyn Fn(&Trial) -> Vec<f64>| {
        let each: Vec<Vec<f64>> = members.iter().map(|member| of(member)).collect();
        let steps = each.iter().map(Vec::len).min().unwrap_or(0);
        let at = |step: usize| each.iter().map(move |means| means[step]);
        (0..steps).map(|step| weighted(at(step), &weights)).collect::<Vec<f64>>()
    };
    let choice = Choice {
        method: Method::Ensemble,
        ahead: combined(&|member| member.choice.ahead.clone()),
        said: (0..origins.known.len())
            .map(|origin| combined(&|member| member.choice.said[origin].clone()))
            .collect(),
        naive_error: None,
    };
    Trial::of(choice, values, origins)
}

/// The weighted mean; 0 if that is what most of the weight says, so that a pause stays one.
fn weighted(values: impl Iterator<Item = f64>, weights: &[f64]) -> f64 {
    let (mut sum, mut zeros, mut total) = (0.0, 0.0, 0.0);
    for (value, weight) in values.zip(weights) {
        sum += weight * value;
        zeros += if value == 0.0 { *weight } else { 0.0 };
        total += weight;
    }
    if 2.0 * zeros >= total { 0.0 } else { sum / total }
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
        let widths = PredictionInterval::of_errors(&errors, values);
        Tried {
            method: self.method,
            error: mean_size(&errors),
            naive_error: self.naive_error.filter(|_| widths.is_some()),
            widths: widths.unwrap_or_else(|| PredictionInterval::of_neighbours(values)),
        }
    }
}

fn mean_size(errors: &Errors) -> Option<f64> {
    let sizes = || errors.iter().flatten().filter(|error| error.is_finite()).map(|e| e.abs());
    let count = sizes().count();
    (count > 0).then(|| sizes().sum::<f64>() / count as f64)
}

#[cfg(test)]
mod tests {
    use analysis::series::prediction_interval::LEVELS;

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

    fn means(of: &[(Method, f64)], steps: usize) -> Means {
        Method::ALL.map(|method| {
            of.iter().find(|(other, _)| *other == method).map(|(_, mean)| vec![*mean; steps])
        })
    }

    fn chosen(of: &[(Method, f64)]) -> Tried {
        let values: Vec<f64> = (0..100).map(|at| f64::from(at % 2)).collect();
        let origins = Origins::of(100, 20, 10);
        let said = means(of, 10);
        choose(&values, &origins, &vec![said.clone(); 8], said).tried(&values, &origins)
    }

    #[test]
    fn better_methods_weigh_more_and_the_naive_one_replaces_worse() {
        // Errors of 0.5 and of 1.5: the second weighs 3^-8.
        let tried = chosen(&[(Method::Naive, 9.0), (Method::Ets, 0.5), (Method::Theta, 2.0)]);
        assert_eq!((tried.method, tried.naive_error), (Method::Ensemble, Some(8.5)));
        assert!(tried.error.is_some_and(|error| (error - 0.5).abs() < 1e-3), "{tried:?}");
        let tried = chosen(&[(Method::Naive, 1.5), (Method::Ets, 2.6), (Method::Theta, 2.5)]);
        assert_eq!((tried.method, tried.error), (Method::Naive, Some(1.0)));
    }

    #[test]
    fn most_of_the_weight_decides_whether_nothing_happens() {
        let weighted = |values: [f64; 3]| weighted(values.into_iter(), &[0.3, 0.3, 0.4]);
        assert_eq!(weighted([0.0, 0.0, 5.0]), 0.0);
        assert!((weighted([0.0, 1.0, 2.0]) - 1.1).abs() < 1e-12);
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
                inside[level] += usize::from(next.abs() <= tried.widths.half(level, 1));
                stated[level] += tried.widths.coverage.map_or(f64::NAN, |coverage| coverage[level]);
            }
        }
        for (level, promised) in LEVELS.into_iter().enumerate() {
            let share = inside[level] as f64 / f64::from(tries);
            let stated = stated[level] / f64::from(tries);
            assert!((share - promised).abs() < 0.05, "{share} of {promised}");
            // Errors of one origin count as alike unless origins show otherwise, so eight make somewhat wide intervals.
            assert!((-0.02..0.05).contains(&(stated - promised)), "stated {stated} of {promised}");
        }
    }

    fn analysis_noise(seed: u64) -> impl FnMut() -> f64 {
        let mut noise = crate::testing::Noise::new(seed);
        move || noise.normal()
    }
}
