//! A file that its producer numbers: whether it is new, and what its commit records.

use super::quarantine::require_same_body;
use super::sequence::{Standing, standing_on};
use super::{IngestReceipt, LoadOptions, ProducerSequence, duplicate};
use crate::error::Result;
use crate::lake::{Head, Lake, REGAINED, Record, Table, TakenRequest, first_of, lost_of};

/// The producer of a load, and the load's sequence number.
pub(super) fn producer_of(options: &LoadOptions) -> Option<ProducerSequence> {
    let numbered = options.producer.clone();
    numbered.map(|(producer, sequence)| ProducerSequence { producer, sequence })
}

/// The receipt of a duplicate, if this request is one.
pub(super) async fn standing(
    lake: &Lake,
    table: &Table,
    request: Option<&Numbered>,
) -> Result<Option<IngestReceipt>> {
    let mut head = table.head().await;
    head.require_writable()?;
    let Some(request) = request else { return Ok(None) };
    Ok(match request.standing_on(lake, &mut head, table).await? {
        Standing::Next | Standing::Lost => {
            require_same_body(lake, table, &request.producer, Some(&request.digest)).await?;
            None
        }
        Standing::Past | Standing::Duplicate => Some(duplicate(lake, head.version())),
    })
}

/// A numbered file.
pub(super) struct Numbered {
    pub(super) producer: ProducerSequence,
    /// Identifies the content of the request when it is sent again.
    digest: String,
}

impl Numbered {
    pub(super) fn new(producer: ProducerSequence, digest: String) -> Self {
        Self { producer, digest }
    }

    fn taken(&self) -> TakenRequest {
        self.producer.taken(Some(&self.digest))
    }

    /// The record for the commit of its rows; `None` for a duplicate.
    pub(super) async fn record(
        &self,
        lake: &Lake,
        table: &Table,
        head: &mut Head,
    ) -> Result<Option<Record>> {
        let last = head.last_sequence(table, &self.producer.producer).await?;
        Ok(match self.standing_on(lake, head, table).await? {
            Standing::Past | Standing::Duplicate => None,
            standing => Some(self.record_of(standing, last)),
        })
    }

    /// The record of a request with this standing, after the `last` sequence number.
    pub(super) fn record_of(&self, standing: Standing, last: Option<i64>) -> Record {
        let ProducerSequence { producer, sequence } = &self.producer;
        let mut sequences = vec![match standing {
            Standing::Lost => (lost_of(producer, *sequence), REGAINED),
            _ => (producer.clone(), *sequence),
        }];
        if last.is_none() {
            sequences.push((first_of(producer), *sequence));
        }
        Record { sequences, requests: vec![self.taken()] }
    }

    async fn standing_on(&self, lake: &Lake, head: &mut Head, table: &Table) -> Result<Standing> {
        standing_on(lake, head, table, &self.producer, &self.digest).await
    }
}
