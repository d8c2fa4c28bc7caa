//! When jobs run by themselves: a schedule is a job with its parameters, or a pipeline of several, and what it waits for: a cron line
//! on the clock of a time zone, a dataset that changes, or the runs of another (`trigger.rs`).
//!
//! Each time of a schedule, by the name that its local clock has for it, has one run at most: the database says so, whatever starts
//! anew, and however many processes look at the clock. A time that nobody was there for is made up for or not, as `catch_up` says.

mod backfill;
#[cfg(test)]
mod backfill_tests;
mod by_hand;
#[cfg(test)]
mod by_hand_tests;
mod fire;
#[cfg(test)]
mod pauses_tests;
mod plan;
mod recorded;
#[cfg(test)]
mod tests;
mod trigger;
mod uses;
pub(crate) mod when;

use chrono::{DateTime, TimeDelta, Utc};
use datasets::DatasetName;
use engine::{Code, Error, Principal, Result, Role, RunId};
use kernels::GpuPolicy;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::{Pause, ScheduleEntry};
use crate::parameters::dataset_name;
use crate::pipelines::{self, Graph, Step};
use crate::run::ledger::RUNS;
use crate::run::logs::RUN_LOGS;
use crate::run::record::RunState;
use crate::run::runner::{RunRequest, Runner, require_outputs};
use crate::run::stages::RUN_STAGES;
use backfill::going_on;
use trigger::{Node, circle};
use when::WhenError;

pub use backfill::{AT_ONCE_MAX, Backfill, Every, Progress};
pub(crate) use fire::{Begun, fire_due, fire_run, owner};
pub use recorded::recorded_schedules;
pub use trigger::Trigger;
pub use uses::require_unused;

/// Schedules of one tenant.
const SCHEDULES_MAX: usize = 1_000;
/// Longest schedule with its parameters, in bytes: all of them are read every second. A pipeline has a bound of its own.
const DOCUMENT_MAX_BYTES: usize = 32 << 10;
/// Longest name of a schedule, in bytes.
const NAME_MAX_BYTES: usize = 63;
/// Longest spread of starts.
const JITTER_MAX: TimeDelta = TimeDelta::hours(1);

/// What runs, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name: lower-case letters, digits, `_` and `-`, a letter first.
    pub name: String,
    /// The job kind; `pipeline` of one that has steps.
    pub job: String,
    /// Its parameters, an object; `null` takes every default.
    pub params: Value,
    /// Device policy; the runner's own when absent.
    #[serde(with = "policy")]
    pub gpu: Option<GpuPolicy>,
    /// The jobs of a pipeline; none of any other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What it waits for.
    #[serde(flatten)]
    pub trigger: Trigger,
    /// Of its runs; higher is sooner.
    pub priority: i32,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A schedule and how far it is.
#[derive(Clone, Debug, Serialize)]
pub struct ScheduleState {
    /// What runs, and when.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// Whether it rests.
    pub is_paused: bool,
    /// Times that came too late to run.
    pub missed: u64,
    /// When it runs next; none while it rests, and where no clock says it.
    pub next_at: Option<DateTime<Utc>>,
    /// How far a backfill is; none of others.
    pub progress: Option<Progress>,
    /// How its newest run is; none, where it had none or that was long ago.
    pub last_state: Option<RunState>,
    /// The earlier run whose results the newest run found unchanged, so the newest run wrote nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_same_as: Option<RunId>,
}

/// A time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextTime {
    /// The instant.
    pub at: DateTime<Utc>,
    /// What the clock of its zone shows, as RFC 3339.
    pub local: String,
}

impl From<WhenError> for Error {
    fn from(error: WhenError) -> Self {
        Self::user(Code::BadInput, error.to_string())
    }
}

impl Schedule {
    fn request(&self, params: Value) -> RunRequest {
        RunRequest {
            job: self.job.clone(),
            params,
            gpu: self.gpu,
            priority: self.priority,
            ..RunRequest::default()
        }
    }

    /// The parameters of its runs; of a backfill those of the first.
    fn first_params(&self, runner: &Runner) -> Result<Value> {
        match self.trigger.partitions()?.first() {
            Some(first) => runner.jobs().of_partition(&self.job, &self.params, first.partition),
            None => Ok(self.params.clone()),
        }
    }

    /// Whether it is the same as another, whoever made that and when.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let own = (&self.job, &self.params, self.gpu, &self.steps, &self.trigger, self.priority);
        own == (&other.job, &other.params, other.gpu, &other.steps, &other.trigger, other.priority)
    }

    pub(crate) fn to_text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::internal(format!("schedule {} as JSON: {e}", self.name)))
    }

    pub(crate) fn of(entry: &ScheduleEntry) -> Result<Self> {
        serde_json::from_str(&entry.document).map_err(|e| {
            Error::internal(format!("schedule {} in the control database: {e}", entry.name))
        })
    }
}

/// Fails where `name` is none that a schedule, or another thing that is kept beside it, can have.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    let is_name = name.len() <= NAME_MAX_BYTES
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name.bytes().all(letters);
    if is_name {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Error::user(
        Code::BadInput,
        format!(
            "{what} {shown:?}: expected a name of 1 to {NAME_MAX_BYTES} lower-case letters, digits, `_` and `-`, a letter first"
        ),
    ))
}

impl Runner {
    /// A schedule as it would be kept, with those that are to be made beside it. Fails with what is wrong with it.
    pub(crate) async fn checked(
        &self,
        who: &Principal,
        mut schedule: Schedule,
        beside: &[Schedule],
    ) -> Result<Schedule> {
        check_name("schedule", &schedule.name)?;
        schedule.trigger = schedule.trigger.checked(&schedule.name)?;
        match schedule.steps.is_empty() {
            true => {
                let params = schedule.first_params(self)?;
                let checked = match self.check_job(&schedule.job, &params) {
                    Ok(()) => {
                        self.check_plan(who, (&schedule.name, &schedule.job), &params, beside).await
                    }
                    Err(error) => Err(error),
                };
                checked.map_err(|e| e.while_doing(format_args!("schedule {}", schedule.name)))?;
            }
            false => pipelines::check(self, who, &schedule).await?,
        }
        self.require_durable(&schedule.name)?;
        self.require_cause(who, &schedule, beside).await?;
        Ok(schedule)
    }

    /// Fails with what is wrong with a job's parameters.
    pub(crate) fn check_job(&self, job: &str, params: &Value) -> Result<()> {
        let job = self.jobs().get(job)?;
        let params = job.canonical(params)?;
        let inputs: Vec<DatasetName> = job.inputs(&params)?;
        for output in job.outputs(&params)? {
            if inputs.contains(&output.name) && !job.appends_to_inputs() {
                return Err(Error::user(
                    Code::BadInput,
                    format!(
                        "{} writes to its own input {}; expected another output",
                        job.name(),
                        output.name
                    ),
                ));
            }
        }
        require_outputs(job.as_ref(), &params, &inputs)
    }

    /// A schedule of the tenant as it is kept.
    pub(crate) async fn entry_of(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<Option<ScheduleEntry>> {
        Ok(self.store().schedule(who.tenant.as_str(), name).await?)
    }

    /// Adds a schedule. Its first time is the next one from now on. CONFLICT where there is one of this name.
    pub async fn add_schedule(&self, who: &Principal, schedule: Schedule) -> Result<ScheduleState> {
        self.add_schedule_beside(who, schedule, &[]).await
    }

    /// The same of one that may come after others that are to be made beside it.
    pub(crate) async fn add_schedule_beside(
        &self,
        who: &Principal,
        schedule: Schedule,
        beside: &[Schedule],
    ) -> Result<ScheduleState> {
        who.require(Role::Operator)?;
        let mut schedule = self.checked(who, schedule, beside).await?;
        schedule.created_by = who.subject.clone();
        schedule.created_at = self.now();
        let store = self.store();
        let tenant = who.tenant.as_str();
        if store.schedules(Some(tenant)).await?.len() >= SCHEDULES_MAX {
            return Err(Error::user(
                Code::LimitExceeded,
                format!("there are {SCHEDULES_MAX} schedules already; expected fewer"),
            ));
        }
        if let Trigger::Backfill { .. } = schedule.trigger {
            // What no partition could begin with is told now.
            self.prepare(who, schedule.request(schedule.first_params(self)?)).await?;
        }
        let document = schedule.to_text()?;
        if schedule.steps.is_empty() && document.len() > DOCUMENT_MAX_BYTES {
            return Err(Error::user(
                Code::LimitExceeded,
                format!(
                    "schedule {}: expected at most {DOCUMENT_MAX_BYTES} bytes with all parameters, found {}",
                    schedule.name,
                    document.len()
                ),
            ));
        }
        let entry = ScheduleEntry {
            tenant: tenant.to_owned(),
            name: schedule.name.clone(),
            is_paused: false,
            up_to: self.place_now(who, &schedule.trigger).await?,
            missed: 0,
            document,
        };
        if !store.add_schedule(&entry).await? {
            return Err(Error::user(
                Code::Conflict,
                format!(
                    "there is a schedule {} already; remove it first, or take another name",
                    schedule.name
                ),
            ));
        }
        // Another that came at the same moment may make a circle with it.
        if let Err(error) = self.require_cause(who, &schedule, beside).await {
            store.remove_schedule(tenant, &schedule.name).await?;
            return Err(error);
        }
        self.state_of(&entry).await
    }

    /// Up to where everything is handled that a schedule waits for.
    pub(crate) async fn place_now(&self, who: &Principal, trigger: &Trigger) -> Result<i64> {
        match trigger {
            Trigger::Clock { .. } => Ok(self.now().timestamp_micros()),
            Trigger::Change { on_change, .. } => {
                let catalog = self.engine().catalog(who).await?;
                // All of one that is yet to come is new.
                let there = catalog.datasets.get(on_change);
                Ok(there.map_or(-1, |it| i64::try_from(it.version.0).unwrap_or(i64::MAX)))
            }
            Trigger::After { .. } => Ok(self.store().last_change().await?),
            Trigger::Backfill { .. } => Ok(backfill::BEGUN),
            Trigger::ByHand { .. } => Ok(0),
        }
    }

    /// Fails where what a schedule waits for is not there, or would come of its own runs, for ever.
    async fn require_cause(
        &self,
        who: &Principal,
        schedule: &Schedule,
        beside: &[Schedule],
    ) -> Result<()> {
        let others = self.all_with(who, beside).await?;
        match &schedule.trigger {
            Trigger::Clock { .. } | Trigger::Backfill { .. } | Trigger::ByHand { .. } => {}
            Trigger::Change { on_change, .. } => {
                let catalog = self.engine().catalog(who).await?;
                // One that Colonnade makes may be yet to come.
                if catalog.with_expected(on_change).is_none() {
                    catalog.dataset(on_change).map_err(|e| {
                        e.while_doing(format_args!("schedule {}: what it waits for", schedule.name))
                    })?;
                }
            }
            Trigger::After { after } => self.require_after(schedule, after, &others)?,
        }
        let others = others.iter().filter(|other| other.name != schedule.name);
        let all: Vec<Node<'_>> = others.chain([schedule]).map(|it| self.node(it)).collect();
        match circle(&all) {
            Some(names) => Err(Error::user(
                Code::BadInput,
                format!(
                    "schedule {}: its runs would start it again, for ever: {}",
                    schedule.name,
                    names.join(" -> ")
                ),
            )),
            None => Ok(()),
        }
    }

    /// The tenant's schedules, as they are with `beside` among them.
    async fn all_with(&self, who: &Principal, beside: &[Schedule]) -> Result<Vec<Schedule>> {
        let there = self.store().schedules(Some(who.tenant.as_str())).await?;
        let mut all = there.iter().map(Schedule::of).collect::<Result<Vec<_>>>()?;
        all.retain(|there| beside.iter().all(|other| other.name != there.name));
        all.extend(beside.iter().cloned());
        Ok(all)
    }

    /// The schedules that come after one of `names`, each with that one, when `beside` are among them. A job of such a name stays.
    pub(crate) async fn after(
        &self,
        who: &Principal,
        names: &[String],
        beside: &[Schedule],
    ) -> Result<Vec<(String, String)>> {
        let all = self.all_with(who, beside).await?.into_iter();
        let waits = all.filter_map(|other| match other.trigger {
            Trigger::After { after } if names.contains(&after) => Some((other.name, after)),
            _ => None,
        });
        Ok(waits.filter(|(_, after)| self.jobs().get(after).is_err()).collect())
    }

    /// Fails where nothing is called as what a schedule comes after.
    fn require_after(&self, schedule: &Schedule, after: &str, others: &[Schedule]) -> Result<()> {
        let bad = |says: String| {
            let (name, shown): (_, String) = (&schedule.name, after.chars().take(80).collect());
            Err(Error::user(Code::BadInput, format!("schedule {name}: after {shown:?}: {says}")))
        };
        if let Some(pipeline) = others.iter().find(|it| it.name == after && !it.steps.is_empty()) {
            let steps: Vec<String> =
                pipeline.steps.iter().map(|step| pipelines::of_step(after, &step.name)).collect();
            return bad(format!("it is a pipeline; expected a step of it: {}", steps.join(", ")));
        }
        let own = (after == schedule.name).then(|| after.to_owned());
        let steps = others.iter().flat_map(|other| {
            let name = &other.name;
            other.steps.iter().map(move |step| pipelines::of_step(name, &step.name))
        });
        let names = others.iter().map(|other| other.name.clone());
        let kinds = self.jobs().iter().map(|job| job.name().to_owned());
        let known: Vec<String> = names.chain(kinds).chain(steps).chain(own).collect();
        if known.iter().any(|name| name == after) {
            return Ok(());
        }
        let near = engine::did_you_mean(after, known.iter().map(String::as_str));
        let near = near.map(|near| format!("; {near}")).unwrap_or_default();
        bad(format!("expected the name of a schedule, of a step of a pipeline or of a job{near}"))
    }

    fn node<'a>(&self, schedule: &'a Schedule) -> Node<'a> {
        let outputs = match schedule.steps.is_empty() {
            true => self.jobs().get(&schedule.job).and_then(|job| {
                let params = job.canonical(&schedule.first_params(self)?)?;
                Ok(job.outputs(&params)?.into_iter().map(|output| output.name).collect())
            }),
            false => Graph::of(&schedule.name, &schedule.steps, self.jobs())
                .map(|graph| graph.outputs().cloned().collect()),
        };
        // Of a job of another release it is not known what it writes; each run has rows of these.
        let mut outputs: Vec<DatasetName> = outputs.unwrap_or_default();
        outputs.extend([RUNS, RUN_STAGES, RUN_LOGS].map(dataset_name));
        Node { schedule, outputs }
    }

    /// Fails where a schedule would be gone with the process, and its root would not.
    fn require_durable(&self, name: &str) -> Result<()> {
        if self.forgets() {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "schedule {name}: nothing would remember it; expected the setting `control` to name a database, \
                     such as sqlite:/var/lib/colonnade/control.db"
                ),
            ));
        }
        Ok(())
    }

    /// The tenant's schedules, by name.
    pub async fn schedules(&self, who: &Principal) -> Result<Vec<ScheduleState>> {
        who.require(Role::Reader)?;
        let mut states = Vec::new();
        for entry in self.store().schedules(Some(who.tenant.as_str())).await? {
            states.push(self.state_of(&entry).await?);
        }
        Ok(states)
    }

    pub(crate) async fn state_of(&self, entry: &ScheduleEntry) -> Result<ScheduleState> {
        recorded::state_of(self.store(), self.now(), entry).await
    }

    /// One of them; NOT_FOUND where there is none.
    pub async fn schedule(&self, who: &Principal, name: &str) -> Result<ScheduleState> {
        who.require(Role::Reader)?;
        if let Some(entry) = self.entry_of(who, name).await? {
            return self.state_of(&entry).await;
        }
        let all = self.store().schedules(Some(who.tenant.as_str())).await?;
        let names: Vec<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
        Err(no_such_schedule(name, &names))
    }

    /// Pauses a schedule: its times pass without runs, and are not made up for.
    pub async fn pause_schedule(&self, who: &Principal, name: &str) -> Result<ScheduleState> {
        self.set_pause(who, name, Pause::Begin).await
    }

    /// Lets it go on, from now.
    pub async fn resume_schedule(&self, who: &Principal, name: &str) -> Result<ScheduleState> {
        let trigger = self.schedule(who, name).await?.schedule.trigger;
        let up_to = match &trigger {
            Trigger::Backfill { .. } => {
                let all = self.store().schedules(Some(who.tenant.as_str())).await?;
                let entry = all.iter().find(|entry| entry.name == name);
                entry.map_or(backfill::BEGUN, going_on)
            }
            trigger => self.place_now(who, trigger).await?,
        };
        self.set_pause(who, name, Pause::End { up_to }).await
    }

    async fn set_pause(&self, who: &Principal, name: &str, pause: Pause) -> Result<ScheduleState> {
        who.require(Role::Operator)?;
        self.schedule(who, name).await?;
        self.store().pause_schedule(who.tenant.as_str(), name, pause).await?;
        self.schedule(who, name).await
    }

    /// Removes a schedule; its runs stay. CONFLICT while a run of a pipeline goes on. Answers with those that come after it, and
    /// wait until there is one of its name again.
    pub async fn remove_schedule(&self, who: &Principal, name: &str) -> Result<Vec<String>> {
        who.require(Role::Operator)?;
        let schedule = self.schedule(who, name).await?.schedule;
        if !schedule.steps.is_empty() {
            self.require_none_open(who, name).await?;
        }
        // Where a job has its name, what comes after it would come after each run of that.
        if self.jobs().get(name).is_ok() {
            let mut rest = self.all_with(who, &[]).await?;
            rest.retain(|other| other.name != name);
            let rest: Vec<Node<'_>> = rest.iter().map(|it| self.node(it)).collect();
            if let Some(names) = circle(&rest) {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "schedule {name}: without it runs of the job {name} would start each other, for ever: {}; remove one of these first",
                        names.join(" -> ")
                    ),
                ));
            }
        }
        self.store().remove_schedule(who.tenant.as_str(), name).await?;
        let steps = schedule.steps.iter().map(|step| pipelines::of_step(name, &step.name));
        let names: Vec<String> = steps.chain([name.to_owned()]).collect();
        let wait = self.after(who, &names, &[]).await?;
        Ok(wait.into_iter().map(|(other, _)| other).collect())
    }

    /// The next `count` times of a schedule, also while it rests; none, where no clock says them.
    pub async fn next_times(
        &self,
        who: &Principal,
        name: &str,
        count: usize,
    ) -> Result<Vec<NextTime>> {
        self.schedule(who, name).await?.schedule.trigger.next_times(self.now(), count)
    }
}

/// The error for an unknown name; `names` are the existing ones.
pub fn no_such_schedule(name: &str, names: &[&str]) -> Error {
    let near = engine::did_you_mean(name, names.iter().copied());
    let says = near.unwrap_or_else(|| match names.is_empty() {
        false => format!("there are {}", names.join(", ")),
        true => "there is none".to_owned(),
    });
    let shown: String = name.chars().take(80).collect();
    Error::user(Code::NotFound, format!("schedule {shown:?}: there is no such schedule; {says}"))
}

/// A device policy as its word.
pub(crate) mod policy {
    use kernels::GpuPolicy;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        policy: &Option<GpuPolicy>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match policy {
            Some(policy) => serializer.serialize_some(&policy.to_string()),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<GpuPolicy>, D::Error> {
        let word = Option::<String>::deserialize(deserializer)?;
        word.map(|word| word.parse().map_err(serde::de::Error::custom)).transpose()
    }
}
