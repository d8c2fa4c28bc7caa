//! Models that are right less often than before, and those that are right more often than others.

use engine::Result;

use super::super::finding::{Finding, Kind, only};
use super::operations::BETTER_LIMIT;
use super::{From, ROWS_MAX, sql_instant};
use crate::series::words::{instant, number, severity};

impl From<'_> {
    /// Periods one after another in which a model is worse are one finding.
    pub(super) async fn worse_models(&self) -> Result<Vec<Finding>> {
        let of = "source, model";
        let sql = format!(
            "SELECT * FROM (SELECT {of}, min(at) AS started_at, max(at) AS ended_at, count(*) AS periods, sum(known) AS known, sum(\"right\") AS hits, \
                            first_value(accuracy_before ORDER BY at) AS before, min(p) AS p \
                            FROM {} \
                            WHERE is_worse GROUP BY {of}, episode) \
             WHERE {} ORDER BY p, {of}, started_at LIMIT {ROWS_MAX}",
            self.episodes(of, "is_worse"),
            self.within("ended_at"),
        );
        let mut found = Vec::new();
        for row in self.rows(&sql).await?.iter() {
            let (source, model) = (row.text("source")?, row.text("model")?);
            let (started_us, ended_us) = (row.instant("started_at")?, row.instant("ended_at")?);
            let (known, right) = (row.count("known")?, row.count("hits")?);
            let now = right as f64 / known.max(1) as f64;
            let before = row.number("before")?.unwrap_or(now);
            let percent = |of: f64| number((1_000.0 * of).round() / 10.0);
            let rows = only(&[("source", source), ("model", model)]);
            let within = format!(
                "{rows} AND at BETWEEN {} AND {}",
                sql_instant(started_us),
                sql_instant(ended_us)
            );
            found.push(Finding {
                kind: Kind::Worse,
                source: source.to_owned(),
                subject: model.to_owned(),
                started_us,
                ended_us,
                interval_us: 0,
                headline: format!(
                    "{source}: {model} is right in {} % of {known} labelled answers since {}; before, in {} %",
                    percent(now),
                    instant(started_us),
                    percent(before)
                ),
                severity: severity(before - now, BETTER_LIMIT),
                confidence: 1.0 - row.number("p")?.unwrap_or(1.0),
                reach: known,
                chart: self.chart(
                    "line",
                    &rows,
                    ("at", "temporal"),
                    ("accuracy", "quantitative"),
                ),
                evidence: vec![self.evidence(within)],
                action: format!("check the answers that {model} got wrong since then, and train a challenger on them"),
                also: Vec::new(),
            });
        }
        Ok(found)
    }

    pub(super) async fn better_models(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT source, model_a, model_b, rows, difference, p_adjusted, better FROM {} WHERE better IS NOT NULL \
             ORDER BY abs(difference) DESC, source, model_a, model_b LIMIT {ROWS_MAX}",
            self.table()
        );
        let until_us = self.gather.until_us - 1;
        let mut found = Vec::new();
        for row in self.rows(&sql).await?.iter() {
            let source = row.text("source")?;
            let (a, b) = (row.text("model_a")?, row.text("model_b")?);
            let (better, other) = if row.text("better")? == a { (a, b) } else { (b, a) };
            let difference = row.number("difference")?.unwrap_or(0.0).abs();
            let condition = only(&[("source", source), ("model_a", a), ("model_b", b)]);
            found.push(Finding {
                kind: Kind::Better,
                source: source.to_owned(),
                subject: format!("{a} and {b}"),
                started_us: until_us,
                ended_us: until_us,
                interval_us: 0,
                headline: format!(
                    "{source}: of the {} rows that both answered, {better} is right more often than {other}, by {} percentage points",
                    row.count("rows")?,
                    number((1_000.0 * difference).round() / 10.0)
                ),
                severity: severity(difference, BETTER_LIMIT),
                confidence: 1.0 - row.number("p_adjusted")?.unwrap_or(1.0),
                reach: row.count("rows")?,
                chart: self.chart(
                    "bar",
                    &only(&[("source", source)]),
                    ("model_b", "nominal"),
                    ("difference", "quantitative"),
                ),
                evidence: vec![self.evidence(condition)],
                action: format!("promote {better}, or find out what {other} lacks"),
                also: Vec::new(),
            });
        }
        Ok(found)
    }
}
