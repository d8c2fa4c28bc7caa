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

mod columns;
mod context;
mod embedders;
mod encoder_device;
pub mod evaluate;
mod evaluations;
mod job;
mod key;
mod kinds;
pub mod labels;
mod ledger;
mod memory;
mod parameters;
mod record;
mod registry;
mod runner;
mod series;
mod sides;
pub mod similar;
mod table;
#[cfg(test)]
mod testing;
mod texts;
#[cfg(test)]
mod tiny_model;
mod training;
mod training_rows;

pub use analysis::series::{Season, Span};
pub use context::{RunContext, Stage};
pub use job::{Estimate, Job, Outcome};
pub use kinds::{
    anomalies, correlate, duplicates, embed, embedder_train, kind, kinds, promote, triage,
    triage_train, vector_index,
};
pub use ledger::{RUNS, recorded_run, recorded_runs, runs_spec};
pub use record::{
    DatasetVersion, RUNS_LISTED_MAX, RunError, RunFilter, RunRecord, RunState, StageRecord,
};
pub use runner::{RunHandle, RunRequest, Runner, RunnerOptions, UPDATES_MAX};
