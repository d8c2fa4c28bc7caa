//! Which coefficient, and what becomes of missing values.

use super::OPERATION;
use crate::error::{Error, Result};

/// The coefficient of two series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coefficient {
    /// Pearson's, of the values.
    #[default]
    Pearson,
    /// Spearman's: Pearson's of the ranks; equal values share the mean of their ranks.
    /// (C. Spearman, "The Proof and Measurement of Association between Two Things", 1904)
    Spearman,
}

/// What becomes of a series that holds a NaN or an infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// It is left out.
    #[default]
    LeaveOut,
    /// Each pair is compared over the samples that both series have. Pearson's coefficient only: ranks would be
    /// others for every pair.
    Pairwise {
        /// The least samples that a pair must share, 2 or more; one that shares fewer has no coefficient.
        min_overlap: usize,
    },
}

/// What [`correlate_with`](super::correlate_with) computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CorrelateOptions {
    /// The coefficient.
    pub coefficient: Coefficient,
    /// Missing values.
    pub missing: Missing,
}

impl CorrelateOptions {
    /// Spearman's coefficient.
    pub fn spearman() -> Self {
        Self { coefficient: Coefficient::Spearman, ..Self::default() }
    }

    /// Pearson's coefficient over the samples that both series of a pair have, at least `min_overlap`.
    pub fn pairwise(min_overlap: usize) -> Self {
        Self { missing: Missing::Pairwise { min_overlap }, ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<()> {
        let Missing::Pairwise { min_overlap } = self.missing else {
            return Ok(());
        };
        if self.coefficient == Coefficient::Spearman {
            return Err(Error::Option {
                operation: OPERATION,
                option: "missing",
                found: "pairwise for Spearman's coefficient".into(),
                expected: "its ranks need whole series: leave the others out".into(),
            });
        }
        if min_overlap < 2 {
            return Err(Error::Option {
                operation: OPERATION,
                option: "min_overlap",
                found: min_overlap.to_string(),
                expected: "at least 2 samples are needed".into(),
            });
        }
        Ok(())
    }
}
