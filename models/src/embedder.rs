//! Texts to vectors with a BERT encoder. All texts are tokenised on all threads, sorted by length, and cut into
//! batches of so many tokens, whatever number of texts that is; then whole batches run beside each other, one a
//! thread. A thread that works alone on a batch never waits for another, and a product of a thousand rows is
//! large enough to run at full speed on one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use networks::{Batch, Device, Network, Parameter, cpu};
use rayon::prelude::*;

use crate::artifact::Artifact;
use crate::embedding::{EmbedOptions, EmbedderId, Embeddings, Role, TextEmbedder, check_count};
use crate::encoder::{EncoderConfig, weights_of};
use crate::error::{Error, Result};
use crate::hash::Sha256Hash;
use crate::tokens::{TEXT_BYTES_MAX, Tokenizer, Tokens, beginning};

/// Most tokens of a batch. What a layer holds of them, 1,536 numbers each, is 3 MiB: little enough for the allocator
/// to keep, where more would be given back and taken anew for every product.
const BATCH_TOKENS_MAX: usize = 512;
/// Fewer than this are not given to a thread of their own: they would cost as much as twice as many.
const BATCH_TOKENS_MIN: usize = 64;
/// Texts, or windows of them, that are tokenised before the first of them is embedded.
const PART_TEXTS: usize = 1 << 15;
/// Most windows of a text.
pub const WINDOWS_MAX: usize = 64;
/// Hexadecimal digits of a version.
const VERSION_DIGITS: usize = 16;

/// An encoder, its tokenizer, and the device that it is on.
#[derive(Debug)]
pub struct Embedder {
    id: EmbedderId,
    config: EncoderConfig,
    tokenizer: Tokenizer,
    device: Arc<dyn Device>,
    network: Box<dyn Network>,
}

impl Embedder {
    /// The embedder of an artifact, on the processor. Fails for an architecture that can't be built (and lists those that can),
    /// for weights that do not fit it and for a tokenizer of another model.
    pub fn load(artifact: &Artifact<'_>) -> Result<Self> {
        let card = artifact.card();
        let config = EncoderConfig::from_card(card)?;
        let tokenizer = artifact.tokenizer().ok_or(Error::Part {
            part: "tokenizer",
            expected: "one, as a text encoder needs it",
            found: "none",
        })?;
        let tokenizer = Tokenizer::read(tokenizer, config.network.vocab_size, config.tokens_max)?;
        let weights = weights_of(&config.network, artifact.weights())?;
        let id = EmbedderId { name: card.name.clone(), version: version_of(artifact, &config)? };
        Self::assemble(id, config, tokenizer, weights)
    }

    /// Puts an embedder on the processor together from parts that fit each other.
    pub(crate) fn assemble(
        id: EmbedderId,
        config: EncoderConfig,
        tokenizer: Tokenizer,
        weights: Vec<Parameter>,
    ) -> Result<Self> {
        let device = cpu();
        let network = device.network(&config.network, weights)?;
        Ok(Self { id, config, tokenizer, device, network })
    }

    /// The same on another device.
    pub fn moved(&self, device: Arc<dyn Device>) -> Result<Self> {
        Ok(Self {
            id: self.id.clone(),
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            network: device.network(&self.config.network, self.network.parameters()?)?,
            device,
        })
    }

    /// The same, called otherwise: a registry has versions of its own.
    pub fn called(self, id: EmbedderId) -> Self {
        Self { id, ..self }
    }

    /// What it was built with.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The network.
    pub(crate) fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    /// The device that it is on.
    pub(crate) fn device(&self) -> &dyn Device {
        self.device.as_ref()
    }

    pub(crate) fn tokenise(&self, texts: &[&str], role: Role) -> Result<Vec<Tokens>> {
        let prefix = self.config.prefix(role);
        if prefix.is_empty() {
            return self.tokenizer.encode_all(texts);
        }
        let prefixed = |text: &&str| {
            let kept = beginning(text, TEXT_BYTES_MAX);
            let mut tokens = self.tokenizer.encode(&format!("{prefix}{kept}"))?;
            tokens.is_cut |= kept.len() < text.len();
            Ok(tokens)
        };
        texts.par_iter().map(prefixed).collect()
    }

    /// The windows of texts, `most` of each at most, and which text each is of.
    pub(crate) fn windows(
        &self,
        texts: &[&str],
        role: Role,
        most: usize,
    ) -> Result<(Vec<Tokens>, Vec<usize>)> {
        if most <= 1 {
            return Ok((self.tokenise(texts, role)?, (0..texts.len()).collect()));
        }
        let prefix = self.config.prefix(role);
        let of_text = |text: &&str| {
            if prefix.is_empty() {
                return self.tokenizer.encode_windows(text, most);
            }
            let kept = beginning(text, TEXT_BYTES_MAX);
            let mut windows = self.tokenizer.encode_windows(&format!("{prefix}{kept}"), most)?;
            if let Some(last) = windows.last_mut() {
                last.is_cut |= kept.len() < text.len();
            }
            Ok(windows)
        };
        let windows: Vec<Vec<Tokens>> = texts.par_iter().map(of_text).collect::<Result<_>>()?;
        let of = windows.iter().enumerate().flat_map(|(text, of)| vec![text; of.len()]).collect();
        Ok((windows.into_iter().flatten().collect(), of))
    }

    /// The vectors of some tokenised texts, row by row.
    fn run(&self, texts: &[&Tokens]) -> Result<Vec<f32>> {
        let batch = Batch::new(texts.iter().map(|tokens| &tokens.ids[..]))?;
        let values = self.network.embed(&batch, self.config.pooling)?;
        // A vector has length 1; one of NaN, or of nothing, is what weights that are too large, or all 0, come to.
        let is_vector = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>() > 0.5;
        match values.chunks(self.dimension()).all(is_vector) {
            true => Ok(values),
            false => Err(Error::Weights {
                problem: format!("{}: expected vectors of length 1, found NaN or 0", self.id),
            }),
        }
    }
}

impl TextEmbedder for Embedder {
    fn id(&self) -> &EmbedderId {
        &self.id
    }

    fn dimension(&self) -> usize {
        self.config.network.hidden_size
    }

    fn embed(&self, texts: &[&str], options: &EmbedOptions<'_>) -> Result<Embeddings> {
        check_count(texts.len())?;
        if options.windows > WINDOWS_MAX {
            return Err(Error::Limit {
                part: "windows",
                found: options.windows as u64,
                limit: WINDOWS_MAX as u64,
                unit: "windows a text",
            });
        }
        let dimension = self.dimension();
        let mut embeddings = Embeddings {
            values: vec![0.0; texts.len() * dimension],
            dimension,
            cut_texts: 0,
            empty_texts: texts.iter().filter(|text| text.trim().is_empty()).count(),
            tokens: 0,
        };
        let done = AtomicUsize::new(0);
        let parts = texts.chunks(PART_TEXTS / options.windows.max(1));
        let rows = embeddings.values.chunks_mut(PART_TEXTS / options.windows.max(1) * dimension);
        for (part, rows) in parts.zip(rows) {
            let (tokens, text_of) = self.windows(part, options.role, options.windows)?;
            embeddings.cut_texts += tokens.iter().filter(|tokens| tokens.is_cut).count();
            embeddings.tokens += tokens.iter().map(|tokens| tokens.ids.len() as u64).sum::<u64>();
            let order = by_length(&tokens);
            let run = |batch: &&[usize]| -> Result<Vec<f32>> {
                let tokens: Vec<&Tokens> = batch.iter().map(|text| &tokens[*text]).collect();
                let answer = self.run(&tokens)?;
                // A text counts with its first window.
                let is_first = |at: &&usize| **at == 0 || text_of[**at - 1] != text_of[**at];
                let texts_done = batch.iter().filter(is_first).count();
                let before = done.fetch_add(texts_done, Ordering::Relaxed);
                options.report(before + texts_done, texts.len())?;
                Ok(answer)
            };
            let threads = rayon::current_num_threads();
            let batches = match self.device.batch_tokens() {
                None => batches_of(&tokens, &order, threads),
                Some(most) => padded_batches_of(&tokens, &order, most),
            };
            let answers: Vec<Vec<f32>> = match self.device.batch_tokens() {
                None => batches.par_iter().with_max_len(1).map(run).collect::<Result<_>>()?,
                Some(_) => batches.iter().map(run).collect::<Result<_>>()?,
            };
            let mut of_windows = vec![&[][..]; tokens.len()];
            for (batch, answer) in batches.iter().zip(&answers) {
                for (window, row) in batch.iter().zip(answer.chunks_exact(dimension)) {
                    of_windows[*window] = row;
                }
            }
            let mut at = 0;
            for (of, text) in text_of.chunk_by(|a, b| a == b).zip(rows.chunks_exact_mut(dimension))
            {
                let windows = at..at + of.len();
                at = windows.end;
                pooled(&of_windows[windows.clone()], &tokens[windows], text);
            }
        }
        Ok(embeddings)
    }
}

/// The mean of a text's windows by their lengths, of length 1 as they are.
pub(crate) fn pooled(windows: &[&[f32]], tokens: &[Tokens], text: &mut [f32]) {
    if let [only] = windows {
        text.copy_from_slice(only);
        return;
    }
    for (window, tokens) in windows.iter().zip(tokens) {
        let weight = tokens.ids.len() as f32;
        text.iter_mut().zip(*window).for_each(|(sum, x)| *sum += weight * x);
    }
    let length = text.iter().map(|x| x * x).sum::<f32>().sqrt();
    // Windows that are each other's opposites have no mean that points anywhere.
    match length > f32::EPSILON {
        true => text.iter_mut().for_each(|x| *x /= length),
        false => text.copy_from_slice(windows[0]),
    }
}

/// The texts, longest first: the last batches to be taken are then the cheapest of attention, and those of
/// one length are together, which spares backends that pad.
fn by_length(tokens: &[Tokens]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|text| std::cmp::Reverse(tokens[*text].ids.len()));
    order
}

/// Neighbours in that order until there are tokens enough: at most [`BATCH_TOKENS_MAX`] (but always one text),
/// fewer when there would not be a batch for every thread.
fn batches_of<'a>(tokens: &[Tokens], order: &'a [usize], threads: usize) -> Vec<&'a [usize]> {
    let all: usize = tokens.iter().map(|tokens| tokens.ids.len()).sum();
    let most = all.div_ceil(threads.max(1)).clamp(BATCH_TOKENS_MIN, BATCH_TOKENS_MAX);
    let mut batches = Vec::new();
    let (mut first, mut sum) = (0, 0);
    for (at, text) in order.iter().enumerate() {
        let length = tokens[*text].ids.len();
        if at > first && sum + length > most {
            batches.push(&order[first..at]);
            (first, sum) = (at, 0);
        }
        sum += length;
    }
    if first < order.len() {
        batches.push(&order[first..]);
    }
    batches
}

/// Neighbours in that order, the longest first, of at most `most` tokens when all are as long as the first (but always one
/// text).
fn padded_batches_of<'a>(tokens: &[Tokens], order: &'a [usize], most: usize) -> Vec<&'a [usize]> {
    let (mut batches, mut rest) = (Vec::new(), order);
    while let Some(first) = rest.first() {
        let fit = most / tokens[*first].ids.len().max(1);
        let (batch, later) = rest.split_at(fit.clamp(1, rest.len()));
        batches.push(batch);
        rest = later;
    }
    batches
}

/// Names what decides a vector; the card's words may change without it.
fn version_of(artifact: &Artifact<'_>, config: &EncoderConfig) -> Result<String> {
    let card = artifact.card();
    let settings = config.to_hyperparameters()?;
    let settings = serde_json::to_string(&settings)
        .map_err(|e| Error::Config { problem: format!("as JSON: {e}") })?;
    let tokenizer = card.tokenizer_sha256.map(|hash| hash.to_string()).unwrap_or_default();
    let named = format!("{}\n{tokenizer}\n{settings}", card.weights_sha256);
    let digits = Sha256Hash::of(named.as_bytes()).to_string();
    Ok(digits[..VERSION_DIGITS].to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ops::ControlFlow;
    use std::sync::Mutex;

    use networks::Pooling;

    use super::*;
    use crate::artifact::tests::card;
    use crate::embedding::{Progress, TEXTS_MAX};
    use crate::encoder::{ARCHITECTURE, tiny_config, tiny_weights};
    use crate::safetensors::Weights;
    use crate::tokens::tests::tokenizer_bytes;

    pub fn load(
        config: &EncoderConfig,
        weights: &[u8],
        tokenizer: Option<&[u8]>,
    ) -> Result<Embedder> {
        let mut card = card(weights, tokenizer);
        card.architecture = ARCHITECTURE.into();
        card.hyperparameters = config.to_hyperparameters()?;
        card.parameters = Weights::read(weights)?.parameters();
        let artifact = Artifact::read(&card.to_json()?, weights, tokenizer)?;
        Embedder::load(&artifact)
    }

    fn tiny() -> Embedder {
        let config = tiny_config(Pooling::Mean);
        load(&config, &tiny_weights(&config, 1), Some(&tokenizer_bytes())).unwrap()
    }

    fn embed(embedder: &Embedder, texts: &[&str]) -> Embeddings {
        embedder.embed(texts, &EmbedOptions::default()).unwrap()
    }

    #[test]
    fn weights_that_give_no_vector_are_an_error() {
        let config = tiny_config(Pooling::Mean);
        for number in [0.0_f32, 3e38] {
            let mut weights = tiny_weights(&config, 1);
            let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
            weights[header..].chunks_mut(4).for_each(|b| b.copy_from_slice(&number.to_le_bytes()));
            let embedder = load(&config, &weights, Some(&tokenizer_bytes())).unwrap();
            let error = embedder.embed(&["card"], &EmbedOptions::default()).unwrap_err();
            assert!(
                error.to_string().contains("expected vectors of length 1"),
                "{number}: {error}"
            );
        }
    }

    #[test]
    fn a_text_has_the_same_vector_whatever_is_beside_it() {
        let embedder = tiny();
        let words = ["card", "lost", "my", "is", "a", "b", "."];
        let texts: Vec<String> = (0..700)
            .map(|t| (0..t % 23).map(|w| words[(t + w * w) % 7].to_owned() + " ").collect())
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let together = embed(&embedder, &texts);
        assert_eq!((together.rows().len(), together.dimension), (700, 18));
        for (text, row) in texts.iter().zip(together.rows()) {
            let alone = embed(&embedder, &[*text]);
            for (a, b) in alone.values.iter().zip(row) {
                assert!((a - b).abs() < 1e-6, "{text:?}: {a} {b}");
            }
            let length: f32 = row.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{text:?}: {length}");
        }
    }

    #[test]
    fn empty_and_endless_texts_have_vectors_and_are_counted() {
        let embedder = tiny();
        let long = "my card is lost. ".repeat(80_000);
        let found = embed(&embedder, &["", " \n", &long, "card"]);
        assert_eq!((found.cut_texts, found.empty_texts, found.tokens), (1, 2, 2 + 2 + 24 + 3));
        let rows: Vec<&[f32]> = found.rows().collect();
        assert_eq!(rows[0], rows[1]);
        assert!(found.values.iter().all(|x| x.is_finite()));
        let none = embed(&embedder, &[]);
        assert_eq!((none.values.len(), none.tokens), (0, 0));
    }

    #[test]
    fn a_long_text_is_the_mean_of_its_windows() {
        let embedder = tiny();
        let width = embedder.tokenizer().tokens_max() - 2;
        let (one, other) = ("card ".repeat(width), "my lost ".repeat(width / 4));
        let whole = format!("{one}{other}");
        let windows = |windows, texts: &[&str]| {
            let done = Mutex::new(0);
            let note = |progress: Progress| {
                let mut done = done.lock().unwrap();
                *done = progress.texts.max(*done);
                ControlFlow::Continue(())
            };
            let options =
                EmbedOptions { windows, progress: Some(&note), ..EmbedOptions::default() };
            let found = embedder.embed(texts, &options).unwrap();
            assert_eq!(*done.lock().unwrap(), texts.len(), "texts are counted, not windows");
            found
        };
        let parts = embed(&embedder, &[one.trim(), other.trim()]);
        let parts: Vec<&[f32]> = parts.rows().collect();
        let (of_one, of_other) = ((width + 2) as f32, (2 * (width / 4) + 2) as f32);
        let sum = |at: usize| of_one * parts[0][at] + of_other * parts[1][at];
        let length = (0..parts[0].len()).map(|at| sum(at).powi(2)).sum::<f32>().sqrt();
        let texts = ["my", &whole, "", "card is lost", &whole];
        let found = windows(3, &texts);
        let rows: Vec<&[f32]> = found.rows().collect();
        assert_eq!((found.cut_texts, found.empty_texts), (0, 1));
        for (at, value) in rows[1].iter().enumerate() {
            assert!((value - sum(at) / length).abs() < 1e-5, "{at}");
        }
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(rows[1], rows[4]));
        // Short texts are what they are without windows; with one window there is the beginning alone.
        let short = embed(&embedder, &["my", "", "card is lost"]);
        assert!(near(&short.values, &[rows[0], rows[2], rows[3]].concat()));
        let cut = windows(1, &[&whole]);
        assert!(near(&cut.values, parts[0]) && cut.cut_texts == 1);
        let many = EmbedOptions { windows: WINDOWS_MAX + 1, ..EmbedOptions::default() };
        let error = embedder.embed(&["card"], &many).unwrap_err().to_string();
        assert!(error.contains("windows a text"), "{error}");
    }

    #[test]
    fn a_query_has_its_prefix() {
        let embedder = tiny();
        let query = EmbedOptions { role: Role::Query, ..EmbedOptions::default() };
        let asked = embedder.embed(&["card"], &query).unwrap();
        assert_eq!(asked.values, embed(&embedder, &["my card"]).values);
        let long = "a".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(embedder.embed(&[&long], &query).unwrap().cut_texts, 1);
    }

    #[test]
    fn progress_reaches_the_end_and_can_stop_the_call() {
        let embedder = tiny();
        let texts = vec!["my card is lost"; 300];
        let seen = Mutex::new(Vec::new());
        let note = |progress: Progress| {
            seen.lock().unwrap().push(progress.texts);
            ControlFlow::Continue(())
        };
        let options = EmbedOptions { progress: Some(&note), ..EmbedOptions::default() };
        embedder.embed(&texts, &options).unwrap();
        assert_eq!(seen.lock().unwrap().iter().max(), Some(&300));
        let stop = |_: Progress| ControlFlow::Break(());
        let options = EmbedOptions { progress: Some(&stop), ..EmbedOptions::default() };
        assert_eq!(embedder.embed(&texts, &options), Err(Error::Cancelled));
        let many = vec![""; TEXTS_MAX + 1];
        let message = embedder.embed(&many, &EmbedOptions::default()).unwrap_err().to_string();
        assert_eq!(
            message,
            "texts: 4194305 texts a call; at most 4194304 texts a call are allowed"
        );
    }

    #[test]
    fn batches_are_bounded_by_tokens_and_hold_every_text_once() {
        let lengths = [3, 900, 5, 5, 2000, 64, 1, 300, 300, 300, 300];
        let tokens: Vec<Tokens> =
            lengths.iter().map(|n| Tokens { ids: vec![0; *n], is_cut: false }).collect();
        for threads in [1, 2, 64] {
            let order = by_length(&tokens);
            let batches = batches_of(&tokens, &order, threads);
            for batch in &batches {
                let sum: usize = batch.iter().map(|text| lengths[*text]).sum();
                assert!(batch.len() == 1 || sum <= BATCH_TOKENS_MAX, "{batch:?} has {sum} tokens");
            }
            let mut all = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }
        assert!(batches_of(&[], &[], 2).is_empty());
    }

    #[test]
    fn padded_batches_are_bounded_by_their_longest_text() {
        let lengths = [3, 900, 5, 5, 2000, 64, 1, 300, 300, 300, 300];
        let tokens: Vec<Tokens> =
            lengths.iter().map(|n| Tokens { ids: vec![0; *n], is_cut: false }).collect();
        let order = by_length(&tokens);
        let batches = padded_batches_of(&tokens, &order, 1000);
        let found: Vec<Vec<usize>> =
            batches.iter().map(|batch| batch.iter().map(|text| lengths[*text]).collect()).collect();
        let expected: [&[usize]; 5] =
            [&[2000], &[900], &[300, 300, 300], &[300, 64, 5], &[5, 3, 1]];
        assert_eq!(found, expected);
        assert!(padded_batches_of(&tokens, &[], 1000).is_empty());
    }

    #[test]
    fn the_version_changes_with_weights_tokenizer_and_settings_alone() {
        let config = tiny_config(Pooling::Mean);
        let (weights, tokenizer) = (tiny_weights(&config, 1), tokenizer_bytes());
        let version = |config: &EncoderConfig, weights: &[u8], tokenizer: &[u8]| {
            load(config, weights, Some(tokenizer)).unwrap().id.version
        };
        let first = version(&config, &weights, &tokenizer);
        assert_eq!(first, tiny().id.version);
        assert_eq!(first.len(), VERSION_DIGITS);
        let cls = EncoderConfig { pooling: Pooling::Cls, ..config.clone() };
        let spaced = [&tokenizer[..], b" "].concat();
        let others = [
            version(&cls, &weights, &tokenizer),
            version(&config, &tiny_weights(&config, 2), &tokenizer),
            version(&config, &weights, &spaced),
        ];
        assert!(others.iter().all(|other| *other != first), "{others:?} {first}");
    }

    #[test]
    fn an_artifact_that_is_no_encoder_says_why() {
        let config = tiny_config(Pooling::Mean);
        let weights = tiny_weights(&config, 1);
        let message = load(&config, &weights, None).unwrap_err().to_string();
        assert_eq!(message, "tokenizer: expected one, as a text encoder needs it, found none");
        let mut wider = config.clone();
        wider.network.vocab_size = 17;
        let message = load(&wider, &weights, Some(&tokenizer_bytes())).unwrap_err().to_string();
        assert!(message.contains("expected 17 tokens, as the network has, found 16"), "{message}");
        let mut deeper = config;
        deeper.network.num_hidden_layers = 3;
        let message = load(&deeper, &weights, Some(&tokenizer_bytes())).unwrap_err().to_string();
        assert!(message.contains("encoder.layer.2."), "{message}");
    }
}
