//! Putting small files together.
//!
//! The rows stay as they are, and so a commit of this kind says of each file that it adds or removes that no data changes: it is no
//! change for subscribers, for runs that ask whether their results still stand, or for whoever reads from a version on. Readers of
//! older versions keep their files.

use std::sync::Arc;

use async_trait::async_trait;
use datasets::DatasetName;
use futures::StreamExt;

use crate::bus::CommitKind;
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, Role, TenantId, Version};
use crate::lake::{
    Author, Bin, CommitLabel, DataFiles, Extent, FileWriter, Head, Lake, Proposal, Table,
};
use crate::session::{Session, Sessions, rows_of};

/// How often it begins anew because others changed the same files meanwhile.
const ATTEMPTS_MAX: usize = 4;

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

/// Puts files of a dataset together.
pub(crate) async fn compact(
    lake: &Lake,
    session: &Session,
    who: &Principal,
    dataset: &DatasetName,
    extent: Extent,
) -> Result<Compacted> {
    lake.require_writer()?;
    let table = lake.table(&who.tenant, dataset).await?;
    let doing =
        |e: Error| e.while_doing(format_args!("putting files of dataset {dataset} together"));
    // Who changes rows reads files that would be gone then.
    let _alone = table.revising.lock().await;
    for _ in 0..ATTEMPTS_MAX {
        if let Some(compacted) = attempt(lake, session, who, &table, extent).await.map_err(doing)? {
            return Ok(compacted);
        }
    }
    Err(Error::user(
        Code::Conflict,
        format!(
            "putting files of dataset {dataset} together: others changed them {ATTEMPTS_MAX} times meanwhile; \
             try again"
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
    if bins.is_empty() {
        return Ok(Some(nothing));
    }
    let mut files = Vec::new();
    let written = async {
        for bin in &bins {
            let mut writer = {
                let head = table.head().await;
                head.require_writable()?;
                FileWriter::new(table, &head)?
            };
            let copied = async {
                let rows = rows_of(session, &snapshot, Some(bin.names.clone()), None)?;
                let mut rows = rows.execute_stream().await?;
                while let Some(batch) = rows.next().await {
                    writer.write(batch?).await?;
                }
                Ok(())
            };
            if let Err(e) = copied.await {
                writer.abandon().await;
                return Err(e);
            }
            let mut made = writer.finish().await?;
            for add in &mut made.adds {
                add.data_change = false;
            }
            let (expected, found) = (bin.removal.size.rows, made.size.rows);
            files.push(made);
            if expected.is_some() && expected != found {
                return Err(Error::internal(format!(
                    "{expected:?} rows lay in files, and {found:?} were read of them"
                )));
            }
        }
        Ok(())
    };
    let written: Result<()> = written.await;
    let label = CommitLabel { operation: "compact".to_owned(), ..CommitLabel::default() };
    let mut author = Compactor { bins, files, at, is_stale: false };
    let landed = match written {
        Ok(()) => lake.commit(table, &who.subject, &label, &mut author).await,
        Err(e) => Err(e),
    };
    let Compactor { bins, files, is_stale, .. } = author;
    match landed {
        Ok(landed) if landed.committed => Ok(Some(Compacted {
            version: landed.version,
            removed: bins.iter().map(|bin| bin.removal.size.files).sum(),
            added: files.iter().map(|files| files.size.files).sum(),
            rows: files.iter().filter_map(|files| files.size.rows).sum(),
        })),
        other => {
            for files in files {
                files.discard(table).await;
            }
            nothing.version = other?.version;
            Ok((!is_stale).then_some(nothing))
        }
    }
}

/// Who commits it.
struct Compactor {
    bins: Vec<Bin>,
    files: Vec<DataFiles>,
    /// The version up to which it is known that the files are there.
    at: Version,
    is_stale: bool,
}

#[async_trait]
impl Author for Compactor {
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        for bin in &self.bins {
            self.is_stale |= table.since(self.at.0, head.version().0, &bin.removal).await?.is_other;
        }
        if self.is_stale {
            return Ok(None);
        }
        self.at = head.version();
        let mut proposal = Proposal { kind: Some(CommitKind::Compact), ..Proposal::default() };
        proposal.added.rows = Some(0);
        proposal.removed.rows = Some(0);
        for bin in &self.bins {
            proposal.removes.extend(bin.removal.removes.iter().cloned());
            proposal.removed = proposal.removed.plus(bin.removal.size);
        }
        for files in &self.files {
            proposal.adds.extend(files.adds.iter().cloned());
            proposal.added = proposal.added.plus(files.size);
            proposal.row_bytes = proposal.row_bytes.max(files.row_bytes);
        }
        Ok(Some(proposal))
    }
}

/// Puts files together where many came to be.
pub(crate) async fn see_to(
    lake: &Arc<Lake>,
    sessions: &Sessions,
    tenant: &TenantId,
    dataset: &DatasetName,
) -> Result<()> {
    let table = lake.table(tenant, dataset).await?;
    if !table.is_layout_due() {
        return Ok(());
    }
    let subject = "upkeep".to_owned();
    let who = Principal { tenant: tenant.clone(), subject, roles: vec![Role::Writer] };
    let session = sessions.open(lake, tenant, &[]).await?;
    // As many may have come meanwhile.
    let done = loop {
        let compacted = match compact(lake, &session, &who, dataset, Extent::Many).await {
            Ok(compacted) => compacted,
            Err(e) => break Err(e),
        };
        if compacted.removed == 0 {
            break Ok(());
        }
        tracing::debug!(
            %tenant, %dataset, version = %compacted.version, removed = compacted.removed,
            added = compacted.added, "files were put together"
        );
    };
    table.layout_was_seen_to();
    done
}
