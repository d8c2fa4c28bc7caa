//! What the jobs found, counted against what was planted.

use std::collections::{BTreeMap, BTreeSet};

use ::datasets::DatasetName;
use ::datasets::generate::{AnomalyKind, PlantedAnomaly, Truth};
use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use engine::{AsOf, Engine, Error, Principal, Result, Session};
use futures::TryStreamExt as _;
use jobs::evaluate::{Pair, Window, score_groups, score_pairs, score_windows};
use jobs::similar::{Likeness, SimilarRequest};
use jobs::{RunRecord, Runner};
use serde::Serialize;
use serde_json::{Value, json};

use super::fill::Truths;
use super::steps::{HOURLY, LooksFor};
use super::{calls, features, matters, program};
use crate::output::count;

/// Distance of two samples of the generated metrics. A finding may be off by one of them.
pub(super) const SAMPLE_MINUTES: i64 = 5;
/// The same of the series that are made by the hour.
pub(super) const HOUR_MINUTES: i64 = 60;
/// Days before an hour that stands out, against which it is explained.
const CAUSE_DAYS: i64 = 4;
/// Of what was planted so much must be found, in percent: labels, teams and copies are judged, and not all can be right.
const FOUND_MIN_PERCENT: u64 = 90;
/// The same of labels and teams of fewer than so many tickets: then ten labels are learned from a handful each.
const FEW: u64 = 100;
const FOUND_OF_FEW_MIN_PERCENT: u64 = 50;

/// Missed anomalies that are told of one by one.
const MISSED_TOLD_MAX: usize = 5;
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

impl Findings {
    pub(super) fn new(planted: u64, found: u64, false_alarms: u64, notes: Vec<String>) -> Self {
        Self { planted, found, missed: planted.saturating_sub(found), false_alarms, notes }
    }

    /// Whether as much was found as must be.
    pub fn is_enough(&self, looks_for: LooksFor) -> bool {
        let is_learned = matches!(looks_for, LooksFor::HeldOutLabels | LooksFor::Teams);
        let percent = match is_learned && self.planted < FEW {
            true => FOUND_OF_FEW_MIN_PERCENT,
            false => FOUND_MIN_PERCENT,
        };
        self.found * 100 >= self.planted * percent
    }
}

/// A result of the demo, and what it is counted against.
pub struct Counted<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// The runner.
    pub runner: &'a Runner,
    /// Whose data it is.
    pub who: &'a Principal,
    /// What was planted in the dataset that was looked at.
    pub truth: &'a Truth,
    /// The same in all of them.
    pub truths: &'a Truths,
    /// The run.
    pub record: &'a RunRecord,
    /// Rows of each dataset before it.
    pub rows_before: &'a BTreeMap<DatasetName, u64>,
}

impl Counted<'_> {
    /// Reads the result that the run committed, and counts.
    pub async fn against_truth(&self, looks_for: LooksFor) -> Result<Findings> {
        let Self { engine, runner, who, truth, record, .. } = *self;
        let pins: Vec<_> =
            record.outputs.iter().map(|o| (o.dataset.clone(), AsOf::Version(o.version))).collect();
        let session = engine.session(who, &pins).await?;
        let read = async |sql: &str| session.collect(session.sql(sql).await?).await;
        match looks_for {
            LooksFor::OddMetrics => {
                let sql =
                    "SELECT series, started_at, ended_at FROM anomalies WHERE source = 'metrics'";
                Ok(anomalies(truth, |_| true, &windows(&read(sql).await?)?, SAMPLE_MINUTES))
            }
            LooksFor::ErrorBursts => self.hourly(&session, AnomalyKind::ErrorBurst).await,
            LooksFor::LatencyRises => self.hourly(&session, AnomalyKind::LatencyRise).await,
            LooksFor::EventBursts => self.hourly(&session, AnomalyKind::EventBurst).await,
            LooksFor::LikeMetrics => {
                let sql = "SELECT series_a, series_b, coalesce(lag_samples, 0) AS lag, interval_seconds \
                           FROM correlations WHERE source = 'metrics'";
                Ok(correlations(truth, &pairs(&read(sql).await?)?))
            }
            LooksFor::HeldOutValues => {
                let sql = "SELECT count(*), count(*) FILTER (WHERE m.value BETWEEN f.lower_95 AND f.upper_95), \
                           count(*) FILTER (WHERE m.value BETWEEN f.lower_80 AND f.upper_80) \
                           FROM forecasts f JOIN metrics m ON m.series = f.series AND m.at = f.at WHERE f.source = 'metrics'";
                let [all, within_95, within_80] = numbers(&read(sql).await?)?;
                let percent = |part: u64| 100.0 * part as f64 / all.max(1) as f64;
                let note = format!(
                    "{:.1} % are within intervals of 95 %, {:.1} % within those of 80 %",
                    percent(within_95),
                    percent(within_80)
                );
                Ok(Findings::new(all, within_95, 0, vec![note]))
            }
            LooksFor::Levels => {
                let sql = "SELECT series, from_at, until_at FROM trends WHERE source = 'metrics' AND kind = 'level'";
                let found = windows(&read(sql).await?)?;
                let is_level = |kind| kind == AnomalyKind::LevelShift;
                Ok(anomalies(truth, is_level, &found, 3 * SAMPLE_MINUTES))
            }
            LooksFor::Causes => {
                let sql = "SELECT finding, from_at, to_at FROM explanations WHERE source = 'model_calls' AND rank = 1";
                Ok(causes(truth, &windows(&read(sql).await?)?))
            }
            LooksFor::Copies => {
                let sql = "SELECT cluster_id, id FROM duplicate_clusters WHERE source = 'tickets'";
                Ok(duplicates(truth, &groups(&read(sql).await?)?))
            }
            LooksFor::SlowSteps => {
                let sql = "SELECT case_id, activity FROM slow_steps";
                slow_steps(truth, &read(sql).await?)
            }
            LooksFor::NearCopies => near_copies(runner, &session, truth, record, true).await,
            LooksFor::IndexedCopies => near_copies(runner, &session, truth, record, false).await,
            LooksFor::LearntCopies => Ok(learnt_copies(&record.summary)),
            LooksFor::HeldOutLabels => Ok(held_out_labels(&record.summary)),
            LooksFor::Production => Ok(production(&record.summary)),
            LooksFor::Teams => {
                let sql = "SELECT count(*) AS planted, count(r.team) FILTER (WHERE r.team = t.team) AS found, \
                           count(r.team) FILTER (WHERE r.team <> t.team) AS wrong \
                           FROM tickets t LEFT JOIN triage r ON r.id = t.id AND r.source = 'tickets' \
                           WHERE t.label IS NULL";
                teams_found(&read(sql).await?)
            }
            LooksFor::RowsThrough => {
                let columns = program::COLUMNS.map(|(name, _)| name).join(", ");
                let less = |a: &str, b: &str| {
                    format!(
                        "(SELECT count(*) FROM (SELECT {columns} FROM {a} EXCEPT ALL SELECT {columns} FROM {b}))"
                    )
                };
                let sql = format!(
                    "SELECT (SELECT count(*) FROM workflow_steps) AS sent, {} AS lost, {} AS other",
                    less("workflow_steps", program::OUTPUT),
                    less(program::OUTPUT, "workflow_steps")
                );
                let batches = read(&sql).await?;
                let [sent, lost, other] = numbers(&batches)?;
                let note = "by a program that gives back what it reads".into();
                Ok(Findings::new(sent, sent.saturating_sub(lost), other, vec![note]))
            }
            LooksFor::RowsExported => self.rows_exported().await,
            LooksFor::NumbersTold => self.numbers_told(&session).await,
            LooksFor::RowsKept => self.rows_kept().await,
            LooksFor::RowsMeasured => rows_measured(&session).await,
            LooksFor::TargetsMissed => {
                let sql = "SELECT arrow_cast(dimensions->>'provider', 'Utf8'), at AS started_at, at AS ended_at FROM metric_values WHERE metric = 'errors' AND NOT is_met";
                self.planted(&session, sql, AnomalyKind::ErrorBurst).await
            }
            LooksFor::WaysTaken
            | LooksFor::SureNextSteps
            | LooksFor::UsersLoads
            | LooksFor::KnownBefore => features::counted(&session, looks_for).await,
            LooksFor::CallsPriced
            | LooksFor::FasterModels
            | LooksFor::CheaperModels
            | LooksFor::Drifts
            | LooksFor::BetterModels
            | LooksFor::BadDays
            | LooksFor::RowsApart => calls::counted(&session, looks_for, record).await,
            LooksFor::BurstsTold => {
                let sql =
                    "SELECT summary, at, at AS until FROM alert_events WHERE event = 'firing'";
                let found = windows(&read(sql).await?)?;
                let is_burst = |kind| kind == AnomalyKind::ErrorBurst;
                Ok(anomalies(truth, is_burst, &found, HOUR_MINUTES))
            }
            LooksFor::WhatMatters => matters::counted(&session, self.truths).await,
        }
    }

    /// Hours that stand out, of the kind that was planted.
    async fn hourly(&self, session: &Session, kind: AnomalyKind) -> Result<Findings> {
        let source = self.record.params["dataset"].as_str().unwrap_or_default();
        let sql =
            format!("SELECT series, started_at, ended_at FROM {HOURLY} WHERE source = '{source}'");
        self.planted(session, &sql, kind).await
    }

    /// What was planted of a kind among what a query finds, by the hour.
    async fn planted(&self, session: &Session, sql: &str, kind: AnomalyKind) -> Result<Findings> {
        let found = windows(&session.collect(session.sql(sql).await?).await?)?;
        Ok(anomalies(self.truth, |of| of == kind, &found, HOUR_MINUTES))
    }

    /// Every byte of what was exported is held against what is said of it.
    async fn rows_exported(&self) -> Result<Findings> {
        let catalog = self.engine.catalog(self.who).await?;
        let name = DatasetName::new(self.record.params["dataset"].as_str().unwrap_or_default())?;
        let all = catalog.datasets.get(&name).and_then(|entry| entry.rows).unwrap_or_default();
        let manifest = self.engine.verify_exported(self.who, &self.record.id.to_string()).await?;
        let (rows, bytes) = (manifest.rows, manifest.bytes);
        let files = match manifest.files.len() {
            1 => "1 file".to_owned(),
            files => format!("{files} files"),
        };
        let note = format!("{files} of Parquet, {bytes} bytes, held against the manifest");
        Ok(Findings::new(all, rows.min(all), rows.saturating_sub(all), vec![note]))
    }

    /// The numbers at the head of a report are counted anew.
    async fn numbers_told(&self, session: &Session) -> Result<Findings> {
        let id = self.record.id.to_string();
        let page = self.engine.exported_file(&self.who.tenant, &id, "report.html").await?;
        let bytes = page.bytes(0..page.file.bytes).await?.try_collect::<Vec<_>>().await?.concat();
        let text = String::from_utf8_lossy(&bytes);
        let sql = "WITH ends AS (SELECT CAST(max(at) AS DATE) + INTERVAL '1 day' AS until FROM model_calls) \
                   SELECT (SELECT count(*) FROM tickets, ends WHERE created_at >= '2026-01-01' AND created_at < until) AS tickets, \
                   (SELECT count(*) FROM model_calls WHERE at >= '2026-01-01') AS calls, 0 AS others";
        let batches = session.collect(session.sql(sql).await?).await?;
        let [tickets, calls, _] = numbers(&batches)?;
        let told = |label: &str, number: u64| {
            let head = format!(">{label}</dt><dd class=\"value\">{}<", count(number));
            u64::from(text.contains(&head))
        };
        let found = told("Tickets opened", tickets) + told("Calls", calls);
        let note =
            format!("{} bytes of HTML, {} rows read", page.file.bytes, self.record.summary["rows"]);
        Ok(Findings::new(2, found, 2 - found, vec![note]))
    }

    /// Rows that are still there.
    async fn rows_kept(&self) -> Result<Findings> {
        let catalog = self.engine.catalog(self.who).await?;
        let (mut before, mut after) = (0, 0);
        for dataset in self.record.params["datasets"].as_array().into_iter().flatten() {
            let name = DatasetName::new(dataset.as_str().unwrap_or_default())?;
            before += self.rows_before.get(&name).copied().unwrap_or_default();
            after += catalog.datasets.get(&name).and_then(|entry| entry.rows).unwrap_or_default();
        }
        let summary = &self.record.summary;
        let number = |name: &str| summary[name].as_u64().unwrap_or_default();
        let note = format!(
            "put {} files together as {}",
            number("files_put_together"),
            number("files_made")
        );
        Ok(Findings::new(before, after.min(before), after.saturating_sub(before), vec![note]))
    }
}

/// What was planted of some kinds, held against what was found.
pub(super) fn anomalies(
    truth: &Truth,
    is_asked: impl Fn(AnomalyKind) -> bool,
    found: &[Window],
    slack_minutes: i64,
) -> Findings {
    let asked: Vec<_> = truth.anomalies.iter().filter(|of| is_asked(of.kind)).collect();
    let planted = asked.iter();
    let planted: Vec<Window> = planted
        .map(|of| Window { series: of.series.clone(), start: of.start, end: of.end })
        .collect();
    let score = score_windows(&planted, found, TimeDelta::minutes(slack_minutes));
    let missed: Vec<String> = score
        .missed
        .iter()
        .take(MISSED_TOLD_MAX)
        .map(|&i| {
            format!("missed {:?} of {} at {}", asked[i].kind, planted[i].series, planted[i].start)
        })
        .collect();
    let (planted, hit) = (planted.len() as u64, score.hit.len() as u64);
    Findings::new(planted, hit, score.false_alarms.len() as u64, missed)
}

/// Of each hour that stands out the group that carries it, in the place of the series.
fn causes(truth: &Truth, found: &[Window]) -> Findings {
    let is_asked = |kind| matches!(kind, AnomalyKind::ErrorBurst | AnomalyKind::LatencyRise);
    let planted: Vec<_> = truth.anomalies.iter().filter(|of| is_asked(of.kind)).collect();
    let is_of = |told: &Window, of: &PlantedAnomaly| {
        told.start <= of.end
            && told.end >= of.start
            && told.series.split(" and ").any(|pair| pair.ends_with(&format!("= {}", of.series)))
    };
    let told = planted.iter().filter(|of| found.iter().any(|told| is_of(told, of))).count();
    let others = found.iter().filter(|told| !planted.iter().any(|of| is_of(told, of))).count();
    let missed = planted.iter().filter(|of| !found.iter().any(|told| is_of(told, of)));
    let missed = missed.take(MISSED_TOLD_MAX);
    let missed = missed.map(|of| format!("missed {:?} of {} at {}", of.kind, of.series, of.start));
    Findings::new(planted.len() as u64, told as u64, others as u64, missed.collect())
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
        .take(MISSED_TOLD_MAX)
        .map(|&i| format!("missed {} and {}", planted[i].series_a, planted[i].series_b))
        .collect();
    notes.push(format!(
        "of {} found, {} have exactly the planted lag",
        score.found.len(),
        score.lag_right.len()
    ));
    let (planted, found) = (planted.len() as u64, score.found.len() as u64);
    Findings::new(planted, found, score.false_pairs.len() as u64, notes)
}

fn duplicates(truth: &Truth, found: &[Vec<String>]) -> Findings {
    let score = score_groups(&truth.duplicates, found);
    let note = format!(
        "counted are pairs; {} groups were planted, {} found",
        truth.duplicates.len(),
        found.len()
    );
    Findings::new(score.planted, score.found, score.false_pairs, vec![note])
}

/// Tickets that have a copy, and whether it is among the nearest, of all vectors or by the index.
async fn near_copies(
    runner: &Runner,
    session: &Session,
    truth: &Truth,
    record: &RunRecord,
    exact: bool,
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
            exact,
            to: Likeness::Id(first.clone()),
            k: NEAREST,
            min_score: None,
            filter: None,
        };
        let near = runner.similar(session, request).await?;
        planted += 1;
        found += u64::from(near.rows.iter().any(|row| copies.contains(&row.id)));
    }
    let summary = &record.summary;
    let embedder = summary["embedder"].as_str().unwrap_or_default();
    let note = match exact {
        true => format!(
            "by {embedder}; found is a copy among the {NEAREST} nearest of {}",
            summary["rows"]
        ),
        false => format!(
            "looks into {} of {} lists, where {:.1} % of the true {NEAREST} nearest are",
            summary["probes"],
            summary["lists"],
            100.0 * summary["recall"].as_f64().unwrap_or_default()
        ),
    };
    Ok(Findings::new(planted, found, 0, vec![note]))
}

/// Steps that were said to be slow.
fn slow_steps(truth: &Truth, batches: &[RecordBatch]) -> Result<Findings> {
    let planted: BTreeSet<(&str, &str)> =
        truth.slow_cases.iter().map(|it| (it.case_id.as_str(), it.activity.as_str())).collect();
    let (mut found, mut other) = (0, 0);
    for batch in batches {
        for (case, activity) in texts(batch, 0)?.into_iter().zip(texts(batch, 1)?) {
            match planted.contains(&(case.as_str(), activity.as_str())) {
                true => found += 1,
                false => other += 1,
            }
        }
    }
    let note = "longer by 5.5 deviations than the median of all such steps";
    Ok(Findings::new(planted.len() as u64, found, other, vec![note.into()]))
}

/// Held-out texts whose copy an encoder puts nearest that learned from others.
fn learnt_copies(summary: &Value) -> Findings {
    let share = |of: &Value| of["recall_at_1"].as_f64().unwrap_or_default();
    let texts = summary["held_out_texts"].as_u64().unwrap_or_default();
    let found = (texts as f64 * share(&summary["found"])).round() as u64;
    let note = format!(
        "{:.1} % have their copy as the nearest of {} texts, {:.1} % before training",
        100.0 * share(&summary["found"]),
        summary["held_out_among"],
        100.0 * share(&summary["before"])
    );
    Findings::new(texts, found, 0, vec![note])
}

/// Held-out tickets whose label is the one that was planted.
fn held_out_labels(summary: &Value) -> Findings {
    let rows = summary["held_out_rows"].as_u64().unwrap_or_default();
    let accuracy = summary["accuracy"].as_f64().unwrap_or_default();
    let right = (rows as f64 * accuracy).round() as u64;
    let note = format!(
        "{} labels, learned from {} other tickets",
        summary["classes"], summary["train_rows"]
    );
    Findings::new(rows, right, rows.saturating_sub(right), vec![note])
}

fn production(summary: &Value) -> Findings {
    let is_there = summary["version"].is_string() && summary["in_production"] == summary["version"];
    Findings::new(1, u64::from(is_there), 0, Vec::new())
}

/// Tickets without a label, and the team that each was sent to.
fn teams_found(batches: &[RecordBatch]) -> Result<Findings> {
    let [planted, found, wrong] = numbers(batches)?;
    let unsent = planted.saturating_sub(found + wrong);
    let note = format!("{unsent} tickets were left as out of scope");
    Ok(Findings::new(planted, found, wrong, vec![note]))
}

/// The counts in a result of one row.
fn first_of(batches: &[RecordBatch]) -> Result<&RecordBatch> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    batch.ok_or_else(|| Error::internal("a count has no row"))
}

pub(super) fn numbers<const N: usize>(batches: &[RecordBatch]) -> Result<[u64; N]> {
    let batch = first_of(batches)?;
    let mut counts = [0; N];
    for (at, count) in counts.iter_mut().enumerate() {
        let column = batch.column(at).as_primitive_opt::<Int64Type>();
        let column = column.ok_or_else(|| unexpected(batch, at))?;
        *count = u64::try_from(column.value(0)).unwrap_or(0);
    }
    Ok(counts)
}

/// The instant before which metrics are known, when their last `samples` are not.
pub async fn known_until(engine: &Engine, who: &Principal, samples: i64) -> Result<DateTime<Utc>> {
    let session = engine.session(who, &[]).await?;
    let sql = "SELECT max(at) FROM metrics";
    let found = session.collect(session.sql(sql).await?).await?;
    let newest = instant(first_of(&found)?, 0, 0)?;
    Ok(newest - TimeDelta::minutes(SAMPLE_MINUTES * (samples - 1)))
}

/// Rows of calls in intervals that are over, and those that the metric counted.
async fn rows_measured(session: &Session) -> Result<Findings> {
    let sql = "WITH ends AS (SELECT max(at) AS until FROM model_calls) SELECT (SELECT count(*) FROM model_calls, ends \
               WHERE at < date_trunc('hour', until)) AS calls, \
               (SELECT CAST(sum(value) AS BIGINT) FROM metric_values WHERE metric = 'calls') AS counted, \
               (SELECT count(DISTINCT series) FROM metric_values WHERE metric = 'calls') AS series";
    let [calls, counted, series] = numbers(&session.collect(session.sql(sql).await?).await?)?;
    let note = format!("by the hour, as {series} series");
    Ok(Findings::new(calls, counted.min(calls), counted.saturating_sub(calls), vec![note]))
}

/// What `explain` is asked: of each hour that stands out, why it does.
pub async fn causes_asked(engine: &Engine, who: &Principal) -> Result<Vec<Value>> {
    let session = engine.session(who, &[]).await?;
    let mut asked = Vec::new();
    for (source, measure) in [
        ("hourly_errors", "count(*) FILTER (WHERE status <> 'ok') / count(*)"),
        ("hourly_latency", "avg(time_to_first_token_ms)"),
    ] {
        let sql = format!(
            "SELECT DISTINCT '', started_at, ended_at FROM {HOURLY} WHERE source = '{source}' ORDER BY 2, 3"
        );
        for hours in windows(&session.collect(session.sql(&sql).await?).await?)? {
            asked.push(json!({
                "measure": measure, "dimensions": ["provider", "model"],
                "from": hours.start, "to": hours.end + TimeDelta::minutes(HOUR_MINUTES),
                "before_from": hours.start - TimeDelta::days(CAUSE_DAYS),
            }));
        }
    }
    Ok(asked)
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

pub(super) fn windows(batches: &[RecordBatch]) -> Result<Vec<Window>> {
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

pub(super) fn texts(batch: &RecordBatch, column: usize) -> Result<Vec<String>> {
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
