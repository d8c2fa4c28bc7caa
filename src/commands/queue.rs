//! `colonnade queue`: what waits, what is at work, and who works.

use chrono::{DateTime, TimeDelta, Utc};
use engine::Result;
use jobs::{RUNS_LISTED_MAX, RunFilter, RunRecord, RunState};

use super::runs::{ID_SHOWN, workers_lost};
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
            let limit = RUNS_LISTED_MAX;
            let filter = RunFilter { state: Some(state), limit, ..RunFilter::default() };
            let mut found = runner.list(&who, filter).await?;
            found.sort_by_key(turn);
            runs.extend(found);
        }
        let workers = runner.workers().await?;
        if output.is_json() {
            return output.document(&serde_json::json!({ "runs": runs, "workers": workers }));
        }
        let has_priorities = runs.iter().any(|run| run.priority != 0);
        let rows = runs.iter().take(SHOWN).map(|run| row(run, has_priorities));
        let rows: Vec<Vec<String>> = rows.collect();
        match rows.is_empty() {
            true => output.line("nothing waits, and nothing is at work")?,
            false => {
                let mut head = vec!["run", "job", "state", "since (UTC)", "done", "tries"];
                head.extend(has_priorities.then_some("priority"));
                head.push("last error");
                output.line(&columns(&head, &rows))?;
            }
        }
        if runs.len() > SHOWN {
            output.line(&format!("and {} more, which wait", runs.len() - SHOWN))?;
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
            Some(says) => output.line(&format!("\n{says}")),
            None => Ok(()),
        }
    })
    .await
}

/// Which comes before which, of one tenant's: each step of priority is a minute.
fn turn(run: &RunRecord) -> DateTime<Utc> {
    run.requested_at - TimeDelta::minutes(i64::from(run.priority))
}

fn row(run: &RunRecord, has_priorities: bool) -> Vec<String> {
    let since = match run.state {
        RunState::Running => run.started_at,
        _ => Some(run.requested_at),
    };
    let error = run.attempts.last().map(|attempt| one_line(&attempt.error.message));
    let error = error.or_else(|| workers_lost(run));
    let tries = run.attempts.len() + run.workers_lost as usize;
    let mut row = vec![
        run.id.to_string().chars().take(ID_SHOWN).collect(),
        run.job.clone(),
        run.state.to_string(),
        shown(since),
        format!("{:.0}%", run.progress * 100.0),
        (tries + usize::from(run.state == RunState::Running)).to_string(),
    ];
    row.extend(has_priorities.then(|| run.priority.to_string()));
    row.push(error.unwrap_or_default());
    row
}

fn shown(at: Option<DateTime<Utc>>) -> String {
    at.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}
