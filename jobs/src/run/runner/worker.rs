//! What a runner is to others: a name under which they see that it lives, and words for who looks for it.

use chrono::{DateTime, Utc};
use engine::{Engine, Result, RunId, WorkMark};
use serde::Serialize;

use super::{Runner, RunnerOptions, Takes, bound};
use crate::control::{self, DeviceRoom};
use crate::run::records::Records;

/// A runner as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerState {
    /// What it is, and in which process.
    pub label: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How many runs it takes at a time of those that are for anybody; none where it takes its own alone.
    pub runs_max: Option<u64>,
}

impl WorkerState {
    pub(super) fn of(worker: control::Worker) -> Self {
        Self {
            label: worker.label,
            started_at: DateTime::from_timestamp_micros(worker.started_us).unwrap_or_default(),
            runs_max: worker.runs_max.map(|runs| u64::try_from(runs).unwrap_or_default()),
        }
    }
}

impl Runner {
    /// Who works, this runner aside.
    pub async fn workers(&self) -> Result<Vec<WorkerState>> {
        let own = self.shared.worker.lock().id.clone();
        let workers = self.shared.records.workers(&self.shared.engine).await?;
        let others = workers.into_iter().filter(|worker| worker.id != own);
        Ok(others.map(WorkerState::of).collect())
    }

    /// What this runner is to others, and in which process.
    pub fn label(&self) -> String {
        label(&self.shared.engine, &self.shared.options)
    }
}

/// What others know this runner as.
pub(super) struct Worker {
    pub(super) id: String,
    /// Says on a local root that it lives.
    _mark: Option<WorkMark>,
}

/// Makes the runner known to others under a new name.
pub(super) async fn join(
    engine: &Engine,
    records: &Records,
    options: &RunnerOptions,
    device: Option<&DeviceRoom>,
) -> Result<Worker> {
    let id = format!("worker-{}", RunId::new());
    // Marked first: whoever sees the name and no mark takes it for dead.
    let mark = engine.mark(&id)?;
    let (label, now) = (label(engine, options), options.clock.now());
    let runs_max = (options.takes == Takes::All).then(|| bound(options.concurrent_runs));
    records.store().join(&id, &label, runs_max, device, now.timestamp_micros()).await?;
    Ok(Worker { id, _mark: mark })
}

/// What a runner is, for a person who looks for it; where there may be several machines with the name of this one, if it is known.
pub(super) fn label(engine: &Engine, options: &RunnerOptions) -> String {
    let (label, process) = (&options.label, std::process::id());
    let host = match engine.folder() {
        Some(_) => String::new(),
        None => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(),
    };
    match host.trim() {
        "" => format!("{label} (process {process})"),
        host => format!("{label} (process {process} on {host})"),
    }
}
