//! Fine-tuning an encoder so that texts of one class have vectors near each other, before a head is trained on them: more
//! is learned from few rows than by both at once (SetFit: Tunstall et al. 2022), by the loss of [`super::contrastive`].
//!
//! In an epoch every row is once the question: its right answer is another row of its class, its wrong ones are the rows of
//! the step that have another class. Of a longer text either is a window, another one in every epoch, so that a step costs
//! no more and what stands far behind the beginning is learned from, too.

use networks::{Learner, Network, Parameter};

use super::contrastive::{ContrastiveOptions, judge_groups, learn_pairs};
use super::fine_tune::Examples;
use super::network::{Validation, vectors_of};
use super::random::Random;
use super::trainer::{
    Learned, Objective, TrainCall, TrainedEncoder, name_of, thinned_rows, train as train_towards,
};
use crate::embedder::{Embedder, pooled};
use crate::embedding::Role;
use crate::error::{Error, Result};
use crate::tokens::Tokens;

/// Fine-tunes `encoder` so that texts of one class have vectors near each other; of each text `windows` windows at most are
/// looked at. The weights that were best on `validation` are the answer: of those that find a text of the same class first
/// most often, the ones with the lowest loss.
///
/// A validation without two texts of a class has the rows that are learned from added to it.
///
/// Fails for rows that nothing can be learned from, for a loss or gradient that is no number (and says the step), for another
/// training's checkpoints, and when it is told to stop.
pub fn fine_tune_classes(
    encoder: &Embedder,
    train: Examples<'_>,
    validation: Examples<'_>,
    windows: usize,
    call: TrainCall<'_, ContrastiveOptions>,
) -> Result<TrainedEncoder> {
    let data = (train.texts, train.classes, validation.texts, validation.classes, windows);
    let run = name_of(encoder, call.options, &("classes", data))?;
    let objective = ClassPairs::new(encoder, train, validation, windows, call.options)?;
    let call = TrainCall {
        options: &call.options.training,
        checkpoints: call.checkpoints,
        on_progress: call.on_progress,
    };
    Ok(train_towards(encoder, &objective, run, call)?.0)
}

/// Texts as windows.
struct Windows {
    tokens: Vec<Tokens>,
    /// Of each text: where its windows begin; then where the last one's end.
    starts: Vec<usize>,
    classes: Vec<usize>,
}

impl Windows {
    fn read(encoder: &Embedder, examples: Examples<'_>, most: usize) -> Result<Self> {
        examples.check()?;
        let (tokens, text_of) = encoder.windows(examples.texts, Role::Passage, most)?;
        let mut starts = vec![0];
        starts.extend(text_of.chunk_by(|a, b| a == b).scan(0, |end, of| {
            *end += of.len();
            Some(*end)
        }));
        Ok(Self { tokens, starts, classes: examples.classes.to_vec() })
    }

    fn of(&self, text: usize) -> &[Tokens] {
        &self.tokens[self.starts[text]..self.starts[text + 1]]
    }
}

/// Texts of a class find each other.
pub(super) struct ClassPairs<'a> {
    encoder: &'a Embedder,
    options: &'a ContrastiveOptions,
    train: Windows,
    /// The rows of each class.
    rows_of: Vec<Vec<usize>>,
    validation: Windows,
}

impl<'a> ClassPairs<'a> {
    /// Fails for options that make no sense and for rows that nothing can be learned from.
    pub(super) fn new(
        encoder: &'a Embedder,
        train: Examples<'_>,
        validation: Examples<'_>,
        windows: usize,
        options: &'a ContrastiveOptions,
    ) -> Result<Self> {
        options.check()?;
        let texts = train.texts;
        let train = Windows::read(encoder, train, windows)?;
        let count = train.classes.iter().max().map_or(0, |class| class + 1);
        let mut rows_of = vec![Vec::new(); count];
        train.classes.iter().enumerate().for_each(|(row, class)| rows_of[*class].push(row));
        let classes = rows_of.iter().filter(|rows| !rows.is_empty()).count();
        if classes < 2 {
            let problem = format!("expected rows of at least 2 classes, found {classes}");
            return Err(Error::Training { problem });
        }
        if !has_pairs(&train.classes) {
            let problem = "expected two rows of one class, found none".to_owned();
            return Err(Error::Training { problem });
        }
        // Of few rows there may be no two of one class to choose by; then those that are learned from are chosen by, too.
        let mut own = (validation.texts.to_vec(), validation.classes.to_vec());
        if !own.1.is_empty() && !has_pairs(&own.1) {
            own.0.extend(texts);
            own.1.extend(&train.classes);
        }
        let validation =
            Windows::read(encoder, Examples { texts: &own.0, classes: &own.1 }, windows)?;
        Ok(Self { encoder, options, train, rows_of, validation })
    }

    /// The two windows that a row is in an epoch.
    fn pair(&self, row: usize, epoch: usize) -> [&Tokens; 2] {
        let stream = (epoch * self.train.classes.len() + row) as u64;
        let mut random = Random::new(self.options.training.seed, stream);
        let same = &self.rows_of[self.train.classes[row]];
        let partner = match same.len() {
            1 => row,
            count => {
                let other = same[random.below(count - 1)];
                // All but the row itself, whose place the last one takes.
                if other == row { same[count - 1] } else { other }
            }
        };
        [row, partner].map(|row| {
            let windows = self.train.of(row);
            &windows[random.below(windows.len())]
        })
    }
}

/// Whether two rows are of one class.
fn has_pairs(classes: &[usize]) -> bool {
    let mut seen = std::collections::HashSet::new();
    classes.iter().any(|class| !seen.insert(class))
}

impl Objective for ClassPairs<'_> {
    fn row_texts(&self) -> u64 {
        2
    }

    fn rows(&self) -> usize {
        self.train.classes.len()
    }

    fn tensors(&self, _is_resumed: bool) -> Result<Vec<Parameter>> {
        Ok(Vec::new())
    }

    fn rate_of(&self, _tensor: &str) -> f64 {
        1.0
    }

    fn learn(&self, learner: &dyn Learner, batch: &[usize], epoch: usize) -> Result<Learned> {
        let pairs = batch.iter().flat_map(|row| self.pair(*row, epoch));
        let mut texts: Vec<Vec<u32>> = pairs.map(|window| window.ids.clone()).collect();
        let rows = batch.iter().flat_map(|row| [2 * row, 2 * row + 1]);
        thinned_rows(&self.options.training, epoch, rows, &mut texts);
        let classes: Vec<usize> = batch.iter().map(|row| self.train.classes[*row]).collect();
        learn_pairs(self.encoder, learner, &texts, &classes, self.options)
    }

    fn judge(&self, network: &dyn Network, _parameters: &[Parameter]) -> Result<Validation> {
        let tokens = &self.validation.tokens;
        let ids: Vec<Vec<u32>> = tokens.iter().map(|window| window.ids.clone()).collect();
        let vectors = vectors_of(network, self.encoder.config().pooling, &ids)?;
        let size = self.encoder.config().network.hidden_size;
        let vectors: Vec<&[f32]> = vectors.chunks_exact(size).collect();
        let mut texts = vec![0_f32; self.validation.classes.len() * size];
        for (text, vector) in texts.chunks_exact_mut(size).enumerate() {
            let of = self.validation.starts[text]..self.validation.starts[text + 1];
            pooled(&vectors[of.clone()], &tokens[of], vector);
        }
        judge_groups(&texts, &self.validation.classes, self.options, self.encoder.device())
    }

    /// About: which windows are looked at differs from epoch to epoch.
    fn tokens(&self) -> u64 {
        let of_text = |text: usize| {
            let windows = self.train.of(text);
            windows.iter().map(|window| window.ids.len()).sum::<usize>() / windows.len().max(1)
        };
        2 * (0..self.train.classes.len()).map(of_text).sum::<usize>() as u64
    }

    fn cut_texts(&self) -> usize {
        let all = self.train.tokens.iter().chain(&self.validation.tokens);
        all.filter(|window| window.is_cut).count()
    }
}
