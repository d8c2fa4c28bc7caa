//! What labels of some answers say of all of them, if they were not drawn evenly.
//!
//! People often label the answers that a model is least sure of. The part of these that is right is not that of all answers. Answers are
//! therefore divided into strata, by confidence, and each stratum counts by its share of all answers (post-stratification: Holt and
//! Smith, 1979). That is right if the labelled answers of a stratum are like its others. A stratum without labels could be right
//! always or never, so that its share widens the interval.

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};

use crate::answers::Beside;
use crate::trial::{Rate, wilson};

/// Expected counts below which strata are merged for the test (Cochran, 1954).
const EXPECTED_MIN: f64 = 5.0;

/// Answers of a stratum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stratum {
    /// All of them.
    pub answers: u64,
    /// Those that have a label.
    pub labelled: u64,
    /// Those of them that are right.
    pub right: u64,
}

/// The part of all answers that is right; none without labels. The rate is that of the strata with labels, the interval of 95 % is of all.
pub fn rate_of_all(strata: &[Stratum]) -> Option<Rate> {
    let all = strata.iter().map(|of| of.answers).sum::<u64>() as f64;
    let (mut rate, mut known, mut below, mut above) = (0.0, 0.0, 0.0, 0.0);
    for stratum in strata.iter().filter(|of| of.answers > 0) {
        let Some(own) = wilson(stratum.right, stratum.labelled) else { continue };
        let share = stratum.answers as f64 / all;
        rate += share * own.rate;
        known += share;
        // Limits of a sum from those of its parts (Zou and Donner, 2008).
        below += (share * (own.rate - own.lower)).powi(2);
        above += (share * (own.upper - own.rate)).powi(2);
    }
    (known > 0.0).then(|| Rate {
        rate: rate / known,
        lower: (rate - below.sqrt()).max(0.0),
        upper: (rate + above.sqrt() + 1.0 - known).min(1.0),
    })
}

/// The chance that labels are spread over the strata so unevenly if they are drawn evenly: the chi-squared test of labelled and other answers.
/// None if fewer than two strata have enough answers.
pub fn label_sampling_p(strata: &[Stratum]) -> Option<f64> {
    let answers = strata.iter().map(|of| of.answers).sum::<u64>() as f64;
    let labelled = strata.iter().map(|of| of.labelled.min(of.answers)).sum::<u64>() as f64;
    let least = EXPECTED_MIN / (labelled / answers).min(1.0 - labelled / answers);
    if !least.is_finite() || least <= 0.0 {
        // All are labelled, or none is.
        return (answers > 0.0 && labelled == answers).then_some(1.0);
    }
    let mut merged: Vec<(f64, f64)> = Vec::new();
    let mut open = (0.0, 0.0);
    for of in strata {
        open.0 += of.answers as f64;
        open.1 += of.labelled.min(of.answers) as f64;
        if open.0 >= least {
            merged.push(std::mem::take(&mut open));
        }
    }
    if let Some(last) = merged.last_mut() {
        last.0 += open.0;
        last.1 += open.1;
    }
    let share = labelled / answers;
    let squares = merged.iter().map(|(answers, labelled)| {
        let expected = share * answers;
        (labelled - expected).powi(2) * (1.0 / expected + 1.0 / (answers - expected))
    });
    let of = ChiSquared::new(merged.len().checked_sub(1)? as f64).ok()?;
    Some(of.sf(squares.sum()))
}

/// By how much the second of two models is right more often, on all answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DifferenceOfAll {
    /// The difference of the strata with labels, 0 for the others.
    pub difference: f64,
    /// The chance of such a difference if both are right as often, whatever holds in strata without labels.
    pub p: f64,
}

/// The same of two models. Each stratum has its share of all answers, and the labelled rows that both answered.
pub fn weighted_difference(strata: &[(u64, Beside)]) -> Option<DifferenceOfAll> {
    let all = strata.iter().map(|(answers, _)| answers).sum::<u64>() as f64;
    let (mut difference, mut known, mut variance) = (0.0, 0.0, 0.0);
    for (answers, beside) in
        strata.iter().filter(|(answers, beside)| *answers > 0 && beside.rows() > 0)
    {
        let share = *answers as f64 / all;
        let (a, b, rows) = (beside.only_a as f64, beside.only_b as f64, beside.rows() as f64);
        difference += share * (b - a) / rows;
        known += share;
        // With half a row more of each (Agresti and Min, 2005).
        let (a, b, rows) = (a + 0.5, b + 0.5, rows + 2.0);
        variance += share * share * (a + b - (b - a).powi(2) / rows) / rows / rows;
    }
    let z = (difference.abs() - (1.0 - known)).max(0.0) / variance.sqrt();
    (known > 0.0)
        .then(|| DifferenceOfAll { difference, p: (2.0 * Normal::standard().cdf(-z)).min(1.0) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use super::*;
    use crate::Noise;

    fn stratum(answers: u64, labelled: u64, right: u64) -> Stratum {
        Stratum { answers, labelled, right }
    }

    #[test]
    fn rates_and_chances_are_those_by_hand() {
        // Nine in ten answers are sure, and nine in ten of these right; labels are of both alike.
        let found = rate_of_all(&[stratum(100, 50, 20), stratum(900, 50, 45)]).unwrap();
        assert!((found.rate - (0.1 * 0.4 + 0.9 * 0.9)).abs() < 1e-12, "{found:?}");
        assert!(found.lower > 0.74 && found.upper < 0.91, "{found:?}");
        // Nothing is known of nine in ten.
        let found = rate_of_all(&[stratum(100, 50, 20), stratum(900, 0, 0)]).unwrap();
        assert!((found.rate - 0.4).abs() < 1e-12 && found.upper > 0.94, "{found:?}");
        assert!(found.lower < 0.04, "{found:?}");
        assert_eq!(rate_of_all(&[stratum(100, 0, 0)]), None);
        // By scipy's chi2_contingency([[50, 50], [50, 850]], correction=False).
        let p = label_sampling_p(&[stratum(100, 50, 0), stratum(900, 50, 0)]).unwrap();
        assert!((p / 7.222_190_769e-45 - 1.0).abs() < 1e-6, "{p}");
        let p = label_sampling_p(&[stratum(100, 12, 0), stratum(900, 88, 0)]).unwrap();
        assert!((p - 0.482_225_044_756).abs() < 1e-9, "{p}");
        assert_eq!(label_sampling_p(&[stratum(100, 100, 0), stratum(900, 900, 0)]), Some(1.0));
        assert_eq!(label_sampling_p(&[stratum(3, 1, 0), stratum(3, 1, 0)]), None);
        assert_eq!(label_sampling_p(&[]), None);
        let beside = Beside { both: 0, only_a: 0, only_b: 40, neither: 10 };
        let of = |answers| weighted_difference(&[(answers, beside), (900, Beside::default())]);
        assert_eq!(of(100).unwrap().p, 1.0, "nine in ten are not known");
        assert!(of(90_000).unwrap().p < 1e-9);
        assert_eq!(of(0), None);
    }

    const BINS: usize = 10;

    /// Answers of two models to each row: how sure the first is, by tenths, and who is right.
    fn world(noise: &mut Noise, rows: usize) -> Vec<(usize, bool, bool)> {
        (0..rows)
            .map(|_| {
                let sure = 0.5 + 0.5 * noise.uniform().sqrt();
                // The second is right as often, and elsewhere.
                let other = 0.5 + 0.5 * noise.uniform().sqrt();
                let bin = ((sure * BINS as f64) as usize).min(BINS - 1);
                (bin, noise.uniform() < sure, noise.uniform() < other)
            })
            .collect()
    }

    /// Which answers people label: at random, the less sure ones more often, or those alone.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Labelling {
        Even,
        Doubtful,
        DoubtfulOnly,
    }

    fn is_labelled(of: Labelling, bin: usize, share: f64, noise: &mut Noise) -> bool {
        let doubt = (BINS - bin) as f64;
        noise.uniform()
            < match of {
                Labelling::Even => share,
                Labelling::Doubtful => share * doubt * 0.6,
                Labelling::DoubtfulOnly if bin < 7 => share * 6.0,
                Labelling::DoubtfulOnly => 0.0,
            }
    }

    /// `COLONNADE_WORLDS=500` sets the number of worlds of each kind.
    #[test]
    fn labels_of_doubtful_answers_do_not_lower_the_accuracy_of_all_or_favour_another_model() {
        let worlds = std::env::var("COLONNADE_WORLDS").ok().and_then(|of| of.parse().ok());
        let worlds: u64 = worlds.unwrap_or(20);
        for labelling in [Labelling::Even, Labelling::Doubtful, Labelling::DoubtfulOnly] {
            for share in [0.02, 0.1, 0.4] {
                let (mut plain, mut weighted, mut uneven) = (0, 0, 0);
                let (mut favoured, mut still) = (0, 0);
                for seed in 0..worlds {
                    let mut noise = Noise::new(seed * 31 + 7);
                    let rows = world(&mut noise, 2_000);
                    let truth = rows.iter().filter(|row| row.1).count() as f64 / 2_000.0;
                    let mut strata = [Stratum::default(); BINS];
                    let mut besides = [Beside::default(); BINS];
                    let mut beside = Beside::default();
                    for (bin, a, b) in rows {
                        strata[bin].answers += 1;
                        if is_labelled(labelling, bin, share, &mut noise) {
                            strata[bin].labelled += 1;
                            strata[bin].right += u64::from(a);
                            besides[bin].add(a, b);
                            beside.add(a, b);
                        }
                    }
                    let (right, labelled) = strata
                        .iter()
                        .fold((0, 0), |sum, of| (sum.0 + of.right, sum.1 + of.labelled));
                    let is_within = |of: Rate| of.lower <= truth && truth <= of.upper;
                    plain += u64::from(wilson(right, labelled).is_some_and(is_within));
                    weighted += u64::from(rate_of_all(&strata).is_some_and(is_within));
                    uneven += u64::from(label_sampling_p(&strata).is_some_and(|p| p < 0.01));
                    let both: Vec<(u64, Beside)> =
                        strata.iter().zip(besides).map(|(of, own)| (of.answers, own)).collect();
                    favoured += u64::from(beside.p() < 0.05);
                    still += u64::from(
                        beside.p() < 0.05
                            && weighted_difference(&both).is_some_and(|of| of.p < 0.05),
                    );
                }
                let found = format!(
                    "{labelling:?} labels of {share}: accuracy of all within the interval of the labelled {plain}, within that of all {weighted}, \
                     uneven {uneven}, another model better {favoured}, and with weights {still}, of {worlds}"
                );
                let _ = writeln!(std::io::stderr(), "{found}");
                assert!(weighted * 100 >= worlds * 90, "{found}");
                assert!(still * 100 <= worlds * 10, "{found}");
                match labelling {
                    Labelling::Even => assert!(uneven * 20 <= worlds, "{found}"),
                    _ if share >= 0.1 => assert!(uneven * 100 >= worlds * 90, "{found}"),
                    _ => {}
                }
            }
        }
    }
}
