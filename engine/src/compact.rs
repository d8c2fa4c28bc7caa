//! Putting small files together.
//!
//! The rows stay as they are, and so a commit of this kind says of each file that it adds or removes that no data changes: it is no
//! change for subscribers, for runs that ask whether their results still stand, or for whoever reads from a version on. Readers of
//! older versions keep their files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::logical_expr::ident;
use datasets::DatasetName;

use crate::bus::CommitKind;
use crate::error::{Code, Error, Result};
use crate::grants::Grants;
use crate::identity::{Principal, Role, TenantId, Version};
use crate::lake::{
    Author, Bin, CommitLabel, DataFiles, Extent, FileWriter, Head, Lake, Layout, Proposal, Removal,
    RowOrder, Snapshot, Table,
};
use crate::session::{Session, Sessions, rows_of};

/// How often it begins anew because others changed the same files meanwhile.
const ATTEMPTS_MAX: usize = 4;
/// How often it goes on with one table before others have their turn.
const ROUNDS_MAX: usize = 8;

/// Files that were put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The version that has them: the newest one where there was nothing to do.
    pub version: Version,
    /// Files that went.
    pub removed: u64,
    /// Files that took their place.
    pub added: u64,
    /// Rows in them.
    pub rows: u64,
}

/// Puts all small files of a dataset together, by and by.
pub(crate) async fn compact(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    dataset: &DatasetName,
    layout: Layout,
) -> Result<Compacted> {
    lake.require_writer()?;
    let table = lake.table(&who.tenant, dataset).await?;
    let mut all = Compacted { version: table.entry().version, removed: 0, added: 0, rows: 0 };
    loop {
        let alone = table.revising.lock().await;
        let next = compact_some(lake, session, who, &table, Extent::Small(layout)).await?;
        drop(alone);
        if next.removed == 0 {
            return Ok(all);
        }
        all = Compacted {
            version: next.version,
            removed: all.removed + next.removed,
            added: all.added + next.added,
            rows: all.rows + next.rows,
        };
    }
}

/// As many as are put together at once, as one commit, while nobody changes rows: who does reads files that would be gone then.
async fn compact_some(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    table: &Arc<Table>,
    extent: Extent,
) -> Result<Compacted> {
    let doing = |e: Error| {
        e.while_doing(format_args!("putting files of dataset {} together", table.name()))
    };
    for _ in 0..ATTEMPTS_MAX {
        if let Some(compacted) = attempt(lake, session, who, table, extent).await.map_err(doing)? {
            return Ok(compacted);
        }
    }
    Err(Error::user(
        Code::Conflict,
        format!(
            "putting files of dataset {} together: others changed them {ATTEMPTS_MAX} times meanwhile; \
             try again",
            table.name()
        ),
    ))
}

/// Nothing where a file went meanwhile.
async fn attempt(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    table: &Arc<Table>,
    extent: Extent,
) -> Result<Option<Compacted>> {
    let at = table.entry().version;
    let snapshot = table.snapshot(at).await?;
    let bins = snapshot.bins(extent)?;
    let mut nothing = Compacted { version: at, removed: 0, added: 0, rows: 0 };
    if bins.files.is_empty() {
        return Ok(Some(nothing));
    }
    let mut files = Vec::new();
    let session = session.in_order();
    let written = async {
        for (bin, rows) in bins.files.iter().zip(&bins.rows) {
            let made = copied(&session, table, &snapshot, bin, extent.layout()).await?;
            let found = made.size.rows;
            files.push(made);
            if rows.is_some() && *rows != found {
                return Err(Error::internal(format!(
                    "{rows:?} rows lay in files, and {found:?} were read of them"
                )));
            }
        }
        // What came meanwhile is looked through before commits wait for it.
        let to = table.entry().version;
        Ok((to, table.since(at.0, to.0, &bins.removal).await?.is_other))
    };
    let written: Result<(Version, bool)> = written.await;
    let label = CommitLabel { operation: "compact".to_owned(), ..CommitLabel::default() };
    let mut author = Compactor { removal: bins.removal, files, at, is_stale: false };
    let landed = match written {
        Ok((to, is_stale)) => {
            (author.at, author.is_stale) = (to, is_stale);
            lake.commit(table, &who.subject, &label, &mut author).await
        }
        Err(e) => Err(e),
    };
    let Compactor { removal, files, is_stale, .. } = author;
    match landed {
        Ok(landed) if landed.committed => Ok(Some(Compacted {
            version: landed.version,
            removed: removal.size.files,
            added: files.iter().map(|files| files.size.files).sum(),
            rows: files.iter().filter_map(|files| files.size.rows).sum(),
        })),
        Ok(landed) => {
            for files in files {
                files.drop_unused().await;
            }
            nothing.version = landed.version;
            Ok((!is_stale).then_some(nothing))
        }
        Err(e) => {
            for files in files {
                files.discard(table).await;
            }
            Err(e)
        }
    }
}

/// The rows of some files of `snapshot` in one.
async fn copied(
    session: &Session,
    table: &Arc<Table>,
    snapshot: &Snapshot,
    bin: &Bin,
    layout: Layout,
) -> Result<DataFiles> {
    let (mut writer, order) = {
        let head = table.head().await;
        head.require_writable()?;
        let order: Vec<String> = match (layout.order, &head.spec) {
            (RowOrder::AsTheyCame, _) => Vec::new(),
            (RowOrder::Time, spec) => spec.time_column.iter().cloned().collect(),
            (RowOrder::Key, spec) => spec.key.clone(),
        };
        (FileWriter::of_size(table, &head, layout.file_bytes)?, order)
    };
    let copied = async {
        let rows = match table.snapshot_of(&bin.0).await? {
            Some(some) => rows_of(session, &some, None, None)?,
            None => rows_of(session, snapshot, Some(bin.names()?), None)?,
        };
        let rows = match order.is_empty() {
            true => rows,
            false => rows.sort(order.iter().map(|of| ident(of).sort(true, true)).collect())?,
        };
        writer.write_rows(rows).await
    };
    let copied = copied.await;
    let mut made = writer.finish_after(copied).await?;
    for add in &mut made.adds {
        add.data_change = false;
    }
    Ok(made)
}

/// Who commits it.
struct Compactor {
    removal: Removal,
    files: Vec<DataFiles>,
    /// The version up to which it is known whether the files are there.
    at: Version,
    is_stale: bool,
}

#[async_trait]
impl Author for Compactor {
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        self.is_stale |= table.since(self.at.0, head.version().0, &self.removal).await?.is_other;
        if self.is_stale {
            return Ok(None);
        }
        self.at = head.version();
        Ok(Some(Proposal {
            kind: Some(CommitKind::Compact),
            removes: self.removal.removes.clone(),
            removed: self.removal.size,
            // How wide the rows are stands there since they came.
            row_bytes: 0,
            ..Proposal::adding(&self.files)
        }))
    }
}

/// Puts files together where many came to be, until it is to stop.
pub(crate) async fn see_to(
    lake: &Arc<Lake>,
    sessions: &Sessions,
    tenant: &TenantId,
    dataset: &DatasetName,
    stops: &AtomicBool,
) -> Result<()> {
    let table = match lake.table(tenant, dataset).await {
        // It was dropped.
        Err(e) if e.code() == Code::NotFound => return Ok(()),
        table => table?,
    };
    if !table.is_layout_due() {
        return Ok(());
    }
    let who = Principal::new(tenant.clone(), "upkeep", &[Role::Writer]);
    let session = sessions.open(lake, tenant, &Grants::all(), &[]).await?;
    for _ in 0..ROUNDS_MAX {
        if stops.load(Ordering::Relaxed) {
            return Ok(());
        }
        // It waits for nobody: the tables of others wait for it. The next commit brings it back.
        let Ok(alone) = table.revising.try_lock() else { return Ok(()) };
        let done = compact_some(lake, &session, &who, &table, Extent::Many).await;
        drop(alone);
        match &done {
            Ok(compacted) if compacted.removed > 0 => tracing::debug!(
                %tenant, %dataset, version = %compacted.version, removed = compacted.removed,
                added = compacted.added, "files were put together"
            ),
            // Nothing is left, or it can't be done: until there are more.
            _ => {
                table.layout_was_seen_to();
                return done.map(drop);
            }
        }
    }
    // There is more to do, which the next commit brings back here.
    Ok(())
}
