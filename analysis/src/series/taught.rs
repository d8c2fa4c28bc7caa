//! Labels by hand teach thresholds. Who looks at findings says of some that they are no anomaly, and of a stretch that nothing was
//! found in that it is one. Each such lesson says on which side of what was found the threshold of that series should be; few speak
//! for one series, many of many series for a kind of finding, and so for series that nobody has looked at.
//!
//! ```text
//!   P(real | ratio) = logistic((ln ratio − θ) / s)      the threshold is where it is a half: at exp(θ) times the usual one
//!   θ of a series and kind ~ N(θ of the kind, τ²)       series of a kind are alike as far as lessons do not say otherwise
//!   θ of a kind            ~ N(0, σ²)                   without lessons nothing changes
//! ```
//!
//! The response is that of an item (Rasch, "Probabilistic Models for Some Intelligence and Attainment Tests", 1960), the rest partial
//! pooling (Gelman & Hill, "Data Analysis Using Regression and Multilevel/Hierarchical Models", 2006, ch. 12). The posterior is strictly
//! log-concave, so it has one mode, which damped Newton steps reach (Boyd & Vandenberghe, "Convex Optimization", 2004, § 9.5). The
//! series of a kind depend on each other through θ of the kind alone: a step is O(lessons), by elimination.
//!
//! Lessons that agree would move a mode without end; it stops one response s beyond the last of them.
//!
//! A mode is a compromise, and who has said *that is none* does not want to be told of it again. So the factor of a series goes above
//! all that is no anomaly and not above what is one, wherever its lessons allow both; where they contradict each other it is between
//! them. Last come the bounds.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// How much higher than the strongest finding that is no anomaly a factor is at least, where no real one is so near.
const ABOVE: f64 = 1.1;
/// The gradient, in units of the logarithm of the posterior for one of θ, at which the mode is reached.
const GRADIENT_MAX: f64 = 1e-9;
/// Halvings of one step.
const HALVINGS_MAX: usize = 40;

/// What someone said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is an anomaly.
    Real,
    /// It is none.
    Not,
}

/// One label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lesson {
    /// Which series.
    pub series: usize,
    /// Which kind of finding.
    pub kind: usize,
    /// The score over the threshold that holds without lessons: 1 or more of what is found; less of a stretch where nothing was.
    /// Others than those above 0 and finite are left out.
    pub ratio: f64,
    /// What it is.
    pub verdict: Verdict,
}

/// How lessons are generalised, in logarithms of factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// s: how sure one lesson is about where the threshold is.
    pub response: f64,
    /// τ: how far the thresholds of series are from that of their kind.
    pub series_deviation: f64,
    /// σ: how far those of kinds are from the usual ones.
    pub kind_deviation: f64,
    /// The least factor, above 0 and at most 1.
    pub factor_min: f64,
    /// The largest factor, at least 1.
    pub factor_max: f64,
    /// Newton steps.
    pub steps_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            response: 0.25,
            series_deviation: 1.0,
            kind_deviation: 0.3,
            factor_min: 0.5,
            factor_max: 10.0,
            steps_max: 100,
        }
    }
}

impl Options {
    fn hold(&self) -> bool {
        let scales = [self.response, self.series_deviation, self.kind_deviation];
        scales.iter().all(|scale| scale.is_finite() && *scale > 0.0)
            && self.factor_min > 0.0
            && self.factor_min <= 1.0
            && self.factor_max >= 1.0
            && self.factor_max.is_finite()
    }
}

/// Why the lessons of a kind change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlearned {
    /// A scale that is not above 0 and finite, or bounds that 1 is not between.
    Options,
    /// The mode was not reached in the steps that are allowed.
    NotConverged,
}

/// What thresholds are multiplied by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors {
    series: BTreeMap<(usize, usize), f64>,
    kinds: BTreeMap<usize, Result<f64, Unlearned>>,
    left_out: usize,
}

impl Factors {
    /// The factor of a series and kind: its own where it has lessons, else its kind's; 1 where that has none.
    pub fn of(&self, series: usize, kind: usize) -> f64 {
        self.series.get(&(kind, series)).copied().unwrap_or_else(|| self.of_kind(kind))
    }

    /// The factor of series of a kind that have no lessons themselves; 1 without lessons of the kind.
    pub fn of_kind(&self, kind: usize) -> f64 {
        self.kinds.get(&kind).copied().and_then(Result::ok).unwrap_or(1.0)
    }

    /// Kinds with lessons that change nothing, and why.
    pub fn unlearned(&self) -> impl Iterator<Item = (usize, Unlearned)> + '_ {
        self.kinds.iter().filter_map(|(kind, learned)| Some((*kind, learned.err()?)))
    }

    /// Lessons whose ratio is not above 0 and finite.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

/// What lessons make of thresholds. Their order does not matter. O(n·log n + n·steps).
pub fn thresholds(lessons: &[Lesson], options: &Options) -> Factors {
    let given = lessons.len();
    let has_ratio = |lesson: &&Lesson| lesson.ratio.is_finite() && lesson.ratio > 0.0;
    let mut lessons: Vec<Lesson> = lessons.iter().filter(has_ratio).copied().collect();
    let mut factors = Factors { left_out: given - lessons.len(), ..Factors::default() };
    lessons.sort_unstable_by(in_order);
    for of_kind in lessons.chunk_by(|a, b| a.kind == b.kind) {
        let kind = of_kind[0].kind;
        let all: Vec<Taught<'_>> =
            of_kind.chunk_by(|a, b| a.series == b.series).map(Taught::new).collect();
        let mode = if options.hold() { mode(&all, options) } else { Err(Unlearned::Options) };
        let learned = mode.map(|mode| {
            let bounded = |factor: f64| factor.clamp(options.factor_min, options.factor_max);
            let strongest = all.iter().map(|taught| taught.not).fold(0.0, f64::max);
            let weakest = all.iter().map(|taught| taught.real).fold(f64::INFINITY, f64::min);
            let of_kind = within(mode.kind, 0.0, strongest, weakest, options.response);
            for (taught, theta) in all.iter().zip(&mode.series) {
                let own = within(*theta, of_kind, taught.not, taught.real, options.response);
                let factor = bounded(taught.between(own.exp()));
                factors.series.insert((kind, taught.lessons[0].series), factor);
            }
            bounded(of_kind.exp())
        });
        factors.kinds.insert(kind, learned);
    }
    factors
}

/// Lessons that all say the same move a mode on and on, the more of them there are. None speaks of what is further than one response
/// beyond the strongest that is no anomaly, or below the weakest that is one: only θ from before does.
fn within(theta: f64, before: f64, not: f64, real: f64, response: f64) -> f64 {
    theta.min(before.max(not.ln() + response)).max(before.min(real.ln() - response))
}

/// By kind, series, ratio and verdict: lessons that are equal in this order are the same.
fn in_order(a: &Lesson, b: &Lesson) -> Ordering {
    let place = |lesson: &Lesson| (lesson.kind, lesson.series);
    place(a).cmp(&place(b)).then(a.ratio.total_cmp(&b.ratio)).then(a.verdict.cmp(&b.verdict))
}

/// The lessons of one series and kind.
struct Taught<'a> {
    lessons: &'a [Lesson],
    /// The strongest that is no anomaly; 0 without.
    not: f64,
    /// The weakest that is one; infinite without.
    real: f64,
}

impl<'a> Taught<'a> {
    fn new(lessons: &'a [Lesson]) -> Self {
        let of = |verdict: Verdict| {
            lessons
                .iter()
                .filter(move |lesson| lesson.verdict == verdict)
                .map(|lesson| lesson.ratio)
        };
        let (not, real) =
            (of(Verdict::Not).fold(0.0, f64::max), of(Verdict::Real).fold(f64::INFINITY, f64::min));
        Self { lessons, not, real }
    }

    /// The factor nearest to one that goes with the lessons.
    fn between(&self, factor: f64) -> f64 {
        if self.not >= self.real {
            return factor.clamp(self.real, self.not);
        }
        // Roots first: a product could overflow.
        let middle = self.not.sqrt() * self.real.sqrt();
        factor.max((self.not * ABOVE).min(middle)).min(self.real)
    }

    /// The logarithm of the likelihood at a θ, less a constant.
    fn likelihood(&self, theta: f64, response: f64) -> f64 {
        let of = |lesson: &Lesson| {
            let z = (lesson.ratio.ln() - theta) / response;
            let z = if lesson.verdict == Verdict::Real { z } else { -z };
            // ln logistic(z), of any size.
            z.min(0.0) - (-z.abs()).exp().ln_1p()
        };
        self.lessons.iter().map(of).sum()
    }

    /// Its gradient, and its curvature downward.
    fn slope(&self, theta: f64, response: f64) -> (f64, f64) {
        let of = |lesson: &Lesson| {
            let p = 1.0 / (1.0 + (-(lesson.ratio.ln() - theta) / response).exp());
            let gradient = if lesson.verdict == Verdict::Real { p - 1.0 } else { p };
            (gradient / response, p * (1.0 - p) / (response * response))
        };
        self.lessons.iter().map(of).fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }
}

/// The θ of a kind and of its series, in the order of [`Taught`].
#[derive(Clone, Debug)]
struct Mode {
    kind: f64,
    series: Vec<f64>,
}

/// The mode of the posterior of one kind.
fn mode(all: &[Taught<'_>], options: &Options) -> Result<Mode, Unlearned> {
    let response = options.response;
    let (of_series, of_kind) = (options.series_deviation.powi(-2), options.kind_deviation.powi(-2));
    let posterior = |at: &Mode| {
        let of = |(taught, theta): (&Taught<'_>, &f64)| {
            taught.likelihood(*theta, response) - of_series * (theta - at.kind).powi(2) / 2.0
        };
        all.iter().zip(&at.series).map(of).sum::<f64>() - of_kind * at.kind.powi(2) / 2.0
    };
    let mut at = Mode { kind: 0.0, series: vec![0.0; all.len()] };
    let mut height = posterior(&at);
    for _ in 0..options.steps_max {
        // Of each series gradient and curvature; then θ of the kind, with those of the series eliminated.
        let slopes: Vec<(f64, f64)> = all
            .iter()
            .zip(&at.series)
            .map(|(taught, theta)| {
                let (gradient, curvature) = taught.slope(*theta, response);
                (gradient - of_series * (theta - at.kind), curvature + of_series)
            })
            .collect();
        let pulls: f64 = at.series.iter().map(|theta| of_series * (theta - at.kind)).sum();
        let gradient = pulls - of_kind * at.kind;
        let steepest = slopes.iter().fold(gradient.abs(), |most, slope| most.max(slope.0.abs()));
        // Sums of many lessons are rounded the more.
        if steepest <= GRADIENT_MAX * (1.0 + all.len() as f64).max(height.abs()) {
            return Ok(at);
        }
        let (mut right, mut left) = (gradient, of_kind);
        for (gradient, curvature) in &slopes {
            right += of_series * gradient / curvature;
            left += of_series * (1.0 - of_series / curvature);
        }
        let kind = right / left;
        let series =
            slopes.iter().map(|(gradient, curvature)| (gradient + of_series * kind) / curvature);
        let step = Mode { kind, series: series.collect() };

        let mut part = 1.0;
        let taken = (0..HALVINGS_MAX).find_map(|_| {
            let to = Mode {
                kind: at.kind + part * step.kind,
                series: at
                    .series
                    .iter()
                    .zip(&step.series)
                    .map(|(at, step)| at + part * step)
                    .collect(),
            };
            part /= 2.0;
            let higher = posterior(&to);
            (higher > height).then_some((to, higher))
        });
        match taken {
            Some((to, higher)) => (at, height) = (to, higher),
            // Nothing is higher within rounding.
            None if steepest <= GRADIENT_MAX.sqrt() * (1.0 + height.abs()) => return Ok(at),
            None => return Err(Unlearned::NotConverged),
        }
    }
    Err(Unlearned::NotConverged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Verdict::{Not, Real};
    use super::*;
    use crate::Noise;

    fn lesson(series: usize, kind: usize, ratio: f64, verdict: Verdict) -> Lesson {
        Lesson { series, kind, ratio, verdict }
    }

    fn taught(lessons: &[Lesson]) -> Factors {
        thresholds(lessons, &Options::default())
    }

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} is not {expected}");
    }

    #[test]
    fn without_lessons_nothing_changes() {
        assert_eq!(taught(&[]).of(3, 1), 1.0);
        let other_kind = taught(&[lesson(3, 0, 4.0, Not)]);
        assert_eq!((other_kind.of(3, 1), other_kind.of_kind(1)), (1.0, 1.0));
        assert_eq!(other_kind.unlearned().count(), 0);
    }

    #[test]
    fn what_is_no_anomaly_is_not_told_again_and_others_hardly_notice() {
        let mut last = 1.0;
        for ratio in [1.0, 1.3, 2.0, 3.0, 5.0, 8.0, 9.0] {
            let factors = taught(&[lesson(7, 2, ratio, Not)]);
            let (own, other) = (factors.of(7, 2), factors.of(8, 2));
            assert!(own >= (ratio * 1.1_f64).min(10.0) && own >= last, "{ratio}: {own}");
            assert!(other > 1.0 && other < 1.2, "{ratio}: {other}");
            assert_eq!(other, factors.of_kind(2));
            last = own;
        }
    }

    #[test]
    fn the_mode_is_where_the_posterior_is_flat() {
        let of = |lessons: &[Lesson]| {
            let all: Vec<Taught<'_>> =
                lessons.chunk_by(|a, b| a.series == b.series).map(Taught::new).collect();
            mode(&all, &Options::default()).unwrap()
        };
        // One series: the pull of its lesson is that of both priors together, and its kind has its part of it.
        let found = of(&[lesson(0, 0, 2.0, Not)]);
        let p = |theta: f64, ratio: f64| 1.0 / (1.0 + ((theta - ratio.ln()) / 0.25).exp());
        near(p(found.series[0], 2.0) / 0.25, found.series[0] / 1.09);
        near(found.kind, found.series[0] * 0.09 / 1.09);
        // Two, of which one is real at more than it was not at.
        let found = of(&[lesson(0, 0, 2.0, Not), lesson(1, 0, 0.9, Not), lesson(1, 0, 1.2, Real)]);
        let (kind, own) = (found.kind, found.series[1]);
        near(found.series[0] + own - 2.0 * kind, kind / 0.09);
        near(p(found.series[0], 2.0) / 0.25, found.series[0] - kind);
        near((p(own, 0.9) + p(own, 1.2) - 1.0) / 0.25, own - kind);
    }

    #[test]
    fn many_lessons_of_a_kind_teach_all_its_series_and_few_do_not() {
        let kind = |series: usize| {
            let lessons: Vec<Lesson> = (0..series).map(|at| lesson(at, 5, 3.0, Not)).collect();
            taught(&lessons).of(1_000, 5)
        };
        let factors = [1, 5, 20, 100, 1_000].map(kind);
        let expected = [1.114, 1.538, 2.717, 3.852, 3.852];
        factors.iter().zip(expected).for_each(|(found, expected)| near(*found, expected));
        // Where series hardly differ from their kind, what was said of one counts all the same.
        let alike = Options { series_deviation: 0.01, ..Options::default() };
        let mut lessons: Vec<Lesson> = (0..100).map(|at| lesson(at, 5, 3.0, Not)).collect();
        lessons.extend([lesson(500, 5, 2.0, Real), lesson(501, 5, 4.0, Not)]);
        let factors = thresholds(&lessons, &alike);
        near(factors.of_kind(5), 5.136);
        near(factors.of(500, 5), 2.0);
        near(factors.of(501, 5), 5.136);
        // As many lessons of one series teach that one.
        let of_one = taught(&[lesson(0, 5, 3.0, Not); 100]);
        near(of_one.of(0, 5), 3.852);
        near(of_one.of(1, 5), 1.219);
        // A series goes with its kind as far as its own lessons leave it.
        let mut lessons: Vec<Lesson> = (0..100).map(|at| lesson(at, 5, 3.0, Not)).collect();
        lessons.push(lesson(500, 5, 1.5, Real));
        let below = taught(&lessons).of(500, 5);
        assert!(below <= 1.5 && below > 1.2, "{below}");
        lessons.push(lesson(501, 5, 9.0, Real));
        near(taught(&lessons).of(501, 5), 3.852);
    }

    #[test]
    fn between_what_is_none_and_what_is_one_there_is_the_threshold() {
        for (not, real) in [(2.0, 2.1), (2.0, 4.0), (5.0, 5.0001), (1.0, 9.0), (0.7, 0.9)] {
            let factor = taught(&[lesson(0, 0, real, Real), lesson(0, 0, not, Not)]).of(0, 0);
            assert!(factor > not && factor < real, "{not} {real}: {factor}");
        }
        for (real, not) in [(2.0, 3.0), (2.0, 2.0), (1.0, 8.0), (0.6, 0.7), (4.0, 9.0)] {
            let factor = taught(&[lesson(0, 0, real, Real), lesson(0, 0, not, Not)]).of(0, 0);
            assert!(factor >= real && factor <= not, "{real} {not}: {factor}");
        }
        // The more say so, the nearer.
        let with = |reals: usize, nots: usize| {
            let mut lessons = vec![lesson(0, 0, 2.0, Real); reals];
            lessons.extend(vec![lesson(0, 0, 4.0, Not); nots]);
            taught(&lessons).of(0, 0)
        };
        assert!(with(9, 1) < with(2, 2) && with(2, 2) < with(1, 9));
        assert!(with(9, 1) < 2.2 && with(1, 9) > 3.8, "{} {}", with(9, 1), with(1, 9));
    }

    #[test]
    fn real_ones_never_raise_a_factor_and_no_lesson_passes_a_bound() {
        for ratio in [1.0, 1.5, 4.0] {
            let factors = taught(&[lesson(0, 0, ratio, Real); 3]);
            assert!(factors.of(0, 0) <= 1.0 && factors.of(0, 0) >= 0.5, "{ratio}: {factors:?}");
        }
        // What was missed is found the next time.
        assert!(taught(&[lesson(0, 0, 0.8, Real)]).of(0, 0) <= 0.8);
        let many = |ratio: f64, verdict: Verdict| {
            let lessons: Vec<Lesson> =
                (0..2_000).map(|at| lesson(at % 200, 0, ratio, verdict)).collect();
            let factors = taught(&lessons);
            (factors.of(0, 0), factors.of_kind(0))
        };
        // Lessons that agree say nothing of what is further than a response beyond them.
        near(many(0.9, Real).0, 0.9 * (-0.25_f64).exp());
        near(many(0.9, Real).1, 0.9 * (-0.25_f64).exp());
        assert_eq!(many(0.01, Real), (0.5, 0.5));
        assert_eq!(many(1e-300, Real), (0.5, 0.5));
        assert_eq!(many(50.0, Not), (10.0, 10.0));
        assert_eq!(many(1e300, Not), (10.0, 10.0));
        let options = Options { factor_min: 0.9, factor_max: 2.0, ..Options::default() };
        let lessons = [lesson(0, 0, 6.0, Not), lesson(1, 1, 0.3, Real)];
        let factors = thresholds(&lessons, &options);
        assert_eq!((factors.of(0, 0), factors.of(1, 1)), (2.0, 0.9));
    }

    /// Lessons of people who know the thresholds, more or less.
    fn lessons_of(
        series: usize,
        each: usize,
        truth: impl Fn(usize) -> f64,
        seed: u64,
    ) -> Vec<Lesson> {
        let mut noise = Noise::new(seed);
        let mut one = |at: usize| {
            let ratio = (0.1 + 2.0 * noise.uniform()).exp();
            let p = 1.0 / (1.0 + (-(ratio / truth(at)).ln() / 0.25).exp());
            let verdict = if noise.uniform() < p { Real } else { Not };
            lesson(at, 3, ratio, verdict)
        };
        (0..series * each).map(|at| one(at % series)).collect()
    }

    #[test]
    fn thresholds_of_those_who_label_are_learned() {
        let truth = |at: usize| if at.is_multiple_of(2) { 2.0 } else { 4.0 };
        let factors = taught(&lessons_of(60, 25, truth, 1));
        let off = |at: usize| (factors.of(at, 3) / truth(at)).ln().abs() / 60.0;
        let off: f64 = (0..60).map(off).sum();
        assert!(off < 0.2, "{off}");
        near(factors.of_kind(3), 2.346);
    }

    #[test]
    fn order_does_not_matter_and_kinds_and_series_have_nothing_to_do_with_each_other() {
        let mut lessons = lessons_of(20, 10, |_| 2.5, 2);
        let before = taught(&lessons);
        for seed in 0..5 {
            Noise::new(seed).shuffle(&mut lessons);
            assert_eq!(taught(&lessons), before);
        }
        // The same lessons of another kind, and a lesson of a third.
        let others: Vec<Lesson> = lessons.iter().map(|of| Lesson { kind: 9, ..*of }).collect();
        lessons.extend(others);
        lessons.push(lesson(3, 4, 5.0, Not));
        let both = taught(&lessons);
        for series in 0..21 {
            assert_eq!(both.of(series, 3), before.of(series, 3));
            assert_eq!(both.of(series, 9), before.of(series, 3));
        }
        assert!(both.of(3, 4) > 5.0);
    }

    #[test]
    fn what_cannot_be_learned_changes_nothing_and_says_so() {
        let lessons = [lesson(0, 0, 3.0, Not), lesson(1, 6, 2.0, Real)];
        let unchanged = |options: Options, why: Unlearned| {
            let factors = thresholds(&lessons, &options);
            assert_eq!((factors.of(0, 0), factors.of(1, 6), factors.of_kind(0)), (1.0, 1.0, 1.0));
            assert_eq!(factors.unlearned().collect::<Vec<_>>(), [(0, why), (6, why)]);
        };
        let usual = Options::default();
        unchanged(Options { steps_max: 1, ..usual }, Unlearned::NotConverged);
        unchanged(Options { response: 0.0, ..usual }, Unlearned::Options);
        unchanged(Options { series_deviation: f64::NAN, ..usual }, Unlearned::Options);
        unchanged(Options { kind_deviation: f64::INFINITY, ..usual }, Unlearned::Options);
        unchanged(Options { factor_min: 0.0, ..usual }, Unlearned::Options);
        unchanged(Options { factor_min: 1.1, ..usual }, Unlearned::Options);
        unchanged(Options { factor_max: 0.9, ..usual }, Unlearned::Options);
        unchanged(Options { factor_max: f64::INFINITY, ..usual }, Unlearned::Options);
        // Ratios that are none are left out.
        let odd = [f64::NAN, f64::INFINITY, 0.0, -2.0].map(|ratio| lesson(0, 0, ratio, Not));
        let factors = taught(&odd);
        assert_eq!((factors.left_out(), factors.of(0, 0)), (4, 1.0));
        let with = taught(&[odd.as_slice(), &lessons].concat());
        assert_eq!((with.left_out(), with.of(0, 0)), (4, taught(&lessons).of(0, 0)));
    }

    #[test]
    fn a_hundred_thousand_lessons_take_less_than_a_second_and_are_learned() {
        for series in [1, 100, 20_000] {
            let lessons = lessons_of(series, 100_000 / series, |_| 2.5, 3);
            let begin = std::time::Instant::now();
            let factors = taught(&lessons);
            assert!(begin.elapsed().as_secs_f64() < 1.0, "{series}: {:?}", begin.elapsed());
            assert_eq!(factors.unlearned().count(), 0);
            let learned = if series == 1 { factors.of(0, 3) } else { factors.of_kind(3) };
            assert!((learned / 2.5).ln().abs() < 0.1, "{series}: {learned}");
        }
    }
}
