//! Definitions that are kept up to date: a name and the parameters of a job, as a schedule of that job on changes of its dataset.
//! Metrics ([`crate::metrics`]) and feature views ([`crate::feature_views`]) are such.

use chrono::DateTime;
use datasets::DatasetName;
use engine::{Code, Error, Principal, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::definitions;
use crate::parameters;
use crate::pipelines::Applied;
use crate::run::record::RunRecord;
use crate::run::runner::{RunHandle, RunRequest, Runner};
use crate::schedules::{Schedule, ScheduleState, Trigger, check_name};

/// A definition is computed no more often than once in so many seconds, unless it is said.
const EVERY_SECONDS: u32 = 10;
/// How often a definition may have become another one while it is made until that is left to the next change of its dataset.
const CHANGES_MEANWHILE_MAX: usize = 10;

/// Parameters of a job that can be kept up to date under a name.
pub trait KeptParams: Clone + Serialize + Send + Sync + Sized {
    /// What such a definition is called: that of its tables in TOML, and the beginning of its schedule's name.
    const KIND: &'static str;
    /// The job.
    const JOB: &'static str;
    /// The command that lists them.
    const LISTED_BY: &'static str;
    /// What a run's summary counts of what it made.
    const MADE: &'static str;
    /// Fields that are not for a definition, each with why.
    const REFUSED: &'static [(&'static str, &'static str)];

    /// Puts what the name stands for into the parameters.
    fn named(name: &str, fields: &mut Map<String, Value>);
    /// Reads them, and checks them.
    fn read(params: &Value) -> Result<Self>;
    /// What is checked of new ones alone.
    fn check_new(&self) -> Result<()> {
        Ok(())
    }
    /// The dataset whose changes have it computed.
    fn dataset(&self) -> &DatasetName;
    /// The dataset that what it made is in.
    fn output(&self) -> &DatasetName;
}

/// What is computed, and how often at most.
#[derive(Clone, Debug)]
pub struct Kept<P> {
    pub(crate) name: String,
    pub(crate) params: P,
    pub(crate) every_seconds: u32,
}

/// A definition and how far it is.
#[derive(Clone, Debug, Serialize)]
pub struct KeptState<P> {
    /// Its name.
    pub name: String,
    /// What is computed.
    pub definition: P,
    /// What keeps it up to date.
    pub schedule: ScheduleState,
}

/// A definition as it was made, and the run that computes it.
pub type Defined<P> = (KeptState<P>, Applied, RunHandle);

fn schedule_name<P: KeptParams>(name: &str) -> String {
    format!("{}-{name}", P::KIND)
}

impl<P: KeptParams> Kept<P> {
    /// Reads a definition: `fields` are parameters of the job, beside `every_seconds`. BAD_INPUT names the definition and the field.
    pub fn new(name: &str, mut fields: Map<String, Value>) -> Result<Self> {
        let kind = P::KIND;
        check_name(kind, name)?;
        check_name(kind, &schedule_name::<P>(name))?;
        let wrong = |says: String| Error::user(Code::BadInput, format!("{kind} {name}: {says}"));
        let every_seconds = match fields.remove("every_seconds") {
            None | Some(Value::Null) => EVERY_SECONDS,
            Some(value) => {
                value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()).ok_or_else(|| {
                    wrong(format!(
                        "every_seconds: expected a whole number of seconds, found {value}"
                    ))
                })?
            }
        };
        for (field, says) in P::REFUSED {
            if fields.contains_key(*field) {
                return Err(wrong(format!("{field}: {says}")));
            }
        }
        if !fields.contains_key("dataset") {
            return Err(wrong("dataset: expected the dataset whose rows are read".to_owned()));
        }
        P::named(name, &mut fields);
        let params = P::read(&Value::Object(fields))
            .and_then(|params| params.check_new().map(|()| params))
            .map_err(|e| e.while_doing(format_args!("{kind} {name}")))?;
        Ok(Self { name: name.to_owned(), params, every_seconds })
    }

    /// Reads the definitions of a text in TOML, each a table of their kind. `source` is where it is from, for what is said of it.
    pub fn from_toml(text: &str, source: &str) -> Result<Vec<Self>> {
        let read = definitions::tables(text, source, P::KIND)?.into_iter();
        let one = |(name, fields): (String, _)| Self::new(&name, fields);
        read.map(one).collect::<Result<_>>().map_err(|e| e.while_doing(source))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn schedule(&self) -> Result<Schedule> {
        Ok(Schedule {
            name: schedule_name::<P>(&self.name),
            job: P::JOB.to_owned(),
            params: parameters::canonical(&self.params)?,
            gpu: None,
            steps: Vec::new(),
            trigger: Trigger::Change {
                on_change: self.params.dataset().clone(),
                rows_min: 1,
                every_seconds: self.every_seconds,
            },
            priority: 0,
            created_by: String::new(),
            created_at: DateTime::UNIX_EPOCH,
        })
    }
}

impl Runner {
    /// Makes definitions what `asked` says, whether there were some of their names or not: all of them, or where something is wrong with
    /// one, none. Each is computed at once, what is as it was too, which may have failed before: answers with its run.
    pub async fn define<P: KeptParams>(
        &self,
        who: &Principal,
        asked: &[Kept<P>],
    ) -> Result<Vec<Defined<P>>> {
        let schedules = self.checked_definitions(who, asked).await?;
        let mut made = Vec::with_capacity(asked.len());
        for (one, schedule) in asked.iter().zip(&schedules) {
            let applied = self.upsert_schedule(who, schedule.clone(), &schedules).await?;
            let (job, params) = (P::JOB.to_owned(), schedule.params.clone());
            let run = self.submit(who, RunRequest { job, params, ..RunRequest::default() }).await?;
            made.push((self.definition(who, &one.name).await?, applied, run));
        }
        Ok(made)
    }

    /// Waits until what was defined is computed. Another may have made it something else meanwhile, and had that computed before this: then that
    /// is computed once more, so that the values are those of the definition that stands.
    pub async fn computed<P: KeptParams>(
        &self,
        who: &Principal,
        (mut state, applied, run): Defined<P>,
    ) -> Result<(KeptState<P>, Applied, RunRecord)> {
        let mut record = run.wait().await?;
        for _ in 0..CHANGES_MEANWHILE_MAX {
            let stands = match self.definition::<P>(who, &state.name).await {
                Err(error) if error.code() == Code::NotFound => break,
                stands => stands?,
            };
            let params = stands.schedule.schedule.params.clone();
            if params == state.schedule.schedule.params {
                break;
            }
            let request = RunRequest { job: P::JOB.to_owned(), params, ..RunRequest::default() };
            record = self.submit(who, request).await?.wait().await?;
            state = stands;
        }
        Ok((state, applied, record))
    }

    /// Fails with what is wrong with one of them, and makes nothing.
    pub async fn check_definitions<P: KeptParams>(
        &self,
        who: &Principal,
        asked: &[Kept<P>],
    ) -> Result<()> {
        self.checked_definitions(who, asked).await.map(drop)
    }

    /// What would keep them up to date.
    async fn checked_definitions<P: KeptParams>(
        &self,
        who: &Principal,
        asked: &[Kept<P>],
    ) -> Result<Vec<Schedule>> {
        let kind = P::KIND;
        definitions::require_different(kind, asked.iter().map(Kept::name))?;
        let schedules = asked.iter().map(Kept::schedule).collect::<Result<Vec<_>>>()?;
        for (one, schedule) in asked.iter().zip(&schedules) {
            let there = self.entry_of(who, &schedule.name).await?;
            let there = there.as_ref().map(Schedule::of).transpose()?;
            if there.is_some_and(|there| there.job != P::JOB) {
                let says = format!(
                    "{kind} {}: there is a schedule {}, which is no {kind}'s; remove it first, or take another name",
                    one.name, schedule.name
                );
                return Err(Error::user(Code::Conflict, says));
            }
            let checked = self.checked(who, schedule.clone(), &schedules).await;
            checked.map_err(|e| e.while_doing(format_args!("{kind} {}", one.name)))?;
        }
        Ok(schedules)
    }

    /// The tenant's definitions of a kind, by name.
    pub async fn definitions<P: KeptParams>(&self, who: &Principal) -> Result<Vec<KeptState<P>>> {
        let all = self.schedules(who).await?.into_iter();
        all.filter_map(|schedule| state(schedule).transpose()).collect()
    }

    /// One of them; NOT_FOUND where there is none.
    pub async fn definition<P: KeptParams>(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<KeptState<P>> {
        let all = self.definitions::<P>(who).await?;
        if let Some(found) = all.iter().find(|of| of.name == name) {
            return Ok(found.clone());
        }
        let names = all.iter().map(|of| of.name.as_str());
        Err(definitions::unknown(P::KIND, name, names, P::LISTED_BY))
    }

    /// Removes a definition: it is not kept up to date any more. Its rows stay.
    pub async fn remove_definition<P: KeptParams>(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<KeptState<P>> {
        let last = self.definition::<P>(who, name).await?;
        self.remove_schedule(who, &schedule_name::<P>(name)).await?;
        Ok(last)
    }
}

/// The definition that a schedule keeps up to date, if it does.
fn state<P: KeptParams>(schedule: ScheduleState) -> Result<Option<KeptState<P>>> {
    let name = schedule.schedule.name.strip_prefix(P::KIND).and_then(|rest| rest.strip_prefix('-'));
    let Some(name) = name else { return Ok(None) };
    if schedule.schedule.job != P::JOB {
        return Ok(None);
    }
    let (name, definition) = (name.to_owned(), P::read(&schedule.schedule.params)?);
    Ok(Some(KeptState { name, definition, schedule }))
}
