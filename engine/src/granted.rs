//! What a principal with narrower grants may still do with one dataset: whatever asks for no more than all of that.

use datasets::DatasetName;

use crate::engine::Engine;
use crate::error::Result;
use crate::identity::{Principal, Role};

impl Engine {
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
