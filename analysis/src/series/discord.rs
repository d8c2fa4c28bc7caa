//! Shapes that come but once: windows of a series that are like none of its others (discords: Keogh, Lin & Fu, "HOT SAX: Efficiently
//! Finding the Most Unusual Time Series Subsequence", 2005). A matrix profile says how far each window is from the one most like it;
//! the largest distance exists in noise too. What is unusual is one that is far beyond those which the series has otherwise.
//!
//! ```text
//!   y = d / √(2m) = √(1 − ρ)                      0: there is another like it; 1: no other even goes along with it
//!   y₁ ≥ y₂ ≥ … ≥ y_K                             the most unlike windows, no two of which overlap
//!   └─ J may be unusual ─┘ y_{J+1} … y_H  say what is usual
//!   β = mean of i · (y_i − y_{i+1}), J < i ≤ H    the scale of an exponential tail (Rényi, "On the theory of order statistics", 1953)
//!   p = J · (1 + t/k)^−k,  t = (y − y_{J+1}) / β  k = H − J spacings; an exponential excess over a scale that is itself estimated
//! ```
//!
//! Given y_{J+1}, the excesses of those above it are independent and exponential, whatever is below; their ratio to a mean of k such
//! values is Lomax distributed. So the score, −log₁₀ p, is how rarely a series of which nothing is unusual has such a window at all, and
//! means the same for each. A tail that is lighter, as that of noise, makes it less. Surrogates of randomised phases were dropped: they
//! cost a profile each, and those of a season have a season too. Robust deviations of all distances were dropped as well: overlapping
//! windows are no independent values, and in a walk smooth windows are near to many while those with turns are not.
//!
//! What it does not say:
//! - A shape that comes twice has a neighbour ("twin freaks"): its score is far lower, and mostly too low to be told. The profile knows
//!   the nearest neighbour only. Two stretches of noise are not alike: both are told.
//! - Constant windows have no shape, and are neither told nor counted. Where they are more than a third of all, what is between has too
//!   few shapes to say which are usual: silence. A value that is stuck for once is found by the windows that hold its begin or end.
//! - Windows that vary by rounding only are constant. Those that vary little compared with others are not: noise in them has a shape.
//! - Noise has no windows far beyond its others: nothing is told. The same holds of more than J / 2 or so unusual ones.
//! - Fewer than 12 windows that do not overlap: silence.

use super::spread::median;

/// Windows apart from each other that must be there, beside constant ones, for any to be unusual.
const APART_MIN: usize = 12;
/// Of windows apart that many may be unusual, and one more of so many. A shape as long as the window makes one to three.
const UNUSUAL_ALWAYS: usize = 4;
const UNUSUAL_EVERY: usize = 16;
/// The tail goes down to this part of the windows apart at most, ...
const TAIL_PART: (usize, usize) = (2, 3);
/// ... and over so many spacings at most: beyond, a series of two kinds of windows has the gap between them in it.
const SPACINGS_MAX: usize = 18;
/// The least scale of the tail, in units of y: shapes that repeat exactly have no spread, and then a window must still be unlike. With
/// a usual y of 0 and the default threshold ρ must be less than about 0.95.
const SCALE_MIN: f64 = 0.02;
/// More constant windows than this part of all: few shapes are left.
const CONSTANT_PART_MAX: f64 = 1.0 / 3.0;
/// A standard deviation below this part of the values' size is rounding.
const ROUNDING: f64 = 1e-9;
/// A stretch ends where a window is more unlike than usual by this part only of what the most unlike one is.
const EDGE_PART: f64 = 0.375;
/// The shortest window that has a shape.
const WINDOW_MIN: usize = 3;

/// A series and its matrix profile.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    /// The series, one interval apart.
    pub values: &'a [f64],
    /// Samples in a window, 3 or more.
    pub window: usize,
    /// Of each window the z-normalised Euclidean distance to the one most like it; `values.len() - window + 1` of them. One that is not
    /// finite is of a window that was compared with none.
    pub distances: &'a [f64],
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The least score that is told: one series of 10^score is told of without reason. With the default, 2, none of 100 series of any
    /// of the kinds of noise and seasons in this module's tests is.
    pub score_min: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { score_min: 2.0 }
    }
}

/// A stretch whose shape comes but once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discord {
    /// The first sample, by up to half a window: where windows begin to be unlike others, and half a window more.
    pub start: usize,
    /// The last sample.
    pub end: usize,
    /// The sample that differs most from the neighbour's, both normalised; the middle of the window where there is no neighbour.
    pub peak: usize,
    /// The first sample of the most unlike window, which may begin before `start`.
    pub window: usize,
    /// −log₁₀ of how often a series of which nothing is unusual has a window as unlike.
    pub score: f64,
    /// The window's distance to the one most like it.
    pub distance: f64,
    /// The median of such distances in this series.
    pub usual_distance: f64,
    /// The first sample of the window most like it, where it is known.
    pub neighbour: Option<usize>,
}

/// Why nothing can be said of a series, which is not the same as that nothing is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The window is shorter than 3 samples, or the distances are not those of the series' windows.
    NoProfile,
    /// Too few windows apart from each other have a shape.
    Short,
    /// Most of the series is constant.
    Constant,
}

/// The discords of a series in the order of their start; they do not overlap. `neighbour` says which window is most like one, or `None`
/// where that is not known. O(n·log n) beside the profile.
pub fn discords(
    profile: &Profile<'_>,
    neighbour: impl Fn(usize) -> Option<usize>,
    options: &Options,
) -> Result<Vec<Discord>, Silence> {
    let Profile { values, window, distances } = *profile;
    if window < WINDOW_MIN || distances.len() + window != values.len() + 1 {
        return Err(Silence::NoProfile);
    }
    let shapes = shapes(values, window, distances);
    let constant = shapes.iter().filter(|shape| **shape == Shape::Constant).count();
    if constant as f64 > CONSTANT_PART_MAX * shapes.len() as f64 {
        return Err(Silence::Constant);
    }
    let apart = apart(&shapes, window);
    let tail = Tail::of(&apart).ok_or(Silence::Short)?;
    let unit = (2.0 * window as f64).sqrt();
    let mut known: Vec<f64> = shapes.iter().filter_map(Shape::unlike).collect();
    let usual_distance = median(&mut known).unwrap_or(0.0) * unit;

    let mut found: Vec<Discord> = Vec::new();
    for (at, unlike) in apart.iter().take(tail.unusual_max) {
        let score = tail.score(*unlike);
        if score < options.score_min {
            break;
        }
        let (first, last) = around(&shapes, *at, tail.usual + EDGE_PART * (unlike - tail.usual));
        let (start, end) = (first + window / 2, last + window / 2);
        // What is beside a stronger one is its slope.
        if found.iter().any(|other| start <= other.end + 1 && other.start <= end + 1) {
            continue;
        }
        let neighbour = neighbour(*at).filter(|other| other + window <= values.len());
        let peak = match neighbour {
            Some(other) => {
                let range = start.max(*at)..=end.min(at + window - 1);
                furthest(&values[*at..at + window], &values[other..other + window], |sample| {
                    range.contains(&(at + sample))
                })
            }
            None => window / 2,
        };
        let (window, peak, distance) = (*at, at + peak, unlike * unit);
        found.push(Discord {
            start,
            end,
            peak,
            window,
            score,
            distance,
            usual_distance,
            neighbour,
        });
    }
    found.sort_by_key(|discord| discord.start);
    Ok(found)
}

/// A window.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Its y.
    Unlike(f64),
    Constant,
    /// It was compared with none.
    Unknown,
}

impl Shape {
    fn unlike(&self) -> Option<f64> {
        match self {
            Self::Unlike(unlike) => Some(*unlike),
            _ => None,
        }
    }
}

fn shapes(values: &[f64], window: usize, distances: &[f64]) -> Vec<Shape> {
    let unit = (2.0 * window as f64).sqrt();
    let of = |(part, distance): (&[f64], &f64)| {
        if !distance.is_finite() {
            return Shape::Unknown;
        }
        match is_constant(part) {
            true => Shape::Constant,
            false => Shape::Unlike(distance / unit),
        }
    };
    values.windows(window).zip(distances).map(of).collect()
}

fn is_constant(part: &[f64]) -> bool {
    let (low, high) = part
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    // A range of twice the deviation or more: no sum that could overflow.
    high / 2.0 - low / 2.0 <= ROUNDING * low.abs().max(high.abs())
}

/// The most unlike windows, the next always that which overlaps none before: first sample and y. Of equal ones the first.
fn apart(shapes: &[Shape], window: usize) -> Vec<(usize, f64)> {
    let mut order: Vec<(usize, f64)> = shapes
        .iter()
        .enumerate()
        .filter_map(|(at, shape)| shape.unlike().map(|unlike| (at, unlike)))
        .collect();
    order.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut taken = vec![false; shapes.len()];
    let mut apart = Vec::new();
    for (at, unlike) in order {
        if !taken[at] {
            apart.push((at, unlike));
            taken[at.saturating_sub(window - 1)..(at + window).min(shapes.len())].fill(true);
        }
    }
    apart
}

/// What the most unlike windows of a series usually are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tail {
    /// J.
    unusual_max: usize,
    /// y_{J+1}.
    usual: f64,
    /// β, of k spacings.
    scale: f64,
    spacings: usize,
}

impl Tail {
    fn of(apart: &[(usize, f64)]) -> Option<Self> {
        if apart.len() < APART_MIN {
            return None;
        }
        let unusual_max = UNUSUAL_ALWAYS + apart.len() / UNUSUAL_EVERY;
        let last = (apart.len() * TAIL_PART.0 / TAIL_PART.1).min(unusual_max + SPACINGS_MAX);
        let spacing = |i: usize| (i + 1) as f64 * (apart[i].1 - apart[i + 1].1);
        let spacings = last - unusual_max;
        let mean = (unusual_max..last).map(spacing).sum::<f64>() / spacings as f64;
        let usual = apart[unusual_max].1;
        Some(Self { unusual_max, usual, scale: mean.max(SCALE_MIN), spacings })
    }

    fn score(&self, unlike: f64) -> f64 {
        let excess = (unlike - self.usual) / self.scale;
        let spacings = self.spacings as f64;
        spacings * (1.0 + excess / spacings).log10() - (self.unusual_max as f64).log10()
    }
}

/// The windows around one that are more unlike than a level: first and last. Constant windows go along where those beyond them are.
fn around(shapes: &[Shape], at: usize, level: f64) -> (usize, usize) {
    let reach = |steps: &mut dyn Iterator<Item = usize>| {
        let mut reached = at;
        for next in steps {
            match shapes[next] {
                Shape::Unlike(unlike) if unlike > level => reached = next,
                Shape::Constant => {}
                _ => break,
            }
        }
        reached
    };
    (reach(&mut (0..at).rev()), reach(&mut (at + 1..shapes.len())))
}

/// The sample, among those that count, where two windows differ most, both of mean 0 and deviation 1.
fn furthest(one: &[f64], other: &[f64], counts: impl Fn(usize) -> bool) -> usize {
    let (one, other) = (normalised(one), normalised(other));
    let apart = |at: usize| (one[at] - other[at]).abs();
    let counted = (0..one.len()).filter(|at| counts(*at));
    let larger = |best: usize, at: usize| if apart(at) > apart(best) { at } else { best };
    counted.reduce(larger).unwrap_or(one.len() / 2)
}

fn normalised(window: &[f64]) -> Vec<f64> {
    let count = window.len() as f64;
    let mean = window.iter().map(|value| value / count).sum::<f64>();
    let off: Vec<f64> = window.iter().map(|value| value - mean).collect();
    let deviation = off.iter().map(|value| value * value / count).sum::<f64>().sqrt();
    off.iter().map(|value| value / deviation.max(f64::MIN_POSITIVE)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::discord_worlds::{
        PERIOD, PLANTED, Replaced, SAMPLES, days, matrix_profile, told, with,
    };
    use super::super::trend::samples::odd_series;
    use super::*;
    use crate::Noise;

    /// A flat day with noise from `start` on.
    fn flat_for(samples: usize, start: usize, seed: u64) -> Vec<f64> {
        let is_flat = |at: &usize| (start..start + samples).contains(at);
        with(|at| if is_flat(&at) { 0.0 } else { days(PERIOD)(at) }, 0.1, seed)
    }

    #[test]
    fn a_stretch_begins_and_ends_where_its_shape_does() {
        for (samples, start) in [(48, 1_000), (48, 600), (100, 1_000), (150, 1_300)] {
            let found = told(&flat_for(samples, start, 5), PERIOD).unwrap();
            let first = found[0];
            let (off, over) =
                (first.start.abs_diff(start), first.end.abs_diff(start + samples - 1));
            assert!(found.len() == 1 && off <= 20 && over <= 20, "{samples} {start}: {found:?}");
            assert!((first.start..=first.end).contains(&first.peak));
            assert!(first.window <= first.peak && first.peak < first.window + PERIOD);
            // Of a day and noise, and of noise.
            assert!((1.0..2.0).contains(&first.usual_distance), "{}", first.usual_distance);
            assert!((4.0..9.0).contains(&first.distance), "{}", first.distance);
        }
    }

    #[test]
    fn the_peak_is_where_it_differs_most_from_its_neighbour() {
        let mut values = with(days(PERIOD), 0.05, 1);
        values[1_010] -= 1.5;
        let found = told(&values, PERIOD).unwrap();
        assert_eq!(found.iter().map(|of| of.peak).collect::<Vec<_>>(), [1_010]);
        let neighbour = found[0].neighbour.unwrap();
        assert!(neighbour.abs_diff(found[0].window) % PERIOD <= 2, "{found:?}");
        // Without a neighbour it is the middle of the window.
        let (distances, _) = matrix_profile(&values, PERIOD);
        let profile = Profile { values: &values, window: PERIOD, distances: &distances };
        let without = discords(&profile, |_| None, &Options::default()).unwrap();
        let middle = found[0].window + PERIOD / 2;
        assert_eq!(without, [Discord { peak: middle, neighbour: None, ..found[0] }]);
        assert_eq!(discords(&profile, |_| Some(usize::MAX - 48), &Options::default()), Ok(without));
    }

    #[test]
    fn two_of_different_shapes_are_found_in_order_and_twins_are_not() {
        let is_found = |first: Replaced, second: Replaced, seed: u64| {
            let usual: Vec<f64> = (0..PERIOD).map(days(PERIOD)).collect();
            let value = |at: usize| match at {
                480..528 => first(&usual, 480, at - 480),
                1_440..1_488 => second(&usual, 1_440, at - 1_440),
                _ => days(PERIOD)(at),
            };
            let found = told(&with(value, 0.1, seed), PERIOD).unwrap();
            let overlaps = |low: usize| found.iter().any(|of| of.start < low + 48 && of.end >= low);
            assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start), "{found:?}");
            usize::from(overlaps(480)) + usize::from(overlaps(1_440))
        };
        let of_twenty = |first: usize, second: usize| {
            let found = |seed| is_found(PLANTED[first].1, PLANTED[second].1, seed);
            (0..20).map(found).sum::<usize>()
        };
        let found = [(1, 4), (3, 0), (4, 4), (3, 3), (2, 2), (1, 1), (0, 0)];
        let found = found.map(|(first, second)| of_twenty(first, second));
        // Two stretches of noise are as unlike as one. Where little but noise is in a twin, one neighbour is less near than the best of many.
        assert_eq!(found, [40, 40, 0, 0, 40, 40, 40]);
    }

    #[test]
    fn a_value_that_is_stuck_for_once_is_found_and_a_series_that_mostly_is_says_nothing() {
        for samples in [48, 150] {
            let mut values = with(days(PERIOD), 0.1, 2);
            let stuck = values[999];
            values[1_000..1_000 + samples].fill(stuck);
            let found = told(&values, PERIOD).unwrap();
            let overlap = |of: &Discord| of.start < 1_000 + samples && of.end >= 1_000;
            assert!(!found.is_empty() && found.iter().all(overlap), "{samples}: {found:?}");
            // It is one, though its windows are constant.
            let reached = (found[0].start.abs_diff(1_000), found[0].end.abs_diff(999 + samples));
            assert!(found.len() == 1 && reached.0 <= 24 && reached.1 <= 24, "{found:?}");
        }
        // Two samples of each of its days are all that moves.
        let pulses = |at: usize| if at % 96 < 2 { 1.0 } else { 0.0 };
        let values: Vec<f64> = (0..SAMPLES).map(pulses).collect();
        assert_eq!(told(&values, PERIOD), Err(Silence::Constant));
        assert_eq!(told(&[3.0; 900], PERIOD), Err(Silence::Constant));
        // Rounding is no shape.
        let rounding: Vec<f64> = (0..900).map(|at| 1e9 + (at % 7) as f64 * 0.1).collect();
        assert_eq!(told(&rounding, PERIOD), Err(Silence::Constant));
    }

    #[test]
    fn what_repeats_exactly_has_a_discord_where_it_does_not() {
        let mut values: Vec<f64> = (0..SAMPLES).map(days(PERIOD)).collect();
        assert_eq!(told(&values, PERIOD), Ok(vec![]));
        // Hardly another shape, and another.
        values[1_200..1_248].iter_mut().for_each(|value| *value *= 1.02);
        assert_eq!(told(&values, PERIOD), Ok(vec![]));
        values[1_200..1_224].iter_mut().for_each(|value| *value *= -1.0);
        let found = told(&values, PERIOD).unwrap();
        assert!(found.len() == 1 && found[0].start.abs_diff(1_200) < 24, "{found:?}");
    }

    #[test]
    fn the_score_is_as_rare_as_it_says_where_tails_are_exponential() {
        for (windows, seeds) in [(12, 20_000), (32, 20_000), (320, 4_000)] {
            let mut reached = [0, 0];
            for seed in 0..seeds {
                let mut noise = Noise::new(seed);
                let mut apart: Vec<(usize, f64)> =
                    (0..windows).map(|at| (at, -(1.0 - noise.uniform()).ln())).collect();
                apart.sort_by(|a, b| b.1.total_cmp(&a.1));
                let score = Tail::of(&apart).unwrap().score(apart[0].1);
                reached[0] += usize::from(score >= 1.0);
                reached[1] += usize::from(score >= 2.0);
            }
            // Less than a tenth, as one of several above is only at most as often as their number.
            let part = reached.map(|reached| reached as f64 / seeds as f64);
            assert!((0.08..0.105).contains(&part[0]), "{windows}: {part:?}");
            assert!((0.007..0.0125).contains(&part[1]), "{windows}: {part:?}");
        }
    }

    #[test]
    fn units_do_not_matter_and_unknown_windows_are_passed_over() {
        let values = flat_for(48, 1_000, 9);
        let (mut distances, neighbours) = matrix_profile(&values, PERIOD);
        let of = |values: &[f64], distances: &[f64]| {
            let profile = Profile { values, window: PERIOD, distances };
            discords(&profile, |at| Some(neighbours[at]), &Options::default())
        };
        let found = of(&values, &distances);
        assert_eq!(found.as_ref().map(Vec::len), Ok(1));
        for unit in [2_f64.powi(900), 2_f64.powi(-900)] {
            let scaled: Vec<f64> = values.iter().map(|value| value * unit).collect();
            let again = of(&scaled, &distances).unwrap();
            assert_eq!(again[0].score, found.as_ref().unwrap()[0].score);
        }
        for (at, odd) in [f64::NAN, f64::INFINITY, -1.0].into_iter().enumerate() {
            distances[100 + at] = odd;
            distances[400 + at * 30..420 + at * 30].fill(odd);
        }
        let again = of(&values, &distances).unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].window, found.unwrap()[0].window);
        distances.fill(f64::INFINITY);
        assert_eq!(of(&values, &distances), Err(Silence::Short));
    }

    #[test]
    fn few_windows_and_odd_input_say_so() {
        // Twelve windows apart at least.
        let values = flat_for(48, 200, 1);
        assert_eq!(told(&values[..300], PERIOD), Err(Silence::Short));
        assert!(told(&values, PERIOD).is_ok());
        let of = |values: &[f64], window: usize, windows: usize| {
            let distances = vec![1.0; windows];
            discords(
                &Profile { values, window, distances: &distances },
                |_| None,
                &Options::default(),
            )
        };
        for (window, windows) in [(0, 2_001), (2, 1_999), (48, 1_952), (48, 1_954), (2_002, 0)] {
            assert_eq!(of(&values, window, windows), Err(Silence::NoProfile), "{window} {windows}");
        }
        // All alike: nothing is unusual.
        assert_eq!(of(&values, 48, 1_953), Ok(vec![]));
        for odd in odd_series() {
            for window in (3..odd.len()).step_by(5) {
                let windows = odd.len() + 1 - window;
                let distances: Vec<f64> = (0..windows).map(|at| (at * at % 17) as f64).collect();
                let profile = Profile { values: &odd, window, distances: &distances };
                let neighbour = |at: usize| Some(windows - 1 - at);
                let found = discords(&profile, neighbour, &Options { score_min: 0.0 });
                let holds =
                    |of: &Discord| of.start <= of.peak && of.peak <= of.end && of.end < odd.len();
                assert!(found.unwrap_or_default().iter().all(holds));
            }
        }
    }
}
