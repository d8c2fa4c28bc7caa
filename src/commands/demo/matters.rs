//! What stands out of what was planted in all datasets, held against the one list of insights.

use std::collections::BTreeMap;

use ::datasets::generate::AnomalyKind;
use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use engine::{Result, Session};
use jobs::evaluate::{Pair, score_pairs};

use super::calls::{ANSWERED_MIN, DRIFTED_MIN, JUDGED_MIN, SOILED_MIN};
use super::check::{Findings, HOUR_MINUTES, SAMPLE_MINUTES, anomalies, numbers, texts, windows};
use super::fill::Truths;

/// Of what was planted in a dataset these kinds are looked for among insights of a source, which may be off by so many minutes.
type Look = (&'static str, &'static str, &'static [AnomalyKind], i64);

const LOOKS: [Look; 4] = [
    (
        "metrics",
        "metrics",
        &[AnomalyKind::Spike, AnomalyKind::Dip, AnomalyKind::LevelShift, AnomalyKind::Gap],
        3 * SAMPLE_MINUTES,
    ),
    ("hourly_errors", "model_calls", &[AnomalyKind::ErrorBurst], HOUR_MINUTES),
    ("hourly_latency", "model_calls", &[AnomalyKind::LatencyRise], HOUR_MINUTES),
    ("hourly_events", "events", &[AnomalyKind::EventBurst], HOUR_MINUTES),
];

/// Counts what was planted and is said.
pub async fn counted(session: &Session, truths: &Truths) -> Result<Findings> {
    let read = async |sql: &str| session.collect(session.sql(sql).await?).await;
    let (mut planted, mut found, mut false_alarms) = (0, 0, 0);
    let mut notes = Vec::new();
    for (source, dataset, kinds, slack) in LOOKS {
        let Some(truth) = truths.get(dataset) else { continue };
        let sql = format!(
            "SELECT subject, started_at, ended_at FROM insights WHERE source = '{source}' \
             AND kind IN ('anomaly', 'level', 'season', 'forecast_miss')"
        );
        let is_asked = |kind| kinds.contains(&kind);
        let of = anomalies(truth, is_asked, &windows(&read(&sql).await?)?, slack);
        planted += of.planted;
        found += of.found;
        false_alarms += of.false_alarms;
        notes.extend(of.notes);
    }
    if let Some(truth) = truths.get("model_calls") {
        let sql = "SELECT replace(replace(subject, 'errors{provider=', ''), '}', ''), started_at, ended_at FROM insights \
                   WHERE kind = 'target_miss'";
        let is_burst = |kind| kind == AnomalyKind::ErrorBurst;
        let of = anomalies(truth, is_burst, &windows(&read(sql).await?)?, HOUR_MINUTES);
        planted += of.planted;
        found += of.found;
        false_alarms += of.false_alarms;
        notes.extend(of.notes);
    }
    let mut pairs = Vec::new();
    for batch in
        read("SELECT subject FROM insights WHERE source = 'metrics' AND kind = 'correlation'")
            .await?
    {
        for subject in texts(&batch, 0)? {
            let (a, b) = subject.split_once(" and ").unwrap_or((&subject, ""));
            pairs.push(Pair { series_a: a.to_owned(), series_b: b.to_owned(), lag_ms: 0 });
        }
    }
    let truth =
        truths.get("metrics").map(|truth| truth.correlations.as_slice()).unwrap_or_default();
    let of = |pair: &::datasets::generate::PlantedCorrelation| Pair {
        series_a: pair.a.clone(),
        series_b: pair.b.clone(),
        lag_ms: 0,
    };
    let score = score_pairs(&truth.iter().map(of).collect::<Vec<_>>(), &pairs, 0);
    planted += truth.len() as u64;
    found += score.found.len() as u64;
    false_alarms += score.false_pairs.len() as u64;
    let copies = "SELECT count(*) FROM insights WHERE source = 'tickets' AND kind = 'duplicates'";
    let [copies] = numbers(&read(copies).await?)?;
    if truths.get("tickets").is_some_and(|truth| !truth.duplicates.is_empty()) {
        planted += 1;
        found += copies.min(1);
    }
    for (kind, source, rows_of, expected, rows_min) in [
        ("drift", "drifted_calls", "drifted_calls", 2, DRIFTED_MIN),
        ("saving", "judged_calls", "judged_calls", 1, JUDGED_MIN),
        ("bad_data", "soiled_calls", "soiled_calls", 3, SOILED_MIN),
        ("worse", "tickets", "answered_tickets", 1, 3 * ANSWERED_MIN),
        ("better", "tickets", "answered_tickets", 1, 3 * ANSWERED_MIN),
    ] {
        let sql = format!(
            "SELECT count(DISTINCT started_at) AS told, (SELECT count(*) FROM {rows_of}) AS rows FROM insights WHERE source = '{source}' AND kind = '{kind}'"
        );
        let [told, rows] = numbers(&read(&sql).await?)?;
        let expected = if rows >= rows_min { expected } else { 0 };
        planted += expected;
        found += told.min(expected);
        false_alarms += told.saturating_sub(expected);
    }
    // In lines that a terminal holds.
    let kinds = by_kind(session).await?;
    let kinds: Vec<&str> = kinds.split(", ").collect();
    notes.extend(kinds.chunks(6).map(|kinds| format!("of {}", kinds.join(", "))));
    Ok(Findings::new(planted, found, false_alarms, notes))
}

/// How many insights are of each kind, in words.
async fn by_kind(session: &Session) -> Result<String> {
    let sql = "SELECT arrow_cast(kind, 'Utf8'), count(*) FROM insights GROUP BY kind";
    let mut kinds: BTreeMap<String, i64> = BTreeMap::new();
    for batch in session.collect(session.sql(sql).await?).await? {
        let counts = batch.column(1).as_primitive::<Int64Type>();
        kinds.extend(texts(&batch, 0)?.into_iter().zip(counts.values().iter().copied()));
    }
    let words = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    Ok(words.collect::<Vec<_>>().join(", "))
}
