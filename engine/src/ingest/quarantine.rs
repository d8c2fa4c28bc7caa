//! Rows that failed a check, kept with the reason.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use datasets::rejected::{quarantine_batch, quarantine_spec};
use datasets::{DatasetName, RejectedRow};

use super::ProducerSequence;
use crate::bus::CommitKind;
use crate::error::Result;
use crate::identity::Principal;
use crate::lake::{
    Author, CommitLabel, DataFiles, FileWriter, Head, Lake, Proposal, REGAINED, Table, Taken,
    is_unreadable, lost_of,
};

/// The rejected rows of one request.
pub(super) struct Rejected<'a> {
    pub(super) rows: &'a [RejectedRow],
    pub(super) producer: Option<&'a ProducerSequence>,
    /// What the body is known by when it comes again.
    pub(super) digest: Option<&'a str>,
}

/// CONFLICT where the quarantine of `table` has rows of a request with this number and another body. It is committed before the
/// dataset: where that failed, the dataset knows nothing of the number.
pub(super) async fn require_same_body(
    lake: &Lake,
    table: &Table,
    request: &ProducerSequence,
    digest: Option<&str>,
) -> Result<()> {
    if digest.is_none() {
        return Ok(());
    }
    let Some(quarantine) = lake.quarantine_of(table).await? else { return Ok(()) };
    match taken_by(&quarantine, request).await {
        Ok(Some(taken @ Taken::With(_))) => request.standing_in_past(&taken, digest).map(drop),
        Err(error) if !is_unreadable(&error) => Err(error),
        // What can not be read knows nothing here.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What `quarantine` knows of a request.
async fn taken_by(quarantine: &Table, request: &ProducerSequence) -> Result<Option<Taken>> {
    let ProducerSequence { producer, sequence } = request;
    let mut head = quarantine.head().await;
    let last = head.last_sequence(quarantine, producer).await?;
    if last.is_none_or(|last| last < *sequence) {
        return Ok(None);
    }
    head.taken(quarantine, producer, *sequence).await.map(Some)
}

/// Commits rejected rows to the quarantine of `dataset`, which is made when it is not there; those of
/// a producer's sequence that it has are left out.
pub(super) async fn quarantine(
    lake: &Arc<Lake>,
    who: &Principal,
    dataset: &DatasetName,
    rejected: &[Rejected<'_>],
) -> Result<()> {
    let spec = quarantine_spec(dataset);
    let (table, _) = lake.find_or_create(who, &spec).await?;
    let mut author = Quarantine { rejected, files: None };
    let landed = lake.commit(&table, &who.subject, &label(), &mut author).await;
    if let Some(files) = author.files.filter(|_| !matches!(&landed, Ok(l) if l.committed)) {
        files.discard(&table).await;
    }
    landed.map(drop)
}

pub(super) fn label() -> CommitLabel {
    CommitLabel { operation: "quarantine".to_owned(), ..CommitLabel::default() }
}

struct Quarantine<'a> {
    rejected: &'a [Rejected<'a>],
    files: Option<DataFiles>,
}

#[async_trait]
impl Author for Quarantine<'_> {
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        if let Some(stale) = self.files.take() {
            stale.discard(table).await;
        }
        let now = Utc::now();
        let mut batches = Vec::new();
        let mut sequences: HashMap<String, i64> = HashMap::new();
        let mut requests = Vec::new();
        for Rejected { rows, producer, digest } in self.rejected {
            if let Some(p) = producer {
                let last = head.last_sequence(table, &p.producer).await?;
                if last.is_some_and(|last| last >= p.sequence) {
                    if head.taken(table, &p.producer, p.sequence).await? != Taken::Lost {
                        continue;
                    }
                    sequences.insert(lost_of(&p.producer, p.sequence), REGAINED);
                } else {
                    sequences.insert(p.producer.clone(), p.sequence);
                }
                requests.push(p.taken(*digest));
            }
            let producer = producer.map(|p| (p.producer.as_str(), p.sequence));
            batches.push(quarantine_batch(rows, now, producer)?);
        }
        if batches.is_empty() {
            return Ok(None);
        }
        let mut writer = FileWriter::new(table, head)?;
        let written = writer.write_all(batches).await;
        let files = writer.finish_after(written).await?;
        let proposal = Proposal::adding([&files]);
        self.files = Some(files);
        let sequences = sequences.into_iter().collect();
        Ok(Some(Proposal { kind: Some(CommitKind::Append), sequences, requests, ..proposal }))
    }
}
