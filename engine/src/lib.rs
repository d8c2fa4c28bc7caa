//! Storage, Delta tables, catalogue, sessions, SQL and the commit bus.
//!
//! Everything that reads or writes a dataset goes through an [`Engine`]: it keeps the promise that
//! what was acknowledged is in a commit, that a reader sees one version of each dataset, and that
//! every commit is an event. Only `storage` and `lake` touch object storage or Delta; nothing above
//! this crate knows where bytes lie.

mod bus;
mod catalog;
mod engine;
mod error;
mod functions;
mod identity;
mod ingest;
mod lake;
mod metrics;
mod options;
mod session;
mod storage;

#[cfg(test)]
mod tests;

pub use bus::{BUS_EVENTS_MAX, CommitBus, CommitEvent, CommitKind};
pub use catalog::{Catalog, DatasetEntry};
pub use engine::Engine;
pub use error::{Code, Error, Result};
pub use identity::{Principal, Role, RunId, TENANT_MAX_BYTES, TenantId, Version};
pub use ingest::{
    IngestReceipt, IngestRequest, IngestRows, LoadOptions, LoadProgress, PRODUCER_MAX_BYTES,
    ProducerSequence, ProgressSink,
};
pub use lake::{Batches, Commit, CommitLabel, CommitRecord, WriteMode};
pub use metrics::{Counter, EngineMetrics, Histogram, LATENCY_BUCKETS_MS};
pub use options::{Access, EngineOptions, GroupCommitOptions};
pub use session::{AsOf, Changes, Session};
