//! What matters of what all jobs found, ranked, as one dataset: each finding once, on the day on which it is new.
//!
//! 1. [`gather`]: findings of all kinds in one form, with their evidence.
//! 2. [`rank::merged`]: what several jobs say of one subject at one time is one.
//! 3. [`rank::ranked`]: what was said before or was called known or wrong is left out; the rest has a score, whose formula is stated
//!    there.
//!
//! The rows of the day take the place of those that a run on the same day made; those of other days stay.
//!
//! Cost: reads the findings of the days that are looked at, and all insights that were said before. Memory: both.

mod finding;
mod gather;
#[cfg(test)]
mod operations_tests;
mod output;
mod params;
mod rank;
mod rows;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use chrono::{Days, NaiveDate, NaiveTime};
use datafusion::scalar::ScalarValue;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session, WriteMode};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::insight_feedback::{self, Verdict};
use crate::job::{Job, Outcome};
use crate::parameters::{self, bad};
use crate::run::context::RunContext;
use gather::Gather;
pub use params::Params;
use rank::{Insight, Limits, Said, Unsaid, merged, ranked};
use rows::Rows;

/// The kind's name, and that of its output unless told otherwise.
const NAME: &str = "insights";
/// Memory of a finding in all steps: a guess for the estimate only.
const FINDING_BYTES: usize = 2_048;
/// Insights of earlier days that are looked at, the newest first.
const SAID_MAX: usize = 500_000;

/// The job kind.
pub struct Insights;

impl Insights {
    fn params(params: &Value) -> Result<Params> {
        let params: Params = parameters::read(NAME, params)?;
        params.check()?;
        Ok(params)
    }
}

impl Job for Insights {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "ranks what all jobs found, and says what is new and matters, once each"
    }

    fn revision(&self) -> u32 {
        2
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Self::params(params).map(|_| Vec::new())
    }

    fn reads_where_there(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let mut all: Vec<DatasetName> = Self::params(params)?.sources().cloned().collect();
        all.push(insight_feedback::spec().name);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        let params = Self::params(params)?;
        Ok(vec![output::spec(params.output), output::digest_spec(params.digests)])
    }

    fn row_bytes(&self) -> usize {
        FINDING_BYTES
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let day = params.day.unwrap_or_else(|| ctx.now().date_naive());
            let [since_us, until_us] = days(&params, day)?;
            let mut said = said(ctx, &params, day).await?;
            let since_us = (!said.is_empty()).then_some(since_us);
            let mut stage = ctx.stage("gather");
            let gather = Gather { ctx, params: &params, since_us, until_us };
            let (findings, datasets) = gather.all().await?;
            if datasets == 0 {
                return Err(nothing_to_read(&params));
            }
            let found = findings.len();
            stage.record.rows_out = found as u64;
            stage.finish();
            let mut stage = ctx.stage("rank");
            let verdicts = verdicts(ctx.session(), ctx, &mut said).await?;
            stage.record.rows_in = (found + said.len()) as u64;
            let limits = Limits { score_min: params.min_score, insights_max: params.insights_max };
            let findings = merged(findings);
            let of = findings.len();
            let (insights, unsaid) = ranked(findings, &said, &verdicts, limits);
            stage.record.rows_out = insights.len() as u64;
            stage.finish();
            commit(ctx, &params, day, &insights).await?;
            Ok(Outcome { summary: summary(day, datasets, (found, of), &insights, unsaid) })
        })
    }
}

/// The first instant of the days that are looked at, and the first behind them.
fn days(params: &Params, day: NaiveDate) -> Result<[i64; 2]> {
    let from = day.checked_sub_days(Days::new(u64::from(params.days) - 1));
    let until = day.checked_add_days(Days::new(1));
    let (Some(from), Some(until)) = (from, until) else {
        return Err(bad(
            NAME,
            "day",
            format!("expected a day within what can be computed with, found {day}"),
        ));
    };
    let begins = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
    Ok([begins(from), begins(until)])
}

fn nothing_to_read(params: &Params) -> Error {
    let names: Vec<&str> = params.sources().map(DatasetName::as_str).collect();
    let says = format!(
        "{NAME}: none of {} is there; expected a run of another job before, such as `colonnade run anomalies`",
        names.join(", ")
    );
    Error::user(Code::NotFound, says)
}

/// What was said on earlier days.
async fn said(ctx: &RunContext, params: &Params, day: NaiveDate) -> Result<Vec<Said>> {
    let session = ctx.present().await?;
    if !session.catalog().has(&params.output)? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT id, kind, source, subject, started_at, ended_at, severity, day, coalesce(first_said_on, day) AS first_on FROM \"{}\" \
         WHERE day < DATE '{day}' ORDER BY day DESC, rank LIMIT {SAID_MAX}",
        params.output
    );
    let recent_us = day.and_time(NaiveTime::MIN).and_utc().timestamp_micros()
        - i64::from(params.novelty_days) * 86_400_000_000;
    let rows = Rows::of(session, &sql).await?;
    let mut said = Vec::new();
    for row in rows.iter() {
        let Some(kind) = finding::Kind::named(row.text("kind")?) else { continue };
        said.push(Said {
            id: row.text("id")?.to_owned(),
            kind,
            source: row.text("source")?.to_owned(),
            subject: row.text("subject")?.to_owned(),
            started_us: row.instant("started_at")?,
            ended_us: row.instant("ended_at")?,
            severity: row.number("severity")?.unwrap_or(0.0),
            first_us: row.instant("first_on")?,
            is_earlier: true,
            is_recent: row.instant("day")? >= recent_us,
        });
    }
    Ok(said)
}

/// The last word on each insight. What it is about is added to what was said: an insight of this day may be gone by now.
async fn verdicts(
    session: &Session,
    ctx: &RunContext,
    said: &mut Vec<Said>,
) -> Result<HashMap<String, Verdict>> {
    let name = insight_feedback::spec().name;
    if ctx.inputs().iter().all(|input| input.dataset != name) {
        return Ok(HashMap::new());
    }
    // Words of an older form do not say what they are about.
    let says_it = session.table(&name).await?.schema().has_column_with_unqualified_name("kind");
    let about = if says_it { ", kind, source, subject, started_at, ended_at" } else { "" };
    let sql = format!("SELECT id, verdict{about} FROM \"{name}\" ORDER BY at");
    let rows = Rows::of(session, &sql).await?;
    let mut verdicts = HashMap::new();
    let mut known: HashSet<String> = said.iter().map(|said| said.id.clone()).collect();
    for row in rows.iter() {
        let id = row.text("id")?.to_owned();
        verdicts.insert(id.clone(), row.text("verdict")?.parse()?);
        let kind = if says_it { finding::Kind::named(row.text("kind")?) } else { None };
        let Some(kind) = kind.filter(|_| known.insert(id.clone())) else { continue };
        said.push(Said {
            id,
            kind,
            source: row.text("source")?.to_owned(),
            subject: row.text("subject")?.to_owned(),
            started_us: row.instant("started_at")?,
            ended_us: row.instant("ended_at")?,
            severity: 0.0,
            first_us: 0,
            is_earlier: false,
            is_recent: false,
        });
    }
    Ok(verdicts)
}

async fn commit(ctx: &RunContext, params: &Params, day: NaiveDate, of: &[Insight]) -> Result<()> {
    let of_day = || {
        let value = ScalarValue::Date32(Some(output::days(day)));
        WriteMode::ReplacePartitions(vec![("day".to_owned(), value)])
    };
    let spec = output::spec(params.output.clone());
    let batch = output::batch(&spec, day, of)?;
    ctx.commit(spec, of_day(), vec![batch]).await?;
    let spec = output::digest_spec(params.digests.clone());
    let batch = output::digest(&spec, day, of)?;
    ctx.commit(spec, of_day(), vec![batch]).await
}

fn summary(
    day: NaiveDate,
    datasets: usize,
    (found, merged): (usize, usize),
    insights: &[Insight],
    unsaid: Unsaid,
) -> Value {
    json!({
        "day": day,
        "datasets": datasets,
        "findings": found,
        "merged": merged,
        "insights": insights.len(),
        "by_kind": output::by_kind(insights),
        "said_before": unsaid.known,
        "dismissed": unsaid.dismissed,
        "below_min_score": unsaid.weak,
        "beyond_insights_max": unsaid.too_many,
    })
}
