//! What a runner's tasks share: who waits for what, and what may still happen to it.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use chrono::{DateTime, TimeDelta, Utc};
use datasets::DatasetName;
use engine::{Result, TenantId, Version};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{Asked, AtWork, Runner, Shared, Takes, bound};
use crate::control::{Asked as Listed, Cancelled, Count, Room};
use crate::keys::KeyRing;
use crate::run::context::cancelled;
use crate::run::document::Document;
use crate::run::record::{RunError, RunRecord, RunState};
use crate::run::records::records_of;

/// Told of what is none of runs.
#[derive(Default)]
pub(super) struct Told {
    /// Of a key that was made or revoked here: those that hear so at once.
    pub(super) keys: Mutex<Vec<Weak<KeyRing>>>,
    /// When an act ended here.
    pub(super) acts: Notify,
}

impl Runner {
    /// How many runs wait and are at work, of each tenant and job.
    pub async fn counts(&self) -> Result<Vec<Count>> {
        Ok(self.shared.records.store().counts().await?)
    }

    /// How many runs of all tenants failed in a time up to now, whoever worked at them.
    pub async fn failed_within(&self, time: TimeDelta) -> Result<u64> {
        let since = (self.shared.now() - time).timestamp_micros();
        let failed = self.shared.records.store().failed_after(since).await?;
        Ok(u64::try_from(failed).unwrap_or_default())
    }

    /// Has a ring hear at once of keys that are made or revoked here.
    pub(crate) fn tell_of_keys(&self, ring: &Arc<KeyRing>) {
        let mut rings = self.shared.told.keys.lock();
        rings.retain(|ring| ring.strong_count() > 0);
        rings.push(Arc::downgrade(ring));
    }

    /// Those that hear of it.
    pub(crate) fn key_rings(&self) -> Vec<Arc<KeyRing>> {
        self.shared.told.keys.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// The folder of programs that the job `exec` may run, if there is one.
    pub(crate) fn programs(&self) -> Option<&Path> {
        self.shared.options.programs.as_deref()
    }

    /// How many runs of one schedule may be open while it makes up for times that passed, so that there is room for others.
    pub(crate) fn made_up_max(&self) -> u64 {
        u64::try_from(self.shared.room().of_tenant_max * 3 / 4).unwrap_or_default().max(1)
    }
}

impl Shared {
    /// Now, by the runner's clock.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.options.clock.now()
    }

    /// The oldest version of a dataset that a run which waits or works reads; none, where no run does.
    pub(super) async fn pinned(
        &self,
        tenant: &TenantId,
        dataset: &DatasetName,
    ) -> Result<Option<Version>> {
        let mut oldest = None;
        for state in [RunState::Queued, RunState::Running] {
            let state = Some(state.as_str().to_owned());
            let asked = Listed { state, limit: i64::MAX, ..Listed::default() };
            let open = self.records.store().list(tenant.as_str(), &asked).await?;
            for record in records_of(&open) {
                let read = record.inputs.iter().filter(|input| input.dataset == *dataset);
                oldest = read.map(|input| input.version).chain(oldest).min();
            }
        }
        Ok(oldest)
    }

    /// Most runs of one tenant at work.
    pub(super) fn share(&self) -> usize {
        match self.options.has_tenants {
            true => (self.options.concurrent_runs / 2).max(1),
            false => self.options.concurrent_runs.max(1),
        }
    }

    /// How many runs may be open.
    pub(super) fn room(&self) -> Room {
        let options = &self.options;
        let open_max = options.concurrent_runs + options.queue_runs_max;
        let of_tenant_max = match options.has_tenants {
            true => self.share() + options.queue_runs_max / 2,
            false => open_max,
        };
        Room { open_max: bound(open_max), of_tenant_max: bound(of_tenant_max) }
    }

    /// What hears of each change of a run.
    pub(super) fn watch(
        &self,
        tenant: &TenantId,
        record: &RunRecord,
    ) -> watch::Receiver<Arc<RunRecord>> {
        let mut asked = self.asked.lock();
        let run = asked.entry(record.id).or_insert_with(|| Asked {
            tenant: tenant.clone(),
            is_own: false,
            record: watch::channel(Arc::new(record.clone())).0,
        });
        run.record.subscribe()
    }

    /// Tells whoever waits for a run, and whoever listens to all.
    pub(super) fn tell(&self, record: RunRecord) {
        let record = Arc::new(record);
        let mut asked = self.asked.lock();
        if let Some(run) = asked.get(&record.id) {
            run.record.send_replace(record.clone());
            if record.state.is_final() {
                asked.remove(&record.id);
            }
        }
        // While nobody else can tell of it: updates come in the order of what happened.
        let _ = self.updates.send(record);
    }

    /// Tells that a run waits, unless somebody is at it already.
    pub(super) fn tell_queued(&self, record: RunRecord) {
        let asked = self.asked.lock();
        let state = asked.get(&record.id).map(|run| run.record.borrow().state);
        if state == Some(RunState::Queued) {
            let _ = self.updates.send(Arc::new(record));
        }
    }

    /// Where nothing would take them up again, runs that wait end with the process.
    pub(super) async fn end_what_waits(&self) {
        if self.goes_on() {
            return;
        }
        let waiting: Vec<(TenantId, RunRecord)> = {
            let asked = self.asked.lock();
            let runs = asked.values().filter(|run| run.is_own);
            runs.map(|run| (run.tenant.clone(), RunRecord::clone(&run.record.borrow()))).collect()
        };
        for (tenant, record) in waiting.into_iter().filter(|(_, record)| !record.state.is_final()) {
            if let Err(error) = self.cancel_waiting(&tenant, record).await {
                tracing::warn!(%error, "a run that waits could not be cancelled");
            }
        }
    }

    /// Cancels a run, or asks whoever works at it to stop.
    pub(super) async fn cancel_waiting(
        &self,
        tenant: &TenantId,
        mut record: RunRecord,
    ) -> Result<Cancelled> {
        let finished_at = self.now();
        record.state = RunState::Cancelled;
        record.finished_at = Some(finished_at);
        record.waits_for = None;
        record.error = Some(RunError::from(&cancelled()));
        let document = Document::ended(record.clone()).to_text()?;
        let (tenant, id, at) =
            (tenant.as_str(), record.id.to_string(), finished_at.timestamp_micros());
        let cancelled = self.records.store().cancel(tenant, &id, at, &document).await?;
        if cancelled == Cancelled::AtOnce {
            self.tell(record);
            self.ended.notify_one();
        }
        Ok(cancelled)
    }

    /// Whether runs go on when this process has ended.
    pub(super) fn goes_on(&self) -> bool {
        self.records.is_durable() && self.options.takes == Takes::All
    }
}

impl AtWork {
    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.cancellation.cancel();
    }
}
