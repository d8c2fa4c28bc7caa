//! Which centre is nearest, screened in the type of the rows and proven, or measured again.

use rayon::prelude::*;

use super::distance::{Frame, IntoFrame, MOST_LANES, Nearest};
use super::lloyd::{Assigned, Rows};
use super::{NONE, OPERATION};
use crate::budget::zeroed;
use crate::element::Element;
use crate::error::Result;
use crate::product::{MicroKernel, pack};
use crate::simd::{Work, vectorised};

/// Bytes of packed centres that meet a block before the next do.
const CENTRE_BYTES: usize = 256 << 10;
/// Lanes of the scan.
const LANES: usize = 8;

/// The centres in the frame, packed, with the constants of the screen.
pub(super) struct Screen<T> {
    packed: Vec<T>,
    /// ‖c‖², lowered by the bound on its part of the rounding.
    low: Vec<f64>,
    /// ‖c‖².
    squares: Vec<f64>,
}

/// For each row of a block the least and the second least so far, and a block of products.
pub(super) struct Scanned {
    best: Vec<f64>,
    second: Vec<f64>,
    nearest: Vec<u64>,
    products: Vec<f64>,
}

impl<T: Element> Screen<T> {
    /// For `centres`, a whole number of panels.
    pub(super) fn allocate(centres: usize, cols: usize) -> Result<Self> {
        Ok(Self {
            packed: zeroed(OPERATION, centres * cols)?,
            low: zeroed(OPERATION, centres)?,
            squares: zeroed(OPERATION, centres)?,
        })
    }

    pub(super) fn pack(&mut self, kernel: &MicroKernel<T>, frame: &Frame, centres: &[f64]) {
        let (rows, cols) = (kernel.rows, frame.means.len());
        let bound = bound::<T>(cols);
        let Self { packed, low, squares } = self;
        let panels = packed.par_chunks_mut(rows * cols).zip(centres.par_chunks(rows * cols));
        let constants = low.par_chunks_mut(rows).zip(squares.par_chunks_mut(rows));
        panels.zip(constants).for_each(|((packed, centres), (low, squares))| {
            for (r, centre) in centres.chunks_exact(cols).enumerate() {
                let mut square = 0.0;
                for (column, (&value, &mean)) in centre.iter().zip(&frame.means).enumerate() {
                    let framed = (value - mean) * frame.scale;
                    square += framed * framed;
                    packed[column * rows + r] = T::from_f64(framed);
                }
                squares[r] = square;
                low[r] = square * (1.0 - bound);
            }
        });
    }
}

impl Scanned {
    pub(super) fn allocate(rows: usize, products: usize) -> Result<Self> {
        Ok(Self {
            best: zeroed(OPERATION, rows)?,
            second: zeroed(OPERATION, rows)?,
            nearest: zeroed(OPERATION, rows)?,
            products: zeroed(OPERATION, products)?,
        })
    }
}

/// How far ‖c‖² − 2·x·c may be off, relative to ‖x‖² + ‖c‖² (with 2‖x‖‖c‖ ≤ ‖x‖² + ‖c‖²). In f32: half an ulp for each
/// factor, chains of 32, then 8, and what bounds the products (see `product`) leave to spare. In f64: chains of at most 512,
/// and as much for the distance that the proof stands for.
fn bound<T: Element>(cols: usize) -> f64 {
    if size_of::<T>() == size_of::<f32>() {
        48.0 * f64::from(f32::EPSILON) / 2.0
    } else {
        (cols.min(512) + cols / 2 + 32) as f64 * f64::EPSILON / 2.0
    }
}

/// What products that underflow may be off, for each column.
pub(super) fn underflow<T: Element>(cols: usize) -> f64 {
    let least = if size_of::<T>() == size_of::<f32>() {
        f64::from(f32::MIN_POSITIVE)
    } else {
        f64::MIN_POSITIVE
    };
    4.0 * cols as f64 * least
}

/// Rows that meet all centres together.
pub(super) struct Block<'a, T> {
    pub(super) kernel: &'a MicroKernel<T>,
    pub(super) cols: usize,
    pub(super) screen: &'a Screen<T>,
    pub(super) frame: &'a Frame,
    pub(super) centres: &'a [f64],
    pub(super) rows: Rows<'a, T>,
    pub(super) first: usize,
}

impl<T: Element> Block<'_, T> {
    /// `framed` is a panel's rows; `panels` and `lengths` are filled first.
    pub(super) fn label(
        &self,
        scan: &mut Scanned,
        framed: &mut [T],
        panels: &mut [T],
        lengths: &mut [f64],
        labels: &mut [u32],
    ) -> Assigned {
        let padded = labels.len().next_multiple_of(self.kernel.cols);
        self.pack_rows(framed, panels, lengths, labels);
        scan.best[..padded].fill(f64::INFINITY);
        scan.second[..padded].fill(f64::INFINITY);
        scan.nearest[..padded].fill(0);
        self.scan_all(scan, panels, padded);
        let mut assigned = Assigned::default();
        let (bound, least) = (bound::<T>(self.cols), underflow::<T>(self.cols));
        for (lane, label) in labels.iter_mut().enumerate() {
            if *label == NONE {
                continue;
            }
            let nearest = scan.nearest[lane] as usize;
            let slack = 2.0 * bound * (lengths[lane] + self.screen.squares[nearest]) + least;
            let found = if scan.best[lane] + slack < scan.second[lane] {
                nearest as u32
            } else {
                assigned.fallbacks += 1;
                let x = self.rows.row(self.first + lane);
                vectorised(Nearest { x, centres: self.centres })
            };
            assigned.changed += u64::from(found != *label);
            *label = found;
        }
        assigned
    }

    /// Rows that are not there become zeros.
    fn pack_rows(&self, framed: &mut [T], panels: &mut [T], lengths: &mut [f64], labels: &[u32]) {
        let (width, cols) = (self.kernel.cols, self.cols);
        let panels = panels.chunks_exact_mut(width * cols).zip(lengths.chunks_exact_mut(width));
        for (index, (labels, (panel, lengths))) in labels.chunks(width).zip(panels).enumerate() {
            let mut rows = [&[][..]; MOST_LANES];
            let lanes = framed.chunks_exact_mut(cols).zip(&mut rows).zip(lengths);
            for (lane, (((framed, row), length), &label)) in lanes.zip(labels).enumerate() {
                if label == NONE {
                    framed.fill(T::default());
                    *length = 0.0;
                } else {
                    let x = self.rows.row(self.first + index * width + lane);
                    *length = vectorised(IntoFrame { x, frame: self.frame, framed });
                }
                *row = &*framed;
            }
            pack(panel, width, &rows[..labels.len()], |_, value| value);
        }
    }

    fn scan_all(&self, scan: &mut Scanned, panels: &[T], padded: usize) {
        let (height, width, cols) = (self.kernel.rows, self.kernel.cols, self.cols);
        let clusters = self.centres.len() / cols;
        let batch = (CENTRE_BYTES / (cols * size_of::<T>())).next_multiple_of(height).max(height);
        for batch_start in (0..clusters).step_by(batch) {
            let batch_end = clusters.min(batch_start + batch);
            for lane in (0..padded).step_by(width) {
                let panel = &panels[lane * cols..][..width * cols];
                for first in (batch_start..batch_end).step_by(height) {
                    let packed = &self.screen.packed[first * cols..][..height * cols];
                    scan.products.fill(0.0);
                    for start in (0..cols).step_by(self.kernel.depth) {
                        let depth = self.kernel.depth.min(cols - start);
                        self.kernel.add(
                            depth,
                            &packed[start * height..],
                            &panel[start * width..],
                            width,
                            &mut scan.products,
                            width,
                        );
                    }
                    vectorised(Scan {
                        products: &scan.products,
                        width,
                        low: &self.screen.low[first..clusters.min(first + height)],
                        first,
                        best: &mut scan.best[lane..lane + width],
                        second: &mut scan.second[lane..lane + width],
                        nearest: &mut scan.nearest[lane..lane + width],
                    });
                }
            }
        }
    }
}

/// Lowers each lane's least and second least.
struct Scan<'a> {
    products: &'a [f64],
    width: usize,
    low: &'a [f64],
    first: usize,
    best: &'a mut [f64],
    second: &'a mut [f64],
    nearest: &'a mut [u64],
}

impl Work for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let lanes = self.best.chunks_exact_mut(LANES).zip(self.second.chunks_exact_mut(LANES));
        for (part, ((best, second), nearest)) in
            lanes.zip(self.nearest.chunks_exact_mut(LANES)).enumerate()
        {
            let (mut b, mut s, mut n) = ([0.0; LANES], [0.0; LANES], [0u64; LANES]);
            b.copy_from_slice(best);
            s.copy_from_slice(second);
            n.copy_from_slice(nearest);
            let products = self.products[part * LANES..].chunks(self.width);
            for ((products, &low), index) in products.zip(self.low).zip(self.first as u64..) {
                let Some(products) = products.first_chunk::<LANES>() else {
                    continue;
                };
                for lane in 0..LANES {
                    let value = low - 2.0 * products[lane];
                    let is_less = value < b[lane];
                    let other = if is_less { b[lane] } else { value };
                    s[lane] = if other < s[lane] { other } else { s[lane] };
                    n[lane] = if is_less { index } else { n[lane] };
                    b[lane] = if is_less { value } else { b[lane] };
                }
            }
            best.copy_from_slice(&b);
            second.copy_from_slice(&s);
            nearest.copy_from_slice(&n);
        }
    }
}
