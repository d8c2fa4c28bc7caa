//! Distances in f64, in one order of summation, and what brings rows into the range of the screen.
//!
//! ```text
//!   columns   0 1 2 … 7 │ 8 9 … 15 │ …        lane l sums columns l, l + 8, l + 16, …
//!   lanes     0 1 2 … 7                       then 0+4, 1+5, 2+6, 3+7; 0+2, 1+3; 0+1
//! ```
//! The same order on every processor and device, so that equal distances are equal everywhere.

use crate::element::Element;
use crate::simd::{Work, vectorised};

use super::LARGEST;

/// Partial sums of a distance.
const LANES: usize = 8;
/// The most rows in a panel of any kernel.
pub(super) const MOST_LANES: usize = 32;

/// Σ(x − c)².
#[inline(always)]
pub(super) fn squared<T: Element>(x: &[T], centre: &[f64]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (mut xs, mut cs) = (x.chunks_exact(LANES), centre.chunks_exact(LANES));
    for (x, c) in (&mut xs).zip(&mut cs) {
        for lane in 0..LANES {
            let difference = x[lane].to_f64() - c[lane];
            sums[lane] += difference * difference;
        }
    }
    for (sum, (x, c)) in sums.iter_mut().zip(xs.remainder().iter().zip(cs.remainder())) {
        let difference = x.to_f64() - c;
        *sum += difference * difference;
    }
    let four = [sums[0] + sums[4], sums[1] + sums[5], sums[2] + sums[6], sums[3] + sums[7]];
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Whether squares of all values can be summed.
pub(super) fn is_usable<T: Element>(row: &[T]) -> bool {
    vectorised(Usable { row })
}

struct Usable<'a, T> {
    row: &'a [T],
}

impl<T: Element> Work for Usable<'_, T> {
    type Output = bool;

    /// Without a way out in the middle, which would keep it from being vectorised.
    #[inline(always)]
    fn run(self) -> bool {
        self.row.iter().fold(true, |usable, value| usable & (value.to_f64().abs() <= LARGEST))
    }
}

/// The centre nearest to a row, by its index; the lower of two as near.
pub(super) struct Nearest<'a, T> {
    pub(super) x: &'a [T],
    pub(super) centres: &'a [f64],
}

impl<T: Element> Work for Nearest<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        let mut best = (f64::INFINITY, 0);
        for (index, centre) in self.centres.chunks_exact(self.x.len()).enumerate() {
            let distance = squared(self.x, centre);
            if distance < best.0 {
                best = (distance, index as u32);
            }
        }
        best.1
    }
}

/// Moves and scales rows, so that their squares neither cancel nor overflow in the screen.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The mean of every column over the usable rows.
    pub(super) means: Vec<f64>,
    /// A power of two that brings every row's length to at most 1.
    pub(super) scale: f64,
    /// The mean of the columns' variances.
    pub(super) variance: f64,
}

impl Frame {
    /// The scale for rows of at most this squared length.
    pub(super) fn scale_for(largest_squared: f64) -> f64 {
        if largest_squared > 0.0 {
            // Beyond 2^±1000 the scale itself would not be a number; no row is that long, and shorter ones are equal.
            let exponent = (0.5 * largest_squared.log2()).ceil() + 1.0;
            (-exponent.clamp(-1000.0, 1000.0)).exp2()
        } else {
            1.0
        }
    }

    /// One value in the frame.
    #[inline(always)]
    pub(super) fn apply<T: Element>(value: T, mean: f64, scale: f64) -> T {
        T::from_f64((value.to_f64() - mean) * scale)
    }
}

/// Brings a row into the frame, and gives its squared length there.
pub(super) struct IntoFrame<'a, T> {
    pub(super) x: &'a [T],
    pub(super) frame: &'a Frame,
    pub(super) framed: &'a mut [T],
}

impl<T: Element> Work for IntoFrame<'_, T> {
    type Output = f64;

    /// Two loops: as one, the compiler takes it apart value by value.
    #[inline(always)]
    fn run(self) -> f64 {
        let Self { x, frame, framed } = self;
        for ((framed, &value), &mean) in framed.iter_mut().zip(x).zip(&frame.means) {
            *framed = Frame::apply(value, mean, frame.scale);
        }
        let mut squares = [0.0f64; LANES];
        let (parts, rest) = framed.as_chunks::<LANES>();
        for part in parts {
            for (square, value) in squares.iter_mut().zip(part) {
                *square += value.to_f64() * value.to_f64();
            }
        }
        for (square, value) in squares.iter_mut().zip(rest) {
            *square += value.to_f64() * value.to_f64();
        }
        squares.iter().sum()
    }
}
