//! The register block for AVX-512F: 14 rows by two vectors fill the 32 registers, and 8 rows by two still hide the
//! latency of the sums. The panels come as slices and not as pointers: a pointer would be checked for null in builds
//! with debug assertions, in the innermost loop.

use std::arch::x86_64::*;

use super::CHAIN;

/// # Safety
/// The processor has AVX-512F. `c` holds a block of `ROWS` × 32.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn add_f32<const ROWS: usize>(
    a: &[f32],
    b: &[f32],
    b_step: usize,
    c: *mut f64,
    c_stride: usize,
) {
    // SAFETY: every access is within what the caller guarantees.
    unsafe {
        // The second level lives in memory: the registers are taken, and it is touched once a chain.
        let mut middle = [[_mm512_setzero_ps(); 2]; ROWS];
        let mut at = 0usize;
        for chain in a.chunks(CHAIN * ROWS) {
            let mut sum = [[_mm512_setzero_ps(); 2]; ROWS];
            for column in chain.chunks_exact(ROWS) {
                let row = &b[at..][..32];
                let b0 = _mm512_loadu_ps(row[..16].as_ptr());
                let b1 = _mm512_loadu_ps(row[16..].as_ptr());
                for (sum, &value) in sum.iter_mut().zip(column) {
                    let value = _mm512_set1_ps(value);
                    sum[0] = _mm512_fmadd_ps(value, b0, sum[0]);
                    sum[1] = _mm512_fmadd_ps(value, b1, sum[1]);
                }
                at = at.wrapping_add(b_step);
            }
            for (middle, sum) in middle.iter_mut().zip(&sum) {
                middle[0] = _mm512_add_ps(middle[0], sum[0]);
                middle[1] = _mm512_add_ps(middle[1], sum[1]);
            }
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
/// The processor has AVX-512F. `c` holds a block of `ROWS` × 16.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn add_f64<const ROWS: usize>(
    a: &[f64],
    b: &[f64],
    b_step: usize,
    c: *mut f64,
    c_stride: usize,
) {
    // SAFETY: every access is within what the caller guarantees.
    unsafe {
        let mut sum = [[_mm512_setzero_pd(); 2]; ROWS];
        let mut at = 0usize;
        for column in a.chunks_exact(ROWS) {
            let row = &b[at..][..16];
            let b0 = _mm512_loadu_pd(row[..8].as_ptr());
            let b1 = _mm512_loadu_pd(row[8..].as_ptr());
            for (sum, &value) in sum.iter_mut().zip(column) {
                let value = _mm512_set1_pd(value);
                sum[0] = _mm512_fmadd_pd(value, b0, sum[0]);
                sum[1] = _mm512_fmadd_pd(value, b1, sum[1]);
            }
            at = at.wrapping_add(b_step);
        }
        // Away from the registers: a loop that is not unrolled would make `sum` live in memory all along.
        let mut total = [[_mm512_setzero_pd(); 2]; ROWS];
        for (total, sum) in total.iter_mut().zip(&sum) {
            total[0] = _mm512_add_pd(total[0], sum[0]);
            total[1] = _mm512_add_pd(total[1], sum[1]);
        }
        for (i, sums) in total.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let c = c.add(i * c_stride + half * 8);
                _mm512_storeu_pd(c, _mm512_add_pd(_mm512_loadu_pd(c), sum));
            }
        }
    }
}
