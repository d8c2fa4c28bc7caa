//! The score of the Numenta Anomaly Benchmark (Lavin & Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta
//! anomaly benchmark", 2015), by the formulas of its sweeper and its normalisation.
//!
//! A detection in a labelled window counts `tp · s(−(right − at + 1) / width) / s(−1)`, only the best of each window; a window
//! without one counts `−fn`. Any other detection counts `fp · s((at − right) / (width − 1))` of the last window before it, and `−fp`
//! where there is none. `s(x) = 2 / (1 + exp(5x)) − 1`, and −1 from 3 on. Samples of the probation count nothing. One threshold
//! serves all series, and the sum is brought to a scale on which detecting nothing is 0 and every window at its first sample 100.

/// Part of a series that nothing is asked of.
const PROBATION_PART: f64 = 0.15;
/// Samples that the probation is a part of at most.
const PROBATION_SAMPLES_MAX: f64 = 5000.0;
/// Widths of a window after which a false alarm is as far from it as can be.
const FAR_WIDTHS: f64 = 3.0;

/// What a hit, a false alarm and a miss weigh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// A window hit at its first sample.
    pub hit: f64,
    /// A detection far from any window.
    pub false_alarm: f64,
    /// A window missed.
    pub miss: f64,
}

impl Profile {
    /// The benchmark's standard profile.
    pub const STANDARD: Self = Self { hit: 1.0, false_alarm: 0.11, miss: 1.0 };
    /// False alarms weigh double.
    pub const LOW_FP_RATE: Self = Self { hit: 1.0, false_alarm: 0.22, miss: 1.0 };
    /// Misses weigh double.
    pub const LOW_FN_RATE: Self = Self { hit: 1.0, false_alarm: 0.11, miss: 2.0 };
}

/// One series: what a detector says of its samples, and where the labels are.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// For each sample how unusual it is; NaN is never detected.
    pub scores: Vec<f64>,
    /// Labelled windows in order, as positions of samples, both ends included. They don't overlap.
    pub windows: Vec<(usize, usize)>,
}

/// What one threshold gives over all series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NabScore {
    /// Samples with at least this score are detections; infinite where detecting nothing is best.
    pub threshold: f64,
    /// The sum of all weights.
    pub raw: f64,
    /// 0 for detecting nothing, 100 for perfection.
    pub normalised: f64,
    /// Windows with a detection.
    pub hits: usize,
    /// Windows.
    pub windows: usize,
    /// Detections outside of windows, in samples.
    pub false_alarms: usize,
}

/// Samples at the start of a series of that length that count nothing.
pub fn probation(samples: usize) -> usize {
    let whole = (PROBATION_PART * samples as f64).floor();
    whole.min(PROBATION_PART * PROBATION_SAMPLES_MAX).ceil() as usize
}

/// `s` above.
fn scaled_sigmoid(position: f64) -> f64 {
    if position > FAR_WIDTHS { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// One sample that counts.
#[derive(Clone, Copy, Debug)]
struct Point {
    score: f64,
    /// The window it is in, counted over all series.
    window: Option<usize>,
    /// Its worth before the profile weighs it.
    worth: f64,
}

/// The samples of all series that count, the most unusual first.
#[derive(Clone, Debug)]
pub struct Sweep {
    points: Vec<Point>,
    windows: usize,
    /// Windows that have a sample after the probation.
    reachable: usize,
}

impl Sweep {
    /// Of all series at once.
    pub fn new(series: &[Labelled]) -> Self {
        let mut sweep = Self { points: Vec::new(), windows: 0, reachable: 0 };
        for one in series {
            sweep.add(one);
        }
        sweep.points.sort_by(|a, b| b.score.total_cmp(&a.score));
        sweep
    }

    fn add(&mut self, one: &Labelled) {
        let probation = probation(one.scores.len());
        self.reachable += one.windows.iter().filter(|window| window.1 >= probation).count();
        let mut next = 0;
        for (at, score) in one.scores.iter().enumerate() {
            while one.windows.get(next).is_some_and(|window| window.1 < at) {
                next += 1;
            }
            let inside = one.windows.get(next).filter(|window| window.0 <= at);
            let worth = match (inside, next.checked_sub(1).map(|before| one.windows[before])) {
                (Some(&(left, right)), _) => {
                    let position = -((right - at + 1) as f64) / (right - left + 1) as f64;
                    scaled_sigmoid(position) / scaled_sigmoid(-1.0)
                }
                (None, Some((left, right))) => {
                    scaled_sigmoid((at - right) as f64 / (right - left) as f64)
                }
                (None, None) => -1.0,
            };
            if at >= probation && !score.is_nan() {
                let window = inside.map(|_| self.windows + next);
                self.points.push(Point { score: *score, window, worth });
            }
        }
        self.windows += one.windows.len();
    }

    /// The score for detections of at least `threshold`.
    pub fn at(&self, profile: Profile, threshold: f64) -> NabScore {
        let mut tally = Tally::new(self, profile);
        self.points.iter().take_while(|p| p.score >= threshold).for_each(|p| tally.add(p));
        tally.score(threshold)
    }

    /// The threshold with the highest score, the highest such; infinite where nothing is better than to detect nothing.
    pub fn best(&self, profile: Profile) -> NabScore {
        let mut tally = Tally::new(self, profile);
        let mut best = tally.score(f64::INFINITY);
        for equal in self.points.chunk_by(|a, b| a.score == b.score) {
            equal.iter().for_each(|point| tally.add(point));
            let score = tally.score(equal[0].score);
            if score.raw > best.raw {
                best = score;
            }
        }
        best
    }
}

struct Tally<'a> {
    sweep: &'a Sweep,
    profile: Profile,
    /// The best worth of each window so far.
    best: Vec<Option<f64>>,
    hits: usize,
    /// Worth of hits, and of false alarms.
    gained: f64,
    lost: f64,
    false_alarms: usize,
}

impl<'a> Tally<'a> {
    fn new(sweep: &'a Sweep, profile: Profile) -> Self {
        let best = vec![None; sweep.windows];
        Self { sweep, profile, best, hits: 0, gained: 0.0, lost: 0.0, false_alarms: 0 }
    }

    fn add(&mut self, point: &Point) {
        let Some(window) = point.window else {
            self.lost += point.worth;
            self.false_alarms += 1;
            return;
        };
        let best = &mut self.best[window];
        self.hits += usize::from(best.is_none());
        let before = best.unwrap_or(0.0);
        let now = best.map_or(point.worth, |best| best.max(point.worth));
        self.gained += now - before;
        *best = Some(now);
    }

    fn score(&self, threshold: f64) -> NabScore {
        let Self { sweep, profile, hits, .. } = *self;
        let missed = (sweep.reachable - hits) as f64;
        let raw =
            profile.hit * self.gained + profile.false_alarm * self.lost - profile.miss * missed;
        let null = -profile.miss * sweep.reachable as f64;
        let perfect = profile.hit * sweep.windows as f64;
        let normalised = if perfect > null { 100.0 * (raw - null) / (perfect - null) } else { 0.0 };
        NabScore {
            threshold,
            raw,
            normalised,
            hits,
            windows: sweep.windows,
            false_alarms: self.false_alarms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Profile; 3] = [Profile::STANDARD, Profile::LOW_FP_RATE, Profile::LOW_FN_RATE];

    fn series(length: usize, windows: &[(usize, usize)], detected: &[usize]) -> Labelled {
        let mut scores = vec![0.0; length];
        detected.iter().for_each(|at| scores[*at] = 1.0);
        Labelled { scores, windows: windows.to_vec() }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }

    #[test]
    fn the_sigmoid_has_the_values_that_the_benchmark_states() {
        near(scaled_sigmoid(-1.0), 0.98661);
        near(scaled_sigmoid(-0.5), 0.84828);
        near(scaled_sigmoid(0.0), 0.0);
        near(scaled_sigmoid(1.0), -0.98661);
        assert!(scaled_sigmoid(3.0) > -1.0);
        assert_eq!(scaled_sigmoid(3.000_001), -1.0);
    }

    #[test]
    fn the_probation_is_a_part_of_the_first_5000_samples() {
        assert_eq!(
            [0, 6, 100, 4032, 4999, 5000, 22_695].map(probation),
            [0, 0, 15, 604, 749, 750, 750]
        );
    }

    /// The benchmark's own test of all metrics: two windows of five samples, hits at the first two samples of one, a false alarm
    /// three after its end, all weights 1. Here with samples before, because its test goes without a probation.
    #[test]
    fn the_example_of_the_benchmark_has_its_score() {
        let one = series(500, &[(430, 434), (460, 464)], &[430, 431, 437]);
        let weights = Profile { hit: 1.0, false_alarm: 1.0, miss: 1.0 };
        let score = Sweep::new(&[one]).at(weights, 0.5);
        near(score.raw, -0.9540);
        assert_eq!((score.hits, score.windows, score.false_alarms), (1, 2, 1));
    }

    #[test]
    fn only_the_earliest_detection_in_a_window_counts() {
        let late = series(1000, &[(500, 599)], &[560]);
        let both = series(1000, &[(500, 599)], &[520, 560]);
        let score =
            |one: &Labelled| Sweep::new(std::slice::from_ref(one)).at(Profile::STANDARD, 0.5);
        // 40 of 100 samples are left at 560: s(-0.4) = 0.76159 of 0.98661.
        near(score(&late).raw, 0.761_594 / 0.986_614);
        near(score(&both).raw, 0.964_028 / 0.986_614);
        near(score(&both).normalised, 50.0 * (0.964_027_6 / 0.986_614_3 + 1.0));
        // The last sample of a window still has a hundredth of it left.
        near(score(&series(1000, &[(500, 599)], &[599])).raw, 0.024_995 / 0.986_614);
    }

    #[test]
    fn a_false_alarm_weighs_by_the_window_before_it() {
        let raw =
            |at| Sweep::new(&[series(1000, &[(500, 599)], &[at])]).at(Profile::STANDARD, 0.5).raw;
        near(raw(499), -1.0 - 0.11);
        near(raw(600), -1.0 - 0.11 * 0.02524);
        near(raw(698), -1.0 - 0.11 * 0.98661);
        near(raw(999), -1.0 - 0.11);
        // Nothing is asked of the probation.
        near(raw(149), -1.0);
        near(raw(150), -1.11);
    }

    #[test]
    fn nothing_is_0_and_perfection_100_in_all_profiles() {
        let windows = [(300, 349), (700, 799)];
        let constant = Labelled { scores: vec![0.5; 1000], windows: windows.to_vec() };
        let perfect = series(1000, &windows, &[300, 700]);
        for profile in ALL {
            let null = Sweep::new(std::slice::from_ref(&constant)).at(profile, 0.6);
            assert_eq!((null.normalised, null.hits, null.false_alarms), (0.0, 0, 0));
            assert_eq!(
                Sweep::new(std::slice::from_ref(&constant)).best(profile).threshold,
                f64::INFINITY
            );
            let best = Sweep::new(&[perfect.clone(), perfect.clone()]).best(profile);
            near(best.normalised, 100.0);
            assert_eq!((best.threshold, best.hits, best.windows), (1.0, 4, 4));
        }
    }

    #[test]
    fn profiles_weigh_false_alarms_and_misses() {
        let one = series(1000, &[(300, 349), (700, 799)], &[200, 300]);
        let raw = ALL.map(|profile| Sweep::new(std::slice::from_ref(&one)).at(profile, 0.5).raw);
        near(raw[0], 1.0 - 0.11 - 1.0);
        near(raw[1], 1.0 - 0.22 - 1.0);
        near(raw[2], 1.0 - 0.11 - 2.0);
        let normalised = ALL.map(|p| Sweep::new(std::slice::from_ref(&one)).at(p, 0.5).normalised);
        near(normalised[0], 100.0 * (-0.11 + 2.0) / 4.0);
        near(normalised[2], 100.0 * (-1.11 + 4.0) / 6.0);
    }

    #[test]
    fn one_threshold_serves_all_series() {
        let mut first = series(1000, &[(500, 599)], &[]);
        (first.scores[500], first.scores[200]) = (0.9, 0.8);
        let mut second = series(1000, &[(500, 599)], &[]);
        (second.scores[500], second.scores[201], second.scores[202]) = (0.7, 0.85, f64::NAN);
        let best = Sweep::new(&[first, second]).best(Profile::STANDARD);
        assert_eq!((best.threshold, best.hits, best.false_alarms), (0.7, 2, 2));
        near(best.raw, 2.0 - 0.22);
    }

    #[test]
    fn a_window_within_the_probation_can_not_be_hit() {
        let one = series(1000, &[(10, 20), (140, 160), (500, 599)], &[10, 150, 500]);
        let score = Sweep::new(&[one]).at(Profile::STANDARD, 0.5);
        assert_eq!((score.hits, score.windows), (2, 3));
        // 11 of 21 samples are left at 150.
        let second = scaled_sigmoid(-11.0 / 21.0) / scaled_sigmoid(-1.0);
        near(score.raw, 1.0 + second);
        near(score.normalised, 100.0 * (1.0 + second + 2.0) / 5.0);
    }

    #[test]
    fn a_window_of_one_sample_is_hit_by_it_alone() {
        let raw =
            |at| Sweep::new(&[series(1000, &[(500, 500)], &[at])]).at(Profile::STANDARD, 0.5).raw;
        near(raw(500), 1.0);
        near(raw(501), -1.11);
    }
}
