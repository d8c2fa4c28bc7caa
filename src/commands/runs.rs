//! `colonnade runs`: what ran, newest first, and what to do about it.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use engine::{Code, Engine, Error, Principal, Result, RunId};
use jobs::{
    DatasetVersion, Estimate, LOG_LINES_MAX, LogLine, RUNS_LISTED_MAX, Routine, RunFilter,
    RunRecord, Runner,
};

use super::progress::Drawing;
use super::run::{Work, report, run_to_end};
use super::schedules::with_runner;
use super::{close, open_to_read, open_to_run, stop_signal, words};
use crate::cli::{RunLogs, RunNamed, Runs, RunsCommand};
use crate::config::Settings;
use crate::output::{Output, columns, count, one_line, plain, size};

/// Letters of an id that a list shows: two runs with the same ones were asked for in the same thousandth of a second.
pub(super) const ID_SHOWN: usize = 18;
/// Letters of a whole id.
const ID_LETTERS: usize = 36;
/// Letters of it that may stand for all.
const BEGINNING_MIN: usize = 8;
/// How often a log is looked at for more.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after the end of a run its last lines may come, and after which time all are there.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(4);
const WRITTEN_WITHIN: TimeDelta = TimeDelta::minutes(1);
/// Columns of a terminal below which a list does not say what came of a run.
const CAME_OF_IT_MIN: usize = 40;
/// Errors that are told below a list that has no room for them.
const ERRORS_SHOWN: usize = 5;

/// Prints the run records.
pub async fn runs(arguments: Runs, settings: &Settings, output: &Output) -> Result<()> {
    match arguments.command {
        Some(RunsCommand::Watch(named)) => return watch(&named, settings, output).await,
        Some(RunsCommand::Logs(arguments)) => {
            let engine = open_to_read(settings).await?;
            let shown = logs(&engine, &arguments, settings, output).await;
            return close(&engine, shown).await;
        }
        Some(RunsCommand::Cancel(named)) => return cancel(&named, settings, output).await,
        Some(RunsCommand::Retry(named)) => return retry(&named, settings, output).await,
        Some(RunsCommand::Show(named)) => {
            let engine = open_to_read(settings).await?;
            let shown = show(&engine, &named.run, settings, output).await;
            return close(&engine, shown).await;
        }
        None => {}
    }
    let engine = open_to_read(settings).await?;
    if let Some(id) = &arguments.run {
        let shown = show(&engine, id, settings, output).await;
        return close(&engine, shown).await;
    }
    let filter = RunFilter {
        job: arguments.job.clone(),
        state: arguments.state.as_deref().map(str::parse).transpose()?,
        limit: arguments.limit as usize,
        routine: if arguments.all { Routine::Shown } else { Routine::Hidden },
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
    if let Some(state) = arguments.state.as_ref().filter(|_| records.is_empty()) {
        return output.line(&format!("no run is {state}"));
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
    let mut rows: Vec<Vec<String>> = records.iter().map(row).collect();
    let head = ["run", "job", "state", "asked for (UTC)", "seconds"];
    let room = output.columns().map(|all| {
        let taken = columns(&head, &rows).lines().map(|line| line.chars().count()).max();
        all.saturating_sub(taken.unwrap_or(0) + 2)
    });
    // Where there is no room beside the others it stands below.
    if room.is_some_and(|room| room < CAME_OF_IT_MIN) {
        output.line(&columns(&head, &rows))?;
        let failed = records.iter().filter(|record| record.error.is_some());
        for record in failed.take(ERRORS_SHOWN) {
            let id: String = record.id.to_string().chars().take(ID_SHOWN).collect();
            output.line(&format!("\n{id}  {}", came_of_it(record)))?;
        }
        return Ok(());
    }
    for (row, record) in rows.iter_mut().zip(&records) {
        let says = came_of_it(record);
        row.push(match room {
            Some(room) if says.chars().count() > room => {
                says.chars().take(room - 1).chain(['…']).collect()
            }
            _ => says,
        });
    }
    let head = [&head[..], &["wrote, or error"]].concat();
    output.line(&columns(&head, &rows))
}

/// The run that is meant: by its id, or by how that of one run begins.
pub(super) async fn named(runner: &Runner, who: &Principal, text: &str) -> Result<RunId> {
    if !(BEGINNING_MIN..ID_LETTERS).contains(&text.len()) {
        return text.parse();
    }
    let filter = RunFilter { limit: RUNS_LISTED_MAX, ..RunFilter::default() };
    by_beginning(&runner.list(who, filter).await?, text)
}

/// The same for who has no runner.
pub(super) async fn recorded(engine: &Engine, settings: &Settings, text: &str) -> Result<RunId> {
    if !(BEGINNING_MIN..ID_LETTERS).contains(&text.len()) {
        return text.parse();
    }
    let (who, control) = (settings.principal()?, settings.control());
    let filter = RunFilter { limit: RUNS_LISTED_MAX, ..RunFilter::default() };
    by_beginning(&jobs::recorded_runs(engine, control.as_deref(), &who, &filter).await?, text)
}

fn by_beginning(records: &[RunRecord], text: &str) -> Result<RunId> {
    let mut begin = records.iter().filter(|record| record.id.to_string().starts_with(text));
    match (begin.next(), begin.next()) {
        (Some(run), None) => Ok(run.id),
        (None, _) => Ok(text.parse::<RunId>()?),
        (Some(one), Some(other)) => Err(Error::user(
            Code::BadInput,
            format!(
                "run {text}: expected how the id of one run begins, found {} and {}",
                one.id, other.id
            ),
        )),
    }
}

/// Waits for the end of a run.
async fn watch(named: &RunNamed, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    let watched = with_runner(settings, "colonnade runs watch", async |runner| {
        let id = self::named(runner, &who, &named.run).await?;
        let drawing = Drawing::of_run(runner, Some(id), output);
        let ended = match runner.follow(&who, id).await {
            Ok(run) => tokio::select! {
                ended = run.wait() => ended.map(Some),
                // It is only looked at.
                () = stop_signal() => {
                    output.note(&format!("run {id} goes on"));
                    Ok(None)
                }
            },
            Err(error) => Err(error),
        };
        if let Some(drawing) = drawing {
            drawing.end();
        }
        ended
    })
    .await?;
    watched.map_or(Ok(()), |record| report(&record, output))
}

/// What a run said of itself, and says.
async fn logs(
    engine: &Engine,
    arguments: &RunLogs,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let (who, control) = (settings.principal()?, settings.control());
    let id = recorded(engine, settings, &arguments.run).await?;
    let (mut after, mut ended) = ((0, 0), None);
    loop {
        // Looked at first: what was said before its end is there then.
        let record = jobs::recorded_run(engine, control.as_deref(), &who, id).await?;
        let lines = jobs::run_log(engine, &who, id, after).await?;
        let is_full = lines.len() == LOG_LINES_MAX;
        for line in lines {
            after = (line.attempt, line.line);
            output.line(&match output.is_json() {
                true => serde_json::to_string(&line)
                    .map_err(|e| Error::internal(format!("a line of a log as JSON: {e}")))?,
                false => {
                    let LogLine { at, level, message, .. } = &line;
                    let at = at.format("%Y-%m-%d %H:%M:%S%.3f");
                    format!("{at}  {level:<7}  {}", plain(message))
                }
            })?;
        }
        if is_full {
            continue;
        }
        let is_over = record.state.is_final() && {
            let is_late = record.finished_at.is_none_or(|at| Utc::now() - at > WRITTEN_WITHIN);
            is_late || ended.get_or_insert_with(Instant::now).elapsed() > LAST_LINES_WITHIN
        };
        if is_over || !arguments.follow {
            if after == (0, 0) {
                let says = match &record.error {
                    Some(error) => format!("did not begin: {}: {}", error.code, error.message),
                    None => "has said nothing yet".to_owned(),
                };
                output.note(&plain(&format!("run {id} of {} {says}", record.job)));
            }
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop_signal() => return Ok(()),
        }
    }
}

/// Stops a run.
async fn cancel(named: &RunNamed, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    let record = with_runner(settings, "colonnade runs cancel", async |runner| {
        runner.cancel(&who, self::named(runner, &who, &named.run).await?).await
    })
    .await?;
    let id = record.id;
    match output.is_json() {
        true => output.document(&record),
        false => output.line(&format!("run {id} of {}: {}", record.job, record.state)),
    }
}

/// Does the work of a run again.
async fn retry(named: &RunNamed, settings: &Settings, output: &Output) -> Result<()> {
    let engine = open_to_run(settings, "colonnade runs retry").await?;
    let record = match recorded(&engine, settings, &named.run).await {
        Ok(id) => run_to_end(&engine, settings, Work::Again(id), output).await,
        Err(error) => Err(error),
    };
    let record = close(&engine, record).await?;
    report(&record, output)
}

/// One run in full.
async fn show(engine: &Engine, id: &str, settings: &Settings, output: &Output) -> Result<()> {
    let (who, control) = (settings.principal()?, settings.control());
    let id = recorded(engine, settings, id).await?;
    let record = jobs::recorded_run(engine, control.as_deref(), &who, id).await?;
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
        ("state", record.outcome()),
        ("waits for", record.waits_for.clone().unwrap_or_default()),
        ("asked for by", record.requested_by.clone()),
        ("asked for (UTC)", at(Some(record.requested_at))),
        ("began", at(record.started_at)),
        ("ended", at(record.finished_at)),
        ("read", versions(&record.inputs)),
        ("wrote", versions(&record.outputs)),
    ];
    lines.extend(record.estimate.map(|estimate| ("thought to need", needs(&estimate, &record))));
    lines.extend(record.deadline_at.map(|by| ("to end by", at(Some(by)))));
    lines.extend(record.schedule.as_ref().map(|of| ("schedule", of.clone())));
    lines.extend(record.logical_time.as_ref().map(|at| ("for the time", at.clone())));
    lines.extend(workers_lost(&record).map(|says| ("taken over", says)));
    lines.extend(record.next_attempt_at.map(|next| ("tried again", at(Some(next)))));
    lines.extend(record.attempts.iter().map(|attempt| {
        let error = &attempt.error;
        let says = one_line(&error.message);
        ("tried", format!("{}: {}: {says}", at(Some(attempt.started_at)), error.code))
    }));
    lines.extend(record.as_it_was.map(|of| ("as it was", of.to_string())));
    lines.extend(
        record.error.as_ref().map(|e| ("error", plain(&format!("{}: {}", e.code, e.message)))),
    );
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

/// How often a run was taken over, if it was.
pub(super) fn workers_lost(record: &RunRecord) -> Option<String> {
    let times = record.workers_lost;
    (times > 0).then(|| format!("the process ended that was at it, {times} times"))
}

/// What a run was thought to need, beside what it took.
fn needs(estimate: &Estimate, record: &RunRecord) -> String {
    let mut says = format!("{} rows, {}", count(estimate.rows), size(estimate.memory_bytes));
    if estimate.device_bytes > 0 {
        says.push_str(&format!(", {} of a GPU", size(estimate.device_bytes)));
    }
    if let Some(seconds) = estimate.seconds {
        says.push_str(&format!(", {seconds:.1} s"));
    }
    if let (Some(from), Some(to)) = (record.started_at, record.finished_at) {
        let peak = record.stages.iter().map(|stage| stage.peak_memory_bytes).max().unwrap_or(0);
        let took = (to - from).as_seconds_f64();
        says.push_str(&format!("; took {took:.1} s, the process at most {}", size(peak)));
    }
    says
}

fn row(record: &RunRecord) -> Vec<String> {
    let seconds = match (record.started_at, record.finished_at) {
        (Some(from), Some(to)) => format!("{:.1}", (to - from).as_seconds_f64()),
        _ => String::new(),
    };
    vec![
        record.id.to_string().chars().take(ID_SHOWN).collect(),
        record.job.clone(),
        match record.nothing_written() {
            Some(_) => "unchanged".to_owned(),
            None => record.state.to_string(),
        },
        record.requested_at.format("%Y-%m-%d %H:%M").to_string(),
        seconds,
    ]
}

/// What a run committed, or why it did not.
fn came_of_it(record: &RunRecord) -> String {
    if let Some(error) = &record.error {
        return one_line(&format!("{}: {}", error.code, error.message));
    }
    if record.nothing_written().is_some() {
        return record.outcome();
    }
    let wrote = record.outputs.iter().map(|o| {
        let rows = o.rows.map_or_else(|| "?".to_owned(), count);
        format!("{}@{} ({rows})", o.dataset, o.version)
    });
    wrote.collect::<Vec<_>>().join(", ")
}
