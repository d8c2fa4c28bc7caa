//! Texts that are of none of the classes. A score says how much a text looks like one of them; below a threshold it is
//! answered as none. The threshold is chosen on rows that were not learned from.

use serde::{Deserialize, Serialize};

use super::calibration::best_of;
use crate::error::{Error, Result};

/// What a text is judged in scope by; more is more in scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The highest calibrated probability (Hendrycks and Gimpel 2017).
    #[default]
    MaxProbability,
    /// The logarithm of the sum of the logits' exponentials, over and times the temperature (Liu et al. 2020, equation
    /// 4, without its sign).
    Energy,
}

/// Below it a text is out of scope.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The score.
    pub score: Score,
    /// The least score of a text in scope.
    pub least: f64,
}

/// How texts in and out of scope were told apart, and the classes of the former.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScopeReport {
    /// Rows in scope.
    pub in_scope_rows: usize,
    /// Rows out of scope.
    pub out_of_scope_rows: usize,
    /// Part of the rows in scope that were answered with their class, and not as out of scope.
    pub in_scope_accuracy: f64,
    /// Part of the rows out of scope that were answered so.
    pub recall: f64,
    /// Rows answered as out of scope.
    pub answered_rows: usize,
    /// Part of them that are; 0 without any.
    pub precision: f64,
    /// How likely a row in scope has a higher score than one out of scope, ties half.
    pub auroc: f64,
}

impl Score {
    /// The score of a row of logits.
    pub fn of(self, row: &[f32], temperature: f64) -> f64 {
        let most = f64::from(row[best_of(row)]) / temperature;
        let sum: f64 = row.iter().map(|x| (f64::from(*x) / temperature - most).exp()).sum();
        match self {
            Self::MaxProbability => 1.0 / sum,
            Self::Energy => temperature * (most + sum.ln()),
        }
    }
}

/// How likely one of `higher` is above one of `lower`, ties half (Mann and Whitney). 0.5 where one list is empty.
pub fn auroc(higher: &[f64], lower: &[f64]) -> f64 {
    if higher.is_empty() || lower.is_empty() {
        return 0.5;
    }
    let mut all: Vec<(f64, bool)> = higher.iter().map(|x| (*x, true)).collect();
    all.extend(lower.iter().map(|x| (*x, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut below) = (0.0, 0.0);
    for ties in all.chunk_by(|a, b| a.0 == b.0) {
        let highs = ties.iter().filter(|(_, is_high)| *is_high).count() as f64;
        let lows = ties.len() as f64 - highs;
        wins += highs * (below + lows / 2.0);
        below += lows;
    }
    wins / (higher.len() as f64 * lower.len() as f64)
}

/// A row in scope that was not learned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InScope {
    /// How much it looks like one.
    pub score: f64,
    /// Whether it is answered with its class. One that is not loses nothing by being taken for out of scope.
    pub is_right: bool,
}

/// What a threshold is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// The highest sum of the part of the rows in scope that are answered rightly, and this times the part of those out of scope
    /// that are found. With 1 both parts weigh the same (Youden 1950).
    Cost(f64),
    /// The same, but only as far from `Rejected` as the rows prove that it is better: with few rows out of scope it is `Rejected`.
    ProvenCost {
        /// What the part of the rows out of scope that are found weighs.
        cost: f64,
        /// The part of the rows in scope that are below the threshold without such rows.
        rejected: f64,
    },
    /// At least this part of the rows out of scope found, and no more rows in scope lost for it than it takes.
    Recall(f64),
    /// Without rows out of scope: this part of those in scope below it. None is, if they are so few that the lowest of them is a larger
    /// part.
    Rejected(f64),
}

/// A threshold that no score is below.
pub const NO_THRESHOLD: f64 = f64::MIN;
/// Standard deviations above which one threshold, or score, is better than another by more than chance.
const SURE: f64 = 3.0;
/// Rows out of scope below which the score is not chosen by them.
const SCORE_ROWS_MIN: usize = 10;

/// The threshold that does what is aimed at. Fails for no rows in scope, and for no rows out of scope where the aim speaks of them;
/// the parts of the aim are the caller's to check.
pub fn choose_threshold(in_scope: &[InScope], out_of_scope: &[f64], aim: Aim) -> Result<f64> {
    let is_of_both = !matches!(aim, Aim::Rejected(_));
    if in_scope.is_empty() || (is_of_both && out_of_scope.is_empty()) {
        return Err(Error::Training {
            problem: format!(
                "threshold: expected rows in scope, and others for {aim:?}, found {} and {}",
                in_scope.len(),
                out_of_scope.len()
            ),
        });
    }
    let sorted = |scores: &mut dyn Iterator<Item = f64>| {
        let mut scores: Vec<f64> = scores.collect();
        scores.sort_by(f64::total_cmp);
        scores
    };
    let all = sorted(&mut in_scope.iter().map(|row| row.score));
    let right = sorted(&mut in_scope.iter().filter(|row| row.is_right).map(|row| row.score));
    let outside = sorted(&mut out_of_scope.iter().copied());
    let part_below = |scores: &[f64], at: f64, of: usize| {
        scores.partition_point(|score| *score < at) as f64 / of.max(1) as f64
    };
    let found = |at: f64| part_below(&outside, at, outside.len());
    // Between two neighbours any threshold does the same; the middle is as far as can be from both.
    let mut places = sorted(&mut all.iter().chain(&outside).copied());
    places.dedup();
    let first = places[0];
    let last = places.last().map(|last| last.next_up());
    let middles = places.windows(2).map(|pair| pair[0].midpoint(pair[1]));
    let mut rising = std::iter::once(first).chain(middles).chain(last);
    Ok(match aim {
        Aim::Rejected(part) => rejecting(&all, part),
        Aim::Recall(least) => rising.find(|at| found(*at) >= least).unwrap_or(first),
        Aim::Cost(cost) => {
            let mut best = (f64::NEG_INFINITY, first);
            for at in rising {
                let value = cost * found(at) - part_below(&right, at, all.len());
                if value > best.0 {
                    best = (value, at);
                }
            }
            best.1
        }
        Aim::ProvenCost { cost, rejected } => {
            let usual = rejecting(&all, rejected);
            let between = |scores: &[f64], from: f64, to: f64| {
                scores.partition_point(|score| *score < to)
                    - scores.partition_point(|score| *score < from)
            };
            let better = |at: f64| {
                let (from, to) = (usual.min(at), usual.max(at));
                let found = Part::new(between(&outside, from, to), outside.len()).times(cost);
                let lost = Part::new(between(&right, from, to), all.len());
                if at > usual { found.surely_above(lost) } else { lost.surely_above(found) }
            };
            let mut best = (0.0, usual);
            for at in rising {
                let value = better(at);
                if value > best.0 {
                    best = (value, at);
                }
            }
            best.1
        }
    })
}

/// The score that a part of these, which are in order, is below.
fn rejecting(scores: &[f64], part: f64) -> f64 {
    let count = (scores.len() as f64 * part) as usize;
    // A new score is below the lowest of n with a chance of 1 in n + 1.
    if count == 0 && 1.0 / (scores.len() + 1) as f64 > part {
        return NO_THRESHOLD;
    }
    scores.get(count).or(scores.last()).copied().unwrap_or(NO_THRESHOLD)
}

/// A part of some rows, and where the part behind it lies (Wilson 1927).
#[derive(Clone, Copy)]
struct Part {
    part: f64,
    lower: f64,
    upper: f64,
}

impl Part {
    fn new(count: usize, rows: usize) -> Self {
        let rows = rows.max(1) as f64;
        let part = count as f64 / rows;
        let middle = part + SURE * SURE / (2.0 * rows);
        let half = SURE * (part * (1.0 - part) / rows + (SURE / (2.0 * rows)).powi(2)).sqrt();
        let all = 1.0 + SURE * SURE / rows;
        Self { part, lower: (middle - half) / all, upper: (middle + half) / all }
    }

    fn times(self, cost: f64) -> Self {
        Self { part: cost * self.part, lower: cost * self.lower, upper: cost * self.upper }
    }

    /// By how much it is above another one, at least (Zou & Donner 2008).
    fn surely_above(self, other: Self) -> f64 {
        let apart = (self.part - self.lower).hypot(other.upper - other.part);
        self.part - other.part - apart
    }
}

/// Whether one score separates rows in scope from others better than another one, by more than chance (DeLong et al. 1988). Each is the scores
/// of the rows in scope, and of the others. Of fewer than ten others it is not known.
pub fn separates_better(one: (&[f64], &[f64]), other: (&[f64], &[f64])) -> bool {
    let (inside, outside) = (one.0.len(), one.1.len());
    if outside < SCORE_ROWS_MIN || inside < SCORE_ROWS_MIN {
        return false;
    }
    // Of each row the part of the rows of the other kind that it is on the right side of.
    let placed = |(inside, outside): (&[f64], &[f64])| {
        let of_inside: Vec<f64> = inside.iter().map(|score| auroc(&[*score], outside)).collect();
        let of_outside: Vec<f64> = outside.iter().map(|score| auroc(inside, &[*score])).collect();
        (of_inside, of_outside)
    };
    let (one, other) = (placed(one), placed(other));
    let differences = |one: &[f64], other: &[f64]| -> (f64, f64) {
        let rows = one.len() as f64;
        let apart = || one.iter().zip(other).map(|(one, other)| one - other);
        let mean = apart().sum::<f64>() / rows;
        let squares = apart().map(|apart| (apart - mean).powi(2)).sum::<f64>();
        (mean, squares / (rows - 1.0) / rows)
    };
    let (mean, of_inside) = differences(&one.0, &other.0);
    let (_, of_outside) = differences(&one.1, &other.1);
    mean > SURE * (of_inside + of_outside).sqrt()
}

/// How `threshold` does on rows of `logits`, `[rows, classes]`; a truth of none is a row out of scope. Fails for lists
/// that do not fit.
pub fn scope_report(
    logits: &[f32],
    truth: &[Option<usize>],
    count: usize,
    temperature: f64,
    threshold: Threshold,
) -> Result<ScopeReport> {
    if count == 0 || logits.len() != truth.len() * count {
        return Err(Error::Training {
            problem: format!(
                "scope: expected {count} logits for each of {} rows, found {}",
                truth.len(),
                logits.len()
            ),
        });
    }
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let (mut right, mut found, mut answered) = (0_usize, 0_usize, 0_usize);
    for (row, truth) in logits.chunks_exact(count).zip(truth) {
        let score = threshold.score.of(row, temperature);
        let is_out = score < threshold.least;
        answered += usize::from(is_out);
        match truth {
            Some(class) => {
                inside.push(score);
                right += usize::from(!is_out && best_of(row) == *class);
            }
            None => {
                outside.push(score);
                found += usize::from(is_out);
            }
        }
    }
    let part = |of: usize, all: usize| if all == 0 { 0.0 } else { of as f64 / all as f64 };
    Ok(ScopeReport {
        in_scope_rows: inside.len(),
        out_of_scope_rows: outside.len(),
        in_scope_accuracy: part(right, inside.len()),
        recall: part(found, outside.len()),
        answered_rows: answered,
        precision: part(found, answered),
        auroc: auroc(&inside, &outside),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use super::*;
    use crate::training::Random;

    #[test]
    fn the_area_is_that_computed_by_hand() {
        assert_eq!(auroc(&[3.0, 4.0], &[1.0, 2.0]), 1.0);
        assert_eq!(auroc(&[1.0, 2.0], &[3.0, 4.0]), 0.0);
        // Pairs: 2 over 1, 2 = 2, 3 over both.
        assert_eq!(auroc(&[2.0, 3.0], &[1.0, 2.0]), 3.5 / 4.0);
        assert_eq!(auroc(&[], &[1.0]), 0.5);
    }

    fn rows(right: &[f64], wrong: &[f64]) -> Vec<InScope> {
        let of = |is_right| move |score: &f64| InScope { score: *score, is_right };
        right.iter().map(of(true)).chain(wrong.iter().map(of(false))).collect()
    }

    #[test]
    fn the_threshold_does_what_is_aimed_at() {
        let outside = [0.1, 0.2, 0.4, 0.75];
        let chosen = |inside: &[InScope], aim| choose_threshold(inside, &outside, aim).unwrap();
        let inside = rows(&[0.9, 0.8, 0.7, 0.3], &[]);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
        // Half of those outside for nothing; a quarter more costs a quarter of those inside, as does the last.
        near(chosen(&inside, Aim::Cost(0.9)), 0.25);
        near(chosen(&inside, Aim::Cost(1.1)), 0.775);
        // One that is answered wrongly is nothing that is lost.
        near(chosen(&rows(&[0.9, 0.8, 0.7], &[0.3]), Aim::Cost(0.9)), 0.55);
        near(chosen(&inside, Aim::Cost(0.0)), 0.1);
        near(chosen(&inside, Aim::Recall(0.5)), 0.25);
        near(chosen(&inside, Aim::Recall(0.75)), 0.55);
        near(chosen(&inside, Aim::Recall(1.0)), 0.775);
        assert_eq!(choose_threshold(&inside, &[2.0], Aim::Recall(1.0)).unwrap(), 2.0_f64.next_up());
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let rejected = |part| choose_threshold(&rows(&scores, &[]), &[], Aim::Rejected(part));
        assert_eq!((rejected(0.05).unwrap(), rejected(1.0).unwrap()), (5.0, 99.0));
        // The lowest of twenty is below a new one of twenty-one.
        let few = |count: usize| {
            choose_threshold(&rows(&scores[..count], &[]), &[], Aim::Rejected(0.05)).unwrap()
        };
        assert_eq!((few(19), few(10), few(1)), (0.0, NO_THRESHOLD, NO_THRESHOLD));
        assert!(choose_threshold(&[], &[1.0], Aim::Cost(1.0)).is_err());
        assert!(choose_threshold(&inside, &[], Aim::Recall(0.9)).is_err());
    }

    #[test]
    fn rows_out_of_scope_are_found_and_counted() {
        let logits = [5.0, 0.0, 0.0, 5.0, 0.1, 0.0, 0.0, 0.2, 4.0, 0.0];
        let truth = [Some(0), Some(0), None, Some(1), None];
        let threshold = Threshold { score: Score::MaxProbability, least: 0.9 };
        let found = scope_report(&logits, &truth, 2, 1.0, threshold).unwrap();
        assert_eq!((found.in_scope_rows, found.out_of_scope_rows), (3, 2));
        assert!((found.in_scope_accuracy - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((found.recall, found.precision), (0.5, 0.5));
        let energy = Score::Energy.of(&[1.0, 1.0], 2.0);
        assert!((energy - (1.0 + 2.0 * 2_f64.ln())).abs() < 1e-12);
        assert!(scope_report(&logits, &truth, 3, 1.0, threshold).is_err());
    }

    /// A model whose rows in scope have higher scores than the others by `apart` standard deviations.
    struct World {
        apart: f64,
        /// The largest probability of a correct answer in scope; the probability rises with the score.
        right: f64,
    }

    impl World {
        fn inside(&self, random: &mut Random) -> InScope {
            let score = normal(random);
            let chance = 1.0 / (1.0 + (-2.0 * score).exp()) * self.right;
            InScope { score, is_right: random.below(10_000) < (chance * 10_000.0) as usize }
        }

        fn outside(&self, random: &mut Random) -> f64 {
            normal(random) - self.apart
        }

        /// What thresholds are worth: `cost` times the part of others that are found, and the part in scope that is still answered rightly.
        fn worth(&self, thresholds: &[f64], cost: f64) -> Vec<f64> {
            let mut random = Random::new(77, 0);
            let inside: Vec<InScope> = (0..4_000).map(|_| self.inside(&mut random)).collect();
            let outside: Vec<f64> = (0..4_000).map(|_| self.outside(&mut random)).collect();
            let worth = |at: &f64| {
                let found = outside.iter().filter(|score| *score < at).count() as f64;
                let right = inside.iter().filter(|row| row.is_right && row.score >= *at).count();
                cost * found / 4_000.0 + right as f64 / 4_000.0
            };
            thresholds.iter().map(worth).collect()
        }
    }

    fn normal(random: &mut Random) -> f64 {
        let mut uniform = || (1 + random.below(1_000_000)) as f64 / 1_000_001.0;
        let radius = (-2.0 * uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * uniform()).cos()
    }

    /// `COLONNADE_WORLDS=200` tries so many seeds.
    #[test]
    fn a_few_out_of_scope_rows_do_not_worsen_the_threshold() {
        let seeds = std::env::var("COLONNADE_WORLDS").ok().and_then(|of| of.parse().ok());
        let seeds: u64 = seeds.unwrap_or(4);
        let aim = |cost| (Aim::Cost(cost), Aim::ProvenCost { cost, rejected: 0.02 });
        let (mut worst, mut harmed, mut tried) = (0.0_f64, [0; 2], 0);
        let mut gained = [0.0; 2];
        for (apart, right, cost) in
            [(0.0, 1.0, 0.25), (1.0, 1.0, 0.25), (2.5, 0.8, 0.25), (1.0, 0.5, 1.0)]
        {
            let world = World { apart, right };
            for inside in [20, 100, 1_000] {
                for outside in [1, 3, 10, 30, 300] {
                    for seed in 0..seeds {
                        let mut random = Random::new(1 + seed, (inside * 1_000 + outside) as u64);
                        let inside: Vec<InScope> =
                            (0..inside).map(|_| world.inside(&mut random)).collect();
                        let outside: Vec<f64> =
                            (0..outside).map(|_| world.outside(&mut random)).collect();
                        let usual = choose_threshold(&inside, &[], Aim::Rejected(0.02)).unwrap();
                        let (best, proven) = aim(cost);
                        let [best, proven] = [best, proven]
                            .map(|aim| choose_threshold(&inside, &outside, aim).unwrap());
                        let worth = world.worth(&[usual, best, proven], cost);
                        tried += 1;
                        for (at, worth_of) in worth[1..].iter().enumerate() {
                            harmed[at] += usize::from(worth_of - worth[0] < -0.01);
                            gained[at] += worth_of - worth[0];
                        }
                        worst = worst.min(worth[2] - worth[0]);
                    }
                }
            }
        }
        let gained = gained.map(|gained| gained / f64::from(tried));
        let found = format!(
            "of {tried}: worse than without by more than 0.01 as the best {}, as proven {}; at worst {worst:.4}; gained {gained:.4?}",
            harmed[0], harmed[1]
        );
        let _ = writeln!(std::io::stderr(), "{found}");
        assert!(harmed[1] == 0 && gained[1] > 0.01, "{found}");
    }

    #[test]
    fn only_a_significantly_better_score_is_chosen() {
        let of = |seed: u64, apart: f64, outside: usize| {
            let mut random = Random::new(seed, 3);
            let inside: Vec<f64> = (0..100).map(|_| normal(&mut random)).collect();
            let outside: Vec<f64> = (0..outside).map(|_| normal(&mut random) - apart).collect();
            (inside, outside)
        };
        let better = |apart: f64, outside: usize| {
            let is_better = |seed: &u64| {
                let (one, other) =
                    (of(2 * seed + 1, apart, outside), of(2 * seed + 2, 1.0, outside));
                separates_better((&one.0, &one.1), (&other.0, &other.1))
            };
            (0..100).filter(is_better).count()
        };
        let (alike, higher, few) = (better(1.0, 40), better(2.5, 40), better(4.0, 9));
        assert!(alike <= 5 && higher >= 80 && few == 0, "{alike} {higher} {few}");
    }
}
