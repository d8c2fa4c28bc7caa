//! Counters of what the engine did, for `/metrics` and for tests.
//!
//! Plain atomics: counting must cost nothing next to what is counted, and the text format belongs to
//! the door that serves it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of [`Histogram`], in milliseconds; the last bucket has no bound.
pub const LATENCY_BUCKETS_MS: [u64; 12] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000];

/// Everything that the engine counts, from its start.
#[derive(Debug, Default)]
pub struct EngineMetrics {
    /// Rows accepted by ingest and load.
    pub rows_ingested: Counter,
    /// Rows that went to a quarantine.
    pub rows_quarantined: Counter,
    /// Ingest requests answered as duplicates.
    pub requests_duplicate: Counter,
    /// Ingest requests answered, duplicates and failures included.
    pub requests: Counter,
    /// Commits made, of any kind.
    pub commits: Counter,
    /// Commits that had to be tried again because another writer came first.
    pub commit_conflicts: Counter,
    /// Commits that failed.
    pub commit_failures: Counter,
    /// Bytes of data files written.
    pub bytes_written: Counter,
    /// Sessions opened.
    pub sessions: Counter,
    /// How long a commit took, from its first byte to its being durable.
    pub commit_latency: Histogram,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// Durations counted by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LATENCY_BUCKETS_MS.len() + 1],
    sum_us: AtomicU64,
    count: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS_MS.partition_point(|bound| us > bound * 1_000);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many durations fell into each bucket of [`LATENCY_BUCKETS_MS`], and above the last.
    pub fn buckets(&self) -> [u64; LATENCY_BUCKETS_MS.len() + 1] {
        std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed))
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.load(Ordering::Relaxed))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_bounds_it() {
        let histogram = Histogram::default();
        for ms in [1, 2, 3, 30_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let buckets = histogram.buckets();
        assert_eq!((buckets[0], buckets[1], buckets[2]), (1, 1, 1));
        assert_eq!(buckets[LATENCY_BUCKETS_MS.len()], 1);
        assert_eq!(histogram.count(), 4);
    }
}
