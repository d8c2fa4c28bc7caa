//! What every job that looks at one series after the other does alike: read them in chunks that fit the budget, and count those that
//! can't be looked at.

use std::collections::BTreeMap;

use analysis::series::{Cleaning, Samples, Series, clean};
use engine::{Code, Error, Result};
use kernels::Execution;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::{SeriesReader, SeriesSource};
use crate::run::context::RunContext;
use crate::run::stage::Stage;

/// Points looked at together at least, so that a small budget is slow and not useless.
const POINTS_MIN: usize = 1 << 16;
/// Names kept as examples of each reason.
const EXAMPLES_MAX: usize = 5;

/// Series that could not be looked at, by reason: how many, and a few names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Skipped(BTreeMap<&'static str, (u64, Vec<String>)>);

impl Skipped {
    pub(crate) fn add(&mut self, reason: &'static str, name: String) {
        self.count(reason, 1, vec![name]);
    }

    /// Adds what another chunk skipped.
    pub(crate) fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(reason, (count, names))| self.count(reason, count, names));
    }

    fn count(&mut self, reason: &'static str, more: u64, names: Vec<String>) {
        let (count, examples) = self.0.entry(reason).or_default();
        *count += more;
        examples.extend(names.into_iter().take(EXAMPLES_MAX.saturating_sub(examples.len())));
    }

    /// As it stands in a summary.
    pub(crate) fn summary(&self) -> Value {
        let of = |(reason, (count, examples)): (&&str, &(u64, Vec<String>))| {
            ((*reason).to_owned(), json!({ "series": count, "examples": examples }))
        };
        Value::Object(self.0.iter().map(of).collect::<Map<_, _>>())
    }

    /// The reason why `name` was skipped, where it is among the examples.
    #[cfg(test)]
    pub(crate) fn reason(&self, name: &str) -> Option<&'static str> {
        let has = |(_, (_, examples)): &(&&str, &(u64, Vec<String>))| {
            examples.iter().any(|example| example == name)
        };
        self.0.iter().find(has).map(|(reason, _)| *reason)
    }
}

/// What was read of series, whatever was found in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) series: u64,
    pub(crate) samples: u64,
    pub(crate) cleaning: Cleaning,
    pub(crate) skipped: Skipped,
}

impl Tally {
    /// Cleans a chunk of series, and counts it.
    pub(crate) fn of(chunk: Vec<Series>, pool: &rayon::ThreadPool) -> (Self, Vec<Samples>) {
        let mut tally = Self { series: chunk.len() as u64, ..Self::default() };
        let cleaned: Vec<(Samples, Cleaning)> =
            pool.install(|| chunk.into_par_iter().map(clean).collect());
        let count = |(samples, cleaning): (Samples, Cleaning)| {
            tally.samples += samples.values.len() as u64;
            tally.add_cleaning(cleaning);
            samples
        };
        let samples = cleaned.into_iter().map(count).collect();
        (tally, samples)
    }

    /// Counts one that was cleaned.
    pub(crate) fn count(&mut self, samples: &Samples, cleaning: Cleaning) {
        self.series += 1;
        self.samples += samples.values.len() as u64;
        self.add_cleaning(cleaning);
    }

    /// Adds that of another chunk.
    pub(crate) fn merge(&mut self, other: Self) {
        self.series += other.series;
        self.samples += other.samples;
        self.add_cleaning(other.cleaning);
        self.skipped.merge(other.skipped);
    }

    fn add_cleaning(&mut self, other: Cleaning) {
        self.cleaning.values_missing += other.values_missing;
        self.cleaning.duplicates += other.duplicates;
    }

    /// Adds its figures to a summary.
    pub(crate) fn summarise(&self, summary: &mut Value) {
        summary["series"] = self.series.into();
        summary["series_skipped"] = self.skipped.summary();
        summary["samples"] = self.samples.into();
        summary["values_missing"] = self.cleaning.values_missing.into();
        summary["duplicate_instants"] = self.cleaning.duplicates.into();
    }
}

impl SeriesSource<'_> {
    /// Reads chunk after chunk of whole series, has `look` look at each on the numeric threads, and gives what it found to `add`.
    /// The bytes are what a point, and what a series beside its points,
    /// takes in all steps together. Returns facts of the step.
    pub(crate) async fn look<Found: Send + 'static>(
        &self,
        ctx: &RunContext,
        stage: &mut Stage,
        bytes: (usize, usize),
        look: impl Fn(Vec<Series>, &Execution, &rayon::ThreadPool) -> Result<Found>
        + Clone
        + Send
        + 'static,
        add: impl FnMut(Found) -> Result<()>,
    ) -> Result<Value> {
        let rows_total = ctx.input(self.dataset)?.rows;
        self.read(ctx).await?.look(ctx, stage, bytes, rows_total, look, add).await
    }
}

impl SeriesReader {
    /// The same of what this reads, about `rows_total` rows.
    pub(crate) async fn look<Found: Send + 'static>(
        mut self,
        ctx: &RunContext,
        stage: &mut Stage,
        (point_bytes, series_bytes): (usize, usize),
        rows_total: Option<u64>,
        look: impl Fn(Vec<Series>, &Execution, &rayon::ThreadPool) -> Result<Found>
        + Clone
        + Send
        + 'static,
        mut add: impl FnMut(Found) -> Result<()>,
    ) -> Result<Value> {
        let points_max = (ctx.memory_budget_bytes() / point_bytes).max(POINTS_MIN);
        let reader = &mut self;
        loop {
            let chunk = reader.chunk_of(points_max, series_bytes / point_bytes).await?;
            if chunk.is_empty() {
                break;
            }
            let execution = ctx.execution(ctx.memory_budget_bytes());
            let (pool, look) = (ctx.pool().clone(), look.clone());
            add(ctx.compute(move || look(chunk, &execution, &pool)).await?)?;
            if let Some(total) = rows_total.filter(|total| *total > 0) {
                ctx.progress(0.95 * (reader.rows_read as f64 / total as f64).min(1.0));
            }
        }
        stage.record.rows_in += reader.rows_read;
        stage.record.bytes_read += reader.bytes_read;
        Ok(json!({ "points_at_once_max": points_max }))
    }
}

/// CANCELLED where a kernel was told to stop, so that nobody takes what it left for an answer.
pub(crate) fn check_cancelled(job: &str, execution: &Execution) -> Result<()> {
    match execution.control.is_cancelled() {
        true => Err(Error::user(Code::Cancelled, format!("{job}: cancelled"))),
        false => Ok(()),
    }
}
