//! Scores in f64, summed in one order wherever they are computed.
//!
//! Term i goes to the partial sum i % 32, in ascending order of i; the 32 sums are then added pairwise, those 16
//! apart first. A warp of a CUDA device does the same with a lane for each sum (`nearest.cu`), so that a score has the
//! same bits on every device. No product is contracted into a sum.

use super::Metric;
use crate::element::Element;
use crate::simd::{Work, vectorised};

const LANES: usize = 32;
const PART: usize = 8;

/// The score of two vectors; `factors` are the reciprocals of their norms under [`Metric::Cosine`].
pub(super) fn score<T: Element>(metric: Metric, q: &[T], x: &[T], factors: (f64, f64)) -> f64 {
    let score = match metric {
        Metric::Cosine => (vectorised(Dot(q, x)) * factors.0 * factors.1).clamp(-1.0, 1.0),
        Metric::Dot => vectorised(Dot(q, x)),
        Metric::SquaredL2 => vectorised(Squared(q, x)),
    };
    // One zero only: ties are broken by index, not by sign.
    score + 0.0
}

/// The square of a vector's norm.
pub(super) fn squared_norm<T: Element>(x: &[T]) -> f64 {
    vectorised(Dot(x, x))
}

struct Dot<'a, T>(&'a [T], &'a [T]);

impl<T: Element> Work for Dot<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        sum(self.0, self.1, |a, b| a * b)
    }
}

struct Squared<'a, T>(&'a [T], &'a [T]);

impl<T: Element> Work for Squared<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        sum(self.0, self.1, |a, b| (a - b) * (a - b))
    }
}

#[inline(always)]
fn sum<T: Element>(a: &[T], b: &[T], term: impl Fn(f64, f64) -> f64) -> f64 {
    // Arrays, and loops over all of their lanes: that is what the compiler makes vectors of.
    let mut sums = [0.0f64; LANES];
    let ((blocks_a, rest_a), (blocks_b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in blocks_a.iter().zip(blocks_b) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane].to_f64(), b[lane].to_f64());
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *sum += term(a.to_f64(), b.to_f64());
    }
    let mut last = [0.0; PART];
    for (lane, last) in last.iter_mut().enumerate() {
        let at = |part: usize| sums[part * PART + lane];
        *last = (at(0) + at(2)) + (at(1) + at(3));
    }
    ((last[0] + last[4]) + (last[2] + last[6])) + ((last[1] + last[5]) + (last[3] + last[7]))
}
