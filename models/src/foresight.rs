//! What becomes of cases that go on, by a network of dense layers: what comes next, how long it goes on, and whether it succeeds.
//!
//! ```text
//!   numbers of a case      hidden     hidden      scores of what comes next [classes]
//!   [columns]  ─────▶  [hidden] ──▶ [hidden] ──▶  how long it goes on
//!                                                 the logit of success
//! ```
//!
//! Between the layers are leaky rectifiers. It learns all three at once, from rows that are drawn anew each epoch where there are many, by
//! AdamW; of each of the three those weights are kept that were best on rows it did not learn from, since one is learned sooner than another.
//! Everything random follows from the seed.
//!
//! Cost: 2·hidden·(columns + hidden + classes) multiply-adds for each row, three times that while it learns. Memory: a batch and the
//! weights, four times; rows are made when they are needed.

use std::ops::ControlFlow;

use networks::{DenseLayer, Truth, foresee, foresight_gradients};

use crate::autoencoder::layer;
use crate::error::{Error, Result};
use crate::training::{AdamW, Moments, Random, Step, softmax};

/// What it foretells.
const TARGETS: usize = 3;
/// Rows that are passed through at a time.
const PART_ROWS: usize = 2048;
/// Rows of a step, at least and at most.
const STEP_ROWS: [usize; 2] = [16, 256];
/// Numbers of a row and classes at most: weights grow with them.
const COLUMNS_MAX: usize = 16_384;
const CLASSES_MAX: usize = 4_096;

/// How it learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForesightOptions {
    /// Units of a layer.
    pub hidden: usize,
    /// Times that every row is seen at most.
    pub epochs: usize,
    /// Epochs without a better one of any of the three after which it ends.
    pub patience: usize,
    /// Steps of an epoch, about; one has 16 to 256 rows.
    pub epoch_steps: usize,
    /// Rows of an epoch at most, drawn where there are more.
    pub epoch_rows: usize,
    /// How far weights follow their gradients at first; less by and by.
    pub learning_rate: f64,
    /// All that is drawn at random follows from it.
    pub seed: u64,
}

impl Default for ForesightOptions {
    fn default() -> Self {
        Self {
            hidden: 64,
            epochs: 40,
            patience: 6,
            epoch_steps: 60,
            epoch_rows: 100_000,
            learning_rate: 2e-3,
            seed: 0,
        }
    }
}

/// Rows to learn from, or to be judged by.
pub trait ForesightRows {
    /// How many there are.
    fn count(&self) -> usize;
    /// Puts the numbers of a row into as many zeros as there are columns.
    fn encode(&self, row: usize, to: &mut [f32]);
    /// What comes next, how long it goes on, and whether it succeeds, where that is known.
    fn truth(&self, row: usize) -> (u32, f32, Option<bool>);
}

/// What is foretold of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Foretold {
    /// The chance of each class.
    pub next: Vec<f32>,
    /// How long it goes on, in the unit of what was learned.
    pub remaining: f32,
    /// The chance of success.
    pub success: f32,
}

/// A network that has learned.
#[derive(Clone, Debug, PartialEq)]
pub struct ForesightNetwork {
    columns: usize,
    classes: usize,
    /// The layers that are best at each of the three.
    layers: [Vec<DenseLayer>; TARGETS],
    /// Epochs that these took.
    pub epochs: [usize; TARGETS],
}

/// A network while it learns.
struct Learning<'a> {
    options: &'a ForesightOptions,
    columns: usize,
    classes: usize,
    layers: Vec<DenseLayer>,
    moments: Vec<(Moments, Moments)>,
    step: u64,
}

impl ForesightNetwork {
    /// Learns from `rows`, of so many columns and classes, and keeps what is best on `judges`. Fails for no rows, for numbers that
    /// are none, and when `go_on` breaks, which is asked after every epoch.
    pub fn train(
        rows: &dyn ForesightRows,
        judges: &dyn ForesightRows,
        (columns, classes): (usize, usize),
        options: &ForesightOptions,
        go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Self> {
        let mut learning = Learning::new(rows, (columns, classes), options)?;
        if judges.count() == 0 {
            return fail("expected rows to be judged by, found none".into());
        }
        let mut model = Self::of(&learning);
        let mut best = [f64::INFINITY; TARGETS];
        let mut worse = 0;
        for epoch in 1..=options.epochs {
            learning.epoch(rows, epoch)?;
            let now = Self::of(&learning);
            let losses = now.losses_of(judges)?;
            if let Some(loss) = losses.iter().find(|loss| !loss.is_finite()) {
                return fail(format!("epoch {epoch}: the loss is {loss}"));
            }
            worse += 1;
            for target in 0..TARGETS {
                if losses[target] < best[target] {
                    best[target] = losses[target];
                    model.layers[target].clone_from(&now.layers[target]);
                    model.epochs[target] = epoch;
                    worse = 0;
                }
            }
            if go_on(epoch).is_break() {
                return Err(Error::Cancelled);
            }
            if worse >= options.patience {
                break;
            }
        }
        Ok(model)
    }

    /// Learns from `rows` for as many epochs as were best before.
    pub fn train_for(
        rows: &dyn ForesightRows,
        epochs: [usize; TARGETS],
        (columns, classes): (usize, usize),
        options: &ForesightOptions,
        go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Self> {
        let mut learning = Learning::new(rows, (columns, classes), options)?;
        let mut model = Self::of(&learning);
        for epoch in 1..=epochs.into_iter().max().unwrap_or(0).min(options.epochs) {
            learning.epoch(rows, epoch)?;
            for target in (0..TARGETS).filter(|target| epochs[*target] == epoch) {
                model.layers[target].clone_from(&learning.layers);
                model.epochs[target] = epoch;
            }
            if go_on(epoch).is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(model)
    }

    fn of(learning: &Learning<'_>) -> Self {
        Self {
            columns: learning.columns,
            classes: learning.classes,
            layers: std::array::from_fn(|_| learning.layers.clone()),
            epochs: [0; TARGETS],
        }
    }

    /// What it foretells of each row.
    pub fn foretell(&self, rows: &dyn ForesightRows) -> Result<Vec<Foretold>> {
        let all: Vec<usize> = (0..rows.count()).collect();
        let mut foretold = Vec::with_capacity(all.len());
        let width = self.classes + 2;
        for part in all.chunks(PART_ROWS) {
            let mut answers = Vec::with_capacity(TARGETS);
            for target in 0..TARGETS {
                // Where two are best after the same epoch they are the same.
                let same = (0..target).find(|other| self.epochs[*other] == self.epochs[target]);
                answers.push(match same {
                    Some(other) => Vec::clone(&answers[other]),
                    None => {
                        let values = gathered(rows, part, self.columns);
                        foresee(&self.layers[target], values, self.columns)?
                    }
                });
            }
            for row in 0..part.len() {
                let of = |target: usize| &answers[target][row * width..][..width];
                let mut next = of(0)[..self.classes].to_vec();
                softmax(&mut next);
                foretold.push(Foretold {
                    next,
                    remaining: of(1)[self.classes],
                    success: 1.0 / (1.0 + (-of(2)[self.classes + 1]).exp()),
                });
            }
        }
        Ok(foretold)
    }

    /// The mean losses of the three.
    fn losses_of(&self, rows: &dyn ForesightRows) -> Result<[f64; TARGETS]> {
        let mut sums = [0.0; TARGETS];
        let (mut known, least) = (0u64, f64::from(f32::MIN_POSITIVE));
        for (row, of) in self.foretell(rows)?.iter().enumerate() {
            let (next, remaining, success) = rows.truth(row);
            let chance = of.next.get(next as usize).copied().unwrap_or_default();
            sums[0] -= f64::from(chance).max(least).ln();
            sums[1] += f64::from((of.remaining - remaining).abs());
            if let Some(success) = success {
                let chance = if success { of.success } else { 1.0 - of.success };
                sums[2] -= f64::from(chance).max(least).ln();
                known += 1;
            }
        }
        let count = rows.count().max(1) as f64;
        Ok([sums[0] / count, sums[1] / count, sums[2] / known.max(1) as f64])
    }
}

impl<'a> Learning<'a> {
    fn new(
        rows: &dyn ForesightRows,
        (columns, classes): (usize, usize),
        options: &'a ForesightOptions,
    ) -> Result<Self> {
        let ForesightOptions { hidden, epoch_steps, epoch_rows, .. } = *options;
        if rows.count() == 0 || hidden == 0 || epoch_steps == 0 || epoch_rows == 0 {
            let count = rows.count();
            return fail(format!(
                "expected rows, units, and steps and rows of an epoch, found {count}, {hidden}, {epoch_steps} and {epoch_rows}"
            ));
        }
        if !(1..=COLUMNS_MAX).contains(&columns) || !(1..=CLASSES_MAX).contains(&classes) {
            return fail(format!(
                "expected 1 to {COLUMNS_MAX} columns and 1 to {CLASSES_MAX} classes, found {columns} and {classes}"
            ));
        }
        let mut random = Random::new(options.seed, 0);
        let sizes = [columns, hidden, hidden, classes + 2];
        let layers: Vec<DenseLayer> =
            sizes.windows(2).map(|size| layer(size[0], size[1], &mut random)).collect();
        let of =
            |(weight, bias): &DenseLayer| (Moments::new(weight.len()), Moments::new(bias.len()));
        let moments = layers.iter().map(of).collect();
        Ok(Self { options, columns, classes, layers, moments, step: 0 })
    }

    /// Sees each row once, or as many as an epoch may have.
    fn epoch(&mut self, rows: &dyn ForesightRows, epoch: usize) -> Result<()> {
        let mut random = Random::new(self.options.seed, epoch as u64);
        let count = rows.count();
        let order: Vec<usize> = if count > self.options.epoch_rows {
            (0..self.options.epoch_rows).map(|_| random.below(count)).collect()
        } else {
            let mut order: Vec<usize> = (0..count).collect();
            random.shuffle(&mut order);
            order
        };
        // Less and less, so that it settles.
        let rate = self.options.learning_rate / (1.0 + 0.1 * (epoch - 1) as f64);
        let rows_of_step = order.len() / self.options.epoch_steps;
        for batch in order.chunks(rows_of_step.clamp(STEP_ROWS[0], STEP_ROWS[1])) {
            self.learn(rows, batch, rate)?;
        }
        Ok(())
    }

    fn learn(&mut self, rows: &dyn ForesightRows, batch: &[usize], rate: f64) -> Result<()> {
        let mut truth = Truth {
            next: vec![0.0; batch.len() * self.classes],
            remaining: Vec::with_capacity(batch.len()),
            success: Vec::with_capacity(batch.len()),
            is_known: Vec::with_capacity(batch.len()),
        };
        for (place, row) in batch.iter().enumerate() {
            let (next, remaining, success) = rows.truth(*row);
            if (next as usize) < self.classes {
                truth.next[place * self.classes + next as usize] = 1.0;
            }
            truth.remaining.push(remaining);
            truth.success.push(f32::from(u8::from(success == Some(true))));
            truth.is_known.push(f32::from(u8::from(success.is_some())));
        }
        let values = gathered(rows, batch, self.columns);
        let gradients = foresight_gradients(&self.layers, values, self.columns, truth)?;
        self.step += 1;
        let optimiser = AdamW::default();
        let of_layers = self.layers.iter_mut().zip(&gradients).zip(&mut self.moments);
        for ((layer, gradient), moments) in of_layers {
            let parts = [
                (&mut layer.0, &gradient.0, &mut moments.0, true),
                (&mut layer.1, &gradient.1, &mut moments.1, false),
            ];
            for (values, gradient, moments, decays) in parts {
                let step =
                    Step { step: self.step, learning_rate: rate, gradient_scale: 1.0, decays };
                optimiser.step(values, gradient, moments, step);
            }
        }
        Ok(())
    }
}

fn gathered(rows: &dyn ForesightRows, of: &[usize], columns: usize) -> Vec<f32> {
    let mut values = vec![0.0; of.len() * columns];
    for (row, to) in of.iter().zip(values.chunks_mut(columns)) {
        rows.encode(*row, to);
    }
    values
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Training { problem: format!("foresight: {problem}") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LAST: usize = 8;
    const SYMBOLS: usize = 3;
    const SIZE: (usize, usize) = (LAST * SYMBOLS, SYMBOLS);

    /// Each row has eight symbols; the one of five steps before comes next, and is how long it goes on; success is whether the last two
    /// are the same, which is known of every second row.
    struct Made(Vec<[usize; LAST]>);

    fn made(count: usize, seed: u64) -> Made {
        let mut random = Random::new(seed, 1);
        Made((0..count).map(|_| std::array::from_fn(|_| random.below(SYMBOLS))).collect())
    }

    impl ForesightRows for Made {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn encode(&self, row: usize, to: &mut [f32]) {
            for (place, symbol) in self.0[row].iter().enumerate() {
                to[place * SYMBOLS + symbol] = 1.0;
            }
        }

        fn truth(&self, row: usize) -> (u32, f32, Option<bool>) {
            let of = &self.0[row];
            (of[4] as u32, of[4] as f32, row.is_multiple_of(2).then_some(of[0] == of[1]))
        }
    }

    fn trained(rows: &Made, options: &ForesightOptions) -> ForesightNetwork {
        let mut go_on = |_| ControlFlow::Continue(());
        ForesightNetwork::train(rows, &made(300, 9), SIZE, options, &mut go_on).unwrap()
    }

    #[test]
    fn what_depends_on_five_steps_before_is_learned() {
        let (rows, options) = (made(2_000, 1), ForesightOptions::default());
        let model = trained(&rows, &options);
        let test = made(500, 2);
        let foretold = model.foretell(&test).unwrap();
        let (mut right, mut sure, mut error) = (0, 0, 0.0);
        for (row, of) in foretold.iter().enumerate() {
            let (next, remaining, _) = test.truth(row);
            let sum: f32 = of.next.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            right += usize::from(of.next[next as usize] > 0.5);
            error += (of.remaining - remaining).abs() / 500.0;
            sure += usize::from((of.success > 0.5) == (test.0[row][0] == test.0[row][1]));
        }
        assert!(right >= 490 && error < 0.15 && sure >= 480, "{right} {error} {sure}");
        // For as many epochs it is the same.
        let again = ForesightNetwork::train_for(&rows, model.epochs, SIZE, &options, &mut |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(again.unwrap(), model);
    }

    #[test]
    fn the_same_seed_is_the_same_network_also_of_drawn_rows() {
        let options = ForesightOptions { epochs: 2, epoch_rows: 100, ..Default::default() };
        let rows = made(300, 3);
        assert_eq!(trained(&rows, &options), trained(&rows, &options));
        let other = ForesightOptions { seed: 1, ..options };
        assert_ne!(trained(&rows, &options), trained(&rows, &other));
    }

    #[test]
    fn what_it_can_not_learn_from_is_refused() {
        let options = ForesightOptions::default();
        let problem = |rows: &Made, judges: &Made, size, options| {
            let mut go_on = |_| ControlFlow::Continue(());
            let found = ForesightNetwork::train(rows, judges, size, options, &mut go_on);
            found.unwrap_err().to_string()
        };
        let (some, none) = (made(50, 1), made(0, 1));
        assert!(problem(&none, &some, SIZE, &options).contains("expected rows"));
        assert!(problem(&some, &none, SIZE, &options).contains("to be judged by"));
        assert!(problem(&some, &some, (0, 3), &options).contains("found 0 and 3"));
        let still = ForesightOptions { epoch_steps: 0, ..options };
        assert!(problem(&some, &some, SIZE, &still).contains("steps and rows of an epoch"));
        let mut stop = |_| ControlFlow::Break(());
        let stopped = ForesightNetwork::train(&some, &some, SIZE, &options, &mut stop);
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }
}
