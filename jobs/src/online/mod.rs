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

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use datasets::{DatasetName, DatasetSpec};
use engine::{
    Code, DatasetEntry, Engine, Error, Principal, Result, Session, TenantId, Version, did_you_mean,
};
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

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
    /// Bytes of the answer, at most.
    pub bytes_max: usize,
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
pub struct Online(Arc<Views>);

type Key = (TenantId, DatasetName);

struct Views {
    bytes_max: usize,
    by_key: Mutex<HashMap<Key, Arc<Slot>>>,
    /// Counts uses.
    clock: AtomicU64,
    /// Views that are read as a whole at a time.
    loading: Semaphore,
}

/// Views that are read as a whole at a time: each may take what all may.
const LOADING_MAX: usize = 2;

#[derive(Default)]
struct Slot {
    /// Held by who takes in what came.
    refreshing: AsyncMutex<()>,
    held: RwLock<Option<Held>>,
    used: AtomicU64,
    /// What did not fit: a version of a dataset that was made then.
    too_large: Mutex<Option<(Version, Option<DateTime<Utc>>)>>,
}

impl Slot {
    fn is_fresh(&self, entry: &DatasetEntry, version: Version) -> bool {
        let held = self.held.read();
        held.as_ref().is_some_and(|held| held.version() >= version && held.is_of(entry))
    }
}

impl Online {
    /// Nothing yet, and at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Views {
            bytes_max,
            by_key: Mutex::default(),
            clock: AtomicU64::new(0),
            loading: Semaphore::new(LOADING_MAX),
        }))
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
        // One at a time, and while nothing is taken in.
        let _alone = slot.refreshing.lock().await;
        let (time, entity) = key_of(view, &entry_of(session, view)?.spec)?;
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
        let entry = entry_of(session, view)?;
        key_of(view, &entry.spec)?;
        if !session.grants().sees_whole(view) || session.grants().has_masks(view) {
            let says = format!(
                "{view}: it is read by entity by those alone who see all of it; a query shows the part that is seen"
            );
            return Err(Error::user(Code::Forbidden, says));
        }
        let version = session.version(view).unwrap_or_default();
        let key = (who.tenant.clone(), view.clone());
        let views = &self.0;
        let slot = Arc::clone(views.by_key.lock().entry(key.clone()).or_default());
        slot.used.store(views.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if slot.is_fresh(entry, version) {
            return Ok(slot);
        }
        let taking = Taking {
            engine: engine.clone(),
            who: who.clone(),
            session: session.clone(),
            key,
            slot: Arc::clone(&slot),
            views: Arc::clone(views),
        };
        // A task of its own: who asked may give up, and the next one would begin again.
        let task = tokio::spawn(async move { taking.in_turn().await });
        task.await.map_err(|e| Error::internal(format!("reading features: {e}")))??;
        Ok(slot)
    }
}

impl Views {
    /// Lets go of the views that were asked for longest ago until all fit beside so many bytes of `kept`.
    fn make_room(&self, kept: &Key, taken: usize) {
        let bytes = |slot: &Slot| slot.held.read().as_ref().map_or(0, Held::bytes);
        let mut views = self.by_key.lock();
        let others = views.iter().filter(|(key, _)| *key != kept);
        let mut taken = taken + others.map(|(_, slot)| bytes(slot)).sum::<usize>();
        while taken > self.bytes_max {
            let others = views.iter().filter(|(key, slot)| *key != kept && bytes(slot) > 0);
            let oldest = others.min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
            taken -= views.remove(&key).map_or(0, |slot| bytes(&slot));
        }
    }
}

/// What is taken in for a view that is behind.
struct Taking {
    engine: Engine,
    who: Principal,
    session: Session,
    key: Key,
    slot: Arc<Slot>,
    views: Arc<Views>,
}

impl Taking {
    async fn in_turn(&self) -> Result<()> {
        let Self { session, key: (_, view), slot, .. } = self;
        let entry = entry_of(session, view)?;
        let version = session.version(view).unwrap_or_default();
        let _alone = slot.refreshing.lock().await;
        if slot.is_fresh(entry, version) {
            return Ok(());
        }
        // What did not fit is not read again until it is another.
        if *slot.too_large.lock() == Some((version, entry.created_at)) {
            return Err(self.too_large());
        }
        let before = slot.held.read().as_ref().filter(|held| held.is_of(entry)).map(Held::version);
        if let Some(before) = before.filter(|before| *before < version)
            && self.added(before, version).await?
        {
            return Ok(());
        }
        self.all(entry, version).await
    }

    async fn all(&self, entry: &DatasetEntry, version: Version) -> Result<()> {
        let Self { session, key: (_, view), slot, views, .. } = self;
        let loading = views.loading.acquire().await;
        let _loading = loading.map_err(|e| Error::internal(format!("reading features: {e}")))?;
        let (time, entity) = key_of(view, &entry.spec)?;
        *slot.held.write() = None;
        let mut held = Held::of(entry, version, entity, time)?;
        let mut rows = session.stream(session.table(view).await?).await?;
        while let Some(batch) = rows.next().await.transpose()? {
            held.add(&batch)?;
            if let Some(packed) = held.packed_if_worn()? {
                held.put(packed);
            }
            self.require_room(held.bytes(), entry, version)?;
        }
        let packed = held.packed()?;
        held.put(packed);
        *slot.held.write() = Some(held);
        Ok(())
    }

    /// Adds what came since a version; false where rows went and no others took their place, or that version is gone.
    async fn added(&self, from: Version, to: Version) -> Result<bool> {
        let Self { engine, who, session, key: (_, view), slot, .. } = self;
        let entry = entry_of(session, view)?;
        let changes = match engine.changes(who, view, from, to).await {
            Err(error) if error.code() == Code::NotFound => return Ok(false),
            changes => changes?,
        };
        let mut gone: HashSet<Vec<u8>> = HashSet::new();
        let mut bytes = 0;
        let keys = |batch: &RecordBatch| match slot.held.read().as_ref() {
            Some(held) => held.keys(batch).map(Some),
            None => Ok(None),
        };
        let mut removed = session.stream(changes.removed).await?;
        while let Some(batch) = removed.next().await.transpose()? {
            let Some(keys) = keys(&batch)? else { return Ok(false) };
            bytes += keys.iter().map(|key| key.len() + size_of::<Vec<u8>>()).sum::<usize>();
            self.require_room(bytes, entry, to)?;
            gone.extend(keys);
        }
        let mut added = session.stream(changes.added).await?;
        let mut batches = Vec::new();
        while let Some(batch) = added.next().await.transpose()? {
            if !gone.is_empty() {
                let Some(keys) = keys(&batch)? else { return Ok(false) };
                keys.iter().for_each(|key| {
                    gone.remove(key);
                });
            }
            bytes += batch.get_array_memory_size();
            self.require_room(bytes, entry, to)?;
            batches.push(batch);
        }
        if !gone.is_empty() {
            return Ok(false);
        }
        for batch in &batches {
            // Batch by batch: whoever reads meanwhile waits for no more.
            let mut held = slot.held.write();
            let Some(held) = held.as_mut() else { return Ok(false) };
            held.add(batch)?;
        }
        let packed = match slot.held.read().as_ref() {
            Some(held) => held.packed_if_worn()?,
            None => return Ok(false),
        };
        let bytes = {
            let mut held = slot.held.write();
            let Some(held) = held.as_mut() else { return Ok(false) };
            if let Some(packed) = packed {
                held.put(packed);
            }
            held.is_at(to);
            held.bytes()
        };
        let fits = self.require_room(bytes, entry, to);
        if fits.is_err() {
            *slot.held.write() = None;
        }
        fits.map(|()| true)
    }

    fn too_large(&self) -> Error {
        let says = format!(
            "{}: its entities take more than the {} bytes that are for reads by entity, a part of the setting `memory`; take more, or \
             ask by a query",
            self.key.1, self.views.bytes_max
        );
        Error::user(Code::ResourcesExhausted, says)
    }

    /// Makes room for so many bytes, or notes that this version never fits.
    fn require_room(&self, bytes: usize, entry: &DatasetEntry, version: Version) -> Result<()> {
        if bytes > self.views.bytes_max {
            *self.slot.too_large.lock() = Some((version, entry.created_at));
            return Err(self.too_large());
        }
        self.views.make_room(&self.key, bytes);
        Ok(())
    }
}

/// What is known of a view, where it is there.
fn entry_of<'a>(session: &'a Session, view: &DatasetName) -> Result<&'a DatasetEntry> {
    let datasets = &session.catalog().datasets;
    datasets.get(view).ok_or_else(|| {
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
