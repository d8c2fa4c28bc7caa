//! `colonnade export`: rows become files that others read, and say what they hold.

use engine::{Code, Error, Result, verify_export};
use jobs::{RunRequest, RunState};
use serde_json::{Value, json};

use super::run::{Work, report, run_to_end, succeeded};
use super::{close, open_to_run, pins};
use crate::cli::{Export, ExportCommand, VerifyExport};
use crate::config::Settings;
use crate::output::{Output, count};

/// Exports, or verifies what was exported.
pub async fn export(arguments: Export, settings: &Settings, output: &Output) -> Result<()> {
    if let Some(ExportCommand::Verify(arguments)) = arguments.command {
        return verify(arguments, output).await;
    }
    let to = place(arguments.to.as_deref().unwrap_or_default())?;
    let request = RunRequest {
        job: "export".to_owned(),
        params: json!({
            "dataset": arguments.dataset,
            "sql": arguments.sql,
            "where": arguments.condition,
            "columns": arguments.columns,
            "group_by": arguments.group_by,
            "measures": arguments.measures,
            "since": arguments.since,
            "partition_by": arguments.partition_by,
            "to": to,
            "format": arguments.format,
            "packing": arguments.packing,
            "escape_formulas": arguments.escape_formulas,
            "file_rows": arguments.file_rows,
            "overwrite": arguments.overwrite,
        }),
        pins: pins(&named(&arguments))?,
        ..RunRequest::default()
    };
    let engine = open_to_run(settings, "colonnade export").await?;
    let work = Work::New(Box::new(request));
    let record = run_to_end(&engine, settings, work, output).await;
    let record = close(&engine, record).await?;
    if output.is_json() {
        return report(&record, output);
    }
    let code = record.error.as_ref().map(|error| error.code.as_str());
    let was_refused = [Code::BadInput, Code::Conflict, Code::NotFound].map(Code::as_str);
    if record.state != RunState::Succeeded && code.is_none_or(|code| !was_refused.contains(&code)) {
        output.note("what is written stays: the same export goes on with it");
    }
    let record = succeeded(record)?;
    let number = |name: &str| record.summary.get(name).and_then(Value::as_u64).unwrap_or_default();
    let versions: Vec<String> = (record.inputs.iter())
        .map(|input| format!("{} at version {}", input.dataset, input.version))
        .collect();
    output.line(&format!(
        "{} of {}: {}, {} bytes, in {to}",
        rows(number("rows")),
        if versions.is_empty() { "a query".to_owned() } else { versions.join(", ") },
        match number("files") {
            1 => "1 file".to_owned(),
            files => format!("{} files", count(files)),
        },
        count(number("bytes")),
    ))
}

async fn verify(arguments: VerifyExport, output: &Output) -> Result<()> {
    let manifest = verify_export(&arguments.at).await?;
    if output.is_json() {
        return output.document(&manifest);
    }
    let files = match manifest.files.len() {
        1 => "1 file has".to_owned(),
        files => format!("{} files have", count(files as u64)),
    };
    output.line(&format!("whole: {files} what was written, {}", rows(manifest.rows)))
}

fn rows(rows: u64) -> String {
    match rows {
        1 => "1 row".to_owned(),
        rows => format!("{} rows", count(rows)),
    }
}

/// A folder by its whole path: whoever does the work may stand elsewhere.
fn place(to: &str) -> Result<String> {
    if to.contains("://") {
        return Ok(to.to_owned());
    }
    let whole = std::path::absolute(to);
    let whole = whole.map_err(|error| {
        Error::environment(Code::BadInput, format!("--to {to:?}: this is no path"), error)
    })?;
    Ok(whole.to_string_lossy().into_owned())
}

/// `--as-of` with the dataset's name, where there is one and it was left out.
fn named(arguments: &Export) -> Vec<String> {
    let with_name = |text: &String| match &arguments.dataset {
        Some(dataset) if !text.contains('@') => format!("{dataset}@{text}"),
        _ => text.clone(),
    };
    arguments.as_of.iter().map(with_name).collect()
}
