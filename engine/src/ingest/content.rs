//! Files that are known again by what they hold, where rows have no key.

use datasets::read::{ReadOptions, Source, other_sheet};

use super::OnConflict;
use super::sequence::{digest, digest_of};
use crate::error::{Code, Error, Result};
use crate::identity::Version;
use crate::lake::Table;

/// The digest by which a load is recognized: that of the file, and of the sheet if it is not the default one.
pub(super) async fn content_of(source: &Source, read: &ReadOptions) -> Result<String> {
    let (source, read) = (source.clone(), read.clone());
    let found = tokio::task::spawn_blocking(move || {
        let file = digest_of(&source)?;
        Ok(match other_sheet(&source, &read)? {
            Some(sheet) => digest(format!("{file} {sheet}").as_bytes()),
            None => file,
        })
    });
    found.await.map_err(|e| Error::bug("reading the file stopped", e))?
}

/// A file of which nothing is loaded where its rows are there.
pub(super) struct Content {
    digest: String,
    name: String,
    /// What it is then: an error, or a duplicate.
    on: OnConflict,
    /// Among the versions before this one it was looked for.
    looked_up_to: u64,
}

impl Content {
    pub(super) async fn of(source: &Source, read: &ReadOptions, on: OnConflict) -> Result<Self> {
        let digest = content_of(source, read).await?;
        let name = match &read.sheet {
            Some(sheet) => format!("{}, sheet {sheet:?}", source.name()),
            None => source.name().to_owned(),
        };
        Ok(Self { digest, name, on, looked_up_to: 0 })
    }

    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether a version up to `at` added the rows of this file, and they are there still; CONFLICT where that is an error.
    pub(super) async fn is_taken(&mut self, table: &Table, at: Version) -> Result<bool> {
        let end = at.0 + 1;
        let Some(version) = table.loaded_as(&self.digest, self.looked_up_to..end).await? else {
            self.looked_up_to = end;
            return Ok(false);
        };
        if self.on == OnConflict::Once {
            return Ok(true);
        }
        let (name, dataset) = (&self.name, table.name());
        Err(Error::user(
            Code::Conflict,
            format!(
                "{name}: it was loaded before, and its rows are in {dataset} since version {version}; on conflict `add` loads them a \
                 second time"
            ),
        ))
    }
}
