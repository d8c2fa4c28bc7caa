//! The register block for processors without AVX2: plain loops that compilers vectorise with
//! whatever the target has (SSE2, NEON).

use super::{CHAIN, MicroKernel};
use crate::element::Element;

const ROWS: usize = 4;
const COLS: usize = 8;

pub(super) fn kernel<T: Element + Arithmetic>(depth: usize) -> MicroKernel<T> {
    MicroKernel { rows: ROWS, cols: COLS, depth, name: "portable", add: add::<T>, low: None }
}

/// The two operations a sum of products is made of, rounded each.
pub(super) trait Arithmetic: Copy + Default {
    fn times(self, other: Self) -> Self;
    fn plus(self, other: Self) -> Self;
}

impl Arithmetic for f32 {
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Arithmetic for f64 {
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

/// # Safety
/// `c` holds a block of `ROWS` × `COLS`.
#[allow(unsafe_code)]
unsafe fn add<T: Element + Arithmetic>(
    a: &[T],
    b: &[T],
    b_step: usize,
    c: *mut f64,
    c_stride: usize,
) {
    let mut middle = [[T::default(); COLS]; ROWS];
    for (index, chain) in a.chunks(CHAIN * ROWS).enumerate() {
        let mut sum = [[T::default(); COLS]; ROWS];
        for (k, column) in chain.chunks_exact(ROWS).enumerate() {
            let row = &b[(index * CHAIN + k) * b_step..][..COLS];
            for (sum, &x) in sum.iter_mut().zip(column) {
                for (sum, &y) in sum.iter_mut().zip(row) {
                    *sum = sum.plus(x.times(y));
                }
            }
        }
        for i in 0..ROWS {
            for j in 0..COLS {
                middle[i][j] = middle[i][j].plus(sum[i][j]);
            }
        }
    }
    for (i, row) in middle.iter().enumerate() {
        for (j, value) in row.iter().enumerate() {
            // SAFETY: the caller guarantees that c holds the block.
            unsafe { *c.add(i * c_stride + j) += value.to_f64() };
        }
    }
}
