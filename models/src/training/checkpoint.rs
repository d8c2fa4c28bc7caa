//! Everything that a training needs to go on as if it had never stopped: weights, the optimiser's moments, the best
//! weights so far, and the place it was at. A checkpoint is one safetensors file that bears the SHA-256 of its bytes in
//! its name, written beside and then renamed: what was cut off by a crash has no such name, and what was changed
//! afterwards another hash. Random choices follow from seed, epoch and step, so that the place is their state, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use networks::Parameter;
use serde::{Deserialize, Serialize};

use super::adamw::Moments;
use super::options::{CheckpointOptions, EpochReport};
use crate::error::{Error, Result};
use crate::folder::{WEIGHTS_BYTES_MAX, file_error, read_file, write_file};
use crate::hash::Sha256Hash;
use crate::safetensors::{ElementType, Weights};

const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".safetensors";
const PART: &str = ".part";
/// The entry of the header that holds the place.
const PLACE: &str = "place";

/// Where a training is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// What the training is of: another's checkpoints are not gone on from.
    pub run: String,
    /// Steps that are done.
    pub step: u64,
    /// Epochs that are done.
    pub epoch: usize,
    /// Steps that are done of the next.
    pub epoch_step: u64,
    /// Sum of their losses.
    pub epoch_loss: f64,
    /// What was found after each epoch.
    pub history: Vec<EpochReport>,
    /// The best of those.
    pub best_epoch: usize,
    /// Tokens that were learned from.
    pub tokens: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checkpoint {
    pub place: Place,
    /// By name: the weights, their moments, and the best weights.
    pub tensors: BTreeMap<String, Kept>,
}

/// A tensor that is trained.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub values: Vec<f32>,
    pub moments: Moments,
    pub best: Vec<f32>,
}

/// Writes a checkpoint, and removes all but the newest.
pub(super) fn write(
    options: &CheckpointOptions,
    place: &Place,
    parameters: &[(&Parameter, &Moments, &[f32])],
) -> Result<()> {
    let folder = &options.folder;
    fs::create_dir_all(folder).map_err(|e| file_error("checkpoints", &e))?;
    let mut bytes: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (parameter, moments, best) in parameters {
        let lists = [
            ("value", &parameter.values[..]),
            ("first", &moments.first),
            ("second", &moments.second),
            ("best", best),
        ];
        for (kind, values) in lists {
            let list = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            bytes.push((format!("{kind}/{}", parameter.name), parameter.shape.clone(), list));
        }
    }
    let views = bytes
        .iter()
        .map(|(name, shape, list)| (name.clone(), (ElementType::F32, shape.clone(), &list[..])))
        .collect();
    let place_json = serde_json::to_string(place)
        .map_err(|e| Error::Training { problem: format!("checkpoint as JSON: {e}") })?;
    let file = Weights::write(&views, &BTreeMap::from([(PLACE.to_owned(), place_json)]))?;
    let name = format!("{PREFIX}{:010}-{}{SUFFIX}", place.step, Sha256Hash::of(&file));
    write_file(folder, &name, &file)?;
    // The name is on the disk only when the folder is.
    fs::File::open(folder)
        .and_then(|it| it.sync_all())
        .map_err(|e| file_error("checkpoints", &e))?;
    let names = list(folder)?;
    for old in names.iter().filter(|other| **other != name).skip(options.kept.max(1) - 1) {
        fs::remove_file(folder.join(old)).map_err(|e| file_error(old, &e))?;
    }
    Ok(())
}

/// The newest checkpoint that is whole, if there is one, and what is wrong with newer ones. Fails for one of another
/// training.
pub(super) fn newest(folder: &Path, run: &str) -> Result<(Option<Checkpoint>, Vec<String>)> {
    let mut notices = Vec::new();
    if !folder.is_dir() {
        return Ok((None, notices));
    }
    for name in list(folder)? {
        match read(folder, &name) {
            Ok(checkpoint) if checkpoint.place.run == run => {
                return Ok((Some(checkpoint), notices));
            }
            Ok(checkpoint) => {
                return Err(Error::Checkpoint {
                    file: name,
                    problem: format!(
                        "expected one of this training, {run}, found one of {}: other data, options or encoder",
                        checkpoint.place.run
                    ),
                });
            }
            Err(error) => notices.push(format!("{error}; an older one is taken")),
        }
    }
    Ok((None, notices))
}

/// The names of checkpoints, newest first. Files that were never finished are removed.
fn list(folder: &Path) -> Result<Vec<String>> {
    let fail = |e: std::io::Error| file_error("checkpoints", &e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let Ok(name) = entry.map_err(fail)?.file_name().into_string() else { continue };
        if name.starts_with(PREFIX) && name.ends_with(PART) {
            fs::remove_file(folder.join(&name)).map_err(|e| file_error(&name, &e))?;
        } else if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.reverse();
    Ok(names)
}

fn read(folder: &Path, name: &str) -> Result<Checkpoint> {
    let fail = |problem: String| Error::Checkpoint { file: name.to_owned(), problem };
    let bytes = read_file(folder, name, WEIGHTS_BYTES_MAX)?;
    let found = Sha256Hash::of(&bytes).to_string();
    let expected = name.trim_end_matches(SUFFIX).rsplit('-').next().unwrap_or_default();
    if found != expected {
        return Err(fail(format!("expected sha256 {expected}, as its name says, found {found}")));
    }
    let weights = Weights::read(&bytes)?;
    let place =
        weights.metadata().get(PLACE).ok_or_else(|| fail("expected a place, found none".into()))?;
    let place: Place = serde_json::from_str(place).map_err(|e| fail(e.to_string()))?;
    let list = |name: &str| {
        let (four, _) = weights.bytes(name).unwrap_or_default().as_chunks::<4>();
        four.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>()
    };
    let names = weights.tensors().keys().filter_map(|name| name.strip_prefix("value/"));
    let tensors = names
        .map(|name| {
            let of = |kind: &str| list(&format!("{kind}/{name}"));
            let moments = Moments { first: of("first"), second: of("second") };
            (name.to_owned(), Kept { values: of("value"), moments, best: of("best") })
        })
        .collect();
    Ok(Checkpoint { place, tensors })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write_one(options: &CheckpointOptions, step: u64) -> Place {
        let parameter = Parameter {
            name: "w".into(),
            shape: vec![2],
            values: vec![step as f32, 0.1],
            is_trained: true,
        };
        let moments = Moments { first: vec![0.3; 2], second: vec![1e-30; 2] };
        let place = Place { run: "r".into(), step, seconds: 0.1 + 0.2, ..Place::default() };
        write(options, &place, &[(&parameter, &moments, &[5.0, 6.0])]).unwrap();
        place
    }

    #[test]
    fn the_newest_whole_checkpoint_is_taken_and_torn_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            CheckpointOptions { folder: folder.path().join("new"), every_steps: 1, kept: 3 };
        assert_eq!(newest(&options.folder, "r").unwrap(), (None, Vec::new()));
        let places: Vec<Place> = (1..=5).map(|step| write_one(&options, step)).collect();
        let names = list(&options.folder).unwrap();
        assert_eq!(names.len(), 3);
        let (found, notices) = newest(&options.folder, "r").unwrap();
        let found = found.unwrap();
        assert_eq!((&found.place, notices.len()), (&places[4], 0));
        assert_eq!(found.tensors["w"].values, [5.0, 0.1]);
        assert_eq!(found.tensors["w"].moments.second, [1e-30; 2]);
        assert_eq!(found.tensors["w"].best, [5.0, 6.0]);

        let path = options.folder.join(&names[0]);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        fs::write(options.folder.join("checkpoint-9.part"), b"half").unwrap();
        let (found, notices) = newest(&options.folder, "r").unwrap();
        assert_eq!(found.unwrap().place, places[3]);
        assert!(notices[0].contains("expected sha256 "), "{notices:?}");
        assert!(!options.folder.join("checkpoint-9.part").exists());

        let message = newest(&options.folder, "other").unwrap_err().to_string();
        assert!(message.contains("expected one of this training, other, found one of r"));
        for name in list(&options.folder).unwrap() {
            fs::write(options.folder.join(name), b"").unwrap();
        }
        let (found, notices) = newest(&options.folder, "r").unwrap();
        assert_eq!((found, notices.len()), (None, 3));
    }
}
