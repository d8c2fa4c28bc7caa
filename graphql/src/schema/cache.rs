//! Schemas by tenant, made when first needed and again when the catalogue's generation moved on.
//!
//! A request asks for its schema with the catalogue in hand, so a dataset is in the schema from the
//! first request after its creation on; nothing has to be notified and nothing can be missed.
//! Requests that run keep the schema that they began with.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Catalog, Error, Result, TenantId};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::{TenantSchema, build};
use crate::limits::Limits;

/// Schemas of all tenants.
#[derive(Default)]
pub(crate) struct SchemaCache {
    tenants: Mutex<HashMap<TenantId, Slot>>,
}

#[derive(Clone)]
struct Slot {
    schema: Arc<AsyncMutex<Option<Arc<TenantSchema>>>>,
    last_used: u64,
}

impl SchemaCache {
    /// The schema of `catalog`. One request generates it, others wait for that.
    pub(crate) async fn get(
        &self,
        catalog: &Arc<Catalog>,
        limits: &Limits,
    ) -> Result<Arc<TenantSchema>> {
        let slot = self.slot(&catalog.tenant, limits.schemas_max);
        let mut current = slot.lock().await;
        if let Some(schema) = current.as_ref().filter(|s| s.generation == catalog.generation) {
            return Ok(schema.clone());
        }
        let (snapshot, limits) = (catalog.clone(), limits.clone());
        let built = tokio::task::spawn_blocking(move || build(&snapshot, &limits))
            .await
            .map_err(|error| Error::internal(format!("generating the schema: {error}")))?;
        let built = Arc::new(built?);
        tracing::debug!(
            tenant = %catalog.tenant,
            generation = catalog.generation,
            datasets = catalog.datasets.len(),
            "schema generated"
        );
        // A request that took its catalogue earlier must not put an older schema in the place.
        if current.as_ref().is_none_or(|current| current.generation < built.generation) {
            *current = Some(built.clone());
        }
        Ok(built)
    }

    fn slot(
        &self,
        tenant: &TenantId,
        schemas_max: usize,
    ) -> Arc<AsyncMutex<Option<Arc<TenantSchema>>>> {
        let mut tenants = self.tenants.lock();
        let now = tenants.values().map(|slot| slot.last_used).max().unwrap_or(0) + 1;
        if !tenants.contains_key(tenant) && tenants.len() >= schemas_max.max(1) {
            let oldest = tenants.iter().min_by_key(|(_, slot)| slot.last_used);
            if let Some(oldest) = oldest.map(|(tenant, _)| tenant.clone()) {
                tenants.remove(&oldest);
            }
        }
        let slot = tenants
            .entry(tenant.clone())
            .or_insert_with(|| Slot { schema: Arc::default(), last_used: now });
        slot.last_used = now;
        slot.schema.clone()
    }
}
