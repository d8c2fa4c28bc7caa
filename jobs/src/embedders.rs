//! Text embedders by name, loaded once and kept: a query is embedded in milliseconds, and reading a model
//! takes hundreds of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Code, Error, Result};
use models::{
    ArtifactFiles, CARD_FILE, Classifier, Cpu, Embedder, Error as ModelError, NGRAM, NgramEmbedder,
    NgramOptions, Sha256Hash, TextEmbedder, dimension_of, encoder_of,
};
use parking_lot::Mutex;

/// Embedders that are kept at a time; one of all-MiniLM-L6-v2 takes 90 MB.
const KEPT_MAX: usize = 4;

/// The embedders of one process.
pub(crate) struct Embedders {
    /// The folder of models that were pulled, each in a folder of its name.
    folder: Option<PathBuf>,
    /// The latest used last.
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    name: String,
    card: Sha256Hash,
    embedder: Arc<Embedder<Cpu>>,
}

impl Embedders {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, kept: Mutex::default() }
    }

    /// The embedder called `name`. One that is no model ([`NGRAM`]) makes vectors of `dimension` numbers; a
    /// model makes its own. Reads files: not for the threads that answer requests. `NOT_FOUND` says how
    /// to get a model that is not here.
    pub(crate) fn get(&self, name: &str, dimension: usize) -> Result<Arc<dyn TextEmbedder>> {
        if name == NGRAM {
            let made = NgramEmbedder::new(NgramOptions { dimension });
            return Ok(Arc::new(made.map_err(model_error)?));
        }
        let (embedder, _) = self.encoder(name)?;
        Ok(embedder)
    }

    /// Where runs may keep what they have done so far; none, where there is no place for models either.
    pub(crate) fn checkpoints(&self) -> Option<PathBuf> {
        // No model is called so.
        self.folder.as_ref().map(|folder| folder.join(".checkpoints"))
    }

    /// The model called `name` and the bytes of its tokenizer, to be trained further.
    pub(crate) fn model(&self, name: &str) -> Result<(Arc<Embedder<Cpu>>, Vec<u8>)> {
        let (embedder, folder) = self.encoder(name)?;
        let files = ArtifactFiles::read(&folder).map_err(model_error)?;
        Ok((embedder, files.tokenizer.unwrap_or_default()))
    }

    /// The classifier of some files, with the encoder that it names.
    pub(crate) fn classifier(&self, files: &ArtifactFiles) -> Result<Classifier<Cpu>> {
        let artifact = files.artifact().map_err(model_error)?;
        let encoder = match encoder_of(artifact.card()) {
            Some(id) => {
                let dimension = dimension_of(&artifact).unwrap_or_default();
                Some(self.get(&id.name, dimension)?)
            }
            None => None,
        };
        Classifier::load(&artifact, encoder, &Default::default()).map_err(model_error)
    }

    fn encoder(&self, name: &str) -> Result<(Arc<Embedder<Cpu>>, PathBuf)> {
        check_name(name).map_err(|problem| Error::user(Code::BadInput, problem))?;
        let folder = self.folder.as_ref().map(|folder| folder.join(name));
        let folder = folder.filter(|folder| folder.is_dir()).ok_or_else(|| {
            Error::user(
                Code::NotFound,
                format!(
                    "model {name:?} is not here; `colonnade models pull {name}` brings it, and \
                     `embedder = \"{NGRAM}\"` needs none"
                ),
            )
        })?;
        // The card names the hashes of all else: a model that was replaced has another.
        let card = card_hash(&folder)?;
        if let Some(embedder) = self.kept(name, &card) {
            return Ok((embedder, folder));
        }
        let files = ArtifactFiles::read(&folder).map_err(model_error)?;
        let artifact = files.artifact().map_err(model_error)?;
        let embedder = Embedder::<Cpu>::load(&artifact, &Default::default());
        let embedder = Arc::new(embedder.map_err(model_error)?);
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.name != name);
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Kept { name: name.to_owned(), card, embedder: embedder.clone() });
        Ok((embedder, folder))
    }

    fn kept(&self, name: &str, card: &Sha256Hash) -> Option<Arc<Embedder<Cpu>>> {
        let mut all = self.kept.lock();
        let at = all.iter().position(|kept| kept.name == name && kept.card == *card)?;
        let kept = all.remove(at);
        let embedder = kept.embedder.clone();
        all.push(kept);
        Some(embedder)
    }
}

/// Checks the name of a model, which comes from rows and requests and becomes a part of a path.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain) {
        true => Ok(()),
        false => Err(format!(
            "expected the name of a model, letters, digits, `-`, `_` and `.`, found {name:?}"
        )),
    }
}

fn card_hash(folder: &Path) -> Result<Sha256Hash> {
    let card = std::fs::read(folder.join(CARD_FILE)).map_err(|e| {
        Error::environment(Code::StorageUnavailable, format!("a model's {CARD_FILE}"), e)
    })?;
    Ok(Sha256Hash::of(&card))
}

/// An error of a model as one of the request that it is used for.
pub(crate) fn model_error(error: ModelError) -> Error {
    match error {
        ModelError::Cancelled => {
            Error::user(Code::Cancelled, "the run was asked to stop; nothing was committed")
        }
        ModelError::Limit { .. } => Error::user(Code::LimitExceeded, error.to_string()),
        other => Error::user(Code::BadInput, other.to_string()),
    }
}
