//! Coarse scores: inner products of 8-bit codes, and the test whether one can matter.
//!
//! ```text
//!   queries packed: panels of `rows`, signed        base packed: panels of `cols`, plus 128 and unsigned
//!   [k0..4: q0 q1 …][k4..8: q0 …] …                 [k0..4: x0 x1 …][k4..8: x0 …] …          4 bytes of each
//! ```
//! Four products of bytes are one instruction on processors with VNNI, which wants one factor unsigned: the 128 that a
//! base code has too much adds 128·Σ(query codes) to every product, which the sums of a query begin without.
//! Sums are whole numbers: exact, and the same on every instruction set.

use super::space::Facts;
use crate::simd::{Work, vectorised};

/// Most rows and columns of a register block.
pub(super) const MOST_ROWS: usize = 14;
pub(super) const MOST_COLS: usize = 32;
/// Dimensions beyond which a sum could overflow: 2³¹ / (255 · 127).
pub(super) const MOST_DIMENSIONS: usize = 66_000;

/// `(steps, queries, base, start, sums)`: sums[r][c] = start[r] + Σ over 4·steps of query r · base c.
type Products = unsafe fn(usize, &[i8], &[u8], &[i32], &mut [i32]);

/// A register block and the code for it.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// Queries of a panel.
    pub(super) rows: usize,
    /// Base rows of a panel.
    pub(super) cols: usize,
    /// The largest code of a query.
    pub(super) limit: f64,
    products: Products,
}

impl Kernel {
    /// The fastest for the processor at hand.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                return Self::avx512();
            }
            if is_x86_feature_detected!("avx2") {
                return Self::avx2();
            }
        }
        Self::portable()
    }

    #[cfg(target_arch = "x86_64")]
    fn avx512() -> Self {
        Self { rows: 14, cols: 32, limit: 127.0, products: x86::avx512 }
    }

    /// Half the range for queries: the sum of two products must fit 16 bits.
    #[cfg(target_arch = "x86_64")]
    fn avx2() -> Self {
        Self { rows: 6, cols: 16, limit: 63.0, products: x86::avx2 }
    }

    fn portable() -> Self {
        Self { rows: 4, cols: 8, limit: 127.0, products: portable }
    }

    /// Multiplies one panel with one panel.
    #[inline]
    #[allow(unsafe_code)]
    pub(super) fn multiply(
        &self,
        steps: usize,
        queries: &[i8],
        base: &[u8],
        start: &[i32],
        sums: &mut [i32],
    ) {
        assert!(
            queries.len() >= steps * self.rows * 4
                && base.len() >= steps * self.cols * 4
                && start.len() >= self.rows
                && sums.len() >= self.rows * self.cols,
            "panel shorter than its block"
        );
        // SAFETY: the lengths were just checked; the instruction set was checked when the kernel was chosen.
        unsafe { (self.products)(steps, queries, base, start, sums) }
    }
}

/// # Safety
/// None is needed; the type is that of the others.
#[allow(unsafe_code)]
unsafe fn portable(steps: usize, queries: &[i8], base: &[u8], start: &[i32], sums: &mut [i32]) {
    const ROWS: usize = 4;
    const COLS: usize = 8;
    let mut block = [[0i32; COLS]; ROWS];
    for (row, start) in block.iter_mut().zip(start) {
        row.fill(*start);
    }
    let queries = queries.chunks_exact(4 * ROWS);
    for (queries, base) in queries.zip(base.chunks_exact(4 * COLS)).take(steps) {
        for (row, query) in block.iter_mut().zip(queries.chunks_exact(4)) {
            for (sum, codes) in row.iter_mut().zip(base.chunks_exact(4)) {
                for (a, b) in query.iter().zip(codes) {
                    *sum += i32::from(*a) * i32::from(*b);
                }
            }
        }
    }
    for (sums, row) in sums.chunks_exact_mut(COLS).zip(block) {
        sums.copy_from_slice(&row);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// 14 rows by two vectors, with two vectors of the base, fill 30 of 32 registers.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW and VNNI; the slices hold what `Kernel::multiply` checks.
    #[allow(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn avx512(
        steps: usize,
        queries: &[i8],
        base: &[u8],
        start: &[i32],
        sums: &mut [i32],
    ) {
        const ROWS: usize = 14;
        let mut block = [[_mm512_setzero_si512(); 2]; ROWS];
        for (row, &start) in block.iter_mut().zip(start) {
            *row = [_mm512_set1_epi32(start); 2];
        }
        let queries = queries.chunks_exact(4 * ROWS);
        for (query, base) in queries.zip(base.chunks_exact(128)).take(steps) {
            // SAFETY: both halves of `base` hold 64 bytes.
            let (b0, b1) = unsafe {
                (
                    _mm512_loadu_si512(base.as_ptr().cast()),
                    _mm512_loadu_si512(base[64..].as_ptr().cast()),
                )
            };
            for (row, codes) in block.iter_mut().zip(query.chunks_exact(4)) {
                // SAFETY: there are four codes.
                let four = unsafe { codes.as_ptr().cast::<i32>().read_unaligned() };
                let four = _mm512_set1_epi32(four);
                row[0] = _mm512_dpbusd_epi32(row[0], b0, four);
                row[1] = _mm512_dpbusd_epi32(row[1], b1, four);
            }
        }
        for (sums, row) in sums.chunks_exact_mut(32).zip(&block) {
            // SAFETY: both halves of `sums` hold 64 bytes.
            unsafe {
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), row[0]);
                _mm512_storeu_si512(sums[16..].as_mut_ptr().cast(), row[1]);
            }
        }
    }

    /// # Safety
    /// The processor has AVX2; the slices hold what `Kernel::multiply` checks; no query code is beyond ±63.
    #[allow(unsafe_code)]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(
        steps: usize,
        queries: &[i8],
        base: &[u8],
        start: &[i32],
        sums: &mut [i32],
    ) {
        const ROWS: usize = 6;
        let ones = _mm256_set1_epi16(1);
        let mut block = [[_mm256_setzero_si256(); 2]; ROWS];
        for (row, &start) in block.iter_mut().zip(start) {
            *row = [_mm256_set1_epi32(start); 2];
        }
        let queries = queries.chunks_exact(4 * ROWS);
        for (query, base) in queries.zip(base.chunks_exact(64)).take(steps) {
            // SAFETY: both halves of `base` hold 32 bytes.
            let (b0, b1) = unsafe {
                (
                    _mm256_loadu_si256(base.as_ptr().cast()),
                    _mm256_loadu_si256(base[32..].as_ptr().cast()),
                )
            };
            for (row, codes) in block.iter_mut().zip(query.chunks_exact(4)) {
                // SAFETY: there are four codes.
                let four = unsafe { codes.as_ptr().cast::<i32>().read_unaligned() };
                let four = _mm256_set1_epi32(four);
                let low = _mm256_madd_epi16(_mm256_maddubs_epi16(b0, four), ones);
                let high = _mm256_madd_epi16(_mm256_maddubs_epi16(b1, four), ones);
                row[0] = _mm256_add_epi32(row[0], low);
                row[1] = _mm256_add_epi32(row[1], high);
            }
        }
        for (sums, row) in sums.chunks_exact_mut(16).zip(&block) {
            // SAFETY: both halves of `sums` hold 32 bytes.
            unsafe {
                _mm256_storeu_si256(sums.as_mut_ptr().cast(), row[0]);
                _mm256_storeu_si256(sums[8..].as_mut_ptr().cast(), row[1]);
            }
        }
    }
}

/// The facts of one panel of the base, each kind side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct PanelFacts {
    pub(super) scale: [f32; MOST_COLS],
    pub(super) size: [f32; MOST_COLS],
    pub(super) error: [f32; MOST_COLS],
    pub(super) bias: [f32; MOST_COLS],
}

impl PanelFacts {
    /// Of a panel without rows: nothing reaches any threshold.
    pub(super) const NONE: Self = Self {
        scale: [0.0; MOST_COLS],
        size: [0.0; MOST_COLS],
        error: [0.0; MOST_COLS],
        bias: [f32::NEG_INFINITY; MOST_COLS],
    };

    pub(super) fn set(&mut self, place: usize, facts: Facts) {
        self.scale[place] = facts.scale;
        self.size[place] = facts.size;
        self.error[place] = facts.error;
        self.bias[place] = facts.bias;
    }
}

/// The upper bounds of one query with a panel, from their `sums`; true where one reaches `threshold`.
#[inline]
pub(super) fn bound(
    sums: &[i32],
    query: Facts,
    panel: &PanelFacts,
    threshold: f32,
    uppers: &mut [f32; MOST_COLS],
) -> bool {
    vectorised(Bound { sums, query, panel, threshold, uppers })
}

struct Bound<'a> {
    sums: &'a [i32],
    query: Facts,
    panel: &'a PanelFacts,
    threshold: f32,
    uppers: &'a mut [f32; MOST_COLS],
}

impl Work for Bound<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { sums, query, panel, threshold, uppers } = self;
        let mut reached = 0u32;
        for (place, &sum) in sums.iter().enumerate().take(MOST_COLS) {
            let margin = query.error * panel.size[place]
                + (query.size * panel.error[place] + panel.bias[place]);
            let upper = sum as f32 * query.scale * panel.scale[place] + margin;
            uppers[place] = upper;
            reached |= u32::from(upper >= threshold);
        }
        reached != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_products() {
        let mut kernels = vec![Kernel::portable(), Kernel::detect()];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            kernels.push(Kernel::avx2());
        }
        for kernel in kernels {
            let largest = kernel.limit as i32;
            for steps in [0usize, 1, 2, 97] {
                let queries: Vec<i8> = (0..steps * 4 * kernel.rows)
                    .map(|at| ((at * 37 % (2 * largest as usize + 1)) as i32 - largest) as i8)
                    .collect();
                let base: Vec<u8> =
                    (0..steps * 4 * kernel.cols).map(|at| (255 - at * 11 % 256) as u8).collect();
                let start: Vec<i32> = (0..kernel.rows as i32).map(|row| row * 100 - 7).collect();
                let mut sums = vec![-1; kernel.rows * kernel.cols];
                kernel.multiply(steps, &queries, &base, &start, &mut sums);
                for row in 0..kernel.rows {
                    for col in 0..kernel.cols {
                        let expected: i32 = (0..4 * steps)
                            .map(|k| {
                                let (step, byte) = (k / 4, k % 4);
                                let a = queries[(step * kernel.rows + row) * 4 + byte];
                                let b = base[(step * kernel.cols + col) * 4 + byte];
                                i32::from(a) * i32::from(b)
                            })
                            .sum();
                        assert_eq!(sums[row * kernel.cols + col], start[row] + expected);
                    }
                }
            }
        }
    }
}
