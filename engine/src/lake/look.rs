//! Looking for what others committed to one table, where somebody has reason to think that there is something: a notice, or a request
//! that what is known here does not fit.

use datasets::DatasetName;

use super::{Head, Lake, Table};
use crate::error::Result;
use crate::identity::{TenantId, Version};

impl Lake {
    /// Follows a dataset as far as its log goes, and announces what it finds, unless `version` of it is known. Of tenants of whom
    /// nobody asked anything here nothing is looked for.
    pub(crate) async fn look_for(
        &self,
        tenant: &TenantId,
        dataset: &DatasetName,
        version: Option<Version>,
    ) -> Result<()> {
        if !self.asked_for().contains(tenant) {
            return Ok(());
        }
        let shelf = self.shelf(tenant);
        let mut table = shelf.get(dataset);
        if table.is_none() {
            self.look_for_new(tenant, &shelf).await?;
            // It may be part of more.
            self.finish_publications(tenant).await?;
            table = shelf.get(dataset);
            // Somebody may be at opening it, who keeps it as it was when that began.
            if table.is_none() && !*shelf.listed.lock().await {
                table = self.find_any(tenant, dataset).await?;
            }
        }
        match table {
            Some(table) if version.is_none_or(|version| table.entry().version < version) => {
                self.look_for_next(&table).await
            }
            _ => Ok(()),
        }
    }

    /// Moves on with what others committed to a table; false where there is nothing.
    pub(crate) async fn follow_others(&self, table: &Table, head: &mut Head) -> Result<bool> {
        if !table.has_entry(head.version().0 + 1).await? {
            return Ok(false);
        }
        // Whoever holds the head has it of the table that is open.
        match self.shelf(&table.tenant).get(&table.name) {
            Some(table) => self.catch_up(&table, head).await,
            None => Ok(false),
        }
    }
}
