//! The steps between the matrix products on the processor, each one pass over the data, with the widest
//! instructions that there are. burn's own operations would take 13 passes a layer and one call of the C
//! library's error function for each of 1,536 numbers of a token: about as long as the products themselves.
//!
//! The loops are plain Rust; `pulp` compiles each for several instruction sets and chooses when it runs.

use burn_flex::{Flex, FlexTensor, Layout};
use burn_tensor::{Bytes, DType, Shape, Tensor, TensorPrimitive};
use pulp::{Arch, Simd, WithSimd};

use super::Passes;
use crate::bert::{Batch, NormParts, Steps, means_by_product};

/// Numbers that are worked on at a time: a register of AVX-512, two of AVX2, four of NEON.
pub(super) const LANES: usize = 16;
/// Queries that attention works on at a time, so that additions need not wait for each other.
const QUERIES: usize = 4;

impl Steps<Flex> for Passes {
    fn means(x: Tensor<Flex, 2>, batch: &Batch) -> Tensor<Flex, 2> {
        means_by_product(x, batch)
    }

    fn bias_gelu(x: Tensor<Flex, 2>, bias: Tensor<Flex, 1>) -> Tensor<Flex, 2> {
        let [_, size] = x.dims();
        let (mut x, bias) = (rows(x), rows(bias));
        Arch::new().dispatch(BiasGelu { x: x.storage_mut(), bias: &bias.storage::<f32>()[..size] });
        tensor(x)
    }

    fn add_norm(
        x: Tensor<Flex, 2>,
        bias: Tensor<Flex, 1>,
        residual: Tensor<Flex, 2>,
        norm: NormParts<Flex>,
    ) -> Tensor<Flex, 2> {
        let [_, size] = x.dims();
        let (mut x, bias, residual) = (rows(x), rows(bias), rows(residual));
        let (gamma, beta) = (rows(norm.gamma), rows(norm.beta));
        Arch::new().dispatch(AddNorm {
            x: x.storage_mut(),
            bias: &bias.storage::<f32>()[..size],
            residual: residual.storage(),
            gamma: &gamma.storage::<f32>()[..size],
            beta: &beta.storage::<f32>()[..size],
            epsilon: norm.epsilon as f32,
        });
        tensor(x)
    }

    fn self_attention(
        qkv: Tensor<Flex, 2>,
        bias: Tensor<Flex, 1>,
        heads: usize,
        batch: &Batch,
    ) -> Tensor<Flex, 2> {
        let [tokens, width] = qkv.dims();
        let hidden = width / 3;
        let (qkv, bias) = (rows(qkv), rows(bias));
        let mut out = vec![0_f32; tokens * hidden];
        Arch::new().dispatch(Attention {
            qkv: qkv.storage(),
            bias: &bias.storage::<f32>()[..width],
            out: &mut out,
            heads,
            head_size: hidden / heads,
            batch,
        });
        let layout = Layout::contiguous(Shape::new([tokens, hidden]));
        tensor(FlexTensor::new(Bytes::from_elems(out), layout, DType::F32))
    }
}

/// A tensor's numbers, row by row from its buffer's first.
fn rows<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    tensor.into_primitive().tensor().to_contiguous()
}

fn tensor(rows: FlexTensor) -> Tensor<Flex, 2> {
    Tensor::from_primitive(TensorPrimitive::Float(rows))
}

struct BiasGelu<'a> {
    x: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for BiasGelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.x.chunks_exact_mut(self.bias.len()) {
            for (x, bias) in row.iter_mut().zip(self.bias) {
                *x = gelu(*x + bias);
            }
        }
    }
}

/// `x Φ(x)`, within 2e-7 |x| of the exact one.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function as a quotient of two polynomials, within 4e-7: the coefficients of Eigen's `erf` for
/// single precision (`generic_fast_erf_float`), whose fit ends at 4, where the function is 1 but for 2e-8.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let mut above = -2.726_142_3e-10_f32;
    for coefficient in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_4e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        above = above * square + coefficient;
    }
    let mut below = -1.456_607_2e-5_f32;
    for coefficient in [-2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2] {
        below = below * square + coefficient;
    }
    x * above / below
}

struct AddNorm<'a> {
    x: &'a mut [f32],
    bias: &'a [f32],
    residual: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

impl WithSimd for AddNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let size = self.bias.len();
        let per_number = 1.0 / size as f32;
        for (row, residual) in self.x.chunks_exact_mut(size).zip(self.residual.chunks_exact(size)) {
            for ((x, bias), residual) in row.iter_mut().zip(self.bias).zip(residual) {
                *x += bias + residual;
            }
            // Mean first, then the squares of what is left: the mean of squares would cancel.
            let mean = sum(row, |x| x) * per_number;
            let variance = sum(row, |x| (x - mean) * (x - mean)) * per_number;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            for ((x, gamma), beta) in row.iter_mut().zip(self.gamma).zip(self.beta) {
                *x = (*x - mean) * scale * gamma + beta;
            }
        }
    }
}

#[inline(always)]
pub(super) fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0_f32; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += of(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += of(*value);
    }
    fold(sums, |a, b| a + b)
}

/// One number of 16, by halves.
#[inline(always)]
pub(super) fn fold(mut values: [f32; LANES], both: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for at in 0..width {
            values[at] = both(values[at], values[at + width]);
        }
        width /= 2;
    }
    values[0]
}

/// Attention, text by text and head by head. What it reads of a head, at most 256 tokens of 32 numbers in all
/// three parts, stays in the first-level cache.
///
/// ```text
///  keys    [head_size][length, up to a multiple of 16]   turned round: a lane is a key
///  values  [length][head_size]                           as they are, where they are
///  scores  [4 queries][length, up to a multiple of 16]
/// ```
struct Attention<'a> {
    qkv: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
    heads: usize,
    head_size: usize,
    batch: &'a Batch,
}

impl WithSimd for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { qkv, bias, out, heads, head_size, batch } = self;
        let hidden = heads * head_size;
        let width = 3 * hidden;
        let scale = 1.0 / (head_size as f32).sqrt();
        let wide = batch.longest().next_multiple_of(LANES);
        let value_wide = head_size.next_multiple_of(LANES);
        // Values that are whole registers are read where they lie.
        let is_copied = value_wide != head_size;
        let mut keys = vec![0_f32; head_size * wide];
        let mut values = vec![0_f32; batch.longest() * value_wide];
        let mut scores = vec![0_f32; QUERIES * wide];
        let mut queries = vec![0_f32; QUERIES * head_size];
        let mut sums = vec![0_f32; QUERIES * value_wide];
        for span in batch.spans() {
            let length = span.len();
            let wide = length.next_multiple_of(LANES);
            let rows = &qkv[span.start * width..span.end * width];
            let out = &mut out[span.start * hidden..span.end * hidden];
            for head in 0..heads {
                let [q, k, v] = [0, 1, 2].map(|part| part * hidden + head * head_size);
                for (at, row) in rows.chunks_exact(width).enumerate() {
                    let biased = row[k..k + head_size].iter().zip(&bias[k..]);
                    for (keys, (key, bias)) in keys.chunks_exact_mut(wide).zip(biased) {
                        keys[at] = key + bias;
                    }
                    if is_copied {
                        values[at * value_wide..][..head_size]
                            .copy_from_slice(&row[v..v + head_size]);
                    }
                }
                let keys = Rows { numbers: &keys, stride: wide };
                let values = if is_copied {
                    Rows { numbers: &values, stride: value_wide }
                } else {
                    Rows { numbers: &rows[v..], stride: width }
                };
                for first in (0..length).step_by(QUERIES) {
                    let count = QUERIES.min(length - first);
                    for at in 0..count {
                        let row = &rows[(first + at) * width + q..][..head_size];
                        let biased = row.iter().zip(&bias[q..]);
                        let queries = &mut queries[at * head_size..][..head_size];
                        for (to, (query, bias)) in queries.iter_mut().zip(biased) {
                            *to = (query + bias) * scale;
                        }
                    }
                    let these = Rows { numbers: &queries, stride: head_size };
                    products(simd, these, keys, &mut scores, head_size, wide);
                    for row in scores[..count * wide].chunks_exact_mut(wide) {
                        softmax(row, length);
                    }
                    let shares = Rows { numbers: &scores, stride: wide };
                    products(simd, shares, values, &mut sums, length, value_wide);
                    for at in 0..count {
                        let row = &mut out[(first + at) * hidden + head * head_size..][..head_size];
                        let sums = &sums[at * value_wide..][..head_size];
                        for ((out, sum), bias) in row.iter_mut().zip(sums).zip(&bias[v..]) {
                            *out = sum + bias;
                        }
                    }
                }
            }
        }
    }
}

/// Rows of numbers, each so far after the one before.
#[derive(Clone, Copy)]
struct Rows<'a> {
    numbers: &'a [f32],
    stride: usize,
}

/// `left` (`QUERIES` rows of `inner` numbers) times `right` (`inner` rows of `wide` numbers; that and its stride are
/// multiples of 16): four rows of a register each are summed at a time.
#[inline(always)]
fn products<S: Simd>(
    simd: S,
    left: Rows<'_>,
    right: Rows<'_>,
    out: &mut [f32],
    inner: usize,
    wide: usize,
) {
    let [a, b, c, d] = [0, 1, 2, 3].map(|row| &left.numbers[row * left.stride..][..inner]);
    let (numbers, _) = S::as_simd_f32s(right.numbers);
    let (out, _) = S::as_mut_simd_f32s(out);
    let (stride, wide) = (right.stride / S::F32_LANES, wide / S::F32_LANES);
    let times = |factor: &f32, row, sum| simd.mul_add_e_f32s(simd.splat_f32s(*factor), row, sum);
    for column in 0..wide {
        let [mut of_a, mut of_b, mut of_c, mut of_d] = [simd.splat_f32s(0.0); QUERIES];
        let rows = numbers.chunks(stride).map(|row| row[column]);
        for ((((row, a), b), c), d) in rows.zip(a).zip(b).zip(c).zip(d) {
            of_a = times(a, row, of_a);
            of_b = times(b, row, of_b);
            of_c = times(c, row, of_c);
            of_d = times(d, row, of_d);
        }
        for (row, sums) in [of_a, of_b, of_c, of_d].into_iter().enumerate() {
            out[row * wide + column] = sums;
        }
    }
}

/// The softmax of the first `length` numbers of a row; what follows them becomes 0.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32], length: usize) {
    row[length..].fill(f32::NEG_INFINITY);
    let (chunks, _) = row.as_chunks_mut::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in chunks.iter() {
        for (most, value) in most.iter_mut().zip(chunk) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    let most = fold(most, |a, b| if a > b { a } else { b });
    let mut sums = [0_f32; LANES];
    for chunk in chunks.iter_mut() {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *value = exp(*value - most);
            *sum += *value;
        }
    }
    let scale = 1.0 / fold(sums, |a, b| a + b);
    row[..length].iter_mut().for_each(|value| *value *= scale);
    row[length..].fill(0.0);
}

/// `e^x` for `x` of at most 0, within 2e-7 of itself; below -87 as at -87. Cephes' `expf`: a power of two times
/// a polynomial on the half of ln 2 to both sides of 0.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding 1.5 · 2²³ leaves the nearest whole number in the last bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -87.0 { x } else { -87.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    // ln 2 in two parts, the first so short that its product is exact.
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4_f32;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = sum * rest + coefficient;
    }
    let fraction = sum * rest * rest + rest + 1.0;
    fraction * f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The series of the error function, for as far as double precision lets it converge.
    fn erf_series(x: f64) -> f64 {
        if x.abs() > 4.5 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn the_error_function_is_exact_to_single_precision() {
        for step in -6000..=6000 {
            let x = step as f32 / 1000.0;
            let (found, expected) = (f64::from(erf(x)), erf_series(f64::from(x)));
            assert!((found - expected).abs() < 4e-7, "erf({x}) = {found}, expected {expected}");
        }
        assert_eq!((erf(0.0), gelu(0.0)), (0.0, 0.0));
        assert!((gelu(30.0) - 30.0).abs() < 1e-5 && gelu(-30.0).abs() < 1e-5);
    }

    #[test]
    fn the_exponential_is_exact_to_single_precision() {
        for step in 0..=87_000 {
            let x = -(step as f32) / 1000.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "exp({x}) = {found}, not {expected}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn a_softmax_of_any_length_sums_to_one() {
        for length in [1, 2, 15, 16, 17, 256] {
            let mut row: Vec<f32> = (0..256).map(|at| (at % 13) as f32 - 6.0).collect();
            let expected: f64 = row[..length].iter().map(|x| f64::from(*x).exp()).sum();
            let first = f64::from(row[0]).exp() / expected;
            softmax(&mut row, length);
            let sum: f64 = row.iter().map(|x| f64::from(*x)).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{length}: {sum}");
            assert!((f64::from(row[0]) - first).abs() < 1e-6, "{length}");
        }
    }
}
