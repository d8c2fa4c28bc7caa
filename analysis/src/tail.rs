//! Whether the largest of many values are larger than the others make plausible, as a score that means the same of all kinds of values.
//!
//! ```text
//!   y₁ ≥ y₂ ≥ … ≥ y_n
//!   └─ J may be unusual ─┘ y_{J+1} … y_{J+k+1}  say what is usual
//!   β = mean of i · (y_i − y_{i+1}), J < i ≤ J + k   the scale of an exponential tail (Rényi, "On the theory of order statistics", 1953)
//!   p = J · (1 + t/k)^−k,  t = (y − y_{J+1} − s) / β  an exponential excess over a scale that is itself estimated; s: the largest step
//! ```
//!
//! Given y_{J+1}, the excesses of those above it are independent and exponential, whatever is below; their ratio to a mean of k such
//! values is Lomax distributed. The score, −log₁₀ p, is how rarely there is such a value at all where nothing is unusual. A tail that is
//! lighter makes it less; one that is heavier is to be compressed before. Values that are counted come in steps: y_{J+1} may lie a step
//! below what it would be without, so the largest step between those that say what is usual is taken off. Values without steps lose
//! about β/J by it.

/// Fewer different values than this say nothing of how a tail falls.
const DIFFERENT_MIN: usize = 3;

/// How many values say what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// J: of the largest that many may be unusual; 1 or more.
    pub unusual_max: usize,
    /// k: that many spacings below them say what is usual; 1 or more.
    pub spacings: usize,
}

impl Ranks {
    /// Values that are needed.
    pub fn needed(&self) -> usize {
        self.unusual_max + self.spacings + 1
    }
}

/// The tail of values of which the largest may be unusual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    ranks: Ranks,
    /// y_{J+1} + s.
    usual: f64,
    /// β.
    scale: f64,
}

impl Tail {
    /// Of the largest values in descending order, `ranks.needed()` of them or more. The scale is `scale_min` at least, in the values'
    /// unit. `None` of too few values or too few different ones.
    pub fn of(descending: &[f64], ranks: Ranks, scale_min: f64) -> Option<Self> {
        let usual = descending.get(ranks.unusual_max..ranks.needed())?;
        let steps = || usual.windows(2).map(|pair| pair[0] - pair[1]);
        if steps().filter(|step| *step > 0.0).count() + 1 < DIFFERENT_MIN {
            return None;
        }
        let scaled =
            steps().enumerate().map(|(at, step)| (ranks.unusual_max + 1 + at) as f64 * step);
        let scale = scaled.sum::<f64>() / ranks.spacings as f64;
        let step = steps().fold(0.0, f64::max);
        Some(Self { ranks, usual: usual[0] + step, scale: scale.max(scale_min) })
    }

    /// What is usual begins at `usual` at least, where steps are known that the values do not show.
    pub fn from(self, usual: f64) -> Self {
        Self { usual: self.usual.max(usual), ..self }
    }

    /// −log₁₀ of how often there is such a value where nothing is unusual; less than 0 where one is expected.
    pub fn score(&self, value: f64) -> f64 {
        let spacings = self.ranks.spacings as f64;
        let excess = ((value - self.usual) / self.scale).max(0.0);
        spacings * (1.0 + excess / spacings).log10() - (self.ranks.unusual_max as f64).log10()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Noise, testing};

    const RANKS: Ranks = Ranks { unusual_max: 10, spacings: 50 };

    fn exponential(noise: &mut Noise, count: usize) -> Vec<f64> {
        let mut values: Vec<f64> = (0..count).map(|_| testing::exponential(noise)).collect();
        values.sort_unstable_by(|a, b| b.total_cmp(a));
        values
    }

    #[test]
    fn a_score_is_how_often_exponential_values_have_such_a_one() {
        let mut noise = Noise::new(3);
        let mut beyond = [0; 2];
        for _ in 0..4_000 {
            let values = exponential(&mut noise, 400);
            let score = Tail::of(&values, RANKS, 0.0).unwrap().score(values[0]);
            beyond[0] += usize::from(score >= 1.0);
            beyond[1] += usize::from(score >= 2.0);
        }
        // 400 and 40, less by the step and since more than one may be beyond.
        assert!((250..400).contains(&beyond[0]), "{beyond:?}");
        assert!((20..48).contains(&beyond[1]), "{beyond:?}");
    }

    #[test]
    fn by_hand() {
        // 9, then 4, 3, 2, 1, 0: spacings 1·2, 1·3, 1·4, 1·5; the step is 1.
        let values = [9.0, 4.0, 3.0, 2.0, 1.0, 0.0];
        let ranks = Ranks { unusual_max: 1, spacings: 4 };
        let tail = Tail::of(&values, ranks, 0.0).unwrap();
        assert!((tail.score(9.0) - 4.0 * (1.0 + 4.0 / 3.5 / 4.0_f64).log10()).abs() < 1e-12);
        assert_eq!(tail.score(3.0), 0.0);
        let tail = Tail::of(&values, ranks, 7.0).unwrap();
        assert!((tail.score(9.0) - 4.0 * (1.0 + 4.0 / 7.0 / 4.0_f64).log10()).abs() < 1e-12);
    }

    #[test]
    fn few_values_and_few_different_ones_have_no_tail() {
        let mut noise = Noise::new(4);
        let values = exponential(&mut noise, 61);
        assert!(Tail::of(&values, RANKS, 0.0).is_some());
        assert_eq!(Tail::of(&values[..60], RANKS, 0.0), None);
        let of_width =
            |width: i32| -> Vec<f64> { (0..61).map(|at| f64::from(-(at / width))).collect() };
        // 0 to 10 are not looked at: then 10 to 60 are 0 and 1, and 0 to 2.
        assert_eq!(Tail::of(&of_width(31), RANKS, 0.0), None);
        assert!(Tail::of(&of_width(25), RANKS, 0.0).is_some());
    }

    #[test]
    fn unusual_values_do_not_change_what_is_usual() {
        let values = exponential(&mut Noise::new(5), 400);
        let mut other = values.clone();
        other[..10].fill(1e9);
        assert_eq!(Tail::of(&values, RANKS, 0.0), Tail::of(&other, RANKS, 0.0));
    }
}
