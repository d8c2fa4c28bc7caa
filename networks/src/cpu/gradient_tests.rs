//! Every step that is differentiated by hand, against central differences of the same formula in double precision and
//! against what burn makes of the general form.

#![allow(clippy::unwrap_used)]
use burn_autodiff::Autodiff;
use burn_flex::Flex;
use burn_tensor::{Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Passes;
use crate::bert::{
    Batch, NormParts, Steps, add_norm, bias_gelu, means, means_by_product, mixed_product,
    self_attention,
};

type B = Autodiff<Flex>;

/// Half the width of a difference.
const WIDTH: f64 = 1e-5;
/// What single precision may lose over these sizes.
const TOLERANCE: f64 = 2e-5;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-1.0_f32..1.0)).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

fn leaf<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<B, D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, &Default::default()).require_grad()
}

/// The gradients of `sum(weights * out)` with respect to the inputs.
fn gradients(out: Tensor<B, 2>, weights: &[f32], inputs: &[Input]) -> Vec<Vec<f32>> {
    let weights =
        Tensor::from_data(TensorData::new(weights.to_vec(), out.dims()), &Default::default());
    let gradients = (out * weights).sum().backward();
    let of = |input: &Input| match input {
        Input::Matrix(tensor) => tensor.grad(&gradients).unwrap().into_data().to_vec().unwrap(),
        Input::Vector(tensor) => tensor.grad(&gradients).unwrap().into_data().to_vec().unwrap(),
    };
    inputs.iter().map(of).collect()
}

enum Input {
    Matrix(Tensor<B, 2>),
    Vector(Tensor<B, 1>),
}

/// Central differences of a function of several lists of numbers.
fn differences(inputs: &[Vec<f64>], of: impl Fn(&[Vec<f64>]) -> f64) -> Vec<Vec<f64>> {
    let mut moved = inputs.to_vec();
    let mut all = Vec::new();
    for list in 0..inputs.len() {
        let mut gradient = Vec::new();
        for at in 0..inputs[list].len() {
            let value = inputs[list][at];
            moved[list][at] = value + WIDTH;
            let above = of(&moved);
            moved[list][at] = value - WIDTH;
            gradient.push((above - of(&moved)) / (2.0 * WIDTH));
            moved[list][at] = value;
        }
        all.push(gradient);
    }
    all
}

fn assert_close(step: &str, found: &[Vec<f32>], expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len());
    for (input, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len());
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            let most = TOLERANCE * expected.abs().max(1.0);
            assert!(error < most, "{step}: input {input}, number {at}: {found}, not {expected}");
        }
    }
}

fn as_wide(lists: &[Vec<f32>]) -> Vec<Vec<f64>> {
    lists.iter().map(|list| wide(list)).collect()
}

fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        let n = f64::from(n);
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn weighted(out: &[f64], weights: &[f32]) -> f64 {
    out.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum()
}

#[test]
fn the_gradient_of_gelu_is_that_of_differences_and_of_burn() {
    let (rows, size) = (5, 19);
    let mut x = random(rows * size, 1);
    x.iter_mut().for_each(|x| *x *= 3.0);
    let lists = [x, random(size, 2)];
    let weights = random(rows * size, 3);
    let run = |step: fn(Tensor<B, 2>, Tensor<B, 1>) -> Tensor<B, 2>| {
        let (x, bias) = (leaf(&lists[0], [rows, size]), leaf(&lists[1], [size]));
        let out = step(x.clone(), bias.clone());
        gradients(out, &weights, &[Input::Matrix(x), Input::Vector(bias)])
    };
    let expected = differences(&as_wide(&lists), |lists| {
        let out: Vec<f64> = (0..rows * size)
            .map(|at| {
                let x = lists[0][at] + lists[1][at % size];
                0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
            })
            .collect();
        weighted(&out, &weights)
    });
    assert_close("by hand", &run(<Passes as Steps<B>>::bias_gelu), &expected);
    assert_close("burn", &run(bias_gelu), &expected);
}

#[test]
fn the_gradient_of_gelu_far_out_is_one_and_nothing() {
    let x: Tensor<B, 2> = leaf(&[-60.0, -14.0, 14.0, 60.0], [1, 4]);
    let bias: Tensor<B, 1> = leaf(&[0.0; 4], [4]);
    let out = <Passes as Steps<B>>::bias_gelu(x.clone(), bias);
    let found = gradients(out, &[1.0; 4], &[Input::Matrix(x)]).remove(0);
    for (found, expected) in found.iter().zip([0.0_f32, 0.0, 1.0, 1.0]) {
        assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
    }
}

#[test]
fn the_gradient_of_the_norm_is_that_of_differences_and_of_burn() {
    let (rows, size) = (4, 21);
    let lists = [
        random(rows * size, 1),
        random(size, 2),
        random(rows * size, 3),
        random(size, 4),
        random(size, 5),
    ];
    let weights = random(rows * size, 6);
    type Step = fn(Tensor<B, 2>, Tensor<B, 1>, Tensor<B, 2>, NormParts<B>) -> Tensor<B, 2>;
    let run = |step: Step| {
        let matrix = |at: usize| leaf(&lists[at], [rows, size]);
        let vector = |at: usize| leaf(&lists[at], [size]);
        let (x, residual) = (matrix(0), matrix(2));
        let (bias, gamma, beta) = (vector(1), vector(3), vector(4));
        let norm = NormParts { gamma: gamma.clone(), beta: beta.clone(), epsilon: 1e-12 };
        let out = step(x.clone(), bias.clone(), residual.clone(), norm);
        let inputs = [
            Input::Matrix(x),
            Input::Vector(bias),
            Input::Matrix(residual),
            Input::Vector(gamma),
            Input::Vector(beta),
        ];
        gradients(out, &weights, &inputs)
    };
    let expected = differences(&as_wide(&lists), |lists| {
        let mut out = Vec::new();
        for row in 0..rows {
            let of = |at: usize| {
                let place = row * size + at;
                lists[0][place] + lists[1][at] + lists[2][place]
            };
            let mean = (0..size).map(of).sum::<f64>() / size as f64;
            let variance = (0..size).map(|at| (of(at) - mean).powi(2)).sum::<f64>() / size as f64;
            let scale = 1.0 / (variance + 1e-12).sqrt();
            out.extend((0..size).map(|at| (of(at) - mean) * scale * lists[3][at] + lists[4][at]));
        }
        weighted(&out, &weights)
    });
    assert_close("by hand", &run(<Passes as Steps<B>>::add_norm), &expected);
    assert_close("burn", &run(add_norm), &expected);
}

#[test]
fn the_gradient_of_attention_is_that_of_differences_and_of_burn() {
    let (heads, size) = (3, 6);
    let lengths = [4, 1, 7, 2];
    let texts: Vec<Vec<u32>> = lengths.iter().map(|n| vec![0; *n]).collect();
    let batch = Batch::new(texts.iter().map(Vec::as_slice)).unwrap();
    let (tokens, hidden) = (batch.tokens(), heads * size);
    let width = 3 * hidden;
    let lists = [random(tokens * width, 1), random(width, 2)];
    let weights = random(tokens * hidden, 3);
    type Step = fn(Tensor<B, 2>, Tensor<B, 1>, usize, &Batch) -> Tensor<B, 2>;
    let run = |step: Step| {
        let (qkv, bias) = (leaf(&lists[0], [tokens, width]), leaf(&lists[1], [width]));
        let out = step(qkv.clone(), bias.clone(), heads, &batch);
        gradients(out, &weights, &[Input::Matrix(qkv), Input::Vector(bias)])
    };
    let expected = differences(&as_wide(&lists), |lists| {
        let of = |token: usize, column: usize| lists[0][token * width + column] + lists[1][column];
        let mut sum = 0.0;
        for span in batch.spans() {
            for (head, query) in (0..heads).flat_map(|h| span.clone().map(move |q| (h, q))) {
                let score = |key: usize| {
                    let product =
                        |at| of(query, head * size + at) * of(key, hidden + head * size + at);
                    ((0..size).map(product).sum::<f64>() / (size as f64).sqrt()).exp()
                };
                let all: f64 = span.clone().map(score).sum();
                for at in 0..size {
                    let value =
                        |key: usize| score(key) / all * of(key, 2 * hidden + head * size + at);
                    let out: f64 = span.clone().map(value).sum();
                    sum += out * f64::from(weights[query * hidden + head * size + at]);
                }
            }
        }
        sum
    });
    assert_close("by hand", &run(<Passes as Steps<B>>::self_attention), &expected);
    assert_close("burn", &run(self_attention), &expected);
}

#[test]
fn means_by_padding_are_those_by_a_product_and_so_are_their_gradients() {
    let (hidden, weights) = (6, random(3 * 6, 2));
    for lengths in [[4, 4, 4], [1, 7, 3]] {
        let ids: Vec<Vec<u32>> = lengths.iter().map(|length| vec![1; *length]).collect();
        let batch = Batch::new(ids.iter().map(Vec::as_slice)).unwrap();
        let values = random(batch.tokens() * hidden, 1);
        let of = |means: fn(Tensor<B, 2>, &Batch) -> Tensor<B, 2>| {
            let x = leaf(&values, [batch.tokens(), hidden]);
            let out = means(x.clone(), &batch);
            let answer: Vec<f32> = out.clone().into_data().to_vec().unwrap();
            (answer, gradients(out, &weights, &[Input::Matrix(x)]))
        };
        let (found, expected) = (of(means), of(means_by_product));
        assert_close("means", &[found.0], &[wide(&expected.0)]);
        let expected: Vec<Vec<f64>> = expected.1.iter().map(|list| wide(list)).collect();
        assert_close("gradients of means", &found.1, &expected);
    }
}

#[test]
fn a_mixed_product_loses_what_its_sixteen_bits_do_and_has_its_gradient() {
    let (rows, inner, out) = (5, 64, 7);
    let (x, w, weights) = (random(rows * inner, 1), random(inner * out, 2), random(rows * out, 3));
    let of = |product: fn(Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2>| {
        let (x, w) = (leaf(&x, [rows, inner]), leaf(&w, [inner, out]));
        let found = product(x.clone(), w.clone());
        let values: Vec<f32> = found.clone().into_data().to_vec().unwrap();
        let mut all = vec![values];
        all.extend(gradients(found, &weights, &[Input::Matrix(x), Input::Matrix(w)]));
        all
    };
    let (found, expected) = (of(mixed_product), of(Tensor::matmul));
    for (found, expected) in found.iter().zip(&expected) {
        let norm = |list: &mut dyn Iterator<Item = f32>| {
            list.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
        };
        let error = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
        let relative = error / norm(&mut expected.iter().copied());
        // bfloat16 keeps 8 bits: each factor is off by 2^-9 at most.
        assert!((1e-5..4e-3).contains(&relative), "{relative}");
    }
}
