//! Schemas by tenant and grants, made when first needed and again when the catalogue's generation moved on.
//!
//! A request asks for its schema with the catalogue in hand, so a dataset is in the schema from the
//! first request after its creation on; nothing has to be notified and nothing can be missed.
//! Requests that run keep the schema that they began with.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Catalog, Error, Grants, Result, TenantId};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::{TenantSchema, build};
use crate::limits::Limits;

/// Schemas of all tenants, as those who ask see them.
#[derive(Default)]
pub(crate) struct SchemaCache {
    slots: Mutex<HashMap<SlotKey, Slot>>,
}

/// The tenant, and the digest of what is seen of it.
type SlotKey = (TenantId, String);

#[derive(Clone)]
struct Slot {
    schema: Arc<AsyncMutex<Option<Arc<TenantSchema>>>>,
    last_used: u64,
}

impl SchemaCache {
    /// The schema of `catalog`, which has what `grants` let see. One request generates it, others wait for that.
    pub(crate) async fn get(
        &self,
        catalog: &Arc<Catalog>,
        grants: &Grants,
        limits: &Limits,
    ) -> Result<Arc<TenantSchema>> {
        let key = (catalog.tenant.clone(), grants.digest().to_owned());
        let slot = self.slot(key, limits.schemas_max);
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

    fn slot(&self, key: SlotKey, schemas_max: usize) -> Arc<AsyncMutex<Option<Arc<TenantSchema>>>> {
        let mut slots = self.slots.lock();
        let now = slots.values().map(|slot| slot.last_used).max().unwrap_or(0) + 1;
        if !slots.contains_key(&key) && slots.len() >= schemas_max.max(1) {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.last_used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                slots.remove(&oldest);
            }
        }
        let slot =
            slots.entry(key).or_insert_with(|| Slot { schema: Arc::default(), last_used: now });
        slot.last_used = now;
        slot.schema.clone()
    }
}
