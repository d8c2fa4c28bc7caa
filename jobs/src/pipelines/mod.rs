//! Pipelines: jobs of which one waits for another, as a graph that is kept.
//!
//! A pipeline is a schedule of several jobs ([`Schedule::steps`]), with the same triggers. What is due begins a *run of the pipeline*:
//! a tick of its schedule, whose id is that of no run. Its steps are ticks of `pipeline/step` with that id as their logical time, so
//! that the database gives each one run at most, whoever looks ([`advance`]). A step begins when all before it succeeded, on what its
//! inputs are then; when nothing can go on, the run of the pipeline has ended. A step that failed is retried as every run is, and
//! those behind it follow; what succeeded does not run again. One run of a pipeline goes on at a time: what is due meanwhile waits.

mod advance;
mod definition;
mod graph;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use engine::{Code, Error, Principal, Result, Role, RunId, did_you_mean};
use kernels::GpuPolicy;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::{TickOf, TickState};
use crate::run::record::RunState;
use crate::run::runner::{RunRequest, Runner, requests};
use crate::schedules::{Schedule, ScheduleState, policy};

pub(crate) use advance::{advance, begin, is_going_on};
pub use definition::TEXT_MAX_BYTES as PIPELINE_TEXT_MAX_BYTES;
use definition::check_steps;
pub(crate) use definition::object;
pub use graph::{Graph, PipelineEdge, PipelineNode};

/// What stands in the place of a job kind.
pub const PIPELINE: &str = "pipeline";
/// Steps of one pipeline.
pub const STEPS_MAX: usize = 100;
/// Runs of a pipeline that are listed at a time.
pub const PIPELINE_RUNS_MAX: usize = 1_000;

/// A job of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique to the pipeline.
    pub name: String,
    /// The job kind.
    pub job: String,
    /// Its parameters, an object; `null` takes every default.
    pub params: Value,
    /// Device policy; the runner's own when absent.
    #[serde(default, with = "policy")]
    pub gpu: Option<GpuPolicy>,
    /// Steps that it waits for beside those that make what it reads.
    #[serde(default)]
    pub after: Vec<String>,
}

/// A pipeline and how far it is.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineState {
    /// What it waits for, and whether it rests.
    #[serde(flatten)]
    pub schedule: ScheduleState,
    /// Its steps and which waits for which.
    pub graph: Graph,
    /// Its last run.
    pub last_run: Option<PipelineRun>,
}

/// A run of a pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineRun {
    /// Its id.
    pub id: String,
    /// What it stands for: a time, a version of a dataset, another run; its own id where it was begun by hand.
    pub logical_time: String,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// How far it is. It has failed when nothing of it can go on, and some step has failed.
    pub state: RunState,
    /// Its steps, in the order of the graph.
    pub steps: Vec<StepState>,
}

/// A step of a run of a pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct StepState {
    /// The step.
    pub name: String,
    /// The state of its run; none while it waits for other steps.
    pub state: Option<RunState>,
    /// Its run.
    pub run: Option<RunId>,
}

/// What became of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Applied {
    /// It is new.
    Added,
    /// It took the place of another.
    Changed,
    /// It was there.
    Same,
}

impl Schedule {
    /// A run of a step.
    fn request_of(&self, step: &Step) -> RunRequest {
        RunRequest {
            job: step.job.clone(),
            params: step.params.clone(),
            gpu: step.gpu,
            priority: self.priority,
            ..RunRequest::default()
        }
    }
}

/// The name that the steps of a pipeline have among schedules.
pub(crate) fn of_step(pipeline: &str, step: &str) -> String {
    format!("{pipeline}/{step}")
}

impl Runner {
    /// Makes pipelines what `asked` says, whether there were some of their names or not: all of them, or where something is wrong with
    /// one, none. They may come after each other's steps. A run that goes on does so with the new steps.
    pub async fn apply_pipelines(
        &self,
        who: &Principal,
        asked: Vec<Schedule>,
    ) -> Result<Vec<(PipelineState, Applied)>> {
        self.check_pipelines(who, &asked).await?;
        let mut applied = Vec::with_capacity(asked.len());
        for one in &asked {
            let became = self.upsert_schedule(who, one.clone(), &asked).await?;
            applied.push((self.pipeline(who, &one.name).await?, became));
        }
        Ok(applied)
    }

    /// Makes a schedule what `asked` says, whether there was one of its name or not.
    pub(crate) async fn upsert_schedule(
        &self,
        who: &Principal,
        asked: Schedule,
        beside: &[Schedule],
    ) -> Result<Applied> {
        let name = asked.name.clone();
        let entry = match self.entry_of(who, &name).await? {
            Some(entry) => entry,
            None => match self.add_schedule_beside(who, asked.clone(), beside).await {
                Ok(_) => return Ok(Applied::Added),
                // Somebody else may have added it meanwhile.
                Err(error) if error.code() == Code::Conflict => {
                    self.entry_of(who, &name).await?.ok_or(error)?
                }
                Err(error) => return Err(error),
            },
        };
        let there = Schedule::of(&entry)?;
        let mut asked = self.checked(who, asked, beside).await?;
        asked.created_by.clone_from(&there.created_by);
        asked.created_at = there.created_at;
        if asked.is_same(&there) {
            return Ok(Applied::Same);
        }
        asked.created_by.clone_from(&who.subject);
        self.store().change_schedule(who.tenant.as_str(), &name, &asked.to_text()?).await?;
        // What came before another trigger is not its own. One that rests has its place given when it goes on.
        if there.trigger != asked.trigger && !entry.is_paused {
            let up_to = self.place_now(who, &asked.trigger).await?;
            self.store().place_schedule(who.tenant.as_str(), &name, None, up_to).await?;
        }
        Ok(Applied::Changed)
    }

    /// Fails with what is wrong with one of them, and makes nothing.
    pub async fn check_pipelines(&self, who: &Principal, asked: &[Schedule]) -> Result<()> {
        who.require(Role::Operator)?;
        for (at, one) in asked.iter().enumerate() {
            let name = &one.name;
            if asked.iter().skip(at + 1).any(|other| other.name == *name) {
                return Err(graph::bad(name, "there are two definitions of it".to_owned()));
            }
            let there = self.entry_of(who, name).await?;
            let there = there.as_ref().map(Schedule::of).transpose()?;
            if there.as_ref().is_some_and(|there| there.steps.is_empty()) {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "there is a schedule {name}, which is no pipeline; remove it first, or take another name"
                    ),
                ));
            }
            self.checked(who, one.clone(), asked).await?;
            let steps = |of: &Schedule| -> Vec<String> {
                of.steps.iter().map(|step| of_step(name, &step.name)).collect()
            };
            let stay = steps(one);
            let gone = there.iter().flat_map(steps).filter(|step| !stay.contains(step));
            let gone: Vec<String> = gone.collect();
            if let Some((other, step)) = self.after(who, &gone, asked).await?.first() {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "pipeline {name}: schedule {other} comes after {step}, which would be gone; remove or change that one first"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The tenant's pipelines, by name.
    pub async fn pipelines(&self, who: &Principal) -> Result<Vec<PipelineState>> {
        let mut all = Vec::new();
        for state in self.schedules(who).await? {
            if !state.schedule.steps.is_empty() {
                all.push(self.pipeline_of(who, state).await?);
            }
        }
        Ok(all)
    }

    /// One of them; NOT_FOUND where there is none.
    pub async fn pipeline(&self, who: &Principal, name: &str) -> Result<PipelineState> {
        who.require(Role::Reader)?;
        let all = self.store().schedules(Some(who.tenant.as_str())).await?;
        let all = all.iter().map(|entry| Ok((entry, Schedule::of(entry)?)));
        let all = all.collect::<Result<Vec<_>>>()?;
        let pipelines = || all.iter().filter(|(_, schedule)| !schedule.steps.is_empty());
        let Some((entry, _)) = pipelines().find(|(entry, _)| entry.name == name) else {
            let near = did_you_mean(name, pipelines().map(|(entry, _)| entry.name.as_str()));
            let says = near.unwrap_or_else(|| match pipelines().count() {
                0 => "there is none".to_owned(),
                count => format!("there are {count}, which `colonnade pipelines` lists"),
            });
            let shown: String = name.chars().take(80).collect();
            return Err(Error::user(
                Code::NotFound,
                format!("pipeline {shown:?}: there is no such pipeline; {says}"),
            ));
        };
        let state = self.state_of(entry).await?;
        self.pipeline_of(who, state).await
    }

    async fn pipeline_of(&self, who: &Principal, state: ScheduleState) -> Result<PipelineState> {
        let schedule = &state.schedule;
        let graph = Graph::of(&schedule.name, &schedule.steps, self.jobs())?;
        let last_run = self.runs_of(who, &schedule.name, &graph, 1).await?.pop();
        Ok(PipelineState { graph, last_run, schedule: state })
    }

    /// The last runs of a pipeline, newest first.
    pub async fn pipeline_runs(
        &self,
        who: &Principal,
        name: &str,
        limit: usize,
    ) -> Result<Vec<PipelineRun>> {
        let state = self.pipeline(who, name).await?;
        self.last_runs(who, &state, limit).await
    }

    /// The same of one that is known.
    pub async fn last_runs(
        &self,
        who: &Principal,
        of: &PipelineState,
        limit: usize,
    ) -> Result<Vec<PipelineRun>> {
        who.require(Role::Reader)?;
        let name = &of.schedule.schedule.name;
        self.runs_of(who, name, &of.graph, limit.min(PIPELINE_RUNS_MAX)).await
    }

    async fn runs_of(
        &self,
        who: &Principal,
        name: &str,
        graph: &Graph,
        limit: usize,
    ) -> Result<Vec<PipelineRun>> {
        let (store, tenant) = (self.store(), who.tenant.as_str());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let ticks = store.ticks(tenant, name, limit).await?;
        let mut steps: HashMap<String, Vec<TickState>> = HashMap::new();
        for step in store.steps(tenant, name, limit).await? {
            steps.entry(step.logical.clone()).or_default().push(step);
        }
        let of = |tick: TickState| {
            let steps = steps.remove(&tick.run).unwrap_or_default();
            run_of(name, graph, tick, &steps)
        };
        ticks.into_iter().map(of).collect()
    }

    /// One of them, the last where none is named.
    pub async fn pipeline_run(
        &self,
        who: &Principal,
        name: &str,
        id: Option<&str>,
    ) -> Result<PipelineRun> {
        let graph = self.pipeline(who, name).await?.graph;
        let (store, tenant) = (self.store(), who.tenant.as_str());
        let most = if id.is_some() { PIPELINE_RUNS_MAX as i64 } else { 1 };
        let ticks = store.ticks(tenant, name, most).await?;
        let Some(tick) = ticks.into_iter().find(|tick| id.is_none_or(|id| id == tick.run)) else {
            let says = match id {
                Some(id) => format!("it has no run {:?}", id.chars().take(80).collect::<String>()),
                None => "it has not run yet".to_owned(),
            };
            return Err(Error::user(Code::NotFound, format!("pipeline {name}: {says}")));
        };
        let steps = store.ticks_of(tenant, &tick.run).await?;
        run_of(name, &graph, tick, &steps)
    }

    /// Begins a run of a pipeline by hand. CONFLICT while one goes on.
    pub async fn run_pipeline(&self, who: &Principal, name: &str) -> Result<PipelineRun> {
        who.require(Role::Operator)?;
        self.pipeline(who, name).await?;
        let entry = self.entry_of(who, name).await?.ok_or_else(|| gone(name))?;
        let id = match requests::next_before() {
            Some(begun) => begun,
            None => self.begin_pipeline(who, name).await?,
        };
        advance(self, &entry, &Schedule::of(&entry)?).await?;
        self.pipeline_run(who, name, Some(&id.to_string())).await
    }

    /// Begins a run of a pipeline, and none of its steps.
    async fn begin_pipeline(&self, who: &Principal, name: &str) -> Result<RunId> {
        self.require_none_open(who, name).await?;
        let id = RunId::new();
        let tick = TickOf {
            tenant: who.tenant.to_string(),
            schedule: name.to_owned(),
            logical: id.to_string(),
            due_us: self.now().timestamp_micros(),
            moves: None,
            also_paused: true,
        };
        requests::queues(id);
        if !self.store().begin_tick(&tick, &id.to_string()).await? {
            requests::has_not_queued(id);
            self.require_none_open(who, name).await?;
            return Err(gone(name));
        }
        Ok(id)
    }

    /// CONFLICT while a run of a pipeline goes on.
    pub(crate) async fn require_none_open(&self, who: &Principal, name: &str) -> Result<()> {
        match self.store().open_ticks(who.tenant.as_str(), name).await?.first() {
            Some(open) => Err(goes_on(name, Some(&open.run))),
            None => Ok(()),
        }
    }

    /// Has a run of a pipeline go on that failed or was cancelled, the last where none is named: its steps that failed have another
    /// run each, and those behind them follow.
    pub async fn retry_pipeline(
        &self,
        who: &Principal,
        name: &str,
        id: Option<&str>,
    ) -> Result<PipelineRun> {
        who.require(Role::Operator)?;
        let before: Vec<RunId> = std::iter::from_fn(requests::next_before).collect();
        let run = self.pipeline_run(who, name, id).await?;
        // A request that is sent again may find that steps have their other runs.
        let is_begun = run.steps.iter().any(|step| step.run.is_some_and(|id| before.contains(&id)));
        let is_over = matches!(run.state, RunState::Failed | RunState::Cancelled);
        if !is_over && !is_begun {
            return Err(Error::user(
                Code::Conflict,
                format!(
                    "pipeline {name}: retry run {}: expected one that failed or was cancelled, found it {}",
                    run.id, run.state
                ),
            ));
        }
        if !is_begun {
            self.require_none_open(who, name).await?;
        }
        let entry = self.entry_of(who, name).await?.ok_or_else(|| gone(name))?;
        let schedule = Schedule::of(&entry)?;
        let mut refused = None;
        for step in &schedule.steps {
            let state = run.steps.iter().find(|state| state.name == step.name);
            let Some(StepState {
                state: Some(RunState::Failed | RunState::Cancelled),
                run: Some(id),
                ..
            }) = state
            else {
                continue;
            };
            // As the step is now, which may be how it was mended.
            if let Err(error) = self.retry_step(who, *id, schedule.request_of(step)).await {
                let doing = format_args!("pipeline {name}, step {}", step.name);
                refused = refused.or(Some(error.while_doing(doing)));
            }
        }
        // Those beside it go on.
        if let Some(refused) = refused {
            return Err(refused);
        }
        // One that was cancelled between two steps has none that failed.
        let tenant = who.tenant.as_str();
        self.store().end_tick(tenant, &run.id, None).await?;
        // Somebody may have begun another meanwhile.
        let open = self.store().open_ticks(tenant, name).await?;
        if let Some(other) = open.iter().find(|open| open.run != run.id) {
            return Err(goes_on(name, Some(&other.run)));
        }
        advance(self, &entry, &schedule).await?;
        self.pipeline_run(who, name, Some(&run.id)).await
    }

    /// Stops a run of a pipeline, the last where none is named: no step begins any more, and those at work are cancelled.
    pub async fn cancel_pipeline(
        &self,
        who: &Principal,
        name: &str,
        id: Option<&str>,
    ) -> Result<PipelineRun> {
        who.require(Role::Operator)?;
        let run = self.pipeline_run(who, name, id).await?;
        let cancelled = Some((RunState::Cancelled.as_str(), true));
        if !self.store().end_tick(who.tenant.as_str(), &run.id, cancelled).await? {
            return Err(Error::user(
                Code::Conflict,
                format!(
                    "pipeline {name}: cancel run {}: expected one that has not ended, found it {}",
                    run.id, run.state
                ),
            ));
        }
        let run = self.pipeline_run(who, name, Some(&run.id)).await?;
        let open = |step: &&StepState| step.state.is_some_and(|state| !state.is_final());
        for step in run.steps.iter().filter(open) {
            let Some(id) = step.run else { continue };
            match self.cancel(who, id).await {
                // It ended meanwhile.
                Err(error) if error.code() == Code::Conflict => {}
                cancelled => drop(cancelled?),
            }
        }
        self.pipeline_run(who, name, Some(&run.id)).await
    }
}

fn goes_on(name: &str, run: Option<&str>) -> Error {
    let run = run.map(|run| format!("run {run}")).unwrap_or_else(|| "a run".to_owned());
    Error::user(
        Code::Conflict,
        format!("pipeline {name}: {run} of it goes on; wait for its end, or cancel it"),
    )
}

fn gone(name: &str) -> Error {
    Error::user(Code::NotFound, format!("pipeline {name}: it was removed meanwhile"))
}

/// A run of a pipeline, from its tick and those of its steps.
fn run_of(name: &str, graph: &Graph, tick: TickState, steps: &[TickState]) -> Result<PipelineRun> {
    let steps = graph.nodes.iter().map(|node| {
        let of = of_step(name, &node.step.name);
        let tick = steps.iter().find(|tick| tick.schedule == of);
        Ok(StepState {
            name: node.step.name.clone(),
            state: tick.map(state_of).transpose()?,
            run: tick.map(|tick| tick.run.parse()).transpose()?,
        })
    });
    Ok(PipelineRun {
        state: match &tick.state {
            Some(state) => state.parse()?,
            None => RunState::Running,
        },
        due_at: DateTime::from_timestamp_micros(tick.due_us).unwrap_or(DateTime::UNIX_EPOCH),
        logical_time: tick.logical,
        id: tick.run,
        steps: steps.collect::<Result<_>>()?,
    })
}

/// The state of the run of a tick. One of which nothing is known any more ended long ago, and well.
fn state_of(tick: &TickState) -> Result<RunState> {
    tick.state.as_deref().map_or(Ok(RunState::Succeeded), str::parse)
}

/// Fails with what is wrong with a pipeline's steps, as far as they can be known before they run.
pub(crate) async fn check(runner: &Runner, who: &Principal, schedule: &Schedule) -> Result<()> {
    check_steps(&schedule.name, &schedule.steps)?;
    if schedule.name == PIPELINE || runner.jobs().get(&schedule.name).is_ok() {
        let says = "expected a name that no job has: others come after a job by its name";
        return Err(graph::bad(&schedule.name, says.to_owned()));
    }
    let graph = Graph::of(&schedule.name, &schedule.steps, runner.jobs())?;
    for node in &graph.nodes {
        runner.check_job(&node.step.job, &node.step.params).map_err(|e| {
            e.while_doing(format_args!("pipeline {}, step {}", schedule.name, node.step.name))
        })?;
    }
    plan::check(runner, who, &schedule.name, &graph).await
}
