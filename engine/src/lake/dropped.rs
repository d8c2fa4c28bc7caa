//! Datasets that are dropped, come back, and go for good.
//!
//! One commit says in the table's metadata that it is dropped. From then on whoever asks for it is told so, and no commit is made
//! but the one that brings it back, with all its rows and versions. Its files go when they are told to: the log after the rows, and
//! of the log the entry that says that it is dropped last, so that what was begun can be ended.
//!
//! One that was made for a file which then failed is taken back. Others may have seen it, and would take another table of its name for
//! it, were its log gone: so it is dropped, says that there is nothing to bring back, and the next of its name goes on in its log.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use datasets::{DatasetName, DatasetSpec};
use deltalake_core::kernel::{Metadata, MetadataExt as _};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::check::{LOG_FOLDER, LogFiles, entry_path};
use super::column_ids::ColumnIds;
use super::create::require_room_for_quarantine;
use super::log::{LogEntry, read_entry};
use super::table::{folder_of, places};
use super::{Author, CommitLabel, Head, Lake, Proposal, Table, schema};
use crate::catalog::DatasetEntry;
use crate::derived::{is_kept_name, refuse_change};
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, TenantId, Version};

/// Files that are copied at once.
const COPYING_MAX: usize = 8;
/// Key of the instant in a table's configuration.
const KEY: &str = "colonnade.dropped";
/// Key that says that it never had a row, so that its name is free.
const UNMADE_KEY: &str = "colonnade.unmade";
/// Key of the version at which it was made, where one of its name had been taken back before.
const MADE_KEY: &str = "colonnade.made";

/// When a table was dropped, where it is.
pub(super) fn dropped_at(metadata: &Metadata) -> Option<DateTime<Utc>> {
    let text = metadata.configuration().get(KEY)?;
    // What can not be read was dropped all the same.
    Some(text.parse().unwrap_or_default())
}

/// Whether a table was taken back before it had a row.
pub(super) fn is_unmade(metadata: &Metadata) -> bool {
    metadata.configuration().contains_key(UNMADE_KEY)
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
        if is_unmade(&self.metadata) {
            let name = &self.spec.name;
            let says = format!(
                "dataset {name} is gone: it was made for a file that was not loaded, and had no row"
            );
            return Err(Error::user(Code::NotFound, says));
        }
        dropped_at(&self.metadata).map_or(Ok(()), |at| Err(was_dropped(&self.spec.name, at)))
    }

    /// Whether nothing was committed since it was made.
    fn is_as_made(&self) -> bool {
        let made = self.metadata.configuration().get(MADE_KEY);
        made.and_then(|made| made.parse().ok()).unwrap_or(0) == self.version
    }
}

impl Lake {
    /// Drops a dataset, and its quarantine with it.
    pub(crate) async fn drop_dataset(
        &self,
        who: &Principal,
        name: &DatasetName,
    ) -> Result<Version> {
        let table = self.table_or_dropped(&who.tenant, name).await?;
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

    /// Takes a dataset away again, and its quarantine with it, that was made for rows which did not come; not where somebody has
    /// written to either.
    pub(crate) async fn unmake(&self, who: &Principal, name: &DatasetName) -> Result<()> {
        let quarantine = self.find(&who.tenant, &name.quarantine()).await?;
        if let Some(quarantine) = &quarantine
            && !quarantine.head().await.is_as_made()
        {
            return Ok(());
        }
        let label = CommitLabel { operation: "drop".to_owned(), ..CommitLabel::default() };
        for table in [self.find(&who.tenant, name).await?, quarantine].into_iter().flatten() {
            if !self.commit(&table, &who.subject, &label, &mut Unmake).await?.committed {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes a dataset in the log of one of its name that was taken back. Says whether it was this call that made it.
    pub(super) async fn make_anew(
        &self,
        who: &Principal,
        table: Arc<Table>,
        spec: &DatasetSpec,
    ) -> Result<(Arc<Table>, bool)> {
        let label = CommitLabel { operation: "create".to_owned(), ..CommitLabel::default() };
        let landed = self.commit(&table, &who.subject, &label, &mut Anew { spec }).await?;
        match table.entry().dropped_at {
            Some(at) => Err(name_is_taken(&spec.name, at)),
            None => Ok((table, landed.committed)),
        }
    }

    /// Brings a dataset back, and its quarantine with it.
    pub(crate) async fn restore_dataset(
        &self,
        who: &Principal,
        name: &DatasetName,
    ) -> Result<DatasetEntry> {
        let table = self.table_or_dropped(&who.tenant, name).await?;
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
        let mut moves = vec![(table, to.clone())];
        if let Some(quarantine) = self.find_dropped(&who.tenant, &from.quarantine()).await? {
            moves.insert(0, (quarantine, to.quarantine()));
        }
        for to in [to.clone(), to.quarantine()] {
            let folder = folder_of(&who.tenant, &to);
            if self.root().store().list(Some(&folder)).try_next().await?.is_some() {
                return Err(Error::user(
                    Code::Conflict,
                    format!("dataset {from} can not be called {to}: there are files of that name"),
                ));
            }
        }
        // What is seen first is dropped first, and comes back last.
        for (from, _) in moves.iter().rev() {
            self.say_as(who, from, true, RENAME).await?;
        }
        for (from, to) in &moves {
            self.copy_files(who, &from.name, to).await?;
        }
        let mut version = Version(0);
        for (_, to) in &moves {
            let copy = self.table_or_dropped(&who.tenant, to).await?;
            version = self.say_as(who, &copy, false, RENAME).await?;
        }
        for (from, _) in &moves {
            if let Some((last, _)) = self.last_entry(&who.tenant, &from.name).await? {
                self.purge(who, &from.name, last).await?;
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
        let (from, to) = (&folder_of(&who.tenant, from), &folder_of(&who.tenant, to));
        let Files { rows, log } = Files::of(store.as_ref(), from).await?;
        futures::stream::iter(rows)
            .map(Ok::<_, Error>)
            .try_for_each_concurrent(COPYING_MAX, |path| async move {
                Ok(store.copy(&path, &moved(&path, from, to)?).await?)
            })
            .await?;
        for path in log.iter().rev() {
            store.copy(path, &moved(path, from, to)?).await?;
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
            return Err(self.unknown(&who.tenant, name).await);
        }
        let mut files = 0;
        for (name, last) in going {
            files += self.purge(who, &name, last).await?;
        }
        Ok(files)
    }

    /// Takes its files away: rows first, then the log from its beginning, and at last the entry that says that it is dropped.
    async fn purge(&self, who: &Principal, name: &DatasetName, last: u64) -> Result<u64> {
        let store = self.root().store();
        let folder = folder_of(&who.tenant, name);
        if let Some(table) = self.shelf(&who.tenant).get(name) {
            table.stop_marking().await;
        }
        let Files { rows, log } = Files::of(store.as_ref(), &folder).await?;
        let last: Path = folder.parts().chain(entry_path(last).parts()).collect();
        let (last, log): (Vec<Path>, Vec<Path>) = log.into_iter().partition(|path| *path == last);
        let paths = [rows, log, last].concat();
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

    /// The newest entry of a dataset's log and its version; also of a log whose beginning is gone.
    async fn last_entry(
        &self,
        tenant: &TenantId,
        name: &DatasetName,
    ) -> Result<Option<(u64, LogEntry)>> {
        let (log, folder) = places(self.root(), tenant, name)?;
        let files = LogFiles::list(folder.as_ref()).await?;
        let Some(last) = files.entries.last().copied() else { return Ok(None) };
        Ok(read_entry(&log, last).await?.map(|entry| (last, entry)))
    }
}

/// What lies in a dataset's folder, each in order.
struct Files {
    rows: Vec<Path>,
    log: Vec<Path>,
}

impl Files {
    async fn of(store: &dyn ObjectStore, folder: &Path) -> Result<Self> {
        let log_folder = folder.clone().join(LOG_FOLDER);
        let all: Vec<_> = store.list(Some(folder)).try_collect().await?;
        let mut paths: Vec<Path> = all.into_iter().map(|object| object.location).collect();
        paths.sort();
        let (log, rows) = paths.into_iter().partition(|path| path.prefix_matches(&log_folder));
        Ok(Self { rows, log })
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
        Ok(Some(Proposal { is_dropped: Some(self.is_dropped), ..Proposal::without_rows() }))
    }
}

/// The author of a commit that takes a table back, where nothing was committed since it was made.
struct Unmake;

#[async_trait]
impl Author for Unmake {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_ours()?;
        if !head.is_as_made() || dropped_at(&head.metadata).is_some() {
            return Ok(None);
        }
        let metadata = with_dropped(head.metadata.clone(), true)?;
        Ok(Some(with_metadata(metadata, UNMADE_KEY, "true".to_owned())?))
    }
}

/// The author of a commit that makes a table of one that was taken back. Rows on their way to that one do not fit.
struct Anew<'a> {
    spec: &'a DatasetSpec,
}

#[async_trait]
impl Author for Anew<'_> {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_ours()?;
        if !is_unmade(&head.metadata) {
            return Ok(None);
        }
        let ids = ColumnIds::anew(head.column_ids.reshaped + 1);
        let metadata = ids.within(schema::metadata_of(self.spec)?)?;
        let proposal = with_metadata(metadata, MADE_KEY, (head.version + 1).to_string())?;
        Ok(Some(Proposal { reshapes: true, ..proposal }))
    }
}

fn with_metadata(metadata: Metadata, key: &str, value: String) -> Result<Proposal> {
    let metadata = metadata.add_config_key(key.to_owned(), value);
    let metadata = metadata.map_err(|e| Error::bug("table metadata", e))?;
    Ok(Proposal { metadata: Some(metadata), ..Proposal::without_rows() })
}
