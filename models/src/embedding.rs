//! Texts to vectors, whoever does it. A vector says something only beside others of the same embedder at the
//! same version; [`EmbedderId`] is what to keep with it.

use std::fmt;
use std::ops::ControlFlow;

use crate::error::{Error, Result};

/// Most texts of one call: at 384 numbers each, 6 GiB of vectors.
pub const TEXTS_MAX: usize = 1 << 22;

/// Turns texts into vectors of length 1, whose inner product is their likeness. The same text has the same
/// vector in every call, whatever is beside it, to within 1e-6.
pub trait TextEmbedder: fmt::Debug + Send + Sync {
    /// Who it is.
    fn id(&self) -> &EmbedderId;

    /// Numbers of a vector.
    fn dimension(&self) -> usize;

    /// The vectors of `texts`, on the threads of the rayon pool that it is called in. No text fails: the
    /// empty one has a vector, too, and one that is too long is cut and counted. Fails for more than
    /// [`TEXTS_MAX`] texts and when `options.progress` says to stop.
    fn embed(&self, texts: &[&str], options: &EmbedOptions<'_>) -> Result<Embeddings>;
}

/// An embedder at a version: vectors of one are never compared with another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmbedderId {
    /// Its name.
    pub name: String,
    /// Changes with anything that changes a vector: weights, tokenizer, settings.
    pub version: String,
}

impl fmt::Display for EmbedderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// How to embed.
#[derive(Clone, Copy, Default)]
pub struct EmbedOptions<'a> {
    /// What the texts are.
    pub role: Role,
    /// Windows of a text that are read, one after the other, by an embedder that reads so many tokens at a time: the text's
    /// vector is the mean of theirs, by their lengths. 0 and 1 take the beginning alone.
    pub windows: usize,
    /// Told after every part of the work, from any of the threads; stops the call by breaking.
    pub progress: Option<&'a (dyn Fn(Progress) -> ControlFlow<()> + Sync)>,
}

/// What a text is, for embedders that were trained with a prefix for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// One among others, to be found or compared.
    #[default]
    Passage,
    /// A question to them.
    Query,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Texts that have their vectors.
    pub texts: usize,
    /// Texts in all.
    pub of: usize,
}

/// Vectors and what there is to say of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// Row by row, `[texts, dimension]`.
    pub values: Vec<f32>,
    /// Numbers of a row.
    pub dimension: usize,
    /// Texts of which only the beginning was taken.
    pub cut_texts: usize,
    /// Texts without a character that says anything; their rows say nothing either.
    pub empty_texts: usize,
    /// Tokens (or, without a tokenizer, features) of all texts.
    pub tokens: u64,
}

impl Embeddings {
    /// The vectors.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension.max(1))
    }
}

impl EmbedOptions<'_> {
    /// Tells how far it is; fails when it is told to stop.
    pub(crate) fn report(&self, texts: usize, of: usize) -> Result<()> {
        match self.progress.map(|progress| progress(Progress { texts, of })) {
            Some(ControlFlow::Break(())) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}

pub(crate) fn check_count(texts: usize) -> Result<()> {
    if texts > TEXTS_MAX {
        return Err(Error::Limit {
            part: "texts",
            found: texts as u64,
            limit: TEXTS_MAX as u64,
            unit: "texts a call",
        });
    }
    Ok(())
}
