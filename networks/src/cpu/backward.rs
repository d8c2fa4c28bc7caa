//! The gradients of the steps between the matrix products on the processor, by hand: each is one pass forward and
//! one back over the data, where burn would keep and walk every intermediate of its own operations. The formulas are
//! the derivatives of those in `bert/backend.rs`; the tests hold them against burn's and against differences.

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_flex::{Flex, FlexTensor, Layout};
use burn_tensor::{Bytes, DType, Shape, Tensor, TensorPrimitive};
use pulp::{Arch, Simd, WithSimd};

use super::Passes;
use super::flex::{LANES, erf, exp, fold, softmax, sum};
use crate::bert::{Batch, NormParts, Steps, means_by_product};

/// A tensor that burn differentiates.
type Tracked = <Diff as burn_tensor::backend::BackendTypes>::FloatTensorPrimitive;

/// The backend that differentiates.
type Diff = Autodiff<Flex, NoCheckpointing>;

impl Steps<Diff> for Passes {
    fn means(x: Tensor<Diff, 2>, batch: &Batch) -> Tensor<Diff, 2> {
        means_by_product(x, batch)
    }

    fn bias_gelu(x: Tensor<Diff, 2>, bias: Tensor<Diff, 1>) -> Tensor<Diff, 2> {
        let (x, bias) = (tracked(x), tracked(bias));
        let inputs = (x.primitive.clone(), bias.primitive.clone());
        let out = <Self as Steps<Flex>>::bias_gelu(plain(x.primitive), plain(bias.primitive));
        let out = out.into_primitive().tensor();
        let prepared =
            GeluBack.prepare::<NoCheckpointing>([x.node, bias.node]).compute_bound().stateful();
        Tensor::from_primitive(TensorPrimitive::Float(match prepared {
            OpsKind::Tracked(step) => step.finish(inputs, out),
            OpsKind::UnTracked(step) => step.finish(out),
        }))
    }

    fn add_norm(
        x: Tensor<Diff, 2>,
        bias: Tensor<Diff, 1>,
        residual: Tensor<Diff, 2>,
        norm: NormParts<Diff>,
    ) -> Tensor<Diff, 2> {
        let [tokens, size] = x.dims();
        let (x, bias, residual) = (tracked(x), tracked(bias), tracked(residual));
        let (gamma, beta) = (tracked(norm.gamma), tracked(norm.beta));
        let mut scaled = flat(x.primitive).storage::<f32>().to_vec();
        let mut scales = vec![0_f32; tokens];
        let mut out = vec![0_f32; tokens * size];
        let gammas = flat(gamma.primitive);
        Arch::new().dispatch(Norming {
            x: &mut scaled,
            bias: flat(bias.primitive).storage(),
            residual: flat(residual.primitive).storage(),
            gamma: gammas.storage(),
            beta: flat(beta.primitive).storage(),
            epsilon: norm.epsilon as f32,
            scales: &mut scales,
            out: &mut out,
        });
        let nodes = [x.node, bias.node, residual.node, gamma.node, beta.node];
        let out = matrix(out, tokens, size);
        let prepared = NormBack.prepare::<NoCheckpointing>(nodes).compute_bound().stateful();
        Tensor::from_primitive(TensorPrimitive::Float(match prepared {
            OpsKind::Tracked(step) => {
                step.finish((matrix(scaled, tokens, size), vector(scales), gammas), out)
            }
            OpsKind::UnTracked(step) => step.finish(out),
        }))
    }

    fn self_attention(
        qkv: Tensor<Diff, 2>,
        bias: Tensor<Diff, 1>,
        heads: usize,
        batch: &Batch,
    ) -> Tensor<Diff, 2> {
        let (qkv, bias) = (tracked(qkv), tracked(bias));
        let (of_qkv, of_bias) = (qkv.primitive.clone(), bias.primitive.clone());
        let (plain_qkv, plain_bias) = (plain(qkv.primitive), plain(bias.primitive));
        let out = <Self as Steps<Flex>>::self_attention(plain_qkv, plain_bias, heads, batch);
        let out = out.into_primitive().tensor();
        let prepared =
            AttentionBack.prepare::<NoCheckpointing>([qkv.node, bias.node]).compute_bound();
        Tensor::from_primitive(TensorPrimitive::Float(match prepared.stateful() {
            OpsKind::Tracked(step) => step.finish((of_qkv, of_bias, heads, batch.clone()), out),
            OpsKind::UnTracked(step) => step.finish(out),
        }))
    }
}

fn tracked<const D: usize>(tensor: Tensor<Diff, D>) -> Tracked {
    tensor.into_primitive().tensor()
}

fn plain<const D: usize>(tensor: FlexTensor) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

fn flat(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

fn matrix(values: Vec<f32>, rows: usize, columns: usize) -> FlexTensor {
    let layout = Layout::contiguous(Shape::new([rows, columns]));
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}

fn vector(values: Vec<f32>) -> FlexTensor {
    let layout = Layout::contiguous(Shape::new([values.len()]));
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}

/// Back through `gelu(x + bias)`: `x`, `bias`.
#[derive(Debug)]
struct GeluBack;

impl Backward<Flex, 2> for GeluBack {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut grad = flat(grads.consume::<Flex>(&ops.node));
        let (x, bias) = (flat(ops.state.0), flat(ops.state.1));
        let bias: &[f32] = bias.storage();
        let mut of_bias = vec![0_f32; bias.len()];
        Arch::new().dispatch(GeluPass {
            x: x.storage(),
            bias,
            grad: grad.storage_mut(),
            of_bias: &mut of_bias,
        });
        let [x, bias] = ops.parents;
        if let Some(node) = bias {
            grads.register::<Flex>(node.id, vector(of_bias));
        }
        if let Some(node) = x {
            grads.register::<Flex>(node.id, grad);
        }
    }
}

struct GeluPass<'a> {
    x: &'a [f32],
    bias: &'a [f32],
    grad: &'a mut [f32],
    of_bias: &'a mut [f32],
}

impl WithSimd for GeluPass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        /// `1 / sqrt(2 pi)`, of the normal density.
        const DENSITY: f32 = 0.398_942_3;
        let size = self.bias.len();
        for (row, grad) in self.x.chunks_exact(size).zip(self.grad.chunks_exact_mut(size)) {
            let columns = grad.iter_mut().zip(row).zip(self.bias).zip(self.of_bias.iter_mut());
            for (((grad, x), bias), of_bias) in columns {
                let x = x + bias;
                let share = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
                // Past 13 the density is 0 in single precision; the exponent then stays in range.
                let square = (x * x).min(172.0);
                *grad *= share + x * DENSITY * exp(-0.5 * square);
                *of_bias += *grad;
            }
        }
    }
}

/// `s = x + bias + residual`, `x` becomes `(s - mean) / deviation`, `out` that times gamma plus beta.
struct Norming<'a> {
    x: &'a mut [f32],
    bias: &'a [f32],
    residual: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    /// One over each row's deviation.
    scales: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for Norming<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let size = self.bias.len();
        let per_number = 1.0 / size as f32;
        let rows = self.x.chunks_exact_mut(size).zip(self.residual.chunks_exact(size));
        let answers = self.out.chunks_exact_mut(size).zip(self.scales);
        for ((row, residual), (out, scale)) in rows.zip(answers) {
            for ((x, bias), residual) in row.iter_mut().zip(self.bias).zip(residual) {
                *x += bias + residual;
            }
            let mean = sum(row, |x| x) * per_number;
            let variance = sum(row, |x| (x - mean) * (x - mean)) * per_number;
            *scale = 1.0 / (variance + self.epsilon).sqrt();
            let columns = row.iter_mut().zip(out).zip(self.gamma).zip(self.beta);
            for (((x, out), gamma), beta) in columns {
                *x = (*x - mean) * *scale;
                *out = *x * gamma + beta;
            }
        }
    }
}

/// Back through `layer_norm(x + bias + residual)`: `x`, `bias`, `residual`, `gamma`, `beta`.
#[derive(Debug)]
struct NormBack;

impl Backward<Flex, 5> for NormBack {
    /// The scaled numbers, one over the deviations, gamma.
    type State = (FlexTensor, FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let mut grad = flat(grads.consume::<Flex>(&ops.node));
        let (scaled, scales, gamma) = ops.state;
        let size = gamma.storage::<f32>().len();
        let [mut of_gamma, mut of_beta, mut of_bias] = [(); 3].map(|()| vec![0_f32; size]);
        Arch::new().dispatch(NormPass {
            scaled: scaled.storage(),
            scales: scales.storage(),
            gamma: gamma.storage(),
            grad: grad.storage_mut(),
            of_gamma: &mut of_gamma,
            of_beta: &mut of_beta,
            of_bias: &mut of_bias,
        });
        let [x, bias, residual, gamma, beta] = ops.parents;
        for (node, values) in [(bias, of_bias), (gamma, of_gamma), (beta, of_beta)] {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, vector(values));
            }
        }
        for node in [x, residual].into_iter().flatten() {
            grads.register::<Flex>(node.id, grad.clone());
        }
    }
}

struct NormPass<'a> {
    scaled: &'a [f32],
    scales: &'a [f32],
    gamma: &'a [f32],
    grad: &'a mut [f32],
    of_gamma: &'a mut [f32],
    of_beta: &'a mut [f32],
    of_bias: &'a mut [f32],
}

impl WithSimd for NormPass<'_> {
    type Output = ();

    /// With `h` the scaled row, `g` its gradient times gamma: `(g - mean(g) - h mean(g h)) / deviation`.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let size = self.gamma.len();
        let per_number = 1.0 / size as f32;
        let mut both = vec![0_f32; size];
        let rows = self.grad.chunks_exact_mut(size).zip(self.scaled.chunks_exact(size));
        for ((grad, scaled), scale) in rows.zip(self.scales) {
            let sums = self.of_gamma.iter_mut().zip(self.of_beta.iter_mut());
            let columns = grad.iter_mut().zip(scaled).zip(self.gamma).zip(&mut both).zip(sums);
            for ((((grad, scaled), gamma), both), (of_gamma, of_beta)) in columns {
                *of_gamma += *grad * scaled;
                *of_beta += *grad;
                *grad *= gamma;
                *both = *grad * scaled;
            }
            let mean = sum(grad, |x| x) * per_number;
            let along = sum(&both, |x| x) * per_number;
            let columns = grad.iter_mut().zip(scaled).zip(self.of_bias.iter_mut());
            for ((grad, scaled), of_bias) in columns {
                *grad = (*grad - mean - scaled * along) * scale;
                *of_bias += *grad;
            }
        }
    }
}

/// Back through attention: `qkv`, `bias`. The shares are computed anew, which costs less than keeping them.
#[derive(Debug)]
struct AttentionBack;

impl Backward<Flex, 2> for AttentionBack {
    type State = (FlexTensor, FlexTensor, usize, Batch);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = flat(grads.consume::<Flex>(&ops.node));
        let (qkv, bias, heads, batch) = ops.state;
        let (qkv, bias) = (flat(qkv), flat(bias));
        let bias: &[f32] = bias.storage();
        let width = bias.len();
        let mut of_qkv = vec![0_f32; batch.tokens() * width];
        let mut of_bias = vec![0_f32; width];
        Arch::new().dispatch(AttentionPass {
            qkv: qkv.storage(),
            bias,
            grad: grad.storage(),
            of_qkv: &mut of_qkv,
            of_bias: &mut of_bias,
            heads,
            batch: &batch,
        });
        let [qkv, bias] = ops.parents;
        if let Some(node) = bias {
            grads.register::<Flex>(node.id, vector(of_bias));
        }
        if let Some(node) = qkv {
            grads.register::<Flex>(node.id, matrix(of_qkv, batch.tokens(), width));
        }
    }
}

struct AttentionPass<'a> {
    qkv: &'a [f32],
    bias: &'a [f32],
    grad: &'a [f32],
    of_qkv: &'a mut [f32],
    of_bias: &'a mut [f32],
    heads: usize,
    batch: &'a Batch,
}

impl WithSimd for AttentionPass<'_> {
    type Output = ();

    /// With `P = softmax(s Q K')` and `D` the gradient of `P V`: `dV = P' D`, `dP = D V'`,
    /// `dS = P (dP - sum(P dP))` row by row, `dQ = s dS K`, `dK = s dS' Q`.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.bias.len();
        let (hidden, size) = (width / 3, width / 3 / self.heads);
        let scale = 1.0 / (size as f32).sqrt();
        let longest = self.batch.longest();
        // Queries, keys, values and the gradient of one head of one text, then the gradients of the first three.
        let mut parts = [(); 4].map(|()| vec![0_f32; longest * size]);
        let mut backs = [(); 3].map(|()| vec![0_f32; longest * size]);
        let mut shares = vec![0_f32; longest.next_multiple_of(LANES)];
        let mut turns = vec![0_f32; longest];
        for span in self.batch.spans() {
            let length = span.len();
            let rows = &self.qkv[span.start * width..span.end * width];
            let grad = &self.grad[span.start * hidden..span.end * hidden];
            let of_rows = &mut self.of_qkv[span.start * width..span.end * width];
            for head in 0..self.heads {
                for (part, to) in parts.iter_mut().enumerate() {
                    let is_grad = part == 3;
                    let first = head * size + if is_grad { 0 } else { part * hidden };
                    let from =
                        if is_grad { grad.chunks_exact(hidden) } else { rows.chunks_exact(width) };
                    let factor = if part == 0 { scale } else { 1.0 };
                    for (to, row) in to.chunks_exact_mut(size).zip(from) {
                        let bias = if is_grad { &[] } else { &self.bias[first..first + size] };
                        to.copy_from_slice(&row[first..first + size]);
                        to.iter_mut().zip(bias).for_each(|(x, bias)| *x = (*x + bias) * factor);
                    }
                }
                backs.iter_mut().for_each(|back| back[..length * size].fill(0.0));
                let [queries, keys, values, grads] = &parts;
                let [of_queries, of_keys, of_values] = &mut backs;
                let wide = length.next_multiple_of(LANES);
                for at in 0..length {
                    let line = at * size..(at + 1) * size;
                    let (query, grad) = (&queries[line.clone()], &grads[line.clone()]);
                    for (share, key) in shares.iter_mut().zip(keys.chunks_exact(size)).take(length)
                    {
                        *share = dot(query, key);
                    }
                    softmax(&mut shares[..wide], length);
                    let mut mean = 0.0;
                    let others = values.chunks_exact(size).zip(of_values.chunks_exact_mut(size));
                    let cells = turns.iter_mut().zip(&shares).zip(others).take(length);
                    for ((turn, share), (value, of_value)) in cells {
                        *turn = dot(grad, value);
                        mean += *turn * share;
                        add(of_value, grad, *share);
                    }
                    let of_query = &mut of_queries[line];
                    let others = keys.chunks_exact(size).zip(of_keys.chunks_exact_mut(size));
                    let cells = turns.iter().zip(&shares).zip(others).take(length);
                    for ((turn, share), (key, of_key)) in cells {
                        let back = share * (turn - mean);
                        add(of_query, key, back * scale);
                        // The query is scaled already.
                        add(of_key, query, back);
                    }
                }
                for (part, back) in backs.iter().enumerate() {
                    let first = part * hidden + head * size;
                    let lines = of_rows.chunks_exact_mut(width).zip(back.chunks_exact(size));
                    for (row, back) in lines {
                        row[first..first + size].copy_from_slice(back);
                        add(&mut self.of_bias[first..first + size], back, 1.0);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (many_a, rest_a) = a.as_chunks::<LANES>();
    let (many_b, rest_b) = b.as_chunks::<LANES>();
    let mut sums = [0_f32; LANES];
    for (a, b) in many_a.iter().zip(many_b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(rest_a).zip(rest_b) {
        *sum += a * b;
    }
    fold(sums, |a, b| a + b)
}

#[inline(always)]
fn add(to: &mut [f32], from: &[f32], factor: f32) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from * factor);
}
