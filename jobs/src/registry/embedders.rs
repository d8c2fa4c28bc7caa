//! Text embedders by name, loaded once and kept: a query is embedded in milliseconds, and reading a model
//! takes hundreds of them.
//!
//! ```text
//!  ngram                        hashes parts of words, needs no model
//!  all-MiniLM-L6-v2             a model that was pulled, in the folder of models
//!  own@production, own@1f0c…    a model that was trained here, in the tenant's registry
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasets::DatasetName;
use engine::{Code, Error, Result, Session};
use models::{
    ArtifactFiles, Classifier, Embedder, EmbedderId, Error as ModelError, NGRAM, NgramEmbedder,
    NgramOptions, Sha256Hash, TextEmbedder, dimension_of, encoder_of,
};
use parking_lot::Mutex;

use crate::parameters::bad;
use crate::registry::{self, History, models_name, stages_name};
use crate::tables::input::{InputTable, is_number};

/// Embedders that are kept at a time; one of all-MiniLM-L6-v2 takes 90 MB.
const KEPT_MAX: usize = 4;
/// Instead of a version: the one that is in use.
const PRODUCTION: &str = "production";

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
    model: Model,
}

/// A model that makes vectors of texts.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) embedder: Arc<Embedder>,
    /// The bytes of its tokenizer.
    pub(crate) tokenizer: Arc<[u8]>,
}

impl Embedders {
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, kept: Mutex::default() }
    }

    /// The embedder called `name`. One that is no model ([`NGRAM`]) makes vectors of `dimension` numbers; a
    /// model makes its own. `NOT_FOUND` says how to get a model that is not here.
    pub(crate) async fn get(
        self: &Arc<Self>,
        session: &Session,
        name: &str,
        dimension: usize,
    ) -> Result<Arc<dyn TextEmbedder>> {
        if name == NGRAM {
            let made = NgramEmbedder::new(NgramOptions { dimension });
            return Ok(Arc::new(made.map_err(model_error)?));
        }
        Ok(self.model(session, name).await?.embedder)
    }

    /// The embedder that made some vectors, by the name and version that stand beside them. `CONFLICT` where another
    /// version is here.
    pub(crate) async fn of_vectors(
        self: &Arc<Self>,
        session: &Session,
        id: &str,
        dimension: usize,
    ) -> Result<Arc<dyn TextEmbedder>> {
        let (name, version) = id.rsplit_once('@').unwrap_or((id, ""));
        let pulled = self.get(session, name, dimension).await;
        if let Ok(embedder) = &pulled
            && embedder.id().to_string() == id
        {
            return pulled;
        }
        let is_registered = session.catalog().has(&models_name())?
            && registry::entries(session, name).await?.iter().any(|entry| entry.version == version);
        if is_registered {
            return self.get(session, id, dimension).await;
        }
        let found = pulled?;
        Err(Error::user(
            Code::Conflict,
            format!("the vectors are of {id}, and the model that is here is {}", found.id()),
        ))
    }

    /// The model called `name`, with its tokenizer: to be trained further, too.
    pub(crate) async fn model(self: &Arc<Self>, session: &Session, name: &str) -> Result<Model> {
        check_embedder(name).map_err(|problem| Error::user(Code::BadInput, problem))?;
        let Some((name, version)) = name.rsplit_once('@') else {
            let (this, name) = (self.clone(), name.to_owned());
            return blocking(move || this.pulled(&name)).await;
        };
        let version = match version {
            PRODUCTION => {
                let history = History::read(session, name).await?;
                history.production().map(str::to_owned).ok_or_else(|| {
                    let problem =
                        "no version is in production; the job `promote` takes one into use";
                    Error::user(Code::NotFound, format!("model {name}: {problem}"))
                })?
            }
            version => version.to_owned(),
        };
        let card = Sha256Hash::of(&registry::card(session, name, &version).await?);
        let id = EmbedderId { name: name.to_owned(), version };
        if let Some(model) = self.kept(&id.to_string(), &card) {
            return Ok(model);
        }
        let files = registry::files(session, &id.name, &id.version).await?;
        let this = self.clone();
        blocking(move || this.keep(&id.to_string(), card, &files, Some(&id))).await
    }

    /// Where runs may keep what they have done so far; none, where there is no place for models either.
    pub(crate) fn checkpoints(&self) -> Option<PathBuf> {
        // No model is called so.
        self.folder.as_ref().map(|folder| folder.join(".checkpoints"))
    }

    /// The classifier of some files, with the encoder that it names.
    pub(crate) async fn classifier(
        self: &Arc<Self>,
        session: &Session,
        files: ArtifactFiles,
    ) -> Result<Classifier> {
        let (id, dimension) = {
            let artifact = files.artifact().map_err(model_error)?;
            (encoder_of(artifact.card()), dimension_of(&artifact).unwrap_or_default())
        };
        let encoder = match id {
            Some(id) => Some(self.of_vectors(session, &id.to_string(), dimension).await?),
            None => None,
        };
        blocking(move || {
            let artifact = files.artifact().map_err(model_error)?;
            Classifier::load(&artifact, encoder).map_err(model_error)
        })
        .await
    }

    fn pulled(&self, name: &str) -> Result<Model> {
        let folder = self.folder.as_ref().map(|folder| folder.join(name));
        let folder = folder.filter(|folder| folder.is_dir()).ok_or_else(|| {
            Error::user(
                Code::NotFound,
                format!(
                    "model {name:?} is not here; `colonnade models pull {name}` brings it, \"{name}@{PRODUCTION}\" is \
                     one that was trained here, and `embedder = \"{NGRAM}\"` needs none"
                ),
            )
        })?;
        // The card names the hashes of all else: a model that was replaced has another.
        let card = card_hash(&folder)?;
        if let Some(model) = self.kept(name, &card) {
            return Ok(model);
        }
        let files = ArtifactFiles::read(&folder).map_err(model_error)?;
        self.keep(name, card, &files, None)
    }

    /// Loads a model and keeps it. `id`: what it is called here, where that is not what its card says.
    fn keep(
        &self,
        name: &str,
        card: Sha256Hash,
        files: &ArtifactFiles,
        id: Option<&EmbedderId>,
    ) -> Result<Model> {
        let artifact = files.artifact().map_err(model_error)?;
        let embedder = Embedder::load(&artifact);
        let mut embedder = embedder.map_err(model_error)?;
        if let Some(id) = id {
            embedder = embedder.called(id.clone());
        }
        let tokenizer = files.tokenizer.clone().unwrap_or_default().into();
        let model = Model { embedder: Arc::new(embedder), tokenizer };
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.name != name);
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Kept { name: name.to_owned(), card, model: model.clone() });
        Ok(model)
    }

    fn kept(&self, name: &str, card: &Sha256Hash) -> Option<Model> {
        let mut all = self.kept.lock();
        let at = all.iter().position(|kept| kept.name == name && kept.card == *card)?;
        let kept = all.remove(at);
        let model = kept.model.clone();
        all.push(kept);
        Some(model)
    }
}

/// The datasets that an embedder of that name is read from.
pub(crate) fn inputs_of(embedder: &str) -> Vec<DatasetName> {
    match embedder.rsplit_once('@') {
        None => Vec::new(),
        Some((_, PRODUCTION)) => vec![models_name(), stages_name()],
        Some(_) => vec![models_name()],
    }
}

/// Checks the name of an embedder, with a version where it was trained here.
pub(crate) fn check_embedder(name: &str) -> Result<(), String> {
    match name.rsplit_once('@') {
        None => check_name(name),
        Some((name, version)) => check_name(name).and_then(|()| check_name(version)),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal(format!("loading a model: {e}")))?
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
    let card = models::read_card(folder).map_err(model_error)?;
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

/// Fails for a version of a model that was trained with numbers that a dataset does not have.
pub(crate) fn check_numbers(
    (model, version): (&str, &str),
    classifier: &Classifier,
    table: &InputTable<'_>,
) -> Result<()> {
    for name in classifier.settings().numbers.names() {
        let found = table.check("feature_columns", name, "a number or truth value", is_number);
        found.map_err(|error| {
            error.while_doing(format_args!("{model}@{version} was trained with numbers of {name}"))
        })?;
    }
    Ok(())
}

/// Fails for a version of a model that takes other texts of a row than those of so many columns.
pub(crate) fn check_fields(
    (job, model, version): (&'static str, &str, &str),
    classifier: &Classifier,
    columns: usize,
) -> Result<()> {
    match classifier.settings().fields {
        1 => Ok(()),
        fields if fields == columns => Ok(()),
        fields => {
            let trained = match &classifier.settings().columns[..] {
                [] => "texts".to_owned(),
                columns => columns.join(" and "),
            };
            let problem = format!(
                "expected {fields} columns, as {model}@{version} was trained on {trained} apart; found {columns}: name as many, or another model"
            );
            Err(bad(job, "text_columns", problem))
        }
    }
}
