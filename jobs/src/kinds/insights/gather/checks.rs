//! Rows that do not come, are incomplete, or are no longer as they were: checks of the job `quality` that failed.

use engine::Result;

use super::super::finding::{Finding, Kind, only};
use super::{From, ROWS_MAX, sql_instant};
use crate::series::words::instant;

/// How sure it is taken to be that what failed by limits that were learned is no false alarm: a few are, and how many depends on `alarms`.
const LEARNED_CONFIDENCE: f64 = 0.95;

impl From<'_> {
    /// Checks that failed in one period after another are one finding.
    pub(super) async fn failed_checks(&self) -> Result<Vec<Finding>> {
        let of = "source, check_name, column_name";
        let sql = format!(
            "SELECT * FROM (SELECT {of}, min(at) AS started_at, max(at) AS ended_at, count(*) AS periods, max(severity) AS severity, \
                            first_value(words ORDER BY severity DESC, at) AS words, first_value(at ORDER BY severity DESC, at) AS worst_at, \
                            sum(rows) AS rows, min(limits_from) AS limits_from \
                            FROM {} \
                            WHERE NOT is_fine GROUP BY {of}, episode) \
             WHERE {} ORDER BY severity DESC, {of}, started_at LIMIT {ROWS_MAX}",
            self.episodes(of, "is_fine"),
            self.within("ended_at"),
        );
        let mut found = Vec::new();
        for row in self.rows(&sql).await?.iter() {
            let (source, check, column) =
                (row.text("source")?, row.text("check_name")?, row.text("column_name")?);
            let (started_us, ended_us) = (row.instant("started_at")?, row.instant("ended_at")?);
            let rows = only(&[("source", source), ("check_name", check), ("column_name", column)]);
            let within = format!(
                "{rows} AND at BETWEEN {} AND {}",
                sql_instant(started_us),
                sql_instant(ended_us)
            );
            let worst = instant(row.instant("worst_at")?);
            let when = match row.count("periods")? {
                0 | 1 => format!("in the period of {worst}"),
                periods => format!("for {periods} periods, at worst in that of {worst}"),
            };
            let is_learned = row.text("limits_from")? == "learned";
            found.push(Finding {
                kind: Kind::BadData,
                source: source.to_owned(),
                subject: match column.is_empty() {
                    true => check.to_owned(),
                    false => format!("{check} of {column}"),
                },
                started_us,
                ended_us,
                interval_us: 0,
                headline: format!("{source}: {}, {when}", row.text("words")?),
                severity: row.number("severity")?.unwrap_or(0.0),
                confidence: if is_learned { LEARNED_CONFIDENCE } else { 1.0 },
                reach: row.count("rows")?,
                chart: self.chart("line", &rows, ("at", "temporal"), ("value", "quantitative")),
                evidence: vec![self.evidence(within)],
                action: match check {
                    "distribution" => format!(
                        "check the source of {source}; if the change is intended, rate this `known`, or choose other `columns` for the job quality"
                    ),
                    _ => format!(
                        "check the source of {source}; if the change is intended, set `limits` of the job quality"
                    ),
                },
                also: Vec::new(),
            });
        }
        Ok(found)
    }
}
