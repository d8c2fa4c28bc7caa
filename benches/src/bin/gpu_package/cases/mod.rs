//! The operations at the sizes that the product is meant for.

mod correlate;
mod forecast;
mod isolation_forest;
mod kmeans;
mod matrix_profile;
mod minhash;
mod nearest;
mod rolling;

use kernels::{Execution, Result, Stats};

use crate::agreement::Agreement;

/// An operation with its input, which is made before any clock runs.
pub trait Case {
    /// Its shape, in words.
    fn size(&self) -> String;

    /// Runs it once and keeps the result.
    fn run(&mut self, execution: &Execution) -> Result<Round>;

    /// Compares a sample of the last result with the processor's or with its definition, within `kernels::tolerance`.
    fn compare(&self) -> Result<Agreement>;
}

/// What one run did.
pub struct Round {
    pub stats: Stats,
    /// Times of its parts, for the document.
    pub parts: Vec<(&'static str, f64)>,
    /// Of how many of what `fallbacks` were computed a second time, where that can happen.
    pub fallbacks_of: Option<(u64, &'static str)>,
    /// Kernels of parts that `stats` does not cover.
    pub other_kernel_seconds: f64,
}

impl Round {
    fn of(stats: Stats) -> Self {
        Self { stats, parts: Vec::new(), fallbacks_of: None, other_kernel_seconds: 0.0 }
    }

    fn with_fallbacks_of(self, count: u64, of: &'static str) -> Self {
        Self { fallbacks_of: Some((count, of)), ..self }
    }

    pub fn kernel_seconds(&self) -> f64 {
        self.stats.kernel_seconds + self.other_kernel_seconds
    }
}

/// A time that the product has to reach at scale 1.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub seconds: f64,
    /// What it is for.
    pub of: &'static str,
}

/// A case before it has its input.
pub struct Entry {
    pub name: &'static str,
    pub what: &'static str,
    pub goal: Option<Goal>,
    /// Makes it, with its sizes divided by a scale as far as that makes sense.
    pub make: fn(scale: usize) -> Box<dyn Case>,
}

const fn goal(seconds: f64, of: &'static str) -> Option<Goal> {
    Some(Goal { seconds, of })
}

/// Every case. Their names begin with that of the operation.
pub const ALL: &[Entry] = &[
    Entry {
        name: "correlate",
        what: "Pearson f32, the 100 strongest pairs, no floor to begin with",
        goal: goal(0.150, "4,096 x 1,048,576 at fp32 accuracy"),
        make: correlate::strongest,
    },
    Entry {
        name: "correlate_screened",
        what: "Pearson f32, planted pairs of at least 0.5, screened on tensor cores",
        goal: goal(0.037, "4,096 x 1,048,576 at the stated precision"),
        make: correlate::screened,
    },
    Entry {
        name: "rolling",
        what: "rolling median and MAD f32",
        goal: goal(0.020, "100,000 x 8,760, window 168"),
        make: rolling::make,
    },
    Entry {
        name: "nearest",
        what: "the ten nearest of each row by cosine, f32",
        goal: goal(1.6, "certified top 10 of 1,000,000 x 1,000,000 x 384"),
        make: nearest::make,
    },
    Entry {
        name: "forecast",
        what: "AutoETS f32, season 12",
        goal: goal(0.5, "AutoETS of 100,000 x 1,024"),
        make: forecast::make,
    },
    Entry {
        name: "matrix_profile",
        what: "self-join f32",
        goal: goal(1.4, "1,000,000 points"),
        make: matrix_profile::make,
    },
    Entry { name: "minhash", what: "signatures", goal: None, make: minhash::make },
    Entry {
        name: "kmeans",
        what: "k-means f32, 10 iterations from sampled rows",
        goal: None,
        make: kmeans::make,
    },
    Entry {
        name: "isolation_forest",
        what: "isolation forest f32, fit and score",
        goal: goal(0.050, "fit and score of 10,000,000 x 16"),
        make: isolation_forest::make,
    },
];
