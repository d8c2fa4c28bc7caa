//! AdamW (Loshchilov and Hutter 2019, algorithm 2) in one pass over plain numbers. burn's own does the same in some
//! fifteen passes, and keeps its state under identifiers that are other ones in every process.

use pulp::{Arch, Simd, WithSimd};
use serde::{Deserialize, Serialize};

/// How weights follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// How much of the mean of gradients is kept a step.
    pub beta_1: f32,
    /// How much of the mean of their squares is kept a step.
    pub beta_2: f32,
    /// What is added to the root of the second mean.
    pub epsilon: f32,
    /// Part of a weight that is taken away a step, times the learning rate. Biases and norms keep all.
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// The two means of a tensor's gradients.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// One step of one tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Counted from 1.
    pub step: u64,
    pub learning_rate: f64,
    /// What gradients are multiplied with first.
    pub gradient_scale: f32,
    /// Whether it loses weight.
    pub decays: bool,
}

impl Moments {
    pub fn new(length: usize) -> Self {
        Self { first: vec![0.0; length], second: vec![0.0; length] }
    }
}

impl AdamW {
    pub(crate) fn step(
        &self,
        values: &mut [f32],
        grads: &[f32],
        moments: &mut Moments,
        step: Step,
    ) {
        let time = i32::try_from(step.step).unwrap_or(i32::MAX);
        let of_first = 1.0 - f64::from(self.beta_1).powi(time);
        let of_second = 1.0 - f64::from(self.beta_2).powi(time);
        let decay = if step.decays { f64::from(self.weight_decay) } else { 0.0 };
        Arch::new().dispatch(Pass {
            values,
            grads,
            first: &mut moments.first,
            second: &mut moments.second,
            options: *self,
            gradient_scale: step.gradient_scale,
            kept: (1.0 - step.learning_rate * decay) as f32,
            rate: (step.learning_rate / of_first) as f32,
            of_second: (1.0 / of_second) as f32,
        });
    }
}

struct Pass<'a> {
    values: &'a mut [f32],
    grads: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    options: AdamW,
    gradient_scale: f32,
    kept: f32,
    rate: f32,
    of_second: f32,
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let AdamW { beta_1, beta_2, epsilon, .. } = self.options;
        let moments = self.first.iter_mut().zip(self.second);
        for ((value, grad), (first, second)) in self.values.iter_mut().zip(self.grads).zip(moments)
        {
            let grad = grad * self.gradient_scale;
            *first = beta_1 * *first + (1.0 - beta_1) * grad;
            *second = beta_2 * *second + (1.0 - beta_2) * grad * grad;
            let deviation = (*second * self.of_second).sqrt() + epsilon;
            *value = *value * self.kept - self.rate * *first / deviation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Algorithm 2 line by line, in double precision; the schedule multiplier is in the rate.
    fn reference(
        values: &mut [f64],
        grads: &[f64],
        (first, second): (&mut [f64], &mut [f64]),
        (time, rate, options): (i32, f64, AdamW),
    ) {
        let [beta_1, beta_2, epsilon, decay] =
            [options.beta_1, options.beta_2, options.epsilon, options.weight_decay].map(f64::from);
        for at in 0..values.len() {
            first[at] = beta_1 * first[at] + (1.0 - beta_1) * grads[at];
            second[at] = beta_2 * second[at] + (1.0 - beta_2) * grads[at].powi(2);
            let of_first = first[at] / (1.0 - beta_1.powi(time));
            let of_second = second[at] / (1.0 - beta_2.powi(time));
            values[at] -= rate * (of_first / (of_second.sqrt() + epsilon) + decay * values[at]);
        }
    }

    #[test]
    fn a_step_is_that_of_the_algorithm() {
        let options = AdamW { weight_decay: 0.1, ..AdamW::default() };
        let number = |at: usize| ((at * 37 % 101) as f32 - 50.0) / 50.0;
        let mut values: Vec<f32> = (0..67).map(number).collect();
        let mut expected: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
        let (mut first, mut second) = (vec![0.0; 67], vec![0.0; 67]);
        let mut moments = Moments::new(67);
        for step in 1..=20 {
            let grads: Vec<f32> = (0..67).map(|at| number(at + 13 * step as usize)).collect();
            let rate = 0.01 / step as f64;
            let wide: Vec<f64> = grads.iter().map(|x| f64::from(*x)).collect();
            let lists = (&mut first[..], &mut second[..]);
            reference(&mut expected, &wide, lists, (step as i32, rate, options));
            let halved: Vec<f32> = grads.iter().map(|grad| grad / 2.0).collect();
            let step = Step { step, learning_rate: rate, gradient_scale: 2.0, decays: true };
            options.step(&mut values, &halved, &mut moments, step);
        }
        for (found, expected) in values.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found}, not {expected}");
        }
        let before = values.clone();
        let still = Step { step: 21, learning_rate: 0.0, gradient_scale: 1.0, decays: false };
        options.step(&mut values, &[1.0; 67], &mut moments, still);
        assert_eq!(values, before);
    }
}
