//! Rejected rows of a file, which are kept where the others are.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::brought::Brought;
use super::load::Files;
use super::numbered::Numbered;
use super::quarantine;
use crate::error::Result;
use crate::identity::Principal;
use crate::lake::{Before, DataFiles, Head, Lake, Record, Table};

/// Rejected rows in files of the quarantine, committed once nothing refuses the accepted ones any more, and before these: of a process
/// that dies in between, they are found.
pub(super) struct Rejects<'a> {
    lake: &'a Lake,
    who: &'a Principal,
    request: Option<&'a Numbered>,
    left: Mutex<Option<(Arc<Table>, DataFiles)>>,
}

impl<'a> Rejects<'a> {
    pub(super) fn new(
        lake: &'a Lake,
        who: &'a Principal,
        files: Option<(Arc<Table>, DataFiles)>,
        request: Option<&'a Numbered>,
    ) -> Self {
        Self { lake, who, request, left: Mutex::new(files) }
    }

    /// Takes away what was not committed.
    pub(super) async fn discard(&self) {
        let left = self.left.lock().take();
        if let Some((to, files)) = left {
            files.discard(&to).await;
        }
    }
}

#[async_trait]
impl Before for Rejects<'_> {
    fn is_left(&self) -> bool {
        self.left.lock().is_some()
    }

    async fn look(&self, table: &Table, head: &mut Head) -> Result<()> {
        if self.is_left() {
            self.lake.follow_others(table, head).await?;
        }
        Ok(())
    }

    async fn commit(&self) -> Result<()> {
        let left = self.left.lock().take();
        let Some((to, rejected)) = left else { return Ok(()) };
        let (lake, request) = (self.lake, self.request);
        let mut author = Files {
            lake,
            files: &rejected,
            brought: Brought::default(),
            request,
            first: None,
            content: None,
        };
        let label = quarantine::label();
        let landed = lake.commit(&to, &self.who.subject, &label, &mut author).await;
        if !matches!(&landed, Ok(landed) if landed.committed) {
            rejected.discard(&to).await;
        }
        landed.map(drop)
    }

    async fn record(&self, table: &Table, head: &mut Head) -> Result<Option<Record>> {
        match self.request {
            None => Ok(Some(Record::default())),
            Some(request) => request.record(self.lake, table, head).await,
        }
    }
}
