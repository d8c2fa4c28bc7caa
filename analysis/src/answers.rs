//! How often a model is right, whether that is as often as it says, and which of two is right more often: on what people know.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Hypergeometric, Normal};

use crate::trial::{Rate, wilson, wilson_of};

/// Bins of confidence, each as wide.
pub const BINS: usize = 10;
/// Answers below which nothing can be said of how far off a calibration is.
const CALIBRATED_MIN: u64 = 10;
/// Half of what lies within it is the middle 95 %.
const EDGE: f64 = 1.959_963_984_540_054;

/// Answers of one bin of confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// How many there are.
    pub answers: u64,
    /// Those that are right.
    pub right: u64,
    /// The sum of their confidences.
    pub confidence: f64,
}

/// Answers, as they come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// How many there are.
    pub answers: u64,
    /// Those that are right.
    pub right: u64,
    /// Those that say how sure they are, by that.
    pub bins: [Bin; BINS],
    squares: f64,
    /// Spiegelhalter's sum, and its variance where they are right as often as they say.
    apart: f64,
    variance: f64,
}

impl Answers {
    /// One more. `confidence`: the probability of being right that it says; what is none counts as if it said nothing.
    pub fn add(&mut self, is_right: bool, confidence: Option<f64>) {
        self.answers += 1;
        self.right += u64::from(is_right);
        let Some(said) = confidence.filter(|of| (0.0..=1.0).contains(of)) else { return };
        let found = f64::from(u8::from(is_right));
        let bin = ((said * BINS as f64) as usize).min(BINS - 1);
        if let Some(bin) = self.bins.get_mut(bin) {
            bin.answers += 1;
            bin.right += u64::from(is_right);
            bin.confidence += said;
        }
        self.squares += (found - said).powi(2);
        self.apart += (found - said) * (1.0 - 2.0 * said);
        self.variance += (1.0 - 2.0 * said).powi(2) * said * (1.0 - said);
    }

    /// The same of others, too.
    pub fn merge(&mut self, other: &Self) {
        self.answers += other.answers;
        self.right += other.right;
        for (bin, of) in self.bins.iter_mut().zip(&other.bins) {
            bin.answers += of.answers;
            bin.right += of.right;
            bin.confidence += of.confidence;
        }
        self.squares += other.squares;
        self.apart += other.apart;
        self.variance += other.variance;
    }

    /// How many say how sure they are.
    pub fn sure(&self) -> u64 {
        self.bins.iter().map(|of| of.answers).sum()
    }

    /// The part that is right, and where the one behind it lies; none without answers.
    pub fn accuracy(&self) -> Option<Rate> {
        wilson(self.right, self.answers)
    }

    /// The mean of what they say; none where none says anything.
    pub fn confidence(&self) -> Option<f64> {
        let sure = self.sure();
        let sum: f64 = self.bins.iter().map(|of| of.confidence).sum();
        (sure > 0).then(|| sum / sure as f64)
    }

    /// Where the mean behind that lies with a confidence of 95 %; a mean of numbers from 0 to 1 varies at most as a rate does.
    pub fn confidence_interval(&self) -> Option<Rate> {
        wilson_of(self.confidence()?, self.sure() as f64)
    }

    /// Where the Brier score behind that of [`Self::brier`] lies, in the same way.
    pub fn brier_interval(&self) -> Option<Rate> {
        wilson_of(self.brier()?, self.sure() as f64)
    }

    /// Where the calibration error lies with a confidence of 95 %: from the intervals of the bins (Zou and Donner, 2008). None of fewer
    /// than ten answers, which leave bins without any.
    pub fn calibration_error_interval(&self) -> Option<[f64; 2]> {
        let found = self.calibration_error().filter(|_| self.sure() >= CALIBRATED_MIN)?;
        let (mut below, mut above) = (0.0, 0.0);
        for bin in &self.bins {
            let Some(rate) = wilson(bin.right, bin.answers) else { continue };
            let (said, share) =
                (bin.confidence / bin.answers as f64, bin.answers as f64 / self.sure() as f64);
            let apart = (rate.rate - said).abs();
            let nearest = (rate.lower - said).max(said - rate.upper).max(0.0);
            let farthest = (rate.upper - said).max(said - rate.lower);
            below += (share * (apart - nearest)).powi(2);
            above += (share * (farthest - apart)).powi(2);
        }
        Some([(found - below.sqrt()).max(0.0), (found + above.sqrt()).min(1.0)])
    }

    /// The expected calibration error: how far bins are from what they say, by how many answers they have (Naeini et al. 2015).
    pub fn calibration_error(&self) -> Option<f64> {
        let sure = self.sure();
        let apart = self.bins.iter().map(|of| (of.right as f64 - of.confidence).abs());
        (sure > 0).then(|| apart.sum::<f64>() / sure as f64)
    }

    /// The mean square of how far what they say is from what is so (Brier 1950).
    pub fn brier(&self) -> Option<f64> {
        let sure = self.sure();
        (sure > 0).then(|| self.squares / sure as f64)
    }

    /// The chance that they are so far off where they are right as often as they say (Spiegelhalter 1986). None where what they say leaves
    /// nothing to chance.
    pub fn calibration_p(&self) -> Option<f64> {
        let z = self.apart / self.variance.sqrt();
        (self.variance > 0.0).then(|| 2.0 * Normal::standard().cdf(-z.abs()))
    }
}

/// How often a label is answered, is so, and both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfLabel {
    /// Rows that are answered so.
    pub answered: u64,
    /// Rows that are so.
    pub so: u64,
    /// Rows that are both.
    pub right: u64,
}

impl OfLabel {
    /// The harmonic mean of precision and recall, and where it lies with a confidence of 95 %. It is 2 p / (1 + p), where p is the part of
    /// the rows of either kind that are of both.
    fn f1(&self) -> Option<Rate> {
        let of = wilson(self.right, (self.answered + self.so).saturating_sub(self.right))?;
        let f1 = |part: f64| 2.0 * part / (1.0 + part);
        Some(Rate { rate: f1(of.rate), lower: f1(of.lower), upper: f1(of.upper) })
    }
}

/// The mean of F1 over labels, and where it lies with a confidence of 95 %; none without labels. A wrong row counts for two labels, and so the
/// intervals of these are added as if each pair of labels varied together.
pub fn macro_f1(labels: impl Iterator<Item = OfLabel>) -> Option<Rate> {
    let of: Vec<Rate> = labels.filter_map(|label| label.f1()).collect();
    let count = of.len() as f64;
    let mean = of.iter().map(|of| of.rate).sum::<f64>() / count;
    let apart = |get: fn(&Rate) -> f64| {
        (2.0 * of.iter().map(|of| get(of).powi(2)).sum::<f64>()).sqrt() / count
    };
    let (below, above) = (apart(|of| of.rate - of.lower), apart(|of| of.upper - of.rate));
    (count > 0.0).then(|| Rate {
        rate: mean,
        lower: (mean - below).max(0.0),
        upper: (mean + above).min(1.0),
    })
}

/// Two models on the same rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Rows on which both are right.
    pub both: u64,
    /// Those on which the first alone is.
    pub only_a: u64,
    /// Those on which the second alone is.
    pub only_b: u64,
    /// Those on which neither is.
    pub neither: u64,
}

impl Beside {
    /// One more row.
    pub fn add(&mut self, a: bool, b: bool) {
        let place = match (a, b) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.only_a,
            (false, true) => &mut self.only_b,
            (false, false) => &mut self.neither,
        };
        *place += 1;
    }

    /// Rows that both answered.
    pub fn rows(&self) -> u64 {
        self.both + self.only_a + self.only_b + self.neither
    }

    /// By how much the second is right more often, and where the difference behind it lies (Agresti & Min 2005); none without rows.
    pub fn difference(&self) -> Option<(f64, f64, f64)> {
        if self.rows() == 0 {
            return None;
        }
        let (a, b) = (self.only_a as f64, self.only_b as f64);
        let n = self.rows() as f64;
        // With half a row more of each.
        let (more_a, more_b, all) = (a + 0.5, b + 0.5, n + 2.0);
        let middle = (more_b - more_a) / all;
        let half = EDGE * (more_a + more_b - (more_b - more_a).powi(2) / all).sqrt() / all;
        Some(((b - a) / n, (middle - half).max(-1.0), (middle + half).min(1.0)))
    }

    /// The chance that they differ so much where both are right as often: McNemar's test, exactly.
    pub fn p(&self) -> f64 {
        let all = self.only_a + self.only_b;
        let Ok(of) = Binomial::new(0.5, all) else { return 1.0 };
        (2.0 * of.cdf(self.only_a.min(self.only_b))).min(1.0)
    }
}

/// The chance that of `now` so few are right, where they are right as often as those `before`, of both together so many being right: Fisher's
/// exact test, on one side. Each is how many are right, and of how many.
pub fn worse(before: (u64, u64), now: (u64, u64)) -> f64 {
    match Hypergeometric::new(before.1 + now.1, before.0 + now.0, now.1) {
        Ok(of) => of.cdf(now.0).min(1.0),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Noise;

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn errors_of_calibration_are_those_of_their_definitions() {
        let mut all = Answers::default();
        for (is_right, said) in [(true, 0.9), (false, 0.9), (true, 0.65), (true, 1.0), (false, 0.0)]
        {
            all.add(is_right, Some(said));
        }
        all.add(true, None);
        all.add(true, Some(f64::NAN));
        assert_eq!((all.answers, all.right, all.sure()), (7, 5, 5));
        assert!(near(all.confidence().unwrap(), 3.45 / 5.0));
        // The last bin has three answers that say 2.8 and are right twice.
        assert!(near(all.calibration_error().unwrap(), (0.8 + 0.35) / 5.0));
        assert!(near(all.brier().unwrap(), (0.01 + 0.81 + 0.35 * 0.35) / 5.0));
        let apart: f64 = 0.1 * -0.8 + -0.9 * -0.8 + 0.35 * -0.3;
        let variance: f64 = 2.0 * 0.64 * 0.09 + 0.09 * 0.65 * 0.35;
        let expected = 2.0 * Normal::standard().cdf(-(apart / variance.sqrt()).abs());
        assert!(near(all.calibration_p().unwrap(), expected));
        let mut merged = Answers::default();
        merged.merge(&all);
        merged.merge(&Answers::default());
        assert_eq!(merged, all);
        let none = Answers::default();
        assert_eq!((none.accuracy(), none.brier(), none.calibration_p()), (None, None, None));
    }

    #[test]
    fn who_says_what_is_so_is_seldom_told_to_be_off_and_who_does_not_is() {
        let told = |shift: f64| {
            let told = (0..500).filter(|seed| {
                let mut noise = Noise::new(*seed);
                let mut all = Answers::default();
                for _ in 0..400 {
                    let said = 0.5 + 0.5 * noise.uniform();
                    all.add(noise.uniform() < said - shift, Some(said));
                }
                all.calibration_p().unwrap() < 0.05
            });
            told.count()
        };
        let (none, some) = (told(0.0), told(0.1));
        assert!((10..45).contains(&none) && some > 490, "{none} {some}");
    }

    /// What is behind figures of few rows lies within their intervals as often as they say.
    #[test]
    fn intervals_of_few_rows_hold_what_is_behind_them() {
        let worlds = 400;
        for rows in [2_u64, 5, 20, 100, 1_000] {
            let (mut error, mut brier, mut f1) = (0, 0, 0);
            for seed in 0..worlds {
                let mut noise = Noise::new(17 * seed + rows);
                let mut all = Answers::default();
                let mut labels = [OfLabel::default(); 3];
                for _ in 0..rows {
                    // As sure as it should be, or 0.2 too sure.
                    let said = if noise.uniform() < 0.5 { 0.95 } else { 0.75 };
                    let is_right = noise.uniform() < if said > 0.9 { 0.95 } else { 0.55 };
                    all.add(is_right, Some(said));
                    let truth = (3.0 * noise.uniform()) as usize;
                    let answer = if is_right { truth } else { (truth + 1) % 3 };
                    labels[truth].so += 1;
                    labels[answer].answered += 1;
                    labels[answer].right += u64::from(is_right);
                }
                let found = all.calibration_error_interval();
                assert_eq!(found.is_some(), rows >= 10);
                error += u64::from(found.is_none_or(|[low, high]| low <= 0.1 && 0.1 <= high));
                let expected =
                    0.5 * (0.95 * 0.0025 + 0.05 * 0.9025) + 0.5 * (0.55 * 0.0625 + 0.45 * 0.5625);
                let of = all.brier_interval().unwrap();
                brier += u64::from(of.lower <= expected && expected <= of.upper);
                let of = macro_f1(labels.into_iter()).unwrap();
                f1 += u64::from(of.lower <= 0.75 && 0.75 <= of.upper);
            }
            let within = [error, brier, f1].map(|of| of as f64 / worlds as f64);
            assert!(within.iter().all(|of| *of >= 0.93), "{rows} rows: {within:?}");
        }
        assert_eq!(macro_f1(std::iter::empty()), None);
        let none = Answers::default();
        assert_eq!((none.calibration_error_interval(), none.brier_interval()), (None, None));
    }

    /// By statsmodels' mcnemar (exact) and scipy's fisher_exact (less).
    #[test]
    fn tests_are_those_of_others() {
        let beside = Beside { both: 10, only_a: 3, only_b: 12, neither: 5 };
        assert!(near(beside.p(), 0.03515625), "{}", beside.p());
        assert_eq!(Beside { both: 3, ..Beside::default() }.p(), 1.0);
        let (difference, lower, upper) = beside.difference().unwrap();
        assert!(
            near(difference, 0.3) && lower < 0.3 && lower > 0.0 && upper > 0.3,
            "{lower} {upper}"
        );
        assert_eq!(Beside::default().difference(), None);
        assert!(near(worse((90, 100), (20, 30)), 0.003_837_245_833_921_718_6));
        assert_eq!(worse((0, 0), (0, 10)), 1.0);
        assert_eq!(worse((10, 10), (10, 10)), 1.0);
    }
}
