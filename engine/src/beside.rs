//! What several processes on one root need of each other's engines: which root it is, what each works at, and what others committed.

use datasets::DatasetName;
use futures::future::BoxFuture;

use crate::engine::Engine;
use crate::error::Result;
use crate::identity::{Principal, Role, Version};
use crate::storage::{RootMark, WorkMark, is_marked};

impl Engine {
    /// Says to other processes on a local root that this one works at what is called `name`, until the mark is dropped.
    pub fn mark(&self, name: &str) -> Result<Option<WorkMark>> {
        self.rooms().lock.as_ref().map(|lock| lock.mark(name)).transpose()
    }

    /// Whether some process on a local root works at what is called `name`; of other roots that is not known.
    pub fn is_marked(&self, name: &str) -> bool {
        self.folder().is_some_and(|root| is_marked(root, name))
    }

    /// Says whether another process on the root sees to tables of many small files, so that not all do the same work. They would not
    /// harm each other.
    pub fn leave_upkeep_to_others(&self, is_left: bool) {
        self.rooms().upkeep.leave_to_others(is_left);
    }

    /// Whether this process sees to them.
    pub fn keeps_up(&self) -> bool {
        self.rooms().upkeep.is_on()
    }

    /// Looks for what others committed to a dataset, unless `version` of it is known here, and announces it: for who has heard that
    /// there is something, or must not act on what is a moment old.
    pub fn look_for<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            who.require_in_part(Role::Reader)?;
            if !who.grants.is_all() {
                self.catalog(who).await?.dataset(dataset)?;
            }
            self.rooms().lake.look_for(&who.tenant, dataset, version).await
        })
    }

    /// The id of the root, which it has for ever; a writer gives it one where it has none.
    pub fn root_id(&self) -> BoxFuture<'_, Result<Option<String>>> {
        let may_get = self.rooms().lake.require_writer().is_ok();
        Box::pin(async move { self.rooms().lake.root().id(may_get).await })
    }

    /// Whether the root has this mark of its control state.
    pub fn has_mark(&self, mark: RootMark) -> BoxFuture<'_, Result<bool>> {
        Box::pin(async move { self.rooms().lake.root().has_mark(mark).await })
    }

    /// Sets a mark of the control state.
    pub fn set_mark(&self, mark: RootMark) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.rooms().lake.require_writer()?;
            self.rooms().lake.root().set_mark(mark).await
        })
    }

    /// Removes a mark of the control state.
    pub fn clear_mark(&self, mark: RootMark) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.rooms().lake.require_writer()?;
            self.rooms().lake.root().clear_mark(mark).await
        })
    }
}
