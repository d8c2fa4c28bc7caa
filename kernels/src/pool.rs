//! Worker threads for numeric work.
//!
//! A pool of our own, because rayon's global one belongs to the whole process: a caller that limits
//! an analysis to two cores must not slow everything else, and must be obeyed when it benchmarks.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};

use crate::error::{Error, Result};

/// A pool of worker threads. Clones share the threads.
#[derive(Debug, Clone)]
pub struct Pool {
    threads: Arc<rayon::ThreadPool>,
}

impl Pool {
    /// The pool with one thread per core that all operations share unless told otherwise.
    pub fn shared() -> Result<Self> {
        static SHARED: OnceLock<Pool> = OnceLock::new();
        if let Some(pool) = SHARED.get() {
            return Ok(pool.clone());
        }
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let pool = Self::with_threads(cores)?;
        Ok(SHARED.get_or_init(|| pool).clone())
    }

    /// A pool of its own with `threads` threads.
    pub fn with_threads(threads: NonZeroUsize) -> Result<Self> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .thread_name(|index| format!("kernels-{index}"))
            .build()
            .map(|pool| Self { threads: Arc::new(pool) })
            .map_err(|error| Error::Threads { threads: threads.get(), found: error.to_string() })
    }

    /// The pool of `threads` threads for operations whose budget does not hold all that the caller's pool has. Each
    /// size is made once: an operation may run for every tile of another.
    pub(crate) fn of_size(threads: NonZeroUsize) -> Result<Self> {
        static POOLS: Mutex<BTreeMap<NonZeroUsize, Pool>> = Mutex::new(BTreeMap::new());
        let mut pools = POOLS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(pool) = pools.get(&threads) {
            return Ok(pool.clone());
        }
        let pool = Self::with_threads(threads)?;
        pools.insert(threads, pool.clone());
        Ok(pool)
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs `work` on the pool; rayon's iterators inside it use these threads only.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.threads.install(work)
    }
}
