//! `colonnade insights`: what matters, and what a person says of it.

use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::util::display::array_value_to_string;
use chrono::NaiveDate;
use datasets::DatasetName;
use engine::{Error, Principal, Result, Session};
use jobs::insight_feedback::{self, Verdict};
use serde_json::{Value, json};

use super::{close, open_to_read, open_to_write};
use crate::cli::{Insights, InsightsCommand};
use crate::config::Settings;
use crate::output::{Output, plain};

/// Shows those of a day, or takes a word on one.
pub async fn insights(arguments: Insights, settings: &Settings, output: &Output) -> Result<()> {
    let dataset = DatasetName::new(&arguments.dataset)?;
    let who = settings.principal()?;
    if let Some(InsightsCommand::Rate { id, verdict, comment }) = &arguments.command {
        let verdict: Verdict = verdict.parse()?;
        let engine = open_to_write(settings, "colonnade insights").await?;
        let rated =
            insight_feedback::rate(&engine, &who, &dataset, id, verdict, comment.as_deref()).await;
        let commit = close(&engine, rated).await?;
        return match output.is_json() {
            true => output.document(&json!({
                "id": id, "verdict": verdict.as_str(), "dataset": commit.dataset.as_str(), "version": commit.version.0,
            })),
            false => output.line(&format!("insight {id}: {verdict}; the next run of the job insights minds it")),
        };
    }
    let engine = open_to_read(settings).await?;
    let read = read(&engine, &who, &dataset, &arguments).await;
    let Some((day, all)) = close(&engine, read).await? else {
        return match output.is_json() {
            true => output.document(&json!({ "day": arguments.day, "insights": [] })),
            false => output.line(&none(arguments.day)),
        };
    };
    if output.is_json() {
        return output.document(&json!({ "day": day, "insights": all }));
    }
    output.line(&format!("{day}\n"))?;
    for one in &all {
        let text = |name: &str| plain(one[name].as_str().unwrap_or_default());
        let score = one["score"].as_f64().unwrap_or_default();
        output.line(&format!("{:>3}  {score:>3.0}  {}", one["rank"], text("headline")))?;
        output.line(&format!("          {}; {}, {}", text("action"), text("kind"), text("id")))?;
    }
    Ok(())
}

fn none(day: Option<NaiveDate>) -> String {
    match day {
        Some(day) => format!("no insights of {day}"),
        None => {
            "no insights: nothing that matters was found, or `colonnade run insights` was not run since something was"
                .to_owned()
        }
    }
}

/// The day and its insights; none where there are none.
async fn read(
    engine: &engine::Engine,
    who: &Principal,
    dataset: &DatasetName,
    asked: &Insights,
) -> Result<Option<(String, Vec<Value>)>> {
    let session = engine.session(who, &[]).await?;
    if !session.catalog().has(dataset)? {
        return Ok(None);
    }
    let of_day = match asked.day {
        Some(day) => format!("DATE '{day}'"),
        None => format!("(SELECT max(day) FROM \"{dataset}\")"),
    };
    let sql = format!(
        "SELECT day, rank, id, kind, source, subject, headline, score, severity, confidence, novelty, reach, started_at, ended_at, action, \
         evidence FROM \"{dataset}\" WHERE day = {of_day} ORDER BY rank LIMIT {}",
        asked.first
    );
    let all = rows(&session, &sql).await?;
    let day = all.first().and_then(|one| one["day"].as_str()).map(str::to_owned);
    Ok(day.map(|day| (day, all)))
}

pub(super) async fn rows(session: &Session, sql: &str) -> Result<Vec<Value>> {
    let batches = session.collect(session.sql(sql).await?).await?;
    let mut all = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            all.push(object(batch, row)?);
        }
    }
    Ok(all)
}

fn object(batch: &RecordBatch, row: usize) -> Result<Value> {
    let mut object = serde_json::Map::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let value = if column.is_null(row) {
            Value::Null
        } else if let Some(numbers) = column.as_primitive_opt::<Float64Type>() {
            json!(numbers.value(row))
        } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
            json!(numbers.value(row))
        } else {
            let text = array_value_to_string(column, row)
                .map_err(|e| Error::internal(format!("insights: {e}")))?;
            match field.name().as_str() {
                "evidence" => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                _ => Value::String(text),
            }
        };
        object.insert(field.name().clone(), value);
    }
    Ok(Value::Object(object))
}
