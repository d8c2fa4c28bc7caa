//! `colonnade lineage`: what a dataset or model came from, and what came of it.

use engine::Result;
use jobs::LineageKind;

use super::schedules::with_runner;
use crate::cli::Lineage;
use crate::config::Settings;
use crate::output::{Output, columns, count};

/// Prints it, a line for each job.
pub async fn lineage(arguments: Lineage, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    let lineage = with_runner(settings, "colonnade lineage", async |runner| {
        runner.lineage(&who, arguments.of.as_deref()).await
    })
    .await?;
    if output.is_json() {
        return output.document(&lineage);
    }
    let named = |id: &str| {
        let (kind, name) = id.split_once(':').unwrap_or(("", id));
        match kind {
            "model" => format!("model {name}"),
            _ => name.to_owned(),
        }
    };
    let jobs = lineage.nodes.iter().filter(|node| node.kind == LineageKind::Job);
    let rows: Vec<Vec<String>> = jobs
        .map(|job| {
            let version =
                |version: Option<u64>| version.map(|v| format!("@{v}")).unwrap_or_default();
            let read = lineage.edges.iter().filter(|edge| edge.to == job.id);
            let read: Vec<String> =
                read.map(|edge| named(&edge.from) + &version(edge.version)).collect();
            let made = lineage.edges.iter().filter(|edge| edge.from == job.id);
            let made: Vec<String> =
                made.map(|edge| named(&edge.to) + &version(edge.version)).collect();
            vec![job.name.clone(), count(job.runs), read.join(", "), made.join(", ")]
        })
        .collect();
    match rows.is_empty() {
        true => output.line("nothing was made yet; `colonnade run JOB` makes something"),
        false => output.line(&columns(&["job", "runs", "read", "made"], &rows)),
    }
}
