//! What the jobs found, counted against what was planted.

use std::collections::BTreeMap;

use ::datasets::DatasetName;
use ::datasets::generate::Truth;
use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use engine::{AsOf, Engine, Error, Principal, Result, Session};
use jobs::evaluate::{Pair, Window, score_groups, score_pairs, score_windows};
use jobs::similar::{Likeness, SimilarRequest};
use jobs::{RunRecord, Runner};
use serde::Serialize;

/// Distance of two samples of the generated metrics. A finding may be off by one of them.
const SAMPLE_MINUTES: i64 = 5;

/// Tickets with a copy that are looked for among the nearest, at most.
const COPIES_LOOKED_FOR: usize = 200;
/// How near a copy must be.
const NEAREST: usize = 10;

/// A result beside the truth.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// What was planted.
    pub planted: u64,
    /// How much of it was found.
    pub found: u64,
    /// How much of it was not.
    pub missed: u64,
    /// Findings where nothing was planted.
    pub false_alarms: u64,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// Reads the result that `record` committed, and counts.
pub async fn against_truth(
    engine: &Engine,
    runner: &Runner,
    who: &Principal,
    truth: &Truth,
    record: &RunRecord,
) -> Result<Findings> {
    let pins: Vec<_> =
        record.outputs.iter().map(|o| (o.dataset.clone(), AsOf::Version(o.version))).collect();
    let session = engine.session(who, &pins).await?;
    let read = async |sql: &str| session.collect(session.sql(sql).await?).await;
    match record.job.as_str() {
        "embed" => embed(runner, &session, truth, record).await,
        "anomalies" => {
            let sql = "SELECT series, started_at, ended_at FROM anomalies WHERE source = 'metrics'";
            Ok(anomalies(truth, &windows(&read(sql).await?)?))
        }
        "correlate" => {
            let sql = "SELECT series_a, series_b, coalesce(lag_samples, 0) AS lag, interval_seconds \
                       FROM correlations WHERE source = 'metrics'";
            Ok(correlations(truth, &pairs(&read(sql).await?)?))
        }
        "duplicates" => {
            let sql = "SELECT cluster_id, id FROM duplicate_clusters WHERE source = 'tickets'";
            Ok(duplicates(truth, &groups(&read(sql).await?)?))
        }
        "triage" => {
            let sql = "SELECT count(*) AS planted, count(r.team) FILTER (WHERE r.team = t.team) AS found, \
                       count(r.team) FILTER (WHERE r.team <> t.team) AS wrong \
                       FROM tickets t LEFT JOIN triage r ON r.id = t.id AND r.source = 'tickets' \
                       WHERE t.label IS NULL";
            triage(&read(sql).await?)
        }
        other => Err(Error::internal(format!("the demo has no truth for job {other}"))),
    }
}

fn anomalies(truth: &Truth, found: &[Window]) -> Findings {
    let planted: Vec<Window> = truth
        .anomalies
        .iter()
        .map(|a| Window { series: a.series.clone(), start: a.start, end: a.end })
        .collect();
    let score = score_windows(&planted, found, TimeDelta::minutes(SAMPLE_MINUTES));
    let missed: Vec<String> = score
        .missed
        .iter()
        .map(|&i| {
            format!(
                "missed {:?} of {} at {}",
                truth.anomalies[i].kind, planted[i].series, planted[i].start
            )
        })
        .collect();
    Findings {
        planted: planted.len() as u64,
        found: score.hit.len() as u64,
        missed: score.missed.len() as u64,
        false_alarms: score.false_alarms.len() as u64,
        notes: missed,
    }
}

fn correlations(truth: &Truth, found: &[Pair]) -> Findings {
    let planted: Vec<Pair> = truth
        .correlations
        .iter()
        .map(|c| Pair {
            series_a: c.a.clone(),
            series_b: c.b.clone(),
            lag_ms: c.lag_samples * SAMPLE_MINUTES * 60_000,
        })
        .collect();
    let score = score_pairs(&planted, found, 0);
    let mut notes: Vec<String> = score
        .missed
        .iter()
        .map(|&i| format!("missed {} and {}", planted[i].series_a, planted[i].series_b))
        .collect();
    notes.push(format!(
        "of {} pairs found, {} have exactly the planted lag",
        score.found.len(),
        score.lag_right.len()
    ));
    Findings {
        planted: planted.len() as u64,
        found: score.found.len() as u64,
        missed: score.missed.len() as u64,
        false_alarms: score.false_pairs.len() as u64,
        notes,
    }
}

fn duplicates(truth: &Truth, found: &[Vec<String>]) -> Findings {
    let score = score_groups(&truth.duplicates, found);
    Findings {
        planted: score.planted,
        found: score.found,
        missed: score.planted - score.found,
        false_alarms: score.false_pairs,
        notes: vec![format!(
            "{} groups of tickets were planted, {} were found; counted are pairs",
            truth.duplicates.len(),
            found.len()
        )],
    }
}

/// Tickets that have a copy, and whether it is among the nearest.
async fn embed(
    runner: &Runner,
    session: &Session,
    truth: &Truth,
    record: &RunRecord,
) -> Result<Findings> {
    let groups = &truth.duplicates;
    let step = groups.len().div_ceil(COPIES_LOOKED_FOR).max(1);
    let (mut planted, mut found) = (0, 0);
    for group in groups.iter().step_by(step) {
        let Some((first, copies)) = group.split_first() else { continue };
        let request = SimilarRequest {
            dataset: DatasetName::new("tickets")?,
            id_column: "id".into(),
            vectors: DatasetName::new("embeddings")?,
            index: DatasetName::new("vector_index")?,
            exact: true,
            to: Likeness::Id(first.clone()),
            k: NEAREST,
            min_score: None,
            filter: None,
        };
        let near = runner.similar(session, request).await?;
        planted += 1;
        found += u64::from(near.rows.iter().any(|row| copies.contains(&row.id)));
    }
    let embedder = record.summary["embedder"].as_str().unwrap_or_default();
    Ok(Findings {
        planted,
        found,
        missed: planted - found,
        false_alarms: 0,
        notes: vec![format!(
            "by {embedder}; of {planted} tickets that have a copy {found} have one among the {NEAREST} nearest of {}",
            record.summary["rows"]
        )],
    })
}

/// Tickets without a label, and the team that each was sent to.
fn triage(batches: &[RecordBatch]) -> Result<Findings> {
    let number = |at: usize| -> Result<u64> {
        let batch = batches.first().ok_or_else(|| Error::internal("triage: no count"))?;
        let numbers = batch.column(at).as_primitive_opt::<Int64Type>();
        let numbers = numbers.ok_or_else(|| unexpected(batch, at))?;
        Ok(u64::try_from(numbers.value(0)).unwrap_or(0))
    };
    let (planted, found, wrong) = (number(0)?, number(1)?, number(2)?);
    Ok(Findings {
        planted,
        found,
        missed: planted - found,
        false_alarms: wrong,
        notes: vec![format!(
            "of {planted} tickets without a label {found} went to their team, {wrong} to another, and {} were left as out \
             of scope; learned from the others",
            planted - found - wrong
        )],
    })
}

/// The team of each label, as the tickets that have both say.
pub async fn teams(engine: &Engine, who: &Principal) -> Result<BTreeMap<String, String>> {
    let session = engine.session(who, &[]).await?;
    let sql = "SELECT arrow_cast(label, 'Utf8'), arrow_cast(max(team), 'Utf8') FROM tickets \
               WHERE label IS NOT NULL AND team IS NOT NULL GROUP BY label";
    let mut teams = BTreeMap::new();
    for batch in session.collect(session.sql(sql).await?).await? {
        teams.extend(texts(&batch, 0)?.into_iter().zip(texts(&batch, 1)?));
    }
    Ok(teams)
}

fn groups(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for batch in batches {
        for (group, member) in texts(batch, 0)?.into_iter().zip(texts(batch, 1)?) {
            groups.entry(group).or_default().push(member);
        }
    }
    Ok(groups.into_values().collect())
}

fn windows(batches: &[RecordBatch]) -> Result<Vec<Window>> {
    let mut windows = Vec::new();
    for batch in batches {
        let series = texts(batch, 0)?;
        for (row, series) in series.into_iter().enumerate() {
            windows.push(Window {
                series,
                start: instant(batch, 1, row)?,
                end: instant(batch, 2, row)?,
            });
        }
    }
    Ok(windows)
}

fn pairs(batches: &[RecordBatch]) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for batch in batches {
        let lags =
            batch.column(2).as_primitive_opt::<Int64Type>().ok_or_else(|| unexpected(batch, 2))?;
        let seconds = batch
            .column(3)
            .as_primitive_opt::<Float64Type>()
            .ok_or_else(|| unexpected(batch, 3))?;
        for (row, (series_a, series_b)) in
            texts(batch, 0)?.into_iter().zip(texts(batch, 1)?).enumerate()
        {
            let lag_ms = (lags.value(row) as f64 * seconds.value(row) * 1e3).round() as i64;
            pairs.push(Pair { series_a, series_b, lag_ms });
        }
    }
    Ok(pairs)
}

fn texts(batch: &RecordBatch, column: usize) -> Result<Vec<String>> {
    let texts =
        batch.column(column).as_string_opt::<i32>().ok_or_else(|| unexpected(batch, column))?;
    Ok(texts.iter().map(|text| text.unwrap_or_default().to_owned()).collect())
}

fn instant(batch: &RecordBatch, column: usize, row: usize) -> Result<DateTime<Utc>> {
    let times = batch
        .column(column)
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| unexpected(batch, column))?;
    DateTime::from_timestamp_micros(times.value(row)).ok_or_else(|| unexpected(batch, column))
}

fn unexpected(batch: &RecordBatch, column: usize) -> Error {
    Error::internal(format!(
        "result column {} is {}",
        batch.schema().field(column).name(),
        batch.column(column).data_type()
    ))
}
