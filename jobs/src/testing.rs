//! What the tests of this crate share: an engine in memory, and metrics to look at.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod shapes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use analysis::Noise;
use analysis::series::Series;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::array_value_to_string;
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{
    Access, CommitLabel, DERIVED_NAMES, Engine, EngineOptions, Principal, Result, RunId, Version,
    WriteMode,
};
use futures::future::BoxFuture;
use kernels::GpuPolicy;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::job::{Job, Outcome};
use crate::run::context::RunContext;
use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{Rerun, RunRequest, Runner, RunnerOptions};
use crate::tables::columns::column;

/// A job kind of tests: it takes no parameters, reads and writes nothing, and does what it is told.
pub(crate) struct Does {
    name: &'static str,
    work: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Does {
    pub(crate) fn new<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        work: impl Fn() -> F + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { name, work: Box::new(move || Box::pin(work())) })
    }
}

impl Job for Does {
    fn name(&self) -> &'static str {
        self.name
    }

    fn description(&self) -> &'static str {
        "does what a test says"
    }

    fn parameters_schema(&self) -> Value {
        json!({})
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        Ok(params.clone())
    }

    fn inputs(&self, _: &Value) -> Result<Vec<DatasetName>> {
        Ok(vec![])
    }

    fn outputs(&self, _: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![])
    }

    fn run<'a>(&'a self, _: &'a RunContext, _: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            (self.work)().await;
            Ok(Outcome::default())
        })
    }
}

/// A job kind whose first runs all finish their work before any of them commits.
pub(crate) struct Meets {
    job: Arc<dyn Job>,
    left: AtomicUsize,
    barrier: Barrier,
}

impl Meets {
    pub(crate) fn new(job: Arc<dyn Job>, runs: usize) -> Arc<Self> {
        Arc::new(Self { job, left: AtomicUsize::new(runs), barrier: Barrier::new(runs) })
    }
}

impl Job for Meets {
    fn name(&self) -> &'static str {
        self.job.name()
    }

    fn description(&self) -> &'static str {
        self.job.description()
    }

    fn revision(&self) -> u32 {
        self.job.revision()
    }

    fn parameters_schema(&self) -> Value {
        self.job.parameters_schema()
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        self.job.canonical(params)
    }

    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>> {
        self.job.inputs(params)
    }

    fn reads_where_there(&self, params: &Value) -> Result<Vec<DatasetName>> {
        self.job.reads_where_there(params)
    }

    fn looks_at_the_clock(&self) -> bool {
        self.job.looks_at_the_clock()
    }

    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>> {
        self.job.outputs(params)
    }

    fn own_outputs(&self) -> Vec<DatasetSpec> {
        self.job.own_outputs()
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let outcome = self.job.run(ctx, params).await?;
            let take = |left: usize| left.checked_sub(1);
            // A run that restarts after a conflict does not wait.
            if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                self.barrier.wait().await;
            }
            Ok(outcome)
        })
    }
}

/// How often a test forces an overlap: a few times, or as often as `COLONNADE_OVERLAPS` says.
pub(crate) fn overlaps() -> usize {
    std::env::var("COLONNADE_OVERLAPS").map_or(3, |count| count.parse().unwrap())
}

/// Runs a job in two processes of one root, so that both have read everything before either commits.
pub(crate) async fn overlapping(
    engines: [&Engine; 2],
    job: Arc<dyn Job>,
    params: &Value,
) -> [RunRecord; 2] {
    let meets: Arc<dyn Job> = Meets::new(job, 2);
    let one = async |engine: &Engine| {
        let options = RunnerOptions {
            gpu: GpuPolicy::Off,
            threads: 1,
            jobs: crate::kinds::Jobs::default().with(meets.clone()),
            takes: crate::run::runner::Takes::Own,
            ..RunnerOptions::default()
        };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let request = RunRequest {
            job: meets.name().into(),
            params: params.clone(),
            ..RunRequest::default()
        };
        let run = runner.submit(&Principal::local(), request).await.unwrap();
        let record = run.wait().await.unwrap();
        runner.shutdown().await;
        record
    };
    let (first, second) = tokio::join!(one(engines[0]), one(engines[1]));
    [first, second]
}

/// An engine of its own, in memory.
pub(crate) async fn engine() -> Engine {
    // On every machine as many, so that results are the same to the last digit.
    let options = EngineOptions { root: "memory:".into(), threads: 2, ..EngineOptions::default() };
    Engine::open(options).await.unwrap()
}

/// One of several on a folder.
pub(crate) async fn engine_at(folder: &Path) -> Engine {
    let options = EngineOptions {
        root: folder.display().to_string(),
        access: Access::Writer { holder: "test".into() },
        ..EngineOptions::default()
    };
    Engine::open(options).await.unwrap()
}

/// A column's name, type and values.
pub(crate) type Column<'a> = (&'a str, ColumnType, ArrayRef);

/// Commits a table in the place of what was there.
pub(crate) async fn table(engine: &Engine, name: &str, columns: &[Column<'_>]) {
    write(engine, name, WriteMode::Overwrite, columns).await;
}

/// What comes of a run that is done again as it was.
pub(crate) async fn reran(runner: &Runner, id: RunId) -> Rerun {
    let again = runner.rerun(&Principal::local(), id).await.unwrap().wait().await.unwrap();
    assert_eq!((again.state, again.as_it_was), (RunState::Succeeded, Some(id)), "{again:?}");
    assert!(again.outputs.is_empty() && !again.stages.is_empty(), "{again:?}");
    Rerun::of(&again).unwrap()
}

async fn submitted(engine: &Engine, job: &str, params: Value) -> Result<RunRecord> {
    submitted_within(engine, job, params, RunnerOptions::default().memory_budget_bytes).await
}

/// A run for which there is so much memory.
pub(crate) async fn submitted_within(
    engine: &Engine,
    job: &str,
    params: Value,
    memory_budget_bytes: usize,
) -> Result<RunRecord> {
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        memory_budget_bytes,
        ..RunnerOptions::default()
    };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
    let record = match runner.submit(&Principal::local(), request).await {
        Ok(run) => Ok(run.wait().await.unwrap()),
        Err(error) => Err(error),
    };
    runner.shutdown().await;
    record
}

/// The record of a run, which succeeds, and whose sentences are true.
pub(crate) async fn record_of(engine: &Engine, job: &str, params: Value) -> RunRecord {
    let record = submitted(engine, job, params.clone()).await.unwrap();
    assert_eq!(record.state, RunState::Succeeded, "{job} {params}: {:?}", record.error);
    let untrue = crate::sentences_tests::untrue(engine, &record).await;
    if let Ok(list) = std::env::var("COLONNADE_UNTRUE_SENTENCES") {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
        untrue.iter().for_each(|one| writeln!(file.as_ref().unwrap(), "{one}").unwrap());
    } else {
        assert!(untrue.is_empty(), "{job} {params}: {untrue:#?}");
    }
    record
}

/// The summary of a run, which succeeds.
pub(crate) async fn summary_of(engine: &Engine, job: &str, params: Value) -> Value {
    record_of(engine, job, params).await.summary
}

/// What is told of a run that can not begin, or fails.
pub(crate) async fn refusal_of(engine: &Engine, job: &str, params: Value) -> String {
    match submitted(engine, job, params).await {
        Err(error) => error.to_string(),
        Ok(record) => record.error.map(|error| error.message).unwrap_or_default(),
    }
}

/// What a query gives, a text for each row with its cells.
pub(crate) async fn rows(engine: &Engine, sql: &str) -> Vec<String> {
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let batches = session.collect(session.sql(sql).await.unwrap()).await.unwrap();
    let row = |(batch, row): (&RecordBatch, usize)| {
        let cells = batch.columns().iter();
        let cells: Vec<String> = cells.map(|of| array_value_to_string(of, row).unwrap()).collect();
        cells.join(" ")
    };
    batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |at| (batch, at)))
        .map(row)
        .collect()
}

/// Commits rows of a table, which is made when absent.
pub(crate) async fn write(engine: &Engine, name: &str, mode: WriteMode, columns: &[Column<'_>]) {
    let spec = DatasetSpec {
        name: DatasetName::new(name).unwrap(),
        description: String::new(),
        owner: None,
        derived: DERIVED_NAMES.contains(&name),
        key: Vec::new(),
        time_column: None,
        evolution: Evolution::Fixed,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: columns.iter().map(|c| column(c.0, c.1.clone(), true, "")).collect(),
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    };
    let who = Principal::local();
    ensure(engine, &spec).await;
    let arrays = columns.iter().map(|c| c.2.clone()).collect();
    let batch = RecordBatch::try_new(spec.arrow_schema(), arrays).unwrap();
    let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
    engine.write(&who, &spec.name, mode, vec![batch], label).await.unwrap();
}

/// A dataset of (series, at, value), as `metrics` has them.
pub(crate) fn spec(name: &str) -> DatasetSpec {
    DatasetSpec {
        name: DatasetName::new(name).unwrap(),
        description: String::new(),
        owner: None,
        derived: false,
        key: vec!["series".into(), "at".into()],
        time_column: Some("at".into()),
        evolution: Evolution::Fixed,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            column("series", ColumnType::Text, false, ""),
            column("at", ColumnType::Timestamp, false, ""),
            column("value", ColumnType::Float64, true, ""),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Makes a dataset as whoever fills it does: a client, or Colonnade itself.
pub(crate) async fn ensure(engine: &Engine, spec: &DatasetSpec) {
    let who = Principal::local();
    let ensured = match spec.derived {
        true => engine.ensure_derived(&who, spec).await,
        false => engine.ensure_dataset(&who, spec).await,
    };
    ensured.unwrap();
}

/// Appends series to a dataset, which is made when absent.
pub(crate) async fn append(engine: &Engine, name: &str, series: &[Series]) -> Version {
    let (who, spec) = (Principal::local(), spec(name));
    engine.ensure_dataset(&who, &spec).await.unwrap();
    let names: Vec<&str> =
        series.iter().flat_map(|s| s.times.iter().map(|_| s.name.as_str())).collect();
    let times: Vec<i64> = series.iter().flat_map(|s| s.times.iter().copied()).collect();
    // NaN stands for a null in a `Series`.
    let values = series.iter().flat_map(|s| s.values.iter().map(|v| (!v.is_nan()).then_some(*v)));
    let batch = RecordBatch::try_new(
        spec.arrow_schema(),
        vec![
            Arc::new(StringArray::from(names)),
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
            Arc::new(Float64Array::from_iter(values)),
        ],
    )
    .unwrap();
    let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
    engine.write(&who, &spec.name, WriteMode::Append, vec![batch], label).await.unwrap().version
}

/// Samples every `interval_s` seconds from 2026-01-01.
pub(crate) fn sampled(name: &str, interval_s: i64, values: Vec<f64>) -> Series {
    let times =
        (0..values.len() as i64).map(|i| (1_767_225_600 + i * interval_s) * 1_000_000).collect();
    Series { name: name.into(), times, values }
}

/// The folder of shared test data, when it is there.
pub(crate) fn shared_data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("COLONNADE_SHARED_DATA")
        .map_or_else(|| PathBuf::from("../../shared/data"), PathBuf::from);
    let path = root.join(folder);
    let is_required =
        std::env::var_os("COLONNADE_REQUIRE_SHARED_DATA").is_some_and(|value| value == "1");
    assert!(!is_required || path.is_dir(), "no real data at {}", path.display());
    path.is_dir().then_some(path)
}
