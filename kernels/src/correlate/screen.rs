//! A screen for strong pairs on tensor cores, and the exact coefficients of what passes it.
//!
//! A sink with a floor keeps few pairs of many, and most pairs are far below it. So the product is first made of series
//! rounded to bfloat16, which is off by [`CORRELATE_SCREEN`] at most; every pair within that of the floor is computed again
//! in f64, on the host, where the series are. A candidate costs about what packing a series for the device costs once more:
//! when a tile has more than a few for each of its series, the plain product does it
//! ([`Stats::fallbacks`](crate::Stats)).

use rayon::prelude::*;

use super::OPERATION;
use super::cpu::Side;
use super::normalise::Normal;
use super::sink::Strength;
use crate::element::Element;
use crate::error::Result;
use crate::execution::Execution;
use crate::simd::{Work, vectorised};
use crate::tolerance::CORRELATE_SCREEN;

/// Samples that the kernel takes at a time: rows are padded to a multiple.
pub(super) const STEP: usize = 64;
/// Rows and columns of a block's part of C.
pub(super) const SIDE: usize = 128;
/// Shared memory of a block: three stages of 64 samples, 8 more to keep the banks apart.
pub(super) const SHARED_BYTES: usize = 3 * 2 * SIDE * (STEP + 8) * size_of::<u16>();
/// Samples below which the plain product is as fast.
const LEAST_SAMPLES: usize = 128;
/// Candidates for each series of a tile that are computed again one by one.
const MOST_CANDIDATES: usize = 4;

/// The floor that the screen must let through, where it is of use.
pub(super) fn floor_of(floor: Option<(Strength, f64)>, samples: usize) -> Option<(Strength, f64)> {
    let (strength, floor) = floor?;
    let lowered = floor - CORRELATE_SCREEN;
    let lowest = if strength == Strength::Magnitude { 0.0 } else { -1.0 };
    (samples >= LEAST_SAMPLES && lowered > lowest).then_some((strength, lowered))
}

/// Candidates of a tile beyond which the plain product is faster.
pub(super) fn most_candidates(rows: usize, cols: usize) -> usize {
    MOST_CANDIDATES * (rows + cols)
}

/// The samples `start .. start + depth` of the rows from `row0` on as bfloat16, each padded with zeros to `stride`.
pub(super) fn pack<T: Element>(
    side: Side<'_, T>,
    row0: usize,
    rows: usize,
    start: usize,
    depth: usize,
    stride: usize,
    packed: &mut [u16],
) {
    packed.par_chunks_mut(stride).enumerate().for_each(|(row, packed)| {
        let (values, rest) = packed.split_at_mut(if row < rows { depth } else { 0 });
        rest.fill(0);
        if row < rows {
            let samples = &side.view.row(row0 + row)[start..start + depth];
            vectorised(Packing { samples, normal: &side.normals[row0 + row], values });
        }
    });
}

struct Packing<'a, T> {
    samples: &'a [T],
    normal: &'a Normal,
    values: &'a mut [u16],
}

impl<T: Element> Work for Packing<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (value, &sample) in self.values.iter_mut().zip(self.samples) {
            *value = to_bf16(self.normal.apply(sample) as f32);
        }
    }
}

/// The nearest bfloat16, ties to even. Not for NaN.
#[inline(always)]
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The coefficients of `pairs`, places in a tile at `row0`, `col0`, in f64.
pub(super) fn exact<T: Element>(
    (x, row0): (Side<'_, T>, usize),
    (y, col0): (Side<'_, T>, usize),
    pairs: &mut [(usize, usize, f64)],
    execution: &Execution,
) -> Result<()> {
    pairs.par_iter_mut().try_for_each(|(row, col, score)| {
        execution.control.check(OPERATION)?;
        let (row, col) = (row0 + *row, col0 + *col);
        *score = vectorised(Product {
            x: x.view.row(row),
            y: y.view.row(col),
            normals: (&x.normals[row], &y.normals[col]),
        });
        Ok(())
    })
}

struct Product<'a, T> {
    x: &'a [T],
    y: &'a [T],
    normals: (&'a Normal, &'a Normal),
}

impl<T: Element> Work for Product<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        // Sums of some hundred products, and then of those sums: errors stay far below the tolerance.
        const CHAIN: usize = 512;
        const LANES: usize = 8;
        let mut total = 0.0;
        for (x, y) in self.x.chunks(CHAIN).zip(self.y.chunks(CHAIN)) {
            let mut sum = [0.0; LANES];
            for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
                for ((sum, &x), &y) in sum.iter_mut().zip(x).zip(y) {
                    *sum += self.normals.0.apply(x) * self.normals.1.apply(y);
                }
            }
            total += sum.iter().sum::<f64>();
        }
        total.clamp(-1.0, 1.0)
    }
}
