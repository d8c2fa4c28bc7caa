//! The register block for processors without AVX2: plain loops that compilers vectorise with
//! whatever the target has (SSE2, NEON).

use super::{CHAIN, MicroKernel};
use crate::element::Element;

const ROWS: usize = 4;
const COLS: usize = 8;

pub(super) fn kernel<T: Element + Arithmetic>(depth: usize) -> MicroKernel<T> {
    MicroKernel { rows: ROWS, cols: COLS, depth, name: "portable", add: add::<T> }
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
/// `a` holds `depth × ROWS` values, `b` sample k at `k * b_step` with `COLS` values, `c` a block.
#[allow(unsafe_code)]
unsafe fn add<T: Element + Arithmetic>(
    depth: usize,
    a: *const T,
    b: *const T,
    b_step: usize,
    c: *mut f64,
    c_stride: usize,
) {
    let mut middle = [[T::default(); COLS]; ROWS];
    let mut k = 0;
    while k < depth {
        let mut sum = [[T::default(); COLS]; ROWS];
        for _ in 0..CHAIN.min(depth - k) {
            // SAFETY: k < depth, and the caller guarantees the lengths.
            let (column, row) = unsafe {
                (&*a.add(k * ROWS).cast::<[T; ROWS]>(), &*b.add(k * b_step).cast::<[T; COLS]>())
            };
            for i in 0..ROWS {
                for j in 0..COLS {
                    sum[i][j] = sum[i][j].plus(column[i].times(row[j]));
                }
            }
            k += 1;
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
