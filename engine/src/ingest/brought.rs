//! What a file brings to its dataset besides rows: new columns, and settings to store.
//!
//! Both are in the commit of the rows where that may be refused, so that a refused file leaves nothing behind.

use std::sync::Arc;

use async_trait::async_trait;
use datasets::{ColumnSpec, DatasetSpec, LoadSettings};

use super::settings::newly_stored;
use crate::error::Result;
use crate::identity::Principal;
use crate::lake::{Author, CommitLabel, Head, Lake, Proposal, Table, with_columns};

#[derive(Debug, Default)]
pub(super) struct Brought {
    /// The columns of the rows, where some are new.
    pub(super) columns: Vec<ColumnSpec>,
    pub(super) settings: Option<LoadSettings>,
}

impl Brought {
    /// The spec of the dataset from the commit on; `None` if it stays as it is.
    pub(super) fn spec(&self, head: &Head) -> Result<Option<DatasetSpec>> {
        let grown = with_columns(head, &self.columns)?;
        let Some(settings) = &self.settings else { return Ok(grown) };
        // Another load may have stored some meanwhile.
        let load = head.spec.load.with(settings, head.spec.name.as_str())?;
        let load = LoadSettings { on_conflict: head.spec.load.on_conflict, ..load };
        if load == head.spec.load {
            return Ok(grown);
        }
        let spec = grown.unwrap_or_else(|| head.spec.as_ref().clone());
        Ok(Some(DatasetSpec { load, ..spec }))
    }

    fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.settings.is_none()
    }

    /// Commits it without rows.
    pub(super) async fn commit(
        self,
        lake: &Lake,
        who: &Principal,
        table: &Arc<Table>,
    ) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let operation = if self.columns.is_empty() { "settings" } else { "evolve" };
        let label = CommitLabel { operation: operation.to_owned(), ..CommitLabel::default() };
        let mut alone = Alone(self);
        lake.commit(table, &who.subject, &label, &mut alone).await.map(|_| ())
    }

    /// The settings that the dataset does not store yet, as text.
    pub(super) fn stored(&self, table: &Table) -> String {
        let before = &table.entry().spec.load;
        self.settings.as_ref().map(|settings| newly_stored(before, settings)).unwrap_or_default()
    }
}

struct Alone(Brought);

#[async_trait]
impl Author for Alone {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        let spec = self.0.spec(head)?;
        Ok(spec.map(|spec| Proposal { spec: Some(spec), ..Proposal::without_rows() }))
    }
}
