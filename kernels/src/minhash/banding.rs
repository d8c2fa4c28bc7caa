//! Which pairs become candidates.
//!
//! A signature is cut into bands of a few values; two texts are candidates where all values of a band agree. With r
//! values in each of b bands, a pair of similarity s is a candidate with probability 1 − (1 − sʳ)ᵇ (Leskovec,
//! Rajaraman & Ullman, "Mining of Massive Datasets", 3.4), a step that is the steeper the longer the signature.

use super::OPERATION;
use crate::error::{Error, Result};

/// Bands of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Banding {
    /// Number of bands.
    pub bands: usize,
    /// Values in each.
    pub rows: usize,
}

impl Banding {
    /// The fewest candidates for which a pair of similarity `threshold` is missed with a probability of at most
    /// `miss`: the most rows for which `functions` / rows bands are enough. More similar pairs are missed more rarely.
    ///
    /// Fails on a threshold or a miss that is not above 0 and at most 1, and where even bands of one value miss more.
    ///
    /// ```
    /// use kernels::minhash::Banding;
    ///
    /// let banding = Banding::for_threshold(0.8, 128, 0.01)?;
    /// assert_eq!(banding, Banding { bands: 21, rows: 6 });
    /// assert!(1.0 - banding.probability(0.8) <= 0.01);
    /// # Ok::<(), kernels::Error>(())
    /// ```
    pub fn for_threshold(threshold: f64, functions: usize, miss: f64) -> Result<Self> {
        for (option, value) in [("threshold", threshold), ("miss", miss)] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(Error::Option {
                    operation: OPERATION,
                    option,
                    found: value.to_string(),
                    expected: "it must be above 0 and at most 1".into(),
                });
            }
        }
        (1..=functions)
            .rev()
            .map(|rows| Self { bands: functions / rows, rows })
            .find(|banding| 1.0 - banding.probability(threshold) <= miss)
            .ok_or_else(|| Error::Option {
                operation: OPERATION,
                option: "miss",
                found: miss.to_string(),
                expected: format!(
                    "{functions} functions miss a pair of similarity {threshold} with a probability of at least {:.1e}",
                    (1.0 - threshold).powf(functions as f64)
                ),
            })
    }

    /// The probability that a pair of a similarity is a candidate.
    pub fn probability(&self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powf(self.rows as f64)).powf(self.bands as f64)
    }

    /// The values of one band in a signature.
    #[inline(always)]
    pub(super) fn band<'a>(&self, signature: &'a [u32], band: usize) -> &'a [u32] {
        signature.get(band * self.rows..(band + 1) * self.rows).unwrap_or(&[])
    }

    pub(super) fn check(&self, functions: usize) -> Result<()> {
        let needed = self.bands.checked_mul(self.rows);
        if needed.is_some_and(|needed| (1..=functions).contains(&needed)) {
            return Ok(());
        }
        Err(Error::Option {
            operation: OPERATION,
            option: "banding",
            found: format!("{} bands of {} rows", self.bands, self.rows),
            expected: format!("both must be at least 1 and their product at most {functions}"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_most_rows_that_keep_the_promise_are_taken() {
        for (threshold, functions, miss) in [(0.5, 128, 0.05), (0.9, 256, 0.001), (0.3, 64, 0.01)] {
            let banding = Banding::for_threshold(threshold, functions, miss).unwrap();
            assert!(1.0 - banding.probability(threshold) <= miss, "{banding:?}");
            let more = Banding { bands: functions / (banding.rows + 1), rows: banding.rows + 1 };
            assert!(1.0 - more.probability(threshold) > miss, "{more:?}");
        }
    }

    #[test]
    fn what_can_not_be_kept_is_said() {
        let error = Banding::for_threshold(0.1, 4, 0.01).unwrap_err();
        assert_eq!(
            error.to_string(),
            "minhash: miss is 0.01; 4 functions miss a pair of similarity 0.1 with a probability of at least 6.6e-1"
        );
        for (threshold, miss) in [(0.0, 0.1), (1.1, 0.1), (f64::NAN, 0.1), (0.5, 0.0)] {
            assert!(Banding::for_threshold(threshold, 64, miss).is_err());
        }
    }
}
