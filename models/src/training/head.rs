//! A linear head on vectors that stay as they are: multinomial logistic regression with L2, the whole set at a time. The
//! function is convex, so that the answer depends on the data and the options alone.
//!
//! Cost: 4 · rows · dimension · classes floating-point operations an iteration. Rows are worked on in blocks of a fixed
//! size, on all threads, and summed in the order of the blocks: the answer is the same with any number of threads.

use std::ops::ControlFlow;

use networks::{Device, Matrix, cpu};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::labels::check_classes;
use super::lbfgs::minimise;
use super::loss::{ClassWeights, check_smoothing, softmax, targets};
use crate::error::{Error, Result};

/// Rows of a block.
const BLOCK_ROWS: usize = 512;

/// How a head is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadOptions {
    /// Half of this times the sum of the squared weights is added to the mean loss of a row.
    pub l2: f64,
    /// Most iterations.
    pub iterations_max: usize,
    /// Ends where no number of the gradient is above this.
    pub tolerance: f64,
    /// How much the rows of a class count.
    pub class_weights: ClassWeights,
    /// Part of a label that is spread over all classes.
    pub label_smoothing: f32,
}

impl Default for HeadOptions {
    fn default() -> Self {
        Self {
            l2: 1e-5,
            iterations_max: 300,
            tolerance: 1e-5,
            class_weights: ClassWeights::Equal,
            label_smoothing: 0.0,
        }
    }
}

/// `x W + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `W`, row by row, `[dimension, classes]`.
    pub weight: Vec<f32>,
    /// `b`, `[classes]`.
    pub bias: Vec<f32>,
}

/// How training a head ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadOutcome {
    /// Iterations.
    pub iterations: usize,
    /// What was made small, at the end.
    pub loss: f64,
    /// Whether the gradient reached the tolerance.
    pub is_converged: bool,
}

/// How far training a head is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadProgress {
    /// Iterations.
    pub iteration: usize,
    /// Most iterations.
    pub of: usize,
    /// What is made small.
    pub loss: f64,
}

/// Told after every iteration; stops the training by breaking.
pub type OnHeadProgress<'a> = &'a mut dyn FnMut(&HeadProgress) -> ControlFlow<()>;

impl Head {
    /// Trains a head on the processor, on `vectors`, `[rows, dimension]`, whose rows have these classes, below `count`. Fails for rows
    /// that nothing can be learned from, for a loss that is no number, and when it is told to stop.
    pub fn train(
        vectors: &[f32],
        classes: &[usize],
        count: usize,
        options: &HeadOptions,
        on_progress: OnHeadProgress<'_>,
    ) -> Result<(Self, HeadOutcome)> {
        Self::train_on(cpu().as_ref(), vectors, classes, count, options, on_progress)
    }

    /// The same on `device`.
    pub(super) fn train_on(
        device: &dyn Device,
        vectors: &[f32],
        classes: &[usize],
        count: usize,
        options: &HeadOptions,
        on_progress: OnHeadProgress<'_>,
    ) -> Result<(Self, HeadOutcome)> {
        check_classes(classes, count)?;
        check_smoothing(options.label_smoothing)?;
        let dimension = vectors.len() / classes.len();
        if dimension == 0 || dimension * classes.len() != vectors.len() {
            return Err(Error::Training {
                problem: format!(
                    "expected as many numbers for each of the {} rows, found {} in all",
                    classes.len(),
                    vectors.len()
                ),
            });
        }
        let weights = options.class_weights.of(classes, count)?;
        let total: f32 = classes.iter().map(|class| weights[*class]).sum();
        let blocks: Vec<Block> = classes
            .chunks(BLOCK_ROWS)
            .zip(vectors.chunks(BLOCK_ROWS * dimension))
            .map(|(classes, vectors)| Block {
                vectors: device.matrix(vectors.to_vec(), dimension),
                targets: targets(classes, &weights, options.label_smoothing, total),
            })
            .collect();
        let penalised = dimension * count;
        let of = |at: &[f64]| {
            let head = Self::from_numbers(at, penalised);
            let parts: Vec<(f64, Vec<f32>)> = blocks
                .par_iter()
                .with_max_len(1)
                .map(|block| block.loss(&head))
                .collect::<Result<_>>()?;
            let mut gradient = vec![0.0; at.len()];
            let mut loss = 0.0;
            for (part, part_gradient) in parts {
                loss += part;
                gradient.iter_mut().zip(part_gradient).for_each(|(g, x)| *g += f64::from(x));
            }
            let rows = at.iter().zip(&mut gradient).take(penalised);
            let mut squares = 0.0;
            rows.for_each(|(x, g)| {
                squares += x * x;
                *g += options.l2 * x;
            });
            Ok((loss + 0.5 * options.l2 * squares, gradient))
        };
        let each = |iteration, loss| {
            let progress = HeadProgress { iteration, of: options.iterations_max, loss };
            match on_progress(&progress) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Error::Cancelled),
            }
        };
        let start = vec![0.0; penalised + count];
        let minimum = minimise(start, options.iterations_max, options.tolerance, of, each)?;
        if !minimum.value.is_finite() {
            return Err(Error::Diverged {
                step: minimum.iterations as u64 + 1,
                what: "loss",
                found: minimum.value.to_string(),
            });
        }
        let outcome = HeadOutcome {
            iterations: minimum.iterations,
            loss: minimum.value,
            is_converged: minimum.gradient_max <= options.tolerance,
        };
        Ok((Self::from_numbers(&minimum.at, penalised), outcome))
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Numbers of a vector.
    pub fn dimension(&self) -> usize {
        self.weight.len() / self.bias.len().max(1)
    }

    /// `x W + b` for every row, `[rows, classes]`, on the processor.
    pub fn logits(&self, vectors: &[f32]) -> Result<Vec<f32>> {
        self.logits_on(cpu().as_ref(), vectors)
    }

    /// The same on `device`.
    pub(super) fn logits_on(&self, device: &dyn Device, vectors: &[f32]) -> Result<Vec<f32>> {
        let dimension = self.dimension();
        let blocks: Vec<Vec<f32>> = vectors
            .par_chunks(BLOCK_ROWS * dimension)
            .map(|block| {
                let rows = device.matrix(block.to_vec(), dimension);
                let mut logits = rows.times(&self.weight, self.classes())?;
                for row in logits.chunks_exact_mut(self.classes()) {
                    row.iter_mut().zip(&self.bias).for_each(|(x, bias)| *x += bias);
                }
                Ok(logits)
            })
            .collect::<Result<_>>()?;
        Ok(blocks.concat())
    }

    fn from_numbers(at: &[f64], penalised: usize) -> Self {
        let (weight, bias) = at.split_at(penalised);
        let single = |values: &[f64]| values.iter().map(|x| *x as f32).collect();
        Self { weight: single(weight), bias: single(bias) }
    }
}

/// Rows that are worked on together.
struct Block {
    vectors: Box<dyn Matrix>,
    targets: Vec<f32>,
}

impl Block {
    /// Its part of the loss, and of the gradient: of the weights, then of the biases.
    fn loss(&self, head: &Head) -> Result<(f64, Vec<f32>)> {
        let Head { weight, bias } = head;
        let count = bias.len();
        let mut logits = self.vectors.times(weight, count)?;
        let mut loss = 0.0;
        let mut of_bias = vec![0_f32; count];
        for (row, targets) in logits.chunks_exact_mut(count).zip(self.targets.chunks_exact(count)) {
            row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            let along: f64 = row.iter().zip(targets).map(|(x, t)| f64::from(x * t)).sum();
            let weight: f32 = targets.iter().sum();
            loss += softmax(row) * f64::from(weight) - along;
            for ((x, target), of_bias) in row.iter_mut().zip(targets).zip(&mut of_bias) {
                *x = *x * weight - target;
                *of_bias += *x;
            }
        }
        let mut gradient = self.vectors.turned_times(&logits, count)?;
        gradient.extend(of_bias);
        Ok((loss, gradient))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::training::random::Random;

    fn rows(count: usize) -> (Vec<f32>, Vec<usize>) {
        let mut random = Random::new(5, 0);
        let classes: Vec<usize> = (0..count).map(|row| row % 3).collect();
        let vectors = classes
            .iter()
            .flat_map(|class| {
                (0..4)
                    .map(|at| random.signed() + if at == *class { 1.5 } else { 0.0 })
                    .collect::<Vec<_>>()
            })
            .collect();
        (vectors, classes)
    }

    fn train(options: &HeadOptions) -> (Head, HeadOutcome) {
        let (vectors, classes) = rows(1500);
        let mut go = |_: &HeadProgress| ControlFlow::Continue(());
        Head::train(&vectors, &classes, 3, options, &mut go).unwrap()
    }

    #[test]
    fn a_head_separates_what_can_be_separated() {
        let (head, outcome) = train(&HeadOptions::default());
        let (vectors, classes) = rows(1500);
        let logits = head.logits(&vectors).unwrap();
        let right = logits
            .chunks_exact(3)
            .zip(&classes)
            .filter(|(row, class)| row.iter().all(|x| *x <= row[**class]));
        assert!(right.count() > 1300);
        assert!(outcome.is_converged, "{outcome:?}");
    }

    /// The gradient at the minimum is nothing, as differences of the loss see it.
    #[test]
    fn the_minimum_is_one_and_the_same_with_any_number_of_threads() {
        let options = HeadOptions {
            l2: 0.01,
            tolerance: 1e-6,
            class_weights: ClassWeights::Given(vec![1.0, 2.0, 0.5]),
            label_smoothing: 0.1,
            ..HeadOptions::default()
        };
        let (head, outcome) = train(&options);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| train(&options)).0, head);
        }
        let (vectors, classes) = rows(1500);
        let loss = |head: &Head| {
            let logits = head.logits(&vectors).unwrap();
            let weights = [1.0, 2.0, 0.5];
            let total: f64 = classes.iter().map(|class| weights[*class]).sum();
            let rows = logits.chunks_exact(3).zip(&classes);
            let data: f64 = rows
                .map(|(row, class)| {
                    let wide: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
                    let log = wide.iter().map(|x| x.exp()).sum::<f64>().ln();
                    let smooth = wide.iter().sum::<f64>() / 3.0;
                    weights[*class] * (log - 0.9 * wide[*class] - 0.1 * smooth)
                })
                .sum();
            let squares: f64 = head.weight.iter().map(|x| f64::from(*x).powi(2)).sum();
            data / total + 0.005 * squares
        };
        assert!((loss(&head) - outcome.loss).abs() < 1e-6, "{} {}", loss(&head), outcome.loss);
        for at in 0..12 {
            let mut moved = head.clone();
            moved.weight[at] += 0.01;
            assert!(loss(&moved) > loss(&head), "number {at}");
            moved.weight[at] -= 0.02;
            assert!(loss(&moved) > loss(&head), "number {at}");
        }
    }

    #[test]
    fn a_head_stops_when_it_is_told_to_and_for_numbers_that_are_none() {
        let (mut vectors, classes) = rows(30);
        let options = HeadOptions::default();
        let mut stop = |_: &HeadProgress| ControlFlow::Break(());
        let answer = Head::train(&vectors, &classes, 3, &options, &mut stop);
        assert_eq!(answer.unwrap_err(), Error::Cancelled);
        let mut go = |_: &HeadProgress| ControlFlow::Continue(());
        let short = Head::train(&vectors[1..], &classes, 3, &options, &mut go);
        assert!(short.unwrap_err().to_string().contains("30 rows, found 119"));
        vectors[7] = f32::NAN;
        let answer = Head::train(&vectors, &classes, 3, &options, &mut go);
        let message = answer.unwrap_err().to_string();
        assert!(message.starts_with("training: step 1: expected a finite loss"), "{message}");
    }
}
