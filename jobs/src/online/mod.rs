//! Features of an entity as they are now, by its name: what the job `features` has committed, held in memory.
//!
//! ```text
//!   rows of the view ──▶ the newest of each entity, by the entity's columns ──▶ a row for each entity asked for
//!   a new version ──▶ its new rows alone; all of them where rows went
//! ```
//!
//! Any dataset can be read so whose key ends with its time column, as that of a feature view does. What is read is of the newest version
//! that the session knows: a view that is behind it takes in what came before it answers. The views that are asked for stay within so many
//! bytes together; the one that was asked longest ago goes first.

mod held;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Engine, Error, Principal, Result, Session, TenantId, Version, did_you_mean};
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex as AsyncMutex;

use held::Held;

use crate::kinds::training_set::view_key;

/// Entities of one request, at most.
pub const ENTITIES_MAX: usize = 10_000;
/// Rows that a check names, at most.
const EXAMPLES_MAX: usize = 5;

/// Whose features are asked for.
#[derive(Clone, Debug)]
pub struct OnlineRequest {
    /// The feature view.
    pub view: DatasetName,
    /// Which of its features; all of them without.
    pub features: Option<Vec<String>>,
    /// The entities, each by the columns that name it.
    pub entities: Vec<Map<String, Value>>,
    /// When they are asked for: what counts no more then is not told.
    pub now: DateTime<Utc>,
}

/// Features as they are now.
#[derive(Clone, Debug, PartialEq)]
pub struct OnlineRows {
    /// The version of the view.
    pub version: Version,
    /// A JSON object for each entity, in the order in which they were asked for.
    pub rows: Vec<String>,
}

/// What was found when what is held was compared with what a query of the dataset gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skew {
    /// The version of both.
    pub version: Version,
    /// Entities of the dataset.
    pub entities: u64,
    /// Those of which both say the same.
    pub equal: u64,
    /// Entities that are held and are none of the dataset's.
    pub not_there: u64,
    /// Some of which they differ, as JSON.
    pub differing: Vec<String>,
}

/// What this process holds of feature views.
pub struct Online {
    bytes_max: usize,
    views: Mutex<HashMap<(TenantId, DatasetName), Arc<Slot>>>,
    /// Counts uses.
    clock: AtomicU64,
}

#[derive(Default)]
struct Slot {
    /// Held by who takes in what came.
    refreshing: AsyncMutex<()>,
    held: RwLock<Option<Held>>,
    used: AtomicU64,
}

impl Online {
    /// Nothing yet, and at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, views: Mutex::default(), clock: AtomicU64::new(0) }
    }

    /// Reads. `session` was opened by who asks.
    pub async fn read(
        &self,
        engine: &Engine,
        who: &Principal,
        session: &Session,
        request: &OnlineRequest,
    ) -> Result<OnlineRows> {
        let found = request.entities.len();
        if !(1..=ENTITIES_MAX).contains(&found) {
            let says = format!("entities: expected 1 to {ENTITIES_MAX}, found {found}");
            return Err(Error::user(Code::BadInput, says));
        }
        let slot = self.fresh(engine, who, session, &request.view).await?;
        let held = slot.held.read();
        match &*held {
            Some(held) => held.read(request),
            None => Err(gone(&request.view)),
        }
    }

    /// Compares what is held with what a query gives.
    pub async fn skew(
        &self,
        engine: &Engine,
        who: &Principal,
        session: &Session,
        view: &DatasetName,
    ) -> Result<Skew> {
        let slot = self.fresh(engine, who, session, view).await?;
        let spec = spec_of(session, view)?;
        let (time, entity) = key_of(view, spec)?;
        let newest = held::newest(session.table(view).await?, time, entity)?;
        let mut rows = session.stream(newest).await?;
        let mut skew = Skew {
            version: session.version(view).unwrap_or_default(),
            entities: 0,
            equal: 0,
            not_there: 0,
            differing: Vec::new(),
        };
        while let Some(batch) = rows.next().await.transpose()? {
            let held = slot.held.read();
            let held = held.as_ref().ok_or_else(|| gone(view))?;
            if held.version() != skew.version {
                let says = format!("{view} got rows while it was compared; ask again");
                return Err(Error::user(Code::Conflict, says));
            }
            for (offline, online) in held.compared(&batch)? {
                skew.entities += 1;
                if Some(&offline) == online.as_ref() {
                    skew.equal += 1;
                } else if skew.differing.len() < EXAMPLES_MAX {
                    let online = online.unwrap_or_else(|| "null".to_owned());
                    skew.differing.push(format!("{{\"query\":{offline},\"held\":{online}}}"));
                }
            }
        }
        let held = slot.held.read();
        let count = held.as_ref().ok_or_else(|| gone(view))?.len() as u64;
        skew.not_there = count.saturating_sub(skew.entities);
        Ok(skew)
    }

    /// What is held of a view, at the version of the session or a later one.
    async fn fresh(
        &self,
        engine: &Engine,
        who: &Principal,
        session: &Session,
        view: &DatasetName,
    ) -> Result<Arc<Slot>> {
        let spec = spec_of(session, view)?;
        let (time, entity) = key_of(view, spec)?;
        if !session.grants().sees_whole(view) || session.grants().has_masks(view) {
            let says = format!(
                "{view}: it is read by entity by those alone who see all of it; a query shows the part that is seen"
            );
            return Err(Error::user(Code::Forbidden, says));
        }
        let version = session.version(view).unwrap_or_default();
        let key = (who.tenant.clone(), view.clone());
        let slot = Arc::clone(self.views.lock().entry(key.clone()).or_default());
        slot.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let is_fresh = |slot: &Slot| {
            slot.held
                .read()
                .as_ref()
                .is_some_and(|held| held.version() >= version && held.is_of(spec))
        };
        if is_fresh(&slot) {
            return Ok(slot);
        }
        let alone = Arc::clone(&slot);
        let _alone = alone.refreshing.lock().await;
        if is_fresh(&slot) {
            return Ok(slot);
        }
        let before = slot.held.read().as_ref().filter(|held| held.is_of(spec)).map(Held::version);
        let taken_in = match before {
            Some(before) => {
                self.take_in(engine, who, session, view, &slot, before, version).await?
            }
            None => false,
        };
        if !taken_in {
            let mut held = Held::of(spec, version, entity, time)?;
            let mut rows = session.stream(session.table(view).await?).await?;
            while let Some(batch) = rows.next().await.transpose()? {
                held.add(&batch)?;
                self.require_room(view, held.bytes())?;
            }
            held.pack()?;
            *slot.held.write() = Some(held);
        }
        self.make_room(&key, &slot);
        Ok(slot)
    }

    /// Adds what came since a version; false where rows went, or that version is gone.
    #[expect(clippy::too_many_arguments, reason = "one place asks")]
    async fn take_in(
        &self,
        engine: &Engine,
        who: &Principal,
        session: &Session,
        view: &DatasetName,
        slot: &Slot,
        from: Version,
        to: Version,
    ) -> Result<bool> {
        let changes = match engine.changes(who, view, from, to).await {
            Err(error) if error.code() == Code::NotFound => return Ok(false),
            changes => changes?,
        };
        let mut removed = session.stream(changes.removed).await?;
        while let Some(batch) = removed.next().await.transpose()? {
            if batch.num_rows() > 0 {
                return Ok(false);
            }
        }
        let mut added = session.stream(changes.added).await?;
        let mut batches = Vec::new();
        while let Some(batch) = added.next().await.transpose()? {
            batches.push(batch);
        }
        let mut held = slot.held.write();
        let Some(held) = held.as_mut() else { return Ok(false) };
        for batch in &batches {
            held.add(batch)?;
        }
        self.require_room(view, held.bytes())?;
        held.pack_if_worn()?;
        held.is_at(to);
        Ok(true)
    }

    fn require_room(&self, view: &DatasetName, bytes: usize) -> Result<()> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        let says = format!(
            "{view}: its entities take more than the {} bytes that are for reads by entity, a part of the setting `memory`; take more, or \
             ask by a query",
            self.bytes_max
        );
        Err(Error::user(Code::ResourcesExhausted, says))
    }

    /// Lets go of the views that were asked for longest ago until all fit beside `kept`.
    fn make_room(&self, kept: &(TenantId, DatasetName), slot: &Slot) {
        let bytes = |slot: &Slot| slot.held.read().as_ref().map_or(0, Held::bytes);
        let mut views = self.views.lock();
        let mut taken: usize = bytes(slot);
        taken += views
            .iter()
            .filter(|(key, _)| *key != kept)
            .map(|(_, slot)| bytes(slot))
            .sum::<usize>();
        while taken > self.bytes_max {
            let others = views.iter().filter(|(key, _)| *key != kept);
            let oldest = others.min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            taken -= views.remove(&key).map_or(0, |slot| bytes(&slot));
        }
    }
}

/// What is known of a view, where it is there.
fn spec_of<'a>(session: &'a Session, view: &DatasetName) -> Result<&'a DatasetSpec> {
    let datasets = &session.catalog().datasets;
    datasets.get(view).map(|entry| &entry.spec).ok_or_else(|| {
        let near = did_you_mean(view.as_str(), datasets.keys().map(DatasetName::as_str));
        let near = near.map(|near| format!("; {near}")).unwrap_or_default();
        Error::user(Code::NotFound, format!("feature view {view}: there is no such dataset{near}"))
    })
}

fn key_of<'a>(view: &DatasetName, spec: &'a DatasetSpec) -> Result<(&'a str, &'a [String])> {
    view_key(spec).ok_or_else(|| {
        let says = format!(
            "{view}: expected a feature view, whose key ends with its time column; the job features makes such a dataset"
        );
        Error::user(Code::BadInput, says)
    })
}

fn gone(view: &DatasetName) -> Error {
    let says = format!("{view}: it had to make room for others; ask again");
    Error::user(Code::ResourcesExhausted, says)
}
