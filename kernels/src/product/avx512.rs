//! The register block for AVX-512F: 14 rows by two vectors fill the 32 registers.

use std::arch::x86_64::*;

use super::CHAIN;

const ROWS: usize = 14;

/// # Safety
/// The processor has AVX-512F. `a` holds `depth × 14` values, `b` sample k at `k * b_step` with
/// 32 values, `c` a block of 14 × 32.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn add_f32(
    depth: usize,
    mut a: *const f32,
    mut b: *const f32,
    b_step: usize,
    c: *mut f64,
    c_stride: usize,
) {
    // SAFETY: every access is within what the caller guarantees.
    unsafe {
        // The second level lives in memory: the registers are taken, and it is touched once a chain.
        let mut middle = [[_mm512_setzero_ps(); 2]; ROWS];
        let mut left = depth;
        while left > 0 {
            let chain = left.min(CHAIN);
            let mut sum = [[_mm512_setzero_ps(); 2]; ROWS];
            for _ in 0..chain {
                let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                for (i, sum) in sum.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*a.add(i));
                    sum[0] = _mm512_fmadd_ps(value, b0, sum[0]);
                    sum[1] = _mm512_fmadd_ps(value, b1, sum[1]);
                }
                a = a.add(ROWS);
                b = b.add(b_step);
            }
            for (middle, sum) in middle.iter_mut().zip(&sum) {
                middle[0] = _mm512_add_ps(middle[0], sum[0]);
                middle[1] = _mm512_add_ps(middle[1], sum[1]);
            }
            left -= chain;
        }
        for (i, sums) in middle.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let c = c.add(i * c_stride + half * 16);
                let low = _mm512_cvtps_pd(_mm512_castps512_ps256(sum));
                let high = _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(
                    _mm512_castps_pd(sum),
                )));
                _mm512_storeu_pd(c, _mm512_add_pd(_mm512_loadu_pd(c), low));
                let c = c.add(8);
                _mm512_storeu_pd(c, _mm512_add_pd(_mm512_loadu_pd(c), high));
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512F. `a` holds `depth × 14` values, `b` sample k at `k * b_step` with
/// 16 values, `c` a block of 14 × 16.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn add_f64(
    depth: usize,
    mut a: *const f64,
    mut b: *const f64,
    b_step: usize,
    c: *mut f64,
    c_stride: usize,
) {
    // SAFETY: every access is within what the caller guarantees.
    unsafe {
        let mut sum = [[_mm512_setzero_pd(); 2]; ROWS];
        for _ in 0..depth {
            let (b0, b1) = (_mm512_loadu_pd(b), _mm512_loadu_pd(b.add(8)));
            for (i, sum) in sum.iter_mut().enumerate() {
                let value = _mm512_set1_pd(*a.add(i));
                sum[0] = _mm512_fmadd_pd(value, b0, sum[0]);
                sum[1] = _mm512_fmadd_pd(value, b1, sum[1]);
            }
            a = a.add(ROWS);
            b = b.add(b_step);
        }
        for (i, sums) in sum.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let c = c.add(i * c_stride + half * 8);
                _mm512_storeu_pd(c, _mm512_add_pd(_mm512_loadu_pd(c), sum));
            }
        }
    }
}
