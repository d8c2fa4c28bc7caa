//! Metrics that miss their target by more than noise.

use analysis::series::{Direction, Miss, Target};
use engine::Result;

use super::super::finding::{Finding, Kind, only};
use super::super::rows::{Row, Rows};
use super::{From, line, sql_instant};
use crate::series::words::{number, severity};

/// Standard errors from which on a miss counts: of a thousand series of a thousand intervals each that lie on their target few have one.
const SCORE_MIN: f64 = 4.0;
/// Series of which the values are read, and values of one: its newest.
const SERIES_MAX: usize = 10_000;
const VALUES_MAX: usize = 100_000;

impl From<'_> {
    /// Of values of metrics with a target.
    pub(super) async fn target_misses(&self) -> Result<Vec<Finding>> {
        let has_targets = self.gather.ctx.session().catalog().datasets.get(self.name);
        let has_targets = has_targets
            .is_some_and(|entry| entry.spec.columns.iter().any(|column| column.name == "target"));
        // Of an earlier release.
        if !has_targets {
            return Ok(Vec::new());
        }
        let until = sql_instant(self.gather.until_us);
        let is_judged = format!("target IS NOT NULL AND value IS NOT NULL AND at < {until}");
        let sql = format!(
            "SELECT source, metric, series FROM {} WHERE {is_judged} GROUP BY source, metric, series \
             HAVING count(*) FILTER (WHERE NOT is_met AND {}) > 0 ORDER BY metric, series LIMIT {SERIES_MAX}",
            self.table(),
            self.within("at"),
        );
        let mut found = Vec::new();
        for series in self.rows(&sql).await?.iter() {
            self.gather.ctx.check()?;
            let of_series = only(&[
                ("source", series.text("source")?),
                ("metric", series.text("metric")?),
                ("series", series.text("series")?),
            ]);
            let sql = format!(
                "SELECT at, value, target, direction, owner, unit, interval_seconds FROM {} WHERE {of_series} AND {is_judged} \
                 ORDER BY at DESC LIMIT {VALUES_MAX}",
                self.table()
            );
            let rows = self.rows(&sql).await?;
            found.extend(self.misses_of(series, &rows, &of_series)?);
        }
        Ok(found)
    }

    /// Those of one series, of which the newest row comes first.
    fn misses_of(&self, series: Row<'_>, rows: &Rows, of_series: &str) -> Result<Vec<Finding>> {
        let Some(newest) = rows.iter().next() else { return Ok(Vec::new()) };
        let direction = match newest.text("direction")? {
            "up" => Direction::Up,
            _ => Direction::Down,
        };
        let value = newest.number("target")?.unwrap_or(0.0);
        let target = Target { value, direction };
        let interval_us = (newest.number("interval_seconds")?.unwrap_or(0.0) * 1e6) as i64;
        let mut values = Vec::new();
        for row in rows.iter() {
            if let Some(value) = row.number("value")? {
                values.push((row.instant("at")?, value));
            }
        }
        values.reverse();
        let (times, values): (Vec<i64>, Vec<f64>) = values.into_iter().unzip();
        let (name, source) = (series.text("series")?, series.text("source")?);
        let named = |column: &str, before: &str, after: &str| {
            let text = newest.text(column)?;
            let told = format!("{before}{text}{after}");
            Ok::<_, engine::Error>(if text.is_empty() { String::new() } else { told })
        };
        let (unit, owner) = (named("unit", " (", ")")?, named("owner", "", ": ")?);
        let mut found = Vec::new();
        for miss in target.misses(&values) {
            let (started_us, last_us) = (times[miss.start], times[miss.end - 1]);
            let is_recent = self.gather.since_us.is_none_or(|since_us| last_us >= since_us);
            if miss.score <= SCORE_MIN || !is_recent {
                continue;
            }
            let is_open = miss.end == values.len();
            found.push(Finding {
                kind: Kind::TargetMiss,
                source: source.to_owned(),
                subject: name.to_owned(),
                started_us,
                ended_us: last_us.saturating_add(interval_us),
                interval_us,
                headline: format!(
                    "{name}{unit} misses its target: {}",
                    told(target, &miss, interval_us, is_open)
                ),
                severity: severity(miss.score, SCORE_MIN),
                confidence: 1.0 - chance_of(miss.score),
                reach: (miss.end - miss.start) as u64,
                chart: line(self.name.as_str(), name, started_us, last_us, interval_us),
                evidence: vec![self.evidence(format!(
                    "{of_series} AND at BETWEEN {} AND {}",
                    sql_instant(started_us),
                    sql_instant(last_us)
                ))],
                action: format!(
                    "{owner}find out why; the job `explain` compares these intervals with those before"
                ),
                also: Vec::new(),
            });
        }
        Ok(found)
    }
}

/// A miss in words.
fn told(target: Target, miss: &Miss, interval_us: i64, is_open: bool) -> String {
    let wanted = target.direction.limit();
    let long = analysis::series::Span::from_micros(interval_us)
        .map(|span| format!(" of {span}"))
        .unwrap_or_default();
    let count = match miss.end - miss.start {
        1 => format!("in one interval{long}"),
        count => format!("on average in {count} intervals{long}, {} at worst", number(miss.worst)),
    };
    let still = if is_open { ", and still is" } else { "" };
    let (mean, value) = (number(miss.mean), number(target.value));
    format!("{mean} {count}{still}, where {wanted} {value} is wanted")
}

/// Chance of a normal value beyond so many standard deviations, at most: the bound of Chernoff.
fn chance_of(score: f64) -> f64 {
    (-score * score / 2.0).exp()
}
