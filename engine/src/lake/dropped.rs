//! Datasets that are dropped, come back, and go for good.
//!
//! One commit says in the table's metadata that it is dropped. From then on whoever asks for it is told so, and no commit is made
//! but the one that brings it back, with all its rows and versions. Its files go when they are told to: the log after the rows, and
//! of the log the entry that says that it is dropped last, so that what was begun can be ended.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use datasets::DatasetName;
use deltalake_core::kernel::{Metadata, MetadataExt as _};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::check::LOG_FOLDER;
use super::create::require_room_for_quarantine;
use super::log::LogEntry;
use super::{Author, CommitLabel, DataFiles, Head, Lake, Proposal, Table};
use crate::bus::CommitKind;
use crate::catalog::DatasetEntry;
use crate::derived::{is_kept_name, refuse_change};
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, TenantId, Version};

/// Files that are copied at once.
const COPYING_MAX: usize = 8;
/// Key of the instant in a table's configuration.
const KEY: &str = "colonnade.dropped";

/// When a table was dropped, where it is.
pub(super) fn dropped_at(metadata: &Metadata) -> Option<DateTime<Utc>> {
    let text = metadata.configuration().get(KEY)?;
    // What can not be read was dropped all the same.
    Some(text.parse().unwrap_or_default())
}

/// `metadata` of a table that is dropped, or is not any more.
pub(super) fn with_dropped(metadata: Metadata, is_dropped: bool) -> Result<Metadata> {
    let metadata = match is_dropped {
        true => {
            let at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            metadata.add_config_key(KEY.to_owned(), at)
        }
        false => metadata.remove_config_key(KEY),
    };
    metadata.map_err(|e| Error::bug("table metadata", e))
}

/// The error of whoever asks for a dataset that is dropped.
pub(crate) fn was_dropped(name: &DatasetName, at: DateTime<Utc>) -> Error {
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    Error::user(
        Code::NotFound,
        format!("dataset {name} was dropped at {at}; `colonnade restore {name}` brings it back"),
    )
}

/// The error of whoever would make a dataset where one is dropped.
pub(super) fn name_is_taken(name: &DatasetName, at: DateTime<Utc>) -> Error {
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    Error::user(
        Code::Conflict,
        format!(
            "a dataset {name} was dropped at {at}, and still has its rows: `colonnade restore {name}` brings it back, \
             `colonnade drop {name} --purge` makes room for another"
        ),
    )
}

impl Head {
    /// Fails where the table is dropped.
    pub(super) fn require_not_dropped(&self) -> Result<()> {
        dropped_at(&self.metadata).map_or(Ok(()), |at| Err(was_dropped(&self.spec.name, at)))
    }
}

impl Lake {
    /// Drops a dataset, and its quarantine with it.
    pub(crate) async fn drop_dataset(
        &self,
        who: &Principal,
        name: &DatasetName,
    ) -> Result<Version> {
        let Some(table) = self.find_dropped(&who.tenant, name).await? else {
            return Err(self.catalog(&who.tenant).await?.unknown(name.as_str()));
        };
        require_droppable(name)?;
        let before = table.entry().dropped_at;
        let version = self.say(who, &table, true).await?;
        let mut is_done = before.is_none();
        if let Some(quarantine) = self.find_dropped(&who.tenant, &name.quarantine()).await? {
            // What dropped the one may have ended before the other.
            is_done |= quarantine.entry().dropped_at.is_none();
            self.say(who, &quarantine, true).await?;
        }
        match before {
            Some(at) if !is_done => Err(was_dropped(name, at)),
            _ => Ok(version),
        }
    }

    /// Brings a dataset back, and its quarantine with it.
    pub(crate) async fn restore_dataset(
        &self,
        who: &Principal,
        name: &DatasetName,
    ) -> Result<DatasetEntry> {
        let Some(table) = self.find_dropped(&who.tenant, name).await? else {
            return Err(self.catalog(&who.tenant).await?.unknown(name.as_str()));
        };
        require_droppable(name)?;
        if let Some(quarantine) = self.find_dropped(&who.tenant, &name.quarantine()).await? {
            self.say(who, &quarantine, false).await?;
        }
        self.say(who, &table, false).await?;
        Ok(table.entry().as_ref().clone())
    }

    async fn say(&self, who: &Principal, table: &Arc<Table>, is_dropped: bool) -> Result<Version> {
        let operation = if is_dropped { "drop" } else { "restore" };
        self.say_as(who, table, is_dropped, operation).await
    }

    async fn say_as(
        &self,
        who: &Principal,
        table: &Arc<Table>,
        is_dropped: bool,
        operation: &str,
    ) -> Result<Version> {
        let label = CommitLabel { operation: operation.to_owned(), ..CommitLabel::default() };
        let landed = self.commit(table, &who.subject, &label, &mut Say { is_dropped }).await?;
        if landed.committed {
            tracing::info!(
                tenant = %who.tenant, subject = who.subject, dataset = %table.name, version = %landed.version,
                is_dropped, "dataset dropped or restored"
            );
        }
        Ok(landed.version)
    }

    /// Has a dataset, and its quarantine with it, under another name: it is dropped under the old one, its files are copied, it is
    /// restored under the new one, and the old files go. Whoever writes meanwhile is refused; where this ends in the middle, the old
    /// one can be restored, and the new one purged.
    pub(crate) async fn rename_dataset(
        &self,
        who: &Principal,
        from: &DatasetName,
        to: &DatasetName,
    ) -> Result<Version> {
        const RENAME: &str = "rename";
        let table = self.table(&who.tenant, from).await?;
        require_droppable(from)?;
        require_droppable(to)?;
        if table.entry().spec.derived {
            return Err(refuse_change(from));
        }
        require_room_for_quarantine(to)?;
        let mut names = vec![(from.clone(), to.clone())];
        if self.find_dropped(&who.tenant, &from.quarantine()).await?.is_some() {
            names.insert(0, (from.quarantine(), to.quarantine()));
        }
        for to in [to.clone(), to.quarantine()] {
            let folder = Path::from_iter([who.tenant.as_str(), to.as_str()]);
            if self.root().store().list(Some(&folder)).try_next().await?.is_some() {
                return Err(Error::user(
                    Code::Conflict,
                    format!("dataset {from} can not be called {to}: there are files of that name"),
                ));
            }
        }
        // What is seen first is dropped first, and comes back last.
        for (from, _) in names.iter().rev() {
            let table = self.find_dropped(&who.tenant, from).await?;
            let table =
                table.ok_or_else(|| Error::internal("a dataset went while it was renamed"))?;
            self.say_as(who, &table, true, RENAME).await?;
        }
        for (from, to) in &names {
            self.copy_files(who, from, to).await?;
        }
        let mut version = Version(0);
        for (_, to) in &names {
            let table = self.find_dropped(&who.tenant, to).await?;
            let table = table.ok_or_else(|| Error::internal("a dataset's copy is not there"))?;
            version = self.say_as(who, &table, false, RENAME).await?;
        }
        for (from, _) in &names {
            if let Some((last, _)) = self.last_entry(&who.tenant, from).await? {
                self.purge(who, from, &last).await?;
            }
        }
        Ok(version)
    }

    /// Copies all files of a dataset: rows first, and of the log the newest entry first, so that what is not whole can not be read.
    async fn copy_files(
        &self,
        who: &Principal,
        from: &DatasetName,
        to: &DatasetName,
    ) -> Result<()> {
        let store = self.root().store();
        let folder = |name: &DatasetName| Path::from_iter([who.tenant.as_str(), name.as_str()]);
        let (from, to) = (folder(from), folder(to));
        let all: Vec<_> = store.list(Some(&from)).try_collect().await?;
        let is_log = |path: &Path| path.parts().any(|part| part.as_ref() == LOG_FOLDER);
        let paths = all.into_iter().map(|object| object.location);
        let (mut log, rows): (Vec<Path>, Vec<Path>) = paths.partition(is_log);
        let (from, to) = (&from, &to);
        futures::stream::iter(rows)
            .map(Ok::<_, Error>)
            .try_for_each_concurrent(COPYING_MAX, |path| async move {
                Ok(store.copy(&path, &moved(&path, from, to)?).await?)
            })
            .await?;
        log.sort_by_key(|path| Reverse(path.clone()));
        for path in log {
            store.copy(&path, &moved(&path, from, to)?).await?;
        }
        Ok(())
    }

    /// Takes the files of a dropped dataset away for good, and those of its quarantine. Says how many there were.
    pub(crate) async fn purge_dataset(&self, who: &Principal, name: &DatasetName) -> Result<u64> {
        self.require_writer()?;
        require_droppable(name)?;
        let mut going = Vec::new();
        // Both are looked at before one goes.
        for name in [name.quarantine(), name.clone()] {
            let Some((last, entry)) = self.last_entry(&who.tenant, &name).await? else { continue };
            if entry.metadata.as_ref().and_then(dropped_at).is_none() {
                return Err(Error::user(
                    Code::Conflict,
                    format!("dataset {name} is not dropped; only one that is can be purged"),
                ));
            }
            going.push((name, last));
        }
        if going.is_empty() {
            return Err(self.catalog(&who.tenant).await?.unknown(name.as_str()));
        }
        let mut files = 0;
        for (name, last) in going {
            files += self.purge(who, &name, &last).await?;
        }
        Ok(files)
    }

    async fn purge(&self, who: &Principal, name: &DatasetName, last: &Path) -> Result<u64> {
        let store = self.root().store();
        let folder = Path::from_iter([who.tenant.as_str(), name.as_str()]);
        let all: Vec<_> = store.list(Some(&folder)).try_collect().await?;
        let mut paths: Vec<Path> = all.into_iter().map(|object| object.location).collect();
        let is_log = |path: &Path| path.parts().any(|part| part.as_ref() == LOG_FOLDER);
        // Rows first, then the log from its beginning, and at last what says that it is dropped.
        paths.sort_by_cached_key(|path| (path == last, is_log(path), path.clone()));
        for path in &paths {
            match store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(Error::from(error)),
            }
        }
        self.shelf(&who.tenant).remove(name);
        tracing::info!(
            tenant = %who.tenant, subject = who.subject, dataset = %name, files = paths.len(), "dataset purged"
        );
        Ok(paths.len() as u64)
    }

    /// The newest entry of a dataset's log and where it lies; also of a log whose beginning is gone.
    async fn last_entry(
        &self,
        tenant: &TenantId,
        name: &DatasetName,
    ) -> Result<Option<(Path, LogEntry)>> {
        let store = self.root().store();
        let folder = Path::from_iter([tenant.as_str(), name.as_str(), LOG_FOLDER]);
        let listed = store.list_with_delimiter(Some(&folder)).await?;
        let version = |path: &Path| path.filename()?.strip_suffix(".json")?.parse::<u64>().ok();
        let entries = listed.objects.into_iter().map(|object| object.location);
        let last = entries.filter_map(|path| Some((version(&path)?, path))).max();
        let Some((version, path)) = last else { return Ok(None) };
        let bytes = store.get(&path).await?.bytes().await?;
        Ok(Some((path, LogEntry::parse(version, &bytes)?)))
    }
}

/// A path in one folder as one in another.
fn moved(path: &Path, from: &Path, to: &Path) -> Result<Path> {
    let parts = path.prefix_match(from);
    let parts = parts.ok_or_else(|| Error::internal("a file of another folder was listed"))?;
    Ok(to.parts().chain(parts).collect())
}

/// Fails for what Colonnade needs, and for what goes with something else.
fn require_droppable(name: &DatasetName) -> Result<()> {
    let says = if name.is_quarantine() {
        "is dropped and restored with its dataset"
    } else if is_kept_name(name) {
        "is Colonnade's own and stays"
    } else {
        return Ok(());
    };
    Err(Error::user(Code::Forbidden, format!("dataset {name} {says}")))
}

/// The author of a commit that says whether a table is dropped.
struct Say {
    is_dropped: bool,
}

#[async_trait]
impl Author for Say {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_ours()?;
        if dropped_at(&head.metadata).is_some() == self.is_dropped {
            return Ok(None);
        }
        let nothing: [&DataFiles; 0] = [];
        Ok(Some(Proposal {
            kind: Some(CommitKind::Schema),
            is_dropped: Some(self.is_dropped),
            ..Proposal::adding(nothing)
        }))
    }
}
