//! From a request to a run whose inputs are pinned.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::{AsOf, Catalog, Code, Error, Principal, Result, RunId, Session, is_kept_name};
use serde_json::Value;

use super::{RunRequest, Runner};
use crate::job::Job;
use crate::parameters::bad;
use crate::run::document::Document;
use crate::run::key::{code_of, run_key, scheduled};
use crate::run::record::{DatasetVersion, RunRecord, RunState};

/// A run of which nothing is known but what was asked for.
pub(super) fn new_record(
    who: &Principal,
    request: &RunRequest,
    requested_at: DateTime<Utc>,
) -> RunRecord {
    RunRecord {
        workers_lost: 0,
        as_it_was: None,
        id: RunId::new(),
        job: request.job.clone(),
        state: RunState::Queued,
        params: request.params.clone(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        attempts: Vec::new(),
        next_attempt_at: None,
        waits_for: None,
        priority: request.priority,
        estimate: None,
        beside: Vec::new(),
        contents: BTreeMap::new(),
        deadline_at: request.deadline_at,
        schedule: None,
        logical_time: None,
        stages: Vec::new(),
        requested_by: who.subject.clone(),
        requested_at,
        started_at: None,
        finished_at: None,
        progress: 0.0,
        activity: Value::Null,
        repeated_of: None,
        error: None,
        summary: Value::Null,
        key: String::new(),
    }
}

impl Runner {
    /// Records the schedule and the scheduled time of a run.
    pub(crate) fn schedule_as(
        &self,
        document: &mut Document,
        schedule: &str,
        time: &str,
    ) -> Result<()> {
        let record = &mut document.record;
        record.schedule = Some(schedule.to_owned());
        record.logical_time = Some(time.to_owned());
        // A run that could not be prepared has no key.
        if record.key.is_empty() {
            return Ok(());
        }
        let options = &self.shared.options;
        let job = options.jobs.get(&record.job)?;
        let (job, programs) = (job.as_ref(), options.programs.as_deref());
        let code = code_of(job, record.id, &record.params, scheduled(record), programs)?;
        record.key = run_key(job.name(), job.revision(), &record.params, &code, &record.inputs);
        Ok(())
    }
}

/// That what it commits to is a job's own to write, and no input.
pub(crate) fn require_outputs(job: &dyn Job, params: &Value, inputs: &[DatasetName]) -> Result<()> {
    // The names of its own that a kind has when it is not asked for others.
    let own = job.own_outputs();
    for output in job.outputs(params)? {
        // Which parameter names it, to say so: outputs stand behind inputs.
        let name = output.name.as_str();
        let names = params.as_object().into_iter().flatten();
        let mut named =
            names.filter(|(parameter, value)| *value == name && *parameter != "dataset");
        let parameter = named.next_back().map_or("output", |(parameter, _)| parameter);
        let refused = |says: String| Err(bad(job.name(), parameter, says));
        // One of its names for another of its outputs would be there with the wrong columns for good.
        if own.iter().any(|own| own.name == output.name && own.key != output.key) {
            return refused(format!(
                "{name} is kept for another of its outputs; expected another name"
            ));
        }
        if is_kept_name(&output.name) && own.iter().all(|own| own.name != output.name) {
            return refused(format!("{name} is kept for other records; expected another name"));
        }
        if inputs.contains(&output.name) && !job.appends_to_inputs() {
            return refused(format!("expected another dataset than the input {name}"));
        }
    }
    Ok(())
}

/// Adds to the inputs what is read, too, where it is there.
pub(super) fn add_those_there(
    inputs: &mut Vec<DatasetName>,
    others: Vec<DatasetName>,
    catalog: &Catalog,
) {
    for name in others {
        if catalog.datasets.contains_key(&name) && !inputs.contains(&name) {
            inputs.push(name);
        }
    }
}

/// The inputs at the versions of the session.
pub(super) fn at_versions(
    inputs: Vec<DatasetName>,
    session: &Session,
    catalog: &Catalog,
) -> Result<Vec<DatasetVersion>> {
    inputs
        .into_iter()
        .map(|dataset| {
            let entry = catalog.dataset(&dataset)?;
            let version = session.version(&dataset).unwrap_or(entry.version);
            // The catalogue counts the rows of the newest version only.
            let rows = entry.rows.filter(|_| version == entry.version);
            Ok(DatasetVersion { dataset, version, rows, made_at: entry.created_at })
        })
        .collect()
}

/// The pins of the session: each input, at the version that the request names or at the latest.
pub(super) fn pins(
    request: &RunRequest,
    inputs: &[DatasetName],
) -> Result<Vec<(DatasetName, AsOf)>> {
    if let Some((stray, _)) = request.pins.iter().find(|(dataset, _)| !inputs.contains(dataset)) {
        let names: Vec<_> = inputs.iter().map(DatasetName::as_str).collect();
        return Err(Error::user(
            Code::BadInput,
            format!(
                "{}: version of {stray}: expected a dataset that the job reads ({})",
                request.job,
                names.join(", ")
            ),
        ));
    }
    Ok(inputs
        .iter()
        .map(|dataset| {
            let pin = request.pins.iter().find(|(pinned, _)| pinned == dataset);
            (dataset.clone(), pin.map_or(AsOf::Latest, |(_, as_of)| *as_of))
        })
        .collect())
}
