//! Where similar pairs go.

use crate::error::{Error, Result};

/// Two similar texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimilarPair {
    /// Row of the first text.
    pub first: usize,
    /// Row of the second text, larger than `first`.
    pub second: usize,
    /// The Jaccard similarity of their sets of shingles, the threshold to 1.
    pub jaccard: f64,
}

/// A taker of similar pairs.
pub trait SimilarSink: Send {
    /// Takes pairs. Each pair comes once; the order is not fixed. An error stops the operation.
    fn take(&mut self, pairs: &[SimilarPair]) -> Result<()>;
}

/// Keeps all pairs, up to a limit.
#[derive(Debug, Clone)]
pub struct SimilarPairs {
    limit: usize,
    pairs: Vec<SimilarPair>,
}

impl SimilarPairs {
    /// Pairs kept at most, unless told otherwise.
    pub const DEFAULT_LIMIT: usize = 10_000_000;

    /// Keeps up to [`DEFAULT_LIMIT`](Self::DEFAULT_LIMIT) pairs.
    pub fn new() -> Self {
        Self { limit: Self::DEFAULT_LIMIT, pairs: Vec::new() }
    }

    /// Fails the operation beyond `limit` pairs.
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// The pairs, by first and then by second row.
    pub fn into_pairs(mut self) -> Vec<SimilarPair> {
        self.pairs.sort_unstable_by_key(|pair| (pair.first, pair.second));
        self.pairs
    }
}

impl Default for SimilarPairs {
    fn default() -> Self {
        Self::new()
    }
}

impl SimilarSink for SimilarPairs {
    fn take(&mut self, pairs: &[SimilarPair]) -> Result<()> {
        if self.pairs.len().saturating_add(pairs.len()) > self.limit {
            return Err(Error::LimitExceeded {
                operation: super::OPERATION,
                what: "pairs reach the threshold",
                limit: self.limit,
                advice: "raise the threshold or the limit",
            });
        }
        self.pairs.extend_from_slice(pairs);
        Ok(())
    }
}
