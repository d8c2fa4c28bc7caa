//! `colonnade runs`: what ran, newest first.

use chrono::{DateTime, Utc};
use engine::{Engine, Result, RunId};
use jobs::{DatasetVersion, RunFilter, RunRecord};

use super::{close, open_to_read, words};
use crate::cli::Runs;
use crate::config::Settings;
use crate::output::{Output, columns, count};

/// Prints the run records.
pub async fn runs(arguments: Runs, settings: &Settings, output: &Output) -> Result<()> {
    let engine = open_to_read(settings).await?;
    if let Some(id) = &arguments.run {
        let shown = show(&engine, id, settings, output).await;
        return close(&engine, shown).await;
    }
    let filter = RunFilter {
        job: arguments.job.clone(),
        limit: arguments.limit as usize,
        ..RunFilter::default()
    };
    let records = match settings.principal() {
        Ok(who) => jobs::recorded_runs(&engine, settings.control().as_deref(), &who, &filter).await,
        Err(e) => Err(e),
    };
    let records = close(&engine, records).await?;
    if output.is_json() {
        return output.document(&records);
    }
    match &arguments.job {
        // One that there is no more may have run.
        Some(job) if records.is_empty() => {
            jobs::kind(job)?;
            return output.line(&format!("no run of {job} yet; `colonnade run {job}` makes one"));
        }
        None if records.is_empty() => {
            return output.line("no runs yet; `colonnade run JOB` makes one");
        }
        _ => {}
    }
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    output.line(&columns(
        &["run", "job", "state", "asked for (UTC)", "seconds", "wrote", "error"],
        &rows,
    ))
}

/// One run in full.
async fn show(engine: &Engine, id: &str, settings: &Settings, output: &Output) -> Result<()> {
    let id: RunId = id.parse()?;
    let control = settings.control();
    let record = jobs::recorded_run(engine, control.as_deref(), &settings.principal()?, id).await?;
    if output.is_json() {
        return output.document(&record);
    }
    let at = |at: Option<DateTime<Utc>>| {
        at.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
    };
    let versions = |all: &[DatasetVersion]| {
        let all = all.iter().map(|of| format!("{}@{}", of.dataset, of.version));
        all.collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![
        ("run", record.id.to_string()),
        ("job", record.job.clone()),
        ("state", record.state.to_string()),
        ("asked for by", record.requested_by.clone()),
        ("asked for (UTC)", at(Some(record.requested_at))),
        ("began", at(record.started_at)),
        ("ended", at(record.finished_at)),
        ("read", versions(&record.inputs)),
        ("wrote", versions(&record.outputs)),
    ];
    lines.extend(record.repeated_of.map(|of| ("repeated from", of.to_string())));
    lines.extend(record.error.as_ref().map(|e| ("error", format!("{}: {}", e.code, e.message))));
    lines.retain(|(_, text)| !text.is_empty());
    let lines: Vec<Vec<String>> =
        lines.into_iter().map(|(name, text)| vec![name.to_owned(), text]).collect();
    output.line(&columns(&["", ""], &lines))?;
    let stages: Vec<Vec<String>> = record
        .stages
        .iter()
        .map(|s| {
            let seconds = format!("{:.3}", s.wall_seconds);
            vec![s.name.clone(), s.device.clone(), seconds, count(s.rows_in), count(s.rows_out)]
        })
        .collect();
    for (head, rows) in [
        (&["parameter", "value"][..], words::result(&record.params)),
        (&["stage", "device", "seconds", "rows in", "rows out"], stages),
        (&["result", ""], words::result(&record.summary)),
    ] {
        if !rows.is_empty() {
            output.line(&format!("\n{}", columns(head, &rows)))?;
        }
    }
    Ok(())
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
