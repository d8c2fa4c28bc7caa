//! The `run_logs` dataset: what runs say of themselves while they are at work, so that it can be read, filtered and subscribed to like
//! anything else. Lines of all runs of a tenant are gathered for [`GATHER`] and written together; what a process that is killed had
//! gathered and not written is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use datafusion::prelude::{ident, lit};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{
    AsOf, Code, CommitLabel, Engine, Principal, Result, Role, RunId, TenantId, WriteMode,
};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::parameters::dataset_name;
use crate::run::record::{RunRecord, RunState, now};
use crate::tables::columns::{texts, timestamps};

/// The name of the dataset that holds the lines.
pub const RUN_LOGS: &str = "run_logs";

/// Lines that one call reads.
pub const LOG_LINES_MAX: usize = 1_000;

/// How long lines wait for others.
const GATHER: Duration = Duration::from_secs(2);
/// Lines of one attempt that are kept, beside those of its beginning and end.
const LINES_MAX: i64 = 10_000;
/// Bytes of one line that are kept.
const LINE_MAX_BYTES: usize = 4_096;
/// Lines of a tenant that wait to be written; while the store does not take any, later ones are lost.
const WAITING_MAX: usize = 20_000;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The spec of the `run_logs` dataset.
pub(crate) fn logs_spec() -> Result<DatasetSpec> {
    use ColumnType::{Int32, Int64, Text, Timestamp};
    let column = |name: &str, data_type, about: &str| ColumnSpec {
        name: name.into(),
        data_type,
        nullable: false,
        unit: None,
        description: about.into(),
    };
    Ok(DatasetSpec {
        name: DatasetName::new(RUN_LOGS)?,
        description: "What runs say of themselves while they are at work".into(),
        owner: None,
        derived: true,
        key: vec!["run".into(), "attempt".into(), "line".into()],
        time_column: Some("at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            column("run", Text, "The run"),
            column("attempt", Int32, "Which try of it, from 1"),
            column("line", Int64, "Which line of that try, from 1"),
            column("at", Timestamp, "When it was said"),
            column("job", Text, "The job kind"),
            column("level", Text, "info, warning or error"),
            column("message", Text, "What was said; a line of more than 4096 bytes is cut"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    })
}

/// The dataset's name.
pub(crate) fn name() -> DatasetName {
    dataset_name(RUN_LOGS)
}

/// One line.
struct Line {
    of: Arc<Said>,
    number: i64,
    at_us: i64,
    level: Level,
    message: String,
}

/// Lines that are not written yet.
#[derive(Default)]
pub(crate) struct LogBook {
    waiting: Mutex<BTreeMap<TenantId, Vec<Line>>>,
    is_news: Notify,
}

/// Who says it: one attempt at a run.
struct Said {
    book: Arc<LogBook>,
    tenant: TenantId,
    run: RunId,
    attempt: i32,
    job: String,
    lines: AtomicI64,
}

/// What one attempt at a run has to say. Clones go on with its lines.
#[derive(Clone)]
pub(crate) struct RunLog(Arc<Said>);

impl RunLog {
    pub(crate) fn info(&self, message: impl Into<String>) {
        self.say(Level::Info, message);
    }

    /// Says what whoever looks after the job should know of a run that went well.
    pub(crate) fn warning(&self, message: impl Into<String>) {
        self.say(Level::Warning, message);
    }

    fn say(&self, level: Level, message: impl Into<String>) {
        let said = &self.0;
        match said.lines.fetch_add(1, Ordering::Relaxed) + 1 {
            number if number < LINES_MAX => said.add(number, level, message.into()),
            LINES_MAX => {
                let says = format!(
                    "later lines of this try are not kept, but for its last; {LINES_MAX} are"
                );
                said.add(LINES_MAX, Level::Warning, says);
            }
            _ => {}
        }
    }

    /// Says how an attempt ended.
    pub(crate) fn ended(&self, record: &RunRecord, took: Duration) {
        let seconds = took.as_secs_f64();
        let error = || record.error.as_ref().or(record.attempts.last().map(|last| &last.error));
        let why = || error().map_or(String::new(), |e| format!(": {}: {}", e.code, e.message));
        let (level, says) = match (record.state, record.next_attempt_at) {
            (RunState::Queued, Some(at)) => {
                (Level::Warning, format!("is tried again from {} on{}", at.to_rfc3339(), why()))
            }
            (RunState::Succeeded, _) => {
                let outputs = record.outputs.iter();
                let outputs = outputs.map(|of| format!("{}@{}", of.dataset, of.version));
                let outputs = outputs.collect::<Vec<_>>().join(", ");
                let of = if outputs.is_empty() { "" } else { ": " };
                let repeated = record.repeated_of.map(|id| format!(", as run {id} made it"));
                let repeated = repeated.unwrap_or_default();
                (Level::Info, format!("succeeded in {seconds:.3} s{of}{outputs}{repeated}"))
            }
            (RunState::Cancelled, _) => (Level::Warning, format!("cancelled after {seconds:.3} s")),
            (state, _) => (Level::Error, format!("{state} after {seconds:.3} s{}", why())),
        };
        self.last(level, says);
    }

    /// What is kept whatever was said before.
    fn last(&self, level: Level, message: impl Into<String>) {
        let said = &self.0;
        let number = said.lines.fetch_add(1, Ordering::Relaxed) + 1;
        said.add(number, level, message.into());
    }
}

impl Said {
    fn add(self: &Arc<Self>, number: i64, level: Level, mut message: String) {
        if message.len() > LINE_MAX_BYTES {
            message.truncate(message.floor_char_boundary(LINE_MAX_BYTES));
        }
        let at_us = now().timestamp_micros();
        let line = Line { of: Arc::clone(self), number, at_us, level, message };
        let mut waiting = self.book.waiting.lock();
        // Of each tenant by itself: none takes the room of others.
        let lines = waiting.entry(self.tenant.clone()).or_default();
        if lines.len() < WAITING_MAX {
            lines.push(line);
            self.book.is_news.notify_one();
        }
    }
}

impl LogBook {
    /// The log of one attempt at a run.
    pub(crate) fn of_run(
        self: &Arc<Self>,
        tenant: &TenantId,
        run: RunId,
        attempt: i64,
        job: &str,
    ) -> RunLog {
        RunLog(Arc::new(Said {
            book: Arc::clone(self),
            tenant: tenant.clone(),
            run,
            attempt: i32::try_from(attempt).unwrap_or(i32::MAX),
            job: job.to_owned(),
            lines: AtomicI64::new(0),
        }))
    }

    /// Writes lines as they come, until the runner ends.
    pub(crate) async fn write(self: Arc<Self>, engine: Engine, closing: CancellationToken) {
        loop {
            tokio::select! {
                () = self.is_news.notified() => {}
                () = closing.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = closing.cancelled() => return,
            }
            self.flush(&engine).await;
        }
    }

    /// Writes what waits now.
    pub(crate) async fn flush(&self, engine: &Engine) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for (tenant, lines) in waiting {
            let Err(error) = append(engine, &tenant, &lines).await else { continue };
            // Who only reads keeps none.
            if error.code() == Code::Forbidden {
                continue;
            }
            tracing::warn!(%tenant, lines = lines.len(), detail = error.detail(), "lines of runs could not be written");
            let mut waiting = self.waiting.lock();
            let later = waiting.insert(tenant.clone(), lines);
            waiting.entry(tenant).or_default().extend(later.unwrap_or_default());
            self.is_news.notify_one();
        }
    }
}

/// A line of a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Which try of the run, from 1.
    pub attempt: i32,
    /// Which line of that try, from 1.
    pub line: i64,
    /// When it was said.
    pub at: DateTime<Utc>,
    /// `info`, `warning` or `error`.
    pub level: String,
    /// What was said.
    pub message: String,
}

/// The lines of a run behind `after`, a try and a line of it; up to [`LOG_LINES_MAX`], in order. Those of the last seconds may not be
/// written yet.
pub async fn run_log(
    engine: &Engine,
    who: &Principal,
    run: RunId,
    after: (i32, i64),
) -> Result<Vec<LogLine>> {
    who.require(Role::Reader)?;
    let name = DatasetName::new(RUN_LOGS)?;
    // Whoever is at work may be another process, and the first that says something.
    engine.look_for(who, &name, None).await?;
    if !engine.catalog(who).await?.has(&name)? {
        return Ok(Vec::new());
    }
    let session = engine.session(who, &[(name.clone(), AsOf::Latest)]).await?;
    let (attempt, line) = after;
    let is_later = ident("attempt").gt(lit(attempt));
    let is_next = ident("attempt").eq(lit(attempt)).and(ident("line").gt(lit(line)));
    let frame = session
        .table(&name)
        .await?
        .filter(ident("run").eq(lit(run.to_string())).and(is_later.or(is_next)))?
        .sort(vec![ident("attempt").sort(true, false), ident("line").sort(true, false)])?
        .limit(0, Some(LOG_LINES_MAX))?
        .select_columns(&["attempt", "line", "at", "level", "message"])?;
    let mut lines = Vec::new();
    for batch in session.collect(frame).await? {
        let (levels, messages) = (texts(&batch, 3)?, texts(&batch, 4)?);
        let attempts = batch.column(0).as_primitive::<Int32Type>();
        let numbers = batch.column(1).as_primitive::<Int64Type>();
        let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        lines.extend((0..batch.num_rows()).map(|row| LogLine {
            attempt: attempts.value(row),
            line: numbers.value(row),
            at: DateTime::from_timestamp_micros(times.value(row)).unwrap_or_default(),
            level: levels.value(row).to_owned(),
            message: messages.value(row).to_owned(),
        }));
    }
    Ok(lines)
}

/// Appends lines, as one commit.
async fn append(engine: &Engine, tenant: &TenantId, lines: &[Line]) -> Result<()> {
    let who = Principal::new(tenant.clone(), "runner", &[Role::Reader, Role::Writer]);
    let spec = logs_spec()?;
    engine.ensure_derived(&who, &spec).await?;
    let text = |of: &dyn Fn(&Line) -> &str| {
        Arc::new(StringArray::from_iter_values(lines.iter().map(of))) as ArrayRef
    };
    let runs: Vec<String> = lines.iter().map(|line| line.of.run.to_string()).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(runs)),
        Arc::new(Int32Array::from_iter_values(lines.iter().map(|line| line.of.attempt))),
        Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| line.number))),
        timestamps(lines.iter().map(|line| line.at_us)),
        text(&|line| &line.of.job),
        text(&|line| line.level.as_str()),
        text(&|line| &line.message),
    ];
    let batch = RecordBatch::try_new(spec.arrow_schema(), columns)?;
    let label = CommitLabel { operation: "log runs".into(), ..CommitLabel::default() };
    engine.write(&who, &spec.name, WriteMode::Append, vec![batch], label).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
