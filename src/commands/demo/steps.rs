//! What the demo runs, in order: every job kind, and what each looks for of what was planted.
//!
//! Slow steps, bursts and rises are found as a user would find them: the job `sql` makes hourly series of the rows, in deviations
//! of what is usual, and `anomalies` says which hours stand out. What was planted is only read to count.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::program;

/// Where the anomalies of the series go that were made here; those of the metrics go where they do by default.
pub const HOURLY: &str = "hourly_anomalies";

/// What users did of late, and calls that failed with it.
pub const USER_LOAD: &str = "user_load";
pub const FAILED_CALLS: &str = "failed_calls";

/// One job of the demo.
pub struct Step {
    /// The kind.
    pub job: &'static str,
    /// What is counted of what it did.
    pub looks_for: LooksFor,
    /// The dataset in which that was planted.
    pub dataset: &'static str,
    /// Queries whose results it reads, and the datasets that these are committed to.
    pub queries: &'static [(&'static str, &'static str)],
    /// Its parameters.
    pub params: Value,
}

/// What of the planted a job is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LooksFor {
    /// Spikes, dips, shifts and gaps of metrics.
    OddMetrics,
    /// Pairs of metrics that move together.
    LikeMetrics,
    /// Values that were not known yet within what was forecast.
    HeldOutValues,
    /// Levels of metrics that change for hours.
    Levels,
    /// The provider of each hour that fails, and the model of each that is slow.
    Causes,
    /// Pairs of tickets that say the same.
    Copies,
    /// Steps of workflows that took far too long.
    SlowSteps,
    /// Hours in which a provider fails.
    ErrorBursts,
    /// Hours in which a model is slow.
    LatencyRises,
    /// Hours with many events of a kind.
    EventBursts,
    /// Tickets whose copy is among the nearest.
    NearCopies,
    /// The same, by the index.
    IndexedCopies,
    /// The same among held-out tickets, by an encoder that was trained on the others.
    LearntCopies,
    /// Labels of tickets that training did not see.
    HeldOutLabels,
    /// The version that was trained is the one in production.
    Production,
    /// Teams of tickets without a label.
    Teams,
    /// Rows that a program reads and writes.
    RowsThrough,
    /// Rows that are in files to take away.
    RowsExported,
    /// Numbers of a page that are those of the rows.
    NumbersTold,
    /// Rows that are there after files were put together.
    RowsKept,
    /// Rows in the intervals of a metric.
    RowsMeasured,
    /// Hours in which a provider fails more than is wanted.
    TargetsMissed,
    /// Cases whose way is told as it was.
    WaysTaken,
    /// Cases that go on, of which one thing alone can come next.
    SureNextSteps,
    /// Calls that cost by the list what they did.
    CallsPriced,
    /// Models of which each is faster than the next.
    FasterModels,
    /// Requests that a cheaper model answers as well.
    CheaperModels,
    /// Models whose inputs or outputs become others.
    Drifts,
    /// Instants at which it is told what a user did of late.
    UsersLoads,
    /// Calls to which that is put as it was known before them.
    KnownBefore,
    /// A model that is right less often than it was, and one that is better.
    BetterModels,
    /// Days on which rows are missing, incomplete or of another unit.
    BadDays,
    /// Rows of two datasets that differ, or are in one of them alone.
    RowsApart,
    /// All that stands out of what was planted, in one list.
    WhatMatters,
    /// Hours in which a provider fails, by a rule.
    BurstsTold,
}

impl LooksFor {
    /// In two or three words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OddMetrics => "odd metrics",
            Self::LikeMetrics => "like metrics",
            Self::HeldOutValues => "held-out values",
            Self::Levels => "levels",
            Self::Causes => "causes",
            Self::Copies => "copies",
            Self::SlowSteps => "slow steps",
            Self::ErrorBursts => "error bursts",
            Self::LatencyRises => "latency rises",
            Self::EventBursts => "event bursts",
            Self::NearCopies => "near copies",
            Self::IndexedCopies => "indexed copies",
            Self::LearntCopies => "learnt copies",
            Self::HeldOutLabels => "held-out labels",
            Self::Production => "in production",
            Self::Teams => "teams",
            Self::RowsThrough => "rows through",
            Self::RowsExported => "rows exported",
            Self::NumbersTold => "numbers told",
            Self::RowsKept => "rows kept",
            Self::RowsMeasured => "rows measured",
            Self::TargetsMissed => "targets missed",
            Self::WaysTaken => "ways taken",
            Self::SureNextSteps => "sure next steps",
            Self::CallsPriced => "calls priced",
            Self::FasterModels => "faster models",
            Self::CheaperModels => "cheaper models",
            Self::Drifts => "drifts",
            Self::UsersLoads => "users' loads",
            Self::KnownBefore => "known before",
            Self::BetterModels => "better models",
            Self::BadDays => "bad days",
            Self::RowsApart => "rows apart",
            Self::WhatMatters => "what matters",
            Self::BurstsTold => "bursts told",
        }
    }
}

impl fmt::Display for LooksFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for LooksFor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// All of them. `embedder` is who embeds the tickets.
pub fn steps(embedder: &str) -> Vec<Step> {
    let step = |job, looks_for, dataset, queries, params| Step {
        job,
        looks_for,
        dataset,
        queries,
        params,
    };
    let hourly = |looks_for, dataset, queries: &'static [(&'static str, &'static str)]| {
        let source = queries.first().map_or("", |(name, _)| name);
        step("anomalies", looks_for, dataset, queries, stands_out(source))
    };
    vec![
        step("anomalies", LooksFor::OddMetrics, "metrics", &[], json!({})),
        step("correlate", LooksFor::LikeMetrics, "metrics", &[], json!({})),
        step("forecast", LooksFor::HeldOutValues, "metrics", &[], json!({ "horizon": 24 })),
        step("trends", LooksFor::Levels, "metrics", &[], json!({ "history": 20_000 })),
        step("duplicates", LooksFor::Copies, "tickets", &[], json!({})),
        step("sql", LooksFor::SlowSteps, "workflow_steps", &[], query(SLOW_STEPS)),
        hourly(LooksFor::ErrorBursts, "model_calls", &[HOURLY_ERRORS]),
        hourly(LooksFor::LatencyRises, "model_calls", &[HOURLY_LATENCY]),
        step("explain", LooksFor::Causes, "model_calls", &[], json!({})),
        hourly(LooksFor::EventBursts, "events", &[HOURLY_EVENTS]),
        step("embed", LooksFor::NearCopies, "tickets", &[], json!({ "embedder": embedder })),
        step("vector_index", LooksFor::IndexedCopies, "tickets", &[], json!({})),
        step(
            "embedder_train",
            LooksFor::LearntCopies,
            "tickets",
            &[TRAINING_PAIRS, TRAINING_TEXTS],
            json!({
                "dataset": TRAINING_TEXTS.0, "pairs": TRAINING_PAIRS.0, "epochs": 1, "others": 60, "held_out": 0.4,
            }),
        ),
        step(
            "triage_train",
            LooksFor::HeldOutLabels,
            "tickets",
            &[],
            json!({ "embedder": "ngram", "dimension": 256, "noise_folds": 0 }),
        ),
        step("promote", LooksFor::Production, "tickets", &[], json!({})),
        step("triage", LooksFor::Teams, "tickets", &[], json!({})),
        step("exec", LooksFor::RowsThrough, "workflow_steps", &[], program::params()),
        step(
            "export",
            LooksFor::RowsExported,
            "workflow_steps",
            &[],
            json!({ "dataset": "workflow_steps" }),
        ),
        step(
            "report",
            LooksFor::NumbersTold,
            "tickets",
            &[],
            json!({ "name": "operations-week", "parameters": { "from": "2026-01-01" } }),
        ),
        step(
            "metric",
            LooksFor::RowsMeasured,
            "model_calls",
            &[],
            json!({ "metric": "calls", "dimensions": ["provider", "model"] }),
        ),
        step(
            "metric",
            LooksFor::TargetsMissed,
            "model_calls",
            &[],
            json!({
                "metric": "errors", "dimensions": ["provider"],
                "measure": "CASE WHEN count(*) >= $calls_min THEN count(*) FILTER (WHERE status <> 'ok') / count(*) END",
                "assumptions": { "calls_min": 10 },
                "owner": "platform", "target": 0.2, "direction": "down",
            }),
        ),
        step("processes", LooksFor::WaysTaken, "workflow_steps", &[], json!({})),
        step(
            "predictions",
            LooksFor::SureNextSteps,
            "workflow_steps",
            &[CUT_STEPS],
            json!({ "dataset": CUT_STEPS.0 }),
        ),
        step(
            "costs",
            LooksFor::CallsPriced,
            "model_calls",
            &[PRICES],
            json!({ "prices": [PRICES.0] }),
        ),
        step(
            "agents",
            LooksFor::FasterModels,
            "model_calls",
            &[],
            json!({ "agent_column": "model", "measures": { "latency_ms": "lower" } }),
        ),
        step(
            "routing",
            LooksFor::CheaperModels,
            "model_calls",
            &[JUDGED],
            json!({ "dataset": JUDGED.0, "kind_column": "kind", "quality": "solved" }),
        ),
        step(
            "drift",
            LooksFor::Drifts,
            "model_calls",
            &[DRIFTED],
            json!({ "dataset": DRIFTED.0, "reference": 14 }),
        ),
        step(
            "features",
            LooksFor::UsersLoads,
            "model_calls",
            &[],
            json!({
                "output": USER_LOAD,
                "features": {
                    "last_model": "model",
                    "calls_1h": { "measure": "count(*)", "window": "1h" },
                    "failed_1d": { "measure": "count(*) FILTER (WHERE status <> 'ok')", "window": "1d" },
                },
            }),
        ),
        step(
            "training_set",
            LooksFor::KnownBefore,
            "model_calls",
            &[],
            json!({ "dataset": "model_calls", "where": "status <> 'ok'", "features": [USER_LOAD], "output": FAILED_CALLS }),
        ),
        step(
            "accuracy",
            LooksFor::BetterModels,
            "tickets",
            &[ANSWERED],
            json!({
                "predictions": [ANSWERED.0], "truth": "tickets", "key": ["id"], "truth_time_column": "created_at", "champion": "steady@1",
            }),
        ),
        step(
            "quality",
            LooksFor::BadDays,
            "model_calls",
            &[SOILED],
            json!({
                "dataset": SOILED.0, "time_column": "at", "unique": ["id"], "history": 14, "as_of": "2026-01-31T00:00:00Z",
            }),
        ),
        step(
            "reconcile",
            LooksFor::RowsApart,
            "model_calls",
            &[BOOKED],
            json!({
                "left": "model_calls", "right": BOOKED.0, "key": ["id"], "left_where": "operation = 'embedding'",
            }),
        ),
        step(
            "insights",
            LooksFor::WhatMatters,
            "metrics",
            &[],
            // What was planted weakly, too: the defaults tell what is worth a person's time.
            json!({ "anomalies": ["anomalies", HOURLY], "insights_max": 1_000, "min_severity": 10, "min_score": 4 }),
        ),
        step(
            "alerts",
            LooksFor::BurstsTold,
            "model_calls",
            &[],
            json!({ "dataset": HOURLY_ERRORS.0, "rules": [{
                "name": "errors", "condition": "value > 7", "value": "value", "by": ["series"], "time": "at",
                "severity": "critical", "summary": "{series}",
            }] }),
        ),
        step(
            "maintain",
            LooksFor::RowsKept,
            "events",
            &[],
            json!({ "datasets": ["workflow_steps", "metrics", "events"] }),
        ),
    ]
}

type Query = (&'static str, &'static str);
const SLOW_STEPS: Query = ("slow_steps", include_str!("queries/slow_steps.sql"));
const HOURLY_ERRORS: Query = ("hourly_errors", include_str!("queries/hourly_errors.sql"));
const HOURLY_LATENCY: Query = ("hourly_latency", include_str!("queries/hourly_latency.sql"));
const HOURLY_EVENTS: Query = ("hourly_events", include_str!("queries/hourly_events.sql"));
pub const CUT_STEPS: Query = ("cut_steps", include_str!("queries/cut_steps.sql"));
const PRICES: Query = ("demo_prices", include_str!("queries/demo_prices.sql"));
const BOOKED: Query = ("booked_calls", include_str!("queries/booked_calls.sql"));
const JUDGED: Query = ("judged_calls", include_str!("queries/judged_calls.sql"));
const DRIFTED: Query = ("drifted_calls", include_str!("queries/drifted_calls.sql"));
const ANSWERED: Query = ("answered_tickets", include_str!("queries/answered_tickets.sql"));
const SOILED: Query = ("soiled_calls", include_str!("queries/soiled_calls.sql"));
const TRAINING_PAIRS: Query = ("training_pairs", include_str!("queries/training_pairs.sql"));
const TRAINING_TEXTS: Query = ("training_texts", include_str!("queries/training_texts.sql"));

/// The parameters of `sql` for a query and the dataset of its rows.
pub fn query((output, query): Query) -> Value {
    json!({ "query": query, "output": output })
}

/// The parameters of `anomalies` for hours that stand out. The series have no season left and are in deviations; three days of
/// hours are what is usual, hours without a call are no gap, and one odd hour in fifty would not yet be usual.
fn stands_out(source: &str) -> Value {
    json!({
        "dataset": source, "output": HOURLY, "season": "none", "window_samples": 72, "threshold": 7,
        "shift_threshold": 20, "rare_samples": 50, "gap_intervals": 1_000, "stuck_samples": 0,
    })
}
