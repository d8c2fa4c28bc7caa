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
        for i in 0..ROWS {
            fetch(c.add(i * c_stride));
            fetch(c.add(i * c_stride + 8));
            fetch(c.add(i * c_stride + 16));
            fetch(c.add(i * c_stride + 24));
        }
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
        for i in 0..ROWS {
            fetch(c.add(i * c_stride));
            fetch(c.add(i * c_stride + 8));
        }
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

/// Asks for a cache line of the result: it is there when the sums are.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn fetch(c: *const f64) {
    // SAFETY: a prefetch reads nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(c.cast()) }
}

/// Writes the columns of a square of 8 × 8 as lines of a panel: the first `across` elements of `lines` of them.
///
/// # Safety
/// The processor has AVX-512F. `square` holds 64 elements of 8 bytes, `panel` `lines` lines of `across` at steps of `width`.
#[inline]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn turn_f64(
    square: *const u8,
    panel: *mut u8,
    width: usize,
    across: usize,
    lines: usize,
) {
    // SAFETY: every access is within what the caller guarantees.
    unsafe {
        let (square, panel) = (square.cast::<f64>(), panel.cast::<f64>());
        let mut rows = [_mm512_setzero_pd(); 8];
        for pair in 0..4 {
            let even = _mm512_loadu_pd(square.add(16 * pair));
            let odd = _mm512_loadu_pd(square.add(16 * pair + 8));
            rows[2 * pair] = _mm512_unpacklo_pd(even, odd);
            rows[2 * pair + 1] = _mm512_unpackhi_pd(even, odd);
        }
        let mut turned = [_mm512_setzero_pd(); 8];
        for odd in 0..2 {
            let low = _mm512_shuffle_f64x2::<0x88>(rows[odd], rows[2 + odd]);
            let high = _mm512_shuffle_f64x2::<0x88>(rows[4 + odd], rows[6 + odd]);
            turned[odd] = _mm512_shuffle_f64x2::<0x88>(low, high);
            turned[4 + odd] = _mm512_shuffle_f64x2::<0xdd>(low, high);
            let low = _mm512_shuffle_f64x2::<0xdd>(rows[odd], rows[2 + odd]);
            let high = _mm512_shuffle_f64x2::<0xdd>(rows[4 + odd], rows[6 + odd]);
            turned[2 + odd] = _mm512_shuffle_f64x2::<0x88>(low, high);
            turned[6 + odd] = _mm512_shuffle_f64x2::<0xdd>(low, high);
        }
        let mask = (0xffu32 >> (8 - across)) as __mmask8;
        for (line, &values) in turned.iter().take(lines).enumerate() {
            _mm512_mask_storeu_pd(panel.add(line * width), mask, values);
        }
    }
}

/// As [`turn_f64`], of 16 × 16 elements of 4 bytes.
///
/// # Safety
/// The processor has AVX-512F. `square` holds 256 elements of 4 bytes, `panel` `lines` lines of `across` at steps of `width`.
#[inline]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn turn_f32(
    square: *const u8,
    panel: *mut u8,
    width: usize,
    across: usize,
    lines: usize,
) {
    // SAFETY: every access is within what the caller guarantees.
    unsafe {
        let (square, panel) = (square.cast::<f32>(), panel.cast::<f32>());
        // Four rows at a time: lane L of the c-th vector holds their column 4L + c.
        let mut rows = [_mm512_setzero_ps(); 16];
        for four in 0..4 {
            let row = |i: usize| _mm512_loadu_ps(square.add(64 * four + 16 * i));
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let (low, high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (low2, high2) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (low, low2) = (_mm512_castps_pd(low), _mm512_castps_pd(low2));
            let (high, high2) = (_mm512_castps_pd(high), _mm512_castps_pd(high2));
            rows[4 * four] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low2));
            rows[4 * four + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low2));
            rows[4 * four + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high2));
            rows[4 * four + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high2));
        }
        let mut turned = [_mm512_setzero_ps(); 16];
        for c in 0..4 {
            let low = _mm512_shuffle_f32x4::<0x88>(rows[c], rows[4 + c]);
            let high = _mm512_shuffle_f32x4::<0x88>(rows[8 + c], rows[12 + c]);
            turned[c] = _mm512_shuffle_f32x4::<0x88>(low, high);
            turned[8 + c] = _mm512_shuffle_f32x4::<0xdd>(low, high);
            let low = _mm512_shuffle_f32x4::<0xdd>(rows[c], rows[4 + c]);
            let high = _mm512_shuffle_f32x4::<0xdd>(rows[8 + c], rows[12 + c]);
            turned[4 + c] = _mm512_shuffle_f32x4::<0x88>(low, high);
            turned[12 + c] = _mm512_shuffle_f32x4::<0xdd>(low, high);
        }
        let mask = (0xffffu32 >> (16 - across)) as __mmask16;
        for (line, &values) in turned.iter().take(lines).enumerate() {
            _mm512_mask_storeu_ps(panel.add(line * width), mask, values);
        }
    }
}
