//! Runs a user's program over datasets. It reads the rows of one dataset as an Arrow IPC stream on stdin, and those of others
//! from files ([`files`]). It writes rows as a stream to stdout, which are committed like the results of any job. So a Python
//! script can be scheduled, recorded, retried and repeated like the built-in kinds.
//!
//! Who may run jobs may not run what they like: a program is a file in a folder that who runs the server names (setting `programs`),
//! and it runs as the server's user, with an environment of its own and within limits (`outside/`). The bytes of the file are part
//! of the run's key: a changed program is other work.
//!
//! Cost: what the program takes; rows go through pipes, memory does not grow with the input. Its rows are held until they are
//! committed, within the run's memory.

mod files;
mod outside;
mod params;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::ident;
use datasets::conform::Conformer;
use datasets::read::Chunk;
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session, WriteMode};
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use params::{Mode, Params};

use crate::job::{Job, Outcome};
use crate::parameters::{self, bad};
use crate::partition::Partition;
use crate::run::context::RunContext;
use crate::tables::input::{InputTable, declared_time};
pub use outside::User as ProgramsUser;
use outside::{BoxError, Failure, Limits, OutsideError, Program};

/// The kind's name.
const NAME: &str = "exec";
/// Memory of one row: a guess for the estimate only.
const ROW_BYTES: usize = 512;
/// Part of the run's memory that its rows may take until they are committed.
const OUTPUT_SHARE: usize = 2;
/// Largest program.
const PROGRAM_MAX_BYTES: u64 = 256 << 20;

/// The job kind.
pub struct Exec;

impl Exec {
    fn params(params: &Value) -> Result<Params> {
        let params = Self::read(params)?;
        params.check()?;
        Ok(params)
    }

    fn read(params: &Value) -> Result<Params> {
        let has_dataset = params.get("dataset").is_some();
        let mut params: Params = parameters::read(NAME, params)?;
        // Without `dataset`, the first of `datasets` is on stdin.
        if let Some(first) = params.datasets.first().filter(|_| !has_dataset) {
            params.dataset = first.clone();
        }
        Ok(params)
    }
}

impl Job for Exec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "runs a program over a dataset, which reads rows as an Arrow IPC stream on stdin and writes rows on stdout"
    }

    fn parameters_schema(&self) -> Value {
        parameters::schema::<Params>()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        parameters::canonical(&Self::params(params)?)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        Ok(Self::params(params)?.reads())
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![Self::params(params)?.spec()])
    }

    fn appends(&self, params: &Value) -> bool {
        Self::params(params).is_ok_and(|params| params.mode == Mode::Append)
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn of_partition(&self, params: &Value, partition: Partition) -> Result<Value> {
        let params = Self::read(params)?.with_partition(partition)?;
        params.check()?;
        parameters::canonical(&params)
    }

    fn code(&self, params: &Value, programs: Option<&Path>) -> Result<Value> {
        let program = path_of(&Self::params(params)?.program, programs)?;
        let unreadable = |e: std::io::Error| {
            Error::environment(Code::BadInput, format!("{NAME}: its program can not be read"), e)
        };
        let size = std::fs::metadata(&program).map_err(unreadable)?.len();
        if size > PROGRAM_MAX_BYTES {
            let problem =
                format!("expected a file of at most {PROGRAM_MAX_BYTES} bytes, found {size}");
            return Err(bad(NAME, "program", problem));
        }
        let digest = Sha256::digest(std::fs::read(&program).map_err(unreadable)?);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    fn row_bytes(&self) -> usize {
        ROW_BYTES
    }

    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            table(session, &params).await?;
            for dataset in &params.datasets {
                InputTable::open(session, NAME, dataset).await?;
            }
            Ok(vec![params.spec()])
        })
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let params = Self::params(params)?;
            let spec = params.spec();
            let (batches, summary) = rows_of(ctx, &params, &spec).await?;
            ctx.progress(0.9);
            match (params.partition(), params.mode) {
                (Some((column, partition)), _) => {
                    partition.require_rows(NAME, column, &batches)?;
                    ctx.commit_part(spec, partition.of(column), batches).await?;
                }
                (None, Mode::Append) => ctx.commit(spec, WriteMode::Append, batches).await?,
                (None, _) => ctx.commit(spec, WriteMode::Overwrite, batches).await?,
            }
            Ok(Outcome { summary })
        })
    }
}

/// The file of a program.
fn path_of(program: &str, programs: Option<&Path>) -> Result<PathBuf> {
    let Some(folder) = programs else {
        return Err(Error::user(
            Code::Forbidden,
            format!(
                "{NAME}: programs of one's own are off; the setting `programs` names the folder of those that may run"
            ),
        ));
    };
    let path = folder.join(program);
    if path.is_file() && !is_within(folder, &path) {
        let problem = format!(
            "{program:?} is a symbolic link to a file outside the folder of programs; expected a file in that folder: copy it there"
        );
        return Err(bad(NAME, "program", problem));
    }
    if !path.is_file() {
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_file() && is_within(folder, &entry.path()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        there.sort_unstable();
        there.truncate(20);
        let problem = format!(
            "there is no program {program:?} in the folder of programs; there are {}",
            if there.is_empty() { "none".to_owned() } else { there.join(", ") }
        );
        return Err(bad(NAME, "program", problem));
    }
    std::path::absolute(&path)
        .map_err(|e| Error::environment(Code::BadInput, "the folder of programs", e))
}

/// Whether a file is in the folder after all symbolic links are resolved, including those of the
/// folder.
fn is_within(folder: &Path, path: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(folder).zip(real(path)).is_some_and(|(folder, path)| path.starts_with(folder))
}

/// What it reads. Fails with `BAD_INPUT` where a column is not there.
async fn table<'a>(session: &Session, params: &'a Params) -> Result<InputTable<'a>> {
    let table = InputTable::open(session, NAME, &params.dataset).await?;
    for column in &params.columns {
        table.check("columns", column, "a column", |_| true)?;
    }
    Ok(table)
}

/// The rows of the time that is asked for, where the dataset says when a row happened.
fn within(
    ctx: &RunContext,
    params: &Params,
    dataset: &DatasetName,
    frame: DataFrame,
) -> Result<DataFrame> {
    if params.from.is_none() && params.to.is_none() {
        return Ok(frame);
    }
    let Some(time) = declared_time(ctx.session(), dataset) else { return Ok(frame) };
    let from = params.from.unwrap_or(DateTime::UNIX_EPOCH);
    let all = Partition { from, to: params.to.unwrap_or(DateTime::<Utc>::MAX_UTC) };
    Ok(frame.filter(all.of(time))?)
}

/// What the program writes, as rows of `spec`.
async fn rows_of(
    ctx: &RunContext,
    params: &Params,
    spec: &DatasetSpec,
) -> Result<(Vec<RecordBatch>, Value)> {
    let path = path_of(&params.program, ctx.programs())?;
    let table = table(ctx.session(), params).await?;
    let mut frame = within(ctx, params, &params.dataset, table.frame)?;
    if !params.columns.is_empty() {
        frame = frame.select(params.columns.iter().map(ident).collect::<Vec<_>>())?;
    }
    let folder = ctx.scratch().await?.to_owned();
    files::write(ctx, params, &folder).await?;
    let stream = ctx.session().stream(frame).await?;
    let (schema, total) = (stream.schema(), ctx.input(&params.dataset)?.rows.unwrap_or_default());
    let (progress, mut read) = (ctx.progress_sink(), 0_u64);
    let input = stream.map(move |batch| {
        if let Ok(batch) = &batch {
            read += batch.num_rows() as u64;
            if total > 0 {
                progress(0.8 * read as f64 / total as f64);
            }
        }
        batch.map_err(|e| -> BoxError { Box::new(Error::from(e)) })
    });
    let output_bytes = (ctx.memory_budget_bytes() / OUTPUT_SHARE) as u64;
    let program = Program {
        command: std::iter::once(path.display().to_string())
            .chain(params.arguments.clone())
            .collect(),
        // Who may run a program may not say how it is interpreted: variables can do that in too many ways.
        environment: params.environment(),
        folder,
        limits: Limits {
            wall: Duration::from_secs(params.wall_seconds),
            cpu: Duration::from_secs(params.cpu_seconds),
            memory_bytes: params.memory_mib << 20,
            output_bytes,
            end_marker: params.end_marker,
            ..Limits::default()
        },
        user: ctx.programs_user(),
    };
    let mut stage = ctx.stage("exec");
    stage.is_outside();
    stage.on_device("cpu", format!("the program {} decides what it uses", params.program));
    let (activity, log) = (ctx.activity_sink(), ctx.log().clone());
    let on_line = move |line: &str| {
        log.info(line);
        activity(json!({ "says": line }));
    };
    let taken = Mutex::new(Taken::new(params, spec));
    let sink = |batch: RecordBatch| {
        std::future::ready(taken.lock().take(batch).map_err(|e| -> BoxError { Box::new(e) }))
    };
    let ran =
        outside::run(&program, schema, input.boxed(), ctx.cancellation(), &on_line, sink).await;
    let ran = ran.map_err(|error| failed(error, &path, &params.program))?;
    let taken = taken.into_inner();
    if taken.conformer.is_none() {
        // Without rows its columns have to be right all the same.
        Conformer::new(spec, &ran.schema, &params.program)?;
    }
    stage.record.rows_in = ran.rows_in;
    stage.record.rows_out = ran.rows_out;
    stage.record.cpu_seconds = ran.cpu.unwrap_or_default().as_secs_f64();
    stage.record.peak_memory_bytes = ran.peak_memory_bytes.unwrap_or_default();
    stage.facts(json!({
        "cpu_seconds": ran.cpu.map(|cpu| cpu.as_secs_f64()),
        "program_seconds": ran.wall.as_secs_f64(),
        "bytes_out": ran.bytes_out,
        "says": ran.stderr_tail,
    }));
    stage.finish();
    let mut summary = json!({
        "source": params.dataset,
        "program": params.program,
        "rows in": ran.rows_in,
        "rows out": ran.rows_out,
    });
    if !params.datasets.is_empty() {
        summary["datasets"] = json!(params.datasets);
    }
    if !ran.stderr_tail.is_empty() {
        summary["says"] = ran.stderr_tail.into();
    }
    Ok((taken.batches, summary))
}

/// Rows that came, held to the spec.
struct Taken<'a> {
    program: &'a str,
    spec: &'a DatasetSpec,
    conformer: Option<Conformer>,
    rows: u64,
    batches: Vec<RecordBatch>,
}

impl<'a> Taken<'a> {
    fn new(params: &'a Params, spec: &'a DatasetSpec) -> Self {
        Self { program: &params.program, spec, conformer: None, rows: 0, batches: Vec::new() }
    }

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let conformer = match &self.conformer {
            Some(conformer) => conformer,
            None => {
                let made = Conformer::new(self.spec, &batch.schema(), self.program)?;
                self.conformer.insert(made)
            }
        };
        let rows = batch.num_rows() as u64;
        let first_row = self.rows + 1;
        let chunk = Chunk { batch, first_row, rows: None, lines: None, rejected: Vec::new() };
        let conformed = conformer.conform(&chunk)?;
        if let Some(rejected) = conformed.rejected.first() {
            let (row, reason) = (rejected.position.row, &rejected.reason);
            return Err(Error::user(
                Code::BadInput,
                format!("{NAME}: row {row} that {} wrote: {reason}", self.program),
            ));
        }
        self.rows += rows;
        self.batches.push(conformed.accepted);
        Ok(())
    }
}

/// The run's error for the program's. Who is told of it need not know where the program lies.
fn failed(error: OutsideError, path: &Path, program: &str) -> Error {
    let says = format!("{NAME}: {error}").replace(&path.display().to_string(), program);
    let why = match error {
        OutsideError::Cancelled => return crate::run::context::cancelled(),
        OutsideError::Failed { why, .. } => why,
        _ => return Error::user(Code::BadInput, says),
    };
    match why {
        // Errors of our own on their way through.
        Failure::Sink(error) | Failure::Input(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::environment(Code::StorageUnavailable, says, error),
        },
        Failure::Memory { .. }
        | Failure::Wall { .. }
        | Failure::Cpu { .. }
        | Failure::TooManyBytes { .. }
        | Failure::MessageTooLarge { .. }
        | Failure::TooManyRows { .. } => Error::user(Code::LimitExceeded, says),
        _ => Error::user(Code::BadInput, says),
    }
}
