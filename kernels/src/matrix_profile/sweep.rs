//! The inner loop: correlations along a bundle of neighbouring diagonals.
//!
//! ```text
//!             columns j →
//!   row i     · · ■ ■ ■ ■ · ·      one row of a bundle: its columns lie side by side in memory,
//!   row i+1   · · · ■ ■ ■ ■ ·      and so does all that is known of them
//! ```
//! Each lane carries the covariance of one diagonal. A cell costs two fused multiply-adds, two products and two
//! comparisons; that a correlation reaches the best of its row or column becomes rare after the first diagonals,
//! and is dealt with away from the loop. What bounds it is the loads that cross cache lines: four per vector.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::windows::Windows;

/// Vectors of a bundle.
const VECTORS: usize = 4;

/// "No window", as an index.
pub(super) const NONE: u32 = u32::MAX;

/// The best neighbour of each window so far.
pub(super) struct Best {
    /// Its correlation; −∞ where there is none.
    pub(super) rho: Vec<f64>,
    /// Its index; [`NONE`] where there is none.
    pub(super) index: Vec<u32>,
}

impl Best {
    /// Offers `index` to `window`; of equals the smaller index stays.
    #[inline(always)]
    pub(super) fn offer(&mut self, window: usize, rho: f64, index: u32) {
        let (best, best_index) = (&mut self.rho[window], &mut self.index[window]);
        if rho > *best || (rho == *best && index < *best_index) {
            *best = rho;
            *best_index = index;
        }
    }
}

/// A stretch of rows of a bundle.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    /// Its rows, not empty.
    pub(super) from: usize,
    pub(super) to: usize,
    /// The bundle's first diagonal: column − row.
    pub(super) diagonal: usize,
}

/// Goes along the bundle and leaves the covariances of row `to`. A bundle has as many diagonals as `covariance`.
pub(super) type Sweep =
    unsafe fn(&Windows, &Windows, Stretch, &mut [f64], rows: &mut Best, cols: &mut Best);

/// The sweep for the processor at hand, and how many diagonals its bundle has.
pub(super) fn sweep() -> (Sweep, usize) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return (along_avx512, VECTORS * 8);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return (along_avx2, VECTORS * 4);
        }
    }
    (along::<[f64; 4]>, VECTORS * 4)
}

/// # Safety
/// The processor has AVX-512F; otherwise as [`along`].
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn along_avx512(
    a: &Windows,
    b: &Windows,
    stretch: Stretch,
    covariance: &mut [f64],
    rows: &mut Best,
    cols: &mut Best,
) {
    // SAFETY: as the caller promises.
    unsafe { along::<__m512d>(a, b, stretch, covariance, rows, cols) }
}

/// # Safety
/// The processor has AVX2 and FMA; otherwise as [`along`].
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
unsafe fn along_avx2(
    a: &Windows,
    b: &Windows,
    stretch: Stretch,
    covariance: &mut [f64],
    rows: &mut Best,
    cols: &mut Best,
) {
    // SAFETY: as the caller promises.
    unsafe { along::<__m256d>(a, b, stretch, covariance, rows, cols) }
}

/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn along<V: Lanes>(
    a: &Windows,
    b: &Windows,
    stretch: Stretch,
    covariance: &mut [f64],
    rows: &mut Best,
    cols: &mut Best,
) {
    let Stretch { from, to, diagonal } = stretch;
    let width = VECTORS * V::LANES;
    // Column to − 1 + diagonal + width − 1 is the last that is read.
    let end = to + diagonal + width;
    assert!(
        from < to
            && covariance.len() == width
            && [a.df.len(), a.dg.len(), a.inverse.len(), rows.rho.len()].iter().all(|&n| n >= to)
            && [b.df.len(), b.dg.len(), b.inverse.len(), cols.rho.len()].iter().all(|&n| n >= end),
        "a bundle beyond its windows"
    );
    // SAFETY: every access is below the lengths that were just checked; the instructions are the caller's promise.
    unsafe {
        let mut cov = [V::splat(0.0); VECTORS];
        for (v, cov) in cov.iter_mut().enumerate() {
            *cov = V::load(covariance.as_ptr().add(v * V::LANES));
        }
        let (df_cols, dg_cols) = (b.df.as_ptr().add(diagonal), b.dg.as_ptr().add(diagonal));
        let inverse_cols = b.inverse.as_ptr().add(diagonal);
        for row in from..to {
            let inverse = V::splat(*a.inverse.get_unchecked(row));
            let df = V::splat(*a.df.get_unchecked(row));
            let dg = V::splat(*a.dg.get_unchecked(row));
            let best_row = V::splat(*rows.rho.get_unchecked(row));
            let best_cols = cols.rho.as_ptr().add(diagonal + row);
            let mut rho = [V::splat(0.0); VECTORS];
            let mut top = V::splat(f64::NEG_INFINITY);
            let mut reached = V::NEVER;
            for v in 0..VECTORS {
                let at = row + v * V::LANES;
                rho[v] = cov[v].times(V::load(inverse_cols.add(at))).times(inverse);
                cov[v] = V::load(dg_cols.add(at)).times_plus(df, cov[v]);
                cov[v] = V::load(df_cols.add(at)).times_plus(dg, cov[v]);
                top = rho[v].larger(top);
                reached = V::either(reached, rho[v].reaches(V::load(best_cols.add(v * V::LANES))));
            }
            reached = V::either(reached, top.reaches(best_row));
            if V::any(reached) {
                let first = row + diagonal;
                for (v, rho) in rho.iter().enumerate() {
                    offer(*rho, row, first + v * V::LANES, rows, cols);
                }
            }
        }
        for (v, cov) in cov.iter().enumerate() {
            cov.store(covariance.as_mut_ptr().add(v * V::LANES));
        }
    }
}

/// # Safety
/// The processor has the instructions of `V`, and there is column `first + V::LANES - 1`.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn offer<V: Lanes>(rho: V, row: usize, first: usize, rows: &mut Best, cols: &mut Best) {
    let mut values = [0.0f64; 8];
    // SAFETY: no vector has more than 8 lanes; the columns are the caller's promise.
    let mut bits = unsafe {
        rho.store(values.as_mut_ptr());
        let of_cols = rho.reaches(V::load(cols.rho.as_ptr().add(first)));
        let of_row = rho.reaches(V::splat(rows.rho[row]));
        V::bits(V::either(of_cols, of_row))
    };
    while bits != 0 {
        let lane = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        rows.offer(row, values[lane], (first + lane) as u32);
        cols.offer(first + lane, values[lane], row as u32);
    }
}

/// A vector of f64.
///
/// Every implementation fuses the multiply-add, so that the result has the same bits on all of them.
#[allow(unsafe_code)]
trait Lanes: Copy {
    const LANES: usize;
    type Mask: Copy;
    const NEVER: Self::Mask;

    unsafe fn load(from: *const f64) -> Self;
    unsafe fn store(self, to: *mut f64);
    unsafe fn splat(value: f64) -> Self;
    unsafe fn times(self, other: Self) -> Self;
    /// `self * factor + sum`, rounded once.
    unsafe fn times_plus(self, factor: Self, sum: Self) -> Self;
    /// The larger; `other` where `self` is NaN.
    unsafe fn larger(self, other: Self) -> Self;
    /// Where `self >= other`; nowhere that `self` is NaN.
    unsafe fn reaches(self, other: Self) -> Self::Mask;
    unsafe fn either(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    unsafe fn any(mask: Self::Mask) -> bool;
    unsafe fn bits(mask: Self::Mask) -> u32;
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, unsafe_op_in_unsafe_fn)]
impl Lanes for __m512d {
    const LANES: usize = 8;
    type Mask = __mmask8;
    const NEVER: __mmask8 = 0;

    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        _mm512_loadu_pd(from)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        _mm512_storeu_pd(to, self)
    }
    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        _mm512_set1_pd(value)
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        _mm512_mul_pd(self, other)
    }
    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, sum: Self) -> Self {
        _mm512_fmadd_pd(self, factor, sum)
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        _mm512_max_pd(self, other)
    }
    #[inline(always)]
    unsafe fn reaches(self, other: Self) -> __mmask8 {
        _mm512_cmp_pd_mask::<_CMP_GE_OQ>(self, other)
    }
    #[inline(always)]
    unsafe fn either(a: __mmask8, b: __mmask8) -> __mmask8 {
        a | b
    }
    #[inline(always)]
    unsafe fn any(mask: __mmask8) -> bool {
        mask != 0
    }
    #[inline(always)]
    unsafe fn bits(mask: __mmask8) -> u32 {
        u32::from(mask)
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, unsafe_op_in_unsafe_fn)]
impl Lanes for __m256d {
    const LANES: usize = 4;
    type Mask = __m256d;
    // SAFETY: all bits zero is a vector of zeros.
    const NEVER: __m256d = unsafe { std::mem::zeroed() };

    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        _mm256_loadu_pd(from)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        _mm256_storeu_pd(to, self)
    }
    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        _mm256_set1_pd(value)
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        _mm256_mul_pd(self, other)
    }
    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, sum: Self) -> Self {
        _mm256_fmadd_pd(self, factor, sum)
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        _mm256_max_pd(self, other)
    }
    #[inline(always)]
    unsafe fn reaches(self, other: Self) -> __m256d {
        _mm256_cmp_pd::<_CMP_GE_OQ>(self, other)
    }
    #[inline(always)]
    unsafe fn either(a: __m256d, b: __m256d) -> __m256d {
        _mm256_or_pd(a, b)
    }
    #[inline(always)]
    unsafe fn any(mask: __m256d) -> bool {
        _mm256_movemask_pd(mask) != 0
    }
    #[inline(always)]
    unsafe fn bits(mask: __m256d) -> u32 {
        _mm256_movemask_pd(mask) as u32
    }
}

#[allow(unsafe_code, unsafe_op_in_unsafe_fn)]
impl Lanes for [f64; 4] {
    const LANES: usize = 4;
    type Mask = [bool; 4];
    const NEVER: [bool; 4] = [false; 4];

    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        from.cast::<[f64; 4]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        to.cast::<[f64; 4]>().write_unaligned(self)
    }
    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * other[lane])
    }
    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, sum: Self) -> Self {
        std::array::from_fn(|lane| self[lane].mul_add(factor[lane], sum[lane]))
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { self[lane] } else { other[lane] })
    }
    #[inline(always)]
    unsafe fn reaches(self, other: Self) -> [bool; 4] {
        std::array::from_fn(|lane| self[lane] >= other[lane])
    }
    #[inline(always)]
    unsafe fn either(a: [bool; 4], b: [bool; 4]) -> [bool; 4] {
        std::array::from_fn(|lane| a[lane] | b[lane])
    }
    #[inline(always)]
    unsafe fn any(mask: [bool; 4]) -> bool {
        mask != Self::NEVER
    }
    #[inline(always)]
    unsafe fn bits(mask: [bool; 4]) -> u32 {
        mask.iter().rev().fold(0, |bits, &set| bits << 1 | u32::from(set))
    }
}
