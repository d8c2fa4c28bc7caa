//! Job kinds, the runner, and the record of each run.
//!
//! A [`Job`] is a function: input datasets at pinned versions and parameters in, commits to result datasets
//! out. The [`Runner`] gives it everything it needs through a [`RunContext`] and keeps the promise that makes
//! results trustworthy: a run commits once or not at all, and a second run of the same work finds the commit
//! of the first. Runs are rows of the `runs` dataset; results are datasets as any other.
//!
//! ```text
//!  request ──▶ submit ──▶ pin inputs, key ──▶ queued ──▶ running ──▶ succeeded | failed | cancelled
//!                │                              │           │              │
//!                └─ BAD_INPUT, NOT_FOUND, …     └───────────┴── rows of ───┘  `runs`
//! ```
//!
//! To add a kind: a file in `kinds/` that implements [`Job`], and a line in its list.

mod alert_words;
mod alerting;
pub mod anomaly_labels;
pub mod audit;
mod control;
mod control_loss;
mod definitions;
mod expected;
mod feature_views;
pub mod insight_feedback;
mod job;
mod kept;
mod keys;
mod kinds;
mod metrics;
pub mod online;
mod parameters;
mod partition;
#[cfg(test)]
#[path = "../../analysis/src/pinned.rs"]
mod pinned;
mod pipelines;
mod registry;
pub mod report;
mod run;
mod schedules;
#[cfg(test)]
mod sentences_tests;
mod series;
pub mod similar;
mod tables;
#[cfg(test)]
mod testing;
mod texts;

pub use alert_words::instant as alert_instant;
pub use alerting::{AlertDefinition, AlertState, AlertsDefined};
pub use analysis::alerts::{OneOf, Rule as AlertRule, Silence};
pub use analysis::series::{Season, Span};
pub use control::DeviceRoom;
pub use definitions::DEFINITIONS_TEXT_MAX_BYTES;
pub use expected::expected_datasets;
pub use feature_views::{FeatureView, FeatureViewState};
pub use job::{Estimate, InputSize, Job, Outcome};
pub use kept::{Defined, Kept, KeptParams, KeptState};
pub use keys::{
    Admitted, ApiKeyState, CreatedKey, KEY_BEGINS, KEYS_LISTED_MAX, KeyRequest, KeyRing, KeyState,
    has_had_keys, prefix_of, require_keys_for,
};
pub use kinds::exec::ProgramsUser;
pub use kinds::export::Exports;
pub use kinds::{
    Jobs, anomalies, correlate, duplicates, embed, embedder_train, explain, features, forecast,
    insights, kind, kinds, metric, promote, trends, triage, triage_train, vector_index,
};
pub use metrics::{MetricDefinition, MetricState};
pub use partition::Partition;
pub use pipelines::{
    Applied, Graph, PIPELINE, PIPELINE_RUNS_MAX, PIPELINE_TEXT_MAX_BYTES, PipelineEdge,
    PipelineNode, PipelineRun, PipelineState, Step, StepState,
};
pub use run::clock::Clock;
pub use run::content::{Content, Digest};
pub use run::context::RunContext;
pub use run::ledger::{RUNS, runs_spec};
pub use run::lineage::{Lineage, LineageEdge, LineageKind, LineageNode};
pub use run::logs::{LOG_LINES_MAX, LogLine, RUN_LOGS, run_log};
pub use run::notices::CommitNotices;
pub use run::quotas::{Measure, Period, Quota, QuotaState, Quotas};
pub use run::record::{
    Attempt, DatasetVersion, RUNS_LISTED_MAX, Routine, RunError, RunFilter, RunRecord, RunState,
    StageRecord,
};
pub use run::records::{ControlState, examine_control, recorded_run, recorded_runs};
pub use run::runner::{
    KeyedRequest, OpenRequest, Rerun, RerunOutput, RunHandle, RunRequest, Runner, RunnerOptions,
    Takes, UPDATES_MAX, WorkerState, part_of_request,
};
pub use run::stage::Stage;
pub use run::stages::{Prices, RUN_STAGES, Usage, UsageBy, usage};
pub use schedules::{
    AT_ONCE_MAX, Backfill, Every, NextTime, Progress, Schedule, ScheduleState, Trigger,
    no_such_schedule, recorded_schedules, require_unused,
};
pub use series::evaluate;
pub use texts::labels;
