//! The hash functions of a signature.
//!
//! Function k maps a shingle's 64-bit hash, as two halves, to `a_k · low + high` modulo 2³². For a shingle whose
//! hash is uniform each value is uniform. Two functions i ≠ j differ by `(a_i − a_j) · low`; the low bits of a_k are k
//! itself, so that at most ⌈log₂ K⌉ − 1 factors 2 are in the difference, and the upper 32 − ⌈log₂ K⌉ bits of the two
//! values, which decide which shingle is least, are independent. So every function agrees for two texts with the
//! probability J, and the share of K that agree has the variance J·(1 − J)/K.
//!
//! One function whose values are sorted into K bins (Shrivastava, "Optimal densification for fast and accurate minwise
//! hashing", 2017) would cost a K-th. It is not here: a text with fewer shingles than bins, as messages and log lines
//! are, fills most bins with copies, and then whole bands agree or differ together.

use super::shingle::splitmix;
use crate::simd::{self, Work};

/// Functions that are computed together; coefficients are filled up to a multiple.
pub(super) const LANES: usize = 64;

/// Coefficients of `functions` functions, filled up with zeros.
pub(super) fn coefficients(functions: usize, seed: u64) -> Vec<u32> {
    // Not the numbers that the shingles' keys are.
    let mut state = seed ^ 0x6d69_6e68_6173_685f;
    let bits = functions.next_power_of_two().trailing_zeros();
    let mut coefficients: Vec<u32> =
        (0..functions as u32).map(|k| ((splitmix(&mut state) as u32) << bits) | k).collect();
    coefficients.resize(functions.next_multiple_of(LANES), 0);
    coefficients
}

/// Lowers `minima` to the values of `hashes`. Both lists of functions are of one length, a multiple of [`LANES`].
pub(super) fn lower(coefficients: &[u32], minima: &mut [u32], hashes: &[u64]) {
    simd::vectorised(Lower { coefficients, minima, hashes });
}

struct Lower<'a> {
    coefficients: &'a [u32],
    minima: &'a mut [u32],
    hashes: &'a [u64],
}

impl Work for Lower<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (coefficients, _) = self.coefficients.as_chunks::<LANES>();
        let (minima, _) = self.minima.as_chunks_mut::<LANES>();
        for (a, minima) in coefficients.iter().zip(minima) {
            let mut least = *minima;
            for &hash in self.hashes {
                let (low, high) = (hash as u32, (hash >> 32) as u32);
                for (least, a) in least.iter_mut().zip(a) {
                    *least = (*least).min(a.wrapping_mul(low).wrapping_add(high));
                }
            }
            *minima = least;
        }
    }
}
