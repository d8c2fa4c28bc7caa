//! What is known of each series, as rows of the state dataset: one for each series of each source.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;

use analysis::series::Samples;
use analysis::series::online::{EpisodeOptions, Options, Sighting, Watch, WatchOptions};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::logical_expr::{cast, ident, lit};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result, Version};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::too_much;
use crate::kinds::anomalies::{Level, NAME, Params};
use crate::parameters;
use crate::run::context::RunContext;
use crate::series::microseconds;
use crate::tables::columns::{column, of_sources, texts};

/// Counts up with whatever makes an earlier state another one than it would be now.
pub(super) const REVISION: u32 = 2;
/// How well the state is packed: the least effort makes a tenth of it.
const PACKED: i32 = 1;
/// The most bytes that one series' state has unpacked.
const UNPACKED_MAX: u64 = 64 << 20;
/// Rows in a batch.
const BATCH_ROWS: usize = 1_024;

/// What is known of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) last_us: Option<i64>,
    pub(super) samples: u64,
    /// [`Sightings`] as JSON.
    findings: String,
    /// [`Watch`] as JSON, packed.
    state: Vec<u8>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sightings {
    /// Those that are over.
    over: Vec<Sighting>,
    /// Those that are not.
    open: Vec<Sighting>,
}

/// What is known of the series of a dataset.
pub(super) enum State {
    /// Nothing, and why.
    None(String),
    /// This, up to a version.
    Of(Version, HashMap<String, Known>),
}

impl Known {
    /// What is known with more samples, all of them behind those before.
    pub(super) fn next(before: Option<&Self>, samples: &Samples, params: &Params) -> Result<Self> {
        let (mut watch, mut over) = match before {
            None => (Watch::new(options(params)), Vec::new()),
            Some(known) => (known.watch()?, known.read()?.over),
        };
        for (at_us, value) in samples.times.iter().zip(&samples.values) {
            watch.push(*at_us, *value, &mut over);
        }
        let broken = |error| Error::internal(format!("{NAME}: state of a series as JSON: {error}"));
        let findings = Sightings { over, open: watch.open() };
        let findings = serde_json::to_string(&findings).map_err(broken)?;
        let state = serde_json::to_vec(&watch).map_err(broken)?;
        let state = zstd::bulk::compress(&state, PACKED)
            .map_err(|error| Error::internal(format!("{NAME}: state of a series: {error}")))?;
        Ok(Self { last_us: watch.last_us(), samples: watch.samples(), findings, state })
    }

    fn watch(&self) -> Result<Watch> {
        let broken = |error: &dyn std::fmt::Display| {
            Error::internal(format!("{NAME}: state of a series can't be read: {error}"))
        };
        let mut json = Vec::new();
        let packed = zstd::stream::read::Decoder::new(&*self.state).map_err(|e| broken(&e))?;
        packed.take(UNPACKED_MAX).read_to_end(&mut json).map_err(|e| broken(&e))?;
        serde_json::from_slice(&json).map_err(|e| broken(&e))
    }

    fn read(&self) -> Result<Sightings> {
        serde_json::from_str(&self.findings).map_err(|error| {
            Error::internal(format!("{NAME}: findings of a series can't be read: {error}"))
        })
    }

    /// What was found, whether it is over or not.
    pub(super) fn sightings(&self) -> Result<Vec<Sighting>> {
        let Sightings { mut over, open } = self.read()?;
        over.extend(open);
        Ok(over)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.findings.len() + self.state.len()
    }
}

/// The options of a watch.
pub(super) fn options(params: &Params) -> WatchOptions {
    let usual = EpisodeOptions::default();
    WatchOptions {
        detector: Options::default(),
        episodes: EpisodeOptions {
            threshold: params.rarity(),
            // As far below as it is by default.
            keep_threshold: params.rarity() * (usual.keep_threshold / usual.threshold),
            rest_samples: params.rest_samples,
        },
        gap_intervals: params.gap_intervals,
        stuck_samples: params.stuck_samples as u64,
    }
}

/// What the state depends on: all but what is left out of the findings when they are told.
fn asked(params: &Params) -> Result<String> {
    let of_state = Params {
        rarity: Some(params.rarity()),
        from: None,
        min_severity: Level::default(),
        ..params.clone()
    };
    Ok(format!("{REVISION}-{}", parameters::digest(&of_state)?))
}

/// The spec of the state dataset.
pub(in crate::kinds::anomalies) fn spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let columns: Vec<ColumnSpec> = vec![
        required("source", ColumnType::Text, "The dataset that is looked at"),
        required("series", ColumnType::Text, "The series"),
        required(
            "asked",
            ColumnType::Text,
            "What the state depends on, as a checksum of the parameters",
        ),
        required(
            "version",
            ColumnType::Int64,
            "The version of the dataset up to which it was read",
        ),
        column("last_at", ColumnType::Timestamp, true, "Instant of the last sample"),
        required("samples", ColumnType::Int64, "Samples so far"),
        required("findings", ColumnType::Json, "What was found"),
        required("state", ColumnType::Bytes, "What is known of its past"),
    ];
    let says = "What the job anomalies knows of each series that it looks at as samples come";
    of_sources(name, says, ["source", "series"], None, columns)
}

/// What is known as rows.
pub(super) fn batches(
    spec: &DatasetSpec,
    params: &Params,
    version: Version,
    known: &HashMap<String, Known>,
) -> Result<Vec<RecordBatch>> {
    let asked = asked(params)?;
    let version = i64::try_from(version.0).unwrap_or(i64::MAX);
    let rows: Vec<(&String, &Known)> =
        known.iter().collect::<BTreeMap<_, _>>().into_iter().collect();
    let batch = |rows: &[(&String, &Known)]| {
        let repeated = |text: &str| {
            let texts = std::iter::repeat_n(text, rows.len());
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
        };
        let numbers = |get: &dyn Fn(&Known) -> i64| {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, known)| get(known))))
        };
        let columns: Vec<ArrayRef> = vec![
            repeated(params.dataset.as_str()),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(name, _)| name))),
            repeated(&asked),
            numbers(&|_| version),
            crate::tables::columns::instants(rows.iter().map(|(_, known)| known.last_us)),
            numbers(&|known| i64::try_from(known.samples).unwrap_or(i64::MAX)),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, known)| &known.findings))),
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|(_, known)| &known.state))),
        ];
        Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
    };
    match rows.is_empty() {
        true => Ok(vec![batch(&[])?]),
        false => rows.chunks(BATCH_ROWS).map(batch).collect(),
    }
}

impl State {
    /// What runs before this one left, and the version of the state dataset that it stands in.
    pub(super) async fn read(ctx: &RunContext, params: &Params) -> Result<(Self, Version)> {
        let session = ctx.present().await?;
        let none = |version| {
            let says = format!("nothing is known of series of {} yet", params.dataset);
            Ok((Self::None(says), version))
        };
        let Some(in_version) = session.version(&params.state) else { return none(Version(0)) };
        let source = ident("source").eq(lit(params.dataset.as_str()));
        let mut columns: Vec<_> = ["series", "asked", "version", "samples"].map(ident).into();
        columns.push(cast(ident("last_at"), microseconds()));
        columns.extend(["findings", "state"].map(ident));
        let frame = session.table(&params.state).await?.filter(source)?.select(columns)?;
        let (mut rows, asked) = (session.stream(frame).await?, asked(params)?);
        let (mut known, mut up_to, mut bytes) = (HashMap::new(), None, 0);
        let bytes_max = ctx.memory_budget_bytes() / 2;
        while let Some(batch) = rows.next().await.transpose()? {
            ctx.check()?;
            let (names, of, findings) = (texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 5)?);
            let states = arrow::compute::cast(batch.column(6), &DataType::Binary)?;
            let states = states.as_binary::<i32>();
            let versions = batch.column(2).as_primitive::<Int64Type>();
            let samples = batch.column(3).as_primitive::<Int64Type>();
            let last = batch.column(4).as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                let version = Version(u64::try_from(versions.value(row)).unwrap_or(0));
                if of.value(row) != asked {
                    let says = "what is known of its series is of other parameters";
                    return Ok((Self::None(says.to_owned()), in_version));
                }
                if up_to.is_some_and(|up_to| up_to != version) {
                    let says = "what is known of its series is of several versions";
                    return Ok((Self::None(says.to_owned()), in_version));
                }
                up_to = Some(version);
                let of_series = Known {
                    last_us: last.is_valid(row).then(|| last.value(row)),
                    samples: u64::try_from(samples.value(row)).unwrap_or(0),
                    findings: findings.value(row).to_owned(),
                    state: states.value(row).to_vec(),
                };
                bytes += of_series.bytes();
                if bytes > bytes_max {
                    return Err(too_much(bytes_max));
                }
                known.insert(names.value(row).to_owned(), of_series);
            }
        }
        match up_to {
            None => none(in_version),
            Some(version) => Ok((Self::Of(version, known), in_version)),
        }
    }
}
