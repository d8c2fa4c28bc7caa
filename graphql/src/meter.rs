//! What is counted at the door, and the page that Prometheus reads.
//!
//! The text format is a few lines of rules, so it is written here and not by a library. Labels have
//! few values: routes, statuses, states; never a tenant, a dataset or a text that a client sent.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{EngineMetrics, LATENCY_BUCKETS_MS};
use parking_lot::Mutex;

/// Upper bounds of request latencies in milliseconds.
const BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 30_000];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of the door.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Messages of subscriptions that were made.
    pub messages_pushed: Counter,
    /// Those among them that another subscriber had been told, who asks the same.
    pub messages_shared: Counter,
    /// Answers to queries that were kept and given again.
    pub answers_found: Counter,
    /// Those that may be kept, and were made.
    pub answers_missed: Counter,
    /// Pages of rows that were streamed, or begun to be.
    pub streams_begun: Counter,
    /// Those among them that were broken off.
    pub streams_broken: Counter,
    /// Bytes of them.
    pub stream_bytes: Counter,
    /// Connections that were closed because their client did not read.
    pub clients_closed: Counter,
    /// WebSockets that were opened.
    pub sockets_opened: Counter,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    latencies: Mutex<BTreeMap<&'static str, Latency>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    buckets: [u64; BUCKETS_MS.len() + 1],
    seconds: f64,
}

/// Numbers that are read, not counted.
pub(crate) struct Gauges {
    /// Open subscriptions.
    pub subscriptions_open: usize,
    /// Datasets that were found damaged.
    pub unreadable_datasets: usize,
    /// Results of subscriptions that were computed, not shared.
    pub results_computed: u64,
    /// Runs by state, of those that the runner lists.
    pub runs: BTreeMap<String, u64>,
    /// Runs that failed in the last hour, where that is known.
    pub runs_failed: Option<u64>,
}

impl Meter {
    /// Counts an answered request.
    pub(crate) fn request(&self, route: &'static str, status: u16, took: Duration) {
        *self.requests.lock().entry((route, status)).or_default() += 1;
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut latencies = self.latencies.lock();
        let latency = latencies.entry(route).or_default();
        latency.buckets[BUCKETS_MS.partition_point(|bound| ms > *bound)] += 1;
        latency.seconds += took.as_secs_f64();
    }

    /// The page.
    pub(crate) fn page(&self, engine: &EngineMetrics, gauges: &Gauges) -> String {
        let mut page = Page::default();
        page.family("colonnade_http_requests_total", "counter", "Requests answered.");
        for ((route, status), count) in self.requests.lock().iter() {
            page.sample(
                "colonnade_http_requests_total",
                &format!("route=\"{route}\",status=\"{status}\""),
                *count as f64,
            );
        }
        page.family("colonnade_http_request_seconds", "histogram", "Time from request to answer.");
        for (route, latency) in self.latencies.lock().iter() {
            let label = format!("route=\"{route}\"");
            page.histogram(
                "colonnade_http_request_seconds",
                &label,
                &BUCKETS_MS,
                &latency.buckets,
                latency.seconds,
            );
        }
        for (name, help, value) in [
            ("colonnade_ingest_requests_total", "Ingest requests answered.", engine.requests.get()),
            ("colonnade_ingest_rows_total", "Rows accepted.", engine.rows_ingested.get()),
            (
                "colonnade_ingest_quarantined_rows_total",
                "Rows quarantined.",
                engine.rows_quarantined.get(),
            ),
            (
                "colonnade_ingest_duplicates_total",
                "Ingest requests that were repeats.",
                engine.requests_duplicate.get(),
            ),
            ("colonnade_commits_total", "Commits.", engine.commits.get()),
            (
                "colonnade_commit_conflicts_total",
                "Commits that another writer forestalled.",
                engine.commit_conflicts.get(),
            ),
            (
                "colonnade_commit_failures_total",
                "Commits that failed.",
                engine.commit_failures.get(),
            ),
            (
                "colonnade_written_bytes_total",
                "Bytes of data files written.",
                engine.bytes_written.get(),
            ),
            ("colonnade_sessions_total", "Sessions opened.", engine.sessions.get()),
            (
                "colonnade_subscription_messages_total",
                "Messages of subscriptions.",
                self.messages_pushed.get(),
            ),
            (
                "colonnade_subscription_messages_shared_total",
                "Messages of subscriptions that were made for another subscriber, who asks the same.",
                self.messages_shared.get(),
            ),
            (
                "colonnade_streamed_pages_total",
                "Pages of rows that were streamed, or begun to be.",
                self.streams_begun.get(),
            ),
            (
                "colonnade_streamed_pages_broken_total",
                "Streamed pages that were broken off, their client still there.",
                self.streams_broken.get(),
            ),
            ("colonnade_streamed_bytes_total", "Bytes of streamed pages.", self.stream_bytes.get()),
            (
                "colonnade_subscription_results_computed_total",
                "Results of subscriptions computed.",
                gauges.results_computed,
            ),
            (
                "colonnade_kept_answers_found_total",
                "Answers to queries that were kept, and given again.",
                self.answers_found.get(),
            ),
            (
                "colonnade_kept_answers_missed_total",
                "Answers to queries that may be kept, and were made.",
                self.answers_missed.get(),
            ),
            (
                "colonnade_slow_clients_closed_total",
                "Connections closed because their client did not read.",
                self.clients_closed.get(),
            ),
            ("colonnade_sockets_opened_total", "WebSockets opened.", self.sockets_opened.get()),
        ] {
            page.family(name, "counter", help);
            page.sample(name, "", value as f64);
        }
        page.family(
            "colonnade_commit_seconds",
            "histogram",
            "Time of a commit until it is durable.",
        );
        let latency = &engine.commit_latency;
        page.histogram(
            "colonnade_commit_seconds",
            "",
            &LATENCY_BUCKETS_MS,
            &latency.buckets(),
            latency.sum().as_secs_f64(),
        );
        page.family("colonnade_subscriptions_open", "gauge", "Open subscriptions.");
        page.sample("colonnade_subscriptions_open", "", gauges.subscriptions_open as f64);
        page.family(
            "colonnade_unreadable_datasets",
            "gauge",
            "Datasets that were found damaged or incomplete.",
        );
        page.sample("colonnade_unreadable_datasets", "", gauges.unreadable_datasets as f64);
        page.family("colonnade_runs", "gauge", "Open runs by state.");
        for (state, count) in &gauges.runs {
            page.sample("colonnade_runs", &format!("state=\"{state}\""), *count as f64);
        }
        page.family(
            "colonnade_runs_failed_last_hour",
            "gauge",
            "Runs that failed in the last hour.",
        );
        if let Some(failed) = gauges.runs_failed {
            page.sample("colonnade_runs_failed_last_hour", "", failed as f64);
        }
        if let Some(bytes) = resident_bytes() {
            page.family(
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory of the process.",
            );
            page.sample("process_resident_memory_bytes", "", bytes as f64);
        }
        page.0
    }
}

/// Resident memory, where `/proc` tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[derive(Default)]
struct Page(String);

impl Page {
    // Writing to a String can not fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{name} {value}"),
            false => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &str,
        bounds_ms: &[u64],
        buckets: &[u64],
        seconds: f64,
    ) {
        let separator = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (i, bucket) in buckets.iter().enumerate() {
            count += bucket;
            let bound =
                bounds_ms.get(i).map_or("+Inf".to_owned(), |ms| (*ms as f64 / 1e3).to_string());
            self.sample(
                &format!("{name}_bucket"),
                &format!("{labels}{separator}le=\"{bound}\""),
                count as f64,
            );
        }
        self.sample(&format!("{name}_sum"), labels, seconds);
        self.sample(&format!("{name}_count"), labels, count as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_has_cumulative_buckets_and_each_family_once() {
        let meter = Meter::default();
        meter.request("/graphql", 200, Duration::from_millis(3));
        meter.request("/graphql", 400, Duration::from_millis(40));
        let gauges = Gauges {
            subscriptions_open: 2,
            unreadable_datasets: 0,
            results_computed: 0,
            runs: BTreeMap::from([("running".to_owned(), 1)]),
            runs_failed: Some(3),
        };
        let page = meter.page(&EngineMetrics::default(), &gauges);
        for line in [
            "colonnade_http_requests_total{route=\"/graphql\",status=\"200\"} 1",
            "colonnade_http_request_seconds_bucket{route=\"/graphql\",le=\"0.002\"} 0",
            "colonnade_http_request_seconds_bucket{route=\"/graphql\",le=\"0.005\"} 1",
            "colonnade_http_request_seconds_bucket{route=\"/graphql\",le=\"+Inf\"} 2",
            "colonnade_http_request_seconds_count{route=\"/graphql\"} 2",
            "colonnade_subscriptions_open 2",
            "colonnade_runs{state=\"running\"} 1",
            "colonnade_runs_failed_last_hour 3",
        ] {
            assert!(page.lines().any(|l| l == line), "no line {line} in\n{page}");
        }
        let mut families: Vec<&str> = page.lines().filter(|l| l.starts_with("# TYPE")).collect();
        let count = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), count);
    }

    /// The metric families of a page: name, type and label names.
    fn families(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
        let mut last = String::new();
        for line in page.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').unwrap_or_default();
                last = name.to_owned();
                families.insert(last.clone(), (kind.to_owned(), BTreeSet::new()));
            } else if let (Some((_, labels)), Some((_, known))) =
                (line.split_once('{'), families.get_mut(&last))
            {
                let labels = labels.split(',').filter_map(|label| label.split_once('='));
                let names = labels.map(|(name, _)| name.to_owned());
                // The bounds of buckets belong to the type.
                known.extend(names.filter(|name| name != "le"));
            }
        }
        families
    }

    #[test]
    fn every_metric_is_documented() {
        let meter = Meter::default();
        meter.request("/graphql", 200, Duration::from_millis(3));
        let gauges = Gauges {
            subscriptions_open: 0,
            unreadable_datasets: 0,
            results_computed: 0,
            runs: BTreeMap::from([("running".to_owned(), 1)]),
            runs_failed: Some(0),
        };
        let found = families(&meter.page(&EngineMetrics::default(), &gauges));
        assert!(found.len() > 20, "{found:?}");
        let mut documented = BTreeMap::new();
        for line in include_str!("../../docs/operations.md").lines() {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, kind @ ("counter" | "gauge" | "histogram"), labels, meaning] = cells[..]
            else {
                continue;
            };
            assert!(!meaning.is_empty(), "{name} has no meaning");
            let plain = |text: &str| text.trim().trim_matches('`').to_owned();
            let labels = labels.split(',').map(plain).filter(|label| !label.is_empty());
            documented.insert(plain(name), (kind.to_owned(), labels.collect::<BTreeSet<_>>()));
        }
        if cfg!(not(target_os = "linux")) {
            documented.remove("process_resident_memory_bytes");
        }
        assert_eq!(found, documented, "docs/operations.md has a row for each metric");
    }
}
