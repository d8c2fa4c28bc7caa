//! Generators: rows like an organisation's own, from a seed, with planted truth to score jobs by.
//!
//! A row follows from the seed and its number alone, never from how rows are cut into batches; so two runs
//! that disagree have different code or different seeds. Public files are too small or too clean to
//! show scale, and nobody knows what is hidden in them.

mod events;
mod metrics;
mod model_calls;
mod random;
mod rhythm;
mod tickets;
mod truth;
mod words;
mod workflow_steps;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::spec::DatasetSpec;
use crate::specs;

pub use truth::{AnomalyKind, PlantedAnomaly, PlantedCorrelation, PlantedSlowCase, Truth};

/// Where generated time starts: 2026-01-01T00:00:00Z, in microseconds.
pub const START_US: i64 = 1_767_225_600_000_000;
/// How long generated time is for the datasets that are not sampled on a grid.
pub const SPAN_DAYS: usize = 30;

/// How much to generate.
#[derive(Clone, Debug)]
pub struct GeneratorOptions {
    /// Everything follows from it.
    pub seed: u64,
    /// Rows in all.
    pub rows: u64,
    /// Rows per batch; the last one may have fewer.
    pub batch_rows: usize,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        Self { seed: 1, rows: 100_000, batch_rows: 8_192 }
    }
}

/// Generates the rows of a built-in dataset, batch by batch, without its computed partition columns.
pub struct Generator {
    spec: DatasetSpec,
    schema: SchemaRef,
    rows: Box<dyn Rows>,
    truth: Truth,
    left: u64,
    batch_rows: usize,
}

/// The rows of one dataset, in order.
trait Rows: Send {
    /// The columns of the next `count` rows.
    fn next_columns(&mut self, count: usize) -> Result<Vec<ArrayRef>>;
}

impl Generator {
    /// A generator of `dataset`, one of the built-in ones.
    pub fn new(dataset: &str, options: GeneratorOptions) -> Result<Self> {
        let (rows, truth): (Box<dyn Rows>, Truth) = match dataset {
            "model_calls" => model_calls::plan(&options),
            "tickets" => tickets::plan(&options),
            "workflow_steps" => workflow_steps::plan(&options),
            "metrics" => metrics::plan(&options),
            "events" => events::plan(&options),
            other => {
                return Err(Error::Name {
                    what: "generator",
                    name: other.chars().take(80).collect(),
                    expected: "model_calls, tickets, workflow_steps, metrics or events".into(),
                });
            }
        };
        let spec = specs::by_name(dataset)
            .ok_or_else(|| Error::Internal(format!("no shipped spec of {dataset}")))?;
        let fields: Vec<_> = spec.columns.iter().map(crate::ColumnSpec::field).collect();
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            spec,
            rows,
            truth,
            left: options.rows,
            batch_rows: options.batch_rows.max(1),
        })
    }

    /// The spec of the dataset.
    pub fn spec(&self) -> &DatasetSpec {
        &self.spec
    }

    /// The columns of every batch: the spec's, without the computed ones.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What is planted in the rows.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }
}

impl Iterator for Generator {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let count = (self.batch_rows as u64).min(self.left);
        self.left -= count;
        let batch = self.rows.next_columns(count as usize).and_then(|columns| {
            RecordBatch::try_new(Arc::clone(&self.schema), columns)
                .map_err(|e| Error::Internal(format!("generated {}: {e}", self.spec.name)))
        });
        if batch.is_err() {
            self.left = 0;
        }
        Some(batch)
    }
}

/// Microseconds as an instant of the truth.
fn instant(us: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_micros(us).unwrap_or_default()
}

/// A timestamp column.
fn timestamps(us: Vec<i64>) -> ArrayRef {
    Arc::new(arrow::array::TimestampMicrosecondArray::from(us).with_timezone("UTC"))
}

#[cfg(test)]
mod tests;
