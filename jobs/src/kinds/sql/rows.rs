//! The rows of a query on their way to the commit: they are counted, they end when the run is told to stop, and where keys say what
//! they replace, each is there once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::display::array_value_to_string;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use engine::{Code, Error, Result, RowsRead};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::NAME;
use crate::run::context::{RunContext, cancelled};
use crate::run::stage::{Elsewhere, Stage};

/// How often it is said how far a query is that gives no rows yet.
const TOLD_EVERY: Duration = Duration::from_millis(500);
/// Part of the progress that is the query's; the rest is the end of the commit.
const PROGRESS: f64 = 0.95;
/// Parts of the run's memory: that rows may take which replace others by key, and that keys may take.
const ROWS_SHARE: usize = 2;
const KEYS_SHARE: usize = 4;

/// What is known of a query when its rows have come.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) read: AtomicU64,
    pub(super) given: AtomicU64,
}

/// Rows under way.
struct Flow {
    rows: SendableRecordBatchStream,
    read: RowsRead,
    keys: Option<Keys>,
    counts: Arc<Counts>,
    stage: Option<Stage>,
    /// The time in which nobody asks for rows, since those that came are written: it is not the query's.
    elsewhere: Elsewhere,
    handed_on: Instant,
    cancellation: CancellationToken,
    on_progress: Arc<dyn Fn(f64) + Send + Sync>,
    on_activity: Arc<dyn Fn(Value) + Send + Sync>,
    /// Rows that there are to read, where that is known.
    total: Option<u64>,
}

/// Begins a query; `key` are the columns of which each row has other values.
pub(super) async fn begin(
    ctx: &RunContext,
    frame: DataFrame,
    key: &[String],
    total: Option<u64>,
) -> Result<(SendableRecordBatchStream, Arc<Counts>)> {
    let stage = ctx.stage("query");
    let (rows, read) = ctx.session().stream_counted(frame).await?;
    let schema = rows.schema();
    let keys = (!key.is_empty())
        .then(|| Keys::new(&schema, key, ctx.memory_budget_bytes() / KEYS_SHARE))
        .transpose()?;
    let counts = Arc::new(Counts::default());
    let mut flow = Flow {
        rows,
        read,
        keys,
        counts: Arc::clone(&counts),
        elsewhere: stage.elsewhere(),
        handed_on: Instant::now(),
        stage: Some(stage),
        cancellation: ctx.cancellation().clone(),
        on_progress: ctx.progress_sink(),
        on_activity: ctx.activity_sink(),
        total,
    };
    // A query that fails mostly does so before its first rows: then there is no dataset either.
    let first = flow.next().await?;
    let rest = stream::try_unfold(flow, |mut flow| async move {
        let next = flow.next().await.map_err(|e| DataFusionError::External(Box::new(e)))?;
        Ok(next.map(|batch| (batch, flow)))
    });
    let rows = stream::iter(first.map(Ok)).chain(rest);
    Ok((Box::pin(RecordBatchStreamAdapter::new(schema, rows)), counts))
}

impl Flow {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.elsewhere.since(self.handed_on);
        let next = self.next_rows().await;
        self.handed_on = Instant::now();
        next
    }

    async fn next_rows(&mut self) -> Result<Option<RecordBatch>> {
        let batch = loop {
            tokio::select! {
                biased;
                () = self.cancellation.cancelled() => return Err(cancelled()),
                batch = self.rows.next() => break batch,
                () = tokio::time::sleep(TOLD_EVERY) => { self.tell(); }
            }
        };
        let batch = batch.transpose()?;
        let given = batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        let given = given + self.counts.given.fetch_add(given, Ordering::Relaxed);
        let read = self.tell();
        match &batch {
            Some(batch) => {
                if let Some(keys) = &mut self.keys {
                    keys.add(batch)?;
                }
            }
            None => {
                if let Some(mut stage) = self.stage.take() {
                    stage.record.rows_in = read;
                    stage.record.rows_out = given;
                    stage.finish();
                }
            }
        }
        Ok(batch)
    }

    fn tell(&self) -> u64 {
        let read = self.read.rows();
        self.counts.read.store(read, Ordering::Relaxed);
        if let Some(total) = self.total.filter(|total| *total > 0) {
            (self.on_progress)(PROGRESS * (read as f64 / total as f64).min(1.0));
        }
        let given = self.counts.given.load(Ordering::Relaxed);
        (self.on_activity)(json!({ "rows_read": read, "rows_given": given }));
        read
    }
}

/// All rows, which take the place of others by key.
pub(super) async fn all(
    ctx: &RunContext,
    mut rows: SendableRecordBatchStream,
) -> Result<Vec<RecordBatch>> {
    let most = ctx.memory_budget_bytes() / ROWS_SHARE;
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = rows.next().await.transpose()? {
        bytes += batch.get_array_memory_size();
        if bytes > most {
            return Err(Error::user(
                Code::LimitExceeded,
                format!(
                    "{NAME}: mode \"merge\" or \"partition\": expected rows of at most {most} bytes in one run, found more; choose fewer with WHERE, or \
                     take mode \"replace\""
                ),
            ));
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// The keys that have come.
struct Keys {
    columns: Vec<usize>,
    converter: RowConverter,
    known: HashSet<OwnedRow>,
    bytes: usize,
    bytes_max: usize,
}

impl Keys {
    fn new(schema: &arrow::datatypes::Schema, key: &[String], bytes_max: usize) -> Result<Self> {
        let columns = key.iter().map(|name| schema.index_of(name));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let types = columns.iter().map(|at| SortField::new(schema.field(*at).data_type().clone()));
        let converter = RowConverter::new(types.collect())?;
        Ok(Self { columns, converter, known: HashSet::new(), bytes: 0, bytes_max })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let values = batch.project(&self.columns)?;
        let rows = self.converter.convert_columns(values.columns())?;
        for (at, row) in rows.iter().enumerate() {
            self.bytes += row.as_ref().len() + size_of::<OwnedRow>();
            if !self.known.insert(row.owned()) {
                let schema = values.schema();
                let shown = schema.fields().iter().zip(values.columns()).map(|(field, column)| {
                    let value = array_value_to_string(column, at).unwrap_or_default();
                    format!("{} = {}", field.name(), value.chars().take(80).collect::<String>())
                });
                return Err(Error::user(
                    Code::BadInput,
                    format!(
                        "{NAME}: mode \"merge\": the query gives two rows of the key ({}); expected one of each",
                        shown.collect::<Vec<_>>().join(", ")
                    ),
                ));
            }
        }
        if self.bytes > self.bytes_max {
            return Err(Error::user(
                Code::LimitExceeded,
                format!(
                    "{NAME}: mode \"merge\": expected keys of at most {} bytes in one run, found more than {} rows of them",
                    self.bytes_max,
                    self.known.len()
                ),
            ));
        }
        Ok(())
    }
}
