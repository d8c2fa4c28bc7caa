//! `colonnade queue`: what waits, what is at work, and who works.

use chrono::{DateTime, Utc};
use engine::Result;
use jobs::{RunFilter, RunRecord, RunState};

use super::schedules::with_runner;
use crate::config::Settings;
use crate::output::{Output, columns, count, one_line};

/// Runs of each state that are shown.
const SHOWN: usize = 50;

/// Prints the open runs and the workers.
pub async fn queue(settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    with_runner(settings, "colonnade queue", async |runner| {
        let mut runs = Vec::new();
        for state in [RunState::Running, RunState::Queued] {
            let filter = RunFilter { state: Some(state), limit: SHOWN, ..RunFilter::default() };
            runs.extend(runner.list(&who, filter).await?);
        }
        let workers = runner.workers().await?;
        if output.is_json() {
            return output.document(&serde_json::json!({ "runs": runs, "workers": workers }));
        }
        let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
        match rows.is_empty() {
            true => output.line("nothing waits, and nothing is at work")?,
            false => output.line(&columns(
                &["run", "job", "state", "since (UTC)", "done", "tries", "last error"],
                &rows,
            ))?,
        }
        let rows: Vec<Vec<String>> = workers
            .iter()
            .map(|worker| {
                let takes = worker.runs_max.map_or_else(|| "own".to_owned(), count);
                vec![worker.label.clone(), takes, shown(Some(worker.started_at))]
            })
            .collect();
        match rows.is_empty() {
            true => {
                output.line("\nnobody works here; `colonnade serve` and `colonnade worker` do")?
            }
            false => {
                output.line(&format!("\n{}", columns(&["worker", "runs", "since (UTC)"], &rows)))?
            }
        }
        match runs.iter().find_map(|run| run.waits_for.as_deref()) {
            Some(says) => output.line(&format!("\n{says}; `colonnade worker` is one")),
            None => Ok(()),
        }
    })
    .await
}

fn row(run: &RunRecord) -> Vec<String> {
    let since = match run.state {
        RunState::Running => run.started_at,
        _ => Some(run.requested_at),
    };
    let error = run.attempts.last().map(|attempt| one_line(&attempt.error.message));
    vec![
        run.id.to_string(),
        run.job.clone(),
        run.state.to_string(),
        shown(since),
        format!("{:.0}%", run.progress * 100.0),
        (run.attempts.len() + usize::from(run.state == RunState::Running)).to_string(),
        error.unwrap_or_default(),
    ]
}

fn shown(at: Option<DateTime<Utc>>) -> String {
    at.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}
