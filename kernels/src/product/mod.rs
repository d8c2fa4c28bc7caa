//! Blocks of A·Bᵀ: the inner product of every row of A with every row of B, accumulated in f64.
//!
//! Correlation, similarity and clustering all spend their time here. A general matrix product would
//! do, but it writes its result in the type of its input, and it sums in an order that depends on
//! the sizes. This one adds to an f64 block whatever the input type, always in steps of one
//! number of samples, so that a coefficient has the same bits whatever the tile, and an f32 product stays
//! within 1e-6 of the f64 one.
//!
//! ```text
//!   A packed: panels of `rows` rows      B packed: panels of `cols` rows     C: f64, row-major
//!   [k0: r0 r1 … r13][k1: r0 …] …        [k0: c0 … c31][k1: c0 …] …          rows x cols blocks
//! ```
//!
//! Why f32 stays accurate: the register accumulators are emptied every [`CHAIN`] samples into a
//! second f32 level, and that one into f64 every [`DEPTH_F32`]. Adding equal terms rounds the same way
//! each time, so that one long f32 chain over n terms can be off by n·2⁻²⁶·4/3 of the sum; two
//! levels of 32 and 8 are off by 0.8e-6 at most for such terms, and by far less for others.
//!
//! The scheme of packed panels and a register block is Goto & van de Geijn, "Anatomy of
//! High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::simd::{Work, vectorised};

/// Samples of f32 that are packed at a time, and after which a sum goes to f64.
const DEPTH_F32: usize = 256;
/// The same of f64, where only the cache sets a bound.
const DEPTH_F64: usize = 512;
/// Rows of A in the panels of a low kernel.
const LOW_ROWS: usize = 8;
/// Samples an f32 sum runs over in one register.
const CHAIN: usize = 32;

/// Adds the products of one panel of A with one panel of B to a block of C.
///
/// `(a, b, b_step, c, c_stride)`: `a` is packed; sample k of `b` begins at `b[k * b_step]`.
/// A `b_step` of 1 makes the columns of the block the lags of a single series.
type Add<T> = unsafe fn(&[T], &[T], usize, *mut f64, usize);

/// A register block and the code for it.
#[derive(Clone, Copy)]
pub struct MicroKernel<T> {
    /// Rows of A in a panel.
    pub(crate) rows: usize,
    /// Rows of B in a panel.
    pub(crate) cols: usize,
    /// Samples that are packed at a time.
    pub(crate) depth: usize,
    /// Instruction set, for reports.
    pub(crate) name: &'static str,
    add: Add<T>,
    /// The same for panels of [`LOW_ROWS`], where there is one.
    low: Option<Add<T>>,
}

impl<T> MicroKernel<T> {
    /// The kernel for `rows` rows of A and no more: sixteen are two panels of 8 rows, not two of 14. The products are
    /// the same, bit for bit.
    pub(crate) fn for_rows(self, rows: usize) -> Self {
        match self.low {
            // A low panel reads B more often: it must save an eighth.
            Some(add)
                if 8 * rows.next_multiple_of(LOW_ROWS) < 7 * rows.next_multiple_of(self.rows) =>
            {
                Self { rows: LOW_ROWS, add, low: None, ..self }
            }
            _ => self,
        }
    }

    /// Adds to the top left `rows` × `cols` of `c` the products over `depth` samples.
    ///
    /// `a` holds `depth × rows` packed values. Sample k of B's panel is `b[k * b_step..][..cols]`.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn add(
        &self,
        depth: usize,
        a: &[T],
        b: &[T],
        b_step: usize,
        c: &mut [f64],
        c_stride: usize,
    ) {
        if depth == 0 {
            return;
        }
        assert!(
            a.len() >= depth * self.rows
                && b.len() >= (depth - 1) * b_step + self.cols
                && c_stride >= self.cols
                && c.len() >= (self.rows - 1) * c_stride + self.cols,
            "panel shorter than its block"
        );
        // SAFETY: the lengths were just checked; the instruction set was checked when the kernel was chosen.
        unsafe { (self.add)(&a[..depth * self.rows], b, b_step, c.as_mut_ptr(), c_stride) }
    }
}

pub(crate) fn micro_kernel_f32() -> MicroKernel<f32> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return MicroKernel {
                rows: 14,
                cols: 32,
                depth: DEPTH_F32,
                name: "avx512f",
                add: avx512::add_f32::<14>,
                low: Some(avx512::add_f32::<LOW_ROWS>),
            };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return MicroKernel {
                rows: 6,
                cols: 16,
                depth: DEPTH_F32,
                name: "avx2+fma",
                add: avx2::add_f32,
                low: None,
            };
        }
    }
    portable::kernel(DEPTH_F32)
}

pub(crate) fn micro_kernel_f64() -> MicroKernel<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return MicroKernel {
                rows: 14,
                cols: 16,
                depth: DEPTH_F64,
                name: "avx512f",
                add: avx512::add_f64::<14>,
                low: Some(avx512::add_f64::<LOW_ROWS>),
            };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return MicroKernel {
                rows: 6,
                cols: 8,
                depth: DEPTH_F64,
                name: "avx2+fma",
                add: avx2::add_f64,
                low: None,
            };
        }
    }
    portable::kernel(DEPTH_F64)
}

/// Packs up to `width` rows into one panel: `panel[k * width + r] = convert(r, rows[r][k])`.
/// Rows that are not there become zeros.
pub(crate) fn pack<S: Copy, T: Copy + Default>(
    panel: &mut [T],
    width: usize,
    rows: &[&[S]],
    convert: impl Fn(usize, S) -> T,
) {
    vectorised(Packing { panel, width, rows, convert });
}

struct Packing<'a, S, T, F> {
    panel: &'a mut [T],
    width: usize,
    rows: &'a [&'a [S]],
    convert: F,
}

impl<S: Copy, T: Copy + Default, F: Fn(usize, S) -> T> Work for Packing<'_, S, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if level() == Level::Avx512 && size_of::<T>() == size_of::<f64>() {
            return self.turned::<8>(avx512::turn_f64);
        } else if level() == Level::Avx512 && size_of::<T>() == size_of::<f32>() {
            return self.turned::<16>(avx512::turn_f32);
        }
        let Self { panel, width, rows, convert } = self;
        if rows.len() < width {
            panel.fill(T::default());
        }
        // Sixteen samples at a time: converted as vectors, then written within a few cache lines.
        const BLOCK: usize = 16;
        let depth = panel.len() / width;
        for start in (0..depth).step_by(BLOCK) {
            let block = BLOCK.min(depth - start);
            for (r, row) in rows.iter().enumerate() {
                let converted = converted::<_, _, BLOCK>(row, start, |value| convert(r, value));
                let lines = panel[start * width..].chunks_exact_mut(width);
                for (line, &value) in lines.zip(&converted[..block]) {
                    line[r] = value;
                }
            }
        }
    }
}

/// A square of `N` × `N` elements, its place in a panel, how wide the panel is, and how many elements of how many of its
/// lines there are.
#[cfg(target_arch = "x86_64")]
type Turn = unsafe fn(*const u8, *mut u8, usize, usize, usize);

impl<S: Copy, T: Copy + Default, F: Fn(usize, S) -> T> Packing<'_, S, T, F> {
    /// Squares of `N` rows × `N` samples, turned in registers. `turn` is for elements of the size of `T`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    #[allow(unsafe_code)]
    fn turned<const N: usize>(self, turn: Turn) {
        let Self { panel, width, rows, convert } = self;
        let depth = panel.len() / width;
        for row0 in (0..width).step_by(N) {
            let there = rows.get(row0..).unwrap_or_default();
            let there = &there[..there.len().min(N)];
            let across = N.min(width - row0);
            for start in (0..depth).step_by(N) {
                let mut square = [[T::default(); N]; N];
                for (r, (square, row)) in square.iter_mut().zip(there).enumerate() {
                    *square = converted(row, start, |value| convert(row0 + r, value));
                }
                let lines = N.min(depth - start);
                let place = &mut panel[start * width + row0..][..(lines - 1) * width + across];
                // SAFETY: the processor has AVX-512; the square is whole, and so is its place; an element is moved as
                // the bytes that it is.
                unsafe {
                    turn(square.as_ptr().cast(), place.as_mut_ptr().cast(), width, across, lines);
                }
            }
        }
    }
}

/// `N` values of a row from `start` on, converted; what is beyond its end is the default.
#[inline(always)]
fn converted<S: Copy, T: Copy + Default, const N: usize>(
    row: &[S],
    start: usize,
    convert: impl Fn(S) -> T,
) -> [T; N] {
    let mut converted = [T::default(); N];
    if let Some(values) = row.get(start..start + N) {
        for (converted, &value) in converted.iter_mut().zip(values) {
            *converted = convert(value);
        }
    } else {
        for (converted, &value) in converted.iter_mut().zip(&row[start..]) {
            *converted = convert(value);
        }
    }
    converted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;

    fn agrees<T: Element>(kernel: MicroKernel<T>, bound: f64) {
        for depth in [0, 1, 31, 32, 33, 255, 256] {
            let a: Vec<Vec<T>> = (0..kernel.rows)
                .map(|r| {
                    (0..depth).map(|k| T::from_f64(((r * 31 + k * 7) % 19) as f64 - 9.0)).collect()
                })
                .collect();
            let b: Vec<Vec<T>> = (0..kernel.cols)
                .map(|r| {
                    (0..depth).map(|k| T::from_f64(((r * 17 + k * 5) % 23) as f64 - 11.0)).collect()
                })
                .collect();
            let (mut packed_a, mut packed_b) =
                (vec![T::default(); depth * kernel.rows], vec![T::default(); depth * kernel.cols]);
            let slices = |rows: &'_ [Vec<T>]| -> Vec<Vec<T>> { rows.to_vec() };
            let (rows_a, rows_b) = (slices(&a), slices(&b));
            pack(
                &mut packed_a,
                kernel.rows,
                &rows_a.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                |_, v| v,
            );
            pack(
                &mut packed_b,
                kernel.cols,
                &rows_b.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                |_, v| v,
            );
            let stride = kernel.cols + 3;
            let mut c = vec![1.0; kernel.rows * stride];
            kernel.add(depth, &packed_a, &packed_b, kernel.cols, &mut c, stride);
            for i in 0..kernel.rows {
                for j in 0..stride {
                    let expected = if j < kernel.cols {
                        1.0 + a[i]
                            .iter()
                            .zip(&b[j])
                            .map(|(x, y)| x.to_f64() * y.to_f64())
                            .sum::<f64>()
                    } else {
                        1.0
                    };
                    let found = c[i * stride + j];
                    assert!(
                        (found - expected).abs() <= bound,
                        "{} depth {depth} [{i},{j}]: {found} {expected}",
                        kernel.name
                    );
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_products() {
        // Small integers: exact in either type.
        agrees(micro_kernel_f32(), 0.0);
        agrees(micro_kernel_f64(), 0.0);
        agrees(micro_kernel_f32().for_rows(1), 0.0);
        agrees(micro_kernel_f64().for_rows(1), 0.0);
        agrees(portable::kernel::<f32>(DEPTH_F32), 0.0);
        agrees(portable::kernel::<f64>(DEPTH_F64), 0.0);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            agrees(
                MicroKernel {
                    rows: 6,
                    cols: 16,
                    depth: DEPTH_F32,
                    name: "avx2+fma",
                    add: avx2::add_f32,
                    low: None,
                },
                0.0,
            );
            agrees(
                MicroKernel {
                    rows: 6,
                    cols: 8,
                    depth: DEPTH_F64,
                    name: "avx2+fma",
                    add: avx2::add_f64,
                    low: None,
                },
                0.0,
            );
        }
    }

    #[test]
    fn a_step_of_one_makes_columns_of_lags() {
        let kernel = micro_kernel_f64();
        let series: Vec<f64> = (0..kernel.cols + 9).map(|k| (k * k % 11) as f64).collect();
        let a: Vec<f64> = (0..10 * kernel.rows).map(|k| (k % 5) as f64).collect();
        let mut c = vec![0.0; kernel.rows * kernel.cols];
        kernel.add(10, &a, &series, 1, &mut c, kernel.cols);
        for i in 0..kernel.rows {
            for lag in 0..kernel.cols {
                let expected: f64 = (0..10).map(|k| a[k * kernel.rows + i] * series[k + lag]).sum();
                assert_eq!(c[i * kernel.cols + lag], expected);
            }
        }
    }
}
