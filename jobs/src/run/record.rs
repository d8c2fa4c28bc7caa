//! The record of a run: everything one needs to trust a result or to learn why there is none. It is
//! a value that the API returns and a row of the `runs` dataset; [`crate::run::ledger`] turns one into the
//! other.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::{Code, Error, RunId, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::Estimate;
use crate::run::clock::Clock;
use crate::run::content::Content;

/// One execution of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id; ids sort by the time of the request.
    pub id: RunId,
    /// The job kind.
    pub job: String,
    /// How far it is.
    pub state: RunState,
    /// The parameters with defaults filled in.
    pub params: Value,
    /// What it reads, pinned when it was requested.
    pub inputs: Vec<DatasetVersion>,
    /// What it committed. Of a repeated run: what the earlier run committed.
    pub outputs: Vec<DatasetVersion>,
    /// The tries before the one that counts: each ended by an error that can pass.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// How often the process ended that was at it, before it did: others took it over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub workers_lost: u32,
    /// When it is tried again; `None` while it works and after its end.
    #[serde(default)]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// What a run that waits has to wait for, where it is more than its turn. It is said of the moment, and not kept.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What it was thought to need when it was asked for.
    #[serde(default)]
    pub estimate: Option<Estimate>,
    /// When it is to have ended.
    #[serde(default)]
    pub deadline_at: Option<DateTime<Utc>>,
    /// Its own outputs as they were before it, where it read them: at a version, or not there yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<(DatasetName, Option<Version>)>,
    /// What it committed, by dataset; nothing of a repeated run. What was called `contents` before were digests by SHA-256.
    #[serde(rename = "digests", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contents: BTreeMap<DatasetName, Content>,
    /// Higher is sooner: each step is as if it had been asked for a minute earlier.
    #[serde(default)]
    pub priority: i32,
    /// The schedule that it is of.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The time of the schedule that it stands for, as the clock of its zone shows it.
    #[serde(default)]
    pub logical_time: Option<String>,
    /// Its steps in order, with device and cost.
    pub stages: Vec<StageRecord>,
    /// Who asked.
    pub requested_by: String,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When it began; `None` while it waits.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended, in whatever way.
    pub finished_at: Option<DateTime<Utc>>,
    /// Part done, 0 to 1.
    pub progress: f64,
    /// What the step under way says of itself: of a training its step, loss and rate. Null before and after.
    #[serde(default)]
    pub activity: Value,
    /// The run whose results this one found instead of making them again.
    pub repeated_of: Option<RunId>,
    /// The run that this one does again as it was, to compare what comes out; it commits nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_it_was: Option<RunId>,
    /// Why it failed or was cancelled.
    pub error: Option<RunError>,
    /// What the job says of its result.
    pub summary: Value,
    /// SHA-256 of (job, parameters, input versions) in hex: equal keys give equal results.
    pub key: String,
}

/// The states of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Waits for a free place.
    Queued,
    /// At work.
    Running,
    /// Done; its outputs are committed.
    Succeeded,
    /// Ended by an error; nothing was committed.
    Failed,
    /// Ended by a request; nothing was committed.
    Cancelled,
}

/// A try of a run that ended by an error that can pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// Why.
    pub error: RunError,
    /// Its steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageRecord>,
}

/// A dataset at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetVersion {
    /// The dataset.
    pub dataset: DatasetName,
    /// The version.
    pub version: Version,
    /// Rows: of an input all that it has, of an output those that the run committed.
    pub rows: Option<u64>,
    /// Of an input, when its table was made: another one of the same name may have the same versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<DateTime<Utc>>,
}

/// One step of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageRecord {
    /// What the step does: `read`, `detect`, `commit`, …
    pub name: String,
    /// Where it ran: `cpu`, or the name of the GPU.
    pub device: String,
    /// Why there.
    pub reason: String,
    /// Time from start to end in seconds.
    pub wall_seconds: f64,
    /// Processor time in seconds: what the process took meanwhile, shared out equally among the steps that were under way; of a step
    /// that another program does, that program's too.
    pub cpu_seconds: f64,
    /// Time that a GPU was held, in seconds.
    pub gpu_seconds: f64,
    /// Rows taken in.
    pub rows_in: u64,
    /// Rows given out.
    pub rows_out: u64,
    /// Bytes taken in, as held in memory.
    pub bytes_read: u64,
    /// Bytes committed.
    pub bytes_written: u64,
    /// Greatest resident size of the process while the step went on. Other work of the process at the time counts, too; of a step
    /// that another program does, that program's. 0 where the system does not tell.
    pub peak_memory_bytes: u64,
    /// More, by the step's own names.
    pub facts: Value,
}

/// Why a run ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// The code, as everywhere: `BAD_INPUT`, `CANCELLED`, …
    pub code: String,
    /// What was attempted, expected and found.
    pub message: String,
}

/// Which runs to list; newest first.
#[derive(Clone, Debug)]
pub struct RunFilter {
    /// Only of this job kind.
    pub job: Option<String>,
    /// Only in this state.
    pub state: Option<RunState>,
    /// At most so many, up to [`RUNS_LISTED_MAX`].
    pub limit: usize,
    /// Only runs requested before this one.
    pub before: Option<RunId>,
    /// Whether routine runs are included. They always are if `job` names their job.
    pub routine: Routine,
}

/// The job whose runs are routine: a schedule starts it every half a minute.
pub(crate) const ROUTINE_JOB: &str = crate::kinds::alerts::NAME;

/// How a list treats routine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routine {
    /// Lists them.
    #[default]
    Shown,
    /// Hides them, unless they failed or were cancelled.
    Hidden,
}

/// Most runs that one call lists.
pub const RUNS_LISTED_MAX: usize = 1_000;

impl Default for RunFilter {
    fn default() -> Self {
        Self { job: None, state: None, limit: 50, before: None, routine: Routine::Shown }
    }
}

impl RunFilter {
    /// Whether `record` is asked for.
    pub(crate) fn takes(&self, record: &RunRecord) -> bool {
        self.job.as_ref().is_none_or(|job| *job == record.job)
            && self.state.is_none_or(|state| state == record.state)
            && self.before.is_none_or(|before| record.id < before)
            && !self.hides(record)
    }
}

impl RunFilter {
    fn hides(&self, record: &RunRecord) -> bool {
        let is_bad = matches!(record.state, RunState::Failed | RunState::Cancelled);
        self.routine == Routine::Hidden
            && self.job.is_none()
            && record.job == ROUTINE_JOB
            && !is_bad
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Now, for who has no runner.
pub(crate) fn now() -> DateTime<Utc> {
    Clock::default().now()
}

impl RunRecord {
    /// The earlier run that committed the same results, if this run succeeded and therefore wrote nothing.
    pub fn nothing_written(&self) -> Option<RunId> {
        self.repeated_of.filter(|_| self.state == RunState::Succeeded)
    }

    /// How the run ended, for people.
    pub fn outcome(&self) -> String {
        match self.nothing_written() {
            Some(run) => format!("nothing written, same as {run}"),
            None => self.state.to_string(),
        }
    }
}

impl RunState {
    /// As it stands in records: `queued`, `running`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will change any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for RunState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| {
                Error::user(
                    Code::BadInput,
                    format!(
                        "run state {text:?}: expected queued, running, succeeded, failed or cancelled"
                    ),
                )
            })
    }
}

impl From<&Error> for RunError {
    fn from(error: &Error) -> Self {
        Self { code: error.code().as_str().into(), message: error.to_string() }
    }
}
