//! The detector: aspects of the last samples, each ranked among its own past, fused into one number.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, Expected, WAYS, residual};
use super::episodes::Place;
use super::severity::Severity;
use super::shape::Shape;
use crate::series::spread::median;

/// Samples that a level, an excursion, and what goes on for longer are seen in.
const LEVEL_SAMPLES: usize = 3;
const EXCURSION_SAMPLES: usize = 6;
const LONG_SAMPLES: usize = 24;
/// The first samples of a series, as long as two days are not over, that only jumps are told of: a day that was not there twice and
/// something new look alike. Two days of samples that are 5 minutes apart; of closer ones a user can't be let wait for days.
const FIRST_SAMPLES: u64 = 576;
const FIRST_US: i64 = 2 * 86_400_000_000;
/// A severity counts as this at most: beyond it the estimate of a tail says nothing.
const SEVERITY_MAX: f64 = 8.0;
/// What has a past: the aspects, and after them the last step.
const PASTS: usize = Aspect::ALL.len() + 1;
const ROUGHNESS: usize = Aspect::Roughness as usize;
const STEP: usize = Aspect::ALL.len();
/// Values beyond this count as it, so that every sum of them is finite.
const VALUE_MAX: f64 = 1e300;

/// What may be unusual about the last samples. `e` is a value less what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// |median of `e`| over 3 samples: the level is another one.
    Level,
    /// Mean of |`e`| over 6 samples: values are far away, to whichever side.
    Excursion,
    /// Mean of |`e`| over 24 samples: more goes on than usual.
    Activity,
    /// |mean of `e`| over 24 samples: values stay to one side.
    Drift,
    /// Mean distance of neighbouring values over 24 samples, less what a known day or week moves: values jump more,
    /// or once very far.
    Roughness,
    /// Distance of the last 32 `e` from those that were there before: nothing like it was seen.
    Shape,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Level, Self::Excursion, Self::Activity, Self::Drift, Self::Roughness, Self::Shape];
}

/// How the detector is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The first samples, that nothing is said of.
    pub warm_up_samples: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { warm_up_samples: 150 }
    }
}

/// What the detector says of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// How unusual, 0 to 1: `1 − 10^−severity`.
    pub score: f64,
    /// The root of the mean square of the severities of all aspects, each −log₁₀ of how often its past was as far.
    pub severity: f64,
    /// The aspect that is rarest; `None` where none is rare at all. Whatever is far away has a shape of its own, so that
    /// [`Aspect::Shape`] is named only where no other aspect has half of its severity.
    pub aspect: Option<Aspect>,
    /// The value.
    pub observed: f64,
    /// What was expected; `None` while too little is known.
    pub expected: Option<f64>,
    /// The episode that the sample is in: [`super::Episodes`] says.
    pub episode: Option<Place>,
}

/// A detector for one series. Its state is bounded, and can be saved and taken up again as if nothing had been between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    options: Options,
    /// Values so far.
    seen: u64,
    start_us: Option<i64>,
    baseline: Baseline,
    last: Option<Last>,
    /// The last residuals and distances of neighbours, the newest last.
    residuals: VecDeque<f64>,
    steps: VecDeque<f64>,
    shape: Shape,
    /// The past of each aspect and of single steps, of each way to expect: distances from a level in days that nothing is known of yet
    /// are no measure for those from a known day, which are a fraction of them. Steps have that of the first way alone.
    pasts: [[Severity; PASTS]; WAYS],
    /// The way whose pasts say what is rare: that by which is expected, once it has been so for as long as a series warms up.
    known: usize,
}

/// The last value, and what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Last {
    value: f64,
    expected: Option<Expected>,
}

impl Detector {
    /// One that has seen nothing.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            seen: 0,
            start_us: None,
            baseline: Baseline::new(),
            last: None,
            residuals: VecDeque::new(),
            steps: VecDeque::new(),
            shape: Shape::default(),
            pasts: std::array::from_fn(|_| {
                std::array::from_fn(|of| match of {
                    ROUGHNESS => Severity::of_overlapping(LONG_SAMPLES),
                    _ => Severity::default(),
                })
            }),
            known: 0,
        }
    }

    /// Judges a sample by those before it, and learns it. Samples come in the order of their time; a value that is NaN or infinite is
    /// missing, and nothing is learnt of it.
    pub fn push(&mut self, at_us: i64, value: f64) -> Verdict {
        let expected = self.baseline.expected(at_us);
        let nothing = Verdict {
            score: 0.0,
            severity: 0.0,
            aspect: None,
            observed: value,
            expected: expected.map(|expected| expected.value),
            episode: None,
        };
        if !value.is_finite() {
            return nothing;
        }
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        let distances = self.distances(value, expected);
        self.baseline.learn(at_us, value);
        let by = expected.map_or(0, |expected| expected.by);
        let [mut severities @ .., step] = self.severities(by, distances);
        self.seen = self.seen.saturating_add(1);
        let start_us = *self.start_us.get_or_insert(at_us);
        if self.seen <= self.options.warm_up_samples {
            return nothing;
        }
        let is_first = self.seen <= FIRST_SAMPLES && at_us.saturating_sub(start_us) < FIRST_US;
        if is_first {
            let of_aspects = Aspect::ALL.into_iter().zip(&mut severities);
            let others = of_aspects.filter(|(aspect, _)| *aspect != Aspect::Roughness);
            others.for_each(|(_, severity)| *severity = 0.0);
        }
        let (mut severity, mut aspect) = (fused(&severities), rarest(&severities));
        // As rare as an aspect must be that says all alone.
        let alone = fused(&[step, 0.0, 0.0, 0.0, 0.0, 0.0]);
        if alone > severity {
            (severity, aspect) = (alone, Some(Aspect::Roughness));
        }
        Verdict { score: 1.0 - 10_f64.powf(-severity), severity, aspect, ..nothing }
    }

    /// How rare distances from what was expected `by` a way are.
    fn severities(&mut self, by: usize, distances: [f64; PASTS]) -> [f64; PASTS] {
        let warm = self.options.warm_up_samples as f64;
        if self.pasts[by][0].weight() >= warm {
            self.known = by;
        }
        std::array::from_fn(|of| {
            let is_of_steps = of == ROUGHNESS || of == STEP;
            let (known, by) = if is_of_steps { (0, 0) } else { (self.known, by) };
            let severity = self.pasts[known][of].of(distances[of]);
            self.pasts[by][of].remember(distances[of]);
            severity.clamp(0.0, SEVERITY_MAX)
        })
    }

    /// How far the last samples are from the usual, by each aspect, and the last step.
    fn distances(&mut self, value: f64, expected: Option<Expected>) -> [f64; PASTS] {
        let step = self.last.map_or(0.0, |last| {
            // A known day that rises is no jump; from one way to expect to another there is one that values didn't do.
            let moved = match (last.expected, expected) {
                (Some(last), Some(now)) if now.by > 0 && last.by == now.by => {
                    now.value - last.value
                }
                _ => 0.0,
            };
            residual(value - moved, last.value).abs()
        });
        self.last = Some(Last { value, expected });
        let residual = expected.map_or(0.0, |expected| residual(value, expected.value));
        push(&mut self.residuals, residual);
        push(&mut self.steps, step);
        let mut few = [0.0; LEVEL_SAMPLES];
        let few = &mut few[..self.residuals.len().min(LEVEL_SAMPLES)];
        few.iter_mut().zip(self.residuals.iter().rev()).for_each(|(to, from)| *to = *from);
        let level = median(few).unwrap_or(0.0).abs();
        let sizes = || self.residuals.iter().rev().map(|residual| residual.abs());
        [
            level,
            mean(sizes().take(EXCURSION_SAMPLES)),
            mean(sizes()),
            mean(self.residuals.iter().copied()).abs(),
            mean(self.steps.iter().copied()),
            self.shape.push(residual),
            step,
        ]
    }
}

fn push(last: &mut VecDeque<f64>, value: f64) {
    while last.len() >= LONG_SAMPLES {
        last.pop_front();
    }
    last.push_back(value);
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// See [`Verdict::aspect`].
fn rarest(severities: &[f64; Aspect::ALL.len()]) -> Option<Aspect> {
    let weighed = |(aspect, severity): (Aspect, &f64)| {
        let weight = if aspect == Aspect::Shape { 0.5 } else { 1.0 };
        (aspect, weight * severity)
    };
    let aspects = Aspect::ALL.into_iter().zip(severities).map(weighed);
    // The first of equal ones.
    let rarest = aspects.reduce(|best, next| if next.1 > best.1 { next } else { best });
    rarest.filter(|rarest| rarest.1 > 0.0).map(|rarest| rarest.0)
}

/// One aspect that is very rare says as much as several that are somewhat so.
fn fused(severities: &[f64]) -> f64 {
    mean(severities.iter().map(|severity| severity * severity)).sqrt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::Noise;
    use crate::series::online::{EpisodeOptions, Episodes};

    const MINUTE: i64 = 60_000_000;

    fn detector() -> Detector {
        Detector::new(Options::default())
    }

    fn by(by: usize, value: f64) -> Option<Expected> {
        Some(Expected { value, by })
    }

    /// The verdicts on `after`, seen after 3000 samples of noise.
    fn after_noise(after: impl IntoIterator<Item = f64>) -> Vec<Verdict> {
        let mut detector = detector();
        let mut noise = Noise::new(7);
        (0..3000).for_each(|at| {
            detector.push(at * MINUTE, 50.0 + noise.normal());
        });
        let after = after.into_iter().enumerate();
        after.map(|(at, value)| detector.push((3000 + at as i64) * MINUTE, value)).collect()
    }

    #[test]
    fn the_distances_are_those_of_the_last_samples() {
        let mut detector = detector();
        for at in 1..=24 {
            detector.distances(f64::from(at), by(0, 0.0));
        }
        let found = detector.distances(-7.0, by(0, 3.0));
        // Residuals 2 to 24 and -10; steps of 1, the last 31.
        assert_eq!(found[0], 23.0);
        assert_eq!(found[1], (20.0 + 21.0 + 22.0 + 23.0 + 24.0 + 10.0) / 6.0);
        assert_eq!(found[2], (299.0 + 10.0) / 24.0);
        assert_eq!(found[3], (299.0 - 10.0) / 24.0);
        assert_eq!(found[4], (23.0 + 31.0) / 24.0);
        let found = detector.distances(-7.0, by(0, 3.0));
        assert_eq!((found[0], found[3]), (10.0, (297.0 - 20.0) / 24.0));
    }

    #[test]
    fn a_known_day_that_rises_is_no_jump_and_neither_is_another_way_to_expect() {
        let mut detector = detector();
        for at in 0..24 {
            let value = f64::from(at) * 5.0;
            assert_eq!(
                detector.distances(value + f64::from(at % 2), by(1, value))[4] > 0.0,
                at > 0
            );
        }
        assert_eq!(detector.steps, [vec![0.0], vec![1.0; 23]].concat());
        detector.distances(118.0, by(2, 500.0));
        detector.distances(119.0, by(0, 80.0));
        detector.distances(121.0, by(0, 90.0));
        assert_eq!(detector.steps.iter().rev().take(3).collect::<Vec<_>>(), [&2.0, &1.0, &2.0]);
    }

    #[test]
    fn each_way_to_expect_has_a_past_of_its_own_that_counts_once_it_is_long_enough() {
        let mut detector = Detector::new(Options { warm_up_samples: 100 });
        let mut noise = Noise::new(13);
        let mut severity = |by: usize, size: f64, distance: f64| {
            (0..99).for_each(|_| {
                detector.severities(by, [size * noise.uniform(); PASTS]);
            });
            detector.severities(by, [distance; PASTS])[0]
        };
        assert!((0..3).all(|_| severity(0, 20.0, 5.0) < 0.5));
        // The past of the level still counts, and then that of the day.
        assert!(severity(1, 1.0, 5.0) < 0.5);
        assert!(severity(1, 1.0, 5.0) > 1.5);
        assert!(severity(0, 20.0, 5.0) < 0.5);
    }

    #[test]
    fn of_the_first_two_days_only_jumps_are_told() {
        let mut noise = Noise::new(14);
        let mut first = |minutes: i64, after: i64, jump: bool| {
            let mut detector = detector();
            let severities: Vec<f64> = (0..after + 24)
                .map(|at| {
                    let new = at - after;
                    let more =
                        if jump { 60.0 * f64::from(new == 0) } else { 3.0 * f64::from(new >= 0) };
                    detector.push(at * minutes * MINUTE, noise.normal() + more).severity
                })
                .collect();
            severities.into_iter().fold(0.0, f64::max)
        };
        // Up to two days, and up to 576 samples.
        assert!(first(5, 500, false) < 2.3 && first(10, 264, false) < 2.3);
        assert!(first(5, 500, true) > 2.3);
        assert!(first(5, 590, false) > 2.3 && first(10, 300, false) > 2.3);
    }

    #[test]
    fn severities_are_fused_by_their_mean_square() {
        assert_eq!(fused(&[0.0; 6]), 0.0);
        assert_eq!(fused(&[2.0; 6]), 2.0);
        assert!((fused(&[6.0, 0.0, 0.0, 0.0, 0.0, 0.0]) - 6.0 / 6.0_f64.sqrt()).abs() < 1e-12);
        assert!((fused(&[1.0, 2.0, 3.0]) - (14.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    /// Values of one kind of noise after the other.
    fn noise_of(kind: usize, noise: &mut Noise, last: &mut f64) -> f64 {
        let normal = noise.normal();
        *last = 0.9 * *last + normal;
        match kind {
            0 => normal,
            1 => *last,
            2 => normal.exp(),
            3 => normal / (noise.normal().abs() + 0.3),
            _ => (noise.uniform() * 5.0).floor(),
        }
    }

    #[test]
    fn noise_of_whatever_kind_gives_few_episodes() {
        for (kind, most) in [10, 12, 24, 20, 4].into_iter().enumerate() {
            let (mut noise, mut last) = (Noise::new(8), 0.0);
            let mut detector = detector();
            let mut episodes = Episodes::new(EpisodeOptions::default());
            let (mut begun, mut rare) = (0, 0);
            for at in 0..50_000 {
                let value = noise_of(kind, &mut noise, &mut last);
                let mut verdict = detector.push(at * MINUTE, value);
                rare += usize::from(verdict.severity >= 1.0);
                episodes.push(at * MINUTE, &mut verdict);
                begun += usize::from(verdict.episode.is_some_and(|place| place.offset == 0));
            }
            assert!(begun <= most, "kind {kind}: {begun} episodes in 50,000 samples");
            // One in ten by the meaning of a severity of 1, were all aspects one.
            assert!((1500..4000).contains(&rare), "kind {kind}: {rare}");
        }
    }

    #[test]
    fn spikes_shifts_drifts_and_wildness_are_seen_and_named() {
        let mut noise = Noise::new(9);
        let mut noise = move || noise.normal();
        let check = |after: Vec<f64>, allowed: &[Aspect]| {
            let verdicts = after_noise(after);
            let first = verdicts.iter().find(|v| v.severity >= 2.3);
            let first = first.unwrap_or_else(|| panic!("{allowed:?} not seen"));
            assert!(first.aspect.is_some_and(|aspect| allowed.contains(&aspect)), "{first:?}");
            assert!((first.score - (1.0 - 10_f64.powf(-first.severity))).abs() < 1e-15);
        };
        use Aspect::{Activity, Drift, Excursion, Level, Roughness};
        check(vec![50.0, 80.0, 51.0, 49.0], &[Excursion, Activity]);
        check((0..4).map(|_| 58.0 + noise()).collect(), &[Level, Excursion]);
        check((0..40).map(|_| 51.5 + noise()).collect(), &[Drift]);
        check((0..40).map(|_| 50.0 + 3.0 * noise()).collect(), &[Excursion, Activity, Roughness]);
    }

    #[test]
    fn shape_is_named_where_nothing_else_is_rare() {
        assert_eq!(rarest(&[0.0; 6]), None);
        assert_eq!(rarest(&[1.0, 2.0, 3.0, 1.0, 1.0, 5.9]), Some(Aspect::Activity));
        assert_eq!(rarest(&[1.0, 2.0, 3.0, 1.0, 1.0, 6.1]), Some(Aspect::Shape));
        assert_eq!(rarest(&[2.0, 2.0, 2.0, 2.0, 2.0, 2.0]), Some(Aspect::Level));
    }

    /// Any change of a formula or a constant changes these.
    #[test]
    fn verdicts_are_these() {
        let mut detector = detector();
        let (mut noise, mut last) = (Noise::new(21), 0.0);
        let mut found = Vec::new();
        for at in 0..20_000_i64 {
            let time = at * 10 * MINUTE;
            let day = (time as f64 / 86_400e6 * std::f64::consts::TAU).sin();
            let value = 20.0 * day + noise_of(1, &mut noise, &mut last);
            let value = if at % 5000 == 4700 { value + 15.0 } else { value };
            let verdict = detector.push(time, value);
            if at % 2500 == 1999 || at % 5000 == 4702 {
                found.push((verdict.severity, verdict.expected.unwrap()));
            }
        }
        let expected = [
            (0.025_559_404_754_8, -14.197_220_141_366_0),
            (0.347_050_630_193_5, 20.559_114_803_493_3),
            (1.215_309_155_378_5, -15.869_625_925_458_3),
            (0.399_018_727_117_6, -10.978_558_694_623_8),
            (0.287_652_590_653_5, -5.632_562_615_386_8),
            (1.325_562_689_611_5, 14.579_578_843_106_7),
            (0.233_246_259_610_0, 16.878_471_569_342_9),
            (0.227_184_658_764_7, -16.959_944_031_289_8),
            (1.551_901_124_935_7, 11.183_864_045_656_2),
            (0.253_110_011_277_4, 6.455_100_562_002_8),
            (0.129_566_306_248_7, 10.896_580_996_137_8),
            (1.226_752_864_558_3, -16.930_210_426_868_6),
        ];
        let is_near =
            |a: &(f64, f64), b: &(f64, f64)| (a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9;
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(&expected).all(|(a, b)| is_near(a, b)), "{found:?}");
    }

    #[test]
    fn what_rises_where_it_used_to_fall_is_rarer_than_all_before() {
        let mut detector = detector();
        let mut noise = Noise::new(10);
        let mut all = Vec::new();
        for at in 0..6000_i64 {
            // The same values and steps, in the other order.
            let phase = if (5000..5096).contains(&at) { 23 - at % 24 } else { at % 24 };
            all.push(detector.push(at * MINUTE, phase as f64 + 0.1 * noise.normal()));
        }
        let odd = &all[5000..5096];
        let strongest = odd.iter().max_by(|a, b| a.severity.total_cmp(&b.severity)).unwrap();
        assert!(strongest.severity > 1.9, "{strongest:?}");
        assert!(all[2000..5000].iter().all(|v| v.severity < strongest.severity));
    }

    #[test]
    fn nothing_is_said_while_it_warms_up_or_where_there_is_no_value() {
        let mut detector = Detector::new(Options { warm_up_samples: 40 });
        let mut noise = Noise::new(11);
        for at in 0..40 {
            let verdict = detector.push(at, noise.normal() * 10_f64.powi(at as i32 % 7));
            assert_eq!((verdict.score, verdict.aspect), (0.0, None));
            assert_eq!(verdict.expected.is_some(), at >= 8);
        }
        assert!(detector.push(41, 1e12).score > 0.5);
        let before = detector.clone();
        for missing in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let verdict = detector.push(42, missing);
            assert_eq!((verdict.score, verdict.aspect), (0.0, None));
            assert!(verdict.expected.is_some());
        }
        assert_eq!(detector, before);
    }

    #[test]
    fn no_value_and_no_instant_breaks_it() {
        let wild = [
            0.0,
            -0.0,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            f64::NAN,
            f64::INFINITY,
            1e300,
            -1e300,
            1e-300,
            1.0,
            7.5,
        ];
        let instants = [i64::MIN, i64::MAX, 0, -1, 1, 1_800_000_000, 86_400_000_000];
        let mut noise = Noise::new(12);
        let mut pick = move |count: usize| (noise.uniform() * count as f64) as usize;
        for round in 0..6 {
            let mut detector = Detector::new(Options { warm_up_samples: 0 });
            for at in 0..5000_i64 {
                let at_us = match round {
                    0 => instants[pick(instants.len())],
                    1 => 5,
                    _ => at * 1_800_000_000,
                };
                let value = if round < 4 { wild[pick(wild.len())] } else { wild[at as usize % 2] };
                let verdict = detector.push(at_us, value);
                assert!((0.0..=1.0).contains(&verdict.score), "{verdict:?}");
                assert!((0.0..=8.0).contains(&verdict.severity), "{verdict:?}");
                assert!(verdict.expected.is_none_or(f64::is_finite), "{verdict:?}");
            }
        }
    }

    #[test]
    fn a_constant_series_is_usual_until_it_changes() {
        let mut detector = detector();
        for at in 0..3000 {
            assert_eq!(detector.push(at * MINUTE, 0.1).score, 0.0);
        }
        let changed = detector.push(3000 * MINUTE, 0.2);
        // Never seen in 3000 samples, by four aspects: the level is a matter of three samples, the shape of what went before.
        assert!(changed.severity > 2.3, "{changed:?}");
        assert_eq!(changed.expected, Some(0.1));
    }
}
