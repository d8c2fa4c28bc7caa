//! What a join needs to know of every window of a series, computed once.
//!
//! ```text
//!   values   v[0 … n)       f64, scaled into ±4 around median 0; a missing sample repeats the one before it
//!   mean     [0 … w)        w = n − m + 1 windows
//!   inverse  [0 … w)        1 / ‖v[i..i+m] − mean‖; NaN for a window that is constant or holds a missing sample
//!   df, dg   [0 … w)        the step of the covariance from window i to i + 1
//! ```
//! All are followed by [`PAD`] more, so that lanes beyond the last window read NaN and never a neighbour.

use rayon::prelude::*;

use super::OPERATION;
use crate::budget::zeroed;
use crate::element::Element;
use crate::error::Result;
use crate::progress::Control;
use crate::simd::{Work, vectorised};

/// Entries behind the last window, of no meaning.
pub(super) const PAD: usize = 64;
/// Windows whose moments are summed side by side.
const LANES: usize = 32;

/// What a window can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// By its shape.
    Regular,
    /// All its values are the same: it has no shape.
    Constant,
    /// It holds a NaN or an infinity.
    NotFinite,
}

pub(super) struct Windows {
    /// Samples of a window.
    pub(super) size: usize,
    /// Number of windows.
    pub(super) len: usize,
    pub(super) values: Vec<f64>,
    pub(super) mean: Vec<f64>,
    pub(super) inverse: Vec<f64>,
    pub(super) df: Vec<f64>,
    pub(super) dg: Vec<f64>,
    pub(super) kind: Vec<Kind>,
    /// Samples that are NaN or infinite.
    pub(super) missing: u64,
}

impl Windows {
    /// Bytes for a series of `samples`.
    pub(super) fn bytes(samples: usize, size: usize) -> usize {
        let windows = samples.saturating_sub(size) + 1;
        (samples + PAD + 4 * (windows + PAD)) * size_of::<f64>() + windows
    }

    /// There must be at least one window.
    pub(super) fn new<T: Element>(x: &[T], size: usize, control: &Control) -> Result<Self> {
        let len = x.len() + 1 - size;
        let mut windows = Self {
            size,
            len,
            values: zeroed(OPERATION, x.len() + PAD)?,
            mean: zeroed(OPERATION, len + PAD)?,
            inverse: zeroed(OPERATION, len + PAD)?,
            df: zeroed(OPERATION, len + PAD)?,
            dg: zeroed(OPERATION, len + PAD)?,
            kind: vec![Kind::Regular; len],
            missing: 0,
        };
        windows.load(x);
        windows.find_kinds(x);
        windows.sum(control)?;
        Ok(windows)
    }

    /// Brings the values into ±4 by a power of two and a shift, which no correlation sees: nothing overflows, and a
    /// large offset cancels where it costs no digit. The shift is the median, because a mean follows a spike, and
    /// the offset it leaves elsewhere would be multiplied by that spike.
    fn load<T: Element>(&mut self, x: &[T]) {
        let finite = || x.iter().map(|value| value.to_f64()).filter(|value| value.is_finite());
        let largest = finite().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let scale = match largest {
            0.0 => 1.0,
            _ => (-largest.log2().floor()).clamp(-1000.0, 1000.0).exp2(),
        };
        let mut count = 0;
        for (to, value) in self.values.iter_mut().zip(finite()) {
            *to = value * scale;
            count += 1;
        }
        self.missing = (x.len() - count) as u64;
        let mut median = 0.0;
        if count > 0 {
            median = *self.values[..count].select_nth_unstable_by(count / 2, f64::total_cmp).1;
        }
        let mut last = 0.0;
        for (to, from) in self.values.iter_mut().zip(x) {
            let value = from.to_f64();
            if value.is_finite() {
                last = value * scale - median;
            }
            *to = last;
        }
    }

    fn find_kinds<T: Element>(&mut self, x: &[T]) {
        let (mut run, mut after_missing) = (0, 0);
        for (end, value) in x.iter().enumerate() {
            if end > 0 && *value != x[end - 1] {
                run = end;
            }
            if !value.to_f64().is_finite() {
                after_missing = end + 1;
            }
            if let Some(first) = (end + 1).checked_sub(self.size) {
                if after_missing > first {
                    self.kind[first] = Kind::NotFinite;
                } else if run <= first {
                    self.kind[first] = Kind::Constant;
                }
            }
        }
    }

    /// Means and norms in two passes over each window, several windows side by side: no running sum drifts.
    fn sum(&mut self, control: &Control) -> Result<()> {
        let Self { size, len, values, mean, inverse, df, dg, kind, .. } = self;
        let (size, len, values) = (*size, *len, values.as_slice());
        mean[..len]
            .par_chunks_mut(LANES)
            .zip(inverse[..len].par_chunks_mut(LANES))
            .zip(kind.par_chunks_mut(LANES))
            .enumerate()
            .try_for_each(|(chunk, ((mean, inverse), kind))| {
                control.check(OPERATION)?;
                let (means, norms) = vectorised(Moments { values: &values[chunk * LANES..], size });
                for lane in 0..mean.len() {
                    mean[lane] = means[lane];
                    if kind[lane] == Kind::Regular && norms[lane] < f64::MIN_POSITIVE {
                        // Varies by less than what f64 can hold.
                        kind[lane] = Kind::Constant;
                    }
                    inverse[lane] = match kind[lane] {
                        Kind::Regular => norms[lane].sqrt().recip(),
                        Kind::Constant | Kind::NotFinite => f64::NAN,
                    };
                }
                Ok(())
            })?;
        inverse[len..].fill(f64::NAN);
        for i in 0..len - 1 {
            df[i] = 0.5 * (values[i + size] - values[i]);
            dg[i] = (values[i + size] - mean[i + 1]) + (values[i] - mean[i]);
        }
        Ok(())
    }

    /// The covariances, times the window's size, of `window` of `self` with the windows `first…` of `other`.
    pub(super) fn products(&self, window: usize, other: &Self, first: usize) -> [f64; LANES] {
        vectorised(Products { rows: self, window, cols: other, first })
    }
}

/// Sums over the windows that begin at the first [`LANES`] values.
struct Moments<'a> {
    values: &'a [f64],
    size: usize,
}

impl Work for Moments<'_> {
    /// Means, and squares around them.
    type Output = ([f64; LANES], [f64; LANES]);

    #[inline(always)]
    fn run(self) -> Self::Output {
        let count = self.size as f64;
        let (mut mean, mut left, mut squares) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for t in 0..self.size {
            let values: &[f64; LANES] = lanes(self.values, t);
            for lane in 0..LANES {
                mean[lane] += values[lane];
            }
        }
        for mean in &mut mean {
            *mean /= count;
        }
        for t in 0..self.size {
            let values: &[f64; LANES] = lanes(self.values, t);
            for lane in 0..LANES {
                let centred = values[lane] - mean[lane];
                left[lane] += centred;
                squares[lane] += centred * centred;
            }
        }
        for lane in 0..LANES {
            // What the first pass rounded away.
            mean[lane] += left[lane] / count;
            squares[lane] -= left[lane] * (left[lane] / count);
        }
        (mean, squares)
    }
}

struct Products<'a> {
    rows: &'a Windows,
    window: usize,
    cols: &'a Windows,
    first: usize,
}

impl Work for Products<'_> {
    type Output = [f64; LANES];

    #[inline(always)]
    fn run(self) -> Self::Output {
        let (mean, mut sums) = (self.rows.mean[self.window], [0.0; LANES]);
        let means: &[f64; LANES] = lanes(&self.cols.mean, self.first);
        let others = &self.cols.values[self.first..];
        for (t, value) in self.rows.values[self.window..][..self.rows.size].iter().enumerate() {
            let centred = value - mean;
            let others: &[f64; LANES] = lanes(others, t);
            for lane in 0..LANES {
                sums[lane] += centred * (others[lane] - means[lane]);
            }
        }
        sums
    }
}

/// [`LANES`] values from `first`; every list ends with [`PAD`] more than it holds, which is why there are so many.
#[inline(always)]
fn lanes(values: &[f64], first: usize) -> &[f64; LANES] {
    const NONE: [f64; LANES] = [0.0; LANES];
    values.get(first..first + LANES).and_then(|part| part.try_into().ok()).unwrap_or(&NONE)
}
