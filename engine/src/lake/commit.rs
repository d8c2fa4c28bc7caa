//! Making a commit.
//!
//! One JSON object is put at the next version if nobody else has; that put is the commit. What makes it
//! true in the face of failures is below: a put whose answer got lost is looked up in the log by the
//! commit's own id, never sent again blindly; a put that came second is proposed anew on the winner.
//!
//! ```text
//!   propose on head N ──▶ put N+1 ──▶ made: advance head, announce
//!        ▲                  │
//!        │                  ├─ taken by another ──▶ follow N+1, N+2, … ─┐
//!        │                  └─ failed ──▶ read N+1: ours? another's? none: it failed
//!        └──────────────────────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use chrono::Utc;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::kernel::{Action, Transaction};
use deltalake_core::logstore::CommitOrBytes;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use serde_json::Value;
use uuid::Uuid;

use super::data_files::FILE_BYTES;
use super::head::Size;
use super::log::{
    COMMIT_ID_KEY, CONTENT_KEY, LogEntry, OPERATION_KEY, PUBLICATION_KEY, REQUESTS_KEY,
    RESHAPED_KEY, REVISED_KEY, RUN_ID_KEY, entry_bytes,
};
use super::{
    Author, CommitLabel, DataFiles, Head, Lake, Proposal, Publication, Table, dropped, schema,
    width,
};
use crate::bus::{CommitEvent, CommitKind};
use crate::error::{Code, Error, Result};
use crate::identity::{RunId, Version};

/// Races that a commit may lose before it gives up. Each loss means that somebody else got on.
const ATTEMPTS_MAX: usize = 100;

/// A commit that was made, or found to have nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Landed {
    /// The version that it made; the newest one when it made none.
    pub(crate) version: Version,
    /// Whether it made one.
    pub(crate) committed: bool,
}

/// What became of one put.
enum Put {
    Made,
    Taken,
}

impl Lake {
    /// Commits what `author` proposes.
    pub(crate) async fn commit(
        &self,
        table: &Arc<Table>,
        subject: &str,
        label: &CommitLabel,
        author: &mut dyn Author,
    ) -> Result<Landed> {
        self.require_writer()?;
        let mut head = table.head.lock().await;
        let started = Instant::now();
        for _ in 0..ATTEMPTS_MAX {
            let whole = table.require_whole(head.version, head.entry_bytes);
            let damaged =
                |e: Error| e.while_doing(format_args!("committing to dataset {}", table.name));
            if table.is_damaged.load(Ordering::Relaxed) {
                table.require_end(&head).await.map_err(damaged)?;
            }
            let proposal = match author.commits_elsewhere() {
                true => {
                    whole.await.map_err(damaged)?;
                    author.propose(table, &mut head).await
                }
                false => {
                    let (whole, proposal) = tokio::join!(whole, author.propose(table, &mut head));
                    whole.map_err(damaged)?;
                    proposal
                }
            };
            let Some(proposal) = proposal? else {
                return Ok(Landed { version: head.version(), committed: false });
            };
            require_shape(&head, &proposal)
                .map_err(|e| e.while_doing(format_args!("committing to dataset {}", table.name)))?;
            let kind = proposal.kind.unwrap_or(CommitKind::Append);
            let (entry, bytes, id) = written(table, &head, subject, label, &proposal)?;
            match table.put(head.version + 1, bytes, &id).await {
                Ok(Put::Made) => {
                    head.advance(&entry, proposal.added, proposal.removed)?;
                    // Those that did not say how many rows they have may be gone.
                    if head.size.rows.is_none()
                        && proposal.removed.rows.is_none()
                        && let Ok(state) = table.state(head.version).await
                    {
                        head.size = Size::of_state(&state);
                    }
                    self.metrics.commits.add(1);
                    self.metrics.bytes_written.add(proposal.added.bytes);
                    self.metrics.commit_latency.record(started.elapsed());
                    let copied = match proposal.revised {
                        Some(revised) => revised.copied,
                        None if entry.only_moves() => u64::MAX,
                        None => 0,
                    };
                    let rows_added = proposal.added.rows.unwrap_or_default().saturating_sub(copied);
                    let of = proposal.publication.as_ref();
                    self.announce(table, &head, kind, label.run_id, rows_added, of);
                    let ms = started.elapsed().as_millis();
                    tracing::debug!(
                        tenant = %table.tenant, dataset = %table.name, version = head.version,
                        rows = rows_added, ms, "committed"
                    );
                    table.mark_newest(&head, &self.beside);
                    table.checkpoint_when_due(head.version, &self.beside);
                    return Ok(Landed { version: head.version(), committed: true });
                }
                Ok(Put::Taken) => {
                    self.metrics.commit_conflicts.add(1);
                    self.catch_up(table, &mut head).await?;
                    table.require_end(&head).await.map_err(damaged)?;
                }
                Err(e) => {
                    self.metrics.commit_failures.add(1);
                    let attempt = format!("committing to dataset {}", table.name);
                    tracing::warn!(
                        tenant = %table.tenant, dataset = %table.name, error = e.detail(),
                        "commit failed"
                    );
                    return Err(e.while_doing(attempt));
                }
            }
        }
        Err(Error::user(
            Code::Conflict,
            format!("dataset {}: {ATTEMPTS_MAX} other commits came first; try again", table.name),
        ))
    }

    /// Follows what other writers committed. Returns whether there was any.
    pub(super) async fn catch_up(&self, table: &Arc<Table>, head: &mut Head) -> Result<bool> {
        let before = head.version;
        self.follow(table, head).await?;
        // What follows may be cleaned up, or lost: a commit in the place of a lost entry would hide those after it.
        let newest = table.newest_listed().await?;
        if newest > Some(head.version) {
            // It may have come since.
            self.follow(table, head).await?;
            if newest > Some(head.version) {
                self.start_again(table, head).await?;
            }
        }
        Ok(head.version > before)
    }

    /// Follows the log entry by entry, as far as it goes.
    async fn follow(&self, table: &Arc<Table>, head: &mut Head) -> Result<()> {
        let before = head.version;
        let mut recount = false;
        while let Some(entry) = table.entry_at(head.version + 1).await? {
            recount |= !entry.removes.is_empty() || entry.rows_added().is_none();
            let rows = entry.rows_added().unwrap_or_default();
            let added = Size {
                rows: Some(rows),
                bytes: entry.adds.iter().map(|a| u64::try_from(a.size).unwrap_or_default()).sum(),
                files: entry.adds.len() as u64,
            };
            let kind = match (&entry.metadata, entry.removes.is_empty()) {
                (_, false) if entry.only_moves() => CommitKind::Compact,
                (Some(_), false) if entry.revised().is_some_and(|revised| revised.removed == 0) => {
                    CommitKind::Schema
                }
                (_, false) if entry.revised().is_some() => CommitKind::Revise,
                (_, false) => CommitKind::Overwrite,
                (Some(_), true) if entry.adds.is_empty() => CommitKind::Schema,
                _ => CommitKind::Append,
            };
            // Where some are removed, all are counted anew.
            let removed = Size { rows: Some(0), ..Size::default() };
            head.advance(&entry, added, removed)?;
            let of = entry.publication();
            self.announce(table, head, kind, entry.run_id(), rows, of.as_ref());
        }
        if recount && head.version > before {
            head.size = Size::of_state(&table.state(head.version).await?);
            self.shelf(&table.tenant).show_size(table, head);
        }
        Ok(())
    }

    /// Goes on from the newest checkpoint, where the entries before it are gone.
    async fn start_again(&self, table: &Arc<Table>, head: &mut Head) -> Result<()> {
        let state = table.newest_state().await?;
        *head = Head::of_state(&table.name, &state)?;
        head.entry_bytes = table.entry_at(head.version).await?.map(|entry| entry.bytes);
        table.forget_oldest_version();
        self.announce(table, head, CommitKind::Overwrite, None, 0, None);
        Ok(())
    }

    pub(super) fn announce(
        &self,
        table: &Arc<Table>,
        head: &Head,
        kind: CommitKind,
        run_id: Option<RunId>,
        rows_added: u64,
        of: Option<&Publication>,
    ) {
        let event = CommitEvent {
            tenant: table.tenant.clone(),
            dataset: table.name.clone(),
            version: head.version(),
            previous: head.version.checked_sub(1).map(Version),
            run_id,
            kind,
            rows_added,
            at: Utc::now(),
            committed_at_monotonic: Instant::now(),
        };
        self.shelf(&table.tenant).show(self, table, head, of, event);
    }

    pub(crate) fn require_writer(&self) -> Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(Error::user(Code::Forbidden, "this engine was opened for reading only"))
    }
}

impl Table {
    async fn put(&self, version: u64, bytes: Bytes, id: &str) -> Result<Put> {
        let operation = Uuid::new_v4();
        let put = self.log.write_commit_entry(version, CommitOrBytes::LogBytes(bytes), operation);
        let failure = match put.await {
            Ok(()) => return Ok(Put::Made),
            // Taken, perhaps by ourselves: a store's client sends again when an answer got lost.
            Err(TransactionError::VersionAlreadyExists(_)) => None,
            Err(e) => Some(Error::from(e)),
        };
        let found = self.entry_at(version).await;
        if found.is_err() || (matches!(found, Ok(None)) && failure.is_none()) {
            self.is_in_doubt.store(true, Ordering::Relaxed);
        }
        match (found, failure) {
            (Ok(Some(entry)), _) if entry.commit_id() == Some(id) => Ok(Put::Made),
            (Ok(Some(_)), _) => Ok(Put::Taken),
            (Ok(None), Some(failure)) => Err(failure),
            (Ok(None), None) => Err(Error::user(
                Code::StorageUnavailable,
                format!("the store says that version {version} is there and does not show it"),
            )),
            // It is there, and damaged: sending again will not help.
            (Err(Error::User { code, message }), _) => Err(Error::User { code, message }),
            (Err(unreadable), failure) => Err(Error::environment(
                Code::StorageUnavailable,
                "it is not known whether the commit was made, because the store stopped answering; \
                 sending again is safe with the same producer and sequence",
                failure.unwrap_or(unreadable),
            )),
        }
    }
}

/// Fails where the rows of files were written for columns that the table has no more.
pub(crate) fn require_same_columns(files: &DataFiles, head: &Head) -> Result<()> {
    match files.reshaped {
        Some(reshaped) if reshaped != head.column_ids.reshaped => Err(columns_were_changed()),
        _ => Ok(()),
    }
}

/// Fails where rows were read for columns that the table has no more.
fn require_shape(head: &Head, proposal: &Proposal) -> Result<()> {
    let expected = proposal.reshaped_after(head);
    match proposal.reshaped {
        Some(reshaped) if reshaped != expected => Err(columns_were_changed()),
        _ => Ok(()),
    }
}

/// The error of rows that were read for columns that the table has no more.
pub(crate) fn columns_were_changed() -> Error {
    let says = "its columns were changed while the rows were on their way; nothing of them was taken: send them again";
    Error::user(Code::Conflict, says)
}

/// The log entry of a proposal, as it is and as bytes, and its id.
fn written(
    table: &Table,
    head: &Head,
    subject: &str,
    label: &CommitLabel,
    proposal: &Proposal,
) -> Result<(LogEntry, Bytes, String)> {
    let mut entry = LogEntry {
        adds: proposal.adds.clone(),
        removes: proposal.removes.clone(),
        txns: proposal.sequences.iter().cloned().collect(),
        requests: proposal.requests.clone(),
        ..LogEntry::default()
    };
    let mut actions = Vec::with_capacity(proposal.adds.len() + proposal.removes.len() + 1);
    let spec = proposal.spec.as_ref();
    let respecified = spec.map(|spec| {
        let renamed = proposal.renamed.as_ref();
        let mut ids = head.column_ids.after(head.version + 1, &head.spec, spec, renamed);
        ids.reshaped = proposal.reshaped_after(head);
        ids.within(schema::with_spec(&head.metadata, spec)?)
    });
    let respecified = respecified.transpose()?;
    let respecified = match proposal.set_aside {
        Some((first, last)) => Some(schema::with_set_aside(
            respecified.as_ref().unwrap_or(&head.metadata),
            first,
            last,
        )?),
        None => respecified,
    };
    let respecified = match proposal.kept_from {
        Some(version) => {
            Some(schema::with_kept_from(respecified.as_ref().unwrap_or(&head.metadata), version)?)
        }
        None => respecified,
    };
    let respecified = match proposal.is_dropped {
        Some(is_dropped) => {
            let before = respecified.unwrap_or_else(|| head.metadata.clone());
            Some(dropped::with_dropped(before, is_dropped)?)
        }
        None => respecified,
    };
    let respecified = proposal.metadata.clone().or(respecified);
    let before = respecified.as_ref().unwrap_or(&head.metadata);
    entry.metadata = width::widened(before, proposal.row_bytes)?.or(respecified);
    actions.extend(entry.metadata.clone().map(Action::Metadata));
    actions.extend(proposal.removes.iter().cloned().map(Action::Remove));
    actions.extend(proposal.adds.iter().cloned().map(Action::Add));
    // One without a time is kept for ever.
    let of_run = label.idempotency.as_ref().map(|(run, _)| run);
    let now = Utc::now().timestamp_millis();
    let transaction = |(name, number): &(String, i64)| {
        let at = (Some(name) == of_run).then_some(now);
        Transaction::new_with_last_update(name, *number, at)
    };
    let sequences = proposal.sequences.iter().map(transaction).collect();

    let id = Uuid::now_v7().to_string();
    let partition_by = Some(head.partition_columns().to_vec()).filter(|p| !p.is_empty());
    let mode = match proposal.kind {
        Some(CommitKind::Overwrite | CommitKind::ReplacePartitions | CommitKind::Revise) => {
            SaveMode::Overwrite
        }
        Some(CommitKind::Schema) if proposal.reshapes => SaveMode::Overwrite,
        _ => SaveMode::Append,
    };
    let operation = match proposal.kind {
        Some(CommitKind::Compact) => {
            let target_size = i64::try_from(FILE_BYTES).unwrap_or(i64::MAX);
            DeltaOperation::Optimize { predicate: None, target_size }
        }
        _ => DeltaOperation::Write { mode, partition_by, predicate: None },
    };
    let mut info = commit_info(&id, subject, label);
    if let Some(revised) = proposal.revised {
        let revised = serde_json::to_value(revised);
        let revised = revised.map_err(|e| Error::bug("what a commit changes as JSON", e))?;
        info.insert(REVISED_KEY.to_owned(), revised);
    }
    if let Some(publication) = &proposal.publication {
        let publication = serde_json::to_value(publication);
        let publication = publication.map_err(|e| Error::bug("a publication as JSON", e))?;
        info.insert(PUBLICATION_KEY.to_owned(), publication);
    }
    let reshaped = proposal.reshaped_after(head);
    if reshaped > 0 {
        info.insert(RESHAPED_KEY.to_owned(), reshaped.into());
    }
    if !proposal.requests.is_empty() {
        let requests = serde_json::to_value(&proposal.requests);
        let requests = requests.map_err(|e| Error::bug("requests of a commit as JSON", e))?;
        info.insert(REQUESTS_KEY.to_owned(), requests);
    }
    if let Some(content) = &proposal.content {
        info.insert(CONTENT_KEY.to_owned(), content.as_str().into());
    }
    let bytes = entry_bytes(actions, operation, info, sequences)
        .map_err(|e| e.while_doing(format_args!("committing to dataset {}", table.name)))?;
    entry.bytes = bytes.len() as u64;
    Ok((entry, bytes, id))
}

/// What `commitInfo` says beside what Delta asks for.
pub(super) fn commit_info(id: &str, subject: &str, label: &CommitLabel) -> HashMap<String, Value> {
    let mut info = HashMap::from([
        (COMMIT_ID_KEY.to_owned(), id.into()),
        (OPERATION_KEY.to_owned(), label.operation.as_str().into()),
        ("userName".to_owned(), subject.into()),
        ("clientVersion".to_owned(), concat!("colonnade.", env!("CARGO_PKG_VERSION")).into()),
    ]);
    if let Some(run_id) = label.run_id {
        info.insert(RUN_ID_KEY.to_owned(), run_id.to_string().into());
    }
    info
}
