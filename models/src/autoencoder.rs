//! What belongs together: an autoencoder of many series. It learns to pass the values of one instant through a layer that is
//! narrower than they are many, so that it can give back what goes together as it usually does, and nothing else.
//!
//! ```text
//!   values of an instant   hidden      narrow     hidden      the same values
//!   [columns]  ──────▶  [hidden] ───▶ [narrow] ──────▶ [hidden] ───▶ [columns]
//! ```
//!
//! The wide layers are leaky rectifiers, which go on straight beyond what was seen. A fifth of the values is withheld from
//! the input while it learns, so that each must be told from the others (denoising: Vincent et al. 2010); those that are
//! there stand for those that are not. The loss grows linearly for large errors, so that rare
//! instants are not what is learned. Everything random follows from the seed, every sum has an order.
//!
//! Cost: 4·hidden·(columns + narrow) multiply-adds for each row and epoch, three times that while it learns. Memory: a
//! batch and the weights, besides the values.

use std::ops::ControlFlow;

use networks::{DenseLayer, autoencode, autoencoder_gradients};

use crate::error::{Error, Result};
use crate::training::{AdamW, Moments, Random, Step};

/// Columns at most: weights grow with their number.
pub const AUTOENCODER_COLUMNS_MAX: usize = 4096;
/// Values that are withheld while it learns: one of so many.
const WITHHELD: usize = 5;
/// Rows that it is judged by while it learns: one of so many.
const VALIDATION: usize = 10;
/// Rows that are passed through at a time.
const PART_ROWS: usize = 4096;
/// Layers.
const LAYERS: usize = 4;

/// How an autoencoder learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AutoencoderOptions {
    /// Units of the wide layers.
    pub hidden: usize,
    /// Units of the narrow layer, fewer than columns.
    pub narrow: usize,
    /// Times that every row is seen at most.
    pub epochs: usize,
    /// Epochs without a better one after which it ends.
    pub patience: usize,
    /// Rows of a step.
    pub batch_rows: usize,
    /// How far weights follow their gradients.
    pub learning_rate: f64,
    /// All that is drawn at random follows from it.
    pub seed: u64,
}

impl AutoencoderOptions {
    /// For values of so many columns: a third as many units in the middle.
    pub fn new(columns: usize) -> Self {
        Self {
            hidden: (2 * columns).clamp(8, 64),
            narrow: (columns / 3).max(1),
            epochs: 60,
            patience: 6,
            batch_rows: 128,
            learning_rate: 3e-3,
            seed: 0,
        }
    }
}

/// An autoencoder that has learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoencoder {
    sizes: [usize; LAYERS + 1],
    /// Weights `[in, out]` and biases of each layer.
    layers: Vec<DenseLayer>,
    /// The mean loss of a value that it was judged by, before it learned and at its best.
    pub losses: [f64; 2],
    /// Epochs that it took.
    pub epochs: usize,
}

impl Autoencoder {
    /// Learns from `values`, `[rows, columns]`; NaN is missing. They should be of like size, a few units from zero at
    /// most. Fails for fewer than two columns or twenty rows, for values that are infinite, for a loss that is no
    /// number, and when `go_on` breaks, which is asked after every epoch.
    pub fn train(
        values: &[f32],
        columns: usize,
        options: &AutoencoderOptions,
        go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Self> {
        let rows = check(values, columns, options)?;
        let sizes = [columns, options.hidden, options.narrow, options.hidden, columns];
        let mut random = Random::new(options.seed, 0);
        let layers = sizes.windows(2).map(|size| layer(size[0], size[1], &mut random)).collect();
        let mut model = Self { sizes, layers, losses: [0.0; 2], epochs: 0 };
        let mut order: Vec<usize> = (0..rows).collect();
        random.shuffle(&mut order);
        let (validation, train) = order.split_at(rows.div_ceil(VALIDATION));
        let held: Vec<f32> = gathered(values, columns, validation);
        let first = model.loss_of(&held)?;
        let mut best = (first, model.layers.clone());
        let mut moments: Vec<(Moments, Moments)> = model
            .layers
            .iter()
            .map(|(weight, bias)| (Moments::new(weight.len()), Moments::new(bias.len())))
            .collect();
        let (mut step, mut worse) = (0, 0);
        for epoch in 1..=options.epochs {
            let mut random = Random::new(options.seed, epoch as u64);
            let mut order = train.to_vec();
            random.shuffle(&mut order);
            for batch in order.chunks(options.batch_rows) {
                step += 1;
                let rows = gathered(values, columns, batch);
                model.learn(&rows, step, options, &mut moments, &mut random)?;
            }
            let loss = model.loss_of(&held)?;
            model.epochs = epoch;
            if !loss.is_finite() {
                return fail(format!("epoch {epoch}: the loss is {loss}"));
            }
            if loss < best.0 {
                best = (loss, model.layers.clone());
                worse = 0;
            } else {
                worse += 1;
            }
            if go_on(epoch).is_break() {
                return Err(Error::Cancelled);
            }
            if worse >= options.patience {
                break;
            }
        }
        model.losses = [first, best.0];
        model.layers = best.1;
        Ok(model)
    }

    /// What it gives back for `values`, `[rows, columns]`; NaN is missing, and is given back as what it should be.
    pub fn reconstruct(&self, values: &[f32]) -> Result<Vec<f32>> {
        let columns = self.sizes[0];
        if !values.len().is_multiple_of(columns) {
            let found = values.len();
            return fail(format!("expected whole rows of {columns} columns, found {found} values"));
        }
        let mut answers = Vec::with_capacity(values.len());
        for part in values.chunks(PART_ROWS * columns) {
            answers.extend(autoencode(&self.layers, shown(part.to_vec(), columns))?);
        }
        Ok(answers)
    }

    /// One step.
    fn learn(
        &mut self,
        rows: &[f32],
        step: u64,
        options: &AutoencoderOptions,
        moments: &mut [(Moments, Moments)],
        random: &mut Random,
    ) -> Result<()> {
        let columns = self.sizes[0];
        let mut some = Vec::with_capacity(rows.len());
        let mut known = Vec::with_capacity(rows.len());
        for value in rows {
            let is_withheld = random.below(WITHHELD) == 0;
            some.push(if is_withheld { f32::NAN } else { *value });
            known.push(f32::from(u8::from(!value.is_nan())));
        }
        let truth = rows.iter().map(|x| if x.is_nan() { 0.0 } else { *x }).collect();
        let gradients = autoencoder_gradients(&self.layers, shown(some, columns), truth, known)?;
        let optimiser = AdamW::default();
        for ((layer, gradient), moments) in self.layers.iter_mut().zip(&gradients).zip(moments) {
            let parts = [
                (&mut layer.0, &gradient.0, &mut moments.0, true),
                (&mut layer.1, &gradient.1, &mut moments.1, false),
            ];
            for (values, gradient, moments, decays) in parts {
                let (learning_rate, gradient_scale) = (options.learning_rate, 1.0);
                let step = Step { step, learning_rate, gradient_scale, decays };
                optimiser.step(values, gradient, moments, step);
            }
        }
        Ok(())
    }

    /// The mean loss of a value, each withheld from the input in its turn: what it says of a value that it does not see.
    fn loss_of(&self, rows: &[f32]) -> Result<f64> {
        let columns = self.sizes[0];
        let (mut sum, mut count) = (0.0, 0_u64);
        for turn in 0..WITHHELD {
            let is_withheld = |at: usize| (at % columns + at / columns) % WITHHELD == turn;
            let some: Vec<f32> = rows
                .iter()
                .enumerate()
                .map(|(at, value)| if is_withheld(at) { f32::NAN } else { *value })
                .collect();
            let answers = self.reconstruct(&some)?;
            for (at, (value, answer)) in rows.iter().zip(&answers).enumerate() {
                if is_withheld(at) && !value.is_nan() {
                    let error = f64::from(answer - value);
                    sum += (1.0 + error * error).sqrt() - 1.0;
                    count += 1;
                }
            }
        }
        Ok(sum / count.max(1) as f64)
    }
}

fn check(values: &[f32], columns: usize, options: &AutoencoderOptions) -> Result<usize> {
    if !(2..=AUTOENCODER_COLUMNS_MAX).contains(&columns) {
        return fail(format!("expected 2 to {AUTOENCODER_COLUMNS_MAX} columns, found {columns}"));
    }
    let rows = values.len() / columns;
    if rows < 2 * VALIDATION || !values.len().is_multiple_of(columns) {
        return fail(format!(
            "expected at least {} whole rows of {columns} columns, found {} values",
            2 * VALIDATION,
            values.len()
        ));
    }
    if let Some(at) = values.iter().position(|value| value.is_infinite()) {
        return fail(format!("row {}, column {}: expected a number", at / columns, at % columns));
    }
    let AutoencoderOptions { hidden, narrow, epochs, batch_rows, .. } = *options;
    if hidden == 0 || narrow == 0 || narrow >= columns || epochs == 0 || batch_rows == 0 {
        return fail(format!(
            "expected units, epochs and rows of a step, and fewer narrow units than {columns} columns; found \
             {hidden} and {narrow} units, {epochs} epochs, {batch_rows} rows"
        ));
    }
    Ok(rows)
}

/// The input for some values: zero where there is none, the others larger for it.
fn shown(mut values: Vec<f32>, columns: usize) -> Vec<f32> {
    for row in values.chunks_mut(columns) {
        let known = row.iter().filter(|value| !value.is_nan()).count();
        let scale = columns as f32 / known.max(1) as f32;
        row.iter_mut().for_each(|x| *x = if x.is_nan() { 0.0 } else { *x * scale });
    }
    values
}

/// Weights by Glorot and Bengio 2010.
pub(crate) fn layer(from: usize, to: usize, random: &mut Random) -> DenseLayer {
    let limit = (6.0 / (from + to) as f32).sqrt();
    ((0..from * to).map(|_| limit * random.signed()).collect(), vec![0.0; to])
}

fn gathered(values: &[f32], columns: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|row| &values[row * columns..][..columns]).copied().collect()
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Training { problem: format!("autoencoder: {problem}") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COLUMNS: usize = 6;

    /// Two hidden causes, three columns of each.
    fn rows(count: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 0);
        let mut values = Vec::new();
        for _ in 0..count {
            let causes = [2.0 * random.signed(), 2.0 * random.signed()];
            for column in 0..COLUMNS {
                let of = causes[column / 3] * if column % 3 == 1 { -1.0 } else { 1.0 };
                values.push(of + 0.1 * random.signed());
            }
        }
        values
    }

    fn trained(values: &[f32], seed: u64) -> Autoencoder {
        let options = AutoencoderOptions { seed, ..AutoencoderOptions::new(COLUMNS) };
        Autoencoder::train(values, COLUMNS, &options, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    #[test]
    fn what_goes_together_is_given_back_and_what_does_not_is_not() {
        let values = rows(2000, 1);
        let model = trained(&values, 0);
        assert!(model.losses[1] < 0.2 * model.losses[0], "{:?}", model.losses);
        let usual = [1.0, -1.0, 1.0, -0.5, 0.5, -0.5];
        let broken = [1.0, 1.0, 1.0, -0.5, 0.5, -0.5];
        let missing = [1.0, f32::NAN, 1.0, -0.5, 0.5, -0.5];
        let answers = model.reconstruct(&[usual, broken, missing].concat()).unwrap();
        let furthest = |of: &[f32], row: usize| {
            let answer = &answers[row * COLUMNS..][..COLUMNS];
            of.iter().zip(answer).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        assert!(furthest(&usual, 0) < 0.25, "{answers:?}");
        assert!(furthest(&broken, 1) > 0.8, "{answers:?}");
        assert!((answers[2 * COLUMNS + 1] + 1.0).abs() < 0.5, "{answers:?}");
    }

    #[test]
    fn the_same_seed_is_the_same_model() {
        let values = rows(300, 2);
        assert_eq!(trained(&values, 5), trained(&values, 5));
        assert_ne!(trained(&values, 5).layers, trained(&values, 6).layers);
    }

    #[test]
    fn what_it_can_not_learn_from_is_refused() {
        let options = AutoencoderOptions::new(COLUMNS);
        let problem = |values: &[f32], columns, options| {
            let found =
                Autoencoder::train(values, columns, options, &mut |_| ControlFlow::Continue(()));
            found.unwrap_err().to_string()
        };
        let values = rows(100, 3);
        assert!(problem(&values, 1, &options).contains("expected 2 to 4096 columns, found 1"));
        assert!(problem(&values[..50], COLUMNS, &options).contains("at least 20 whole rows"));
        let wide = AutoencoderOptions { narrow: COLUMNS, ..options };
        assert!(problem(&values, COLUMNS, &wide).contains("fewer narrow units than 6 columns"));
        let mut infinite = values.clone();
        infinite[COLUMNS + 2] = f32::INFINITY;
        assert!(problem(&infinite, COLUMNS, &options).contains("row 1, column 2"));
        let stopped =
            Autoencoder::train(&values, COLUMNS, &options, &mut |_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(Error::Cancelled)));
        assert!(trained(&values, 0).reconstruct(&values[1..]).is_err());
    }
}
