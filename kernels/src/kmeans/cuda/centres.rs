//! Centres as `assign` takes them.

use rayon::prelude::*;

use super::super::OPERATION;
use super::super::distance::Frame;
use super::CENTRES;
use super::bound::Bounds;
use super::state::Plan;
use crate::budget::zeroed;
use crate::element::Element;
use crate::error::Result;

/// Columns of a step, and what 16 centres are there: 32 lanes of 4 words of two halves, high and low.
const STEP: usize = 16;
const BLOCK_HALVES: usize = 2 * LOW;
const LOW: usize = 32 * 4 * 2;

/// The centres in the frame, packed, with the constants of the screen.
pub(super) struct Centres<T> {
    /// In words that are aligned for each type.
    packed: Vec<u64>,
    low: Vec<T>,
    squares: Vec<f64>,
}

impl<T: Element> Centres<T> {
    pub(super) fn allocate(plan: &Plan) -> Result<Self> {
        let padded = plan.padded_clusters();
        Ok(Self {
            packed: zeroed(OPERATION, plan.packed_centre_bytes() / size_of::<u64>())?,
            low: zeroed(OPERATION, padded)?,
            squares: zeroed(OPERATION, padded)?,
        })
    }

    /// Packs them, and says with which bounds. `mean_row` is the mean squared length of the rows.
    pub(super) fn pack(&mut self, frame: &Frame, centres: &[f64], mean_row: f64) -> Bounds {
        let cols = frame.means.len();
        let panel = self.packed.len() / (self.low.len() / CENTRES);
        let panels = self.packed.par_chunks_mut(panel).zip(self.squares.par_chunks_mut(CENTRES));
        panels.zip(centres.par_chunks(CENTRES * cols)).for_each(|((panel, squares), centres)| {
            for (index, (square, centre)) in
                squares.iter_mut().zip(centres.chunks_exact(cols)).enumerate()
            {
                *square = 0.0;
                for (column, (&value, &mean)) in centre.iter().zip(&frame.means).enumerate() {
                    let framed = (value - mean) * frame.scale;
                    *square += framed * framed;
                    place::<T>(panel, index, column, framed);
                }
            }
        });
        let clusters = centres.len() / cols;
        let mean = self.squares[..clusters].iter().sum::<f64>() / clusters as f64;
        let bounds = Bounds::new::<T>(cols, mean_row, mean);
        self.low.fill(T::from_f64(f64::INFINITY));
        for (low, square) in self.low.iter_mut().zip(&self.squares[..clusters]) {
            *low = T::from_f64(square * (1.0 - bounds.lowered));
        }
        bounds
    }

    pub(super) fn packed(&self) -> &[u8] {
        bytemuck::cast_slice(&self.packed)
    }

    pub(super) fn low(&self) -> &[u8] {
        bytemuck::cast_slice(&self.low)
    }

    pub(super) fn squares(&self) -> &[u8] {
        bytemuck::cast_slice(&self.squares)
    }
}

/// Puts one value of a panel to its place.
#[inline(always)]
fn place<T: Element>(panel: &mut [u64], index: usize, column: usize, value: f64) {
    if size_of::<T>() != size_of::<f32>() {
        let values: &mut [f64] = bytemuck::cast_slice_mut(panel);
        values[column * CENTRES + index] = value;
        return;
    }
    let halves: &mut [u16] = bytemuck::cast_slice_mut(panel);
    // As `common.cuh` has the fragment of the right factor, two of them in a lane's four words.
    let (group, half) = (index % 8, index % 16 / 8);
    let (later, place, side) = (column % STEP / 8, column % 8 / 2, column % 2);
    let block = column / STEP * (CENTRES / 16) + index / 16;
    let word = (group * 4 + place) * 4 + 2 * half + later;
    let at = block * BLOCK_HALVES + 2 * word + side;
    let value = value as f32;
    halves[at] = to_bf16(value);
    halves[at + LOW] = to_bf16(value - from_bf16(halves[at]));
}

/// The nearest bfloat16, ties to even. Not for NaN.
#[inline(always)]
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[inline(always)]
fn from_bf16(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}
