//! What an engine is opened with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use datasets::DatasetSpec;
use kernels::GpuPolicy;

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where the data lies: a path, or a URL with `file:`, `s3:`, `az:`, `gs:` or `memory:`.
    /// `memory:` alone is private to the engine; engines with the same `memory:NAME` share a store
    /// while one of them lives.
    pub root: String,
    /// Options of the store, by the names that `object_store` gives them (`aws_region`, …).
    pub storage_options: BTreeMap<String, String>,
    /// Memory that all queries together may take before they spill.
    pub memory_budget_bytes: usize,
    /// Resident memory of the process above which the largest query is cancelled; `None` for no limit.
    pub resident_bytes_max: Option<u64>,
    /// Where queries spill to; a folder of the system's temporary folder when absent.
    pub spill_dir: Option<PathBuf>,
    /// The disk budget for spills. Half of the free space at startup applies if that is less.
    pub spill_budget_bytes: u64,
    /// Whether this engine may write.
    pub access: Access,
    /// Bounds of group commits.
    pub ingest: GroupCommitOptions,
    /// Threads that one query's plan is split for.
    pub threads: usize,
    /// Whether the functions of SQL that are kernels use a GPU.
    pub gpu: GpuPolicy,
    /// Datasets that each tenant is expected to have, which are shown without a row until they are there.
    pub expected: Vec<DatasetSpec>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            root: "./colonnade-data".to_owned(),
            storage_options: BTreeMap::new(),
            memory_budget_bytes: 4 << 30,
            resident_bytes_max: None,
            spill_dir: None,
            spill_budget_bytes: 64 << 30,
            access: Access::Writer { holder: "a colonnade process".to_owned() },
            ingest: GroupCommitOptions::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            gpu: GpuPolicy::default(),
            expected: Vec::new(),
        }
    }
}

/// Whether an engine may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads; any number may.
    ReadOnly,
    /// It writes, as any number of others may: the store decides each commit.
    Writer {
        /// What is said of it to who must be alone, as "serve on http://127.0.0.1:8642".
        holder: String,
    },
    /// It writes, and on a local root nobody else does, as for mending.
    Alone {
        /// What others are told meanwhile.
        holder: String,
    },
}

impl Access {
    /// Whether it writes.
    pub fn writes(&self) -> bool {
        !matches!(self, Self::ReadOnly)
    }
}

/// When a group of ingest requests becomes a commit: at the first bound that is reached.
#[derive(Clone, Debug)]
pub struct GroupCommitOptions {
    /// Rows in a group.
    pub rows_max: usize,
    /// Bytes of a group's columns in memory.
    pub bytes_max: usize,
    /// How long a request waits for company when no commit is under way. While one is, the next
    /// group gathers anyway.
    pub wait_ms: u64,
    /// Requests that wait for a commit, per dataset; further ones wait before they are taken.
    pub queue_requests_max: usize,
}

impl Default for GroupCommitOptions {
    fn default() -> Self {
        Self { rows_max: 1 << 20, bytes_max: 128 << 20, wait_ms: 2, queue_requests_max: 256 }
    }
}

/// Stack of a thread that plans queries, however many conditions they have: DataFusion and Delta walk them by recursion. Memory
/// is taken as a stack grows, and not before.
pub const STACK_BYTES: usize = 32 << 20;
