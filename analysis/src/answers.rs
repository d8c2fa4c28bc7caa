//! How often a model is right, whether that is as often as it says, and which of two is right more often: on what people know.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Hypergeometric, Normal};

use crate::trial::{Rate, wilson};

/// Bins of confidence, each as wide.
pub const BINS: usize = 10;
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
