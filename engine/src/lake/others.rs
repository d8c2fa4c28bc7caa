//! What other processes committed to a root meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;

use datasets::DatasetName;
use object_store::path::Path;

use super::check::LOG_FOLDER;
use super::shelf::Shelf;
use super::table::folder_of;
use super::{Lake, Table};
use crate::error::{Error, Result};
use crate::identity::TenantId;

impl Lake {
    /// Looks for commits and datasets of others, and announces what it finds. What can not be read is told when somebody asks
    /// for it.
    pub(crate) async fn look_for_others(&self) {
        for tenant in self.asked_for() {
            if let Err(error) = self.look_for_others_of(&tenant).await {
                tracing::debug!(%tenant, error = error.detail(), "what others did can not be seen");
            }
        }
    }

    async fn look_for_others_of(&self, tenant: &TenantId) -> Result<()> {
        let shelf = self.shelf(tenant);
        for table in shelf.opened() {
            // One that was purged: another may have its name.
            let entry = table.entry();
            if entry.dropped_at.is_some() && !table.has_entry(entry.version.0).await? {
                shelf.remove(table.name());
                continue;
            }
            self.look_for_next(&table).await?;
        }
        self.look_for_new(tenant, &shelf).await?;
        self.finish_publications(tenant).await
    }

    /// Opens datasets that others made, and lets go of those that are gone.
    pub(super) async fn look_for_new(&self, tenant: &TenantId, shelf: &Shelf) -> Result<()> {
        // Nobody has asked yet what there is. Who asks meanwhile does not wait for the look.
        if !*shelf.listed.lock().await {
            return Ok(());
        }
        let folder = Path::from(tenant.as_str());
        let listing = self.root().store().list_with_delimiter(Some(&folder)).await;
        let listing = listing.map_err(Error::from)?;
        let there = listing.common_prefixes.iter();
        let there: BTreeSet<DatasetName> =
            there.filter_map(|path| DatasetName::new(path.filename()?).ok()).collect();
        let known = shelf.known();
        let mut is_other = known.iter().any(|name| !there.contains(name));
        for name in there.difference(&known) {
            // One that is just being made has no log yet.
            let log = folder_of(tenant, name).join(LOG_FOLDER);
            let log = self.root().store().list_with_delimiter(Some(&log)).await;
            is_other |= !log.map_err(Error::from)?.objects.is_empty();
        }
        if !is_other {
            return Ok(());
        }
        let _listing = shelf.listed.lock().await;
        let listed = self.list(tenant, shelf).await;
        // Of one that is gone, or that nobody has opened yet, no commit is announced.
        self.bus().stir(tenant);
        listed
    }

    /// Follows the table where its next version is there. One that this process is just committing waits for no longer than that.
    pub(super) async fn look_for_next(&self, table: &Arc<Table>) -> Result<()> {
        let next = table.entry().version.0 + 1;
        if !table.has_entry(next).await? {
            return Ok(());
        }
        let mut head = table.head().await;
        // What is shown may be behind what is known.
        if head.version().0 < next || table.has_entry(head.version().0 + 1).await? {
            self.catch_up(table, &mut head).await?;
        }
        Ok(())
    }
}
