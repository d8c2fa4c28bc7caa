//! Storage, Delta tables, catalogue, sessions, SQL and the commit bus.
//!
//! Everything that reads or writes a dataset goes through an [`Engine`]: it keeps the promise that
//! what was acknowledged is in a commit, that a reader sees one version of each dataset, and that
//! every commit is an event. Only `storage` and `lake` touch object storage or Delta; nothing above
//! this crate knows where bytes lie.

mod beside;
mod bus;
mod catalog;
mod compact;
mod derived;
mod engine;
mod error;
mod expected;
mod export;
mod functions;
mod granted;
mod grants;
mod identity;
mod ingest;
mod lake;
mod lanes;
mod metrics;
mod options;
mod places;
mod results;
mod revise;
mod seen;
mod session;
mod stop;
mod storage;
mod upkeep;

#[cfg(test)]
mod tests;

pub use bus::{BUS_EVENTS_MAX, CommitBus, CommitEvent, CommitKind};
pub use catalog::{Catalog, DatasetEntry, TableIdentity};
pub use compact::Compacted;
pub use datafusion::dataframe::DataFrame;
pub use datasets::{did_you_mean, near_names};
pub use derived::{AUDIT, DERIVED_NAMES, is_kept_name};
pub use engine::Engine;
pub use error::{Code, Error, Result};
pub use export::{
    CsvOptions, EXPORT_FILE_ROWS, Encoder, ExportOptions, ExportPlace, ExportRequest, ExportSource,
    ExportWatch, ExportedFile, ExportsFile, Form, Formulas, Header, IfThere, MadeFiles, Manifest,
    NestedAs, Packing, Pieces, Pinned, Quoting, SweptExports, Tallied, Tally, TallyWriter, export,
    export_made, verify_export,
};
pub use functions::{JsonAs, json_at, json_has, list_part, rows_bytes, wide_sum};
pub use grants::{Claim, Grant, GrantSet, Grants, Mask};
pub use identity::{Credential, Principal, Role, RunId, TENANT_MAX_BYTES, TenantId, Version};
pub use ingest::{
    IngestReceipt, IngestRequest, IngestRows, LoadOptions, LoadProgress, NewColumns, Numbering,
    OnConflict, PRODUCER_MAX_BYTES, ProducerSequence, ProgressSink, RejectsMax,
};
pub use lake::{
    Batches, Commit, CommitLabel, CommitRecord, Examined, Finding, FindingKind, Forgotten, Keep,
    Layout, Prepared, RowOrder, Vacuumed, WriteMode,
};
pub use lanes::{Lanes, Threads, Urgency};
pub use metrics::{Counter, EngineMetrics, Histogram, LATENCY_BUCKETS_MS};
pub use options::{Access, EngineOptions, GroupCommitOptions, STACK_BYTES};
pub use places::{Places, Taken};
pub use revise::{Coming, Going, Reshape, Reshaped, Revised, Revision};
pub use session::{
    AsOf, CATALOG as SQL_CATALOG, Changes, Described, Dimension, Measure, NamedValues, Planned,
    RowsRead, SCHEMA as SQL_SCHEMA, Semantics, Session, Shape, SqlQuery, SqlStatements, Uncomputed,
    evaluate_or_null,
};
pub use stop::stopped_by;
pub use storage::{RootMark, WorkMark, add_store_variables};
