//! What is so of a dataset as it is: series that move together, rows that say the same, texts of no class, rows that failed a check.

use engine::Result;

use super::super::finding::{Finding, Kind, only, quoted};
use super::{From, ROWS_MAX, bars, sql_instant};
use crate::series::words::{duration, number, severity};

/// Coefficient from which on it counts how much two series move together.
const COEFFICIENT_MIN: f64 = 0.4;
/// How severe it is at most that two series move together: it is no harm.
const CORRELATION_SEVERITY: f64 = 60.0;
/// Part of a dataset's rows that are copies, from which on their severity counts, and clusters that are told by themselves: of how
/// many rows at least, and how many.
const COPIES_LIMIT: f64 = 0.01;
const CLUSTER_MIN: u64 = 5;
const CLUSTERS_MAX: usize = 10;
/// Members of a cluster at which its severity counts.
const CLUSTER_LIMIT: f64 = 3.0;
/// Part of the texts that are of no class, from which on its severity counts, and how many texts there must be.
const OUTSIDE_LIMIT: f64 = 0.05;
const TEXTS_MIN: u64 = 20;
/// Rows of a day that failed a check, from which on their severity counts.
const REFUSED_LIMIT: f64 = 10.0;
const DAY_US: i64 = 86_400_000_000;

impl From<'_> {
    pub(super) async fn correlations(&self) -> Result<Vec<Finding>> {
        // Rows of an older form are all of one dataset.
        let table = self.gather.ctx.session().table(self.name).await?;
        let has = |column| table.schema().has_column_with_unqualified_name(column);
        let has_across = has("across");
        let across = if has_across { "CAST(coalesce(across, false) AS BIGINT)" } else { "0" };
        // How sure it is that they move together with that lag, which is another thing than without.
        let lag_q = if has("lag_q_value") { "coalesce(lag_q_value, q_value)" } else { "q_value" };
        let sql = format!(
            "SELECT * FROM (SELECT source, {across} AS across, series_a, series_b, coefficient, n, q_value, {lag_q} AS lag_q, lag_seconds, lag_coefficient, started_at, \
             ended_at, greatest(abs(coefficient), abs(coalesce(lag_coefficient, 0.0))) AS strength FROM {} WHERE {}) \
             WHERE strength >= {COEFFICIENT_MIN} ORDER BY strength DESC, series_a, series_b LIMIT {ROWS_MAX}",
            self.table(),
            self.within("ended_at"),
        );
        let rows = self.rows(&sql).await?;
        let mut found = Vec::new();
        for row in rows.iter() {
            let (source, a, b) =
                (row.text("source")?, row.text("series_a")?, row.text("series_b")?);
            let plain = row.number("coefficient")?.unwrap_or(0.0);
            let lagged = row.number("lag_coefficient")?.unwrap_or(0.0);
            let lag = row.number("lag_seconds")?.unwrap_or(0.0);
            let is_lagged = lagged.abs() > plain.abs() && lag != 0.0;
            let r = if is_lagged { lagged } else { plain };
            let after = match (is_lagged, lag > 0.0) {
                (false, _) => String::new(),
                (true, true) => format!(", {b} {} after {a}", duration(lag)),
                (true, false) => format!(", {a} {} after {b}", duration(-lag)),
            };
            let is_across = row.count("across")? > 0;
            let of = if is_across { String::new() } else { format!(" of {source}") };
            let n = row.count("n")?;
            let condition = only(&[("source", source), ("series_a", a), ("series_b", b)]);
            let severity =
                CORRELATION_SEVERITY * (r.abs() - COEFFICIENT_MIN) / (1.0 - COEFFICIENT_MIN);
            found.push(Finding {
                kind: Kind::Correlation,
                source: source.to_owned(),
                subject: format!("{a} and {b}"),
                started_us: row.instant("started_at")?,
                ended_us: row.instant("ended_at")?,
                interval_us: 0,
                headline: format!(
                    "{a} and {b}{of} {}: r = {} over {n} intervals{after}",
                    if r > 0.0 { "move together" } else { "move against each other" },
                    number(r)
                ),
                severity,
                confidence: 1.0
                    - row.number(if is_lagged { "lag_q" } else { "q_value" })?.unwrap_or(1.0),
                reach: n,
                evidence: vec![self.evidence(condition)],
                // No one dataset has both.
                chart: if is_across {
                    serde_json::Value::Null
                } else {
                    serde_json::json!({
                        "dataset": source,
                        "where": format!("series IN ({}, {})", quoted(a), quoted(b)),
                        "mark": "line",
                        "encoding": {
                            "x": { "field": "at", "type": "temporal" },
                            "y": { "field": "value", "type": "quantitative" },
                            "color": { "field": "series", "type": "nominal" },
                        },
                    })
                },
                action: "check both when one of them stands out".to_owned(),
                also: Vec::new(),
            });
        }
        Ok(found)
    }

    pub(super) async fn duplicates(&self) -> Result<Vec<Finding>> {
        let table = self.table();
        let wholes = format!(
            "SELECT source, count(*) AS rows, count(DISTINCT cluster_id) AS clusters, max(members) AS most FROM {table} \
             GROUP BY source ORDER BY source"
        );
        let until_us = self.gather.until_us - 1;
        let mut found = Vec::new();
        for row in self.rows(&wholes).await?.iter() {
            let source = row.text("source")?;
            let (rows, clusters) = (row.count("rows")?, row.count("clusters")?);
            let copies = rows.saturating_sub(clusters);
            let all = self.rows_of(source).await?;
            let share = all.map(|all| copies as f64 / all.max(1) as f64);
            let of = match (all, share) {
                (Some(all), Some(share)) => format!("of {all} ({} %)", number(100.0 * share)),
                _ => "of them".to_owned(),
            };
            let severity = severity(share.unwrap_or(0.0), COPIES_LIMIT);
            let condition = only(&[("source", source)]);
            found.push(Finding {
                kind: Kind::Duplicates,
                source: source.to_owned(),
                subject: format!("copies in {source}"),
                started_us: until_us,
                ended_us: until_us,
                interval_us: 0,
                headline: format!(
                    "{source}: {copies} rows {of} repeat another row, in {clusters} clusters of up to {} rows",
                    row.count("most")?
                ),
                severity,
                confidence: 0.95,
                reach: copies,
                chart: bars(self.name.as_str(), &condition, "members"),
                evidence: vec![self.evidence(condition)],
                action: "answer each cluster once, and count its rows as one".to_owned(),
                also: Vec::new(),
            });
        }
        let largest = format!(
            "SELECT source, cluster_id, members FROM {table} WHERE is_representative AND members >= {CLUSTER_MIN} \
             ORDER BY members DESC, cluster_id LIMIT {CLUSTERS_MAX}"
        );
        for row in self.rows(&largest).await?.iter() {
            let (source, cluster) = (row.text("source")?, row.text("cluster_id")?);
            let members = row.count("members")?;
            let severity = severity(members as f64, CLUSTER_LIMIT);
            let condition = only(&[("source", source), ("cluster_id", cluster)]);
            found.push(Finding {
                kind: Kind::Duplicates,
                source: source.to_owned(),
                subject: format!("cluster {cluster}"),
                started_us: until_us,
                ended_us: until_us,
                interval_us: 0,
                headline: format!(
                    "{source}: {members} rows repeat each other, among them {cluster}"
                ),
                severity,
                confidence: 0.95,
                reach: members,
                chart: bars(self.name.as_str(), &condition, "similarity"),
                evidence: vec![self.evidence(condition)],
                action: format!("answer {cluster} and its copies once"),
                also: Vec::new(),
            });
        }
        Ok(found)
    }

    pub(super) async fn triage(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT source, model, count(*) AS texts, count(*) FILTER (WHERE out_of_scope) AS outside FROM {} \
             GROUP BY source, model ORDER BY source, model LIMIT {ROWS_MAX}",
            self.table()
        );
        let until_us = self.gather.until_us - 1;
        let mut found = Vec::new();
        for row in self.rows(&sql).await?.iter() {
            let (source, model) = (row.text("source")?, row.text("model")?);
            let (texts, outside) = (row.count("texts")?, row.count("outside")?);
            let share = outside as f64 / texts.max(1) as f64;
            let severity = severity(share, OUTSIDE_LIMIT);
            if texts < TEXTS_MIN {
                continue;
            }
            let rows = only(&[("source", source), ("model", model)]);
            let condition = format!("{rows} AND out_of_scope");
            found.push(Finding {
                kind: Kind::OutOfScope,
                source: source.to_owned(),
                subject: format!("texts of no class for {model}"),
                started_us: until_us,
                ended_us: until_us,
                interval_us: 0,
                headline: format!(
                    "{source}: {outside} of {texts} texts ({} %) are in none of the classes of {model}",
                    number(100.0 * share)
                ),
                severity,
                confidence: 1.0 - (-(outside as f64)).exp2(),
                reach: outside,
                chart: bars(self.name.as_str(), &condition, "label"),
                evidence: vec![self.evidence(condition)],
                action: "label some of them by hand, and train again".to_owned(),
                also: Vec::new(),
            });
        }
        Ok(found)
    }

    pub(super) async fn quarantine(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT date_trunc('day', rejected_at) AS day, coalesce(\"column\", '') AS column_name, count(*) AS rows, \
             max(reason) AS reason FROM {} WHERE {} GROUP BY 1, 2 ORDER BY rows DESC, day, column_name LIMIT {ROWS_MAX}",
            self.table(),
            self.within("rejected_at"),
        );
        let of = self.name.as_str();
        let of = of.strip_suffix("_quarantine").unwrap_or(of);
        let mut found = Vec::new();
        for row in self.rows(&sql).await?.iter() {
            let (rows, column) = (row.count("rows")?, row.text("column_name")?);
            let severity = severity(rows as f64, REFUSED_LIMIT);
            let day_us = row.instant("day")?;
            let condition = format!(
                "rejected_at >= {} AND rejected_at < {} AND {}",
                sql_instant(day_us),
                sql_instant(day_us.saturating_add(DAY_US)),
                match column {
                    "" => "\"column\" IS NULL".to_owned(),
                    column => only(&[("\"column\"", column)]),
                }
            );
            let at = if column.is_empty() { String::new() } else { format!(" at {column}") };
            found.push(Finding {
                kind: Kind::Quality,
                source: of.to_owned(),
                subject: format!("rows of {of} that failed a check{at}"),
                started_us: day_us,
                ended_us: day_us + DAY_US - 1,
                interval_us: 0,
                headline: format!(
                    "{of}: {rows} rows failed a check{at} in a day, such as: {}",
                    row.text("reason")?
                ),
                severity,
                confidence: 0.99,
                reach: rows,
                chart: bars(self.name.as_str(), &condition, "reason"),
                evidence: vec![self.evidence(condition)],
                action: "correct their source, and ingest them again".to_owned(),
                also: Vec::new(),
            });
        }
        Ok(found)
    }

    /// Rows of a dataset as it is now; none where it is not there.
    async fn rows_of(&self, source: &str) -> Result<Option<u64>> {
        let session = self.gather.ctx.present().await?;
        let is_there = datasets::DatasetName::new(source)
            .is_ok_and(|name| session.catalog().datasets.contains_key(&name));
        if !is_there {
            return Ok(None);
        }
        let rows =
            super::Rows::of(session, &format!("SELECT count(*) AS rows FROM \"{source}\"")).await?;
        rows.iter().next().map(|row| row.count("rows")).transpose()
    }
}
