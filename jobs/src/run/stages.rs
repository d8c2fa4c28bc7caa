//! The `run_stages` dataset: one row for each step of each run that ended, with its device, time, memory, rows, bytes and price, so
//! that what work cost can be summed up by day, job, device or person like anything else.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::prelude::{ident, lit};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{AsOf, Code, CommitLabel, Engine, Error, Principal, Result, Role, RunId, WriteMode};
use serde::Serialize;

use crate::run::record::{RunRecord, StageRecord};

/// The name of the dataset that holds the steps.
pub const RUN_STAGES: &str = "run_stages";
/// Groups of a summary.
const GROUPS_MAX: usize = 1_000;

/// What an hour costs, by device as the record of a run names it: `cpu`, or the name of a GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(BTreeMap<String, f64>);

impl Prices {
    fn of(&self, stage: &StageRecord) -> Option<f64> {
        // `cuda:0 (NVIDIA H100 80GB HBM3)` is priced by its name, whichever its number is.
        let name = stage.device.split_once(" (").and_then(|(_, name)| name.strip_suffix(')'));
        let price = self.0.get(&stage.device).or_else(|| self.0.get(name?))?;
        Some(price * stage.wall_seconds / 3600.0)
    }
}

impl std::str::FromStr for Prices {
    type Err = Error;

    /// Reads `cpu=0.04, NVIDIA H100=2.5`; an empty text is no price at all.
    fn from_str(text: &str) -> Result<Self> {
        let mut prices = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = || {
                let says = format!(
                    "prices: expected DEVICE=PRICE OF AN HOUR, such as cpu=0.04, found {part:?}"
                );
                Error::user(Code::BadInput, says)
            };
            let (device, price) = part.rsplit_once('=').ok_or_else(bad)?;
            let price: f64 = price.trim().parse().map_err(|_| bad())?;
            let device = device.trim().to_owned();
            if device.is_empty() || !price.is_finite() || price < 0.0 {
                return Err(bad());
            }
            if prices.insert(device.clone(), price).is_some() {
                let says = format!("prices: {device} is named twice");
                return Err(Error::user(Code::BadInput, says));
            }
        }
        Ok(Self(prices))
    }
}

/// The spec of the `run_stages` dataset.
pub(crate) fn stages_spec() -> Result<DatasetSpec> {
    use ColumnType::{Float64, Int32, Int64, Text, Timestamp};
    let column = |name: &str, data_type, nullable, unit: Option<&str>, about: &str| ColumnSpec {
        name: name.into(),
        data_type,
        nullable,
        unit: unit.map(Into::into),
        description: about.into(),
    };
    Ok(DatasetSpec {
        name: DatasetName::new(RUN_STAGES)?,
        description: "Steps of runs that ended, with what each took".into(),
        owner: None,
        derived: true,
        key: vec!["run".into(), "position".into()],
        time_column: Some("ended_at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            column("run", Text, false, None, "The run"),
            column(
                "position",
                Int32,
                false,
                None,
                "Which of its steps, from 0; those of tries that failed come first",
            ),
            column("job", Text, false, None, "The job kind"),
            column("stage", Text, false, None, "What the step does"),
            column("requested_by", Text, false, None, "Who asked for the run"),
            column("state", Text, false, None, "How the run ended"),
            column("tries", Int32, false, None, "How often the run was tried"),
            column("ended_at", Timestamp, false, None, "When the run ended"),
            column("device", Text, false, None, "cpu, or the name of the GPU"),
            column("wall_seconds", Float64, false, Some("s"), "From start to end"),
            column("gpu_seconds", Float64, false, Some("s"), "Time that a GPU was held"),
            column("rows_in", Int64, false, None, "Rows taken in"),
            column("rows_out", Int64, false, None, "Rows given out"),
            column("bytes_read", Int64, false, Some("bytes"), "As held in memory"),
            column("bytes_written", Int64, false, Some("bytes"), "Committed"),
            column(
                "peak_memory_bytes",
                Int64,
                false,
                Some("bytes"),
                "Greatest resident size of the process meanwhile; 0 where it is not known",
            ),
            column(
                "cost",
                Float64,
                true,
                None,
                "By the setting `prices` when the run ended; null where it names no price of the device",
            ),
            column(
                "cpu_seconds",
                Float64,
                true,
                Some("s"),
                "Processor time, shared out among the steps under way; null in rows of earlier releases",
            ),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    })
}

/// Appends the steps of `records`, as one commit.
pub(crate) async fn append<'a>(
    engine: &Engine,
    who: &Principal,
    records: &'a [RunRecord],
    prices: &Prices,
) -> Result<()> {
    // What tries took that ended by an error was taken, too.
    let of_run = |run: &'a RunRecord| {
        let tried = run.attempts.iter().flat_map(|attempt| &attempt.stages);
        tried.chain(&run.stages).enumerate().map(move |(i, stage)| (run, i, stage))
    };
    let rows: Vec<(&RunRecord, usize, &StageRecord)> = records.iter().flat_map(of_run).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let spec = stages_spec()?;
    engine.ensure_derived(who, &spec).await?;
    let text = |of: &dyn Fn(&RunRecord, &StageRecord) -> String| {
        let values = rows.iter().map(|(run, _, stage)| of(run, stage));
        Arc::new(StringArray::from_iter_values(values)) as ArrayRef
    };
    let float = |of: &dyn Fn(&StageRecord) -> Option<f64>| {
        let values = rows.iter().map(|(_, _, stage)| of(stage));
        Arc::new(values.collect::<Float64Array>()) as ArrayRef
    };
    let long = |of: &dyn Fn(&StageRecord) -> u64| {
        let values = rows.iter().map(|(_, _, stage)| i64::try_from(of(stage)).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
    };
    let small = |of: &dyn Fn(&RunRecord, usize) -> usize| {
        let values = rows.iter().map(|(run, i, _)| i32::try_from(of(run, *i)).unwrap_or(i32::MAX));
        Arc::new(Int32Array::from_iter_values(values)) as ArrayRef
    };
    let columns = spec.columns.iter().map(|column| {
        Ok(match column.name.as_str() {
            "run" => text(&|run, _| run.id.to_string()),
            "position" => small(&|_, i| i),
            "job" => text(&|run, _| run.job.clone()),
            "stage" => text(&|_, stage| stage.name.clone()),
            "requested_by" => text(&|run, _| run.requested_by.clone()),
            "state" => text(&|run, _| run.state.to_string()),
            "tries" => small(&|run, _| run.attempts.len() + 1),
            "ended_at" => {
                let ended = |run: &RunRecord| run.finished_at.unwrap_or(run.requested_at);
                let micros = rows.iter().map(|(run, ..)| ended(run).timestamp_micros());
                let micros = TimestampMicrosecondArray::from_iter_values(micros);
                Arc::new(micros.with_timezone("UTC"))
            }
            "device" => text(&|_, stage| stage.device.clone()),
            "wall_seconds" => float(&|stage| Some(stage.wall_seconds)),
            "gpu_seconds" => float(&|stage| Some(stage.gpu_seconds)),
            "rows_in" => long(&|stage| stage.rows_in),
            "rows_out" => long(&|stage| stage.rows_out),
            "bytes_read" => long(&|stage| stage.bytes_read),
            "bytes_written" => long(&|stage| stage.bytes_written),
            "peak_memory_bytes" => long(&|stage| stage.peak_memory_bytes),
            "cost" => float(&|stage| prices.of(stage)),
            "cpu_seconds" => float(&|stage| Some(stage.cpu_seconds)),
            other => {
                let says = format!("{RUN_STAGES}: no value for column {other:?}");
                return Err(Error::internal(says));
            }
        })
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    let batch = RecordBatch::try_new(spec.arrow_schema(), columns)?;
    let label = CommitLabel { operation: "record stages".into(), ..CommitLabel::default() };
    engine.write(who, &spec.name, WriteMode::Append, vec![batch], label).await?;
    Ok(())
}

/// Those of the ids whose steps are rows already.
pub(crate) async fn known(
    engine: &Engine,
    who: &Principal,
    ids: &[RunId],
) -> Result<HashSet<RunId>> {
    let name = DatasetName::new(RUN_STAGES)?;
    // Whoever was writing them may have been another process, and a moment ago.
    engine.look_for(who, &name, None).await?;
    if !engine.catalog(who).await?.has(&name)? {
        return Ok(HashSet::new());
    }
    let session = engine.session(who, &[(name.clone(), AsOf::Latest)]).await?;
    let ids = ids.iter().map(|id| lit(id.to_string())).collect();
    let frame = session.table(&name).await?.filter(ident("run").in_list(ids, false))?;
    let frame = frame.select(vec![ident("run")])?.distinct()?;
    let mut known = HashSet::new();
    for batch in session.collect(frame).await? {
        let texts = cast(batch.column(0), &DataType::Utf8)?;
        for id in texts.as_string::<i32>().iter().flatten() {
            known.insert(id.parse()?);
        }
    }
    Ok(known)
}

/// What steps are summed up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageBy {
    /// The job kind.
    #[default]
    Job,
    /// The day, in UTC.
    Day,
    /// The device.
    Device,
    /// The step, as job and stage.
    Stage,
    /// Who asked.
    Who,
}

impl std::str::FromStr for UsageBy {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Ok(match word {
            "job" => Self::Job,
            "day" => Self::Day,
            "device" => Self::Device,
            "stage" => Self::Stage,
            "who" => Self::Who,
            _ => {
                let shown: String = word.chars().take(40).collect();
                let says = format!("usage by {shown:?}: expected job, day, device, stage or who");
                return Err(Error::user(Code::BadInput, says));
            }
        })
    }
}

impl UsageBy {
    fn expression(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Day => "to_char(ended_at, '%Y-%m-%d')",
            Self::Device => "device",
            Self::Stage => "job || ' ' || stage",
            Self::Who => "requested_by",
        }
    }
}

/// What the steps of one group took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// The group.
    pub of: String,
    /// Runs that had some.
    pub runs: u64,
    /// Time of all of them, in seconds.
    pub wall_seconds: f64,
    /// Processor time of all of them, in seconds.
    pub cpu_seconds: f64,
    /// Time that GPUs were held, in seconds.
    pub gpu_seconds: f64,
    /// The greatest of their peaks of memory, in bytes.
    pub peak_memory_bytes: u64,
    /// Rows taken in by all steps.
    pub rows_in: u64,
    /// Bytes committed.
    pub bytes_written: u64,
    /// By the prices when each ended; none where no device had one.
    pub cost: Option<f64>,
}

/// Sums up what runs of the tenant took that ended since `since`; groups by name, those that took longest where there are too many.
/// Runs become rows within seconds of their end.
pub async fn usage(
    engine: &Engine,
    who: &Principal,
    by: UsageBy,
    since: DateTime<Utc>,
) -> Result<Vec<Usage>> {
    who.require(Role::Reader)?;
    let name = DatasetName::new(RUN_STAGES)?;
    if !engine.catalog(who).await?.has(&name)? {
        return Ok(Vec::new());
    }
    let session = engine.session(who, &[(name.clone(), AsOf::Latest)]).await?;
    // Until the first run of this release ends the table is that of an earlier one.
    let table = session.table(&name).await?;
    let has_cpu = table.schema().fields().iter().any(|field| field.name() == "cpu_seconds");
    let cpu = if has_cpu { "sum(cpu_seconds)" } else { "0.0" };
    let text = format!(
        "SELECT {of} AS of, count(DISTINCT run) AS runs, sum(wall_seconds) AS wall_seconds, sum(gpu_seconds) AS gpu_seconds, \
         max(peak_memory_bytes) AS peak, sum(rows_in) AS rows_in, sum(bytes_written) AS written, sum(cost) AS cost, {cpu} AS cpu_seconds \
         FROM {RUN_STAGES} WHERE ended_at >= $since GROUP BY {of} ORDER BY wall_seconds DESC LIMIT {GROUPS_MAX}",
        of = by.expression(),
    );
    let frame = session.sql(&text).await?;
    let since =
        ScalarValue::TimestampMicrosecond(Some(since.timestamp_micros()), Some("UTC".into()));
    let frame = frame.with_param_values(vec![("since", since)])?;
    let mut groups = Vec::new();
    for batch in session.collect(frame).await? {
        let names = cast(batch.column(0), &DataType::Utf8)?;
        let names = names.as_string::<i32>();
        let long = |column: usize, row: usize| -> Result<u64> {
            let values = cast(batch.column(column), &DataType::Int64)?;
            Ok(u64::try_from(values.as_primitive::<Int64Type>().value(row)).unwrap_or_default())
        };
        let float = |column: usize, row: usize| {
            let values = batch.column(column).as_primitive_opt::<Float64Type>();
            values.filter(|_| batch.column(column).is_valid(row)).map(|values| values.value(row))
        };
        for row in 0..batch.num_rows() {
            groups.push(Usage {
                of: names.value(row).to_owned(),
                runs: long(1, row)?,
                wall_seconds: float(2, row).unwrap_or_default(),
                cpu_seconds: float(8, row).unwrap_or_default(),
                gpu_seconds: float(3, row).unwrap_or_default(),
                peak_memory_bytes: long(4, row)?,
                rows_in: long(5, row)?,
                bytes_written: long(6, row)?,
                cost: float(7, row),
            });
        }
    }
    groups.sort_by(|a, b| a.of.cmp(&b.of));
    Ok(groups)
}

/// The number in the first row of a batch of one column; none, where it is null or there is no row.
pub(crate) fn first_number(batch: &RecordBatch) -> Option<f64> {
    let values = batch.column(0).as_primitive_opt::<Float64Type>()?;
    values.iter().next().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::run::record::RunState;
    use crate::run::runner::{RunRequest, Runner, RunnerOptions};
    use crate::testing::{append, engine, sampled};

    #[test]
    fn prices_are_read_with_what_is_wrong_with_them() {
        let prices: Prices = " cpu=0.5 , NVIDIA H100 80GB HBM3 = 4,".parse().unwrap();
        let stage = |device: &str| StageRecord {
            device: device.into(),
            wall_seconds: 7_200.0,
            ..StageRecord::default()
        };
        assert_eq!(prices.of(&stage("cpu")), Some(1.0));
        assert_eq!(prices.of(&stage("NVIDIA H100 80GB HBM3")), Some(8.0));
        assert_eq!(prices.of(&stage("another")), None);
        let cuda = kernels::Device::Cuda { ordinal: 1, name: "NVIDIA H100 80GB HBM3".into() };
        assert_eq!(prices.of(&stage(&cuda.to_string())), Some(8.0));
        assert_eq!("".parse::<Prices>().unwrap(), Prices::default());
        for (text, says) in [
            ("cpu", "found \"cpu\""),
            ("cpu=cheap", "found \"cpu=cheap\""),
            ("cpu=-1", "found \"cpu=-1\""),
            ("cpu=inf", "expected DEVICE=PRICE"),
            ("=2", "found \"=2\""),
            ("cpu=1,cpu=2", "cpu is named twice"),
        ] {
            let error = text.parse::<Prices>().unwrap_err();
            assert!(error.to_string().contains(says), "{error} does not say {says}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_runs_took_is_a_row_for_each_step_and_is_summed_up() {
        let engine = engine().await;
        // The table of a release that did not count processor time.
        let mut earlier = stages_spec().unwrap();
        assert_eq!(earlier.columns.pop().unwrap().name, "cpu_seconds");
        engine.ensure_derived(&Principal::local(), &earlier).await.unwrap();
        let usage_then = usage(&engine, &Principal::local(), UsageBy::Job, Utc::now()).await;
        assert_eq!(usage_then.unwrap(), []);
        append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
        let options = RunnerOptions {
            threads: 1,
            prices: "cpu=3600".parse().unwrap(),
            ..RunnerOptions::default()
        };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        let who = Principal::local();
        let before = Utc::now();
        let mut records = Vec::new();
        for output in ["one", "two"] {
            let params = json!({ "output": output });
            let request = RunRequest { job: "anomalies".into(), params, ..RunRequest::default() };
            records.push(runner.submit(&who, request).await.unwrap().wait().await.unwrap());
        }
        let wrong = RunRequest {
            job: "anomalies".into(),
            params: json!({"output": "three", "series": ["nope"]}),
            ..RunRequest::default()
        };
        let failed = runner.submit(&who, wrong).await.unwrap().wait().await.unwrap();
        assert_eq!(failed.state, RunState::Failed);
        runner.shutdown().await;

        let by_job = usage(&engine, &who, UsageBy::Job, before).await.unwrap();
        let [one] = &by_job[..] else { panic!("{by_job:?}") };
        let stages = || records.iter().chain([&failed]).flat_map(|run| &run.stages);
        let wall: f64 = stages().map(|stage| stage.wall_seconds).sum();
        let with_stages = 2 + u64::from(!failed.stages.is_empty());
        assert_eq!((one.of.as_str(), one.runs), ("anomalies", with_stages));
        assert!((one.wall_seconds - wall).abs() < 1e-9, "{one:?} {wall}");
        let cpu: f64 = stages().map(|stage| stage.cpu_seconds).sum();
        assert!(cpu > 0.0 && (one.cpu_seconds - cpu).abs() < 1e-9, "{one:?} {cpu}");
        assert!((one.cost.unwrap() - wall).abs() < 1e-9, "{one:?}");
        assert_eq!(one.rows_in, stages().map(|stage| stage.rows_in).sum::<u64>());
        let by_stage = usage(&engine, &who, UsageBy::Stage, before).await.unwrap();
        let names: Vec<&str> = by_stage.iter().map(|group| group.of.as_str()).collect();
        assert!(names.contains(&"anomalies commit"), "{names:?}");
        let by_day = usage(&engine, &who, UsageBy::Day, before).await.unwrap();
        assert_eq!(by_day[0].of, failed.finished_at.unwrap().format("%Y-%m-%d").to_string());
        for by in [UsageBy::Device, UsageBy::Who] {
            assert_eq!(usage(&engine, &who, by, before).await.unwrap().len(), 1);
        }
        let later = Utc::now() + chrono::TimeDelta::hours(1);
        assert_eq!(usage(&engine, &who, UsageBy::Job, later).await.unwrap(), []);

        // Written again, as after a stop in between, they are known.
        let ids: Vec<RunId> = records.iter().map(|run| run.id).collect();
        assert_eq!(known(&engine, &who, &ids).await.unwrap().len(), 2);
        assert_eq!(known(&engine, &who, &[RunId::new()]).await.unwrap().len(), 0);
    }
}
