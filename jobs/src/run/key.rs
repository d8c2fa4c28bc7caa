//! The key of a run: what its result depends on, and nothing else. Two runs with one key would commit
//! the same rows, so the second finds the first one's commit by it. Who asked, when, and on which
//! device are left out on purpose.

use std::path::Path;

use engine::{Code, Error, Result, RunId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::job::Job;
use crate::run::record::{DatasetVersion, RunRecord};

/// How the names begin under which commits of runs are marked.
const APPLICATION: &str = "colonnade-run-";

/// SHA-256 in hex of the job, its revision, its canonical parameters, its code where that is not part of this program, and its inputs
/// at their versions, with the instants at which their tables were made.
pub(crate) fn run_key(
    job: &str,
    revision: u32,
    canonical_params: &Value,
    code: &Value,
    inputs: &[DatasetVersion],
) -> String {
    let mut inputs: Vec<_> = inputs
        .iter()
        .map(|input| {
            let made_us = input.made_at.map(|at| at.timestamp_micros());
            (input.dataset.as_str(), input.version.0, made_us)
        })
        .collect();
    inputs.sort_unstable();
    let inputs: Vec<Value> = inputs.into_iter().map(of_input).collect();
    let text = match code {
        // As releases had it that knew of no other code.
        Value::Null => json!([job, revision, canonical_params, inputs]),
        code => json!([job, revision, canonical_params, inputs, code]),
    };
    let text = text.to_string();
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An input as a key has it: runs of before did not know when its table was made.
fn of_input((dataset, version, made_us): (&str, u64, Option<i64>)) -> Value {
    match made_us {
        None => json!([dataset, version]),
        Some(made_us) => json!([dataset, version, made_us]),
    }
}

/// A schedule, and the scheduled time of a run.
pub(crate) type Scheduled<'a> = (&'a str, &'a str);

/// What the result of a run depends on beside parameters and inputs: the code of its job, or the run itself, where the clock counts.
/// For a job that appends, also the scheduled time.
pub(crate) fn code_of(
    job: &dyn Job,
    id: RunId,
    params: &Value,
    scheduled: Option<Scheduled<'_>>,
    programs: Option<&Path>,
) -> Result<Value> {
    if job.looks_at_the_clock() {
        return Ok(json!(id.to_string()));
    }
    let code = job.code(params, programs)?;
    match scheduled.filter(|_| job.appends(params)) {
        Some((schedule, time)) => Ok(json!({ "code": code, "schedule": schedule, "time": time })),
        None => Ok(code),
    }
}

/// The schedule and scheduled time of a run, if it has one.
pub(crate) fn scheduled(record: &RunRecord) -> Option<Scheduled<'_>> {
    record.schedule.as_deref().zip(record.logical_time.as_deref())
}

/// The name under which the commits of a key are marked in the table itself (Delta `txn.appId`).
pub(crate) fn application_id(key: &str) -> String {
    format!("{APPLICATION}{key}")
}

/// The key whose commits are marked so.
pub(crate) fn key_of(application: &str) -> Option<&str> {
    application.strip_prefix(APPLICATION)
}

/// That the program of a run is the one that its key names.
pub(crate) fn require_code(
    job: &dyn Job,
    record: &RunRecord,
    programs: Option<&Path>,
) -> Result<()> {
    let is_own = |scheduled| {
        let code = code_of(job, record.id, &record.params, scheduled, programs)?;
        let key = || run_key(job.name(), job.revision(), &record.params, &code, &record.inputs);
        Ok::<_, Error>(code.is_null() || key() == record.key)
    };
    // A run that an earlier release queued has a key without its scheduled time.
    if is_own(scheduled(record))? || is_own(None)? {
        return Ok(());
    }
    Err(Error::user(
        Code::Conflict,
        format!(
            "{}: its program has changed since the run was asked for; ask for it again",
            job.name()
        ),
    ))
}
