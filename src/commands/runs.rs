//! `colonnade runs`: what ran, newest first.

use engine::Result;
use jobs::{RunFilter, RunRecord};

use super::{close, open_to_read};
use crate::cli::Runs;
use crate::config::Settings;
use crate::output::{Output, columns, count};

/// Prints the run records.
pub async fn runs(arguments: Runs, settings: &Settings, output: &Output) -> Result<()> {
    let engine = open_to_read(settings).await?;
    let filter =
        RunFilter { job: arguments.job, limit: arguments.limit as usize, ..RunFilter::default() };
    let records = match settings.principal() {
        Ok(who) => jobs::recorded_runs(&engine, &who, &filter).await,
        Err(e) => Err(e),
    };
    let records = close(&engine, records).await?;
    if output.is_json() {
        return output.document(&records);
    }
    if records.is_empty() {
        return output.line("no runs yet; `colonnade run JOB` makes one");
    }
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    output.line(&columns(
        &["run", "job", "state", "asked for (UTC)", "seconds", "wrote", "error"],
        &rows,
    ))
}

fn row(record: &RunRecord) -> Vec<String> {
    let seconds = match (record.started_at, record.finished_at) {
        (Some(from), Some(to)) => format!("{:.1}", (to - from).as_seconds_f64()),
        _ => String::new(),
    };
    let wrote: Vec<String> = record
        .outputs
        .iter()
        .map(|o| {
            format!(
                "{}@{} ({})",
                o.dataset,
                o.version,
                o.rows.map_or_else(|| "?".to_owned(), count)
            )
        })
        .collect();
    vec![
        record.id.to_string(),
        record.job.clone(),
        record.state.to_string(),
        record.requested_at.format("%Y-%m-%d %H:%M:%S").to_string(),
        seconds,
        wrote.join(", "),
        record.error.as_ref().map(|e| format!("{}: {}", e.code, e.message)).unwrap_or_default(),
    ]
}
