//! Datasets that are not there yet, as if they were there without a row.
//!
//! Whoever reads or follows a dataset that Colonnade or its clients will make needs not wait for its first row: it is read at version
//! 0, which is the version that is written when it is made, and has no rows then either. Nothing is written before there is a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use datasets::{DatasetName, DatasetSpec};
use futures::future::BoxFuture;

use crate::catalog::{Catalog, DatasetEntry};
use crate::engine::Engine;
use crate::error::Result;
use crate::identity::{Principal, Role, Version};
use crate::lake::ColumnIds;
use crate::session::{AsOf, Session};

/// What a root's tenants are expected to have, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected(Arc<BTreeMap<DatasetName, DatasetEntry>>);

impl Expected {
    pub(crate) fn new(specs: Vec<DatasetSpec>) -> Self {
        let entry = |spec: DatasetSpec| DatasetEntry {
            version: Version(0),
            rows: Some(0),
            bytes: 0,
            files: 0,
            created_at: None,
            updated_at: None,
            is_part: false,
            masked: Vec::new(),
            row_bytes: 0,
            column_ids: Arc::new(ColumnIds::default()),
            dropped_at: None,
            is_unmade: false,
            spec,
        };
        let entries = specs.into_iter().map(|spec| (spec.name.clone(), entry(spec)));
        Self(Arc::new(entries.collect()))
    }

    /// Those of them that `catalog` has not.
    pub(crate) fn beside(&self, catalog: &Catalog) -> BTreeMap<DatasetName, DatasetEntry> {
        let is_known = |name: &DatasetName| {
            catalog.datasets.contains_key(name)
                || catalog.dropped.contains_key(name)
                || catalog.unreadable.contains_key(name)
        };
        let all = self.0.iter().filter(|(name, _)| !is_known(name));
        all.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }
}

impl Engine {
    /// A session as [`Engine::session`] opens it, in which datasets that are expected and are not there yet are empty.
    pub fn session_expecting<'a>(
        &'a self,
        who: &'a Principal,
        pins: &'a [(DatasetName, AsOf)],
    ) -> BoxFuture<'a, Result<Session>> {
        Box::pin(async move {
            who.require_in_part(Role::Reader)?;
            let rooms = self.rooms();
            rooms.sessions.open_with(&rooms.lake, &who.tenant, &who.sees(), pins, true).await
        })
    }
}
