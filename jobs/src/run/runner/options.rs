//! What a runner may use, and what it is asked to run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::{AsOf, TenantId, Urgency};
use kernels::GpuPolicy;
use serde_json::Value;

use crate::control::DeviceRoom;
use crate::kinds::Jobs;
use crate::kinds::exec::ProgramsUser;
use crate::kinds::export::Exports;
use crate::run::clock::Clock;
use crate::run::quotas::Quotas;
use crate::run::stages::Prices;

/// Whoever ends a server waits for half a minute, as a rule, before it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(20);

/// What a runner may use.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// Device policy of runs that do not state their own.
    pub gpu: GpuPolicy,
    /// Runs at work at one time; 0 where others work at them.
    pub concurrent_runs: usize,
    /// Runs that may wait; one more is refused with `LIMIT_EXCEEDED`.
    pub queue_runs_max: usize,
    /// Whether there are several tenants: then at most half of what works and of what waits is of one.
    pub has_tenants: bool,
    /// Memory of all runs together, beside the sessions' own pool, in bytes.
    pub memory_budget_bytes: usize,
    /// Threads for numeric work; 0 takes one per core.
    pub threads: usize,
    /// A run that works for longer is stopped with `TIMEOUT`.
    pub run_timeout: Option<Duration>,
    /// The folder of models that were pulled, each in a folder of its name.
    pub models: Option<PathBuf>,
    /// Memory of the vectors that searches keep, beside that of runs, in bytes.
    pub search_bytes_max: usize,
    /// Memory of the feature views that are read by entity, in bytes.
    pub online_bytes_max: usize,
    /// Whether runs leave the cores to others of the process, or take their share of them.
    pub urgency: Urgency,
    /// The job kinds that there are.
    pub jobs: Jobs,
    /// The database of control state, `sqlite:FILE` or `postgres://…`. When absent: a file in the folder of a root on a disk;
    /// elsewhere it is gone with the process.
    pub control: Option<String>,
    /// The folder of programs that the job `exec` may run; none, where it may run none.
    pub programs: Option<PathBuf>,
    /// The user that these programs run as; `None` for the user of this process.
    pub programs_user: Option<ProgramsUser>,
    /// Where the job `export` may write to.
    pub exports: Exports,
    /// Bytes that the exports of one tenant in the root may be together; one that would make them more ends.
    pub exports_bytes_max: u64,
    /// What an hour costs, by device.
    pub prices: Prices,
    /// The GPU whose memory runs share, where it is not those that are found.
    pub device: Option<DeviceRoom>,
    /// How many runs of a job kind may be at work at a time, with all workers of the root together.
    pub of_job_max: BTreeMap<String, usize>,
    /// How many parts of the work a tenant has when others wait, too; who is not named has one.
    pub weights: BTreeMap<TenantId, u32>,
    /// What the runs of a tenant may take.
    pub quotas: Quotas,
    /// Which runs it works at.
    pub takes: Takes,
    /// How long the end of a runner waits for what it is at: what goes on after that is left to others.
    pub end_time_max: Duration,
    /// What time it is.
    pub clock: Clock,
    /// What it is, for a person who looks at the workers.
    pub label: String,
}

/// Which runs a runner works at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takes {
    /// Whatever waits.
    #[default]
    All,
    /// What was submitted to it.
    Own,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            gpu: GpuPolicy::default(),
            concurrent_runs: 2,
            queue_runs_max: 256,
            has_tenants: false,
            memory_budget_bytes: 1 << 30,
            threads: 0,
            run_timeout: None,
            models: None,
            search_bytes_max: 1 << 29,
            online_bytes_max: 1 << 29,
            urgency: Urgency::default(),
            jobs: Jobs::default(),
            control: None,
            programs: None,
            programs_user: None,
            exports: Exports::default(),
            exports_bytes_max: 64 << 30,
            prices: Prices::default(),
            device: None,
            of_job_max: BTreeMap::new(),
            weights: BTreeMap::new(),
            quotas: Quotas::default(),
            takes: Takes::default(),
            end_time_max: END_TIME_MAX,
            clock: Clock::default(),
            label: "colonnade".into(),
        }
    }
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// The job kind.
    pub job: String,
    /// Its parameters, an object; `null` takes every default.
    pub params: Value,
    /// Device policy; the runner's own when `None`.
    pub gpu: Option<GpuPolicy>,
    /// Inputs that are not to be read at their latest version.
    pub pins: Vec<(DatasetName, AsOf)>,
    /// Higher is sooner: each step is as if it had been asked for a minute earlier.
    pub priority: i32,
    /// When it is to have ended; one that has not is stopped, and one that waits does not begin.
    pub deadline_at: Option<DateTime<Utc>>,
}
