//! What happened at a time: anomalies, trends, values that no forecast has, and changes that are explained.

use std::collections::HashMap;

use engine::Result;

use super::super::finding::{Finding, Kind, only};
use super::super::rows::Row;
use super::{From, ROWS_MAX, line, sql_instant};
use crate::series::words::{instant, number, severity};

/// Distance from what was forecast, in halves of the interval of 95 %, from which on one value alone is told. Of normal values
/// fewer than one in a hundred million are as far.
const MISS_MIN: f64 = 3.0;
/// The same of several in a row, and how many.
const MISSES_MIN: f64 = 1.5;
const MISSES_IN_A_ROW: usize = 4;
/// A record says less than a change does.
const RECORD_WEIGHT: f64 = 0.6;
/// How many times larger or smaller the amplitude of a season is where that begins to matter, and how much a season matters that has as
/// large a one in another shape.
const SEASON_LIMIT: f64 = 1.25;
const SHAPE_SEVERITY: f64 = 30.0;
/// Scores of trends from which their severity counts: standard deviations of the noise, or of the test of a slope.
const LEVEL_LIMIT: f64 = 2.0;
const SLOPE_LIMIT: f64 = 3.0;
/// The same of what carries a change.
const CAUSE_LIMIT: f64 = 3.0;
/// How much less sure a finding at its limit is than one at twice the limit.
const AT_LIMIT: f64 = 0.5;

/// One less the chance that a finding of this severity is noise: a half at the limit, and half of the rest for each limit more.
fn confidence(severity: f64) -> f64 {
    let limits = 1.0 / (1.0 - severity.clamp(0.0, 99.0) / 100.0);
    1.0 - AT_LIMIT.powf(limits)
}

/// What the values of series are in, by source and series.
type Units = HashMap<String, HashMap<String, String>>;

/// The unit of a series in brackets; nothing where none is known.
fn unit_of(units: &Units, source: &str, series: &str) -> String {
    let unit = units.get(source).and_then(|units| units.get(series));
    unit.map(|unit| format!(" ({unit})")).unwrap_or_default()
}

/// What is known of a finding of a series.
struct OfSeries<'a> {
    kind: Kind,
    row: Row<'a>,
    times: [&'static str; 2],
    severity: f64,
    confidence: f64,
    reach: u64,
    action: String,
}

impl From<'_> {
    /// Of a row with source, series, interval_seconds and explanation.
    fn of_series(&self, of: OfSeries<'_>, key: &str, units: &Units) -> Result<Finding> {
        let row = of.row;
        let (source, series) = (row.text("source")?.to_owned(), row.text("series")?.to_owned());
        let [started_us, ended_us] = [row.instant(of.times[0])?, row.instant(of.times[1])?];
        let interval_us = (row.number("interval_seconds")?.unwrap_or(0.0) * 1e6) as i64;
        let unit = unit_of(units, &source, &series);
        let rows = only(&[("source", &source), ("series", &series)]);
        let condition = format!("{rows} AND {key}");
        Ok(Finding {
            kind: of.kind,
            headline: format!("{series}{unit} of {source}: {}", row.text("explanation")?),
            chart: line(&source, &series, started_us, ended_us, interval_us),
            subject: series,
            source,
            started_us: started_us.min(ended_us),
            ended_us: ended_us.max(started_us),
            interval_us,
            severity: of.severity,
            confidence: of.confidence.clamp(0.0, 1.0),
            reach: of.reach,
            evidence: vec![self.evidence(condition)],
            action: of.action,
            also: Vec::new(),
        })
    }

    async fn units_of(&self, rows: &super::Rows) -> Result<Units> {
        let mut units = Units::new();
        for row in rows.iter() {
            let source = row.text("source")?;
            if !units.contains_key(source) {
                units.insert(source.to_owned(), self.units(source).await?);
            }
        }
        Ok(units)
    }

    pub(super) async fn anomalies(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT source, series, kind, started_at, ended_at, severity, samples, interval_seconds, explanation FROM {} \
             WHERE {} AND severity >= {} ORDER BY severity DESC, series, started_at LIMIT {ROWS_MAX}",
            self.table(),
            self.within("ended_at"),
            self.gather.params.min_severity
        );
        let rows = self.rows(&sql).await?;
        let units = self.units_of(&rows).await?;
        let of = |row: Row<'_>| {
            let severity = row.number("severity")?.unwrap_or(0.0);
            let kind = row.text("kind")?;
            let action = match kind {
                "missing" | "stuck" => "check whether the sender of the values still runs",
                "unlike" => "check the row; if it is no problem, mark it `wrong` or `known`",
                "level_shift" => {
                    "find out what changed at that time; if it was intended, mark it `known`"
                }
                _ => {
                    "find out what happened at that time; if it is no problem, mark it `wrong` or `known`"
                }
            };
            let started = sql_instant(row.instant("started_at")?);
            let key = format!("{} AND started_at = {started}", only(&[("kind", kind)]));
            let of = OfSeries {
                kind: Kind::Anomaly,
                row,
                times: ["started_at", "ended_at"],
                severity,
                confidence: confidence(severity),
                reach: row.count("samples")?,
                action: action.to_owned(),
            };
            self.of_series(of, &key, &units)
        };
        rows.iter().map(of).collect()
    }

    pub(super) async fn trends(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT source, series, kind, at, score, p_value, before, after, interval_seconds, explanation, abs(score) AS strength FROM {} \
             WHERE {} ORDER BY strength DESC NULLS LAST, series, at LIMIT {ROWS_MAX}",
            self.table(),
            self.within("at"),
        );
        let rows = self.rows(&sql).await?;
        let units = self.units_of(&rows).await?;
        let mut found = Vec::new();
        for row in rows.iter() {
            let score = row.number("score")?.unwrap_or(0.0).abs();
            let kind = row.text("kind")?;
            let (of_kind, severity, action) = match kind {
                "slope" => {
                    let action = "estimate when it reaches a limit";
                    (Kind::Slope, severity(score, SLOPE_LIMIT), action)
                }
                "season" => {
                    let action = "run the forecast again: the seasonal pattern changed";
                    let [before, after] = [row.number("before")?, row.number("after")?];
                    (Kind::Season, of_season(before, after), action)
                }
                "level" => {
                    let action =
                        "find out what changed at that time; if it was intended, mark it `known`";
                    (Kind::Level, severity(score, LEVEL_LIMIT), action)
                }
                _ => {
                    let action = "check whether it continues";
                    (Kind::Record, RECORD_WEIGHT * severity(score, LEVEL_LIMIT), action)
                }
            };
            let at = sql_instant(row.instant("at")?);
            let key = format!("{} AND at = {at}", only(&[("kind", kind)]));
            let of = OfSeries {
                kind: of_kind,
                row,
                times: ["at", "at"],
                severity,
                confidence: 1.0 - row.number("p_value")?.unwrap_or(1.0),
                reach: 1,
                action: action.to_owned(),
            };
            found.push(self.of_series(of, &key, &units)?);
        }
        Ok(found)
    }

    /// Values outside of their interval of 95 %: far outside, or several in a row. One in twenty is always outside.
    pub(super) async fn forecasts(&self) -> Result<Vec<Finding>> {
        // Of several forecasts of an interval the last one counts.
        let sql = format!(
            "SELECT source, series, at, value, actual, lower_95, upper_95, within_95, interval_seconds FROM (SELECT *, \
             row_number() OVER (PARTITION BY source, question, series, at ORDER BY made_at DESC) AS nth FROM {} WHERE {}) \
             WHERE nth = 1 AND NOT within_95 ORDER BY source, series, at LIMIT {}",
            self.table(),
            self.within("at"),
            10 * ROWS_MAX
        );
        let rows = self.rows(&sql).await?;
        let units = self.units_of(&rows).await?;
        let mut found = Vec::new();
        let mut run: Vec<(Row<'_>, f64)> = Vec::new();
        for row in rows.iter() {
            let follows = match run.last() {
                None => true,
                Some((last, _)) => {
                    let apart = row.instant("at")?.saturating_sub(last.instant("at")?);
                    let interval = (row.number("interval_seconds")?.unwrap_or(0.0) * 1e6) as i64;
                    row.text("series")? == last.text("series")?
                        && row.text("source")? == last.text("source")?
                        && apart <= interval.saturating_mul(3) / 2
                }
            };
            if !follows {
                found.extend(self.misses(&run, &units)?);
                run.clear();
            }
            run.push((row, miss(row)?));
        }
        found.extend(self.misses(&run, &units)?);
        Ok(found)
    }

    fn misses(&self, run: &[(Row<'_>, f64)], units: &Units) -> Result<Option<Finding>> {
        let Some((worst, far)) = run.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
            return Ok(None);
        };
        let mean = run.iter().map(|(_, far)| far).sum::<f64>() / run.len() as f64;
        let is_run = run.len() >= MISSES_IN_A_ROW && mean >= MISSES_MIN;
        if *far < MISS_MIN && !is_run {
            return Ok(None);
        }
        let severity = severity(*far, 1.0);
        let (first, last) = (run[0].0.instant("at")?, run[run.len() - 1].0.instant("at")?);
        let (source, series) = (worst.text("source")?, worst.text("series")?);
        let unit = unit_of(units, source, series);
        let value =
            |name: &str| Ok::<_, engine::Error>(number(worst.number(name)?.unwrap_or(f64::NAN)));
        let several = match run.len() {
            1 => String::new(),
            count => format!(
                "; {count} values in a row, from {} to {}, are outside",
                instant(first),
                instant(last)
            ),
        };
        let interval_us = (worst.number("interval_seconds")?.unwrap_or(0.0) * 1e6) as i64;
        let condition = format!(
            "{} AND at BETWEEN {} AND {} AND NOT within_95",
            only(&[("source", source), ("series", series)]),
            sql_instant(first),
            sql_instant(last)
        );
        Ok(Some(Finding {
            kind: Kind::ForecastMiss,
            source: source.to_owned(),
            subject: series.to_owned(),
            started_us: first,
            ended_us: last,
            interval_us,
            headline: format!(
                "{series}{unit} of {source}: {} at {}; the forecast was {}, its interval of 95 % from {} to {}{several}",
                value("actual")?,
                instant(worst.instant("at")?),
                value("value")?,
                value("lower_95")?,
                value("upper_95")?
            ),
            severity,
            confidence: confidence(severity),
            reach: run.len() as u64,
            evidence: vec![self.evidence(condition)],
            chart: line(source, series, first, last, interval_us),
            action: "find out what changed at that time; if it lasts, run the forecast again"
                .to_owned(),
            also: Vec::new(),
        }))
    }

    pub(super) async fn explanations(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT whole.source, whole.question, whole.from_at, whole.to_at, whole.rows_after, whole.explanation AS says, \
             first.finding, first.explanation AS carries, first.z, first.p_value, abs(first.z) AS strength FROM {0} AS whole JOIN {0} AS first \
             ON first.source = whole.source AND first.question = whole.question AND first.rank = 1 \
             WHERE whole.rank = 0 AND whole.outcome = 'found' AND {1} ORDER BY strength DESC, whole.question LIMIT {ROWS_MAX}",
            self.table(),
            self.within("whole.to_at"),
        );
        let rows = self.rows(&sql).await?;
        let mut found = Vec::new();
        for row in rows.iter() {
            let severity = severity(row.number("z")?.unwrap_or(0.0).abs(), CAUSE_LIMIT);
            let (source, question) = (row.text("source")?, row.text("question")?);
            let condition = only(&[("source", source), ("question", question)]);
            let (started_us, ended_us) = (row.instant("from_at")?, row.instant("to_at")?);
            found.push(Finding {
                kind: Kind::Change,
                source: source.to_owned(),
                // What is asked, without when: the same of another day is another finding of one subject.
                subject: what_of(question).to_owned(),
                started_us,
                ended_us,
                interval_us: 0,
                headline: format!("{source}: {}; {}", row.text("says")?, row.text("carries")?),
                severity,
                confidence: 1.0 - row.number("p_value")?.unwrap_or(1.0),
                reach: row.count("rows_after")?,
                chart: super::bars(self.name.as_str(), &condition, "finding"),
                evidence: vec![self.evidence(condition)],
                action: format!("check the rows of {}", row.text("finding")?),
                also: Vec::new(),
            });
        }
        Ok(found)
    }
}

/// A question without its periods, of which the first begins behind the last comma but one.
fn what_of(question: &str) -> &str {
    let without = question.rsplit_once(", against ").map_or(question, |(before, _)| before);
    without.rsplit_once(", ").map_or(without, |(what, _)| what)
}

/// How far a value is from its forecast, in halves of the interval of 95 % on its side.
fn miss(row: Row<'_>) -> Result<f64> {
    let value = |name: &str| Ok::<_, engine::Error>(row.number(name)?.unwrap_or(f64::NAN));
    let (expected, actual) = (value("value")?, value("actual")?);
    let side = if actual > expected { value("upper_95")? } else { value("lower_95")? };
    let far = (actual - expected) / (side - expected);
    // Where the interval has no width any other value is far.
    Ok(if far.is_finite() { far.abs() } else { MISS_MIN })
}

/// How severe a change of a season is, by its amplitudes before and after.
fn of_season(before: Option<f64>, after: Option<f64>) -> f64 {
    let ratio = match (before, after) {
        (Some(before), Some(after)) if before > 0.0 && after > 0.0 => {
            (after / before).max(before / after)
        }
        _ => f64::INFINITY,
    };
    severity(ratio, SEASON_LIMIT).max(SHAPE_SEVERITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_a_half_at_the_limit_and_grows_with_each_limit_more() {
        let says: Vec<f64> = [0.0, 50.0, 75.0].map(confidence).to_vec();
        assert_eq!(says, [0.5, 0.75, 0.9375]);
        assert!(confidence(100.0) <= 1.0 && confidence(-3.0) == 0.5);
    }

    #[test]
    fn the_subject_of_a_question_is_what_is_asked_without_when() {
        let question = "count(*) of calls where a IN (1, 2), 2026-01-02T00:00:00Z to 2026-01-03T00:00:00Z, against \
                        2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z";
        assert_eq!(what_of(question), "count(*) of calls where a IN (1, 2)");
        assert_eq!(what_of("anything"), "anything");
    }

    #[test]
    fn a_season_is_as_severe_as_its_amplitude_is_another() {
        let of = |before, after| of_season(Some(before), Some(after)).round();
        assert_eq!([of(10.0, 25.0), of(25.0, 10.0), of(10.0, 100.0)], [50.0, 50.0, 88.0]);
        assert_eq!([of(10.0, 11.0), of(10.0, 17.8), of(10.0, 18.0)], [30.0, 30.0, 31.0]);
        assert_eq!([of_season(None, Some(1.0)), of(0.0, 1.0)], [100.0, 100.0]);
    }
}
