//! Checkpoints, and the hint that names the last one. The log has all that they say, unless it was cleaned up before them.

use std::collections::BTreeMap;

use chrono::Utc;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde_json::Value;

use super::super::check::{LOG_FOLDER, LogFiles};
use super::{Examination, FindingKind, aside};
use crate::error::Result;

impl Examination<'_> {
    /// Looks at checkpoints; says whether the log can be read on with `files`.
    pub(super) async fn checkpoints(&mut self, files: &mut LogFiles) -> Result<bool> {
        let mut is_readable = true;
        for (version, objects) in self.of_checkpoints().await?.into_iter().rev() {
            let mut problem = None;
            for object in &objects {
                // Another kind of checkpoint is read by the library alone.
                if object.location.as_ref().ends_with(".parquet") {
                    let found = self.problem_of(&object.location, object.size, None).await?;
                    problem = problem.or(found);
                }
            }
            let Some(problem) = problem else { continue };
            let found = format!("the checkpoint of version {version} {problem}");
            let without = without(files, version);
            let missing = without.first_missing();
            let has_base = !without.checkpoints.is_empty() || missing != Some(0);
            if !has_base || without.entries.last() < files.entries.last().max(Some(&version)) {
                let remedy =
                    "none: the log before it was cleaned up, and only it says what was there";
                self.finds(FindingKind::Damage, found, remedy, false);
                is_readable = false;
                continue;
            }
            if self.repair {
                for object in &objects {
                    self.put_aside(&object.location).await?;
                }
                *files = without;
            }
            let folder = self.damaged_folder();
            let remedy = match missing {
                None => format!("it is set aside in {folder}; the log has all that it says"),
                Some(version) => format!(
                    "it is set aside in {folder}; version {version} of the log, which it had, is missing: the rest is saved as \
                     where no checkpoint was"
                ),
            };
            self.finds(FindingKind::Damage, found, remedy, self.repair);
            is_readable &= self.repair;
        }
        self.hint(files).await?;
        Ok(is_readable)
    }

    /// The objects of each checkpoint.
    async fn of_checkpoints(&self) -> Result<BTreeMap<u64, Vec<ObjectMeta>>> {
        let folder = Path::from(LOG_FOLDER);
        let listing = self.store.list_with_delimiter(Some(&folder)).await?;
        let mut found: BTreeMap<u64, Vec<ObjectMeta>> = BTreeMap::new();
        for object in listing.objects {
            let name = object.location.filename().and_then(|name| name.split_once('.'));
            let Some((version, rest)) = name else { continue };
            if rest.starts_with("checkpoint.")
                && let Ok(version) = version.parse()
            {
                found.entry(version).or_default().push(object);
            }
        }
        Ok(found)
    }

    /// Looks at the hint, which is none where it names a checkpoint that is not there.
    async fn hint(&mut self, files: &LogFiles) -> Result<()> {
        let path = Path::from(format!("{LOG_FOLDER}/_last_checkpoint"));
        let bytes = match self.store.get(&path).await {
            Ok(found) => found.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let named = serde_json::from_slice(&bytes)
            .ok()
            .and_then(|hint: Value| hint.get("version")?.as_u64());
        if named.is_some_and(|version| files.checkpoints.contains(&version)) {
            return Ok(());
        }
        let found = match named {
            Some(version) => {
                format!("the hint names a checkpoint of version {version}, which is not there")
            }
            None => "the hint names no checkpoint".to_owned(),
        };
        if self.repair {
            self.put_aside(&path).await?;
        }
        let remedy =
            format!("it is set aside in {}; the log is read without it", self.damaged_folder());
        self.finds(FindingKind::Oddity, found, remedy, self.repair);
        Ok(())
    }

    async fn put_aside(&self, from: &Path) -> Result<()> {
        let name = from.filename().unwrap_or_default();
        self.rename(from, &aside(name, Utc::now(), "")).await
    }
}

/// `files` without the checkpoint of `version`.
fn without(files: &LogFiles, version: u64) -> LogFiles {
    let mut files = files.clone();
    files.checkpoints.retain(|checkpoint| *checkpoint != version);
    files
}
