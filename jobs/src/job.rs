//! What a job kind is. A job is a function of (input datasets at versions, parameters) to commits, so
//! this trait holds nothing else: no schedule, no queue, no storage. Whatever a kind does not state
//! here the runner cannot know, and whatever the runner gives arrives in the [`RunContext`].

use std::path::Path;

use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Result, Session};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::partition::Partition;
use crate::run::context::RunContext;

/// One job kind.
///
/// Its futures are boxed by hand: `async_trait` would put bounds on each method, and under every other set of bounds the compiler
/// proves anew, in three seconds, that plans may go from thread to thread.
pub trait Job: Send + Sync {
    /// Its name, as in `colonnade run NAME`.
    fn name(&self) -> &'static str;

    /// One line of what it finds.
    fn description(&self) -> &'static str;

    /// Raised when the same inputs and parameters begin to give another result, so that results of the
    /// old method are not taken for results of the new one.
    fn revision(&self) -> u32 {
        1
    }

    /// JSON schema of its parameters; every parameter has a description, a unit and a default.
    fn parameters_schema(&self) -> Value;

    /// The parameters with every default filled in, fields in one fixed order: equal runs have equal
    /// text. Fails with `BAD_INPUT` naming the field.
    fn canonical(&self, params: &Value) -> Result<Value>;

    /// The datasets that it reads. Checks the parameters as [`Job::canonical`] does.
    fn inputs(&self, params: &Value) -> Result<Vec<DatasetName>>;

    /// Datasets that it reads where they are there, beside its inputs, which may be among them.
    fn reads_where_there(&self, params: &Value) -> Result<Vec<DatasetName>> {
        let _ = params;
        Ok(Vec::new())
    }

    /// What else its result depends on beside parameters and inputs, for the key of its runs: the digest of a program that is not
    /// part of this one. `programs` is the folder of those that may run.
    fn code(&self, params: &Value, programs: Option<&Path>) -> Result<Value> {
        let _ = (params, programs);
        Ok(Value::Null)
    }

    /// Whether the clock says what a run finds, beside its inputs: then the result of an earlier run is never taken for that of another.
    fn looks_at_the_clock(&self) -> bool {
        false
    }

    /// Whether a schedule of it has one run at a time, since the next goes on from what the last one committed: what changes
    /// meanwhile is the next one's.
    fn runs_alone(&self) -> bool {
        false
    }

    /// After how many seconds a schedule of it on changes runs again where nothing changed, since what the clock brings is due.
    fn looks_again_after(&self, params: &Value) -> Result<Option<u32>> {
        let _ = params;
        Ok(None)
    }

    /// Whether a run that ended with `summary` left something of what it saw to the next: a schedule runs again at once.
    fn goes_on(&self, summary: &Value) -> bool {
        let _ = summary;
        false
    }

    /// Whether a run with these parameters adds rows to those of earlier runs. If so, the scheduled time is part of the run's
    /// identity: each time adds rows, even if the inputs have not changed.
    fn appends(&self, params: &Value) -> bool {
        let _ = params;
        false
    }

    /// Whether it may commit to a dataset that it reads: only a kind that appends to a history may.
    fn appends_to_inputs(&self) -> bool {
        false
    }

    /// The datasets that it commits to. Checks the parameters as [`Job::canonical`] does.
    fn outputs(&self, params: &Value) -> Result<Vec<DatasetSpec>>;

    /// What it commits to where it is told no name, whatever else it is asked: these names are its own.
    fn own_outputs(&self) -> Vec<DatasetSpec> {
        self.outputs(&Value::Object(serde_json::Map::new())).unwrap_or_default()
    }

    /// What a run would commit to on the datasets of `session`, with all columns that are known without rows. Fails where a column
    /// that the parameters name is not there or is of another type; no rows are read.
    fn plan<'a>(
        &'a self,
        session: &'a Session,
        params: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<DatasetSpec>>> {
        let _ = session;
        Box::pin(async move { self.outputs(params) })
    }

    /// Whether whoever may read may have it run, and it sees what they see: it commits nothing, and hands what it read to nobody else.
    fn is_for_readers(&self) -> bool {
        false
    }

    /// Whether one run may make what one partition of time adds to its result, and leave the others as they are.
    fn has_partitions(&self) -> bool {
        false
    }

    /// The parameters of the run that makes one partition. Fails where `params` would touch others, too.
    fn of_partition(&self, params: &Value, partition: Partition) -> Result<Value> {
        let _ = (params, partition);
        Err(Error::user(Code::BadInput, format!("{}: this job has no partitions", self.name())))
    }

    /// Memory that a row of its inputs takes at its busiest moment, in bytes: a guess, from which a run's memory is estimated before
    /// one of its kind has run. 0 where it does not go with the rows.
    fn row_bytes(&self) -> usize {
        0
    }

    /// Whether its kernels use a GPU where there is one, and the run is given its share of the GPU's memory.
    fn uses_gpu(&self) -> bool {
        false
    }

    /// What a run would read and need, from the size of its inputs alone. `history` knows better where runs of the kind were before.
    fn estimate(&self, params: &Value, inputs: &[InputSize]) -> Result<Estimate> {
        let _ = params;
        let rows = inputs.iter().map(|input| input.rows.unwrap_or(0)).sum::<u64>();
        let memory_bytes = rows.saturating_mul(self.row_bytes() as u64);
        let device_bytes = if self.uses_gpu() { memory_bytes } else { 0 };
        let bytes_read = inputs.iter().map(|input| input.bytes).sum();
        Ok(Estimate { rows, bytes_read, memory_bytes, device_bytes, seconds: None })
    }

    /// Does the work and commits its results through [`RunContext::commit`].
    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>>;
}

/// How large an input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSize {
    /// The dataset.
    pub dataset: DatasetName,
    /// Its rows, where its files say.
    pub rows: Option<u64>,
    /// Bytes of its files.
    pub bytes: u64,
}

/// What a run would need, known before it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {
    /// Rows of the inputs; 0 when their files do not say.
    pub rows: u64,
    /// Bytes of the inputs' files.
    pub bytes_read: u64,
    /// Main memory, in bytes. It waits until so much is free, or all of its worker's is.
    pub memory_bytes: u64,
    /// Memory of a GPU, in bytes, where it uses one. It waits until so much is free.
    pub device_bytes: u64,
    /// How long it works, in seconds, where runs of its kind were before.
    pub seconds: Option<f64>,
}

/// What a finished run says of itself beside its commits.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Facts for a person: counts, what was dropped and why.
    pub summary: Value,
}
