//! How far the products of `assign` may be off.
//!
//! **float.** Let n = 2⁻²⁴, and let x, c be a row and a centre in the frame, as numbers in f64. `assign` computes
//! v = low − 2p from p ≈ x·c. What p may be off, as multiples of Σ|xᵢcᵢ| ≤ ‖x‖‖c‖:
//!
//! ```text
//!   2 n                 both are rounded to float
//!   3.02 · 2⁻¹⁸         z = high + low + rest with |z − high| ≤ 2⁻⁹|z|, |rest| ≤ 2⁻⁹|z − high|: what low · low, which
//!                       is left out, and the two rests may come to
//!   18.5 · 2⁻²²         the tensor cores: an instruction loses less than 18 · 2⁻²² of the magnitudes of its terms, twice
//!                       what 17 terms and their sum lose that are cut off below the last bit of the largest. Of the
//!                       three of a step, which begin at 0, the first two have terms of 2⁻⁹ of those of the third
//!   (cols/16 + 1) n     the sum of the steps in float
//!   n                   v, which is rounded once more
//! ```
//! Together less than (272 + cols/15.7) n; [`Bounds`] takes (280 + cols/15) n, and what is to spare stands for ‖c‖² in float
//! (2n‖c‖²), and for the distances in f64 that the proof is about. With b = (280 + cols/15) n, with low = ‖c‖²(1 − b/t), and
//! with 2‖x‖‖c‖ ≤ t‖x‖² + ‖c‖²/t for every t > 0:
//!
//! ```text
//!   v − b·t‖x‖²  ≤  ‖c‖² − 2·x·c  ≤  v + b·t‖x‖² + 2b‖c‖²/t
//! ```
//! So least + 2b·t‖x‖² + 2b‖c‖²/t < second proves a label. The best t is ‖c‖/‖x‖: that of the means of their squares is taken,
//! as centres are shorter than rows where clusters overlap.
//!
//! **double.** One chain of sums; t = 1.

use super::super::screen::underflow;
use crate::element::Element;

/// The least t. From there on the bound would grow more with some centres than it falls with most.
const LEAST_RATIO: f64 = 1.0 / 32.0;

/// What `assign` proves labels with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Of a row's squared length.
    pub(super) rows: f64,
    /// Of a centre's squared length.
    pub(super) centres: f64,
    /// The share of a centre's squared length that its `low` is below it.
    pub(super) lowered: f64,
    /// What underflow takes.
    pub(super) least: f64,
}

impl Bounds {
    /// For rows and centres of these mean squared lengths.
    pub(super) fn new<T: Element>(cols: usize, mean_row: f64, mean_centre: f64) -> Self {
        let n = f64::from(f32::EPSILON) / 2.0;
        let is_single = size_of::<T>() == size_of::<f32>();
        let bound = if is_single {
            (280.0 + cols as f64 / 15.0) * n
        } else {
            (cols + cols / 2 + 40) as f64 * f64::EPSILON / 2.0
        };
        let ratio = (mean_centre / mean_row).sqrt();
        let ratio =
            if is_single && ratio.is_finite() { ratio.clamp(LEAST_RATIO, 1.0) } else { 1.0 };
        Self {
            rows: 2.0 * bound * ratio,
            centres: 2.0 * bound / ratio,
            lowered: bound / ratio,
            // Of float three products, and their small factors, may each be lost.
            least: underflow::<T>(cols) * if is_single { 4.0 } else { 1.0 },
        }
    }
}
