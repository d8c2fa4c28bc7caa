//! Texts to labels: an encoder, a linear head on its vectors, and how sure an answer must be. A classifier whose encoder
//! was fine-tuned has it inside its artifact; one whose encoder stayed as it was names it, and is loaded with it.

mod artifact;
mod fields;
mod numbers;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use artifact::{BERT_CLASSIFIER, LINEAR_CLASSIFIER, dimension_of, encoder_of};
pub use fields::embed_fields;
pub use numbers::Numbers;
pub use settings::{ClassifierSettings, FIELDS_MAX, NUMBERS_MAX};

use crate::embedding::{EmbedOptions, Embeddings, TextEmbedder};
use crate::error::{Error, Result};
use crate::evaluation::best_of;
use crate::training::{Head, softmax};

/// Classes that are answered beside the first, where not said otherwise.
const TOP: usize = 3;

/// Tells texts apart.
#[derive(Clone, Debug)]
pub struct Classifier {
    encoder: Arc<dyn TextEmbedder>,
    head: Head,
    settings: ClassifierSettings,
}

/// Rows to be classified.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The fields of the first row, then those of the next.
    pub texts: &'a [&'a str],
    /// The numbers of the first row, then those of the next, NaN where one is missing.
    pub numbers: &'a [f64],
}

impl<'a> From<&'a [&'a str]> for Inputs<'a> {
    fn from(texts: &'a [&'a str]) -> Self {
        Self { texts, numbers: &[] }
    }
}

/// How to classify.
#[derive(Clone, Copy)]
pub struct ClassifyOptions<'a> {
    /// Classes that are answered, the likeliest first.
    pub top: usize,
    /// How the texts are embedded, and who is told of it.
    pub embed: EmbedOptions<'a>,
}

impl Default for ClassifyOptions<'_> {
    fn default() -> Self {
        Self { top: TOP, embed: EmbedOptions::default() }
    }
}

/// What a row is.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Classes by number, with their calibrated probabilities, the likeliest first.
    pub top: Vec<(usize, f32)>,
    /// The probability of the first.
    pub confidence: f32,
    /// Whether it is none of the classes, by the threshold; never, where there is none.
    pub is_out_of_scope: bool,
}

/// What rows are.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    /// One for each row.
    pub predictions: Vec<Prediction>,
    /// Texts of which only the beginning was taken.
    pub cut_texts: usize,
    /// Rows without a character that says anything.
    pub empty_texts: usize,
    /// Tokens of all texts.
    pub tokens: u64,
}

/// What the head answers, before temperature and threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// Row by row, `[rows, classes]`.
    pub values: Vec<f32>,
    /// Texts of which only the beginning was taken.
    pub cut_texts: usize,
    /// Rows without a character that says anything.
    pub empty_texts: usize,
    /// Tokens of all texts.
    pub tokens: u64,
}

impl Classifier {
    /// Puts a classifier together. Fails for a head of another number of classes than the labels, or of numbers than
    /// the vectors of a row.
    pub fn new(
        encoder: Arc<dyn TextEmbedder>,
        head: Head,
        settings: ClassifierSettings,
    ) -> Result<Self> {
        settings.check()?;
        let dimension = settings.dimension(encoder.dimension());
        let expected = (dimension, settings.labels.count());
        if (head.dimension(), head.classes()) != expected
            || head.weight.len() != expected.0 * expected.1
        {
            return Err(Error::Config {
                problem: format!(
                    "head: expected {} numbers to {} classes, found {} to {}",
                    expected.0,
                    expected.1,
                    head.dimension(),
                    head.classes()
                ),
            });
        }
        Ok(Self { encoder, head, settings })
    }

    /// The labels, the temperature and the threshold.
    pub fn settings(&self) -> &ClassifierSettings {
        &self.settings
    }

    /// The same with other settings. Fails for another number of labels.
    pub fn with_settings(self, settings: ClassifierSettings) -> Result<Self> {
        Self::new(self.encoder, self.head, settings)
    }

    /// The encoder.
    pub fn encoder(&self) -> &Arc<dyn TextEmbedder> {
        &self.encoder
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Numbers of the vector of a row.
    pub fn dimension(&self) -> usize {
        self.head.dimension()
    }

    /// The vectors that the head answers by, one for each row: those of the encoder, of as much of a text as the settings say, with the
    /// row's numbers behind them. Fails as embedding does, and for texts and numbers that are no whole rows.
    pub fn embed<'a>(
        &self,
        rows: impl Into<Inputs<'a>>,
        options: &EmbedOptions<'_>,
    ) -> Result<Embeddings> {
        let (rows, settings) = (rows.into(), &self.settings);
        let options = EmbedOptions { windows: settings.windows, ..*options };
        let texts = embed_fields(self.encoder.as_ref(), rows.texts, settings.fields, &options)?;
        settings.numbers.beside(texts, rows.numbers)
    }

    /// What the head answers: what temperature and threshold are found from. Fails as [`embed`](Self::embed) does.
    pub fn logits<'a>(
        &self,
        rows: impl Into<Inputs<'a>>,
        options: &EmbedOptions<'_>,
    ) -> Result<Logits> {
        let embeddings = self.embed(rows, options)?;
        let values = self.head.logits(&embeddings.values)?;
        Ok(Logits {
            values,
            cut_texts: embeddings.cut_texts,
            empty_texts: embeddings.empty_texts,
            tokens: embeddings.tokens,
        })
    }

    /// What rows are. No text fails: the empty one has an answer, too. Fails as [`embed`](Self::embed) does.
    pub fn classify<'a>(
        &self,
        rows: impl Into<Inputs<'a>>,
        options: &ClassifyOptions<'_>,
    ) -> Result<Classified> {
        let embeddings = self.embed(rows, &options.embed)?;
        Ok(Classified {
            predictions: self.answer(&embeddings.values, options.top)?,
            cut_texts: embeddings.cut_texts,
            empty_texts: embeddings.empty_texts,
            tokens: embeddings.tokens,
        })
    }

    /// What rows are whose vectors by [`embed`](Self::embed) are at hand, `[rows, dimension]`.
    pub fn answer(&self, vectors: &[f32], top: usize) -> Result<Vec<Prediction>> {
        let logits = self.head.logits(vectors)?;
        let rows = logits.chunks_exact(self.head.classes());
        Ok(rows.map(|row| self.settings.predict(row, top)).collect())
    }
}

impl ClassifierSettings {
    /// The answer that a row of logits is.
    pub fn predict(&self, row: &[f32], top: usize) -> Prediction {
        let is_out_of_scope = self
            .out_of_scope
            .is_some_and(|threshold| threshold.score.of(row, self.temperature) < threshold.least);
        let mut shares: Vec<f32> =
            row.iter().map(|x| (f64::from(*x) / self.temperature) as f32).collect();
        softmax(&mut shares);
        let confidence = shares.get(best_of(&shares)).copied().unwrap_or(0.0);
        let mut classes: Vec<usize> = (0..shares.len()).collect();
        // Of equal ones the first: the order must not depend on the sort.
        classes.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]).then(a.cmp(b)));
        let top = classes.into_iter().take(top.max(1)).map(|class| (class, shares[class]));
        Prediction { top: top.collect(), confidence, is_out_of_scope }
    }
}
