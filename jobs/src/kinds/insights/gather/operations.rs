//! What is so of models and agents: inputs and outputs that drift, ways to route requests that save, agents that are better.

use engine::Result;

use super::super::finding::{Finding, Kind, only};
use super::{From, ROWS_MAX, sql_instant};
use crate::series::words::{instant, number, severity};

/// Part of the cost that a policy saves for sure, from which on its severity counts.
const SAVING_LIMIT: f64 = 0.05;
/// By how much one agent succeeds more often, from which on its severity counts.
pub(super) const BETTER_LIMIT: f64 = 0.02;

impl From<'_> {
    pub(super) async fn drifts(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT source, subject, column_name, started_at, ended_at, periods, state, severity, false_alarms, before, after FROM {} WHERE {} \
             ORDER BY severity DESC, source, subject, column_name, started_at LIMIT {ROWS_MAX}",
            self.table(),
            self.within("ended_at"),
        );
        let mut found = Vec::new();
        for row in self.rows(&sql).await?.iter() {
            let (source, subject, column) =
                (row.text("source")?, row.text("subject")?, row.text("column_name")?);
            let of = if subject.is_empty() { String::new() } else { format!(" of {subject}") };
            let rows = only(&[("source", source), ("subject", subject), ("column_name", column)]);
            let started_us = row.instant("started_at")?;
            let since = sql_instant(started_us);
            let condition = format!("{rows} AND started_at = {since}");
            let periods = match row.count("periods")? {
                1 => "1 period".to_owned(),
                periods => format!("{periods} periods"),
            };
            let is_still = match row.text("state")? {
                "open" => " so far",
                "usual" => " and is the new reference",
                _ => "",
            };
            found.push(Finding {
                kind: Kind::Drift,
                source: source.to_owned(),
                subject: format!("{column}{of}"),
                started_us,
                ended_us: row.instant("ended_at")?,
                interval_us: 0,
                headline: format!(
                    "{source}: {column}{of} has drifted since {}, for {periods}{is_still}; in the most different one: {}; in the reference: {}",
                    instant(started_us),
                    row.text("after")?,
                    row.text("before")?
                ),
                severity: row.number("severity")?.unwrap_or(0.0),
                confidence: 1.0 - row.number("false_alarms")?.unwrap_or(1.0).min(0.5),
                reach: row.count("periods")?,
                chart: self.chart(
                    "bar",
                    &rows,
                    ("started_at", "temporal"),
                    ("severity", "quantitative"),
                ),
                evidence: vec![self.evidence(condition)],
                action: format!("find out why {column} differs since then; if that is intended, train on the new rows"),
                also: Vec::new(),
            });
        }
        Ok(found)
    }

    pub(super) async fn savings(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT source, policy, requests, routed, saving, saving_lower, saving_upper, loss, loss_upper, confidence FROM {} WHERE recommended \
             ORDER BY source, policy LIMIT {ROWS_MAX}",
            self.table()
        );
        let until_us = self.gather.until_us - 1;
        let mut found = Vec::new();
        for row in self.rows(&sql).await?.iter() {
            let (source, policy) = (row.text("source")?, row.text("policy")?);
            let part = |name: &str| Ok::<_, engine::Error>(row.number(name)?.unwrap_or(0.0));
            let percent = |of: f64| number(100.0 * of);
            let condition = only(&[("source", source), ("policy", policy)]);
            found.push(Finding {
                kind: Kind::Saving,
                source: source.to_owned(),
                subject: format!("routing of {source}"),
                started_us: until_us,
                ended_us: until_us,
                interval_us: 0,
                headline: format!(
                    "{source}: routed by {policy:?}, {} requests would have cost {} % less ({} to {} %), with answers worse by no more than {} percentage points",
                    row.count("requests")?,
                    percent(part("saving")?),
                    percent(part("saving_lower")?),
                    percent(part("saving_upper")?),
                    percent(part("loss_upper")?.max(0.0))
                ),
                severity: severity(part("saving_lower")?, SAVING_LIMIT),
                confidence: part("confidence")?,
                reach: row.count("routed")?,
                chart: self.chart(
                    "point",
                    &only(&[("source", source)]),
                    ("cost", "quantitative"),
                    ("quality", "quantitative"),
                ),
                evidence: vec![self.evidence(condition)],
                action: format!("route as routing_rules says of {policy:?}, at first a part of the requests, and run routing again"),
                also: Vec::new(),
            });
        }
        Ok(found)
    }

    pub(super) async fn comparisons(&self) -> Result<Vec<Finding>> {
        let sql = format!(
            "SELECT source, agent_a, version_a, agent_b, version_b, tasks_a, tasks_b, difference, p_adjusted, better FROM {} \
             WHERE measure = 'success' AND better IS NOT NULL ORDER BY abs(difference) DESC, source, agent_a, version_a, agent_b, version_b LIMIT {ROWS_MAX}",
            self.table()
        );
        let until_us = self.gather.until_us - 1;
        let mut found = Vec::new();
        for row in self.rows(&sql).await?.iter() {
            let source = row.text("source")?;
            let named = |agent: &str, version: &str| {
                let (agent, version) = (row.text(agent)?, row.text(version)?);
                let of = if version.is_empty() { String::new() } else { format!(" {version}") };
                Ok::<_, engine::Error>(format!("{agent}{of}"))
            };
            let (a, b) = (named("agent_a", "version_a")?, named("agent_b", "version_b")?);
            let (better, other) = if row.text("better")? == "a" { (&a, &b) } else { (&b, &a) };
            let difference = row.number("difference")?.unwrap_or(0.0).abs();
            let tasks = row.count("tasks_a")?.saturating_add(row.count("tasks_b")?);
            let condition = only(&[
                ("source", source),
                ("measure", "success"),
                ("agent_a", row.text("agent_a")?),
                ("version_a", row.text("version_a")?),
                ("agent_b", row.text("agent_b")?),
                ("version_b", row.text("version_b")?),
            ]);
            found.push(Finding {
                kind: Kind::Better,
                source: source.to_owned(),
                subject: format!("{a} and {b}"),
                started_us: until_us,
                ended_us: until_us,
                interval_us: 0,
                headline: format!(
                    "{source}: {better} succeeds more often than {other}, by {} percentage points",
                    number(100.0 * difference)
                ),
                severity: severity(difference, BETTER_LIMIT),
                confidence: 1.0 - row.number("p_adjusted")?.unwrap_or(1.0),
                reach: tasks,
                chart: self.chart(
                    "bar",
                    &only(&[("source", source), ("measure", "success")]),
                    ("agent_b", "nominal"),
                    ("difference", "quantitative"),
                ),
                evidence: vec![self.evidence(condition)],
                action: format!("give {other}'s tasks to {better}, or find out what {other} lacks"),
                also: Vec::new(),
            });
        }
        Ok(found)
    }
}
