//! Centring and scaling of series, so that a coefficient is a plain inner product.
//!
//! The textbook form Σxy − n·x̄·ȳ loses all digits when the mean is large beside the spread. Here each
//! value is centred in f64 before it meets another: z = (x − x̄) / ‖x − x̄‖, and r = z·z'. The mean is
//! corrected by the mean of its residuals, after Chan, Golub & LeVeque, "Algorithms for Computing the
//! Sample Variance", The American Statistician 37(3), 1983, eq. 1.7.

use rayon::prelude::*;

use crate::element::Element;
use crate::simd::{Work, vectorised};
use crate::stats::Exclusion;
use crate::view::MatrixView;

/// What centring and scaling one series needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normal {
    /// A power of two that keeps squares in range; 1 but for extreme values.
    scale: f64,
    /// Mean of the scaled values.
    mean: f64,
    /// Reciprocal of the norm of the centred values; 0 for a series that is left out.
    factor: f64,
    /// Why the series is left out.
    pub(super) exclusion: Option<Exclusion>,
}

impl Normal {
    /// Of one series.
    pub(super) fn of<T: Element>(row: &[T]) -> Self {
        vectorised(Measure(row))
    }

    /// Of a series that is left out.
    #[inline(always)]
    pub(super) fn left_out(exclusion: Exclusion) -> Self {
        Self { scale: 1.0, mean: 0.0, factor: 0.0, exclusion: Some(exclusion) }
    }

    /// The centred, scaled value.
    #[inline(always)]
    pub(super) fn apply<T: Element>(&self, value: T) -> f64 {
        // An excluded series may hold NaN and infinities: its zeros are made without arithmetic.
        if self.factor == 0.0 {
            0.0
        } else {
            (value.to_f64() * self.scale - self.mean) * self.factor
        }
    }

    #[inline(always)]
    fn compute<T: Element>(row: &[T]) -> Self {
        let first = row.first().map_or(0.0, |value| value.to_f64());
        let (mut sum, mut poison) = ([0.0; LANES], [0.0; LANES]);
        let (mut low, mut high) = ([first; LANES], [first; LANES]);
        each_lane(row, |lane, value| {
            sum[lane] += value;
            poison[lane] += value * 0.0;
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] { value } else { high[lane] };
        });
        if total(&poison) != 0.0 {
            return Self::left_out(Exclusion::NotFinite);
        }
        let low = low.iter().copied().fold(first, f64::min);
        let high = high.iter().copied().fold(first, f64::max);
        if low == high {
            return Self::left_out(Exclusion::Constant);
        }
        let size = low.abs().max(high.abs());
        let count = row.len() as f64;
        let (scale, mut mean) = if (1e-100..=1e100).contains(&size) {
            (1.0, total(&sum) / count)
        } else {
            // 2^-e, in two halves where one factor would not be a normal number.
            let scale = 2f64.powi((-size.log2().floor() as i32).clamp(-1000, 1000));
            let mut sum = [0.0; LANES];
            each_lane(row, |lane, value| sum[lane] += value * scale);
            (scale, total(&sum) / count)
        };
        // Both sums in one pass: what the mean was off by leaves the squares, too, while it is little of them.
        let (residual, mut squares) = moments(row, scale, mean);
        let shift = residual / count;
        mean += shift;
        let excess = shift * shift * count;
        if excess < 1e-4 * squares {
            squares -= excess;
        } else {
            squares = moments(row, scale, mean).1;
        }
        if squares > 0.0 {
            Self { scale, mean, factor: 1.0 / squares.sqrt(), exclusion: None }
        } else {
            // The spread is below what doubles resolve beside the mean.
            Self::left_out(Exclusion::Constant)
        }
    }
}

struct Measure<'a, T>(&'a [T]);

impl<T: Element> Work for Measure<'_, T> {
    type Output = Normal;

    #[inline(always)]
    fn run(self) -> Normal {
        Normal::compute(self.0)
    }
}

/// Of every row, and how many rows are left out.
pub(super) fn normals<T: Element>(view: MatrixView<'_, T>) -> Vec<Normal> {
    (0..view.rows()).into_par_iter().map(|row| Normal::of(view.row(row))).collect()
}

/// Rows that are left out, with the reason.
pub(super) fn excluded(normals: &[Normal]) -> Vec<(usize, Exclusion)> {
    normals.iter().enumerate().filter_map(|(row, normal)| Some((row, normal.exclusion?))).collect()
}

/// Independent sums, so that the compiler may use vectors and rounding errors grow with n / 8.
const LANES: usize = 8;

#[inline(always)]
fn each_lane<T: Element>(row: &[T], mut visit: impl FnMut(usize, f64)) {
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, value) in chunk.iter().enumerate() {
            visit(lane, value.to_f64());
        }
    }
    for (lane, value) in chunks.remainder().iter().enumerate() {
        visit(lane, value.to_f64());
    }
}

/// The sums of the scaled values less `mean`, and of their squares.
#[inline(always)]
fn moments<T: Element>(row: &[T], scale: f64, mean: f64) -> (f64, f64) {
    let (mut sum, mut squares) = ([0.0; LANES], [0.0; LANES]);
    each_lane(row, |lane, value| {
        let centred = value * scale - mean;
        sum[lane] += centred;
        squares[lane] += centred * centred;
    });
    (total(&sum), total(&squares))
}

fn total(lanes: &[f64; LANES]) -> f64 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6]))
        + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_that_is_no_binary_fraction_is_constant() {
        assert_eq!(Normal::of(&[0.1f64; 1001]).exclusion, Some(Exclusion::Constant));
        assert_eq!(Normal::of(&[0.1f32; 1001]).exclusion, Some(Exclusion::Constant));
    }

    #[test]
    fn nan_and_infinities_leave_a_series_out() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for place in [0, 5, 16] {
                let mut row = [1.0, 2.0, 3.0].repeat(6);
                row[place] = bad;
                let normal = Normal::of(&row);
                assert_eq!(normal.exclusion, Some(Exclusion::NotFinite));
                assert_eq!(normal.apply(bad), 0.0);
            }
        }
    }

    #[test]
    fn extreme_values_are_scaled_into_range() {
        for size in [f64::MAX, 1e300, 1e200, 1e-200, 1e-307, f64::MIN_POSITIVE / 1e9] {
            let row = [size, -size, size * 0.5, 0.0, size];
            let normal = Normal::of(&row);
            assert_eq!(normal.exclusion, None, "{size:e}");
            let norm: f64 = row.iter().map(|&v| normal.apply(v).powi(2)).sum();
            assert!((norm - 1.0).abs() < 1e-6, "{size:e}: {norm}");
        }
    }
}
