//! How an encoder is fine-tuned, and what is told while it is.

use std::ops::ControlFlow;
use std::path::PathBuf;

use networks::Adapters;
use serde::{Deserialize, Serialize};

use super::adamw::AdamW;
use super::head::HeadOptions;
use super::loss::{ClassWeights, check_smoothing};
use crate::error::{Error, Result};

/// Most epochs.
pub const EPOCHS_MAX: usize = 1000;
/// Most rows of a step.
pub const BATCH_ROWS_MAX: usize = 4096;
/// Highest rank of an adapter.
pub const RANK_MAX: usize = 1024;

/// Which weights are trained beside the head's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All of every layer.
    Full {
        /// The tables of words, places and segments.
        tables: Tables,
    },
    /// An adapter beside each of the four products of every layer, and nothing else (Hu et al. 2021). It is merged into
    /// the weights at the end.
    LowRank {
        /// Numbers between its two products.
        rank: usize,
        /// Its product is multiplied by this over the rank.
        alpha: f64,
    },
}

/// What becomes of the tables that tokens are looked up in: of all-MiniLM-L6-v2 more than half of all weights, of which
/// a step sees a few hundred rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tables {
    /// They stay as they are.
    #[default]
    Frozen,
    /// They are trained; every step then walks all their rows.
    Trained,
}

/// How an encoder's weights are trained, whatever is made small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// Which weights.
    pub method: Method,
    /// Times that every row is seen, at most.
    pub epochs: usize,
    /// Rows of a step: texts, or pairs of them.
    pub batch_rows: usize,
    /// Parts of a step whose gradients are computed beside each other, one a thread, and summed in their order. The
    /// weights depend on this number, and not on that of the threads.
    pub parts: usize,
    /// The optimiser.
    pub optimiser: AdamW,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Part of all steps in which the rate rises from nothing; then it falls to nothing, both in a line.
    pub warm_up: f64,
    /// Part of a text's tokens that are left out, other ones in every epoch.
    pub token_dropout: f32,
    /// Longest gradient; a longer one is shortened to it.
    pub gradient_norm_max: Option<f64>,
    /// Epochs without a better validation before it ends; never, where there is none.
    pub patience: Option<usize>,
    /// What all random choices follow from.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            method: Method::Full { tables: Tables::Frozen },
            epochs: 5,
            batch_rows: 32,
            parts: 2,
            optimiser: AdamW::default(),
            learning_rate: 1e-4,
            warm_up: 0.1,
            token_dropout: 0.1,
            gradient_norm_max: Some(1.0),
            patience: Some(3),
            seed: 0,
        }
    }
}

/// How to fine-tune an encoder with a head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTuneOptions {
    /// The weights, the steps and the rates.
    pub training: TrainOptions,
    /// The head's learning rate is so many times higher: it has a few thousand weights, each of which all rows agree on.
    pub head_rate: f64,
    /// How much the rows of a class count.
    pub class_weights: ClassWeights,
    /// Part of a label that is spread over all classes.
    pub label_smoothing: f32,
    /// How the head is trained that fine-tuning begins with: on the vectors as they are before (Kumar et al. 2022). One
    /// that is too sure already leaves the encoder nothing to learn, hence the higher `l2`.
    pub head: HeadOptions,
}

impl Default for FineTuneOptions {
    fn default() -> Self {
        Self {
            training: TrainOptions::default(),
            head_rate: 10.0,
            class_weights: ClassWeights::Equal,
            label_smoothing: 0.1,
            head: HeadOptions { l2: 1e-4, ..HeadOptions::default() },
        }
    }
}

impl FineTuneOptions {
    /// Checks every number.
    pub fn check(&self) -> Result<()> {
        self.training.check()?;
        check_above_zero("head_rate", self.head_rate)?;
        check_smoothing(self.label_smoothing)
    }
}

impl TrainOptions {
    /// Checks every number.
    pub fn check(&self) -> Result<()> {
        let fail = |problem: String| Err(Error::Training { problem });
        let counts = [
            ("epochs", self.epochs, EPOCHS_MAX),
            ("batch_rows", self.batch_rows, BATCH_ROWS_MAX),
            ("parts", self.parts, self.batch_rows),
        ];
        if let Some((name, found, most)) = counts.iter().find(|(_, n, most)| *n == 0 || n > most) {
            return fail(format!("{name}: expected 1 to {most}, found {found}"));
        }
        check_above_zero("learning_rate", self.learning_rate)?;
        check_above_zero("gradient_norm_max", self.gradient_norm_max.unwrap_or(1.0))?;
        let shares = [("warm_up", self.warm_up), ("token_dropout", self.token_dropout.into())];
        if let Some((name, found)) = shares.iter().find(|(_, share)| !(0.0..1.0).contains(share)) {
            return fail(format!("{name}: expected at least 0 and below 1, found {found}"));
        }
        match self.method {
            Method::LowRank { rank, .. } if rank == 0 || rank > RANK_MAX => {
                fail(format!("rank: expected 1 to {RANK_MAX}, found {rank}"))
            }
            Method::LowRank { alpha, .. } => check_above_zero("alpha", alpha),
            Method::Full { .. } => Ok(()),
        }
    }

    /// The adapters, where these are trained.
    pub(crate) fn adapters(&self) -> Option<Adapters> {
        match self.method {
            Method::LowRank { rank, alpha } => Some(Adapters { rank, scale: alpha / rank as f64 }),
            Method::Full { .. } => None,
        }
    }

    /// The learning rate of a step, counted from 1, of so many.
    pub(crate) fn rate(&self, step: u64, steps: u64) -> f64 {
        let warm = (steps as f64 * self.warm_up).ceil();
        let at = step as f64;
        let share = if at <= warm {
            at / warm
        } else {
            (steps as f64 - at + 1.0) / (steps as f64 - warm + 1.0)
        };
        self.learning_rate * share
    }
}

pub(super) fn check_above_zero(name: &str, found: f64) -> Result<()> {
    if found.is_finite() && found > 0.0 {
        return Ok(());
    }
    let problem = format!("{name}: expected a number above 0, found {found}");
    Err(Error::Training { problem })
}

/// Where checkpoints go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// A folder of this training's alone; it is made where it is not there.
    pub folder: PathBuf,
    /// Steps between two; the end of an epoch has one, too.
    pub every_steps: u64,
    /// How many are left there.
    pub kept: usize,
}

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainProgress {
    /// Steps that are done.
    pub step: u64,
    /// Steps in all, if it does not end early.
    pub of: u64,
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// The loss of the last step.
    pub loss: f64,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Texts a second since the training was begun or taken up again.
    pub texts_per_s: f64,
}

/// Told after every step; stops the training by breaking. What was done until then is in a checkpoint, where there is a
/// place for it.
pub type OnTrainProgress<'a> = &'a mut dyn FnMut(&TrainProgress) -> ControlFlow<()>;

/// How good the weights are after an epoch; epoch 0 is what training began with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch.
    pub epoch: usize,
    /// Mean loss of a row in training; of epoch 0 none.
    pub train_loss: Option<f64>,
    /// Mean negative logarithm of what was answered for a row's own class, in validation.
    pub validation_loss: f64,
    /// Part of the validation's rows that were answered right.
    pub validation_accuracy: f64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_rate_rises_in_a_line_and_falls_in_a_line() {
        let options = TrainOptions { warm_up: 0.2, learning_rate: 2.0, ..TrainOptions::default() };
        let rates: Vec<f64> = (1..=10).map(|step| options.rate(step, 10)).collect();
        assert_eq!(&rates[..3], [1.0, 2.0, 2.0 * 8.0 / 9.0]);
        assert!((rates[9] - 2.0 / 9.0).abs() < 1e-12);
        let cold = TrainOptions { warm_up: 0.0, ..options };
        assert!(cold.rate(1, 4) < 2.0 + 1e-12 && cold.rate(4, 4) > 0.0);
    }

    #[test]
    fn numbers_that_make_no_sense_are_named() {
        let good = TrainOptions::default();
        assert!(good.check().is_ok());
        let cases = [
            (TrainOptions { epochs: 0, ..good.clone() }, "epochs: expected 1 to 1000, found 0"),
            (TrainOptions { parts: 33, ..good.clone() }, "parts: expected 1 to 32, found 33"),
            (TrainOptions { learning_rate: f64::NAN, ..good.clone() }, "found NaN"),
            (TrainOptions { warm_up: 1.0, ..good.clone() }, "warm_up: expected at least 0"),
            (TrainOptions { token_dropout: -0.1, ..good.clone() }, "token_dropout"),
            (
                TrainOptions { method: Method::LowRank { rank: 0, alpha: 1.0 }, ..good.clone() },
                "rank: expected 1 to 1024, found 0",
            ),
            (
                TrainOptions { method: Method::LowRank { rank: 1, alpha: 0.0 }, ..good },
                "alpha: expected a number above 0, found 0",
            ),
        ];
        for (options, expected) in cases {
            let message = options.check().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }
}
