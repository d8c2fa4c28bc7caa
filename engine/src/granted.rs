//! What a principal with narrower grants may still do with one dataset: whatever asks for no more than all of that.

use datasets::DatasetName;

use crate::derived::{AUDIT, require_no_audit};
use crate::engine::Engine;
use crate::error::Result;
use crate::identity::{Principal, Role};

impl Engine {
    /// Fails for the dataset of what was done, which nobody takes away.
    pub(crate) async fn require_no_audit(
        &self,
        who: &Principal,
        dataset: &DatasetName,
    ) -> Result<()> {
        if dataset.as_str() != AUDIT {
            return Ok(());
        }
        let catalog = self.rooms().lake.catalog(&who.tenant).await?;
        catalog.datasets.get(dataset).map_or(Ok(()), |there| require_no_audit(&there.spec))
    }

    /// Fails unless `who` has `role` and sees all of `dataset`; as for one that is not there, where it sees nothing of it.
    pub(crate) async fn require_whole(
        &self,
        who: &Principal,
        role: Role,
        dataset: &DatasetName,
    ) -> Result<()> {
        who.require_whole(role, dataset)?;
        match who.grants.is_all() {
            true => Ok(()),
            false => self.catalog(who).await?.dataset(dataset).map(drop),
        }
    }
}
